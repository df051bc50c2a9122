//! The storefront as a fleet: workers behind a front that starts, balances, scales and replaces
//! them, under a load that rises and falls.

use std::fmt;
use std::fs::{self, File};
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use serde_json::Value;
use testbed::Folder;
use testbed::guard::{ExitSignal, Process, spawn_guarded};
use testbed::locate::Need;
use testbed::postgres::Postgres;
use testbed::redis::Redis;

use super::Options;
use super::replicas::token_key;
use super::shop::{Storefront, ask};
use super::table::number;
use crate::command::{runtime, step, target};
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

pub(super) fn run(options: &Options) -> Result<(), String> {
    let began = Instant::now();
    servers::provide(&[Need::Postgres, Need::Redis], options.yes)?;
    step(&["build", "--release", "--package", "storefront", "--package", "front"])?;
    runtime()?.block_on(show(options, began))
}

async fn show(options: &Options, began: Instant) -> Result<(), String> {
    let text = |error: testbed::Error| error.to_string();
    println!("\n== a PostgreSQL with a replica, two shards, and a Redis, on free ports");
    let primary = Postgres::start().await.map_err(text)?;
    let replica = primary.replica().await.map_err(text)?;
    let shards = tokio::try_join!(Postgres::start(), Postgres::start()).map_err(text)?;
    let redis = Redis::start().await.map_err(text)?;
    let names = [("orders-1", shards.0.url()), ("orders-2", shards.1.url())];
    let storefront = Storefront::on_shards(primary.url(), &names)
        .await?
        .and("DATABASE_URL", format!("{},{}", primary.url(), replica.url()))
        .and("TOKEN_KEY", token_key()?)
        .and("REDIS_URL", redis.url());
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
    for server in [&shards.0, &shards.1] {
        server.stop().await.map_err(text)?;
    }
    replica.stop().await.map_err(text)?;
    primary.stop().await.map_err(text)
}

struct Front {
    url: String,
    admin: String,
    process: Process,
    folder: Folder,
}

/// What the front says of itself at one moment.
#[derive(Clone, Copy, Default)]
struct Moment {
    requests: u64,
    retries: u64,
    unanswered: u64,
    crashes: u64,
    in_flight: u64,
    ready: usize,
    workers: usize,
}

