//! Many keys, by way of the second tier.

use std::collections::HashMap;
use std::future::Future;
use std::sync::Arc;

use tracing::Instrument;

use super::load::{Landing, Seat};
use super::many::fail_all;
use super::shared::{Glance, Seen, standing};
use super::{Engine, Look};
use crate::clock::Tick;
use crate::error::BoxError;
use crate::flight::{Flight, Outcome, Standing, Turn};
use crate::key::{CacheKey, KeyEncoder};
use crate::loaded::{Batch, Floor, LoadCause, Loaded};
use crate::metrics::Request;
use crate::shared::{Lease, RecordId};
use crate::store::Entry;
use crate::tier::{Claim, Tier, Writing};
use crate::version::VersionFloor;

/// One key on its way.
struct Wanted<V> {
    /// Its place among the keys.
    at: usize,
    hash: u64,
    /// When the call came.
    turn: Turn,
    bytes: Vec<u8>,
    /// What this process has, for when nothing else answers.
    local: Option<Entry<V>>,
}

/// Somebody's load that a key waits for.
struct Waiting<V> {
    wanted: Wanted<V>,
    flight: Arc<Flight<V>>,
    aged: Option<Entry<V>>,
    /// Whether it is this call's own.
    own: bool,
}

/// A load to be started.
struct Start<K: CacheKey, V: Send + Sync + 'static> {
    landing: Landing<K, V>,
    bytes: Vec<u8>,
    seen: Seen,
}

