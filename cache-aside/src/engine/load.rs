//! From a miss to a value: board a flight or lead one.

use std::future::Future;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};
use std::time::Duration;

use pin_project_lite::pin_project;
use tokio::runtime::Handle;
use tokio::task::JoinHandle;
use tracing::{Instrument, Span, debug_span};

use super::Engine;
use super::shared::Seen;
use crate::clock::{Tick, nanos};
use crate::epoch::Stamp;
use crate::error::{BoxError, Error};
use crate::flight::{Flight, FlightKey, Outcome, Standing};
use crate::key::CacheKey;
use crate::loaded::{Floor, LoadCause, LoadContext, Loaded};
use crate::metrics::{Load, Request};
use crate::policy::{Life, Verdict};
use crate::store::Entry;

/// How long after the deadline a waiter gives up on a leader that says nothing.
const SLACK: Duration = Duration::from_secs(1);

/// Where somebody who needs a value finds themselves.
pub(super) enum Seat<K: CacheKey, V: Send + Sync + 'static> {
    /// The value came in the meantime.
    Served(Option<Arc<V>>),
    /// A load is under way.
    Join(Arc<Flight<V>>),
    /// They are the one to load.
    Lead(Landing<K, V>),
}

impl<K: CacheKey, V: Send + Sync + 'static> Engine<K, V> {
    /// Loads `key`, or joins the load under way. `aged` is served if that fails.
    ///
    /// # Cancel safety
    ///
    /// A load that was started goes on; its value is stored.
    pub(crate) async fn load<M, F>(
        self: &Arc<Self>,
        key: &K,
        aged: Option<Entry<V>>,
        make: M,
    ) -> Outcome<V>
    where
        M: FnOnce(LoadContext<K>) -> F,
        F: Future<Output = Result<Loaded<V>, BoxError>> + Send + 'static,
    {
        if let Some(tier) = &self.tier {
            return self.load_shared(tier, key, aged, make).await;
        }
        let hash = self.hash(key);
        match self.board(key, hash, None) {
            Seat::Served(value) => {
                self.metrics.request(Request::Joined);
                Ok(value)
            }
            Seat::Join(flight) => {
                self.metrics.request(Request::Joined);
                self.settle(hash, &flight, aged, self.waiting_limit()).await
            }
            Seat::Lead(landing) => {
                self.metrics.request(Request::Miss);
                let flight = Arc::clone(&landing.flight);
                let _task = self.launch(landing, LoadCause::Miss, make);
                #[cfg(broken = "no_owned_load")]
                let _tied = AbortOnDrop(_task);
                self.settle(hash, &flight, aged, self.waiting_limit()).await
            }
        }
    }

    /// Renews an entry that was served, unless somebody does or has done so.
    pub(crate) fn renew<M, F>(
        self: &Arc<Self>,
        key: &K,
        seen: &Entry<V>,
        cause: LoadCause,
        make: M,
    ) where
        M: FnOnce(LoadContext<K>) -> F,
        F: Future<Output = Result<Loaded<V>, BoxError>> + Send + 'static,
    {
        if let Seat::Lead(landing) = self.board(key, self.hash(key), Some(&seen.life)) {
            match &self.tier {
                None => drop(self.launch(landing, cause, make)),
                Some(tier) => {
                    let seen = Seen::Expiring(seen.life.expires);
                    self.launch_shared(tier, landing, cause, seen, make);
                }
            }
        }
    }

    /// `seen` is what the caller wants to replace, even if it is fresh.
    pub(super) fn board(
        self: &Arc<Self>,
        key: &K,
        hash: u64,
        seen: Option<&Life>,
    ) -> Seat<K, V> {
        let landing = match self.enter(key, hash) {
            Ok(landing) => landing,
            Err(flight) => return Seat::Join(flight),
        };
        // A leader stores its value before it takes its flight off. There was no
        // flight, so what the last one brought is in the store by now. The lock is
        // free again: a store and the drop of a value are code that is not ours.
        if !cfg!(broken = "no_second_look")
            && let Some(entry) = self.store.get(key)
            && seen != Some(&entry.life)
            && self.policy.verdict(&entry.life, landing.stamp, landing.began, || 1.0)
                == Verdict::Fresh
        {
            landing.land_with(Ok(entry.value.clone()), Standing::Sound);
            return Seat::Served(entry.value);
        }
        Seat::Lead(landing)
    }

    /// A new flight for `key`, or the one that is under way.
    fn enter(self: &Arc<Self>, key: &K, hash: u64) -> Result<Landing<K, V>, Arc<Flight<V>>> {
        let mut shard = self.flights.shard(hash);
        let now = self.clock.now();
        // Before the store and before the source: this is the value's stamp.
        let mut stamp = self.epochs.stamp(hash);
        let epoch = |stamp| if cfg!(broken = "no_flight_epoch") { 0 } else { stamp };
        let limit = nanos(self.waiting_limit());
        let mut flight_key = (key.clone(), epoch(stamp));
        match shard.flights.get(&flight_key) {
            Some(flight) if flight.is_open(now, limit) && !cfg!(broken = "no_join") => {
                return Err(Arc::clone(flight));
            }
            // Should it wake up after all, it is overtaken.
            Some(lost) if !lost.has_landed() => {
                stamp = self.epochs.bump(hash);
                flight_key.1 = epoch(stamp);
            }
            _ => {}
        }
        let flight = Arc::new(Flight::new(now));
        shard.flights.insert(flight_key.clone(), Arc::clone(&flight));
        let engine = Arc::clone(self);
        Ok(Landing {
            engine,
            key: flight_key,
            hash,
            stamp,
            began: now,
            flight,
            landed: false,
            off: false,
        })
    }

    /// Starts the load of one key as a task of its own.
    fn launch<M, F>(
        self: &Arc<Self>,
        landing: Landing<K, V>,
        cause: LoadCause,
        make: M,
    ) -> Option<JoinHandle<()>>
    where
        M: FnOnce(LoadContext<K>) -> F,
        F: Future<Output = Result<Loaded<V>, BoxError>> + Send + 'static,
    {
        let floor = Floor::default();
        floor.learn(self.floors.of(landing.key(), self.clock.now()));
        let context = LoadContext::new(landing.key.0.clone(), cause, floor);
        let (runtime, future) = match self.prepare(|| make(context)) {
            Ok(ready) => ready,
            Err(error) => {
                landing.fail(error);
                return None;
            }
        };
        self.metrics.renewal(cause);
        let linger = self.error_ttl;
        let lead = async move {
            match landing.engine.bounded(future).await {
                Ok(loaded) => landing.succeed(loaded),
                Err(error) => landing.fail_for(error, linger).await,
            }
        };
        Some(runtime.spawn(lead.instrument(self.span(cause))))
    }

    /// The runtime to load on, and the loader's future.
    pub(super) fn prepare<F>(&self, make: impl FnOnce() -> F) -> Result<(Handle, F), Error> {
        let runtime = Handle::try_current().ok().or_else(|| self.runtime.clone());
        let runtime = runtime.ok_or(Error::NoRuntime)?;
        // The closure runs in the caller; its panic is the load's.
        let future = catch_unwind(AssertUnwindSafe(make)).map_err(|_| {
            self.note(Some(&Error::Panicked), Duration::ZERO);
            Error::Panicked
        })?;
        Ok((runtime, future))
    }

    /// Runs a load within its deadline, catching its panic.
    pub(super) async fn bounded<T>(
        &self,
        load: impl Future<Output = Result<T, BoxError>>,
    ) -> Result<T, Error> {
        let began = self.clock.now();
        let deadline =
            if cfg!(broken = "no_deadline") { Duration::MAX } else { self.load_timeout };
        let ended = tokio::time::timeout(deadline, CatchUnwind { load }).await;
        let outcome = match ended {
            Ok(Ok(Ok(loaded))) => Ok(loaded),
            Ok(Ok(Err(cause))) => Err(Error::Load(cause.into())),
            Ok(Err(Panicked)) => Err(Error::Panicked),
            Err(_) => Err(Error::Timeout(self.load_timeout)),
        };
        let took = self.clock.now().saturating_sub(began);
        self.note(outcome.as_ref().err(), Duration::from_nanos(took));
        outcome
    }

    /// Waits for a flight, at most for `limit`.
    pub(super) async fn settle(
        &self,
        hash: u64,
        flight: &Flight<V>,
        aged: Option<Entry<V>>,
        limit: Duration,
    ) -> Outcome<V> {
        let (outcome, _) = self.outcome(flight, limit).await;
        self.or_aged(outcome, hash, aged)
    }

    pub(super) async fn outcome(
        &self,
        flight: &Flight<V>,
        limit: Duration,
    ) -> (Outcome<V>, Standing) {
        let given_up = || (Err(Error::Timeout(self.load_timeout)), Standing::Sound);
        flight.wait(limit).await.unwrap_or_else(given_up)
    }

    /// An aged entry that no invalidation has reached stands in for an error.
    pub(super) fn or_aged(
        &self,
        outcome: Outcome<V>,
        hash: u64,
        aged: Option<Entry<V>>,
    ) -> Outcome<V> {
        let (Err(_), Some(aged)) = (&outcome, aged) else { return outcome };
        // Time has passed: it is judged anew.
        let verdict = if cfg!(broken = "no_stale_check") {
            Verdict::OnError
        } else {
            self.judge(&aged.life, hash).0
        };
        match verdict {
            Verdict::Expired | Verdict::Invalidated => outcome,
            _ => {
                self.metrics.stale_on_error();
                Ok(aged.value)
            }
        }
    }

    pub(super) fn span(&self, cause: LoadCause) -> Span {
        debug_span!("cache_aside.load", cache = %self.name, ?cause)
    }

    pub(super) fn waiting_limit(&self) -> Duration {
        let delay = self.tier.as_ref().map_or(Duration::ZERO, |tier| tier.delay());
        self.load_timeout.saturating_add(SLACK).saturating_add(delay)
    }

    fn note(&self, error: Option<&Error>, took: Duration) {
        self.metrics.load(Load::of(error), took);
        self.health.note(&self.name, error, self.clock.now());
    }
}