impl Front {
    async fn start(storefront: &Storefront) -> Result<Self, String> {
        let folder = Folder::new("front").await.map_err(|error| error.to_string())?;
        let policy = folder.path().join("policy.toml");
        let written = |path: &PathBuf| {
            File::create(path).map_err(|error| format!("{}: {error}", path.display()))
        };
        fs::write(&policy, POLICY).map_err(|error| format!("{}: {error}", policy.display()))?;
        let (out, log) = (folder.path().join("out"), folder.path().join("log"));
        let mut command = Command::new(target().join("release").join("front"));
        command
            .args(["--listen", "127.0.0.1:0", "--every", "500", "--policy"])
            .arg(&policy)
            .arg("--")
            .arg(storefront.program())
            .args(["serve", "--listen", "127.0.0.1:0", "--announce", "{announce}"])
            .args(["--propagation", "600", "--behind-front", "--development-cookies"])
            .args(["--cache", "shared", "--connections", "6"])
            .current_dir("/")
            .stdin(Stdio::null())
            .stdout(written(&out)?)
            .stderr(written(&log)?);
        storefront.settle(&mut command);
        let process = spawn_guarded(command, ExitSignal::Terminate).await;
        let process = process.map_err(|error| error.to_string())?;
        let until = Instant::now() + Duration::from_secs(20);
        loop {
            let said = fs::read_to_string(&out).unwrap_or_default();
            let lines = said.strip_suffix('\n').and_then(|said| said.split_once('\n'));
            if let Some((url, admin)) = lines {
                let (url, admin) = (url.to_owned(), admin.to_owned());
                return Ok(Self { url, admin, process, folder });
            }
            if let Some(status) = process.exit_status() {
                return Err(format!("the front did not start ({status})"));
            }
            if Instant::now() > until {
                return Err("the front did not start in time".to_owned());
            }
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
    }

    async fn moment(&self) -> Result<Moment, String> {
        let metrics = ask(&self.admin, "GET", "/metrics").await?;
        let figure = |name: &str| {
            let line =
                metrics.lines().find_map(|line| line.strip_prefix(name)?.strip_prefix(' '));
            line.and_then(|figure| figure.parse().ok()).unwrap_or(0)
        };
        let workers: Value = serde_json::from_str(&ask(&self.admin, "GET", "/workers").await?)
            .map_err(|error| format!("the workers: {error}"))?;
        let workers = workers.as_array().map(Vec::as_slice).unwrap_or_default();
        Ok(Moment {
            requests: figure("front_requests_total"),
            retries: figure("front_retries_total"),
            unanswered: figure("front_unanswered_total"),
            crashes: figure("front_crashes_total"),
            in_flight: figure("front_in_flight"),
            ready: workers.iter().filter(|worker| worker["phase"] == "ready").count(),
            workers: workers.len(),
        })
    }

    async fn ready(&self) -> Result<(), String> {
        let until = Instant::now() + Duration::from_secs(30);
        while self.moment().await?.ready < 2 {
            if Instant::now() > until {
                return Err(format!("no worker was ready in time:\n{}", self.said()));
            }
            tokio::time::sleep(Duration::from_millis(50)).await;
        }
        Ok(())
    }

    fn said(&self) -> String {
        // What cannot be read yet was not said yet.
        fs::read_to_string(self.folder.path().join("log")).unwrap_or_default()
    }

    /// Sends the day, prints a line a second and each decision, and replaces all workers at
    /// the peak.
    async fn watch(&self, storefront: &Storefront, replay: &Path) -> Result<Fleet, String> {
        let load = storefront.replay(&self.url, replay, &SEEDED);
        tokio::pin!(load);
        let mut every = tokio::time::interval(Duration::from_secs(1));
        let (mut before, mut heard) = (self.moment().await?, 0);
        let mut fleet = Fleet { least: before.ready, ..Fleet::default() };
        let (mut calm, mut restarted) = (before.ready, false);
        println!(
            "\n{:>4}{:>14}{:>12}{:>10}{:>10}",
            "s", "requests/s", "in flight", "workers", "ready"
        );
        for second in 0.. {
            let report = tokio::select! {
                report = &mut load => Some(report?),
                _ = every.tick() => None,
            };
            let now = self.moment().await?;
            let said = self.said();
            for line in said[heard..].lines().filter_map(decision) {
                println!("       {line}");
                fleet.outs += u32::from(line.contains("OUT "));
                fleet.ins += u32::from(line.contains("IN "));
            }
            heard = said.len();
            if second > 0 && report.is_none() {
                let requests = now.requests - before.requests;
                let Moment { in_flight, workers, ready, .. } = now;
                println!("{second:>4}{requests:>14}{in_flight:>12}{workers:>10}{ready:>10}");
            }
            fleet.most = fleet.most.max(now.ready);
            // At the peak: more than at the beginning, and then one by one all are new.
            if !restarted && now.ready > calm {
                ask(&self.admin, "POST", "/restart").await?;
                println!("       all workers are replaced, one by one");
                (restarted, calm) = (true, now.ready);
            }
            if let Some(report) = report {
                fleet.last = now.ready;
                return fleet.ended(&report, now, restarted);
            }
            before = now;
        }
        unreachable!("a load ends")
    }

    async fn stop(self) -> Result<(), String> {
        let status = self.process.stop(Duration::from_secs(40)).await;
        if status.success() { Ok(()) } else { Err(format!("the front ended with {status}")) }
    }
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
            ..self
        })
    }

    /// Whether it grew, shrank, was replaced, and failed nothing.
    fn judge(&self) -> Result<(), String> {
        if self.failures > 0.0 || self.unanswered > 0 {
            let Self { failures, unanswered, .. } = self;
            return Err(format!("{failures} requests failed, {unanswered} had no worker"));
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
        write!(f, "{:40}{:>10}", "requests sent to a second worker", self.retries)
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
            ..Fleet::default()
        };
        assert_eq!(fine().judge(), Ok(()));
        let wrong: [fn(&mut Fleet); 7] = [
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
