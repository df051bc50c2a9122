//! One shard as a router sees it.

use std::fmt;
use std::future::Future;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use tokio::time::{Instant, timeout};
use tracing::warn;

use crate::breaker::Breaker;
use crate::error::{Error, Refusal};
use crate::hot::HotCounters;
use crate::key::ShardKey;
use crate::map::{ShardName, SlotMap};
use crate::metrics::{Metrics, ShardMetrics};
use crate::router::columns;
use crate::slot::{Epoch, Slot, SlotRange};
use crate::source::{
    BoxConnection, BoxSource, Expected, Pool, Purpose, STATE, SourceError, Stored, is_over,
    not_installed,
};
use crate::topology::Topology;

/// A text that may hold a password.
#[derive(PartialEq, Eq)]
pub(crate) struct Secret(pub(crate) String);

impl fmt::Debug for Secret {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("..")
    }
}

/// The shard, whatever the map says of it; it outlives maps.
#[derive(Debug)]
pub(crate) struct Node {
    pub(crate) name: ShardName,
    pub(crate) source: BoxSource,
    /// Where the source is the crate's own.
    pub(crate) pool: Option<Pool>,
    /// The connection string that the pool was made of.
    pub(crate) connection: Option<Secret>,
    pub(crate) hot: Option<Mutex<HotCounters>>,
    pub(crate) counts: ShardMetrics,
    pub(crate) metrics: Arc<Metrics>,
    breaker: Mutex<Breaker>,
    /// Whether the breaker has anything to say.
    failing: AtomicBool,
}

impl Node {
    pub(crate) fn new(
        name: ShardName,
        source: BoxSource,
        pool: Option<(Pool, String)>,
        hot: Option<usize>,
        metrics: Arc<Metrics>,
    ) -> Self {
        let (pool, connection) = pool.unzip();
        Self {
            counts: ShardMetrics::new(&name),
            name,
            source,
            pool,
            connection: connection.map(Secret),
            hot: hot.map(|capacity| Mutex::new(HotCounters::new(capacity))),
            metrics,
            breaker: Mutex::default(),
            failing: AtomicBool::new(false),
        }
    }

    pub(crate) fn record<K: ShardKey + ?Sized>(&self, slot: Slot, key: &K) {
        if let Some(hot) = &self.hot {
            let mut hot = hot.lock().unwrap_or_else(PoisonError::into_inner);
            key.parts(|parts| hot.record(slot, parts));
        }
    }

    /// Asks the shard something, unless it has failed too often a moment ago.
    pub(crate) async fn guarded<T>(
        &self,
        asking: impl Future<Output = Result<T, SourceError>>,
    ) -> Result<T, Error> {
        self.admit()?;
        let answer = asking.await;
        if answer.is_ok() {
            self.answered();
        }
        answer.map_err(|error| self.error(error))
    }

    fn admit(&self) -> Result<(), Error> {
        if self.failing.load(Ordering::Acquire) && !self.breaker().admit(Instant::now()) {
            return Err(self.left_alone());
        }
        Ok(())
    }

    fn left_alone(&self) -> Error {
        self.metrics.unreachable();
        Error::Unreachable { shard: self.name.clone(), source: None }
    }

    /// Whether the shard is left alone, but for one who tries.
    fn is_left_alone(&self) -> bool {
        self.failing.load(Ordering::Acquire) && self.breaker().is_open()
    }

    /// What an error says of the shard.
    pub(crate) fn error(&self, error: SourceError) -> Error {
        match &error {
            SourceError::Unreachable(_) | SourceError::OutcomeUnknown(_) => self.failed(),
            SourceError::Sql(error) if error.is_closed() => self.failed(),
            // A server that refuses is there.
            SourceError::Sql(error) if error.code().is_some() => self.answered(),
            SourceError::Sql(_) | SourceError::SessionState(_) => {}
            SourceError::Full { .. } => self.metrics.pool_timeouts(),
            SourceError::Refused(_) => {
                self.metrics.refusals();
                self.answered();
            }
        }
        Error::of(&self.name, error)
    }

    pub(crate) fn answered(&self) {
        if self.failing.load(Ordering::Acquire) {
            let mut breaker = self.breaker();
            breaker.succeeded();
            self.failing.store(false, Ordering::Release);
        }
    }

    /// It did not answer, or not in time.
    pub(crate) fn failed(&self) {
        self.metrics.unreachable();
        let mut breaker = self.breaker();
        let opens = breaker.failed(Instant::now());
        self.failing.store(true, Ordering::Release);
        drop(breaker);
        if opens {
            self.metrics.breaker_opens();
            warn!(shard = %self.name, "a shard does not answer, and is left alone for a while");
        }
    }

    fn breaker(&self) -> MutexGuard<'_, Breaker> {
        self.breaker.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// A connection, unless the shard has failed too often a moment ago. That there is one says
    /// nothing for the shard: it may have been idle.
    pub(crate) async fn connect(&self, purpose: Purpose) -> Result<BoxConnection, Error> {
        self.admit()?;
        let connection = self.source.connect(purpose).await;
        if connection.is_ok() && cfg!(broken = "idle_evidence") {
            self.answered();
        }
        connection.map_err(|error| self.error(error))
    }

    pub(crate) fn refused(&self, reason: Refusal) -> Error {
        self.metrics.refusals();
        Error::Refused { shard: self.name.clone(), reason }
    }
}

