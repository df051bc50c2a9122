//! Requests for the same that are under way.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use tokio::sync::watch;

use super::entry::{Head, Stored};
use super::marks::Moment;
use super::reuse::Failure;
use super::stream::Stream;
use super::vary::Values;
use crate::clock::Tick;
use crate::epoch::Stamp;

const SHARDS: usize = 64;

/// Who may share an answer, as far as it can be told before there is one: the same URI, in the
/// same epoch, with the same values of what was selected by last time.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub(super) struct FlightKey {
    pub(super) uri: Arc<str>,
    pub(super) stamp: Stamp,
    pub(super) values: Values,
}

type Shard = HashMap<FlightKey, Arc<Flight>>;

#[derive(Debug)]
pub(super) struct Flights {
    shards: Box<[Mutex<Shard>]>,
}

#[derive(Debug)]
pub(super) struct Flight {
    landed: watch::Sender<Option<Landed>>,
    /// The moment before it began.
    since: Moment,
    began: Tick,
}

/// What came of it, for those who waited.
#[derive(Clone, Debug)]
pub(super) enum Landed {
    /// A response that is coming, for those that it may be for.
    Live(Arc<Head>, Arc<Stream>),
    /// What is stored was found to be still good.
    Validated(Stored),
    /// The origin failed; what is stored may stand in, for those who take it.
    Failed(Failure, Option<Stored>),
    /// It is for the one who asked.
    Unshared,
}

pub(super) enum Joined {
    Leads(Lead),
    Waits(Arc<Flight>),
}

impl Flights {
    pub(super) fn new() -> Self {
        Self { shards: (0..SHARDS).map(|_| Mutex::default()).collect() }
    }

    /// Joins a flight that is under way, if that is from after the last purge, as `still_good`
    /// tells by its moment; begins one otherwise.
    pub(super) fn join(
        self: &Arc<Self>,
        key: FlightKey,
        hash: u64,
        since: Moment,
        now: Tick,
        still_good: impl Fn(Moment, Tick) -> bool,
    ) -> Joined {
        let mut shard = self.shard(hash);
        if let Some(flight) =
            shard.get(&key).filter(|flight| still_good(flight.since, flight.began))
            && !cfg!(broken = "http_collapse")
        {
            return Joined::Waits(Arc::clone(flight));
        }
        let flight = Arc::new(Flight { landed: watch::Sender::new(None), since, began: now });
        shard.insert(key.clone(), Arc::clone(&flight));
        Joined::Leads(Lead { flights: Arc::clone(self), flight, key, hash })
    }

    #[cfg(feature = "test-util")]
    pub(super) fn waiting(&self) -> usize {
        let flights = |shard: &Mutex<Shard>| {
            let shard = shard.lock().unwrap_or_else(PoisonError::into_inner);
            shard.values().map(|flight| flight.landed.receiver_count()).sum::<usize>()
        };
        self.shards.iter().map(flights).sum()
    }

    fn shard(&self, hash: u64) -> MutexGuard<'_, Shard> {
        let shard = &self.shards[(hash >> 32) as usize % SHARDS];
        // A map of handles is whole whatever panicked.
        shard.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Flight {
    /// What came of it; nothing if that took longer than `limit`.
    ///
    /// # Cancel safety
    ///
    /// Dropping it leaves the flight as it is.
    pub(super) async fn wait(&self, limit: Duration) -> Option<Landed> {
        let mut landed = self.landed.subscribe();
        let landed =
            tokio::time::timeout(limit, landed.wait_for(Option::is_some)).await.ok()?;
        landed.ok().and_then(|landed| landed.clone())
    }
}

/// The one who asks for all. When it is dropped, the flight is over.
#[derive(Debug)]
pub(super) struct Lead {
    flights: Arc<Flights>,
    flight: Arc<Flight>,
    key: FlightKey,
    hash: u64,
}

impl Lead {
    pub(super) fn land(&self, landed: Landed) {
        self.flight.landed.send_replace(Some(landed));
    }

    /// Ends as soon as nobody waits.
    pub(super) async fn deserted(&self) {
        self.flight.landed.closed().await;
    }

    pub(super) fn is_awaited(&self) -> bool {
        self.flight.landed.receiver_count() > 0
    }
}

impl Drop for Lead {
    fn drop(&mut self) {
        let mut shard = self.flights.shard(self.hash);
        if shard.get(&self.key).is_some_and(|flight| Arc::ptr_eq(flight, &self.flight)) {
            shard.remove(&self.key);
        }
        drop(shard);
        self.flight.landed.send_if_modified(|landed| {
            let strands = landed.is_none();
            if strands {
                *landed = Some(Landed::Failed(Failure::Silent, None));
            }
            strands
        });
    }
}
