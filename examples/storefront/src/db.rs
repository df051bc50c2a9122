//! The way to PostgreSQL: writes go to the primary, reads to a replica that is fresh enough.

use std::sync::Arc;
use std::time::Duration;
use std::{error, fmt};

use metrics::{Counter, Unit, counter, describe_counter};
use rw_split::{Balance, Error as RwError, Level, RwSplit, RwSplitBuilder};
use shard_router::Error as ShardError;
use tokio::time::timeout;
use tokio_postgres::error::SqlState;
use tokio_postgres::types::ToSql;
use tokio_postgres::{Config, Row};

use crate::cluster::Cluster;
use crate::statements::Statement;

pub(crate) const QUERIES: &str = "storefront_db_queries_total";

/// How long a request waits for a server, and for a free connection to it.
pub(crate) const CHECKOUT: Duration = Duration::from_secs(2);

/// How long a statement may take on the server: it gives up before the shop does, so that
/// after [`ANSWER`] nothing that was sent can still commit.
const STATEMENT: Duration = Duration::from_secs(4);

/// How long an answer may take, the wait for a connection and the way there and back included.
pub(crate) const ANSWER: Duration = Duration::from_secs(7);

/// Which servers reads may go to, in the shop's database and on each shard.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, clap::ValueEnum)]
pub(crate) enum Reads {
    /// Those that have what the session has written, and all that it has seen.
    #[default]
    Session,
    /// Those that have what the session has written.
    OwnWrites,
    /// All replicas in turn, however far behind: for comparison.
    RoundRobin,
    /// The primary only, whose users need no cookies: for comparison. Replicas serve nobody,
    /// and are there to be promoted.
    Primary,
}

impl Reads {
    /// A router over `servers` that sends reads there.
    pub(crate) fn builder(self, servers: Vec<Config>, connections: usize) -> RwSplitBuilder {
        let builder = RwSplit::builder().pool_size(connections);
        let builder = servers.into_iter().fold(builder, |builder, mut config| {
            config.application_name("storefront");
            builder.server(config)
        });
        let builder = match self {
            Self::Session => builder.level(Level::Session),
            Self::OwnWrites => builder.level(Level::ReadYourWrites),
            Self::RoundRobin => builder.level(Level::Eventual).balance(Balance::RoundRobin),
            Self::Primary => builder.level(Level::Primary),
        };
        builder
            .connect_timeout(CHECKOUT)
            .pool_timeout(CHECKOUT)
            .failover_wait(CHECKOUT)
            .statement_timeout(STATEMENT)
    }

    /// Whether users are to be followed by cookies, on a cluster of so many servers.
    pub(crate) fn follows(self, servers: usize) -> bool {
        servers > 1 && self != Self::Primary
    }
}

/// The shop's database. Clones share their connections.
#[derive(Clone, Debug)]
pub(crate) struct Database {
    db: RwSplit,
    cluster: Cluster,
    queries: Arc<[Counter; Statement::ALL.len()]>,
}

impl Database {
    /// Connects, and prepares every statement on a connection to the primary. Which of
    /// `servers` that is, is found out.
    ///
    /// # Errors
    ///
    /// When no primary can be reached, or the schema is not there.
    pub(crate) async fn connect(
        servers: Vec<Config>,
        connections: u32,
        reads: Reads,
    ) -> Result<Self, Box<dyn error::Error>> {
        let follows = reads.follows(servers.len());
        let builder = reads.builder(servers, connections as usize);
        let db = Self::over(builder, follows).await?;
        db.has_its_schema().await.map_err(Unopened)?;
        Ok(db)
    }

    /// A database that nobody has tried to reach yet.
    #[cfg(test)]
    pub(crate) async fn unreachable() -> Self {
        let mut config = Config::new();
        config.host("127.0.0.1").port(1).user("nobody");
        let builder = Reads::Session.builder(vec![config], 1).start_wait(Duration::ZERO);
        Self::over(builder, false).await.expect("the settings are good")
    }

