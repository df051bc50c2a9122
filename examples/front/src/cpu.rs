//! The CPU that the workers use: each a share of one core, or of what it may use.

use std::collections::HashMap;
use std::fs;
use std::io;
use std::time::Duration;

use autoscale_policy::{
    CPU, EpochMillis, Figure, InstanceId, LocalProcesses, Source, SystemClock, Usage, WallClock,
};
use tokio::time::Instant;

/// Of each worker that runs, from `/proc/PID/stat`.
pub(crate) struct WorkersCpu {
    processes: LocalProcesses,
    /// The cores that are one worker's full use.
    cores: f64,
    last: HashMap<InstanceId, (Instant, Duration)>,
}

impl WorkersCpu {
    pub(crate) fn new(processes: LocalProcesses, cores: f64) -> Self {
        Self { processes, cores, last: HashMap::new() }
    }

    fn usage(&mut self, id: InstanceId, used: Duration, at: EpochMillis) -> Option<Usage> {
        let now = Instant::now();
        let (before, was) = self.last.insert(id, (now, used))?;
        let window = now.duration_since(before);
        let used = used.checked_sub(was)?.as_secs_f64();
        let share = used / window.as_secs_f64();
        share.is_finite().then(|| Usage::new(id, share, at).of(self.cores).over(window))
    }
}

impl Source for WorkersCpu {
    type Error = io::Error;

    fn metric(&self) -> &str {
        CPU
    }

    async fn read(&mut self) -> Result<Option<Figure>, io::Error> {
        let at = SystemClock.now();
        let seen = self.processes.instances();
        self.last.retain(|id, _| seen.iter().any(|instance| instance.id == *id));
        let mut usages = Vec::new();
        for instance in seen.iter() {
            let Some(process) = self.processes.process_id(instance.id) else { continue };
            // One that has just ended has no figure.
            let Ok(stat) = fs::read_to_string(format!("/proc/{process}/stat")) else {
                continue;
            };
            let used = used(&stat).ok_or_else(|| {
                io::Error::other(format!("/proc/{process}/stat has no times"))
            })?;
            usages.extend(self.usage(instance.id, used, at));
        }
        Ok((!usages.is_empty()).then_some(Figure::Instances(usages)))
    }
}

/// Fields 14 and 15 of `proc_pid_stat(5)`, in hundredths of a second on every Linux that
/// there is.
fn used(stat: &str) -> Option<Duration> {
    // The name before them may hold anything, parentheses and spaces as well.
    let (_, after) = stat.rsplit_once(')')?;
    let mut fields = after.split_whitespace().skip(11);
    let user: u64 = fields.next()?.parse().ok()?;
    let system: u64 = fields.next()?.parse().ok()?;
    Some(Duration::from_millis((user + system) * 10))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_times_are_found_behind_any_name() {
        let stat = "42 (a) b (c) S 1 42 42 0 -1 4194560 1 0 0 0 150 50 0 0 20 0 1 0 99 0 0";
        assert_eq!(used(stat), Some(Duration::from_secs(2)));
        assert_eq!(used("42 (a"), None);
    }
}
