//! Transactions: on one connection from begin to end.

use std::fmt;
use std::future::Future;
use std::pin::pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};

use futures_util::future::{Either, join, select};
use tokio::time::Instant;
use tokio_postgres::types::ToSql;
use tokio_postgres::{Row, SimpleQueryMessage};

use super::op::{Answer, Kind, Op};
use super::place::{Reading, Spot};
use super::{Core, RwSplit, Writing};
use crate::classify::Reason;
use crate::error::{Error, is_lost};
use crate::level::Level;
use crate::metrics::{Cause, Place};
use crate::policy::elect::Role;
use crate::scope::ConsistencyScope;
use crate::server::pool::Lease;

/// How much a transaction sees of those beside it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum IsolationLevel {
    /// `READ COMMITTED`
    ReadCommitted,
    /// `REPEATABLE READ`
    RepeatableRead,
    /// `SERIALIZABLE`, which a replica does not have.
    Serializable,
}

/// How a transaction is run.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[must_use]
pub struct TxOptions {
    isolation: Option<IsolationLevel>,
    replays: u32,
}

impl TxOptions {
    /// The server's default isolation, and no replay.
    pub fn new() -> Self {
        Self::default()
    }

    /// Sets the isolation level.
    pub fn isolation(mut self, level: IsolationLevel) -> Self {
        self.isolation = Some(level);
        self
    }

    /// Calls the closure again, up to so many times, after a serialization
    /// failure (40001) or a deadlock (40P01), which have undone all it did in the
    /// database. What else it does must bear being done again. The default is 0.
    pub fn replays(mut self, most: u32) -> Self {
        self.replays = most;
        self
    }

    fn begin(self, read_only: bool) -> String {
        let mut begin = String::from("BEGIN");
        match self.isolation {
            None => {}
            Some(IsolationLevel::ReadCommitted) => begin += " ISOLATION LEVEL READ COMMITTED",
            Some(IsolationLevel::RepeatableRead) => begin += " ISOLATION LEVEL REPEATABLE READ",
            Some(IsolationLevel::Serializable) => begin += " ISOLATION LEVEL SERIALIZABLE",
        }
        if read_only {
            begin += " READ ONLY";
        }
        begin
    }
}

/// A transaction in progress: an owned handle, so that it may go into spawned
/// tasks. Its clones are one transaction.
///
/// # Cancel safety
///
/// A statement that is dropped in the middle makes the transaction fail; if the
/// transaction's own future is dropped, it is rolled back.
#[derive(Clone)]
pub struct Tx {
    inner: Arc<Inner>,
}

struct Inner {
    core: Arc<Core>,
    lease: Lease,
    over: AtomicBool,
    /// The last statement has failed, and with it the transaction.
    failed: AtomicBool,
    under_way: AtomicUsize,
    read_only: bool,
}

impl RwSplit {
    /// Runs `work` in one transaction on the primary, and commits it if `work`
    /// returns `Ok`.
    ///
    /// # Errors
    ///
    /// What `work` returns, after a rollback; [`Error::OutcomeUnknown`] if the
    /// connection was lost in the commit; [`Error::TransactionAborted`] if `work`
    /// has passed over a statement's error; [`Error::Fenced`] if the server is
    /// not the primary any more.
    pub async fn transaction<T, E, F, Fut>(&self, work: F) -> Result<T, E>
    where
        F: FnMut(Tx) -> Fut + Send,
        Fut: Future<Output = Result<T, E>> + Send,
        T: Send,
        E: From<Error> + std::error::Error + Send + 'static,
    {
        self.transaction_with(TxOptions::default(), work).await
    }

    /// As [`transaction`](Self::transaction), with options.
    ///
    /// # Errors
    ///
    /// As [`transaction`](Self::transaction).
    pub async fn transaction_with<T, E, F, Fut>(
        &self,
        options: TxOptions,
        mut work: F,
    ) -> Result<T, E>
    where
        F: FnMut(Tx) -> Fut + Send,
        Fut: Future<Output = Result<T, E>> + Send,
        T: Send,
        E: From<Error> + std::error::Error + Send + 'static,
    {
        let core = self.core();
        let mut left = options.replays;
        loop {
            let deadline = Instant::now() + core.settings.failover_wait;
            let (_, lease) = core.primary_lease(deadline).await?;
            let tx = Tx::begin(Arc::clone(core), lease, &options.begin(false), false).await?;
            let ended = match work(tx.clone()).await {
                Ok(value) => tx.commit().await.map(|()| value).map_err(E::from),
                Err(error) => {
                    tx.rollback().await;
                    Err(error)
                }
            };
            match ended {
                Err(error) if left > 0 && is_replayable(&error) => {
                    left -= 1;
                    core.metrics.retries();
                }
                ended => return ended,
            }
        }
    }

