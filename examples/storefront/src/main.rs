//! A shop on PostgreSQL that grows one measured step at a time, and the load to measure it.

mod app;
mod cluster;
mod confirmations;
mod db;
mod error;
mod hex_key;
#[cfg(test)]
mod hostile_tests;
mod https;
mod input;
mod load;
mod login;
mod orders;
mod pages;
mod products;
mod read_path;
mod redis_url;
mod reports;
mod rng;
mod seed;
mod serve;
mod servers;
mod sessions;
mod shutdown;
mod statements;
mod unheard;
mod users;
mod worker;
mod write;

use std::error::Error;
use std::fmt;
use std::io::IsTerminal;
use std::process::ExitCode;

use clap::{Args, Parser, Subcommand};
use serde::Serialize;
use tracing_subscriber::Layer;
use tracing_subscriber::filter::{LevelFilter, Targets};
use tracing_subscriber::layer::SubscriberExt;
use tracing_subscriber::util::SubscriberInitExt;

use crate::orders::Shards;
use crate::redis_url::RedisUrl;
use crate::servers::Servers;

/// A shop on PostgreSQL, and the load to measure it.
#[derive(Debug, Parser)]
#[command(version, propagate_version = true)]
struct Cli {
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, Subcommand)]
enum Command {
    /// Fills the schema `storefront` with made-up rows, replacing those that it held.
    Seed {
        #[command(flatten)]
        database: DatabaseUrl,
        #[command(flatten)]
        sizes: seed::Sizes,
        #[command(flatten)]
        shards: Shards,
        /// Clears the cache that shops with `--cache shared` have there.
        #[arg(long, env = "REDIS_URL", hide_env_values = true)]
        redis: Option<RedisUrl>,
        /// Prints what was done as JSON.
        #[arg(long)]
        json: bool,
    },
    /// Opens the shop; prints its URL as the first line.
    Serve {
        #[command(flatten)]
        database: DatabaseUrl,
        #[command(flatten)]
        options: serve::Options,
    },
    /// Confirms orders: in the background, at least once by mail, once on record.
    Confirmations {
        #[command(subcommand)]
        command: confirmations::Command,
    },
    /// Sends a shop's day to one that is open, and reports on it.
    Load {
        #[command(flatten)]
        options: load::Options,
    },
    /// Lets users in who look at what they have just written, and counts what they miss.
    Visit {
        #[command(flatten)]
        options: load::visit::Options,
    },
}

#[derive(Args, Debug)]
struct DatabaseUrl {
    /// postgres://user:password@host:port/database; of a primary and its replicas, the URL of
    /// each, in any order, with commas between.
    #[arg(long, env = "DATABASE_URL", hide_env_values = true)]
    database_url: Servers,
}

#[tokio::main]
async fn main() -> ExitCode {
    let levels = std::env::var("RUST_LOG").ok().and_then(|levels| levels.parse().ok());
    let levels = levels.unwrap_or_else(|| Targets::new().with_default(LevelFilter::INFO));
    let lines = tracing_subscriber::fmt::layer()
        .with_writer(std::io::stderr)
        .with_ansi(std::io::stderr().is_terminal());
    tracing_subscriber::registry().with(lines.with_filter(levels)).init();

    match run(Cli::parse().command).await {
        Ok(()) => ExitCode::SUCCESS,
        Err(e) => {
            eprintln!("error: {}", chain(&*e));
            ExitCode::FAILURE
        }
    }
}

async fn run(command: Command) -> Result<(), Box<dyn Error>> {
    match command {
        Command::Seed { database, sizes, shards, redis, json } => {
            let cached = redis.map(|redis| redis.store()).transpose()?;
            let done = seed::run(database.database_url, sizes, shards.file.as_deref()).await?;
            if let Some(redis) = cached {
                app::forget(redis).await.map_err(Unforgotten)?;
            }
            if json {
                println!("{}", serde_json::to_string(&done)?);
            } else {
                println!(
                    "{} products, {} users, {} orders in {:.1} s (seed {})",
                    done.products, done.users, done.orders, done.seconds, done.seed
                );
            }
            Ok(())
        }
        Command::Serve { database, options } => {
            serve::run(database.database_url, options).await
        }
        Command::Confirmations { command } => confirmations::run(command).await,
        Command::Load { options } => {
            let json = options.json;
            print(&load::run(options).await?, json)
        }
        Command::Visit { options } => {
            let json = options.json;
            print(&load::visit::run(options).await?, json)
        }
    }
}

fn print<T: Serialize + fmt::Display>(report: &T, json: bool) -> Result<(), Box<dyn Error>> {
    if json {
        println!("{}", serde_json::to_string(report)?);
    } else {
        println!("{report}");
    }
    Ok(())
}

/// The rows are there, and a cache that shows others could not be cleared.
#[derive(Debug)]
struct Unforgotten(Box<dyn Error>);

impl fmt::Display for Unforgotten {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(
            "the shop is seeded, but the cache in Redis may still show what was there before; \
             seed again when Redis answers, or flush it",
        )
    }
}

impl Error for Unforgotten {
    fn source(&self) -> Option<&(dyn Error + 'static)> {
        Some(&*self.0)
    }
}

/// The error and its causes, on one line.
fn chain(error: &dyn Error) -> String {
    let mut text = error.to_string();
    let mut cause = error.source();
    while let Some(error) = cause {
        text.push_str(": ");
        text.push_str(&error.to_string());
        cause = error.source();
    }
    text
}

#[cfg(test)]
mod tests {
    use clap::CommandFactory;

    use super::*;

    #[test]
    fn the_options_do_not_contradict_each_other() {
        Cli::command().debug_assert();
    }
}
