//! The CPU that this process or its cgroup uses.

mod cgroup;
mod process;

use std::path::PathBuf;
use std::time::Duration;
use std::{fmt, io};

use nix::time::{ClockId, clock_gettime};

use super::{Figure, Source};
use crate::observation::CPU;

pub use self::cgroup::CgroupCpu;
pub use self::process::ProcessCpu;

/// Why a source has no figure. It counts as a failure: give the scaler a
/// [`Sample::unreachable`](crate::Sample::unreachable).
#[derive(Debug)]
#[non_exhaustive]
pub enum SourceError {
    /// A file could not be read.
    Unreadable(PathBuf, io::Error),
    /// A file does not say what it should.
    Unexpected(PathBuf, &'static str),
    /// A clock could not be read.
    Clock(io::Error),
}

impl fmt::Display for SourceError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Unreadable(path, error) => write!(f, "{}: {error}", path.display()),
            Self::Unexpected(path, what) => write!(f, "{}: there is no {what}", path.display()),
            Self::Clock(error) => write!(f, "the CPU clock: {error}"),
        }
    }
}

impl std::error::Error for SourceError {
    fn source(&self) -> Option<&(dyn std::error::Error + 'static)> {
        match self {
            Self::Unreadable(_, error) | Self::Clock(error) => Some(error),
            Self::Unexpected(..) => None,
        }
    }
}

/// From one time to the next.
#[derive(Clone, Copy, Debug)]
struct Reading {
    used: Duration,
    at: Duration,
}

/// The share of `cores` that was used between two readings; none at the first, or where
/// no time has passed.
fn share(last: &mut Option<Reading>, now: Reading, cores: f64) -> Option<f64> {
    let before = last.replace(now)?;
    let passed = now.at.checked_sub(before.at)?.as_secs_f64();
    // A counter that goes back was started anew.
    let used = now.used.checked_sub(before.used)?.as_secs_f64();
    (passed > 0.0).then(|| used / passed / cores)
}

fn clock(clock: ClockId) -> Result<Duration, SourceError> {
    clock_gettime(clock).map(Duration::from).map_err(|error| SourceError::Clock(error.into()))
}

/// Of the one process: a fleet of several is measured by who sees all of them.
impl Source for ProcessCpu {
    type Error = SourceError;

    fn metric(&self) -> &str {
        CPU
    }

    async fn read(&mut self) -> Result<Option<Figure>, SourceError> {
        Ok(self.utilisation()?.map(Figure::Fleet))
    }
}

/// Of all processes in the cgroup.
impl Source for CgroupCpu {
    type Error = SourceError;

    fn metric(&self) -> &str {
        CPU
    }

    async fn read(&mut self) -> Result<Option<Figure>, SourceError> {
        Ok(self.utilisation()?.map(Figure::Fleet))
    }
}