    async fn over(builder: RwSplitBuilder, lags: bool) -> Result<Self, rw_split::BuildError> {
        let db = builder.build().await?;
        let cluster = if lags { Cluster::Lagging(db.clone()) } else { Cluster::Current };
        describe_counter!(QUERIES, Unit::Count, "Statements sent to the database.");
        let queries = Statement::ALL.map(|s| counter!(QUERIES, "statement" => s.label()));
        Ok(Self { db, cluster, queries: Arc::new(queries) })
    }

    async fn has_its_schema(&self) -> Result<(), DbError> {
        let connection = self.db.primary_connection().await?;
        for statement in Statement::ALL {
            connection.prepare(statement.sql()).await.map_err(RwError::Sql)?;
        }
        Ok(())
    }

    /// Whether the shop's orders are on shards, as it was seeded.
    ///
    /// # Errors
    ///
    /// When the primary does not answer.
    pub(crate) async fn orders_are_sharded(&self) -> Result<bool, DbError> {
        let sql = "SELECT coalesce(bool_or(orders_on_shards), false) FROM storefront.settings";
        let row = self.db.primary_connection().await?.query_one(sql, &[]).await;
        Ok(row.map_err(RwError::Sql)?.get(0))
    }

    /// Another number for each process that asks, of those below 1024, until they are used up.
    ///
    /// # Errors
    ///
    /// When the primary does not answer.
    pub(crate) async fn process_number(&self) -> Result<u16, DbError> {
        let sql = "SELECT nextval('storefront.process_numbers')";
        let row = self.db.primary_connection().await?.query_one(sql, &[]).await;
        let number: i64 = row.map_err(RwError::Sql)?.get(0);
        Ok(u16::try_from(number).expect("the sequence ends at 1023"))
    }

    /// Runs `statement` in a transaction of its own: when this returns, it is committed. A
    /// read shows what the session that it runs for has written.
    ///
    /// # Errors
    ///
    /// Without a free connection in time, an answer in time, or a good answer.
    ///
    /// # Cancel safety
    ///
    /// Dropping the future leaves open whether the statement took effect.
    pub(crate) async fn query(
        &self,
        statement: Statement,
        params: &[&(dyn ToSql + Sync)],
    ) -> Result<Vec<Row>, DbError> {
        self.queries[statement as usize].increment(1);
        match timeout(ANSWER, self.db.query(statement.sql(), params)).await {
            Ok(answer) => Ok(answer?),
            Err(_) => Err(DbError::TimedOut),
        }
    }

    /// Like [`query`](Self::query), for a statement that yields one row at most.
    pub(crate) async fn query_opt(
        &self,
        statement: Statement,
        params: &[&(dyn ToSql + Sync)],
    ) -> Result<Option<Row>, DbError> {
        Ok(self.query(statement, params).await?.pop())
    }

    /// Runs `sql` as [`query`](Self::query) does a statement of the shop's; it is not counted.
    ///
    /// # Errors
    ///
    /// As for [`query`](Self::query).
    ///
    /// # Cancel safety
    ///
    /// As for [`query`](Self::query).
    pub(crate) async fn ask(
        &self,
        sql: &str,
        params: &[&(dyn ToSql + Sync)],
    ) -> Result<Vec<Row>, DbError> {
        match timeout(ANSWER, self.db.query(sql, params)).await {
            Ok(answer) => Ok(answer?),
            Err(_) => Err(DbError::TimedOut),
        }
    }

    /// The servers, as a cache before them sees them.
    pub(crate) fn cluster(&self) -> &Cluster {
        &self.cluster
    }
}

/// Why the database did not answer.
#[derive(Debug)]
pub(crate) enum DbError {
    /// No answer came in time.
    TimedOut,
    /// A server, or the way to it, failed.
    Failed(RwError),
    /// A shard failed, or the way to it.
    Shard(ShardError),
    /// An order was accepted, and its shard is not known to have it: it will.
    Unsettled(Box<Self>),
}