/// The leader's duty to those who wait: however it ends, dropped included, its
/// flight is taken off and has an outcome.
pub(super) struct Landing<K: CacheKey, V: Send + Sync + 'static> {
    pub(super) engine: Arc<Engine<K, V>>,
    key: FlightKey<K>,
    pub(super) hash: u64,
    pub(super) stamp: Stamp,
    pub(super) began: Tick,
    pub(super) flight: Arc<Flight<V>>,
    landed: bool,
    off: bool,
}

impl<K: CacheKey, V: Send + Sync + 'static> Landing<K, V> {
    pub(super) fn key(&self) -> &K {
        &self.key.0
    }

    pub(super) fn succeed(mut self, loaded: Loaded<V>) {
        self.engine.fill(&self.key.0, self.hash, self.stamp, self.began, &loaded);
        self.land(Ok(loaded.value), Standing::Sound);
    }

    /// Keeps the value in this process, and answers those who came before the load began:
    /// another process may have invalidated the key since.
    pub(super) fn succeed_alone(mut self, loaded: Loaded<V>) {
        self.engine.fill(&self.key.0, self.hash, self.stamp, self.began, &loaded);
        self.land(Ok(loaded.value), Standing::Own);
    }

    pub(super) fn fail(self, error: Error) {
        self.land_with(Err(error), Standing::Sound);
    }

    pub(super) fn land_with(mut self, outcome: Outcome<V>, standing: Standing) {
        self.land(outcome, standing);
    }

    /// Fails now, and goes on failing for those who come in the next `linger`.
    pub(super) async fn fail_for(mut self, error: Error, linger: Duration) {
        if linger.is_zero() {
            return self.fail(error);
        }
        self.publish(Err(error), Standing::Sound, linger);
        tokio::time::sleep(linger).await;
    }

    /// Answers those who wait, and those who come within `linger` while the
    /// flight is on.
    pub(super) fn publish(
        &mut self,
        outcome: Outcome<V>,
        standing: Standing,
        linger: Duration,
    ) {
        self.landed = true;
        let until = self.engine.clock.now().saturating_add(nanos(linger));
        self.flight.publish(outcome, standing, until);
    }

    fn land(&mut self, outcome: Outcome<V>, standing: Standing) {
        // Off first: what is not to be stored answers nobody who comes later.
        self.take_off();
        self.publish(outcome, standing, Duration::ZERO);
    }

    /// Nobody joins from here on.
    pub(super) fn take_off(&mut self) {
        if !self.off {
            self.off = true;
            self.engine.flights.remove(self.hash, &self.key, &self.flight);
        }
    }
}

