//! The storefront as a fleet: workers behind a front that starts, balances, scales and replaces
//! them, under a load that rises and falls. Each has all of it: users who are logged in, a cache
//! that all share, shards, and replicas of each database.

mod beds;
mod front;
mod workers;

use std::fmt;
use std::fs;
use std::time::Instant;

use serde_json::Value;
use testbed::locate::Need;

pub(crate) use self::beds::Beds;
use self::front::{Front, Moment};
use self::workers::Counts;
use super::Options;
use super::table::number;
use crate::command::{runtime, step};
use crate::servers;

/// Quick, to be watched: workers are ready in a fraction of a second, and load changes in
/// seconds.
const POLICY: &str = r#"
policy = "max-of"

[[of]]
policy = "predictive"
signal = { metric = "in-flight", per-instance = 1.5 }
target = 0.7
min = 2
max = 4
warm-up = "1s"
every = "500ms"
hold-down = "4s"

[[of]]
policy = "threshold"
metric = "cpu"
up = 0.7
down = 0.3
min = 2
max = 4
step-up = { instances = 1 }
up-cooldown = "2s"
down-cooldown = "4s"
warm-up = "1s"
"#;

/// Requests a second, from each second on: a calm start, a peak, and calm again.
const DAY: &str = "t_s,value\n0,300\n4,1500\n6,3500\n14,300\n20,300\n";

const SEEDED: [&str; 4] = ["--products", "2000", "--users", "1000"];

/// Who log in, and stay so.
const LOGGED_IN: [&str; 2] = ["--login", "48"];

pub(super) fn run(options: &Options) -> Result<(), String> {
    let began = Instant::now();
    servers::provide(&[Need::Postgres, Need::Redis], options.yes)?;
    step(&["build", "--release", "--package", "storefront", "--package", "front"])?;
    runtime()?.block_on(show(options, began))
}

async fn show(options: &Options, began: Instant) -> Result<(), String> {
    println!(
        "\n== three PostgreSQLs with a replica each, of the shop and of two shards, and a Redis"
    );
    let (beds, storefront) = Beds::start().await?;
    println!("== {}", storefront.seed_with(&SEEDED).await?.trim());

    let front = Front::start(&storefront).await?;
    println!("== the front: {}, for its operator {}", front.url, front.admin);
    let replay = match &options.replay {
        Some(file) => file.clone(),
        None => {
            let path = front.folder.path().join("day.csv");
            fs::write(&path, DAY).map_err(|error| format!("{}: {error}", path.display()))?;
            path
        }
    };
    front.ready().await?;
    let fleet = front.watch(&storefront, &replay).await?;
    println!("\n{fleet}");
    println!("\nAll of it took {:.0?}.", began.elapsed());
    fleet.judge()?;
    if !options.once {
        println!("\nThe fleet is open until Ctrl-C: {}", front.url);
        tokio::signal::ctrl_c().await.map_err(|error| error.to_string())?;
    }
    front.stop().await?;
    beds.stop().await
}

/// A line of the front's log that tells of a decision, or why; without its date.
fn decision(line: &str) -> Option<&str> {
    let told = line.split_once("front: ").map_or(line, |(_, told)| told);
    let is =
        ["OUT ", "IN "].iter().any(|word| told.starts_with(word)) || line.starts_with("  ");
    is.then_some(told)
}

/// The figures.
#[derive(Default)]
struct Fleet {
    requests: f64,
    failures: f64,
    p50: f64,
    p99: f64,
    least: usize,
    most: usize,
    last: usize,
    outs: u32,
    ins: u32,
    retries: u64,
    unanswered: u64,
    crashes: u64,
    restarted: bool,
    /// Of those who were logged in.
    users: f64,
    refreshes: f64,
    refused: f64,
    counts: Counts,
    /// Of a worker, in MB: at its first reading, and at its last.
    memory: (f64, f64),
}

impl Fleet {
    fn ended(self, report: &Value, now: Moment, restarted: bool) -> Result<Self, String> {
        Ok(Self {
            requests: number(report, "/requests")?,
            failures: number(report, "/failures")?,
            p50: number(report, "/latency_ms/p50")?,
            p99: number(report, "/latency_ms/p99")?,
            retries: now.retries,
            unanswered: now.unanswered,
            crashes: now.crashes,
            restarted,
            users: number(report, "/login/users")?,
            refreshes: number(report, "/login/refreshes")?,
            refused: number(report, "/login/refused")?,
            ..self
        })
    }

