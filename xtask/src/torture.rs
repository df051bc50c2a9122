//! The tests under faults, for as long as one likes.

use std::time::Instant;

use testbed::locate::Need;

use crate::command::cargo;
use crate::{fuzz, servers};

/// What a test of `live` reads: for how many seconds each fault lasts.
const SECONDS: &str = "TORTURE_SECONDS";

const DEFAULT: u32 = 20;

/// Another: how many operations are checked under each.
const OPERATIONS: &str = "TORTURE_OPERATIONS";

/// A crate's faults.
struct Torture {
    krate: &'static str,
    needs: &'static [Need],
    kind: Kind,
}

enum Kind {
    Live {
        /// The test binary of `live`, and what else `cargo test` is given.
        test: &'static str,
        words: &'static [&'static str],
        length: Length,
    },
    /// A target of libFuzzer, in the crate's folder `fuzz`.
    Fuzz { target: &'static str, seconds: u32 },
}

/// What each fault lasts for.
enum Length {
    Seconds,
    Operations(u32),
    /// All faults together, of which each comes at least once.
    InAll(u32),
}

const TORTURES: &[Torture] = &[
    Torture {
        krate: "cache-aside",
        needs: &[Need::Redis],
        kind: Kind::Live { test: "cache_aside_redis", words: &[], length: Length::Seconds },
    },
    fuzzed("cache-aside", "http_cache_control"),
    fuzzed("cache-aside", "http_dates"),
    fuzzed("cache-aside", "http_ranges"),
    fuzzed("cache-aside", "http_structured_fields"),
    fuzzed("jwt-refresh", "access_token"),
    Torture {
        krate: "rw-split",
        needs: &[Need::Postgres],
        kind: Kind::Live {
            test: "rw_split",
            words: &["--release", "checker::", "--", "--nocapture", "--test-threads=1"],
            length: Length::Operations(20_000),
        },
    },
    Torture {
        krate: "storefront",
        needs: &[Need::Postgres, Need::Redis],
        kind: Kind::Live {
            test: "fleet",
            words: &["torture::the_fleet_stands_every_fault", "--", "--nocapture"],
            length: Length::InAll(300),
        },
    },
];

/// A minute of a target of libFuzzer.
const fn fuzzed(krate: &'static str, target: &'static str) -> Torture {
    Torture { krate, needs: &[], kind: Kind::Fuzz { target, seconds: 60 } }
}

/// `[CRATE] [--seconds N]`
#[derive(Debug)]
pub(crate) struct Options<'a> {
    only: Option<&'a str>,
    seconds: Option<u32>,
}

impl<'a> Options<'a> {
    pub(crate) fn parse(words: &[&'a str]) -> Result<Self, String> {
        let mut options = Self { only: None, seconds: None };
        let mut words = words.iter();
        while let Some(word) = words.next() {
            match *word {
                "--seconds" => {
                    let number = words.next().ok_or("--seconds needs a number")?;
                    let seconds = number.parse().ok().filter(|n| *n > 0);
                    let wrong = || format!("{number} is not a number above 0");
                    options.seconds = Some(seconds.ok_or_else(wrong)?);
                }
                krate if options.only.is_none() && !krate.starts_with('-') => {
                    options.only = Some(krate);
                }
                word => return Err(format!("`cargo xtask torture` has no {word}")),
            }
        }
        Ok(options)
    }
}

pub(crate) fn run(options: Options<'_>) -> Result<(), String> {
    let Options { only, seconds } = options;
    let chosen =
        TORTURES.iter().filter(|torture| only.is_none_or(|only| only == torture.krate));
    let chosen: Vec<_> = chosen.collect();
    if chosen.is_empty() {
        let names: Vec<_> = TORTURES.iter().map(|torture| torture.krate).collect();
        return Err(format!(
            "there is no torture for `{}`; there is for {}",
            only.unwrap_or_default(),
            names.join(", ")
        ));
    }
    for Torture { krate, needs, kind } in chosen {
        servers::provide(needs, false)?;
        let began = Instant::now();
        let mut command = match kind {
            Kind::Live { test, words, length } => {
                let mut command = cargo();
                command.args(["test", "--quiet", "--package", "live", "--test", test]);
                command.args(*words);
                match length {
                    Length::Seconds => {
                        let seconds = seconds.unwrap_or(DEFAULT);
                        println!("\n== {krate}: {seconds} s of each fault");
                        command.env(SECONDS, seconds.to_string());
                    }
                    Length::InAll(usual) => {
                        let seconds = seconds.unwrap_or(*usual);
                        println!("\n== {krate}: {seconds} s of faults");
                        command.env(SECONDS, seconds.to_string());
                    }
                    Length::Operations(operations) => {
                        println!("\n== {krate}: {operations} operations under each fault");
                        command.env(OPERATIONS, operations.to_string());
                    }
                }
                command
            }
            Kind::Fuzz { target, seconds } => {
                println!("\n== {krate}: {seconds} s of any input to {target}");
                fuzz::run(krate, target, *seconds)?
            }
        };
        let status = command.status();
        let status = status.map_err(|error| format!("it could not be started: {error}"))?;
        if !status.success() {
            return Err(format!("{krate} did not stand it ({status})"));
        }
        println!("== {krate}: {:.0?}", began.elapsed());
    }
    Ok(())
}
