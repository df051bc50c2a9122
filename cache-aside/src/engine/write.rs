//! What writers do: invalidate, clear, insert, reserve.

use std::sync::Arc;
use std::time::Duration;

use super::Engine;
use crate::clock::Tick;
use crate::epoch::Stamp;
use crate::error::Error;
use crate::key::{CacheKey, KeyEncoder};
use crate::loaded::Loaded;
use crate::shared::{Lease, SharedError};
use crate::tier::{Content, Tier, Writing, Written};
use crate::version::Version;

/// The lease of a reservation, where there is a second tier.
pub(crate) enum Held {
    /// There is no second tier, or it is silent: the epoch decides.
    Epoch,
    /// The tier decides.
    Lease(Lease),
    /// Another process loads it: nothing is to be stored.
    Nothing,
}

impl<K: CacheKey, V: Send + Sync + 'static> Engine<K, V> {
    /// # Cancel safety
    ///
    /// The first poll invalidates in this process. Dropped before its end, the second
    /// tier is invalidated in the background, and not asked for the key until then.
    pub(crate) async fn invalidate(
        &self,
        key: &K,
        version: Option<Version>,
    ) -> Result<(), Error> {
        let hash = self.hash(key);
        // The epoch ends first: whoever still reads the entry sees that it did.
        self.epochs.bump(hash);
        self.store.remove(key);
        self.metrics.invalidated_key();
        let Some(tier) = &self.tier else {
            if let Some(version) = version {
                self.floors.raise(key.clone(), version, self.clock.now());
            }
            return Ok(());
        };
        // A read that began since may have got from the tier what is about to go.
        let _after = EndEpoch { engine: self, key: Some((key, hash)) };
        let bytes = KeyEncoder::bytes_of(key);
        tier.invalidate(&bytes, version).await.map_err(Error::Unacknowledged)
    }

    /// # Cancel safety
    ///
    /// As for [`invalidate`](Self::invalidate).
    pub(crate) async fn clear(&self) -> Result<(), Error> {
        self.end_all();
        self.metrics.invalidated_all();
        let Some(tier) = &self.tier else { return Ok(()) };
        let _after = EndEpoch { engine: self, key: None };
        tier.clear().await.map_err(Error::Unacknowledged)
    }

    fn end_all(&self) {
        self.epochs.bump_all();
        self.store.clear();
    }

    /// False if a newer version is known.
    ///
    /// # Cancel safety
    ///
    /// As for [`invalidate`](Self::invalidate).
    pub(crate) async fn insert(&self, key: &K, loaded: &Loaded<V>) -> Result<bool, Error> {
        let hash = self.hash(key);
        if let Some(tier) = &self.tier {
            return self.insert_shared(tier, key, hash, loaded).await;
        }
        if let Some(version) = loaded.version {
            if !self.floors.allow(key, Some(version), self.clock.now()) {
                return Ok(false);
            }
            self.floors.raise(key.clone(), version, self.clock.now());
        }
        let stamp = self.overtake(key, hash);
        // Should the store not take the new value, the old one must not stay: where
        // no epoch ended, its stamp is still good.
        self.store.remove(key);
        // A load that starts from here on reads this value or a newer one, so no
        // lock is held while the store runs.
        self.fill(key, hash, stamp, self.clock.now(), loaded);
        Ok(true)
    }

    /// In two steps, so that a late one does no harm: an invalidation that leases the
    /// key, and a fill under that lease.
    async fn insert_shared(
        &self,
        tier: &Arc<Tier<V>>,
        key: &K,
        hash: u64,
        loaded: &Loaded<V>,
    ) -> Result<bool, Error> {
        let bytes = KeyEncoder::bytes_of(key);
        self.epochs.bump(hash);
        self.store.remove(key);
        let displaced = {
            let _after = EndEpoch { engine: self, key: Some((key, hash)) };
            tier.displace(&bytes, loaded.version).await
        };
        // From here on the tier has nothing older.
        let (stamp, began) = (self.epochs.stamp(hash), self.clock.now());
        let lease = match displaced {
            Ok(Some(lease)) => lease,
            Ok(None) => return Ok(false),
            // It is invalidated, and there is no room for more.
            Err(SharedError::Full(_)) => return Ok(true),
            Err(error) => return Err(Error::Unacknowledged(error)),
        };
        let lifetime = self.lifetime(key, loaded);
        let content = lifetime.map(|lifetime| Content {
            value: loaded.value.clone(),
            fresh: lifetime,
            cost: Duration::ZERO,
            ttl: self.policy.kept_for(loaded.value.is_none(), lifetime),
            version: loaded.version,
        });
        let written = tier.write(Writing { key: &bytes, lease: &lease, content }).await;
        if written == Written::Stored {
            self.fill_for(lifetime, key, hash, stamp, began, began, loaded);
        }
        Ok(true)
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

    /// The tier's leave to store what is about to be read.
    pub(crate) async fn hold(&self, key: &K) -> Held {
        let Some(tier) = &self.tier else { return Held::Epoch };
        self.hold_shared(tier, &KeyEncoder::bytes_of(key), None).await
    }

    /// Stores what was read under a reservation.
    pub(crate) async fn redeem(
        &self,
        key: &K,
        hash: u64,
        stamp: Stamp,
        began: Tick,
        held: Held,
        loaded: &Loaded<V>,
    ) -> bool {
        match (held, &self.tier) {
            (Held::Lease(lease), Some(tier)) => {
                let bytes = KeyEncoder::bytes_of(key);
                let kept =
                    self.write_shared(tier, key, hash, stamp, began, &bytes, &lease, loaded);
                kept.await == (Written::Stored, true)
            }
            (Held::Nothing, _) => false,
            (Held::Epoch, Some(_)) if !self.keeps_copies() => false,
            _ => self.fill(key, hash, stamp, began, loaded),
        }
    }

    /// Gives back the lease of a reservation that was not used.
    pub(crate) fn forgo(&self, key: &K, lease: Lease) {
        let Some(tier) = self.tier.clone() else { return };
        // Without a runtime it runs out.
        let Ok(runtime) = tokio::runtime::Handle::try_current() else { return };
        let bytes = KeyEncoder::bytes_of(key);
        runtime.spawn(async move { tier.release(&[(&bytes, &lease)]).await });
    }
}

/// Ends an epoch when it is dropped: of one key, or of all.
struct EndEpoch<'a, K: CacheKey, V: Send + Sync + 'static> {
    engine: &'a Engine<K, V>,
    key: Option<(&'a K, u64)>,
}

impl<K: CacheKey, V: Send + Sync + 'static> Drop for EndEpoch<'_, K, V> {
    fn drop(&mut self) {
        if cfg!(broken = "one_epoch") {
            return;
        }
        match self.key {
            Some((key, hash)) => {
                self.engine.epochs.bump(hash);
                self.engine.store.remove(key);
            }
            None => self.engine.end_all(),
        }
    }
}
