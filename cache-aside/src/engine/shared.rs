//! From a miss in this process to a value, by way of the second tier.

use std::future::Future;
use std::sync::Arc;
use std::time::Duration;

use tracing::Instrument;

use super::Engine;
use super::load::{Landing, Seat};
use super::write::Held;
use crate::clock::{Tick, nanos};
use crate::epoch::Stamp;
use crate::error::{BoxError, Error};
use crate::flight::{BEFORE_ALL, Flight, Outcome, Standing, Turn};
use crate::key::{CacheKey, KeyEncoder};
use crate::loaded::{Floor, LoadCause, LoadContext, Loaded};
use crate::metrics::{Request, SharedWait};
use crate::policy::{Life, Verdict};
use crate::shared::{Lease, RecordId};
use crate::store::Entry;
use crate::tier::{Claim, Content, Copied, Sought, Tier, Writing, Written};
use crate::version::VersionFloor;

/// Between two looks for another process's load.
const FIRST_PAUSE: Duration = Duration::from_millis(2);
const LONGEST_PAUSE: Duration = Duration::from_millis(50);

/// Two records of one key expire further apart than this.
const SAME_RECORD: Duration = Duration::from_millis(10);

/// Records that appear and must not be shown, one after the other, before it is
/// given up.
const MOST_REPLACED: usize = 4;

/// What is known of the tier's record when a load begins.
#[derive(Clone, Copy)]
pub(crate) enum Seen {
    /// Nothing: it was not looked at.
    Unknown,
    /// That it expires at about this moment, and is to be replaced.
    Expiring(Tick),
    /// That this one, or none, is to be replaced.
    Record(Option<RecordId>),
    /// The tier is silent.
    Silent,
}

impl Seen {
    /// The record to replace.
    pub(super) fn record(self) -> Option<RecordId> {
        match self {
            Self::Record(id) => id,
            Self::Unknown | Self::Expiring(_) | Self::Silent => None,
        }
    }

    pub(super) fn is_silent(self) -> bool {
        matches!(self, Self::Silent)
    }
}

/// What the tier's answer means for one read.
pub(super) enum Glance<V> {
    Serve(Entry<V>),
    Renew(Entry<V>, RecordId, LoadCause),
    Load { seen: Seen, aged: Option<Entry<V>> },
}

/// With what right a load goes on.
enum Right<V> {
    /// There is a value; with the moment at which it was asked for.
    Value(Entry<V>, Tick),
    /// With the moment at which it was asked for.
    Lease(Lease, VersionFloor, Tick),
    /// The tier has no say: what is loaded may be kept in this process.
    Free,
    /// Somebody else holds the lease and is slow: the value is only passed on.
    Uncached,
    /// Somebody else renews it.
    Leave,
}

