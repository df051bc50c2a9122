//! Whether a shared store is asked at all.

use std::sync::atomic::{AtomicU32, Ordering};

/// So many failures in a row open a breaker.
const FAILURES: u32 = 5;

const OPEN: u32 = u32::MAX;

/// Closed, with a count of failures in a row, or open. Only the recovery closes it
/// again: no request pays for finding out whether the store is back.
#[derive(Debug, Default)]
pub(crate) struct Breaker(AtomicU32);

impl Breaker {
    #[inline]
    pub(crate) fn is_open(&self) -> bool {
        self.0.load(Ordering::Relaxed) == OPEN
    }

    pub(crate) fn succeeded(&self) {
        // A write to a shared line on every hit would be felt.
        let failures = self.0.load(Ordering::Relaxed);
        if failures != 0 && failures != OPEN {
            let _ = self.0.compare_exchange(failures, 0, Ordering::Relaxed, Ordering::Relaxed);
        }
    }

    /// Whether this failure has opened it.
    pub(crate) fn failed(&self) -> bool {
        let count = |failures| match failures {
            OPEN => None,
            n if n + 1 >= FAILURES => Some(OPEN),
            n => Some(n + 1),
        };
        let before = self.0.fetch_update(Ordering::Relaxed, Ordering::Relaxed, count);
        before.is_ok_and(|failures| failures + 1 >= FAILURES)
    }

    pub(crate) fn close(&self) {
        self.0.store(0, Ordering::Relaxed);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn failures_in_a_row_open_it_once() {
        let breaker = Breaker::default();
        for _ in 0..3 {
            for _ in 1..FAILURES {
                assert!(!breaker.failed());
            }
            breaker.succeeded();
        }
        for n in 1..=FAILURES {
            assert_eq!(breaker.failed(), n == FAILURES);
        }
        assert!(breaker.is_open());
        assert!(!breaker.failed(), "it is open already");
        breaker.succeeded();
        assert!(breaker.is_open(), "a late answer does not close it");
        breaker.close();
        assert!(!breaker.is_open());
    }
}
