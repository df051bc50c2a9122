//! When a shard is not worth a try: after some failures in a row, nobody tries for a while,
//! and then one does.

use std::time::Duration;

use tokio::time::Instant;

/// Failures in a row.
const MOST: u32 = 3;
const PAUSE: Duration = Duration::from_millis(500);

#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Breaker {
    failures: u32,
    again: Option<Instant>,
}

impl Breaker {
    /// Whether to try. Whoever may, while it is open, is the only one until the next pause is
    /// over: so one that never comes back keeps nobody out for longer.
    pub(crate) fn admit(&mut self, now: Instant) -> bool {
        match self.again {
            Some(again) if now < again => false,
            Some(_) => {
                self.again = Some(now + PAUSE);
                true
            }
            None => true,
        }
    }

    /// Whether not everybody may try.
    pub(crate) fn is_open(&self) -> bool {
        self.again.is_some()
    }

    pub(crate) fn succeeded(&mut self) {
        *self = Self::default();
    }

    /// Whether it has opened by this.
    pub(crate) fn failed(&mut self, now: Instant) -> bool {
        self.failures = self.failures.saturating_add(1);
        if self.failures >= MOST {
            self.again = Some(now + PAUSE);
        }
        self.failures == MOST
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test(start_paused = true)]
    async fn after_three_failures_one_tries_at_a_time() {
        let mut breaker = Breaker::default();
        let start = Instant::now();
        assert!(!breaker.failed(start) && !breaker.failed(start));
        assert!(breaker.admit(start), "two failures are not enough");
        assert!(breaker.failed(start));
        assert!(!breaker.admit(start));
        let later = start + PAUSE;
        assert!(breaker.admit(later) && !breaker.admit(later), "one at a time");
        assert!(breaker.admit(later + PAUSE), "the one who tried never came back");
        breaker.succeeded();
        assert!(breaker.admit(start) && breaker.admit(start));
    }
}