impl<K: CacheKey, V: Send + Sync + 'static> Engine<K, V> {
    pub(super) async fn load_shared<M, F>(
        self: &Arc<Self>,
        tier: &Arc<Tier<V>>,
        key: &K,
        local: Option<Entry<V>>,
        make: M,
    ) -> Outcome<V>
    where
        M: FnOnce(LoadContext<K>) -> F,
        F: Future<Output = Result<Loaded<V>, BoxError>> + Send + 'static,
    {
        let (hash, bytes) = (self.hash(key), KeyEncoder::bytes_of(key));
        let turn = self.turn(tier, &bytes);
        loop {
            if let Some(flight) = self.under_way(key, hash) {
                match self.join(&flight, turn).await {
                    Some(Ok(value)) => return Ok(value),
                    Some(Err(error)) => {
                        return self.or_aged_of(tier, &bytes, hash, local, error).await;
                    }
                    None => continue,
                }
            }
            // Before the tier is asked: these are the stamp and the date of a copy.
            let (stamp, asked) = (self.epochs.stamp(hash), self.now_for_copies());
            let (seen, aged) = match self.glance(tier.read(&bytes).await, hash, stamp) {
                Glance::Serve(entry) => {
                    self.copy(key, hash, &entry, asked);
                    self.count_shared(&entry.life);
                    return Ok(entry.value);
                }
                Glance::Renew(entry, id, cause) => {
                    self.count_renewed(cause);
                    // Its copy is made after that: a fresh one is no reason to renew.
                    if let Seat::Lead(landing) = self.board(key, hash, Some(&entry.life)) {
                        let seen = Seen::Record(Some(id));
                        self.launch_shared(tier, landing, cause, seen, make);
                    }
                    self.copy(key, hash, &entry, asked);
                    return Ok(entry.value);
                }
                // What this process has may be old if the tier has nothing; if the tier
                // is silent, it is as good as ever.
                Glance::Load { seen: Seen::Silent, .. } => (Seen::Silent, local.clone()),
                Glance::Load { seen, aged } => (seen, aged),
            };
            match self.board(key, hash, None) {
                Seat::Served(value) => {
                    self.metrics.request(Request::Joined);
                    return Ok(value);
                }
                Seat::Join(flight) => {
                    if let Some(outcome) = self.join(&flight, turn).await {
                        return self.or_aged(outcome, hash, aged);
                    }
                }
                Seat::Lead(landing) => {
                    self.metrics.request(Request::Miss);
                    let flight = Arc::clone(&landing.flight);
                    self.launch_shared(tier, landing, LoadCause::Miss, seen, make);
                    let (outcome, _) = self.outcome(&flight, self.waiting_limit()).await;
                    return self.or_aged(outcome, hash, aged);
                }
            }
        }
    }

    /// What may be served, and nothing else.
    pub(crate) async fn get_shared(&self, key: &K) -> Option<Option<Arc<V>>> {
        if let Some(tier) = &self.tier {
            let (hash, bytes) = (self.hash(key), KeyEncoder::bytes_of(key));
            let (stamp, asked) = (self.epochs.stamp(hash), self.now_for_copies());
            match self.glance(tier.read(&bytes).await, hash, stamp) {
                Glance::Serve(entry) | Glance::Renew(entry, ..) => {
                    self.copy(key, hash, &entry, asked);
                    self.count_shared(&entry.life);
                    return Some(entry.value);
                }
                Glance::Load { .. } => {}
            }
        }
        self.metrics.request(Request::Miss);
        None
    }

    /// What the tier has may stand in for an error, or what this process has if the tier
    /// is silent.
    pub(super) async fn or_aged_of(
        &self,
        tier: &Arc<Tier<V>>,
        bytes: &[u8],
        hash: u64,
        local: Option<Entry<V>>,
        error: Error,
    ) -> Outcome<V> {
        if self.policy.stale_if_error.is_zero() && local.is_none() {
            return Err(error);
        }
        let stamp = self.epochs.stamp(hash);
        match self.glance(tier.read(bytes).await, hash, stamp) {
            Glance::Serve(entry) | Glance::Renew(entry, ..) => Ok(entry.value),
            Glance::Load { seen: Seen::Silent, .. } => self.or_aged(Err(error), hash, local),
            Glance::Load { aged, .. } => self.or_aged(Err(error), hash, aged),
        }
    }

    /// When a read of that key begins, as far as joining is concerned. While its server
    /// fails it may join what began before it: the source must not be asked twice as
    /// often because the tier is gone.
    pub(super) fn turn(&self, tier: &Tier<V>, bytes: &[u8]) -> Turn {
        if tier.is_out(bytes) { BEFORE_ALL } else { self.flights.turn() }
    }

    /// The flight of `key` that those who find nothing wait for. One that renews is not
    /// waited for: the tier has something to serve.
    pub(super) fn under_way(&self, key: &K, hash: u64) -> Option<Arc<Flight<V>>> {
        let limit = nanos(self.waiting_limit());
        let shard = self.flights.shard(hash);
        if shard.flights.is_empty() {
            return None;
        }
        let flight = shard.flights.get(&(key.clone(), self.epochs.stamp(hash)))?;
        (flight.is_open(self.clock.now(), limit) && !flight.renews())
            .then(|| Arc::clone(flight))
    }

    /// The outcome of somebody else's flight; nothing if it says nothing to one who
    /// came at `turn`.
    pub(super) async fn join(&self, flight: &Flight<V>, turn: Turn) -> Option<Outcome<V>> {
        let (outcome, standing) = self.outcome(flight, self.waiting_limit()).await;
        let serves = flight.serves(standing, turn) || cfg!(broken = "no_standing");
        serves.then(|| {
            self.metrics.request(Request::Joined);
            outcome
        })
    }

    /// What the tier's answer means. `stamp` is from before it was asked.
    pub(super) fn glance(&self, sought: Sought<V>, hash: u64, stamp: Stamp) -> Glance<V> {
        let copied = match sought {
            Sought::Copied(copied) => copied,
            Sought::Missing(id) => return Glance::Load { seen: Seen::Record(id), aged: None },
            Sought::Silent => return Glance::Load { seen: Seen::Silent, aged: None },
        };
        let (id, now) = (copied.id, self.clock.now());
        let entry = self.entry(copied, stamp, now);
        match self.verdict(&entry.life, self.epochs.stamp(hash), now) {
            Verdict::Fresh => Glance::Serve(entry),
            Verdict::Early => Glance::Renew(entry, id, LoadCause::Early),
            Verdict::Revalidate => Glance::Renew(entry, id, LoadCause::Revalidate),
            Verdict::OnError => {
                Glance::Load { seen: Seen::Record(Some(id)), aged: Some(entry) }
            }
            Verdict::Recheck | Verdict::Expired => {
                Glance::Load { seen: Seen::Record(Some(id)), aged: None }
            }
            // An invalidation came meanwhile. What is there now may be newer.
            Verdict::Invalidated => Glance::Load { seen: Seen::Unknown, aged: None },
        }
    }

    /// A record on this process's clock.
    pub(super) fn entry(&self, copied: Copied<V>, stamp: Stamp, now: Tick) -> Entry<V> {
        let began = now.saturating_sub(nanos(copied.age));
        let negative = copied.value.is_none();
        let life = Life::new(stamp, began, copied.fresh, nanos(copied.cost), negative);
        Entry { value: copied.value, life }
    }

    /// A record as an entry, if it is to be served as it is.
    pub(super) fn fresh(&self, copied: Copied<V>, hash: u64, stamp: Stamp) -> Option<Entry<V>> {
        let entry = self.entry(copied, stamp, self.clock.now());
        (self.judge(&entry.life, hash).0 == Verdict::Fresh).then_some(entry)
    }

    /// The date of a copy; no clock is read where there are none.
    pub(super) fn now_for_copies(&self) -> Tick {
        if self.keeps_copies() { self.clock.now() } else { 0 }
    }

    /// Keeps a copy of what the tier has, unless an invalidation came meanwhile. It is
    /// shown from the moment on at which the tier was `asked`: what another process has
    /// invalidated since is not in it.
    pub(super) fn copy(&self, key: &K, hash: u64, entry: &Entry<V>, asked: Tick) {
        if !self.keeps_copies() || self.epochs.stamp(hash) != entry.life.stamp {
            return;
        }
        let life = entry.life.shown_for(self.copy_ttl, asked);
        self.store.insert(key.clone(), Entry { value: entry.value.clone(), life });
    }

    pub(super) fn count_shared(&self, life: &Life) {
        let how = if life.negative { Request::Negative } else { Request::Shared };
        self.metrics.request(how);
    }

    pub(super) fn count_renewed(&self, cause: LoadCause) {
        let early = cause == LoadCause::Early;
        self.metrics.request(if early { Request::Shared } else { Request::Stale });
    }

    /// Starts to load one key as a task of its own: asks the tier for the lease, loads,
    /// fills the tier and then this process.
    pub(super) fn launch_shared<M, F>(
        self: &Arc<Self>,
        tier: &Arc<Tier<V>>,
        landing: Landing<K, V>,
        cause: LoadCause,
        seen: Seen,
        make: M,
    ) where
        M: FnOnce(LoadContext<K>) -> F,
        F: Future<Output = Result<Loaded<V>, BoxError>> + Send + 'static,
    {
        let floor = Floor::default();
        let context = LoadContext::new(landing.key().clone(), cause, floor.clone());
        let (runtime, load) = match self.prepare(|| make(context)) {
            Ok(ready) => ready,
            Err(error) => return landing.fail(error),
        };
        self.metrics.renewal(cause);
        let tier = Arc::clone(tier);
        let lead = lead(tier, landing, cause, seen, floor, load);
        runtime.spawn(lead.instrument(self.span(cause)));
    }

    /// Asks for the lease until it is clear how to go on.
    async fn right(
        &self,
        tier: &Arc<Tier<V>>,
        bytes: &[u8],
        hash: u64,
        cause: LoadCause,
        seen: Seen,
    ) -> Right<V> {
        if seen.is_silent() {
            return Right::Free;
        }
        // A copy's dates are those of its record but for the time that the tier took to
        // answer.
        let worn = match seen {
            Seen::Expiring(expires) => expires.saturating_add(nanos(SAME_RECORD)),
            _ => 0,
        };
        let mut seen = seen.record();
        let patience = self.clock.now().saturating_add(nanos(tier.settings.patience));
        let (mut pause, mut replaced, mut waited) = (FIRST_PAUSE, 0, false);
        loop {
            let (stamp, asked) = (self.epochs.stamp(hash), self.clock.now());
            match tier.acquire(bytes, seen).await {
                Claim::Silent => return Right::Free,
                Claim::Full => return Right::Free,
                Claim::Leased(lease, floor) => {
                    if waited {
                        tier.waited(SharedWait::Taken);
                    }
                    return Right::Lease(lease, floor, asked);
                }
                Claim::Copied(copied) => {
                    let id = copied.id;
                    let entry = self.entry(copied, stamp, self.clock.now());
                    // One that is to be renewed early was seen by its renewer.
                    if entry.life.expires > worn
                        && self.judge(&entry.life, hash).0 == Verdict::Fresh
                    {
                        if waited {
                            tier.waited(SharedWait::Served);
                        }
                        return Right::Value(entry, asked);
                    }
                    (seen, replaced) = (Some(id), replaced + 1);
                }
                Claim::Replace(id) => (seen, replaced) = (Some(id), replaced + 1),
                Claim::Held if cause != LoadCause::Miss => return Right::Leave,
                Claim::Held if self.clock.now() >= patience => {
                    tier.waited(SharedWait::TimedOut);
                    return Right::Uncached;
                }
                Claim::Held => {
                    waited = true;
                    // By chance, so that those who wait do not come in step.
                    let share = 0.5 + fastrand::f64() / 2.0;
                    tokio::time::sleep(pause.mul_f64(share)).await;
                    pause = (pause * 2).min(LONGEST_PAUSE);
                }
            }
            if replaced > MOST_REPLACED {
                return Right::Uncached;
            }
        }
    }

    /// Writes a load under its lease, to the tier and then to this process; with
    /// whether it was kept here.
    #[allow(clippy::too_many_arguments, reason = "they are the parts of one load")]
    pub(super) async fn write_shared(
        &self,
        tier: &Arc<Tier<V>>,
        key: &K,
        hash: u64,
        stamp: Stamp,
        began: Tick,
        bytes: &[u8],
        lease: &Lease,
        loaded: &Loaded<V>,
    ) -> (Written, bool) {
        let lifetime = self.lifetime(key, loaded);
        let content = self.content(lifetime, began, loaded);
        let current = self.clock.now();
        let written = tier.write(Writing { key: bytes, lease, content }).await;
        let kept = written == Written::Stored
            && self.fill_for(lifetime, key, hash, stamp, began, current, loaded);
        (written, kept)
    }

    pub(super) fn content(
        &self,
        lifetime: Option<Duration>,
        began: Tick,
        loaded: &Loaded<V>,
    ) -> Option<Content<V>> {
        lifetime.map(|lifetime| Content {
            value: loaded.value.clone(),
            fresh: lifetime,
            cost: Duration::from_nanos(self.clock.now().saturating_sub(began)),
            ttl: self.policy.kept_for(loaded.value.is_none(), lifetime),
            version: loaded.version,
        })
    }

    /// A lease over whatever is there, for a reservation.
    pub(super) async fn hold_shared(
        &self,
        tier: &Arc<Tier<V>>,
        bytes: &[u8],
        mut seen: Option<RecordId>,
    ) -> Held {
        for _ in 0..=MOST_REPLACED {
            match tier.acquire(bytes, seen).await {
                Claim::Leased(lease, _) => return Held::Lease(lease),
                Claim::Copied(Copied { id, .. }) | Claim::Replace(id) => seen = Some(id),
                Claim::Held => return Held::Nothing,
                Claim::Full | Claim::Silent => return Held::Epoch,
            }
        }
        Held::Nothing
    }
}

