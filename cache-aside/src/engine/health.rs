//! Says when loads begin to fail and when they work again, and no more often.

use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use crate::clock::{Tick, nanos};
use crate::error::Error;

/// Loads work again once none has failed for this long: a source that fails now
/// and then would otherwise fill the log.
const CALM: Duration = Duration::from_secs(10);

const HEALTHY: u64 = 0;

/// When a load last failed, or that loads work.
#[derive(Debug, Default)]
pub(crate) struct Health(AtomicU64);

impl Health {
    /// Notes how a load ended; logs if that changes the state.
    pub(crate) fn note(&self, cache: &str, error: Option<&Error>, now: Tick) {
        match error {
            Some(error) => {
                if self.0.swap(now.max(1), Ordering::Relaxed) == HEALTHY {
                    // As a `dyn Error`, so that the cause is shown as well.
                    let error = error as &(dyn std::error::Error + 'static);
                    tracing::warn!(cache, error, "loads fail");
                }
            }
            None => {
                if self.recovers(now) {
                    tracing::info!(cache, "loads work again");
                }
            }
        }
    }

    /// Whether a success at `now` ends a time of failures; true for one caller.
    fn recovers(&self, now: Tick) -> bool {
        let failed = self.0.load(Ordering::Relaxed);
        failed != HEALTHY
            && now.saturating_sub(failed) >= nanos(CALM)
            && self
                .0
                .compare_exchange(failed, HEALTHY, Ordering::Relaxed, Ordering::Relaxed)
                .is_ok()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn it_recovers_once_and_after_a_calm() {
        let (health, second) = (Health::default(), 1_000_000_000);
        assert!(!health.recovers(99 * second));
        health.note("test", Some(&Error::Panicked), 0);
        assert!(!health.recovers(9 * second));
        health.note("test", Some(&Error::Panicked), 5 * second);
        assert!(!health.recovers(14 * second));
        assert!(health.recovers(15 * second));
        assert!(!health.recovers(16 * second));
    }
}
