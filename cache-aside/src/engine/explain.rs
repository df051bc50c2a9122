//! "Why did I get this value?"

use std::fmt;
use std::time::Duration;

use super::Engine;
use crate::clock::{Tick, nanos};
use crate::epoch::Stamp;
use crate::key::{CacheKey, KeyEncoder};
use crate::policy::{Life, Verdict};
use crate::tier::Sought;

/// What the cache knows about one key now, and what it would do.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct Explanation {
    /// The name of the cache.
    pub cache: String,
    /// The key's bytes, escaped.
    pub key: String,
    /// Where it was found: in this process, or else in the second tier.
    pub tier: Option<TierName>,
    /// What a read would find.
    pub state: State,
    /// Whether there is a second tier that is not asked for this key now: it failed
    /// shortly before, or has yet to acknowledge an invalidation.
    pub bypassed: bool,
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

/// Where an entry is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum TierName {
    /// In this process.
    Local,
    /// In the store that processes share.
    Shared,
}

/// What a read would find.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum State {
    /// Nothing: a miss.
    Missing,
    /// A fresh entry: a hit.
    Fresh,
    /// A copy that has not expired, and whose time in this process is over: the second
    /// tier is asked, and does not have it.
    Unchecked,
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
    pub(crate) async fn explain(&self, key: &K) -> Explanation {
        let hash = self.hash(key);
        let stamp = self.epochs.stamp(hash);
        let bytes = KeyEncoder::bytes_of(key);
        let mut life = self.store.get(key).map(|entry| entry.life);
        let mut tier = life.is_some().then_some(TierName::Local);
        let mut verdict = life.map(|life| self.verdict_now(&life, hash));
        if let Some(second) = &self.tier
            && !matches!(verdict, Some(Verdict::Fresh | Verdict::Early))
            && let Sought::Copied(copied) = second.read(&bytes).await
        {
            let found = self.entry(copied, stamp, self.clock.now()).life;
            (life, tier) = (Some(found), Some(TierName::Shared));
            verdict = Some(self.verdict_now(&found, hash));
        }
        let state = verdict.map_or(State::Missing, |verdict| match verdict {
            Verdict::Fresh | Verdict::Early => State::Fresh,
            Verdict::Recheck => State::Unchecked,
            Verdict::Revalidate => State::Stale,
            Verdict::OnError => State::StaleIfError,
            Verdict::Expired => State::Expired,
            Verdict::Invalidated => State::Invalidated,
        });
        let (stamp, now) = (self.epochs.stamp(hash), self.clock.now());
        Explanation {
            cache: self.name.to_string(),
            key: bytes.escape_ascii().to_string(),
            tier,
            state,
            bypassed: self.tier.as_ref().is_some_and(|tier| tier.is_silent(&bytes)),
            negative: life.is_some_and(|life| life.negative),
            age: life.map(|life| Duration::from_nanos(now.saturating_sub(life.began))),
            fresh_for: life.map(|life| Duration::from_nanos(life.expires.saturating_sub(now))),
            loading: self.is_loading(key, hash, stamp, now),
            bound: life.map_or_else(|| self.policy.hard_ttl(), |life| self.policy.bound(&life)),
        }
    }

    fn verdict_now(&self, life: &Life, hash: u64) -> Verdict {
        self.policy.verdict(life, self.epochs.stamp(hash), self.clock.now(), || 1.0)
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
            State::Unchecked => "a miss, the copy is to be checked",
            State::Stale => "a hit, stale while it is renewed",
            State::StaleIfError => "a miss, stale only if the load fails",
            State::Expired => "a miss, expired",
            State::Invalidated => "a miss, invalidated",
        })?;
        if self.tier == Some(TierName::Shared) {
            f.write_str(" in the second tier")?;
        }
        if self.bypassed {
            f.write_str(", the second tier is bypassed")?;
        }
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