    /// Whether it grew, shrank, was replaced, and failed nothing.
    fn judge(&self) -> Result<(), String> {
        if self.failures > 0.0 || self.unanswered > 0 {
            let Self { failures, unanswered, .. } = self;
            return Err(format!("{failures} requests failed, {unanswered} had no worker"));
        }
        if self.refreshes == 0.0 {
            return Err("nobody has refreshed a token".to_owned());
        }
        if self.counts.on_replicas() == 0.0 || self.counts.cached() == 0.0 {
            return Err("no replica has answered, or no cache".to_owned());
        }
        if self.crashes > 0 {
            return Err(format!("{} workers have ended by themselves", self.crashes));
        }
        if !self.restarted || self.most <= self.least || self.outs == 0 {
            return Err("the fleet did not grow with its load".to_owned());
        }
        if self.ins == 0 || self.last >= self.most {
            return Err("the fleet did not shrink after its load".to_owned());
        }
        Ok(())
    }
}

impl fmt::Display for Fleet {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        writeln!(f, "{:40}{:>10}", "requests", self.requests)?;
        writeln!(f, "{:40}{:>10}", "failed requests", self.failures)?;
        writeln!(f, "{:40}{:>10.1}", "latency p50, ms", self.p50)?;
        writeln!(f, "{:40}{:>10.1}", "latency p99, ms", self.p99)?;
        writeln!(f, "{:40}{:>10}", "workers at the beginning", self.least)?;
        writeln!(f, "{:40}{:>10}", "workers at the peak", self.most)?;
        writeln!(f, "{:40}{:>10}", "workers at the end", self.last)?;
        writeln!(f, "{:40}{:>10}", "decisions to scale out", self.outs)?;
        writeln!(f, "{:40}{:>10}", "decisions to scale in", self.ins)?;
        writeln!(f, "{:40}{:>10}", "requests sent to a second worker", self.retries)?;
        writeln!(f, "{:40}{:>10}", "users who were logged in", self.users)?;
        writeln!(f, "{:40}{:>10}", "tokens refreshed", self.refreshes)?;
        writeln!(f, "{:40}{:>10}", "requests refused", self.refused)?;
        let Self { counts, memory: (first, last), .. } = self;
        writeln!(f, "{:40}{:>10.1}", "lookups answered by a cache, %", counts.cached())?;
        writeln!(f, "{:40}{:>10.1}", "database reads on replicas, %", counts.on_replicas())?;
        writeln!(f, "{:40}{first:>10.1}", "memory of a worker, first reading, MB")?;
        write!(f, "{:40}{last:>10.1}", "memory of a worker, last reading, MB")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn decisions_are_told_and_nothing_else() {
        let log = "2026-11-22T08:50:59.071522Z  INFO front: OUT 1 -> 3";
        assert_eq!(decision(log), Some("OUT 1 -> 3"));
        assert_eq!(decision("  in-flight 1.77 of 0.80"), Some("  in-flight 1.77 of 0.80"));
        assert_eq!(decision("2026-11-22T08:50:59Z  INFO front: stopped"), None);
    }

    #[test]
    fn a_fleet_that_fails_or_stays_as_it_is_does_not_pass() {
        let fine = || Fleet {
            least: 2,
            most: 4,
            last: 2,
            outs: 1,
            ins: 1,
            restarted: true,
            refreshes: 1.0,
            counts: Counts::some(),
            ..Fleet::default()
        };
        assert_eq!(fine().judge(), Ok(()));
        let wrong: [fn(&mut Fleet); 9] = [
            |fleet| fleet.refreshes = 0.0,
            |fleet| fleet.counts = Counts::default(),
            |fleet| fleet.failures = 1.0,
            |fleet| fleet.unanswered = 1,
            |fleet| fleet.crashes = 1,
            |fleet| fleet.restarted = false,
            |fleet| fleet.most = 2,
            |fleet| fleet.ins = 0,
            |fleet| fleet.last = 4,
        ];
        for (number, wrong) in wrong.into_iter().enumerate() {
            let mut fleet = fine();
            wrong(&mut fleet);
            assert!(fleet.judge().is_err(), "{number}");
        }
    }
}
