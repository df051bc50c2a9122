//! Hits, counted without a cache line that all threads write to: on many cores
//! that line would cost more than the rest of a hit.

use std::cell::Cell;
use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};
use std::thread::available_parallelism;

use metrics::Counter;

use crate::clock::Tick;

/// A thread hands its hits over once it has this many, ...
const BATCH: u64 = 64;
/// ... or at a hit that comes this long after its last one, in nanoseconds: as long
/// as hits are that far apart, each is counted at once, and the line costs nothing.
const APART: u64 = 10_000;

/// A counter that is handed what each thread has counted for itself.
#[derive(Debug)]
pub(super) struct Hits {
    counter: Counter,
    slots: Box<[Slot]>,
}

/// Alone on its cache line, and on the next, which processors fetch with it.
#[derive(Debug, Default)]
#[repr(align(128))]
struct Slot {
    pending: AtomicU64,
    last: AtomicU64,
}

impl Hits {
    pub(super) fn new(counter: Counter) -> Self {
        let threads = available_parallelism().map_or(8, usize::from);
        let slots = threads.saturating_mul(2).clamp(2, 64).next_power_of_two();
        Self { counter, slots: (0..slots).map(|_| Slot::default()).collect() }
    }

    #[inline]
    pub(super) fn count(&self, now: Tick) {
        let slot = self.slot();
        let pending = slot.pending.fetch_add(1, Ordering::Relaxed) + 1;
        let since = now.wrapping_sub(slot.last.load(Ordering::Relaxed));
        slot.last.store(now, Ordering::Relaxed);
        // A clock that stands still is a test's, which counts exactly.
        if pending >= BATCH || since >= APART || since == 0 {
            self.hand_over(slot);
        }
    }

    /// Hands over what is pending. For moments when something else is counted, so
    /// that the counters agree.
    pub(super) fn flush(&self) {
        for slot in &self.slots {
            // Read first: most slots are empty, and their line stays shared.
            if slot.pending.load(Ordering::Relaxed) > 0 {
                self.hand_over(slot);
            }
        }
    }

    fn hand_over(&self, slot: &Slot) {
        self.counter.increment(slot.pending.swap(0, Ordering::Relaxed));
    }

    #[inline]
    fn slot(&self) -> &Slot {
        // The count is a power of two, so this keeps the low bits.
        &self.slots[thread_number() & (self.slots.len() - 1)]
    }
}

impl Drop for Hits {
    fn drop(&mut self) {
        self.flush();
    }
}

/// Threads are numbered as they come.
#[inline]
fn thread_number() -> usize {
    static NEXT: AtomicUsize = AtomicUsize::new(0);
    thread_local! {
        static NUMBER: Cell<usize> = Cell::new(NEXT.fetch_add(1, Ordering::Relaxed));
    }
    // A thread that is being torn down shares a slot; nothing is lost by it.
    NUMBER.try_with(Cell::get).unwrap_or(0)
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use metrics::CounterFn;

    use super::*;

    #[derive(Default)]
    struct Sum(AtomicU64);

    impl CounterFn for Sum {
        fn increment(&self, value: u64) {
            self.0.fetch_add(value, Ordering::Relaxed);
        }

        fn absolute(&self, _: u64) {
            unreachable!("hits are only added")
        }
    }

    fn hits() -> (Hits, Arc<Sum>) {
        let sum = Arc::new(Sum::default());
        (Hits::new(Counter::from_arc(Arc::clone(&sum))), sum)
    }

    #[test]
    fn hits_that_are_apart_are_counted_at_once() {
        let (hits, sum) = hits();
        for n in 1..100 {
            hits.count(n * APART);
            assert_eq!(sum.0.load(Ordering::Relaxed), n);
        }
    }

    #[test]
    fn hits_that_are_close_are_handed_over_by_number() {
        let (hits, sum) = hits();
        let seen = || sum.0.load(Ordering::Relaxed);
        let mut now = APART;
        let mut hit = || {
            hits.count(now);
            now += 1;
        };
        hit();
        assert_eq!(seen(), 1);
        (0..BATCH - 1).for_each(|_| hit());
        assert_eq!(seen(), 1);
        hit();
        assert_eq!(seen(), 1 + BATCH);
        hit();
        hits.flush();
        assert_eq!(seen(), 2 + BATCH);
    }

    #[test]
    fn a_clock_that_stands_still_counts_exactly() {
        let (hits, sum) = hits();
        (0..10).for_each(|_| hits.count(0));
        assert_eq!(sum.0.load(Ordering::Relaxed), 10);
    }

    #[test]
    fn no_hit_is_lost_among_threads() {
        let (hits, sum) = hits();
        std::thread::scope(|scope| {
            for _ in 0..8 {
                scope.spawn(|| (1..10_002).for_each(|now| hits.count(now)));
            }
        });
        drop(hits);
        assert_eq!(sum.0.load(Ordering::Relaxed), 80_008);
    }
}
