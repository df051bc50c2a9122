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
use super::options::{IsolationLevel, TxOptions};
use super::place::{Reading, Spot};
use super::{Core, RwSplit, Writing};
use crate::classify::Reason;
use crate::error::{Error, is_lost};
use crate::level::Level;
use crate::metrics::{Cause, Place};
use crate::policy::elect::Role;
use crate::policy::retry::{Asked, Next, is_gone, is_old_plan, next};
use crate::server::pool::Lease;
use crate::token::Sticky;

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
    /// A statement has failed, and with it the transaction, up to a savepoint.
    failed: AtomicBool,
    under_way: AtomicUsize,
    mode: Mode,
}

#[derive(Clone, Copy)]
enum Mode {
    /// By a handle that reads at this level, if it says so.
    Writes(Option<Level>),
    ReadOnly {
        /// Where it is; `None` for the primary.
        replica: Option<Sticky>,
        level: Level,
    },
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
            let tx = core.begin(&options.begin(false), self.own_level()).await?;
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
        let begin = TxOptions::new().isolation(IsolationLevel::RepeatableRead).begin(true);
        let tx = self.core().begin_to_read(&begin, self.own_level()).await?;
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
    /// A transaction on the primary. A connection that fails at `BEGIN` has done
    /// nothing yet: then another one does.
    async fn begin(&self, begin: &str, level: Option<Level>) -> Result<Tx, Error> {
        let deadline = Instant::now() + self.settings.failover_wait;
        loop {
            let (index, lease) = self.primary_lease(deadline).await?;
            match Tx::begin(self.shared(), lease, begin, Mode::Writes(level)).await {
                Err(error) if is_away(&error) && Instant::now() < deadline => {
                    self.cluster.servers[index].nudge.notify_one();
                    self.metrics.retries();
                }
                begun => return begun.map_err(Error::Sql),
            }
        }
    }

    /// A transaction on a server that may serve the session's reads.
    async fn begin_to_read(&self, begin: &str, level: Option<Level>) -> Result<Tx, Error> {
        let mut reading = Reading::new(self, level);
        for _ in 0..4 {
            let (index, identity) = match reading.place().await {
                Spot::Replica { index, identity, .. } => (index, identity),
                Spot::Primary(cause) => {
                    self.metrics.request(Place::Primary, cause);
                    break;
                }
            };
            let server = &self.cluster.servers[index];
            if let Ok(lease) = server.pool.acquire().await {
                let seen = lease.identity.observation;
                if seen.started != identity.started || seen.role != Role::Standby {
                    lease.discard();
                } else if !server.shared {
                    let (replica, level) = (Some(identity), reading.level);
                    let mode = Mode::ReadOnly { replica, level };
                    if let Ok(tx) = Tx::begin(self.shared(), lease, begin, mode).await {
                        self.metrics.request(Place::Replica, Cause::Asked);
                        return Ok(tx);
                    }
                }
            }
            server.nudge.notify_one();
            reading.excluded |= 1 << index;
            self.metrics.retries();
        }
        let deadline = Instant::now() + self.settings.failover_wait;
        loop {
            let (index, lease) = self.primary_lease(deadline).await?;
            let mode = Mode::ReadOnly { replica: None, level: reading.level };
            match Tx::begin(self.shared(), lease, begin, mode).await {
                Err(error) if is_away(&error) && Instant::now() < deadline => {
                    self.cluster.servers[index].nudge.notify_one();
                    self.metrics.retries();
                }
                begun => return begun.map_err(Error::Sql),
            }
        }
    }
}

fn is_away(error: &tokio_postgres::Error) -> bool {
    is_lost(error) || error.code().is_some_and(is_gone)
}

