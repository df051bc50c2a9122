use std::fmt;
use std::future::Future;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use futures_util::future::join;
use tokio_postgres::Row;
use tokio_postgres::types::ToSql;

use super::{Core, Member, Node, View};
use crate::error::Error;
use crate::key::ShardKey;
use crate::map::ShardName;
use crate::slot::Slot;
use crate::source::{BoxConnection, Purpose, STATE, SourceError, Stored};

/// The shard of one key, handed out by [`Router::with`](crate::Router::with). Owned and cheap to
/// clone, so that it works in spawned tasks; what it is used for, when the closure is over, is
/// at its own risk: the map may have changed.
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
    /// The server's, or the connection's.
    ///
    /// # Cancel safety
    ///
    /// As [`Router`](crate::Router).
    pub async fn query(
        &self,
        sql: &str,
        params: &[&(dyn ToSql + Sync)],
    ) -> Result<Vec<Row>, Error> {
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
        let tx = Tx { connection, shard: self.clone(), failed: AtomicBool::new(false) };
        tx.connection.busy();
        let patience = self.core.settings.pool.query_timeout;
        let beginning = async {
            let state = tx.connection.statement(STATE).await?;
            let client = tx.connection.client();
            // In one round trip: the second is sent behind the first.
            let (begun, state) =
                join(client.batch_execute("BEGIN"), client.query(&state, &[])).await;
            begun?;
            state
        };
        let Ok(rows) = tokio::time::timeout(patience, beginning).await else {
            self.node().failed();
            return Err(Error::of(self.name(), SourceError::Unreachable(None)));
        };
        let rows = rows.map_err(|error| tx.error(error))?;
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
    /// Whether the server has refused a statement.
    failed: AtomicBool,
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

    /// One statement, prepared once on each connection.
    ///
    /// # Errors
    ///
    /// The server's, or the connection's.
    ///
    /// # Cancel safety
    ///
    /// Dropped, the statement goes on, and the transaction with it; drop that too.
    pub async fn query(
        &self,
        sql: &str,
        params: &[&(dyn ToSql + Sync)],
    ) -> Result<Vec<Row>, Error> {
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
        self.run(self.connection.client().batch_execute(sql)).await
    }

    /// Commits.
    ///
    /// # Errors
    ///
    /// [`Error::TransactionAborted`] if a statement had failed, so that nothing was committed;
    /// [`Error::OutcomeUnknown`] if the connection was lost.
    ///
    /// # Cancel safety
    ///
    /// Dropped, it may have happened or not.
    pub async fn commit(self) -> Result<(), Error> {
        let client = self.connection.client();
        if self.failed.load(Ordering::Acquire) {
            // The server answers a COMMIT of what has failed with a rollback, not with an
            // error. After a ROLLBACK TO it has not failed.
            if let Err(error) = client.batch_execute("SELECT 1").await {
                if error.code().is_none() {
                    return Err(self.error(error));
                }
                let shard = self.shard().clone();
                self.rollback().await?;
                return Err(Error::TransactionAborted { shard });
            }
        }
        self.run(client.batch_execute("COMMIT")).await?;
        let committed = self.connection.committed().await;
        self.connection.idle();
        committed.map_err(|error| Error::of(self.shard(), error))
    }

    /// Rolls back.
    ///
    /// # Errors
    ///
    /// If the connection is lost; the server has rolled back then.
    pub async fn rollback(self) -> Result<(), Error> {
        self.run(self.connection.client().batch_execute("ROLLBACK")).await?;
        self.connection.idle();
        Ok(())
    }

    async fn run<T>(
        &self,
        asking: impl Future<Output = Result<T, tokio_postgres::Error>>,
    ) -> Result<T, Error> {
        asking.await.map_err(|error| self.error(error))
    }

    fn error(&self, error: tokio_postgres::Error) -> Error {
        if error.code().is_some() {
            self.failed.store(true, Ordering::Release);
        }
        if error.is_closed() {
            self.shard.node().failed();
        }
        self.shard.node().sql(error)
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
