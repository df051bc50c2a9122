use std::path::PathBuf;

use autoscale_policy::sim::Generator;
use clap::{Parser, Subcommand, ValueEnum};

/// Replays load under several policies and compares them.
#[derive(Debug, Parser)]
#[command(version)]
pub(crate) struct Args {
    #[command(subcommand)]
    pub(crate) command: Command,
}

#[derive(Debug, Subcommand)]
pub(crate) enum Command {
    /// Prints a table of policies and their frontiers, and draws them.
    Compare {
        #[command(flatten)]
        source: Source,
        /// A TOML file with a policy in each table; the presets by default.
        #[arg(long)]
        policies: Option<PathBuf>,
        /// A folder for decisions.svg, decisions.png, frontier.svg and frontier.png.
        #[arg(long)]
        out: Option<PathBuf>,
        /// How many hours of decisions to draw.
        #[arg(long, default_value_t = 12.0)]
        hours: f64,
        /// From which hour on; around the highest value by default.
        #[arg(long)]
        from: Option<f64>,
    },
    /// Prints a load as CSV.
    Generate {
        /// steps, ramps, diurnal, noise or flash.
        generator: Generator,
        #[arg(long, default_value_t = 1)]
        seed: u64,
        #[arg(long, default_value_t = 7, value_parser = clap::value_parser!(u32).range(1..=3_660))]
        days: u32,
    },
}

#[derive(Debug, clap::Args)]
pub(crate) struct Source {
    /// steps, ramps, diurnal, noise, flash, or a CSV file: t_s,value in requests a second.
    #[arg(long)]
    pub(crate) load: String,
    /// Of a generator.
    #[arg(long, default_value_t = 1)]
    pub(crate) seed: u64,
    /// Of a generator.
    #[arg(long, default_value_t = 7, value_parser = clap::value_parser!(u32).range(1..=3_660))]
    pub(crate) days: u32,
    /// Which part of the load: the first half to tune on, the second to report.
    #[arg(long, value_enum, default_value_t = Half::All)]
    pub(crate) half: Half,
    /// How long an instance takes until it is ready.
    #[arg(long, default_value = "2m")]
    pub(crate) warm_up: humantime::Duration,
    /// How many instances at full use the peak is.
    #[arg(long, default_value_t = 14.0)]
    pub(crate) peak_instances: f64,
    /// The peak in requests a second; the load's highest value by default.
    #[arg(long)]
    pub(crate) peak: Option<f64>,
}

#[derive(Clone, Copy, Debug, ValueEnum)]
pub(crate) enum Half {
    All,
    First,
    Second,
}
