//! What the workers say of themselves, also those that have ended, and what they weigh.

use std::collections::BTreeMap;
use std::fs;
use std::time::{Duration, Instant};

use serde_json::Value;

use crate::demo::shop::ask;

/// Reads that a primary has answered, among the reasons of `rw_split_requests_total`.
const READ_ON_PRIMARY: [&str; 6] =
    ["read_only", "behind", "no_replica", "pinned", "retried", "stale"];

/// How a cache has answered without its source.
const AT_ONCE: [&str; 4] = ["hit", "stale", "negative", "shared"];

/// From here on a worker has what it needs.
const WARM: Duration = Duration::from_secs(2);

/// Counts since a worker's start, or of all of them.
#[derive(Clone, Copy, Default)]
pub(super) struct Counts {
    on_replicas: u64,
    on_primaries: u64,
    cached: u64,
    asked: u64,
}

impl Counts {
    fn read(metrics: &str) -> Self {
        let mut counts = Self::default();
        for line in metrics.lines() {
            let Some((series, value)) = line.rsplit_once(' ') else { continue };
            let Some((name, labels)) = series.split_once('{') else { continue };
            let value = value.parse::<f64>().unwrap_or(0.0) as u64;
            let has = |label: &str, of: &[&str]| {
                of.iter().any(|of| labels.contains(&format!("{label}=\"{of}\"")))
            };
            match name {
                "rw_split_requests_total" if has("target", &["replica"]) => {
                    counts.on_replicas += value;
                }
                "rw_split_requests_total" if has("reason", &READ_ON_PRIMARY) => {
                    counts.on_primaries += value;
                }
                "cache_aside_requests_total" => {
                    counts.asked += value;
                    counts.cached += if has("outcome", &AT_ONCE) { value } else { 0 };
                }
                _ => {}
            }
        }
        counts
    }

    fn plus(self, other: Self) -> Self {
        Self {
            on_replicas: self.on_replicas + other.on_replicas,
            on_primaries: self.on_primaries + other.on_primaries,
            cached: self.cached + other.cached,
            asked: self.asked + other.asked,
        }
    }

    pub(super) fn since(self, before: Self) -> Self {
        Self {
            on_replicas: self.on_replicas.saturating_sub(before.on_replicas),
            on_primaries: self.on_primaries.saturating_sub(before.on_primaries),
            cached: self.cached.saturating_sub(before.cached),
            asked: self.asked.saturating_sub(before.asked),
        }
    }

    #[cfg(test)]
    pub(super) fn some() -> Self {
        Self { on_replicas: 1, on_primaries: 1, cached: 1, asked: 2 }
    }

    /// Of the reads that reached a database, those on replicas, in percent.
    pub(super) fn on_replicas(self) -> f64 {
        percent(self.on_replicas, self.on_replicas + self.on_primaries)
    }

    /// Of the lookups in a cache, those that it has answered, in percent.
    pub(super) fn cached(self) -> f64 {
        percent(self.cached, self.asked)
    }
}

fn percent(part: u64, whole: u64) -> f64 {
    if whole == 0 { 0.0 } else { 100.0 * part as f64 / whole as f64 }
}

/// One of them, by what it said last.
struct Worker {
    counts: Counts,
    seen: Instant,
    /// Resident, in bytes: the first reading when it was warm, and the last.
    memory: Option<(u64, u64)>,
}

/// All that there were.
#[derive(Default)]
pub(super) struct Workers(BTreeMap<u64, Worker>);

impl Workers {
    /// Looks at those in the front's list.
    pub(super) async fn look(&mut self, list: &[Value]) {
        for worker in list {
            let (Some(id), Some(address)) = (worker["id"].as_u64(), worker["address"].as_str())
            else {
                continue;
            };
            // One that ends meanwhile has said what it had to say.
            let said = ask(&format!("http://{address}"), "GET", "/metrics").await;
            let Ok(metrics) = said else { continue };
            let known = self.0.entry(id).or_insert_with(|| Worker {
                counts: Counts::default(),
                seen: Instant::now(),
                memory: None,
            });
            known.counts = Counts::read(&metrics);
            let resident = worker["process"].as_u64().and_then(resident);
            if let Some(now) = resident.filter(|_| known.seen.elapsed() >= WARM) {
                let first = known.memory.map_or(now, |(first, _)| first);
                known.memory = Some((first, now));
            }
        }
    }

    pub(super) fn counts(&self) -> Counts {
        self.0.values().fold(Counts::default(), |sum, worker| sum.plus(worker.counts))
    }

    /// The mean of the first readings and of the last, in MB.
    pub(super) fn memory(&self) -> (f64, f64) {
        let readings: Vec<_> = self.0.values().filter_map(|worker| worker.memory).collect();
        let mean = |sum: u64| sum as f64 / readings.len().max(1) as f64 / 1e6;
        (
            mean(readings.iter().map(|(first, _)| first).sum()),
            mean(readings.iter().map(|(_, last)| last).sum()),
        )
    }
}

/// What a process has in memory, in bytes.
fn resident(process: u64) -> Option<u64> {
    let status = fs::read_to_string(format!("/proc/{process}/status")).ok()?;
    let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:"))?;
    Some(1024 * line.trim().strip_suffix("kB")?.trim().parse::<u64>().ok()?)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn shares_are_of_reads_and_of_lookups() {
        let counts = Counts::read(
            "rw_split_requests_total{target=\"replica\",reason=\"read_only\"} 90\n\
             rw_split_requests_total{target=\"primary\",reason=\"behind\"} 10\n\
             rw_split_requests_total{target=\"primary\",reason=\"write\"} 11\n\
             cache_aside_requests_total{cache=\"product\",outcome=\"hit\"} 3\n\
             cache_aside_requests_total{cache=\"product\",outcome=\"miss\"} 1\n",
        );
        assert_eq!((counts.on_replicas(), counts.cached()), (90.0, 75.0));
        assert_eq!(Counts::default().cached(), 0.0);
    }

    #[test]
    fn this_process_has_something_in_memory() {
        assert!(resident(std::process::id().into()).is_some_and(|bytes| bytes > 100_000));
        assert_eq!(resident(u64::MAX), None);
    }
}
