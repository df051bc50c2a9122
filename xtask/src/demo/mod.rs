//! The storefront on a PostgreSQL of its own, without a cache and with one.

mod shop;
mod table;

use std::time::{Duration, Instant};

use testbed::locate::Need;
use testbed::postgres::Postgres;

use self::shop::{Shop, Storefront};
use self::table::Run;
use crate::command::{runtime, step};
use crate::servers;

/// What `cargo xtask demo` was asked for.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Options {
    once: bool,
    yes: bool,
    seconds: u32,
}

impl Options {
    pub(crate) fn parse(words: &[&str]) -> Result<Self, String> {
        let mut options = Self { once: false, yes: false, seconds: 6 };
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
                other => return Err(format!("`cargo xtask demo` does not know `{other}`")),
            }
        }
        Ok(options)
    }
}

/// Requests a second at which latencies are compared: at full speed they would be
/// those of the queue before two busy cores.
const RATE: u32 = 1_000;

/// How the shop is run: a column of the table.
const MODES: [(&str, &[&str]); 3] = [
    ("no cache", &["--cache", "off"]),
    ("cache, cold", &["--cache", "on"]),
    ("cache, warm", &["--cache", "on", "--warm"]),
];

pub(crate) fn run(options: Options) -> Result<(), String> {
    let began = Instant::now();
    servers::provide(&[Need::Postgres], options.yes)?;
    step(&["build", "--release", "--package", "storefront"])?;
    runtime()?.block_on(show(options, began))
}

async fn show(options: Options, began: Instant) -> Result<(), String> {
    let text = |error: testbed::Error| error.to_string();
    println!("\n== a PostgreSQL of its own, on a free port");
    let postgres = Postgres::start().await.map_err(text)?;
    let storefront = Storefront::new(postgres.url()).await?;

    let mut runs = Vec::new();
    let mut open: Option<Shop> = None;
    for (name, mode) in MODES {
        if let Some(shop) = open.take() {
            shop.close().await?;
        }
        // The same rows for each: orders use up stock.
        println!("\n== {name}: {}", storefront.seed().await?.trim());
        let shop = storefront.open(mode).await?;
        let Options { seconds, .. } = options;
        println!(
            "== {name}: {seconds} s as fast as it answers, {seconds} s at {RATE} requests/s"
        );
        let fast = storefront.load(&shop, seconds, None).await?;
        let steady = storefront.load(&shop, seconds, Some(RATE)).await?;
        runs.push(Run::new(name, &fast, &steady)?);
        open = Some(shop);
    }

    table::print(&runs, RATE);
    println!("\nAll of it took {:.0?}.", began.elapsed());
    table::judge(&runs)?;

    let shop = open.ok_or("no shop is open")?;
    if !options.once {
        println!("\nThe shop with its warm cache is open until Ctrl-C:");
        for path in ["/products/1", "/users/1", "/metrics"] {
            println!("  curl {}{path}", shop.url());
        }
        tokio::signal::ctrl_c()
            .await
            .map_err(|error| format!("no Ctrl-C is heard: {error}"))?;
    }
    shop.close().await?;
    tokio::time::timeout(Duration::from_secs(10), postgres.stop())
        .await
        .map_err(|_| "PostgreSQL does not stop; it is killed".to_owned())?
        .map_err(text)
}
