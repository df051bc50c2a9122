//! Where a shard's connections come from: the crate's own pool, or something that knows
//! more than one server, such as a primary with its replicas.

mod boxed;
mod connect;
mod pool;
mod stored;

use std::error::Error;
use std::future::Future;
use std::sync::Arc;
use std::time::Duration;

use tokio_postgres::types::ToSql;
use tokio_postgres::{Client, Row, Statement};

use crate::error::Refusal;

pub(crate) use self::boxed::{BoxConnection, BoxSource};
#[cfg(feature = "toml")]
pub(crate) use self::connect::Connected;
pub(crate) use self::connect::{Connect, Tls};
pub(crate) use self::pool::{Pool, PoolSettings, is_over, not_installed};
pub(crate) use self::stored::{Expected, STATE, Stored};

/// What a connection is for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum Purpose {
    /// A transaction on this shard.
    Transaction,
    /// A scatter, which has one connection to each shard at a time. A source must be able to
    /// give out [`capacity`](ShardSource::capacity) of these, whatever else it gives out
    /// and for however long: otherwise scatters that have a connection here wait for
    /// others that have one elsewhere, for ever.
    Scatter,
    /// The router's own look at what the shard stores. It should not have to wait for those
    /// who use the shard.
    Check,
}

/// The connections of one shard.
///
/// Implement it to put something else than the crate's pool in front of a shard, and
/// give it to [`RouterBuilder::source`](crate::RouterBuilder::source).
///
/// # Cancel safety
///
/// A future that is dropped must leave no connection busy for the next caller: close it.
pub trait ShardSource: Send + Sync + 'static {
    /// A connection. Dropped, it goes back, or is closed if something is under way on it.
    type Connection: ShardConnection;

    /// A connection that takes writes, and shows all that was committed before.
    ///
    /// # Errors
    ///
    /// If none can be had; nothing was sent then.
    fn connect(
        &self,
        purpose: Purpose,
    ) -> impl Future<Output = Result<Self::Connection, SourceError>> + Send;

    /// One statement outside of any transaction.
    ///
    /// # Errors
    ///
    /// The server's, or the connection's.
    fn query(
        &self,
        sql: &str,
        params: &[&(dyn ToSql + Sync)],
    ) -> impl Future<Output = Result<Vec<Row>, SourceError>> + Send;

    /// As [`query`](Self::query), for the number of rows.
    ///
    /// # Errors
    ///
    /// As [`query`](Self::query).
    fn execute(
        &self,
        sql: &str,
        params: &[&(dyn ToSql + Sync)],
    ) -> impl Future<Output = Result<u64, SourceError>> + Send;

    /// How many connections it can give to scatters at a time; at least 1.
    fn capacity(&self) -> usize;
}

/// A connection that somebody uses.
pub trait ShardConnection: Send + Sync + 'static {
    /// The driver's.
    fn client(&self) -> &Client;

    /// A prepared statement; sources that keep connections may keep these too.
    ///
    /// # Errors
    ///
    /// The server's.
    fn statement(
        &self,
        sql: &str,
    ) -> impl Future<Output = Result<Statement, tokio_postgres::Error>> + Send {
        async { self.client().prepare(sql).await }
    }

    /// Called before something is sent: until [`idle`](Self::idle), the connection is in
    /// the middle of it, and is no use to others.
    fn busy(&self) {}

    /// Called when nothing is under way, and no transaction is open.
    fn idle(&self) {}

    /// Called when the server has refused a prepared statement because what it reads has other
    /// columns now. A source that keeps statements forgets all of them here, on every
    /// connection to that server.
    fn stale(&self) {}

    /// Called after a transaction was committed on it, before [`idle`](Self::idle).
    ///
    /// # Errors
    ///
    /// If what was committed may be lost.
    fn committed(&self) -> impl Future<Output = Result<(), SourceError>> + Send {
        async { Ok(()) }
    }
}

/// Why a source has no connection, or a statement no answer.
#[derive(Debug)]
#[non_exhaustive]
pub enum SourceError {
    /// The server's error, or the driver's.
    Sql(tokio_postgres::Error),
    /// No server could be reached. Nothing was sent.
    Unreachable(Option<Arc<dyn Error + Send + Sync>>),
    /// The connection was lost under way.
    OutcomeUnknown(Option<Arc<dyn Error + Send + Sync>>),
    /// All connections stayed in use.
    Full {
        /// How many there are.
        size: usize,
        /// How long it was waited for.
        waited: Duration,
    },
    /// The server is not the shard.
    Refused(Refusal),
    /// The statement, which begins so, would leave something behind on its connection. Nothing
    /// was sent.
    SessionState(&'static str),
}

impl From<tokio_postgres::Error> for SourceError {
    fn from(error: tokio_postgres::Error) -> Self {
        Self::Sql(error)
    }
}
