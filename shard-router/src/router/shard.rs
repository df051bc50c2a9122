use std::fmt;
use std::future::Future;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use futures_util::future::join;
use tokio::time::timeout;
use tokio_postgres::Row;
use tokio_postgres::error::SqlState;
use tokio_postgres::types::ToSql;

use super::{Core, Member, Node, View};
use crate::error::{Error, is_stale_plan};
use crate::key::ShardKey;
use crate::map::ShardName;
use crate::slot::Slot;
use crate::source::{BoxConnection, Purpose, STATE, SourceError, Stored, not_installed};
use crate::text::{Effect, outline};

/// The server answers a COMMIT of what has failed with a rollback, and not with an error. In
/// front of it, any statement is one then, and the COMMIT is not run.
const COMMIT: &str = if cfg!(broken = "blind_commit") { "COMMIT" } else { "SELECT; COMMIT" };

/// The shard of one key, handed out by [`Router::with`](crate::Router::with). Owned and cheap to
/// clone, so that it works in spawned tasks. One that is kept asks the shard again, as `with`
/// does, before its statements.
#[derive(Clone)]
pub struct Shard {
    core: Arc<Core>,
    view: Arc<View>,
    index: usize,
    slot: Slot,
}

impl Shard {
    pub(super) fn new(core: Arc<Core>, view: Arc<View>, index: usize, slot: Slot) -> Self {
        Self { core, view, index, slot }
    }

    /// The shard's name.
    pub fn name(&self) -> &ShardName {
        &self.node().name
    }

    /// The key's slot.
    pub fn slot(&self) -> Slot {
        self.slot
    }

    /// Whether another key is on this shard, too.
    ///
    /// # Errors
    ///
    /// [`Error::CrossShard`] if it is not, [`Error::KeyType`].
    pub fn check<K: ShardKey + ?Sized>(&self, key: &K) -> Result<(), Error> {
        let slot = self.view.slot(key)?;
        let map = self.view.topology.map();
        if map.owner_index(slot) == self.index || cfg!(broken = "cross_shard") {
            return Ok(());
        }
        self.core.metrics.cross_shard();
        Err(Error::CrossShard { a: self.name().clone(), b: map.owner(slot).clone() })
    }

    /// One statement, prepared once on each connection.
    ///
    /// # Errors
    ///
    /// The server's, or the connection's; those of [`with`](crate::Router::with);
    /// [`Error::SessionState`] for one that would leave something behind on its connection.
    ///
    /// # Cancel safety
    ///
    /// As [`Router`](crate::Router).
    pub async fn query(
        &self,
        sql: &str,
        params: &[&(dyn ToSql + Sync)],
    ) -> Result<Vec<Row>, Error> {
        self.admit().await?;
        let node = self.node();
        node.guarded(node.source.query(sql, params)).await
    }

    /// One statement that has one row.
    ///
    /// # Errors
    ///
    /// As [`query`](Self::query), and [`Error::RowCount`].
    pub async fn query_one(
        &self,
        sql: &str,
        params: &[&(dyn ToSql + Sync)],
    ) -> Result<Row, Error> {
        one(self.name(), self.query(sql, params).await?)
    }

    /// One statement that has a row or none.
    ///
    /// # Errors
    ///
    /// As [`query`](Self::query), and [`Error::RowCount`].
    pub async fn query_opt(
        &self,
        sql: &str,
        params: &[&(dyn ToSql + Sync)],
    ) -> Result<Option<Row>, Error> {
        at_most_one(self.name(), self.query(sql, params).await?)
    }

    /// One statement, for the number of rows.
    ///
    /// # Errors
    ///
    /// As [`query`](Self::query).
    pub async fn execute(
        &self,
        sql: &str,
        params: &[&(dyn ToSql + Sync)],
    ) -> Result<u64, Error> {
        self.admit().await?;
        let node = self.node();
        node.guarded(node.source.execute(sql, params)).await
    }