impl<K: CacheKey, V: Send + Sync + 'static> Engine<K, V> {
    pub(super) async fn load_many_shared<M, F>(
        self: &Arc<Self>,
        tier: &Arc<Tier<V>>,
        keys: &[K],
        make: M,
    ) -> Vec<Outcome<V>>
    where
        M: Fn(Batch<K>) -> F,
        F: Future<Output = Result<HashMap<K, Loaded<V>>, BoxError>> + Send + 'static,
    {
        let mut outcomes: Vec<Option<Outcome<V>>> = keys.iter().map(|_| None).collect();
        let mut wanted = Vec::new();
        for (at, key) in keys.iter().enumerate() {
            let local = match self.look(key) {
                Look::Hit(value) => {
                    outcomes[at] = Some(Ok(value));
                    continue;
                }
                // Copies are renewed early by single reads, and in the tier.
                Look::Renew(seen, _) => {
                    outcomes[at] = Some(Ok(seen.value));
                    continue;
                }
                Look::Miss(local) => local,
            };
            let bytes = KeyEncoder::bytes_of(key);
            let (hash, turn) = (self.hash(key), self.turn(tier, &bytes));
            wanted.push(Wanted { at, hash, turn, bytes, local });
        }
        // Again for those whose load turns out to be from before this call.
        while !wanted.is_empty() {
            let waiting = self.seek(tier, keys, wanted, &make, &mut outcomes).await;
            wanted = self.gather(tier, waiting, &mut outcomes).await;
        }
        outcomes.into_iter().map(|outcome| outcome.expect("each key was answered")).collect()
    }

    /// Asks the tier for all at once, and starts one load for what it does not have.
    async fn seek<M, F>(
        self: &Arc<Self>,
        tier: &Arc<Tier<V>>,
        keys: &[K],
        wanted: Vec<Wanted<V>>,
        make: &M,
        outcomes: &mut [Option<Outcome<V>>],
    ) -> Vec<Waiting<V>>
    where
        M: Fn(Batch<K>) -> F,
        F: Future<Output = Result<HashMap<K, Loaded<V>>, BoxError>> + Send + 'static,
    {
        let (mut waiting, mut asked) = (Vec::new(), Vec::with_capacity(wanted.len()));
        for wanted in wanted {
            match self.under_way(&keys[wanted.at], wanted.hash) {
                Some(flight) => {
                    waiting.push(Waiting { wanted, flight, aged: None, own: false });
                }
                None => asked.push(wanted),
            }
        }
        let stamps: Vec<_> =
            asked.iter().map(|wanted| self.epochs.stamp(wanted.hash)).collect();
        let asked_at = self.now_for_copies();
        let sought = {
            let bytes: Vec<&[u8]> = asked.iter().map(|wanted| &wanted.bytes[..]).collect();
            tier.read_many(&bytes).await
        };
        let (mut starts, mut renewals) = (Vec::new(), Vec::new());
        let mut renewed_for = LoadCause::Early;
        for ((wanted, stamp), sought) in asked.into_iter().zip(stamps).zip(sought) {
            let (key, hash) = (&keys[wanted.at], wanted.hash);
            let (seen, aged) = match self.glance(sought, hash, stamp) {
                Glance::Serve(entry) => {
                    self.copy(key, hash, &entry, asked_at);
                    self.count_shared(&entry.life);
                    outcomes[wanted.at] = Some(Ok(entry.value));
                    continue;
                }
                Glance::Renew(entry, id, why) => {
                    self.count_renewed(why);
                    if why != LoadCause::Early {
                        renewed_for = why;
                    }
                    if let Seat::Lead(landing) = self.board(key, hash, Some(&entry.life)) {
                        let seen = Seen::Record(Some(id));
                        renewals.push(Start { landing, bytes: wanted.bytes, seen });
                    }
                    self.copy(key, hash, &entry, asked_at);
                    outcomes[wanted.at] = Some(Ok(entry.value));
                    continue;
                }
                Glance::Load { seen: Seen::Silent, .. } => (Seen::Silent, wanted.local.clone()),
                Glance::Load { seen, aged } => (seen, aged),
            };
            match self.board(key, hash, None) {
                Seat::Served(value) => {
                    self.metrics.request(Request::Joined);
                    outcomes[wanted.at] = Some(Ok(value));
                }
                Seat::Join(flight) => {
                    waiting.push(Waiting { wanted, flight, aged, own: false });
                }
                Seat::Lead(landing) => {
                    self.metrics.request(Request::Miss);
                    let flight = Arc::clone(&landing.flight);
                    starts.push(Start { landing, bytes: wanted.bytes.clone(), seen });
                    waiting.push(Waiting { wanted, flight, aged, own: true });
                }
            }
        }
        self.launch_many_shared(tier, starts, LoadCause::Miss, make);
        self.launch_many_shared(tier, renewals, renewed_for, make);
        waiting
    }

    /// Takes what the loads have brought; gives back the keys that need another.
    async fn gather(
        &self,
        tier: &Arc<Tier<V>>,
        waiting: Vec<Waiting<V>>,
        outcomes: &mut [Option<Outcome<V>>],
    ) -> Vec<Wanted<V>> {
        let mut again = Vec::new();
        for Waiting { wanted, flight, aged, own } in waiting {
            let outcome = if own {
                Some(self.outcome(&flight, self.waiting_limit()).await.0)
            } else {
                self.join(&flight, wanted.turn).await
            };
            let Some(outcome) = outcome else {
                again.push(wanted);
                continue;
            };
            outcomes[wanted.at] = Some(match (outcome, own || aged.is_some()) {
                (Err(error), false) => {
                    let Wanted { bytes, hash, local, .. } = wanted;
                    self.or_aged_of(tier, &bytes, hash, local, error).await
                }
                (outcome, _) => self.or_aged(outcome, wanted.hash, aged),
            });
        }
        again
    }

    fn launch_many_shared<M, F>(
        self: &Arc<Self>,
        tier: &Arc<Tier<V>>,
        starts: Vec<Start<K, V>>,
        cause: LoadCause,
        make: &M,
    ) where
        M: Fn(Batch<K>) -> F,
        F: Future<Output = Result<HashMap<K, Loaded<V>>, BoxError>> + Send + 'static,
    {
        if starts.is_empty() {
            return;
        }
        let floor = Floor::default();
        let keys = starts.iter().map(|start| start.landing.key().clone()).collect();
        let batch = Batch::new(keys, cause, floor.clone());
        let (runtime, load) = match self.prepare(|| make(batch)) {
            Ok(ready) => ready,
            Err(error) => {
                return fail_all(
                    starts.into_iter().map(|start| start.landing).collect(),
                    &error,
                );
            }
        };
        self.metrics.renewal(cause);
        let lead = lead_many(Arc::clone(self), Arc::clone(tier), starts, cause, floor, load);
        runtime.spawn(lead.instrument(self.span(cause)));
    }
}

/// A load of the batch that has its right, or needs none.
struct Loading<K: CacheKey, V: Send + Sync + 'static> {
    landing: Landing<K, V>,
    bytes: Vec<u8>,
    /// With the moment at which it was asked for.
    lease: Option<Lease>,
    /// Whether what is loaded may be kept in this process without a lease.
    free: bool,
}