impl<K: CacheKey, V: Send + Sync + 'static> Drop for Landing<K, V> {
    fn drop(&mut self) {
        if cfg!(broken = "no_landing") {
            return;
        }
        if self.landed {
            self.take_off();
        } else if std::thread::panicking() {
            // Of the store, or of the drop of the load.
            self.land(Err(Error::Panicked), Standing::Sound);
        } else {
            self.land(Err(Error::Aborted), Standing::Sound);
        }
    }
}

pin_project! {
    /// Turns a panic of a future into its output.
    struct CatchUnwind<F> {
        #[pin]
        load: F,
    }
}

struct Panicked;

impl<F: Future> Future for CatchUnwind<F> {
    type Output = Result<F::Output, Panicked>;

    fn poll(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Self::Output> {
        let load = self.project().load;
        // It is not polled again after a panic, so nothing half-done is seen.
        match catch_unwind(AssertUnwindSafe(|| load.poll(cx))) {
            Ok(poll) => poll.map(Ok),
            Err(_) => Poll::Ready(Err(Panicked)),
        }
    }
}

#[cfg(broken = "no_owned_load")]
struct AbortOnDrop(Option<JoinHandle<()>>);

#[cfg(broken = "no_owned_load")]
impl Drop for AbortOnDrop {
    fn drop(&mut self) {
        if let Some(task) = &self.0 {
            task.abort();
        }
    }
}