    /// Begins a transaction on this shard. In its first round trip, and in its own snapshot of
    /// what the shard stores, the shard must own the key's slot at this router's epoch.
    ///
    /// # Errors
    ///
    /// [`Error::Epoch`] and [`Error::NotOwned`], where nothing was done, and as
    /// [`query`](Self::query).
    pub async fn begin(&self) -> Result<Tx, Error> {
        let connection = self.node().connect(Purpose::Transaction).await?;
        let tx = Tx {
            connection,
            shard: self.clone(),
            keeps: AtomicBool::new(false),
            lost: AtomicBool::new(false),
        };
        tx.connection.busy();
        let patience = self.core.settings.pool.query_timeout;
        let beginning = async {
            let state = tx.connection.statement(STATE).await.map_err(not_installed)?;
            let client = tx.connection.client();
            // In one round trip: the second is sent behind the first.
            let (begun, state) =
                join(client.batch_execute("BEGIN"), client.query(&state, &[])).await;
            begun?;
            state.map_err(not_installed)
        };
        let rows = match timeout(patience, beginning).await {
            Ok(rows) => rows.map_err(|error| self.node().error(error))?,
            Err(_) => return Err(self.node().error(SourceError::Unreachable(None))),
        };
        self.node().answered();
        let stored = Stored::read(&rows).map_err(|reason| self.node().refused(reason))?;
        if cfg!(broken = "begin_epoch") {
            return Ok(tx);
        }
        let epoch = self.view.topology.map().epoch();
        let owned = self.member().assert(&stored, epoch, self.slot);
        if let Err(error) = owned {
            if matches!(error, Error::Epoch { .. }) {
                self.core.nudge.notify_one();
            }
            // Nothing was done, so a failure of this is no news.
            let _ = tx.rollback().await;
            return Err(error);
        }
        Ok(tx)
    }

    /// Its place in the map.
    pub(super) fn index(&self) -> usize {
        self.index
    }

    /// As before `with`: a handle may be kept for long.
    async fn admit(&self) -> Result<(), Error> {
        if cfg!(broken = "kept_handle") {
            return Ok(());
        }
        self.core.admit(&self.view, self.index).await
    }

    fn node(&self) -> &Node {
        &self.member().node
    }

    fn member(&self) -> &Member {
        &self.view.members[self.index]
    }
}

impl fmt::Debug for Shard {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Shard").field("name", self.name()).field("slot", &self.slot).finish()
    }
}

/// A transaction on one shard. Dropped, it is rolled back: its connection is closed.
#[must_use = "dropped, a transaction is rolled back"]
pub struct Tx {
    connection: BoxConnection,
    shard: Shard,
    /// Whether the session keeps something of it, so that nobody else may have it.
    keeps: AtomicBool,
    /// Whether a statement was not answered in time.
    lost: AtomicBool,
}

impl Tx {
    /// The shard's name.
    pub fn shard(&self) -> &ShardName {
        self.shard.name()
    }

    /// Whether another key is on this shard, too: call it for each key that the transaction
    /// touches beside its own.
    ///
    /// # Errors
    ///
    /// [`Error::CrossShard`] if it is not, [`Error::KeyType`].
    pub fn check<K: ShardKey + ?Sized>(&self, key: &K) -> Result<(), Error> {
        self.shard.check(key)
    }

    /// One statement, prepared once on each connection. What a `SET` without `LOCAL`, a lock or a
    /// table of the session leaves behind is closed with its connection when the transaction
    /// ends.
    ///
    /// # Errors
    ///
    /// The server's, or the connection's; [`Error::OutcomeUnknown`] after
    /// [`query_timeout`](crate::RouterBuilder::query_timeout); [`Error::SessionState`] if it
    /// would begin or end a transaction.
    ///
    /// # Cancel safety
    ///
    /// Dropped, the statement goes on, and the transaction with it; drop that too.
    pub async fn query(
        &self,
        sql: &str,
        params: &[&(dyn ToSql + Sync)],
    ) -> Result<Vec<Row>, Error> {
        self.look_at(sql)?;
        self.run(async {
            let statement = self.connection.statement(sql).await?;
            self.connection.client().query(&statement, params).await
        })
        .await
    }

    /// One statement that has one row.
    ///
    /// # Errors
    ///
    /// As [`query`](Self::query), and [`Error::RowCount`].
    pub async fn query_one(
        &self,
        sql: &str,
        params: &[&(dyn ToSql + Sync)],
    ) -> Result<Row, Error> {
        one(self.shard(), self.query(sql, params).await?)
    }

    /// One statement that has a row or none.
    ///
    /// # Errors
    ///
    /// As [`query`](Self::query), and [`Error::RowCount`].
    pub async fn query_opt(
        &self,
        sql: &str,
        params: &[&(dyn ToSql + Sync)],
    ) -> Result<Option<Row>, Error> {
        at_most_one(self.shard(), self.query(sql, params).await?)
    }

