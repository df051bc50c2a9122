//! Loads under way, and those who wait for them.

use std::collections::HashMap;
use std::hash::Hash;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use foldhash::fast::RandomState;
use tokio::sync::watch;

use crate::clock::Tick;
use crate::epoch::Stamp;
use crate::error::Error;

const SHARDS: usize = 64;

/// What a flight brings: the value, nothing, or the one error for all.
pub(crate) type Outcome<V> = Result<Option<Arc<V>>, Error>;

/// Flights by key *and* epoch: who comes after an invalidation never finds a
/// flight from before it.
pub(crate) type FlightKey<K> = (K, Stamp);

/// A part of the keys.
pub(crate) struct Shard<K, V> {
    pub(crate) flights: HashMap<FlightKey<K>, Arc<Flight<V>>, RandomState>,
    /// Reads of the source under way that are no flights.
    pub(crate) reservations: usize,
}

/// All loads of one cache that are under way.
pub(crate) struct Flights<K, V> {
    shards: Box<[Mutex<Shard<K, V>>]>,
    turns: AtomicU64,
}

impl<K: Eq + Hash, V> Flights<K, V> {
    pub(crate) fn new() -> Self {
        let shards = (0..SHARDS).map(|_| Mutex::new(Shard::new())).collect();
        Self { shards, turns: AtomicU64::new(FIRST) }
    }

    /// A turn after all that were taken before.
    pub(crate) fn turn(&self) -> Turn {
        self.turns.fetch_add(1, Ordering::Relaxed)
    }

    /// The flights of `hash`. While it is held, none of them starts or ends.
    pub(crate) fn shard(&self, hash: u64) -> MutexGuard<'_, Shard<K, V>> {
        // The epochs use the low bits.
        let shard = &self.shards[(hash >> 32) as usize % SHARDS];
        // A shard is whole between any two operations on it.
        shard.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Takes `flight` off, unless another has its place by now.
    pub(crate) fn remove(&self, hash: u64, key: &FlightKey<K>, flight: &Arc<Flight<V>>) {
        let mut shard = self.shard(hash);
        if shard.flights.get(key).is_some_and(|current| Arc::ptr_eq(current, flight)) {
            shard.flights.remove(key);
        }
    }
}

impl<K, V> Shard<K, V> {
    fn new() -> Self {
        Self { flights: HashMap::default(), reservations: 0 }
    }
}

/// One load under way, or its error while that is kept.
pub(crate) struct Flight<V> {
    began: Tick,
    turn: Turn,
    /// Whether there is something to serve meanwhile.
    renews: bool,
    landed: watch::Sender<Option<Landed<V>>>,
}

/// How a flight ended, and until when that answers those who find it.
struct Landed<V> {
    outcome: Outcome<V>,
    standing: Standing,
    until: Tick,
}

/// The order in which reads and flights begin. A clock would not do: two of them may
/// begin in one tick.
pub(crate) type Turn = u64;

/// Before that of every flight.
pub(crate) const BEFORE_ALL: Turn = 0;
const FIRST: Turn = BEFORE_ALL + 1;

/// For whom an outcome is good.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Standing {
    /// For all who waited: no invalidation came between.
    Sound,
    /// For those who were there when it began: another process may have invalidated
    /// the key since.
    Own,
    /// For nobody: there was no load.
    Void,
}

impl<V> Flight<V> {
    pub(crate) fn new(began: Tick, turn: Turn, renews: bool) -> Self {
        Self { began, turn, renews, landed: watch::Sender::new(None) }
    }

    pub(crate) fn publish(&self, outcome: Outcome<V>, standing: Standing, until: Tick) {
        self.landed.send_replace(Some(Landed { outcome, standing, until }));
    }

    /// Whether an outcome of that standing is good for one who came at `turn`.
    pub(crate) fn serves(&self, standing: Standing, turn: Turn) -> bool {
        match standing {
            Standing::Sound => true,
            Standing::Own => turn < self.turn,
            Standing::Void => false,
        }
    }

    pub(crate) fn renews(&self) -> bool {
        self.renews
    }

    /// Whether it may be joined. Not if it is so far past its deadline that
    /// nothing can run it: its runtime exists, and nobody drives it. Nobody there
    /// may come to take a kept error off, either.
    pub(crate) fn is_open(&self, now: Tick, limit: u64) -> bool {
        match &*self.landed.borrow() {
            Some(landed) => now < landed.until,
            None => now.saturating_sub(self.began) <= limit,
        }
    }

    pub(crate) fn has_landed(&self) -> bool {
        self.landed.borrow().is_some()
    }

    /// Waits for the outcome; nothing if there is none within `limit`.
    ///
    /// # Cancel safety
    ///
    /// Dropping it leaves the flight as it is.
    pub(crate) async fn wait(&self, limit: Duration) -> Option<(Outcome<V>, Standing)> {
        let mut landed = self.landed.subscribe();
        let landed = landed.wait_for(Option::is_some);
        // Outside a runtime there is no timer; the leader has its own deadline.
        let landed = if tokio::runtime::Handle::try_current().is_ok() {
            tokio::time::timeout(limit, landed).await.ok()?
        } else {
            landed.await
        };
        Some(match landed {
            Ok(landed) => {
                let landed = landed.as_ref().expect("waited until there is one");
                (landed.outcome.clone(), landed.standing)
            }
            // The sender lives in `self`.
            Err(_) => (Err(Error::Aborted), Standing::Sound),
        })
    }
}