async fn lead<K: CacheKey, V: Send + Sync + 'static>(
    tier: Arc<Tier<V>>,
    mut landing: Landing<K, V>,
    cause: LoadCause,
    seen: Seen,
    floor: Floor,
    load: impl Future<Output = Result<Loaded<V>, BoxError>>,
) {
    let engine = Arc::clone(&landing.engine);
    let (bytes, hash) = (KeyEncoder::bytes_of(landing.key()), landing.hash);
    let lease = match engine.right(&tier, &bytes, hash, cause, seen).await {
        Right::Leave => return landing.land_with(Err(Error::Aborted), Standing::Void),
        Right::Value(entry, asked) => {
            engine.copy(landing.key(), hash, &entry, asked);
            return landing.land_with(Ok(entry.value), Standing::Own);
        }
        Right::Lease(lease, known, asked) => {
            floor.learn(known);
            Some((lease, asked))
        }
        Right::Free => None,
        Right::Uncached => {
            return match engine.bounded(load).await {
                Ok(loaded) => landing.land_with(Ok(loaded.value), Standing::Own),
                Err(error) => landing.fail_for(error, engine.error_ttl).await,
            };
        }
    };
    let outcome = engine.bounded(load).await;
    let (loaded, (lease, began)) = match (outcome, lease) {
        (Ok(loaded), Some(lease)) => (loaded, lease),
        (Ok(loaded), None) => return landing.succeed_for(loaded, Standing::Own),
        (Err(error), lease) => {
            if let Some((lease, _)) = &lease {
                tier.release(&[(&bytes, lease)]).await;
            }
            return landing.fail_for(error, engine.error_ttl).await;
        }
    };
    // Off before the tier is filled: whoever joined until now came before the moment
    // at which the lease is known to be whole.
    landing.take_off();
    let (key, stamp) = (landing.key(), landing.stamp);
    let written =
        engine.write_shared(&tier, key, hash, stamp, began, &bytes, &lease, &loaded).await;
    let standing = standing(written.0);
    landing.land_with(Ok(loaded.value), standing);
}

/// For whom a load is good.
pub(super) fn standing(written: Written) -> Standing {
    match written {
        Written::Stored => Standing::Sound,
        Written::Refused | Written::Unknown => Standing::Own,
    }
}
