//! Confirmations of orders, as work in the background.
//!
//! ```text
//! order -> outbox --relay--> queue in Redis --worker--> mail service
//!            ^                                  |
//!            '--- tried again, set aside -------+--> confirmations
//! ```
//!
//! An order writes a row of the outbox in its own transaction. What counts is that row: the
//! queue only says who may look next, and may lose everything.

mod admin;
mod counts;
mod mail;
mod outage;
mod outbox;
mod places;
mod pool;
mod queue;
mod relay;
mod shelf;
mod verdict;
mod worker;

use std::error::Error;

use clap::{Args, Subcommand};

/// What there is to do with confirmations.
#[derive(Debug, Subcommand)]
pub(crate) enum Command {
    /// Relays orders to the queue, and has as many workers confirm them as that needs. Prints
    /// the operator's URL as the first line.
    Run(Box<pool::Options>),
    /// Confirms orders from the queue, as one worker; at the end it prints what it has done.
    Work(Box<Work>),
    /// Lists what was set aside.
    List(shelf::List),
    /// Has another try at what was set aside.
    Retry(shelf::Retry),
}

/// Options of `storefront confirmations work`.
#[derive(Args, Debug)]
pub(crate) struct Work {
    #[command(flatten)]
    settings: worker::Settings,
    /// For `storefront confirmations run`: says on stdout what it does, as this number, and
    /// ends when stdin does.
    #[arg(long, hide = true)]
    worker: Option<u64>,
}

/// Does it.
///
/// # Errors
///
/// When it cannot, or not all of it.
pub(crate) async fn run(command: Command) -> Result<(), Box<dyn Error>> {
    match command {
        Command::Run(options) => pool::run(*options).await,
        Command::Work(options) => worker::run(options.settings, options.worker).await,
        Command::List(options) => shelf::list(options).await,
        Command::Retry(options) => shelf::retry(options).await,
    }
}

/// What is beside the orders, wherever these are.
pub(crate) fn schema() -> String {
    let schema = include_str!("schema.sql");
    if cfg!(broken = "record_twice") {
        return schema
            .replace("order_id     bigint PRIMARY KEY", "order_id     bigint NOT NULL");
    }
    schema.to_owned()
}
