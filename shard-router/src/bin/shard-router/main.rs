//! Plans, looks at and changes shards. `shard-router help`

mod check;
mod hot;
mod keys;
mod migrate;
mod plan;

use std::process::ExitCode;

use clap::{Parser, Subcommand};

/// Plans, looks at and changes the shards of a topology.
#[derive(Parser)]
#[command(name = "shard-router", version)]
struct Cli {
    #[command(subcommand)]
    command: Command,
}

#[derive(Subcommand)]
enum Command {
    /// What a change of the shards moves; asks no server
    Plan(plan::Plan),
    /// Where keys are; asks no server
    Where(keys::Where),
    /// Whether each shard is what the topology says
    Check(check::Check),
    /// The most frequent slots and keys of a list, such as from a log; asks no server
    Hot(hot::Hot),
    /// Runs schema changes on all shards
    Migrate(migrate::Migrate),
}

/// What a command ends with, if not well: printed as it is.
type Outcome = Result<(), Box<dyn std::error::Error>>;

#[tokio::main(flavor = "current_thread")]
async fn main() -> ExitCode {
    let outcome = match Cli::parse().command {
        Command::Plan(command) => command.run(),
        Command::Where(command) => command.run(),
        Command::Check(command) => command.run().await,
        Command::Hot(command) => command.run(),
        Command::Migrate(command) => command.run().await,
    };
    match outcome {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprint!("shard-router: {error}");
            let mut cause = error.source();
            while let Some(error) = cause {
                eprint!(": {error}");
                cause = error.source();
            }
            eprintln!();
            ExitCode::FAILURE
        }
    }
}

fn print_json(value: &impl serde::Serialize) -> Outcome {
    println!("{}", serde_json::to_string_pretty(value)?);
    Ok(())
}
