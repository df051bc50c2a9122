//! The way to PostgreSQL: a pool whose connections hold every statement prepared.

use std::sync::Arc;
use std::time::Duration;
use std::{error, fmt};

use bb8::{ManageConnection, Pool, RunError};
use bb8_postgres::PostgresConnectionManager;
use metrics::{Counter, Unit, counter, describe_counter};
use tokio::time::timeout;
use tokio_postgres::error::SqlState;
use tokio_postgres::types::ToSql;
use tokio_postgres::{Client, Config, NoTls, Row};

use crate::statements::Statement;

const QUERIES: &str = "storefront_db_queries_total";

/// How long a request waits for a free connection.
const CHECKOUT: Duration = Duration::from_secs(2);

/// How long a statement may take, its way there and back included.
const ANSWER: Duration = Duration::from_secs(5);

/// The server gives up first: after [`ANSWER`] nothing that was sent can still commit.
const LIMIT: &str = "SET statement_timeout = '4s'";

/// The shop's database. Clones share one pool.
#[derive(Clone)]
pub(crate) struct Database {
    pool: Pool<Sessions>,
    queries: Arc<[Counter; Statement::ALL.len()]>,
}

impl Database {
    /// Connects, and prepares every statement on the first connection.
    ///
    /// # Errors
    ///
    /// When the server cannot be reached, or the schema is not there.
    pub(crate) async fn connect(config: Config, connections: u32) -> Result<Self, DbError> {
        let pool = Pool::builder()
            .max_size(connections)
            .min_idle(1)
            .connection_timeout(CHECKOUT)
            .build(Sessions::new(config))
            .await?;
        Ok(Self::over(pool))
    }

    /// A database that nobody has tried to reach yet.
    #[cfg(test)]
    pub(crate) fn unreachable() -> Self {
        let mut config = Config::new();
        config.host("127.0.0.1").port(1).user("nobody");
        let pool = Pool::builder().max_size(1).connection_timeout(CHECKOUT);
        Self::over(pool.build_unchecked(Sessions::new(config)))
    }

    fn over(pool: Pool<Sessions>) -> Self {
        describe_counter!(QUERIES, Unit::Count, "Statements sent to the database.");
        let queries = Statement::ALL.map(|s| counter!(QUERIES, "statement" => s.label()));
        Self { pool, queries: Arc::new(queries) }
    }

    /// Runs `statement` in a transaction of its own: when this returns, it is committed.
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
        let mut session = self.pool.get().await?;
        self.queries[statement as usize].increment(1);
        let prepared = &session.prepared[statement as usize];
        match timeout(ANSWER, session.client.query(prepared, params)).await {
            Ok(answer) => Ok(answer?),
            Err(_) => {
                // Who uses this connection next would wait behind the same statement.
                session.abandoned = true;
                Err(DbError::TimedOut)
            }
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
}

impl fmt::Debug for Database {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Database").field("pool", &self.pool.state()).finish_non_exhaustive()
    }
}

/// Why the database did not answer.
#[derive(Debug)]
pub(crate) enum DbError {
    /// No connection was free in time; the statement was not sent.
    NoConnection,
    /// No answer came in time.
    TimedOut,
    /// The server, or the way to it, failed.
    Failed(tokio_postgres::Error),
}

impl DbError {
    /// Whether the statement cannot have taken effect, since it never left.
    pub(crate) fn is_unsent(&self) -> bool {
        matches!(self, Self::NoConnection)
    }

    /// Whether the same request may well succeed later.
    pub(crate) fn is_transient(&self) -> bool {
        match self {
            Self::NoConnection | Self::TimedOut => true,
            // Connection, transaction rollback, resources, operator intervention.
            Self::Failed(e) => e.code().is_none_or(|state| {
                ["08", "40", "53", "57"].iter().any(|class| state.code().starts_with(class))
            }),
        }
    }

    /// Whether the shop's tables are missing.
    pub(crate) fn is_unseeded(&self) -> bool {
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

impl fmt::Display for DbError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::NoConnection => "no connection to the database was free in time",
            Self::TimedOut => "the database did not answer in time",
            Self::Failed(_) => "the database failed",
        })
    }
}

impl error::Error for DbError {
    fn source(&self) -> Option<&(dyn error::Error + 'static)> {
        match self {
            Self::NoConnection | Self::TimedOut => None,
            Self::Failed(cause) => Some(cause),
        }
    }
}

impl From<tokio_postgres::Error> for DbError {
    fn from(cause: tokio_postgres::Error) -> Self {
        Self::Failed(cause)
    }
}

impl From<RunError<tokio_postgres::Error>> for DbError {
    fn from(cause: RunError<tokio_postgres::Error>) -> Self {
        match cause {
            RunError::User(cause) => Self::Failed(cause),
            RunError::TimedOut => Self::NoConnection,
        }
    }
}

/// Makes the pool's connections.
struct Sessions {
    inner: PostgresConnectionManager<NoTls>,
}

impl Sessions {
    fn new(mut config: Config) -> Self {
        config.connect_timeout(CHECKOUT).application_name("storefront");
        Self { inner: PostgresConnectionManager::new(config, NoTls) }
    }
}

/// A connection with its statements.
struct Session {
    client: Client,
    prepared: Vec<tokio_postgres::Statement>,
    abandoned: bool,
}

impl ManageConnection for Sessions {
    type Connection = Session;
    type Error = tokio_postgres::Error;

    async fn connect(&self) -> Result<Session, tokio_postgres::Error> {
        let client = self.inner.connect().await?;
        client.batch_execute(LIMIT).await?;
        let mut prepared = Vec::with_capacity(Statement::ALL.len());
        for statement in Statement::ALL {
            prepared.push(client.prepare(statement.sql()).await?);
        }
        Ok(Session { client, prepared, abandoned: false })
    }

    /// Asks the connection alone: a question to the server would double the queries.
    async fn is_valid(&self, session: &mut Session) -> Result<(), tokio_postgres::Error> {
        if session.client.is_closed() {
            return session.client.check_connection().await;
        }
        Ok(())
    }

    fn has_broken(&self, session: &mut Session) -> bool {
        session.abandoned || self.inner.has_broken(&mut session.client)
    }
}
