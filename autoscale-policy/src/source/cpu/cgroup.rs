use std::fs;
use std::path::{Path, PathBuf};
use std::time::Duration;

use nix::time::ClockId;

use super::{Reading, SourceError, clock, share};

/// The CPU that a cgroup (version 2) uses, as a share of its quota, or of `cores` where
/// it has none: `cpu.stat` and `cpu.max`.
#[derive(Debug)]
pub struct CgroupCpu {
    folder: PathBuf,
    cores: f64,
    last: Option<Reading>,
}

impl CgroupCpu {
    /// The cgroup of this process.
    ///
    /// # Errors
    ///
    /// A system without version 2 of cgroups, or one that does not show this one.
    pub fn own() -> Result<Self, SourceError> {
        let path = Path::new("/proc/self/cgroup");
        let text = read(path)?;
        let line = text.lines().find_map(|line| line.strip_prefix("0::"));
        let own = line.ok_or_else(|| unexpected(path, "line `0::`, of version 2"))?;
        Self::at(Path::new("/sys/fs/cgroup").join(own.trim_start_matches('/')))
    }

    /// The cgroup in this folder.
    ///
    /// # Errors
    ///
    /// A folder without a `cpu.stat` that can be read.
    pub fn at(folder: impl Into<PathBuf>) -> Result<Self, SourceError> {
        let cores = std::thread::available_parallelism().map_or(1.0, |n| n.get() as f64);
        let cgroup = Self { folder: folder.into(), cores, last: None };
        cgroup.used()?;
        Ok(cgroup)
    }

    /// The share that was used since the last call: 1.0 is all of it. `None` at the first.
    /// The quota is read each time, since platforms change it.
    ///
    /// # Errors
    ///
    /// A file that cannot be read any more, or does not say what it should.
    pub fn utilisation(&mut self) -> Result<Option<f64>, SourceError> {
        let reading = Reading { used: self.used()?, at: clock(ClockId::CLOCK_MONOTONIC)? };
        let cores = self.quota()?.unwrap_or(self.cores);
        Ok(share(&mut self.last, reading, cores))
    }

    fn used(&self) -> Result<Duration, SourceError> {
        let path = self.folder.join("cpu.stat");
        let text = read(&path)?;
        let line = text.lines().find_map(|line| line.strip_prefix("usage_usec "));
        let micros = line.and_then(|figure| figure.trim().parse().ok());
        micros
            .map(Duration::from_micros)
            .ok_or_else(|| unexpected(&path, "figure `usage_usec`"))
    }

    /// In cores. The root has no such file, and no quota.
    fn quota(&self) -> Result<Option<f64>, SourceError> {
        let path = self.folder.join("cpu.max");
        let Ok(text) = fs::read_to_string(&path) else { return Ok(None) };
        let mut words = text.split_whitespace();
        let (quota, period) = (words.next().unwrap_or_default(), words.next());
        if quota == "max" {
            return Ok(None);
        }
        let number = |word: &str| word.parse::<f64>().ok().filter(|n| *n > 0.0);
        let cores = number(quota).zip(period.and_then(number)).map(|(q, p)| q / p);
        cores.map(Some).ok_or_else(|| unexpected(&path, "quota and period"))
    }
}

fn read(path: &Path) -> Result<String, SourceError> {
    fs::read_to_string(path).map_err(|error| SourceError::Unreadable(path.to_owned(), error))
}

fn unexpected(path: &Path, what: &'static str) -> SourceError {
    SourceError::Unexpected(path.to_owned(), what)
}
