//! The shell around [`Policy`]: the store, the epochs, the flights and the
//! clock. The handle and the tower layer are two faces of it.

mod explain;
mod floors;
mod health;
mod load;
mod many;
mod many_shared;
mod shared;
mod warm;
mod write;

pub use self::explain::{Explanation, State, TierName};
pub(crate) use self::floors::Floors;
pub(crate) use self::health::Health;
pub use self::warm::{Progress, Warm, WarmReport};
pub(crate) use self::write::Held;

use std::hash::BuildHasher;
use std::sync::Arc;
use std::time::Duration;

use foldhash::quality::RandomState;
use tokio::runtime::Handle;

use crate::clock::{Clock, Tick};
use crate::epoch::{Epochs, Stamp};
use crate::flight::Flights;
use crate::key::CacheKey;
use crate::loaded::{LoadCause, Loaded};
use crate::metrics::{Fill, Metrics, Request};
use crate::policy::{Life, Policy, Verdict};
use crate::store::{Entry, Store};
use crate::tier::Tier;

pub(crate) struct Engine<K, V> {
    pub(crate) name: Box<str>,
    pub(crate) store: Box<dyn Store<K, V>>,
    pub(crate) tier: Option<Arc<Tier<V>>>,
    /// How long a copy of what the tier has is shown without asking it.
    pub(crate) copy_ttl: Duration,
    /// Where there is no tier to keep them.
    pub(crate) floors: Floors<K>,
    pub(crate) epochs: Epochs,
    /// The stripes need independent low bits. Those of foldhash's fast variant
    /// let near numbers meet again and again, under a seed in some hundreds.
    pub(crate) hasher: RandomState,
    pub(crate) flights: Flights<K, V>,
    pub(crate) clock: Clock,
    pub(crate) policy: Policy,
    pub(crate) load_timeout: Duration,
    pub(crate) error_ttl: Duration,
    /// The runtime where the cache was built, for callers that have none.
    pub(crate) runtime: Option<Handle>,
    pub(crate) metrics: Metrics,
    pub(crate) health: Health,
}

/// What the store has for a key now.
pub(crate) enum Look<V> {
    /// To be served.
    Hit(Option<Arc<V>>),
    /// To be served and renewed.
    Renew(Entry<V>, LoadCause),
    /// To be loaded. The entry may be served if that fails.
    Miss(Option<Entry<V>>),
}

impl<K: CacheKey, V: Send + Sync + 'static> Engine<K, V> {
    #[inline]
    pub(crate) fn hash(&self, key: &K) -> u64 {
        self.hasher.hash_one(key)
    }

    /// The hit path.
    #[inline]
    pub(crate) fn look(&self, key: &K) -> Look<V> {
        let Some(entry) = self.store.get(key) else { return Look::Miss(None) };
        let (verdict, now) = self.judge(&entry.life, self.hash(key));
        match verdict {
            Verdict::Fresh => {
                self.count_fresh(&entry.life, now);
                Look::Hit(entry.value)
            }
            Verdict::Early => {
                self.count_fresh(&entry.life, now);
                Look::Renew(entry, LoadCause::Early)
            }
            Verdict::Revalidate if self.tier.is_none() => {
                self.metrics.request(Request::Stale);
                Look::Renew(entry, LoadCause::Revalidate)
            }
            // The tier knows better than a copy of it.
            Verdict::Recheck | Verdict::Revalidate | Verdict::OnError => {
                Look::Miss(Some(entry))
            }
            Verdict::Expired | Verdict::Invalidated => Look::Miss(None),
        }
    }

    /// What is kept under a key of that hash and may be shown, and the moment that holds for.
    #[cfg(feature = "http")]
    pub(crate) fn kept(&self, key: &K, hash: u64) -> (Option<Arc<V>>, Tick) {
        let Some(entry) = self.store.get(key) else { return (None, self.clock.now()) };
        let (verdict, now) = self.judge(&entry.life, hash);
        let shown = matches!(verdict, Verdict::Fresh | Verdict::Early);
        (entry.value.filter(|_| shown), now)
    }

    /// The verdict, and the moment it holds for. Called after the entry was read:
    /// an invalidation that fell before this call is seen.
    #[inline]
    fn judge(&self, life: &Life, hash: u64) -> (Verdict, Tick) {
        let stamp = self.epochs.stamp(hash);
        let now = self.clock.now();
        (self.verdict(life, stamp, now), now)
    }

    #[inline]
    fn verdict(&self, life: &Life, stamp: Stamp, now: Tick) -> Verdict {
        self.policy.verdict(life, stamp, now, || 1.0 - fastrand::f64())
    }

    #[inline]
    fn count_fresh(&self, life: &Life, now: Tick) {
        if life.negative {
            self.metrics.request(Request::Negative);
        } else {
            self.metrics.hit(now);
        }
    }

    /// Whether anything is kept in this process.
    fn keeps_copies(&self) -> bool {
        self.tier.is_none() || !self.copy_ttl.is_zero()
    }

    /// Stores what a load brought, unless its epoch is over.
    pub(crate) fn fill(
        &self,
        key: &K,
        hash: u64,
        stamp: Stamp,
        began: Tick,
        loaded: &Loaded<V>,
    ) -> bool {
        let lifetime = self.lifetime(key, loaded);
        self.fill_for(lifetime, key, hash, stamp, began, began, loaded)
    }

    /// How long a loaded value is to be kept; nothing: not at all.
    fn lifetime(&self, key: &K, loaded: &Loaded<V>) -> Option<Duration> {
        let negative = loaded.value.is_none();
        let lifetime = self.policy.lifetime(negative, loaded.ttl, fastrand::f64())?;
        let kept = loaded.store && self.floors.allow(key, loaded.version, self.clock.now());
        kept.then_some(lifetime)
    }

    /// `current` is a moment at which no process had invalidated the value.
    #[allow(clippy::too_many_arguments, reason = "they are the parts of one load")]
    fn fill_for(
        &self,
        lifetime: Option<Duration>,
        key: &K,
        hash: u64,
        stamp: Stamp,
        began: Tick,
        current: Tick,
        loaded: &Loaded<V>,
    ) -> bool {
        if !self.keeps_copies() {
            return lifetime.is_some();
        }
        if self.epochs.stamp(hash) != stamp {
            self.metrics.fill(Fill::Overtaken);
            return false;
        }
        let Some(lifetime) = lifetime else {
            // The source no longer vouches for what is there.
            self.store.remove(key);
            self.metrics.fill(Fill::NotKept);
            return false;
        };
        let cost = self.clock.now().saturating_sub(began);
        let mut life = Life::new(stamp, began, lifetime, cost, loaded.value.is_none());
        if self.tier.is_some() {
            life = life.shown_for(self.copy_ttl, current);
        }
        self.store.insert(key.clone(), Entry { value: loaded.value.clone(), life });
        self.metrics.fill(Fill::Stored);
        true
    }
}
