//! The workspace's own commands. `cargo xtask help` lists them.
#![allow(clippy::disallowed_methods, reason = "it tells people how long things took")]

mod bench_http;
mod budget;
mod command;
mod controls;
mod demo;
mod fuzz;
mod overhead;
mod rfc;
mod servers;
mod test;
mod torture;

use std::process::ExitCode;

const HELP: &str = "\
cargo xtask demo [--once] [--yes] [--seconds N]
    the storefront without a cache, with one, and as two processes that share one
    in Redis, on servers of its own: N seconds (6) of load at full speed and N at a
    given rate on each, and N in which Redis is killed; the storefront with its
    orders on two shards, for N / 3 seconds; tables; then it stays open until
    Ctrl-C, unless --once
cargo xtask demo --lag TIME [--once] [--yes] [--seconds N]
    the storefront on a primary and two replicas that are TIME (1s, 250ms) behind,
    read by a plain round robin and by rw-split: users who look at what they have
    written, for 3 N seconds (18); a table; it needs no Redis
cargo xtask demo --fleet [--once] [--yes] [--replay FILE.csv]
    the storefront as workers behind a front that scales them, with replicas of its
    database and of two shards, a cache, users who are logged in, and confirmations
    of their orders: a load that rises and falls, or that of a file of t_s,value; a
    line a second, each decision, a table
cargo xtask overhead [--yes]
    what each layer of a worker costs a request: p50 and CPU of a profile and of an
    order, with all layers and without this one, in interleaved blocks; a table
cargo xtask bench-http [--yes]
    what a hit costs through http-cache-proxy, beside nginx and the same kind of
    proxy with http-cache-tower: CPU, requests a second and memory, one core each,
    in interleaved blocks; tables
cargo xtask test [--yes]
    everything: unit, doc, README and live tests, examples, each feature, controls
cargo xtask controls [CRATE [NAME]]
    takes each protection out, one at a time, or the one that the source calls NAME,
    and shows the test that fails
cargo xtask rfc
    whether each rule of RFC 9111 in cache-aside/docs/rfc9111.md has tests that exist

cargo xtask torture [CRATE] [--seconds N]
    the live tests under faults in their long form, and a table: N seconds (20)
    of each fault, or 20,000 operations under each where operations are counted,
    or a minute of fuzzing; of the storefront as a fleet, N seconds (300) of all

What is missing (PostgreSQL, Redis, nginx, wrk) is installed: on a terminal it is asked for
first, unless --yes or the environment variable CI is given.
";

fn main() -> ExitCode {
    let words: Vec<String> = std::env::args().skip(1).collect();
    let words: Vec<&str> = words.iter().map(String::as_str).collect();
    let outcome = match words.as_slice() {
        ["demo", words @ ..] => demo::Options::parse(words).and_then(demo::run),
        ["overhead"] => overhead::run(false),
        ["overhead", "--yes"] => overhead::run(true),
        ["bench-http"] => bench_http::run(false),
        ["bench-http", "--yes"] => bench_http::run(true),
        ["test"] => test::run(false),
        ["test", "--yes"] => test::run(true),
        ["controls"] => controls::run(None, None),
        ["controls", krate] => controls::run(Some(krate), None),
        ["controls", krate, broken] => controls::run(Some(krate), Some(broken)),
        ["rfc"] => rfc::run(),
        ["torture", words @ ..] => torture::Options::parse(words).and_then(torture::run),
        [] | ["help" | "--help" | "-h"] => {
            print!("{HELP}");
            Ok(())
        }
        _ => Err(format!("there is no `cargo xtask {}`\n\n{HELP}", words.join(" "))),
    };
    match outcome {
        Ok(()) => ExitCode::SUCCESS,
        Err(message) => {
            eprintln!("\n{message}");
            ExitCode::FAILURE
        }
    }
}
