//! The storefront on a primary and two replicas that lag: as a plain round robin reads from
//! them, and as `rw-split` does.

use std::fs::File;
use std::io::Read;
use std::time::{Duration, Instant};

use serde_json::Value;
use testbed::locate::Need;
use testbed::postgres::{Postgres, Replica};

use super::shop::{Shop, Storefront};
use super::table::number;
use super::{Options, close, wait_for_ctrl_c};
use crate::command::{runtime, step};
use crate::servers;

const REPLICAS: usize = 2;

/// The processes of each shop.
const PROCESSES: usize = 2;

/// Users of each shop at once: each has an account of its own.
const SESSIONS: u32 = 17;

/// Of 100 requests of a user.
const WRITES: u32 = 10;

/// How long a user thinks before each request, in seconds and on average.
const THINK: &str = "0.3";

/// How long the replicas may take to have what was seeded.
const CATCHING_UP: Duration = Duration::from_secs(20);

/// A shop, and a column of the table: what reads promise there.
struct Mode {
    name: &'static str,
    reads: &'static str,
}

/// The first is what it is compared with.
const MODES: [Mode; 3] = [
    Mode { name: "round robin", reads: "round-robin" },
    Mode { name: "own writes", reads: "own-writes" },
    Mode { name: "session", reads: "session" },
];

pub(super) fn run(options: Options, lag: Duration) -> Result<(), String> {
    let began = Instant::now();
    servers::provide(&[Need::Postgres], options.yes)?;
    step(&["build", "--release", "--package", "storefront"])?;
    runtime()?.block_on(show(options, lag, began))
}

async fn show(options: Options, lag: Duration, began: Instant) -> Result<(), String> {
    let text = |error: testbed::Error| error.to_string();
    println!("\n== a PostgreSQL of its own and {REPLICAS} replicas, on free ports");
    let primary = Postgres::start().await.map_err(text)?;
    let mut replicas: Vec<Replica> = Vec::new();
    for _ in 0..REPLICAS {
        replicas.push(primary.replica().await.map_err(text)?);
    }
    let urls: Vec<String> =
        std::iter::once(primary.url()).chain(replicas.iter().map(|r| r.url())).collect();
    let storefront = Storefront::on_replicas(&urls, &token_key()?).await?;
    let seeded = storefront.seed_with(&["--products", "1000", "--users", "100"]).await?;
    println!("== {}", seeded.trim());
    for replica in &replicas {
        replica.caught_up(CATCHING_UP).await.map_err(text)?;
        replica.delay_replay(lag).await.map_err(text)?;
    }

    let mut shops: Vec<Vec<Shop>> = Vec::new();
    for Mode { name, reads } in &MODES {
        let options = ["--cache", "off", "--development-cookies", "--reads", reads];
        let mut open = Vec::new();
        for n in 0..PROCESSES {
            open.push(storefront.open(&format!("{reads}-{n}"), &options).await?);
        }
        println!("== {name}: {PROCESSES} processes, as --reads {reads}");
        shops.push(open);
    }
    let seconds = 3 * options.seconds;
    println!("== {seconds} s of {SESSIONS} users each, at once; replicas replay {lag:?} late");
    let visits = async |mode: usize| {
        let first = 1 + SESSIONS * mode as u32;
        storefront.visit(&shops[mode], &words(first, seconds)).await
    };
    let reports = tokio::try_join!(visits(0), visits(1), visits(2))?;
    let runs = [
        Run::new(&MODES[0], &reports.0)?,
        Run::new(&MODES[1], &reports.1)?,
        Run::new(&MODES[2], &reports.2)?,
    ];

    print(&runs);
    println!("\nAll of it took {:.0?}.", began.elapsed());
    judge(&runs)?;
    if !options.once {
        println!("\nThe shops and their replicas are open until Ctrl-C:");
        wait_for_ctrl_c(shops.iter().flatten(), &["/users/1/orders", "/metrics"]).await?;
    }
    for open in &mut shops {
        close(open).await?;
    }
    let stopped = async {
        for replica in &replicas {
            replica.stop().await?;
        }
        primary.stop().await
    };
    tokio::time::timeout(Duration::from_secs(10), stopped)
        .await
        .map_err(|_| "PostgreSQL does not stop; it is killed".to_owned())?
        .map_err(text)
}

fn words(first_user: u32, seconds: u32) -> Vec<String> {
    let numbers = [
        ("--sessions", SESSIONS.to_string()),
        ("--first-user", first_user.to_string()),
        ("--seconds", seconds.to_string()),
        ("--writes", WRITES.to_string()),
        ("--think", THINK.to_owned()),
    ];
    numbers.into_iter().flat_map(|(name, number)| [name.to_owned(), number]).collect()
}