    /// One statement, for the number of rows.
    ///
    /// # Errors
    ///
    /// As [`query`](Self::query).
    pub async fn execute(
        &self,
        sql: &str,
        params: &[&(dyn ToSql + Sync)],
    ) -> Result<u64, Error> {
        self.look_at(sql)?;
        self.run(async {
            let statement = self.connection.statement(sql).await?;
            self.connection.client().execute(&statement, params).await
        })
        .await
    }

    /// Statements without parameters, such as `SET LOCAL` or `SAVEPOINT`.
    ///
    /// # Errors
    ///
    /// As [`query`](Self::query).
    pub async fn batch_execute(&self, sql: &str) -> Result<(), Error> {
        self.look_at(sql)?;
        self.run(self.connection.client().batch_execute(sql)).await
    }

    /// Commits.
    ///
    /// # Errors
    ///
    /// Nothing was committed: [`Error::TransactionAborted`] if a statement had failed, whoever has
    /// heard of it, [`Error::TransactionLost`] if the connection was lost before.
    /// [`Error::OutcomeUnknown`] if it was lost in the commit.
    ///
    /// # Cancel safety
    ///
    /// Dropped, it may have happened or not.
    pub async fn commit(self) -> Result<(), Error> {
        let client = self.connection.client();
        if self.lost.load(Ordering::Acquire) || client.is_closed() {
            return Err(Error::TransactionLost { shard: self.shard().clone() });
        }
        match self.run(client.batch_execute(COMMIT)).await {
            Err(error) if error.code() == Some(&SqlState::IN_FAILED_SQL_TRANSACTION) => {
                let aborted = Error::TransactionAborted { shard: self.shard().clone() };
                self.rollback().await?;
                return Err(aborted);
            }
            answer => answer?,
        }
        let committed = self.connection.committed().await;
        self.release();
        committed.map_err(|error| Error::of(self.shard(), error))
    }

    /// Rolls back.
    ///
    /// # Errors
    ///
    /// If the connection is lost; the server has rolled back then.
    pub async fn rollback(self) -> Result<(), Error> {
        self.run(self.connection.client().batch_execute("ROLLBACK")).await?;
        self.release();
        Ok(())
    }

    fn release(&self) {
        if !self.keeps.load(Ordering::Acquire) {
            self.connection.idle();
        }
    }

    fn look_at(&self, sql: &str) -> Result<(), Error> {
        match outline(sql).effect {
            Effect::Transaction(what) if !cfg!(broken = "session_state") => {
                Err(Error::SessionState { shard: self.shard().clone(), what })
            }
            Effect::Session(_) if !cfg!(broken = "session_state") => {
                self.keeps.store(true, Ordering::Release);
                Ok(())
            }
            _ => Ok(()),
        }
    }

    async fn run<T>(
        &self,
        asking: impl Future<Output = Result<T, tokio_postgres::Error>>,
    ) -> Result<T, Error> {
        let node = self.shard.node();
        let unknown = || node.error(SourceError::OutcomeUnknown(None));
        if self.lost.load(Ordering::Acquire) {
            return Err(unknown());
        }
        let patience = match cfg!(broken = "patient_transaction") {
            true => Duration::MAX,
            false => self.shard.core.settings.pool.query_timeout,
        };
        let Ok(answer) = timeout(patience, asking).await else {
            self.lost.store(true, Ordering::Release);
            return Err(unknown());
        };
        answer.map_err(|error| {
            if is_stale_plan(&error) {
                self.connection.stale();
            }
            node.error(SourceError::Sql(error))
        })
    }
}

impl fmt::Debug for Tx {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Tx").field("shard", self.shard()).finish_non_exhaustive()
    }
}

fn one(shard: &ShardName, rows: Vec<Row>) -> Result<Row, Error> {
    at_most_one(shard, rows)?.ok_or_else(|| Error::RowCount { shard: shard.clone(), found: 0 })
}

fn at_most_one(shard: &ShardName, mut rows: Vec<Row>) -> Result<Option<Row>, Error> {
    match rows.len() {
        0 | 1 => Ok(rows.pop()),
        found => Err(Error::RowCount { shard: shard.clone(), found }),
    }
}
