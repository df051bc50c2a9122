use nix::time::ClockId;

use super::{Reading, SourceError, clock, share};

/// The CPU that this process uses, as a share of `cores`.
#[derive(Debug)]
pub struct ProcessCpu {
    cores: f64,
    last: Option<Reading>,
}

impl ProcessCpu {
    /// As a share of all cores that this process may use.
    #[must_use]
    pub fn new() -> Self {
        let cores = std::thread::available_parallelism().map_or(1.0, |n| n.get() as f64);
        Self { cores, last: None }
    }

    /// As a share of this many cores. One below a thousandth counts as that.
    #[must_use]
    pub fn of(cores: f64) -> Self {
        Self { cores: cores.max(0.001), last: None }
    }

    /// The share that was used since the last call: 1.0 is all of it. `None` at the first.
    ///
    /// # Errors
    ///
    /// A system without a CPU clock for processes.
    pub fn utilisation(&mut self) -> Result<Option<f64>, SourceError> {
        let used = clock(ClockId::CLOCK_PROCESS_CPUTIME_ID)?;
        let at = clock(ClockId::CLOCK_MONOTONIC)?;
        Ok(share(&mut self.last, Reading { used, at }, self.cores))
    }
}

impl Default for ProcessCpu {
    fn default() -> Self {
        Self::new()
    }
}