/// A shard's place in one map, and when it was last found to be in it.
#[derive(Debug)]
pub(crate) struct Member {
    pub(crate) node: Arc<Node>,
    pub(crate) expected: Expected,
    /// Milliseconds after the router's start, plus one; 0 for never.
    admitted: AtomicU64,
    columns: AtomicBool,
    checking: tokio::sync::Mutex<()>,
    /// How often it was looked at without an answer.
    unanswered: AtomicU64,
}

impl Member {
    pub(crate) fn new(node: Arc<Node>, expected: Expected) -> Self {
        Self {
            node,
            expected,
            admitted: AtomicU64::new(0),
            columns: AtomicBool::new(false),
            checking: tokio::sync::Mutex::new(()),
            unanswered: AtomicU64::new(0),
        }
    }

    /// Whether it was found to be in its place a moment ago.
    pub(crate) fn is_admitted(&self, clock: Clock) -> bool {
        let at = self.admitted.load(Ordering::Acquire);
        let age = || u128::from(clock.millis().saturating_sub(at - 1));
        at > 0 && age() < clock.recheck.as_millis() || cfg!(broken = "admission")
    }

    /// Makes sure that the server is this shard at this epoch, by what it stores.
    pub(crate) async fn admit(
        &self,
        topology: &Topology,
        clock: Clock,
        patience: Duration,
    ) -> Result<(), Error> {
        let epoch = topology.map().epoch();
        let node = &self.node;
        let unanswered = self.unanswered.load(Ordering::Acquire);
        let _checking = match self.checking.try_lock() {
            Ok(checking) => checking,
            // Somebody tries; nobody else has to wait for that.
            Err(_) if node.is_left_alone() && !cfg!(broken = "each_looks") => {
                return Err(node.left_alone());
            }
            Err(_) => self.checking.lock().await,
        };
        if self.is_admitted(clock) {
            return Ok(());
        }
        // What was found while this one waited holds for it, too.
        if self.unanswered.load(Ordering::Acquire) != unanswered && !cfg!(broken = "each_looks")
        {
            return Err(node.left_alone());
        }
        let asked = clock.millis();
        let asking = async {
            let connection = node.source.connect(Purpose::Check).await?;
            let stored = stored(&connection).await?;
            stored.verify(&self.expected).map_err(SourceError::Refused)?;
            if stored.epoch == epoch && !self.columns.load(Ordering::Acquire) {
                connection.busy();
                let (tables, key) = (topology.tables(), topology.key());
                columns::check(connection.client(), tables, key).await?;
                connection.idle();
                self.columns.store(true, Ordering::Release);
            }
            Ok(stored)
        };
        let asking = async {
            timeout(patience, asking).await.unwrap_or(Err(SourceError::Unreachable(None)))
        };
        let stored = node.guarded(asking).await.inspect_err(|error| {
            if matches!(error, Error::Unreachable { .. } | Error::OutcomeUnknown { .. }) {
                self.unanswered.fetch_add(1, Ordering::AcqRel);
            }
        })?;
        self.compare(&stored, epoch)?;
        if !cfg!(broken = "other_owners") {
            self.compare_slots(&stored, topology.map())?;
        }
        self.admitted.store(asked + 1, Ordering::Release);
        Ok(())
    }

    pub(crate) fn compare(&self, stored: &Stored, epoch: Epoch) -> Result<(), Error> {
        if stored.epoch == epoch {
            return Ok(());
        }
        self.node.metrics.epoch_mismatches();
        self.forget();
        Err(Error::Epoch { shard: self.node.name.clone(), stored: stored.epoch, map: epoch })
    }

    /// At one epoch, what a shard owns is what the map says.
    pub(crate) fn compare_slots(&self, stored: &Stored, map: &SlotMap) -> Result<(), Error> {
        let owned = map.ranges(self.node.name.as_str()).unwrap_or_default();
        if stored.owned == owned {
            return Ok(());
        }
        let text = |ranges: &[SlotRange]| {
            ranges.iter().map(ToString::to_string).collect::<Vec<_>>().join(",")
        };
        let reason = format!(
            "it owns the slots {}, and by the map {}, at one epoch",
            text(&stored.owned),
            text(&owned)
        );
        Err(self.node.refused(Refusal::Damaged { reason }))
    }

    /// Look again before the next use.
    pub(crate) fn forget(&self) {
        self.admitted.store(0, Ordering::Release);
    }

    /// As the statement of a transaction, what the shard stores must be of this epoch, and
    /// the slot its own.
    pub(crate) fn assert(
        &self,
        stored: &Stored,
        epoch: Epoch,
        slot: Slot,
    ) -> Result<(), Error> {
        stored.verify(&self.expected).map_err(|reason| self.node.refused(reason))?;
        self.compare(stored, epoch)?;
        if !stored.owns(slot) {
            return Err(Error::NotOwned { shard: self.node.name.clone(), slot });
        }
        Ok(())
    }
}

/// What the shard stores.
pub(crate) async fn stored(connection: &BoxConnection) -> Result<Stored, SourceError> {
    connection.busy();
    let asking = async {
        let statement = connection.statement(STATE).await?;
        connection.client().query(&statement, &[]).await
    };
    let answer = asking.await;
    if answer.as_ref().err().is_none_or(is_over) {
        connection.idle();
    }
    Stored::read(&answer.map_err(not_installed)?).map_err(SourceError::Refused)
}

/// The router's time.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Clock {
    pub(crate) start: Instant,
    pub(crate) recheck: Duration,
}

impl Clock {
    pub(crate) fn millis(self) -> u64 {
        let passed = Instant::now().saturating_duration_since(self.start).as_millis();
        u64::try_from(passed).unwrap_or(u64::MAX - 1)
    }
}
