//! What each layer of a worker costs one request: a worker with all of them beside one without
//! this one, asked in turn, on one connection, one request after the other.

mod asked;
pub(crate) mod cpu;

use std::time::Duration;

use testbed::locate::Need;

use self::asked::Caller;
use self::cpu::Cpu;
use crate::command::{runtime, shop_and_front};
use crate::demo::{Beds, Shop, Storefront};
use crate::servers;

/// Ratios of one block to its neighbour, of each request.
const BLOCKS: usize = 24;

/// Requests in a block.
const REQUESTS: usize = 60;

const SEEDED: [&str; 4] = ["--products", "1000", "--users", "200"];

/// What all workers have.
const ALL: [&str; 6] =
    ["--development-cookies", "--connections", "4", "--cache", "shared", "--warm"];

/// A worker without one of its layers.
struct Without {
    layer: &'static str,
    /// The options that leave it out; with one of these in its place.
    options: &'static [&'static str],
    /// Its orders are in the shop's database, which is another one then.
    beside: bool,
}

/// None is left out by the first: two workers that are the same.
const LAYERS: [Without; 6] = [
    Without { layer: "none (A/A)", options: &ALL, beside: false },
    Without {
        layer: "login",
        options: &[
            "--development-cookies",
            "--connections",
            "4",
            "--cache",
            "shared",
            "--warm",
            "--login",
            "off",
        ],
        beside: false,
    },
    Without {
        layer: "cache",
        options: &["--development-cookies", "--connections", "4", "--cache", "off"],
        beside: false,
    },
    Without { layer: "shards", options: &ALL, beside: true },
    Without {
        layer: "replicas",
        options: &[
            "--development-cookies",
            "--connections",
            "4",
            "--cache",
            "shared",
            "--warm",
            "--reads",
            "primary",
        ],
        beside: false,
    },
    Without {
        layer: "drain",
        options: &[
            "--development-cookies",
            "--connections",
            "4",
            "--cache",
            "shared",
            "--warm",
            "--drain",
            "off",
        ],
        beside: false,
    },
];

/// What is asked for.
#[derive(Clone, Copy)]
enum Request {
    Profile,
    Order,
}

/// Of one block: the median time that an answer took, and the worker's CPU time for each.
#[derive(Clone, Copy)]
struct Block {
    p50: Duration,
    cpu: Duration,
}

pub(crate) fn run(yes: bool) -> Result<(), String> {
    servers::provide(&[Need::Postgres, Need::Redis], yes)?;
    // As `demo --fleet` has them, so that none is built twice.
    shop_and_front()?;
    runtime()?.block_on(show())
}

async fn show() -> Result<(), String> {
    println!("\n== three PostgreSQLs with a replica each, and a Redis");
    let (beds, sharded) = Beds::start().await?;
    println!("== {}", sharded.seed_with(&SEEDED).await?.trim());
    let (beside, other_redis) = beds.beside().await?;
    println!("== with its orders beside: {}", beside.seed_with(&SEEDED).await?.trim());
    let email = beds.email_of(asked::USER).await?;
    println!(
        "\nOne worker, one connection, one request after the other: medians of {BLOCKS} blocks of\n\
         {REQUESTS} requests with all layers, each next to one without the layer. CPU is the worker's,\n\
         with what it does in the background. Ratios: all layers, by without it.\n"
    );
    println!(
        "{:12}{:>9}{:>10}{:>10}{:>8}{:>10}{:>10}{:>8}",
        "without", "request", "p50, us", "all, us", "ratio", "CPU, us", "all, us", "ratio"
    );
    for without in &LAYERS {
        let other = if without.beside { &beside } else { &sharded };
        compare(&sharded, other, without, &email).await?;
    }
    other_redis.stop().await.map_err(|error| error.to_string())?;
    beds.stop().await
}

async fn compare(
    all: &Storefront,
    other: &Storefront,
    without: &Without,
    email: &str,
) -> Result<(), String> {
    let workers = [all.open("all", &ALL).await?, other.open("less", without.options).await?];
    for request in [Request::Profile, Request::Order] {
        let mut callers = Vec::new();
        for worker in &workers {
            callers.push(Caller::new(worker.url(), email).await?);
        }
        let logged_in = [true, without.layer != "login"];
        if [callers[0].has_logged_in(), callers[1].has_logged_in()] != logged_in {
            return Err("a worker has a login that should have none, or none".to_owned());
        }
        let (mut with, mut less) = (Vec::new(), Vec::new());
        for number in 0..=BLOCKS {
            // In either order, so that what drifts drifts for both.
            let mut pair = [None, None];
            for at in if number % 2 == 0 { [0, 1] } else { [1, 0] } {
                pair[at] = Some(block(&workers[at], &mut callers[at], request).await?);
            }
            // The first finds everything cold.
            if let ([Some(one), Some(two)], 1..) = (pair, number) {
                with.push(one);
                less.push(two);
            }
        }
        print(without.layer, request, &with, &less);
    }
    for worker in workers {
        worker.close().await?;
    }
    Ok(())
}

async fn block(worker: &Shop, caller: &mut Caller, request: Request) -> Result<Block, String> {
    let before = Cpu::of(worker.process())?;
    let mut took = Vec::with_capacity(REQUESTS);
    for _ in 0..REQUESTS {
        took.push(match request {
            Request::Profile => caller.profile().await?,
            Request::Order => caller.order().await?,
        });
    }
    let cpu = Cpu::of(worker.process())?.since(before);
    Ok(Block { p50: median(took), cpu: cpu / REQUESTS as u32 })
}

fn median<T: PartialOrd + Copy>(mut values: Vec<T>) -> T {
    values.sort_by(|a, b| a.partial_cmp(b).expect("times and ratios are numbers"));
    values[values.len() / 2]
}

fn print(layer: &str, request: Request, with: &[Block], less: &[Block]) {
    let name = match request {
        Request::Profile => "profile",
        Request::Order => "order",
    };
    print!("{layer:12}{name:>9}");
    for of in [(|block| block.p50) as Figure, |block| block.cpu] {
        let side = |blocks: &[Block]| median(blocks.iter().map(of).collect()).as_secs_f64();
        let pairs = with.iter().zip(less);
        let ratios = pairs.map(|(one, two)| of(one).as_secs_f64() / of(two).as_secs_f64());
        let (less, with, ratio) = (side(less), side(with), median(ratios.collect()));
        print!("{:>10.0}{:>10.0}{ratio:>8.2}", less * 1e6, with * 1e6);
    }
    println!();
}

/// One of a block's figures.
type Figure = fn(&Block) -> Duration;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_median_is_in_the_middle() {
        assert_eq!(median(vec![3.0, 1.0, 2.0]), 2.0);
        assert_eq!(median(vec![Duration::from_secs(1)]), Duration::from_secs(1));
    }
}
