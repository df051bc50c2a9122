//! When which responses were purged by something that they have in common: a group, or the
//! beginning of their path.

use std::sync::atomic::{AtomicU64, Ordering};

/// A moment by a clock that counts purges.
pub(super) type Moment = u64;

const STRIPES: usize = 1 << 14;

/// One clock, and for each stripe of marks the moment of its last purge. A response keeps the
/// moment before it was asked for: it was purged if a mark of it has a later one. Marks that
/// share a stripe are purged together, which costs a request too many and never shows what was
/// purged.
#[derive(Debug)]
pub(super) struct Marks {
    now: AtomicU64,
    purged: Box<[AtomicU64]>,
}

impl Marks {
    pub(super) fn new() -> Self {
        Self {
            now: AtomicU64::new(0),
            purged: (0..STRIPES).map(|_| AtomicU64::new(0)).collect(),
        }
    }

    pub(super) fn now(&self) -> Moment {
        self.now.load(Ordering::Acquire)
    }

    /// What was asked for before this returned, and has the mark, is purged.
    pub(super) fn purge(&self, mark: u64) {
        let moment = self.now.fetch_add(1, Ordering::SeqCst) + 1;
        self.stripe(mark).fetch_max(moment, Ordering::SeqCst);
    }

    /// Whether nothing with one of the marks was purged since the moment.
    pub(super) fn hold(&self, marks: &[u64], since: Moment) -> bool {
        since == self.now()
            || marks.iter().all(|mark| self.stripe(*mark).load(Ordering::Acquire) <= since)
    }

    fn stripe(&self, mark: u64) -> &AtomicU64 {
        &self.purged[mark as usize % STRIPES]
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn only_what_has_the_mark_and_is_older_is_purged() {
        let marks = Marks::new();
        let before = marks.now();
        assert!(marks.hold(&[1, 2], before));
        marks.purge(2);
        assert!(!marks.hold(&[1, 2], before));
        assert!(marks.hold(&[1, 3], before));
        let after = marks.now();
        assert!(marks.hold(&[1, 2], after));
        marks.purge(3);
        assert!(marks.hold(&[1, 2], after));
    }

    proptest! {
        #[test]
        fn a_purge_reaches_all_that_was_asked_for_before(
            purges in proptest::collection::vec(0_u64..4, 0..20),
            mine in proptest::collection::vec(0_u64..4, 0..3),
            at in 0_usize..20,
        ) {
            let marks = Marks::new();
            let mut since = marks.now();
            let mut purged = false;
            for (n, mark) in purges.iter().enumerate() {
                if n == at {
                    (since, purged) = (marks.now(), false);
                }
                marks.purge(*mark);
                purged |= mine.contains(mark);
            }
            prop_assert_eq!(marks.hold(&mine, since), !purged);
        }
    }
}
