//! The workspace's own commands. `cargo xtask help` lists them.
#![allow(clippy::disallowed_methods, reason = "it tells people how long things took")]

mod command;
mod controls;
mod test;

use std::process::ExitCode;

const HELP: &str = "\
cargo xtask demo [--once] [--yes]   the storefront without and with a cache, on a real PostgreSQL
cargo xtask test                    every test: unit, doc, README, live, features, examples, controls
cargo xtask controls [CRATE]        takes each protection out and shows the test that fails
";

fn main() -> ExitCode {
    let words: Vec<String> = std::env::args().skip(1).collect();
    let words: Vec<&str> = words.iter().map(String::as_str).collect();
    let outcome = match words.as_slice() {
        ["test"] => test::run(),
        ["controls"] => controls::run(None),
        ["controls", krate] => controls::run(Some(krate)),
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
