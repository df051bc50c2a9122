//! The shell around [`Policy`]: the store, the epochs, the flights and the
//! clock. The handle and the tower layer are two faces of it.

mod explain;
mod health;
mod load;
mod many;
mod warm;

pub use self::explain::{Explanation, State};
pub(crate) use self::health::Health;
pub use self::warm::{Progress, Warm, WarmReport};

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

pub(crate) struct Engine<K, V> {
    pub(crate) name: Box<str>,
    pub(crate) store: Box<dyn Store<K, V>>,
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
            Verdict::Revalidate => {
                self.metrics.request(Request::Stale);
                Look::Renew(entry, LoadCause::Revalidate)
            }
            Verdict::OnError => Look::Miss(Some(entry)),
            Verdict::Expired | Verdict::Invalidated => Look::Miss(None),
        }
    }

    /// The verdict, and the moment it holds for. Called after the entry was read:
    /// an invalidation that fell before this call is seen.
    #[inline]
    fn judge(&self, life: &Life, hash: u64) -> (Verdict, Tick) {
        let (stamp, now) = (self.epochs.stamp(hash), self.clock.now());
        (self.policy.verdict(life, stamp, now, || 1.0 - fastrand::f64()), now)
    }

    #[inline]
    fn count_fresh(&self, life: &Life, now: Tick) {
        if life.negative {
            self.metrics.request(Request::Negative);
        } else {
            self.metrics.hit(now);
        }
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
        if self.epochs.stamp(hash) != stamp {
            self.metrics.fill(Fill::Overtaken);
            return false;
        }
        let kept = loaded.store && self.keep(key, stamp, began, loaded);
        if !kept {
            // The source no longer vouches for what is there.
            self.store.remove(key);
        }
        self.metrics.fill(if kept { Fill::Stored } else { Fill::NotKept });
        kept
    }

    fn keep(&self, key: &K, stamp: Stamp, began: Tick, loaded: &Loaded<V>) -> bool {
        let cost = self.clock.now().saturating_sub(began);
        let negative = loaded.value.is_none();
        let draw = fastrand::f64();
        let life = self.policy.life(negative, loaded.ttl, stamp, began, cost, draw);
        let Some(life) = life else { return false };
        self.store.insert(key.clone(), Entry { value: loaded.value.clone(), life });
        true
    }

    pub(crate) fn invalidate(&self, key: &K) {
        // The epoch ends first: whoever still reads the entry sees that it did.
        self.epochs.bump(self.hash(key));
        self.store.remove(key);
        self.metrics.invalidated_key();
    }

    pub(crate) fn clear(&self) {
        self.epochs.bump_all();
        self.store.clear();
        self.metrics.invalidated_all();
    }

    pub(crate) fn insert(&self, key: &K, loaded: &Loaded<V>) {
        let hash = self.hash(key);
        let stamp = self.overtake(key, hash);
        // Should the store not take the new value, the old one must not stay: where
        // no epoch ended, its stamp is still good.
        self.store.remove(key);
        // A load that starts from here on reads this value or a newer one, so no
        // lock is held while the store runs.
        self.fill(key, hash, stamp, self.clock.now(), loaded);
    }

    /// The stamp for a value that has just been committed. Who reads the source
    /// now may have read it before that value was there: their epoch ends. With
    /// nobody there, the stripe's other keys are spared.
    fn overtake(&self, key: &K, hash: u64) -> Stamp {
        let shard = self.flights.shard(hash);
        let stamp = self.epochs.stamp(hash);
        let overtakes =
            shard.reservations > 0 || shard.flights.contains_key(&(key.clone(), stamp));
        if overtakes && !cfg!(broken = "no_insert_epoch") {
            return self.epochs.bump(hash);
        }
        stamp
    }

    /// The stamp for a read of the source that is no flight.
    pub(crate) fn reserve(&self, hash: u64) -> Stamp {
        let mut shard = self.flights.shard(hash);
        shard.reservations += 1;
        self.epochs.stamp(hash)
    }

    pub(crate) fn end_reservation(&self, hash: u64) {
        self.flights.shard(hash).reservations -= 1;
    }
}
