//! The topology in a table of PostgreSQL, from which all processes have it.

use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use tokio::time::timeout;
use tokio_postgres::tls::{MakeTlsConnect, TlsConnect};
use tokio_postgres::{Client, Config, NoTls, Socket};

use super::{Topology, TopologyError, config};
use crate::source::{Connect, Connected, Tls};

pub(crate) const CHANNEL: &str = "shard_router_topology";

/// One publisher at a time: "shar" and 2.
const LOCK: &str = "SELECT pg_advisory_xact_lock(8386093294336049154)";
const TABLE: &str = "CREATE SCHEMA IF NOT EXISTS shard_router; \
    CREATE TABLE IF NOT EXISTS shard_router.topology ( \
        epoch bigint PRIMARY KEY, body text NOT NULL, published timestamptz NOT NULL DEFAULT now())";
const LATEST: &str =
    "SELECT body, epoch FROM shard_router.topology ORDER BY epoch DESC LIMIT 1";

/// Topologies in a table `shard_router.topology`, one row for each epoch, the last of which
/// holds. A router that [watches](crate::Router::watch) it takes over each new one.
#[derive(Clone, Debug)]
pub struct ControlTable {
    pub(crate) config: SecretConfig,
    pub(crate) connect: Arc<dyn Connect>,
    patience: Duration,
}

#[derive(Clone)]
pub(crate) struct SecretConfig(pub(crate) Box<Config>);

/// It may hold a password.
impl fmt::Debug for SecretConfig {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("..")
    }
}

/// Why a control table was of no use.
#[derive(Debug)]
#[non_exhaustive]
pub enum ControlError {
    /// The connection string is none.
    Config {
        /// Why not.
        reason: String,
    },
    /// It could not be reached in time.
    Late(Duration),
    /// The server's error, or the connection's.
    Sql(tokio_postgres::Error),
    /// What it holds is no topology.
    Topology(TopologyError),
    /// It holds none.
    Empty,
    /// Somebody has published another one since this was planned.
    Conflict {
        /// The epoch that the table has.
        stored: u64,
        /// The one that was to be published.
        published: u64,
    },
}

impl fmt::Display for ControlError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Config { reason } => write!(f, "the control table's connection: {reason}"),
            Self::Late(after) => write!(f, "the control table did not answer in {after:?}"),
            Self::Sql(_) => f.write_str("the control table could not be used"),
            Self::Topology(error) => write!(f, "the control table holds no topology: {error}"),
            Self::Empty => f.write_str("the control table is empty; publish a topology"),
            Self::Conflict { stored, published } => write!(
                f,
                "the table has epoch {stored}, so the next is {}, and not {published}; plan anew \
                 from what it has",
                stored + 1
            ),
        }
    }
}

impl std::error::Error for ControlError {
    fn source(&self) -> Option<&(dyn std::error::Error + 'static)> {
        match self {
            Self::Sql(error) => Some(error),
            Self::Topology(error) => Some(error),
            _ => None,
        }
    }
}

impl From<tokio_postgres::Error> for ControlError {
    fn from(error: tokio_postgres::Error) -> Self {
        Self::Sql(error)
    }
}

impl ControlTable {
    /// In the database of this connection string. Nothing is connected to yet.
    ///
    /// # Errors
    ///
    /// A text that is none.
    pub fn new(connection: &str) -> Result<Self, ControlError> {
        let config = config(connection).map_err(|reason| ControlError::Config { reason })?;
        Ok(Self {
            config: SecretConfig(Box::new(config)),
            connect: Arc::new(Tls(NoTls)),
            patience: Duration::from_secs(5),
        })
    }

    /// TLS, by any `MakeTlsConnect` of tokio-postgres. The default is none.
    #[must_use]
    pub fn tls<T>(mut self, tls: T) -> Self
    where
        T: MakeTlsConnect<Socket> + Clone + Send + Sync + 'static,
        T::Stream: Send,
        T::TlsConnect: Send,
        <T::TlsConnect as TlsConnect<Socket>>::Future: Send,
    {
        self.connect = Arc::new(Tls(tls));
        self
    }

    /// The newest topology.
    ///
    /// # Errors
    ///
    /// If there is none, it is none, or the table cannot be read.
    pub async fn load(&self) -> Result<Topology, ControlError> {
        self.bounded(async {
            let connected = self.connect.connect(&self.config.0).await?;
            read(&connected.client).await
        })
        .await
    }

    /// Publishes a topology, and tells all who watch: the first one, or the next epoch's. Makes
    /// the table if there is none. The text holds what [`Topology::to_toml`] shows, so give
    /// shards their passwords by `connection_env`.
    ///
    /// # Errors
    ///
    /// [`ControlError::Conflict`] if the table's epoch is not the one before.
    pub async fn publish(&self, topology: &Topology) -> Result<(), ControlError> {
        let published = topology.map().epoch().number();
        let body = topology.to_toml();
        self.bounded(async {
            let Connected { client, driver: _driver } =
                self.connect.connect(&self.config.0).await?;
            // The connection ends with this, and with it a transaction that was not committed.
            client.batch_execute("BEGIN").await?;
            client.batch_execute(LOCK).await?;
            client.batch_execute(TABLE).await?;
            let newest = "SELECT max(epoch) FROM shard_router.topology";
            let stored: Option<i64> = client.query_one(newest, &[]).await?.try_get(0)?;
            if let Some(stored) = stored.and_then(|stored| u64::try_from(stored).ok())
                && stored + 1 != published
                && !cfg!(broken = "publish_conflict")
            {
                return Err(ControlError::Conflict { stored, published });
            }
            let insert = "INSERT INTO shard_router.topology (epoch, body) VALUES ($1, $2)";
            let epoch = i64::try_from(published).unwrap_or(i64::MAX);
            let params: &[&(dyn tokio_postgres::types::ToSql + Sync)] = &[&epoch, &body];
            client.execute(insert, params).await?;
            client.batch_execute(&format!("NOTIFY {CHANNEL}")).await?;
            Ok(client.batch_execute("COMMIT").await?)
        })
        .await
    }

    async fn bounded<T>(
        &self,
        work: impl Future<Output = Result<T, ControlError>>,
    ) -> Result<T, ControlError> {
        timeout(self.patience, work).await.unwrap_or(Err(ControlError::Late(self.patience)))
    }
}

pub(crate) async fn read(client: &Client) -> Result<Topology, ControlError> {
    let rows = client.query_typed(LATEST, &[]).await?;
    let row = rows.first().ok_or(ControlError::Empty)?;
    let topology = Topology::from_toml(row.try_get(0)?).map_err(ControlError::Topology)?;
    let (stored, written) = (row.try_get::<_, i64>(1)?, topology.map().epoch());
    if u64::try_from(stored) != Ok(written.number()) {
        let reason = format!("it is {written} in the text of the row of epoch {stored}");
        return Err(ControlError::Topology(TopologyError::setting("epoch", reason)));
    }
    Ok(topology)
}
