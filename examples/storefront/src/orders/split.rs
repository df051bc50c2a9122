//! A shard that is a primary with replicas: `rw-split` behind the port of `shard-router`.

use std::sync::Arc;

use rw_split::{Error, PooledConnection, RwSplit};
use shard_router::source::{Purpose, ShardConnection, ShardSource, SourceError};
use tokio::sync::{OwnedSemaphorePermit, Semaphore};
use tokio::time::timeout;
use tokio_postgres::types::ToSql;
use tokio_postgres::{Client, Row, Statement};

use crate::db::{ANSWER, CHECKOUT};

/// Connections beside those for requests: each scatter has one on every shard at a time, and
/// must not wait for requests, which wait for nobody else.
const SCATTERS: usize = 4;

/// The router's own looks.
const CHECKS: usize = 2;

/// Writes and transactions go to the primary, reads to a replica that is fresh enough for
/// their session.
pub(super) struct Split {
    db: RwSplit,
    requests: Arc<Semaphore>,
    size: usize,
}

impl Split {
    /// How many connections to each server a router needs, for so many requests at a time.
    pub(super) fn pool_size(requests: usize) -> usize {
        requests + SCATTERS + CHECKS
    }

    pub(super) fn new(db: RwSplit, requests: usize) -> Self {
        Self { db, requests: Arc::new(Semaphore::new(requests)), size: requests }
    }

    async fn admit(&self) -> Result<OwnedSemaphorePermit, SourceError> {
        let waiting = Arc::clone(&self.requests).acquire_owned();
        match timeout(CHECKOUT, waiting).await {
            Ok(permit) => Ok(permit.expect("the semaphore is never closed")),
            Err(_) => Err(SourceError::Full { size: self.size, waited: CHECKOUT }),
        }
    }

    async fn asked<T>(
        &self,
        asking: impl Future<Output = Result<T, Error>>,
    ) -> Result<T, SourceError> {
        let _permit = self.admit().await?;
        match timeout(ANSWER, asking).await {
            Ok(answer) => answer.map_err(told),
            Err(_) => Err(SourceError::OutcomeUnknown(None)),
        }
    }
}

impl ShardSource for Split {
    type Connection = OnPrimary;

    async fn connect(&self, purpose: Purpose) -> Result<OnPrimary, SourceError> {
        let permit = match purpose {
            Purpose::Transaction => Some(self.admit().await?),
            _ => None,
        };
        let connection = self.db.pooled_connection().await.map_err(told)?;
        Ok(OnPrimary { connection, _permit: permit })
    }

    async fn query(
        &self,
        sql: &str,
        params: &[&(dyn ToSql + Sync)],
    ) -> Result<Vec<Row>, SourceError> {
        self.asked(self.db.query(sql, params)).await
    }

    async fn execute(
        &self,
        sql: &str,
        params: &[&(dyn ToSql + Sync)],
    ) -> Result<u64, SourceError> {
        self.asked(self.db.execute(sql, params)).await
    }

    fn capacity(&self) -> usize {
        SCATTERS
    }
}

/// A connection to the shard's primary. What is committed on it is its session's own.
pub(super) struct OnPrimary {
    connection: PooledConnection,
    _permit: Option<OwnedSemaphorePermit>,
}

impl ShardConnection for OnPrimary {
    fn client(&self) -> &Client {
        &self.connection
    }

    async fn statement(&self, sql: &str) -> Result<Statement, tokio_postgres::Error> {
        self.connection.statement(sql).await
    }

    fn busy(&self) {
        self.connection.busy();
    }

    fn idle(&self) {
        self.connection.idle();
    }

    fn stale(&self) {
        self.connection.forget_statements();
    }

    async fn committed(&self) -> Result<(), SourceError> {
        self.connection.written().await.map_err(told)
    }
}

/// In the port's words.
fn told(error: Error) -> SourceError {
    match error {
        Error::Sql(error) => SourceError::Sql(error),
        Error::OutcomeUnknown(_) => SourceError::OutcomeUnknown(Some(Arc::new(error))),
        Error::PoolTimeout { size, waited, .. } => SourceError::Full { size, waited },
        Error::NeedsConnection(reason) => SourceError::SessionState(reason.as_str()),
        other => SourceError::Unreachable(Some(Arc::new(other))),
    }
}
