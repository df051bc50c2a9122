//! Ids that are unique over all shards and say nothing of where a row is, so that rows may
//! move: 64 bits, and UUIDs of version 7.

use std::fmt;
#[cfg(any(test, feature = "test-util"))]
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use crate::key::UuidBytes;

/// The wall clock; a fake one for tests.
#[derive(Clone)]
pub struct WallClock(Kind);

#[derive(Clone)]
enum Kind {
    System,
    #[cfg(any(test, feature = "test-util"))]
    Fake(Arc<AtomicU64>),
}

impl WallClock {
    /// The system's.
    pub const fn system() -> Self {
        Self(Kind::System)
    }

    /// One that stands still at so many milliseconds after 1970, until somebody stores others.
    #[cfg(any(test, feature = "test-util"))]
    pub fn fake(millis: Arc<AtomicU64>) -> Self {
        Self(Kind::Fake(millis))
    }

    #[allow(clippy::disallowed_methods, reason = "the one place where it is read")]
    fn millis(&self) -> u64 {
        match &self.0 {
            Kind::System => {
                let now = SystemTime::now().duration_since(UNIX_EPOCH);
                u64::try_from(now.unwrap_or(Duration::ZERO).as_millis()).unwrap_or(0)
            }
            #[cfg(any(test, feature = "test-util"))]
            Kind::Fake(millis) => millis.load(Ordering::Acquire),
        }
    }
}

impl fmt::Debug for WallClock {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("WallClock")
    }
}

/// Makes ids of 63 bits that grow with time: 41 bits of milliseconds since 2020, until 2089,
/// 10 of the process, 12 of a count. They fit `bigint`, and are positive.
///
/// ```
/// use shard_router::IdGenerator;
///
/// let ids = IdGenerator::new(7)?; // another number for each process
/// let (one, next) = (ids.next_id(), ids.next_id());
/// assert!(0 < one && one < next);
/// # Ok::<_, shard_router::ProcessNumberError>(())
/// ```
///
/// Within a process they are unique and grow, also when the clock goes back, or when more than
/// 4,096 are made in a millisecond: then they run ahead of it. Over processes they are unique
/// as long as no two have one number at a time, and a process that takes over another's
/// number starts after the time that this one's ids had come to.
#[derive(Debug)]
pub struct IdGenerator {
    process: u64,
    /// Milliseconds and count of the last id.
    last: AtomicU64,
    clock: WallClock,
}

/// 2020-01-01.
const START: u64 = 1_577_836_800_000;
const COUNT_BITS: u32 = 12;
const PROCESS_BITS: u32 = 10;

/// A number that no process may have.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ProcessNumberError {
    number: u16,
}

impl fmt::Display for ProcessNumberError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} is no number of a process: it is below 1024", self.number)
    }
}

impl std::error::Error for ProcessNumberError {}

impl IdGenerator {
    /// For the process of this number, from 0 to 1023, which no other has.
    ///
    /// # Errors
    ///
    /// A number from 1024 on.
    pub const fn new(process: u16) -> Result<Self, ProcessNumberError> {
        if process >= 1 << PROCESS_BITS {
            return Err(ProcessNumberError { number: process });
        }
        let last = AtomicU64::new(0);
        Ok(Self { process: process as u64, last, clock: WallClock::system() })
    }

    /// With another clock.
    #[must_use]
    pub fn clock(mut self, clock: WallClock) -> Self {
        self.clock = clock;
        self
    }

    /// The next id.
    pub fn next_id(&self) -> i64 {
        let now = self.clock.millis().saturating_sub(START) << COUNT_BITS;
        let next = |last: u64| (last + 1).max(now);
        let last = self
            .last
            .fetch_update(Ordering::AcqRel, Ordering::Acquire, |last| Some(next(last)));
        let time_and_count = next(last.unwrap_or_else(|last| last));
        let (time, count) =
            (time_and_count >> COUNT_BITS, time_and_count & ((1 << COUNT_BITS) - 1));
        let id = (time << (PROCESS_BITS + COUNT_BITS)) | (self.process << COUNT_BITS) | count;
        (id & (u64::MAX >> 1)) as i64
    }

    /// A UUID of version 7 (RFC 9562, section 5.7): 48 bits of milliseconds, 12 of a count that
    /// keeps those of one process in order (its method 1), the rest random.
    pub fn next_uuid(&self) -> UuidBytes {
        let now = self.clock.millis() << COUNT_BITS;
        let next = |last: u64| (last + 1).max(now);
        static LAST: AtomicU64 = AtomicU64::new(0);
        let last =
            LAST.fetch_update(Ordering::AcqRel, Ordering::Acquire, |last| Some(next(last)));
        let time_and_count = next(last.unwrap_or_else(|last| last));
        let mut raw = [0; 16];
        raw[..6].copy_from_slice(&(time_and_count >> COUNT_BITS).to_be_bytes()[2..]);
        let count = (time_and_count & 0xFFF) as u16 | 0x7000;
        raw[6..8].copy_from_slice(&count.to_be_bytes());
        if getrandom::fill(&mut raw[8..]).is_err() {
            // No randomness of the system: an id is no secret.
            raw[8..].copy_from_slice(&fastrand::u64(..).to_be_bytes());
        }
        raw[8] = raw[8] & 0x3F | 0x80;
        UuidBytes(raw)
    }
}

#[cfg(test)]
mod tests {
    use std::collections::HashSet;
    use std::thread;

    use super::*;

    #[test]
    fn ids_are_unique_and_grow_when_the_clock_goes_back() {
        let millis = Arc::new(AtomicU64::new(START + 1_000_000));
        let ids = IdGenerator::new(5).unwrap().clock(WallClock::fake(Arc::clone(&millis)));
        let mut last = 0;
        for number in 0..20_000 {
            if number == 10_000 {
                millis.store(START, Ordering::Release);
            }
            let id = ids.next_id();
            assert!(id > last, "{number}");
            assert_eq!(id >> 12 & 1023, 5);
            last = id;
        }
        assert!(IdGenerator::new(1024).is_err());
    }

    #[test]
    fn threads_never_get_one_id_twice() {
        let ids = IdGenerator::new(1).unwrap();
        let of_thread = || (0..20_000).map(|_| ids.next_id()).collect::<Vec<_>>();
        let all: Vec<_> = thread::scope(|scope| {
            let threads: Vec<_> = (0..4).map(|_| scope.spawn(of_thread)).collect();
            threads.into_iter().flat_map(|thread| thread.join().unwrap()).collect()
        });
        assert_eq!(all.iter().collect::<HashSet<_>>().len(), 80_000);
    }

    #[test]
    fn uuids_are_of_version_7_and_in_order() {
        let ids = IdGenerator::new(1).unwrap();
        let mut last = UuidBytes([0; 16]);
        for _ in 0..10_000 {
            let uuid = ids.next_uuid();
            assert!(uuid > last);
            let text = uuid.to_string();
            assert_eq!(&text[14..15], "7");
            assert!(matches!(&text[19..20], "8" | "9" | "a" | "b"), "{text}");
            last = uuid;
        }
    }
}