impl Tx {
    async fn begin(
        core: Arc<Core>,
        mut lease: Lease,
        begin: &str,
        mode: Mode,
    ) -> Result<Self, tokio_postgres::Error> {
        // Until it is over, nobody else may have the connection.
        lease.ask();
        lease.client.batch_execute(begin).await?;
        let inner = Inner {
            core,
            lease,
            over: AtomicBool::new(false),
            failed: AtomicBool::new(false),
            under_way: AtomicUsize::new(0),
            mode,
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
        // First: whoever ends the transaction looks at the two the other way round.
        inner.under_way.fetch_add(1, Ordering::SeqCst);
        let begun = if inner.over.load(Ordering::SeqCst) {
            Err(Error::TransactionOver)
        } else {
            self.fence()
        };
        if let Err(error) = begun {
            inner.under_way.fetch_sub(1, Ordering::SeqCst);
            return Err(error);
        }
        let class = inner.core.classifier.classify(op.sql);
        if class.reason == Reason::SessionState {
            // What it sets would outlive the transaction on this connection.
            inner.lease.discard();
        }
        // Left at one if this is dropped in the middle.
        let ran = async {
            let statement = op.prepare(&inner.lease).await?;
            op.run(&inner.lease, statement.as_ref()).await
        };
        let ran = ran.await;
        inner.under_way.fetch_sub(1, Ordering::SeqCst);
        match &ran {
            // Only a savepoint that is gone back to mends what has failed; other
            // answers may be older than the failure, and looked at later.
            Ok(_)
                if class.reason == Reason::TransactionControl
                    || cfg!(broken = "last_answer") =>
            {
                inner.failed.store(false, Ordering::Release);
            }
            Ok(_) => {}
            Err(error) => {
                inner.failed.store(true, Ordering::Release);
                let again = next(error.code(), Asked::Write) == Next::PrepareAgain;
                if again || is_old_plan(error) {
                    inner.lease.forget_statement(op.sql);
                }
            }
        }
        ran.map_err(Error::Sql)
    }

    fn fence(&self) -> Result<(), Error> {
        if !self.inner.lease.is_poisoned() {
            return Ok(());
        }
        if matches!(self.inner.mode, Mode::Writes(_)) {
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
        if inner.over.swap(true, Ordering::SeqCst) {
            return Err(Error::TransactionOver);
        }
        self.fence()?;
        if inner.failed.load(Ordering::Acquire) || inner.under_way.load(Ordering::SeqCst) > 0 {
            self.end().await;
            return Err(Error::TransactionAborted);
        }
        let level = match inner.mode {
            Mode::Writes(level) => level,
            Mode::ReadOnly { replica, level } => {
                let ended = inner.lease.client.batch_execute("COMMIT").await;
                self.see(replica, level).await;
                self.give_back(ended.is_ok());
                return ended.map_err(Error::Sql);
            }
        };
        let writing = Writing::new(Arc::clone(&inner.core), level);
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
            Err(error) if next(error.code(), Asked::Write) == Next::Unknown => {
                Err(writing.unknown(Some(error)))
            }
            Err(error) => {
                writing.failed(position.ok());
                self.give_back(true);
                Err(Error::Sql(error))
            }
        }
    }

    /// What a read-only transaction has shown is seen, if the session may read
    /// elsewhere next.
    async fn see(&self, replica: Option<Sticky>, level: Level) {
        let core = &self.inner.core;
        let Some(scope) = core.scope() else { return };
        let moves = match replica {
            Some(_) => level == Level::Session && scope.floors().sticky != replica,
            None => level == Level::Session || core.settings.level == Level::Session,
        };
        if moves {
            core.has_seen(&scope).await;
        }
    }

    async fn rollback(self) {
        if !self.inner.over.swap(true, Ordering::SeqCst) {
            self.end().await;
        }
    }

    /// What it has shown, by rows or by errors, is seen though it is undone.
    async fn end(&self) {
        let inner = &*self.inner;
        let rollback = inner.lease.client.batch_execute("ROLLBACK");
        let ended = match inner.mode {
            Mode::ReadOnly { replica, level } => {
                let ended = rollback.await.is_ok();
                self.see(replica, level).await;
                ended
            }
            Mode::Writes(level) => {
                let (ended, position) = join(rollback, inner.lease.position()).await;
                if !inner.lease.is_poisoned() {
                    let writing = Writing::new(Arc::clone(&inner.core), level);
                    writing.failed(position.ok());
                }
                ended.is_ok()
            }
        };
        self.give_back(ended && inner.under_way.load(Ordering::SeqCst) == 0);
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