    /// Runs `work` in one read-only transaction: on a replica that is fresh
    /// enough for the session, or else on the primary.
    ///
    /// # Errors
    ///
    /// What `work` returns. It is not run again where a replica fails it.
    pub async fn read_only<T, E, F, Fut>(&self, work: F) -> Result<T, E>
    where
        F: FnOnce(Tx) -> Fut + Send,
        Fut: Future<Output = Result<T, E>> + Send,
        T: Send,
        E: From<Error> + Send,
    {
        let core = self.core();
        let lease = core.lease_for_reading(self.own_level()).await?;
        let begin = TxOptions::new().isolation(IsolationLevel::RepeatableRead).begin(true);
        let tx = Tx::begin(Arc::clone(core), lease, &begin, true).await?;
        match work(tx.clone()).await {
            Ok(value) => tx.commit().await.map(|()| value).map_err(E::from),
            Err(error) => {
                tx.rollback().await;
                Err(error)
            }
        }
    }
}

/// Looks through the error and its causes.
fn is_replayable(error: &(dyn std::error::Error + 'static)) -> bool {
    let mut cause = Some(error);
    while let Some(error) = cause {
        let code = match error.downcast_ref::<Error>() {
            Some(error) => error.code(),
            None => error.downcast_ref::<tokio_postgres::Error>().and_then(|e| e.code()),
        };
        if code.is_some_and(|code| matches!(code.code(), "40001" | "40P01")) {
            return true;
        }
        cause = error.source();
    }
    false
}

impl Core {
    /// A connection to a server that may serve the session's reads.
    async fn lease_for_reading(&self, level: Option<Level>) -> Result<Lease, Error> {
        let mut reading = Reading::new(self, level);
        for _ in 0..4 {
            let (index, identity) = match reading.place().await {
                Spot::Replica { index, identity, .. } => (index, identity),
                Spot::Primary(cause) => {
                    let deadline = Instant::now() + self.settings.failover_wait;
                    let (_, lease) = self.primary_lease(deadline).await?;
                    self.metrics.request(Place::Primary, cause);
                    return Ok(lease);
                }
            };
            let server = &self.cluster.servers[index];
            match server.pool.acquire().await {
                Ok(lease) => {
                    let seen = lease.identity.observation;
                    if seen.started == identity.started
                        && seen.role == Role::Standby
                        && !server.shared
                    {
                        self.metrics.request(Place::Replica, Cause::Asked);
                        return Ok(lease);
                    }
                    lease.discard();
                    server.nudge.notify_one();
                }
                Err(_) => server.nudge.notify_one(),
            }
            reading.excluded |= 1 << index;
            self.metrics.retries();
        }
        let deadline = Instant::now() + self.settings.failover_wait;
        self.primary_lease(deadline).await.map(|(_, lease)| lease)
    }
}

impl Tx {
    async fn begin(
        core: Arc<Core>,
        mut lease: Lease,
        begin: &str,
        read_only: bool,
    ) -> Result<Self, Error> {
        // Until it is over, nobody else may have the connection.
        lease.ask();
        lease.client.batch_execute(begin).await.map_err(Error::Sql)?;
        let inner = Inner {
            core,
            lease,
            over: AtomicBool::new(false),
            failed: AtomicBool::new(false),
            under_way: AtomicUsize::new(0),
            read_only,
        };
        Ok(Self { inner: Arc::new(inner) })
    }

    /// The rows of a statement.
    ///
    /// # Errors
    ///
    /// [`Error::Sql`], after which the transaction can only be rolled back;
    /// [`Error::Fenced`], [`Error::TransactionOver`].
    pub async fn query(
        &self,
        sql: &str,
        params: &[&(dyn ToSql + Sync)],
    ) -> Result<Vec<Row>, Error> {
        match self.run(&Op { sql, kind: Kind::Rows(params) }).await? {
            Answer::Rows(rows) => Ok(rows),
            _ => unreachable!("rows were asked for"),
        }
    }

    /// The one row of a statement.
    ///
    /// # Errors
    ///
    /// As [`query`](Self::query), and [`Error::RowCount`].
    pub async fn query_one(
        &self,
        sql: &str,
        params: &[&(dyn ToSql + Sync)],
    ) -> Result<Row, Error> {
        let mut rows = self.query(sql, params).await?;
        match rows.len() {
            1 => Ok(rows.remove(0)),
            found => Err(Error::RowCount { found }),
        }
    }

    /// How many rows a statement has changed, or found.
    ///
    /// # Errors
    ///
    /// As [`query`](Self::query).
    pub async fn execute(
        &self,
        sql: &str,
        params: &[&(dyn ToSql + Sync)],
    ) -> Result<u64, Error> {
        match self.run(&Op { sql, kind: Kind::Count(params) }).await? {
            Answer::Count(count) => Ok(count),
            _ => unreachable!("a count was asked for"),
        }
    }

    /// Runs a text of one or several statements, without parameters.
    ///
    /// # Errors
    ///
    /// As [`query`](Self::query).
    pub async fn simple_query(&self, sql: &str) -> Result<Vec<SimpleQueryMessage>, Error> {
        match self.run(&Op { sql, kind: Kind::Simple }).await? {
            Answer::Simple(messages) => Ok(messages),
            _ => unreachable!("messages were asked for"),
        }
    }

    async fn run(&self, op: &Op<'_>) -> Result<Answer, Error> {
        let inner = &*self.inner;
        if inner.over.load(Ordering::Acquire) {
            return Err(Error::TransactionOver);
        }
        self.fence()?;
        let class = inner.core.classifier.classify(op.sql);
        if class.reason == Reason::SessionState {
            // What it sets would outlive the transaction on this connection.
            inner.lease.discard();
        }
        inner.under_way.fetch_add(1, Ordering::AcqRel);
        // Left at one if this is dropped in the middle.
        let ran = async {
            let statement = op.prepare(&inner.lease).await?;
            op.run(&inner.lease, statement.as_ref()).await
        };
        let ran = ran.await;
        inner.under_way.fetch_sub(1, Ordering::AcqRel);
        inner.failed.store(ran.is_err(), Ordering::Release);
        ran.map_err(Error::Sql)
    }

    fn fence(&self) -> Result<(), Error> {
        if !self.inner.lease.is_poisoned() {
            return Ok(());
        }
        if !self.inner.read_only {
            self.inner.core.metrics.fenced_writes();
        }
        let core = &self.inner.core;
        let server = core
            .cluster
            .servers
            .iter()
            .find(|server| Arc::ptr_eq(&server.pool, self.inner.lease.pool()));
        Err(Error::Fenced { server: server.map_or_else(String::new, |s| s.name.to_string()) })
    }

    async fn commit(self) -> Result<(), Error> {
        let inner = &*self.inner;
        if inner.over.swap(true, Ordering::AcqRel) {
            return Err(Error::TransactionOver);
        }
        self.fence()?;
        if inner.failed.load(Ordering::Acquire) || inner.under_way.load(Ordering::Acquire) > 0 {
            self.end("ROLLBACK").await;
            return Err(Error::TransactionAborted);
        }
        if inner.read_only {
            let ended = inner.lease.client.batch_execute("COMMIT").await;
            self.see().await;
            self.give_back(ended.is_ok());
            return ended.map_err(Error::Sql);
        }
        let writing = Writing::new(Arc::clone(&inner.core));
        let (committed, position) = {
            let mut poisoned = pin!(inner.lease.pool().poisoned());
            poisoned.as_mut().enable();
            let commit =
                pin!(join(inner.lease.client.batch_execute("COMMIT"), inner.lease.position()));
            match select(commit, poisoned).await {
                Either::Left((done, _)) => done,
                Either::Right(_) => return Err(writing.unknown(None)),
            }
        };
        match committed {
            Ok(()) => {
                let known = position.is_ok();
                writing.settle(&inner.lease, Some(position))?;
                self.give_back(known);
                inner.core.metrics.request(Place::Primary, Cause::Asked);
                Ok(())
            }
            Err(error) if is_lost(&error) => Err(writing.unknown(Some(error))),
            Err(error) => match crate::policy::retry::next(
                error.code(),
                crate::policy::retry::Asked::Write,
            ) {
                crate::policy::retry::Next::Unknown => Err(writing.unknown(Some(error))),
                _ => {
                    writing.nothing_happened();
                    self.give_back(true);
                    Err(Error::Sql(error))
                }
            },
        }
    }

    /// What a read-only transaction has shown on the primary is seen.
    async fn see(&self) {
        let inner = &*self.inner;
        let on_primary = inner.lease.identity.observation.role == Role::Primary;
        if let Some(scope) = ConsistencyScope::current().filter(|_| on_primary)
            && let Some(position) = inner.core.ask().await
        {
            scope.saw(position);
        }
    }

    async fn rollback(self) {
        if !self.inner.over.swap(true, Ordering::AcqRel) {
            self.end("ROLLBACK").await;
        }
    }

    async fn end(&self, how: &str) {
        let ended = self.inner.lease.client.batch_execute(how).await.is_ok();
        self.give_back(ended && self.inner.under_way.load(Ordering::Acquire) == 0);
    }

    /// The connection may go back to the pool when the last handle is dropped.
    fn give_back(&self, clean: bool) {
        if clean {
            self.inner.lease.clean();
        }
    }
}

impl fmt::Debug for Tx {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Tx").finish_non_exhaustive()
    }
}