/// 32 random bytes in hex, for this run.
pub(super) fn token_key() -> Result<String, String> {
    Ok(random()?.iter().map(|byte| format!("{byte:02x}")).collect())
}

pub(super) fn random() -> Result<[u8; 32], String> {
    let mut bytes = [0; 32];
    let read = File::open("/dev/urandom").and_then(|mut random| random.read_exact(&mut bytes));
    read.map_err(|error| format!("/dev/urandom: {error}"))?;
    Ok(bytes)
}

/// One shop's figures.
struct Run {
    name: &'static str,
    reads: f64,
    writes: f64,
    stale_reads: f64,
    failures: f64,
    on_replicas: f64,
    on_primary: f64,
}

impl Run {
    /// From a report of `storefront visit --json`.
    fn new(mode: &Mode, report: &Value) -> Result<Self, String> {
        Ok(Self {
            name: mode.name,
            reads: number(report, "/reads")?,
            writes: number(report, "/writes")?,
            stale_reads: number(report, "/stale_reads")?,
            failures: number(report, "/failures")?,
            on_replicas: number(report, "/reads_on_replicas")?,
            on_primary: number(report, "/reads_on_primary")?,
        })
    }

    fn share(&self) -> f64 {
        self.on_replicas / (self.on_replicas + self.on_primary)
    }
}

fn print(runs: &[Run]) {
    type Cell = fn(&Run) -> String;
    let rows: [(&str, Cell); 6] = [
        ("", |run| run.name.to_owned()),
        ("reads", |run| format!("{:.0}", run.reads)),
        ("writes", |run| format!("{:.0}", run.writes)),
        ("share of reads on replicas", |run| format!("{:.1} %", run.share() * 100.0)),
        ("stale reads after own writes", |run| format!("{:.0}", run.stale_reads)),
        ("failed requests", |run| format!("{:.0}", run.failures)),
    ];
    println!();
    for (label, cell) in rows {
        print!("{label:30}");
        for run in runs {
            print!("{:>14}", cell(run));
        }
        println!();
    }
}

/// Whether nobody missed what they wrote, where a round robin makes them, and replicas did
/// some of the work.
fn judge(runs: &[Run; 3]) -> Result<(), String> {
    let [plain, ours @ ..] = runs;
    for run in runs {
        if run.failures > 0.0 || run.reads == 0.0 || run.writes == 0.0 {
            let Run { name, failures, reads, writes, .. } = run;
            return Err(format!(
                "{name}: {failures} of {reads} reads and {writes} writes failed"
            ));
        }
        if run.on_replicas == 0.0 {
            return Err(format!("{}: no read was on a replica", run.name));
        }
    }
    if let Some(Run { name, stale_reads, .. }) = ours.iter().find(|run| run.stale_reads > 0.0) {
        return Err(format!("{name}: {stale_reads} reads lacked what their user had written"));
    }
    if plain.stale_reads == 0.0 {
        return Err("no read was stale anyway, so nothing was shown; try a longer lag".into());
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn runs(plain: Value, ours: Value) -> [Run; 3] {
        let run = |mode, more: Value| {
            let mut report = json!({
                "reads": 900, "writes": 100, "stale_reads": 0, "failures": 0,
                "reads_on_replicas": 600, "reads_on_primary": 300,
            });
            for (name, value) in more.as_object().unwrap() {
                report[name] = value.clone();
            }
            Run::new(mode, &report).unwrap()
        };
        [run(&MODES[0], plain), run(&MODES[1], json!({})), run(&MODES[2], ours)]
    }

    #[test]
    fn none_of_ours_and_some_of_the_others_is_enough() {
        assert_eq!(judge(&runs(json!({"stale_reads": 1}), json!({}))), Ok(()));
    }

    #[test]
    fn everything_else_is_not() {
        for (plain, ours) in [
            (json!({"stale_reads": 0}), json!({})),
            (json!({"stale_reads": 9}), json!({"stale_reads": 1})),
            (json!({"stale_reads": 9, "failures": 1}), json!({})),
            (json!({"stale_reads": 9}), json!({"failures": 1})),
            (json!({"stale_reads": 9}), json!({"writes": 0})),
            (json!({"stale_reads": 9}), json!({"reads_on_replicas": 0})),
        ] {
            assert!(judge(&runs(plain.clone(), ours.clone())).is_err(), "{plain} {ours}");
        }
        assert!(Run::new(&MODES[0], &json!({"reads": 1})).is_err());
    }
}
