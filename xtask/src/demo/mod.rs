//! The storefront on a PostgreSQL of its own: without a cache, with one in its
//! process, and as two processes that share one in a Redis, which is killed; and with its
//! orders on two shards. Or, with `--lag`, on a primary and replicas; or, with `--fleet`, as
//! workers behind a front.

mod fleet;
mod outage;
mod replicas;
mod shards;
mod shop;
mod table;

use std::path::PathBuf;
use std::time::{Duration, Instant};

use testbed::locate::Need;
use testbed::postgres::Postgres;
use testbed::redis::Redis;

pub(crate) use self::fleet::Beds;
use self::outage::Outage;
use self::shards::Shards;
pub(crate) use self::shop::{Shop, Storefront};
use self::table::Run;
use crate::command::{runtime, step};
use crate::servers;

/// What `cargo xtask demo` was asked for.
#[derive(Clone, Debug)]
pub(crate) struct Options {
    once: bool,
    yes: bool,
    seconds: u32,
    /// How far replicas are behind, if it is them that are to be shown.
    lag: Option<Duration>,
    fleet: bool,
    /// The rates that the fleet is sent.
    replay: Option<PathBuf>,
}

impl Options {
    pub(crate) fn parse(words: &[&str]) -> Result<Self, String> {
        let mut options =
            Self { once: false, yes: false, seconds: 6, lag: None, fleet: false, replay: None };
        let mut words = words.iter();
        while let Some(word) = words.next() {
            match *word {
                "--once" => options.once = true,
                "--yes" => options.yes = true,
                "--seconds" => {
                    let number = words.next().and_then(|number| number.parse().ok());
                    options.seconds = number
                        .filter(|seconds| (1..=600).contains(seconds))
                        .ok_or("`--seconds` takes a number from 1 to 600")?;
                }
                "--lag" => {
                    let lag = words.next().and_then(|lag| duration(lag));
                    options.lag =
                        Some(lag.ok_or(
                            "`--lag` takes a time from 10ms to 10s, such as 1s or 250ms",
                        )?);
                }
                "--fleet" => options.fleet = true,
                "--replay" => {
                    let file = words.next().ok_or("`--replay` takes a file")?;
                    // The load runs in another folder.
                    let file = std::path::absolute(file);
                    options.replay = Some(file.map_err(|error| error.to_string())?);
                }
                other => return Err(format!("`cargo xtask demo` does not know `{other}`")),
            }
        }
        Ok(options)
    }
}

/// `1s`, `1.5s`, `250ms`.
fn duration(text: &str) -> Option<Duration> {
    let (number, unit) = match text.strip_suffix("ms") {
        Some(number) => (number, 0.001),
        None => (text.strip_suffix('s')?, 1.0),
    };
    let seconds: f64 = number.parse().ok()?;
    let duration = Duration::try_from_secs_f64(seconds * unit).ok()?;
    (Duration::from_millis(10)..=Duration::from_secs(10))
        .contains(&duration)
        .then_some(duration)
}

/// Requests a second at which latencies are compared: at full speed they would be
/// those of the queue before two busy cores.
const RATE: u32 = 1_000;

/// How the shop is run: a column of the table.
struct Mode {
    name: &'static str,
    processes: usize,
    options: &'static [&'static str],
}

const MODES: [Mode; 3] = [
    Mode { name: "no cache", processes: 1, options: &["--cache", "off"] },
    Mode { name: "local cache", processes: 1, options: &["--cache", "local", "--warm"] },
    Mode { name: "shared cache", processes: 2, options: &["--cache", "shared", "--warm"] },
];

pub(crate) fn run(options: Options) -> Result<(), String> {
    if options.replay.is_some() && !options.fleet {
        return Err("`--replay` is for `--fleet`".to_owned());
    }
    if let Some(lag) = options.lag {
        return replicas::run(options, lag);
    }
    if options.fleet {
        return fleet::run(&options);
    }
    let began = Instant::now();
    servers::provide(&[Need::Postgres, Need::Redis], options.yes)?;
    step(&["build", "--release", "--package", "storefront"])?;
    runtime()?.block_on(show(options, began))
}

async fn show(options: Options, began: Instant) -> Result<(), String> {
    let text = |error: testbed::Error| error.to_string();
    println!("\n== a PostgreSQL and a Redis of its own, on free ports");
    let postgres =
        Postgres::builder().database(shards::DATABASE).start().await.map_err(text)?;
    let redis = Redis::start().await.map_err(text)?;
    let storefront = Storefront::new(postgres.url(), redis.url()).await?;

    let seconds = options.seconds;
    let mut runs = Vec::new();
    let mut open: Vec<Shop> = Vec::new();
    for Mode { name, processes, options } in MODES {
        close(&mut open).await?;
        // The same rows for each: orders use up stock.
        println!("\n== {name}: {}", storefront.seed().await?.trim());
        for n in 0..processes {
            open.push(storefront.open(&n.to_string(), options).await?);
        }
        println!(
            "== {name}: {seconds} s as fast as it answers, {seconds} s at {RATE} requests/s"
        );
        let fast = storefront.load(&open, seconds, None).await?;
        let steady = storefront.load(&open, seconds, Some(RATE)).await?;
        runs.push(Run::new(name, processes, &fast, &steady)?);
    }
    println!(
        "== shared cache: {seconds} s as fast as it answers, and Redis is killed meanwhile"
    );
    let outage = Outage::during(&storefront, &open, &redis, seconds).await?;
    if let Some(shared) = runs.last_mut() {
        shared.count(&outage);
    }

    let shards = Shards::show(&postgres, seconds).await?;

    table::print(&runs, RATE);
    println!();
    let verdict = table::judge(&runs);
    println!("{outage}");
    println!("\n{shards}");
    println!("\nAll of it took {:.0?}.", began.elapsed());
    verdict.and_then(|()| outage.judge()).and_then(|()| shards.judge())?;

    if !options.once {
        println!("\nThe shop's two processes and their warm cache are open until Ctrl-C:");
        wait_for_ctrl_c(&open, &["/products/1", "/users/1", "/metrics"]).await?;
    }
    close(&mut open).await?;
    let stopped = async {
        redis.stop().await?;
        postgres.stop().await
    };
    tokio::time::timeout(Duration::from_secs(10), stopped)
        .await
        .map_err(|_| "PostgreSQL or Redis does not stop; it is killed".to_owned())?
        .map_err(text)
}

/// Says where the shops are, and waits.
async fn wait_for_ctrl_c(
    shops: impl IntoIterator<Item = &Shop>,
    paths: &[&str],
) -> Result<(), String> {
    for shop in shops {
        for path in paths {
            println!("  curl {}{path}", shop.url());
        }
    }
    tokio::signal::ctrl_c().await.map_err(|error| format!("no Ctrl-C is heard: {error}"))
}

async fn close(shops: &mut Vec<Shop>) -> Result<(), String> {
    for shop in shops.drain(..) {
        shop.close().await?;
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_lag_is_a_time_with_its_unit() {
        let lag = |text| Options::parse(&["--lag", text]).map(|options| options.lag);
        assert_eq!(lag("1s"), Ok(Some(Duration::from_secs(1))));
        assert_eq!(lag("1.5s"), Ok(Some(Duration::from_millis(1_500))));
        assert_eq!(lag("250ms"), Ok(Some(Duration::from_millis(250))));
        for wrong in ["", "1", "s", "-1s", "0s", "11s", "NaNs", "1e99s", "1min"] {
            assert!(lag(wrong).is_err(), "{wrong}");
        }
        assert!(Options::parse(&["--lag"]).is_err());
    }
}
