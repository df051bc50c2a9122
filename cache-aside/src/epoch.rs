//! Who was invalidated since: the counters that decide whether a value may be
//! shown.

use std::sync::atomic::{AtomicU64, Ordering};

const FEWEST: usize = 1 << 10;
const MOST: usize = 1 << 20;

/// The epoch of a key at one moment. Two stamps of one key are equal exactly
/// when no invalidation of it fell between them.
///
/// A stamp is its stripe's count plus the count of `clear`s. Both only grow, so
/// equal sums mean that neither has moved.
pub(crate) type Stamp = u64;

/// Striped epochs. Keys of one stripe are invalidated together, which costs a
/// load too many and never shows a value too old.
#[derive(Debug)]
pub(crate) struct Epochs {
    stripes: Box<[AtomicU64]>,
    global: AtomicU64,
}

impl Epochs {
    /// At least one stripe for each of `entries`, from 1,024 to 2^20.
    pub(crate) fn for_entries(entries: usize) -> Self {
        let stripes = entries.clamp(FEWEST, MOST).next_power_of_two();
        Self {
            stripes: (0..stripes).map(|_| AtomicU64::new(0)).collect(),
            global: AtomicU64::new(0),
        }
    }

    #[inline]
    pub(crate) fn stamp(&self, hash: u64) -> Stamp {
        self.stripe(hash).load(Ordering::Acquire) + self.global.load(Ordering::Acquire)
    }

    /// Ends the epoch of `hash`; returns the stamp of the new one.
    pub(crate) fn bump(&self, hash: u64) -> Stamp {
        let stripe = self.stripe(hash).fetch_add(1, Ordering::SeqCst) + 1;
        stripe + self.global.load(Ordering::SeqCst)
    }

    /// Ends every epoch.
    pub(crate) fn bump_all(&self) {
        if !cfg!(broken = "no_global_epoch") {
            self.global.fetch_add(1, Ordering::SeqCst);
        }
    }

    #[inline]
    fn stripe(&self, hash: u64) -> &AtomicU64 {
        // The count is a power of two, so this keeps the low bits.
        &self.stripes[hash as usize & (self.stripes.len() - 1)]
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn the_number_of_stripes_follows_the_capacity() {
        for (entries, stripes) in
            [(0, 1 << 10), (1_025, 1 << 11), (100_000, 1 << 17), (usize::MAX, 1 << 20)]
        {
            assert_eq!(Epochs::for_entries(entries).stripes.len(), stripes);
        }
    }

    proptest! {
        /// Against the plain rule: a stamp holds until its stripe or all is bumped.
        #[test]
        fn stamps_are_equal_exactly_when_nothing_was_bumped(
            bumps in proptest::collection::vec(proptest::option::of(0_u64..4), 0..20),
            key in 0_u64..4,
            from in 0_usize..20,
        ) {
            let epochs = Epochs::for_entries(0);
            let mut taken = (from == 0).then(|| epochs.stamp(key));
            let mut hit = false;
            for (n, bump) in bumps.iter().enumerate() {
                match bump {
                    Some(other) => {
                        let new = epochs.bump(*other);
                        prop_assert_eq!(new, epochs.stamp(*other));
                    }
                    None => epochs.bump_all(),
                }
                hit |= taken.is_some() && bump.is_none_or(|other| other == key);
                if n + 1 == from {
                    taken = Some(epochs.stamp(key));
                }
            }
            if let Some(taken) = taken {
                prop_assert_eq!(taken == epochs.stamp(key), !hit);
            }
        }
    }
}