/// One load for all. It does not wait for other processes, two of which could wait
/// for each other: what they are loading is loaded here too, and only passed on.
async fn lead_many<K: CacheKey, V: Send + Sync + 'static>(
    engine: Arc<Engine<K, V>>,
    tier: Arc<Tier<V>>,
    starts: Vec<Start<K, V>>,
    cause: LoadCause,
    floor: Floor,
    load: impl Future<Output = Result<HashMap<K, Loaded<V>>, BoxError>>,
) {
    let stamps: Vec<_> = starts.iter().map(|s| engine.epochs.stamp(s.landing.hash)).collect();
    let began = engine.clock.now();
    let wishes: Vec<(&[u8], Option<RecordId>)> = starts
        .iter()
        .filter(|start| !start.seen.is_silent())
        .map(|start| (&start.bytes[..], start.seen.record()))
        .collect();
    let mut answers = tier.acquire_many(&wishes).await.into_iter();
    let claims: Vec<_> = starts
        .iter()
        .map(|start| if start.seen.is_silent() { None } else { answers.next() })
        .map(|claim| claim.unwrap_or(Claim::Silent))
        .collect();
    let mut loading = Vec::with_capacity(starts.len());
    let mut known = VersionFloor::None;
    for ((start, stamp), claim) in starts.into_iter().zip(stamps).zip(claims) {
        let Start { landing, bytes, .. } = start;
        let (lease, free) = match claim {
            Claim::Leased(lease, floor) => {
                known = known.and(floor);
                (Some(lease), false)
            }
            Claim::Silent | Claim::Full => {
                known = VersionFloor::Unknown;
                (None, true)
            }
            Claim::Copied(copied) => match engine.fresh(copied, landing.hash, stamp) {
                Some(entry) => {
                    engine.copy(landing.key(), landing.hash, &entry, began);
                    landing.land_with(Ok(entry.value), Standing::Own);
                    continue;
                }
                None => {
                    known = VersionFloor::Unknown;
                    (None, false)
                }
            },
            Claim::Held if cause != LoadCause::Miss => {
                landing.land_with(Err(crate::Error::Aborted), Standing::Void);
                continue;
            }
            Claim::Held | Claim::Replace(_) => {
                known = VersionFloor::Unknown;
                (None, false)
            }
        };
        loading.push(Loading { landing, bytes, lease, free });
    }
    if loading.is_empty() {
        return;
    }
    floor.learn(known);
    match engine.bounded(load).await {
        Ok(loaded) => land_many(&engine, &tier, loading, loaded, began).await,
        Err(error) => {
            let leases = loading.iter().filter_map(|l| Some((&l.bytes[..], l.lease.as_ref()?)));
            tier.release(&leases.collect::<Vec<_>>()).await;
            let mut landings: Vec<_> = loading.into_iter().map(|l| l.landing).collect();
            if engine.error_ttl.is_zero() {
                return fail_all(landings, &error);
            }
            for landing in &mut landings {
                landing.publish(Err(error.clone()), Standing::Sound, engine.error_ttl);
            }
            tokio::time::sleep(engine.error_ttl).await;
        }
    }
}

async fn land_many<K: CacheKey, V: Send + Sync + 'static>(
    engine: &Arc<Engine<K, V>>,
    tier: &Arc<Tier<V>>,
    loading: Vec<Loading<K, V>>,
    mut loaded: HashMap<K, Loaded<V>>,
    began: Tick,
) {
    let mut leased = Vec::with_capacity(loading.len());
    for mut load in loading {
        // What the source does not return, it does not have.
        let found = loaded.remove(load.landing.key()).unwrap_or_else(Loaded::absent);
        match (load.lease.take(), load.free) {
            (Some(lease), _) => {
                load.landing.take_off();
                let lifetime = engine.lifetime(load.landing.key(), &found);
                leased.push((load, lease, found, lifetime));
            }
            (None, true) => load.landing.succeed_for(found, Standing::Own),
            (None, false) => load.landing.land_with(Ok(found.value), Standing::Own),
        }
    }
    let writings: Vec<Writing<'_, V>> = leased
        .iter()
        .map(|(load, lease, found, lifetime)| {
            let content = engine.content(*lifetime, began, found);
            Writing { key: &load.bytes, lease, content }
        })
        .collect();
    let current = engine.clock.now();
    let written = tier.write_many(&writings).await;
    drop(writings);
    for ((load, _, found, lifetime), written) in leased.into_iter().zip(written) {
        let landing = load.landing;
        let standing = standing(written);
        if standing == Standing::Sound {
            let (key, hash, stamp) = (landing.key(), landing.hash, landing.stamp);
            engine.fill_for(lifetime, key, hash, stamp, began, current, &found);
        }
        landing.land_with(Ok(found.value), standing);
    }
}
