//! When which responses were purged by something that they have in common: a group, or the
//! beginning of their path.

use std::sync::atomic::{AtomicU64, Ordering};

/// A moment by a clock that counts purges.
pub(super) type Moment = u64;

pub(super) const STRIPES: usize = 1 << 14;

/// Before all moments, also where nothing was purged.
pub(super) const NEVER: Moment = Moment::MAX;

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
            || (since != NEVER
                && marks.iter().all(|mark| self.stripe(*mark).load(Ordering::Acquire) <= since))
    }

    fn stripe(&self, mark: u64) -> &AtomicU64 {
        &self.purged[stripe_of(mark)]
    }
}

pub(super) fn stripe_of(mark: u64) -> usize {
    mark as usize % STRIPES
}

/// What responses have in common, to be purged by.
pub(super) enum Mark<'m> {
    Uri(&'m str),
    Prefix(&'m str),
    Group(&'m str, &'m [u8]),
}

impl Mark<'_> {
    /// The same in every process, of every version: they tell each other. Somebody who finds
    /// URIs that share a stripe with others gains that they are purged together.
    pub(super) fn number(&self) -> u64 {
        let (kind, parts) = match self {
            Self::Uri(key) => (0, [key.as_bytes(), b""]),
            Self::Prefix(prefix) => (1, [prefix.as_bytes(), b""]),
            Self::Group(origin, name) => (2, [origin.as_bytes(), name]),
        };
        // FNV-1a, and a step of SplitMix64, since stripes are told by the low bits.
        let step =
            |hash: u64, byte: &u8| (hash ^ u64::from(*byte)).wrapping_mul(0x0100_0000_01b3);
        let mut hash = step(0xcbf2_9ce4_8422_2325, &kind);
        for part in parts {
            hash = part.iter().fold(hash, step);
            // No byte of UTF-8, nor of a name that a field can have.
            hash = step(hash, &0xff);
        }
        hash = (hash ^ (hash >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        hash = (hash ^ (hash >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        hash ^ (hash >> 31)
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

    #[test]
    fn never_is_before_every_purge_and_before_none() {
        let marks = Marks::new();
        assert!(!marks.hold(&[1], NEVER));
        marks.purge(1);
        assert!(!marks.hold(&[1], NEVER) && !marks.hold(&[], NEVER));
    }

    /// Servers of another version must agree.
    #[test]
    fn the_numbers_of_marks_never_change() {
        assert_eq!(Mark::Uri("http://h/a").number(), 0xf9e9_4927_9fea_0b1f);
        assert_eq!(Mark::Prefix("http://h/a").number(), 0x3b3d_3278_98ae_9c02);
        assert_eq!(Mark::Group("http://h", b"a").number(), 0xeec4_b275_d003_6d47);
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
