//! Many keys with one load for all that are missing.

use std::collections::HashMap;
use std::future::Future;
use std::sync::Arc;
use std::time::Duration;

use tracing::Instrument;

use super::load::{Landing, Seat};
use super::{Engine, Look};
use crate::error::{BoxError, Error};
use crate::flight::{Flight, Outcome, Standing};
use crate::key::CacheKey;
use crate::loaded::{Batch, Floor, LoadCause, Loaded};
use crate::metrics::Request;
use crate::store::Entry;
use crate::version::VersionFloor;

/// One key's way to its outcome.
enum Slot<V> {
    Done(Option<Arc<V>>),
    Flying { hash: u64, flight: Arc<Flight<V>>, aged: Option<Entry<V>> },
}

impl<K: CacheKey, V: Send + Sync + 'static> Engine<K, V> {
    pub(crate) async fn load_many<M, F>(
        self: &Arc<Self>,
        keys: &[K],
        make: M,
    ) -> Vec<Outcome<V>>
    where
        M: Fn(Batch<K>) -> F,
        F: Future<Output = Result<HashMap<K, Loaded<V>>, BoxError>> + Send + 'static,
    {
        if let Some(tier) = &self.tier {
            return self.load_many_shared(tier, keys, make).await;
        }
        let mut landings = Vec::new();
        let mut cause = LoadCause::Early;
        let mut slots = Vec::with_capacity(keys.len());
        for key in keys {
            slots.push(self.slot(key, &mut landings, &mut cause));
        }
        if !landings.is_empty() {
            self.launch_many(landings, cause, make);
        }

        let began = self.clock.now();
        let mut outcomes = Vec::with_capacity(slots.len());
        for slot in slots {
            outcomes.push(match slot {
                Slot::Done(value) => Ok(value),
                Slot::Flying { hash, flight, aged } => {
                    // One limit for all: those flights are up at the same time.
                    let waited = Duration::from_nanos(self.clock.now().saturating_sub(began));
                    let limit = self.waiting_limit().saturating_sub(waited);
                    self.settle(hash, &flight, aged, limit).await
                }
            });
        }
        outcomes
    }

    /// Keys to renew go into the same batch; only they do not wait for it. Its
    /// cause is the most urgent of theirs.
    fn slot(
        self: &Arc<Self>,
        key: &K,
        landings: &mut Vec<Landing<K, V>>,
        cause: &mut LoadCause,
    ) -> Slot<V> {
        let hash = self.hash(key);
        let aged = match self.look(key) {
            Look::Hit(value) => return Slot::Done(value),
            Look::Renew(seen, why) => {
                if let Seat::Lead(landing) = self.board(key, hash, Some(&seen.life)) {
                    landings.push(landing);
                    if *cause == LoadCause::Early {
                        *cause = why;
                    }
                }
                return Slot::Done(seen.value);
            }
            Look::Miss(aged) => aged,
        };
        let flight = match self.board(key, hash, None) {
            Seat::Served(value) => {
                self.metrics.request(Request::Joined);
                return Slot::Done(value);
            }
            Seat::Join(flight) => {
                self.metrics.request(Request::Joined);
                flight
            }
            Seat::Lead(landing) => {
                self.metrics.request(Request::Miss);
                *cause = LoadCause::Miss;
                let flight = Arc::clone(&landing.flight);
                landings.push(landing);
                flight
            }
        };
        Slot::Flying { hash, flight, aged }
    }

    fn launch_many<M, F>(
        self: &Arc<Self>,
        landings: Vec<Landing<K, V>>,
        cause: LoadCause,
        make: M,
    ) where
        M: FnOnce(Batch<K>) -> F,
        F: Future<Output = Result<HashMap<K, Loaded<V>>, BoxError>> + Send + 'static,
    {
        let keys = landings.iter().map(|landing| landing.key().clone()).collect();
        let floor = Floor::default();
        let now = self.clock.now();
        let floors = landings.iter().map(|landing| self.floors.of(landing.key(), now));
        floor.learn(floors.fold(VersionFloor::None, VersionFloor::and));
        let batch = Batch::new(keys, cause, floor);
        let (runtime, future) = match self.prepare(|| make(batch)) {
            Ok(ready) => ready,
            Err(error) => return fail_all(landings, &error),
        };
        self.metrics.renewal(cause);
        let engine = Arc::clone(self);
        let lead = async move {
            match engine.bounded(future).await {
                Ok(mut loaded) => {
                    for landing in landings {
                        // What the source does not return, it does not have.
                        let found = loaded.remove(landing.key());
                        landing.succeed(found.unwrap_or_else(Loaded::absent));
                    }
                }
                Err(error) if engine.error_ttl.is_zero() => fail_all(landings, &error),
                Err(error) => {
                    let mut landings = landings;
                    for landing in &mut landings {
                        landing.publish(Err(error.clone()), Standing::Sound, engine.error_ttl);
                    }
                    tokio::time::sleep(engine.error_ttl).await;
                }
            }
        };
        runtime.spawn(lead.instrument(self.span(cause)));
    }
}

pub(super) fn fail_all<K: CacheKey, V: Send + Sync + 'static>(
    landings: Vec<Landing<K, V>>,
    error: &Error,
) {
    for landing in landings {
        landing.fail(error.clone());
    }
}