impl DbError {
    /// Of an order that was accepted.
    pub(crate) fn unsettled(self) -> Self {
        Self::Unsettled(Box::new(self))
    }

    /// Whether the statement may have taken effect, although there is no answer that says so.
    pub(crate) fn may_have_happened(&self) -> bool {
        match self {
            Self::TimedOut | Self::Unsettled(_) => true,
            Self::Failed(e) => e.may_have_happened(),
            Self::Shard(e) => e.may_have_happened(),
        }
    }

    /// Whether the same request may well succeed later.
    pub(crate) fn is_transient(&self) -> bool {
        match self {
            Self::TimedOut => true,
            Self::Failed(e) => e.code().is_none_or(passes),
            Self::Shard(e) => shard_may_come_back(e),
            Self::Unsettled(cause) => cause.is_transient(),
        }
    }

    /// The shards that are missing from an answer, and why.
    pub(crate) fn missing(&self) -> Option<&ShardError> {
        match self {
            Self::Shard(e @ ShardError::Missing { .. }) => Some(e),
            _ => None,
        }
    }

    /// Whether the shop's tables are missing.
    fn is_unseeded(&self) -> bool {
        self.is(&SqlState::UNDEFINED_TABLE) || self.is(&SqlState::INVALID_SCHEMA_NAME)
    }

    /// Whether a unique value is taken by another row.
    pub(crate) fn is_taken(&self) -> bool {
        self.is(&SqlState::UNIQUE_VIOLATION)
    }

    /// Whether a row that is referred to does not exist.
    pub(crate) fn is_dangling(&self) -> bool {
        self.is(&SqlState::FOREIGN_KEY_VIOLATION)
    }

    fn is(&self, state: &SqlState) -> bool {
        matches!(self, Self::Failed(e) if e.code() == Some(state))
    }
}

/// Connection, transaction rollback, resources, operator intervention.
fn passes(state: &SqlState) -> bool {
    ["08", "40", "53", "57"].iter().any(|class| state.code().starts_with(class))
}

fn shard_may_come_back(error: &ShardError) -> bool {
    match error {
        ShardError::Missing { missing } => {
            missing.iter().all(|missing| shard_may_come_back(&missing.reason))
        }
        ShardError::OutcomeUnknown { .. } => true,
        e => e.is_transient() || e.code().is_some_and(passes),
    }
}

impl fmt::Display for DbError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::TimedOut => "the database did not answer in time",
            Self::Failed(_) => "the database failed",
            Self::Shard(_) => "a shard failed",
            Self::Unsettled(_) => "an order was accepted, and is not known to be on its shard",
        })
    }
}

impl error::Error for DbError {
    fn source(&self) -> Option<&(dyn error::Error + 'static)> {
        match self {
            Self::TimedOut => None,
            Self::Failed(cause) => Some(cause),
            Self::Shard(cause) => Some(cause),
            Self::Unsettled(cause) => Some(cause),
        }
    }
}

impl From<ShardError> for DbError {
    fn from(cause: ShardError) -> Self {
        Self::Shard(cause)
    }
}

impl From<RwError> for DbError {
    fn from(cause: RwError) -> Self {
        Self::Failed(cause)
    }
}

/// Why the shop could not open, with the way out.
#[derive(Debug)]
struct Unopened(DbError);

impl fmt::Display for Unopened {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(if self.0.is_unseeded() {
            "the database has no shop in it yet; run `storefront seed` with the same \
             --database-url first"
        } else {
            "cannot open the database; check --database-url and that the server runs"
        })
    }
}

impl error::Error for Unopened {
    fn source(&self) -> Option<&(dyn error::Error + 'static)> {
        Some(&self.0)
    }
}
