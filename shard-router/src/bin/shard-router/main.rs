//! Plans, looks at and changes shards. `shard-router help`

/// Prints a line. Whoever read it may be gone, which is an error like others here.
macro_rules! say {
    ($($arguments:tt)*) => {
        std::io::Write::write_fmt(&mut std::io::stdout(), format_args!("{}\n", format_args!($($arguments)*)))?
    };
}

mod check;
mod hot;
mod keys;
mod migrate;
mod plan;

use std::error::Error;
use std::io;
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
type Outcome = Result<(), Box<dyn Error>>;

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
        Err(error) if is_broken_pipe(&*error) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("shard-router: {}", with_causes(&*error));
            ExitCode::FAILURE
        }
    }
}

/// Nobody reads any more, as after `head`.
fn is_broken_pipe(error: &(dyn Error + 'static)) -> bool {
    let kind = error.downcast_ref::<io::Error>().map(io::Error::kind);
    let kind = kind.or_else(|| error.downcast_ref::<serde_json::Error>()?.io_error_kind());
    kind == Some(io::ErrorKind::BrokenPipe)
}

fn with_causes(error: &dyn Error) -> String {
    let mut text = error.to_string();
    let mut cause = error.source();
    while let Some(error) = cause {
        text = format!("{text}: {error}");
        cause = error.source();
    }
    text
}

fn print_json(value: &impl serde::Serialize) -> Outcome {
    say!("{}", serde_json::to_string_pretty(value)?);
    Ok(())
}
