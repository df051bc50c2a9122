//! "Why did I get this value?"

use std::fmt;
use std::time::Duration;

use super::Engine;
use crate::clock::{Tick, nanos};
use crate::epoch::Stamp;
use crate::key::{CacheKey, KeyEncoder};
use crate::policy::Verdict;

/// What the cache knows about one key now, and what it would do.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct Explanation {
    /// The name of the cache.
    pub cache: String,
    /// The key's bytes, escaped.
    pub key: String,
    /// What a read would find.
    pub state: State,
    /// Whether the entry says that the source has no such row.
    pub negative: bool,
    /// How long ago the load of the entry began.
    pub age: Option<Duration>,
    /// How long the entry stays fresh from now; zero once it has expired.
    pub fresh_for: Option<Duration>,
    /// Whether a load of this key is under way, or its error is being kept.
    pub loading: bool,
    /// How long after its load began the entry may be served at the latest: its
    /// TTL, and for a value the longer stale window. Where there is no entry, what
    /// the builder's settings give a value.
    pub bound: Duration,
}

/// What a read would find.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum State {
    /// Nothing: a miss.
    Missing,
    /// A fresh entry: a hit.
    Fresh,
    /// An expired entry that is served while it is renewed.
    Stale,
    /// An expired entry that is served only if a load fails.
    StaleIfError,
    /// An entry past every window: a miss.
    Expired,
    /// An entry that was read before an invalidation of its key, or of a key
    /// that shares its stripe: a miss.
    Invalidated,
}

impl<K: CacheKey, V: Send + Sync + 'static> Engine<K, V> {
    pub(crate) fn explain(&self, key: &K) -> Explanation {
        let hash = self.hash(key);
        let stamp = self.epochs.stamp(hash);
        let now = self.clock.now();
        let life = self.store.get(key).map(|entry| entry.life);
        let state = life.map_or(State::Missing, |life| {
            match self.policy.verdict(&life, stamp, now, || 1.0) {
                Verdict::Fresh | Verdict::Early => State::Fresh,
                Verdict::Revalidate => State::Stale,
                Verdict::OnError => State::StaleIfError,
                Verdict::Expired => State::Expired,
                Verdict::Invalidated => State::Invalidated,
            }
        });
        Explanation {
            cache: self.name.to_string(),
            key: KeyEncoder::bytes_of(key).escape_ascii().to_string(),
            state,
            negative: life.is_some_and(|life| life.negative),
            age: life.map(|life| Duration::from_nanos(now.saturating_sub(life.began))),
            fresh_for: life.map(|life| Duration::from_nanos(life.expires.saturating_sub(now))),
            loading: self.is_loading(key, hash, stamp, now),
            bound: life.map_or_else(|| self.policy.hard_ttl(), |life| self.policy.bound(&life)),
        }
    }

    fn is_loading(&self, key: &K, hash: u64, stamp: Stamp, now: Tick) -> bool {
        let limit = nanos(self.waiting_limit());
        let shard = self.flights.shard(hash);
        let flight = shard.flights.get(&(key.clone(), stamp));
        flight.is_some_and(|flight| flight.is_open(now, limit))
    }
}

impl fmt::Display for Explanation {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} \"{}\": ", self.cache, self.key)?;
        f.write_str(match self.state {
            State::Missing => "a miss, nothing is cached",
            State::Fresh => "a hit",
            State::Stale => "a hit, stale while it is renewed",
            State::StaleIfError => "a miss, stale only if the load fails",
            State::Expired => "a miss, expired",
            State::Invalidated => "a miss, invalidated",
        })?;
        if self.negative {
            f.write_str(", known to be absent")?;
        }
        if let Some(age) = self.age {
            write!(f, ", loaded {age:.1?} ago")?;
        }
        if let Some(left) = self.fresh_for.filter(|left| !left.is_zero()) {
            write!(f, ", fresh for {left:.1?}")?;
        }
        if self.loading {
            f.write_str(", a load is under way")?;
        }
        write!(f, "; never served when older than {:.1?}", self.bound)
    }
}
