//! Replays load and compares policies before anybody trusts one.
//!
//! ```
//! use autoscale_policy::sim::{Generator, World};
//! use autoscale_policy::{Policy, Threshold};
//!
//! let load = Generator::Steps.load(1, 2); // seed 1, two days
//! let world = World::default();
//! let run = world.run(&load, &Policy::from(Threshold::default())).unwrap();
//! println!("{:.2} % of requests are slow, at {:.2} times the least cost",
//!     run.score.violation * 100.0, run.score.cost);
//! ```
//!
//! What it simulates: requests as a fluid that one queue holds before the ready
//! instances. An instance is billed from the moment that it is asked for, and works once
//! it is warm. Requests that wait for 30 s are given up. Metrics are those of the last
//! tick, and exact. What it leaves out: how requests differ, how instances differ, what
//! a metrics pipeline adds in delay and noise. So it compares policies; it does not
//! foretell a figure of yours.

mod csv;
mod engine;
mod frontier;
mod generate;
mod plot;
mod score;

pub use self::csv::CsvError;
pub use self::engine::{Run, Tick, World};
pub use self::frontier::{Frontier, FrontierPoint, Standing};
pub use self::generate::Generator;
pub use self::plot::{Plot, PlotError};
pub use self::score::Score;

use std::time::Duration;

use crate::error::Refusal;

/// Requests a second over time.
#[derive(Clone, Debug, PartialEq)]
pub struct Load {
    /// How long each value lasts.
    pub step: Duration,
    /// Requests a second.
    pub values: Vec<f64>,
}

impl Load {
    /// The first half of it, to tune on.
    #[must_use]
    pub fn first_half(&self) -> Self {
        let half = self.values.len() / 2;
        Self { step: self.step, values: self.values[..half].to_vec() }
    }

    /// The second half of it, to report.
    #[must_use]
    pub fn second_half(&self) -> Self {
        let half = self.values.len() / 2;
        Self { step: self.step, values: self.values[half..].to_vec() }
    }

    /// The most requests a second.
    #[must_use]
    pub fn peak(&self) -> f64 {
        self.values.iter().copied().fold(0.0, f64::max)
    }

    /// How long it lasts.
    #[must_use]
    pub fn length(&self) -> Duration {
        self.step.saturating_mul(u32::try_from(self.values.len()).unwrap_or(u32::MAX))
    }

    /// The hour from which on twelve hours show its highest value.
    #[must_use]
    pub fn busiest_hour(&self) -> f64 {
        let most = self.values.iter().enumerate().max_by(|a, b| a.1.total_cmp(b.1));
        let hour = most.map_or(0.0, |(at, _)| at as f64 * self.step.as_secs_f64() / 3600.0);
        let length = self.length().as_secs_f64() / 3600.0;
        (hour - 6.0).min(length - 12.0).max(0.0).floor()
    }

    fn check(&self) -> Result<(), Refusal> {
        if self.step < Duration::from_secs(1) {
            return Err(Refusal::new("load.step", self.step, "at least 1s"));
        }
        match self.values.iter().find(|value| !(0.0..=1e15).contains(*value)) {
            Some(value) => {
                Err(Refusal::new("load.values", value, "must be requests a second, from 0 on"))
            }
            None => Ok(()),
        }
    }

    /// The value at this time; the last one after its end.
    fn at(&self, time: Duration) -> f64 {
        let at = (time.as_millis() / self.step.as_millis().max(1)) as usize;
        self.values.get(at).or_else(|| self.values.last()).copied().unwrap_or(0.0)
    }
}
