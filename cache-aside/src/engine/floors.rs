//! Floors of a cache that is in this process only.

use std::collections::HashMap;
use std::hash::Hash;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use crate::clock::{Tick, nanos};
use crate::version::{Version, VersionFloor};

/// Floors that are kept at most. Past that they are dropped, and are unknown.
const MOST: usize = 10_000;

/// The versions that [`invalidate_at`](crate::CacheAside::invalidate_at) has named.
pub(crate) struct Floors<K> {
    ttl: u64,
    /// Whether one was ever named, for caches that name none.
    any: AtomicBool,
    known: Mutex<Known<K>>,
}

struct Known<K> {
    /// What was named before is not known. An earlier life of this process may have.
    since: Tick,
    floors: HashMap<K, (Version, Tick)>,
}

impl<K: Eq + Hash> Floors<K> {
    pub(crate) fn new(ttl: Duration, now: Tick) -> Self {
        let known = Mutex::new(Known { since: now, floors: HashMap::new() });
        Self { ttl: nanos(ttl), any: AtomicBool::new(false), known }
    }

    pub(crate) fn raise(&self, key: K, version: Version, now: Tick) {
        let mut known = self.known();
        self.any.store(true, Ordering::Release);
        if known.floors.len() >= MOST && !known.floors.contains_key(&key) {
            known.floors.retain(|_, (_, until)| now < *until);
            if known.floors.len() >= MOST {
                known.floors.clear();
                known.since = now;
            }
        }
        let until = now.saturating_add(self.ttl);
        let floor = known.floors.entry(key).or_insert((version, until));
        *floor = (floor.0.max(version), until);
    }

    pub(crate) fn of(&self, key: &K, now: Tick) -> VersionFloor {
        let known = self.known();
        if now < known.since.saturating_add(self.ttl) {
            return VersionFloor::Unknown;
        }
        match known.floors.get(key) {
            Some((version, until)) if now < *until => VersionFloor::AtLeast(*version),
            _ => VersionFloor::None,
        }
    }

    /// Whether a value of that version may be kept.
    pub(crate) fn allow(&self, key: &K, version: Option<Version>, now: Tick) -> bool {
        if !self.any.load(Ordering::Acquire) {
            return true;
        }
        self.known()
            .floors
            .get(key)
            .is_none_or(|(floor, until)| now >= *until || version.is_some_and(|v| v >= *floor))
    }

    fn known(&self) -> MutexGuard<'_, Known<K>> {
        self.known.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const SECOND: Tick = 1_000_000_000;

    #[test]
    fn a_floor_is_known_until_it_runs_out() {
        let floors = Floors::new(Duration::from_secs(10), 0);
        assert_eq!(floors.of(&1, 9 * SECOND), VersionFloor::Unknown);
        assert_eq!(floors.of(&1, 10 * SECOND), VersionFloor::None);
        assert!(floors.allow(&1, None, 10 * SECOND));

        let [low, high] = [5_u64, 6].map(Version::from);
        for version in [high, low] {
            floors.raise(1, version, 10 * SECOND);
        }
        assert_eq!(floors.of(&1, 11 * SECOND), VersionFloor::AtLeast(high));
        assert_eq!(floors.of(&2, 11 * SECOND), VersionFloor::None);
        assert!(!floors.allow(&1, None, 11 * SECOND));
        assert!(!floors.allow(&1, Some(low), 11 * SECOND));
        assert!(floors.allow(&1, Some(high), 11 * SECOND));
        assert_eq!(floors.of(&1, 20 * SECOND), VersionFloor::None);
        assert!(floors.allow(&1, None, 20 * SECOND));
    }

    #[test]
    fn too_many_floors_are_unknown() {
        let floors = Floors::new(Duration::from_secs(10), 0);
        for key in 0..=MOST {
            floors.raise(key, Version::from(1_u64), 20 * SECOND);
        }
        assert_eq!(floors.of(&0, 21 * SECOND), VersionFloor::Unknown);
        assert_eq!(floors.of(&0, 30 * SECOND), VersionFloor::None);
    }
}
