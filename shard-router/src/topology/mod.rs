//! The map with all that a router must know beside it: where shards are, what a key is,
//! which tables are spread.

#[cfg(all(feature = "postgres", feature = "toml"))]
pub(crate) mod control;
#[cfg(feature = "toml")]
mod text;

use std::error;
use std::fmt;

use crate::key::KeyType;
#[cfg(feature = "toml")]
use crate::map::ShardName;
use crate::map::{MapError, SlotMap};

#[cfg(all(feature = "postgres", feature = "toml"))]
pub use self::control::{ControlError, ControlTable};

/// Shards and how to reach them, who owns which slot, what a key is, and which tables are
/// spread by it.
///
/// ```
/// use shard_router::{KeyType, SlotMap, Topology};
///
/// let map = SlotMap::even(["a", "b"])?;
/// let topology = Topology::new(map, [KeyType::Int])?
///     .shard("a", "host=db-a user=app dbname=shop")?
///     .shard("b", "host=db-b user=app dbname=shop")?
///     .table("orders", ["user_id"])?;
/// # Ok::<_, Box<dyn std::error::Error>>(())
/// ```
#[derive(Clone, Debug, PartialEq)]
#[must_use]
pub struct Topology {
    map: SlotMap,
    key: Vec<KeyType>,
    /// By the map's order.
    connections: Vec<Option<Connection>>,
    tables: Vec<Table>,
}

/// Where a shard is.
#[derive(Clone, PartialEq, Eq)]
pub(crate) enum Connection {
    Text(String),
    /// A variable of the environment that holds the text.
    #[cfg(feature = "toml")]
    Env(String),
}

/// It may hold a password.
impl fmt::Debug for Connection {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Text(_) => f.write_str(".."),
            #[cfg(feature = "toml")]
            Self::Env(name) => write!(f, "${name}"),
        }
    }
}

/// A table that is spread over the shards.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Table {
    pub(crate) name: String,
    pub(crate) columns: Vec<String>,
}

impl Table {
    /// As it is written in SQL, with a schema or without.
    pub fn name(&self) -> &str {
        &self.name
    }

    /// The columns of the key.
    pub fn columns(&self) -> &[String] {
        &self.columns
    }
}

/// A topology that was refused.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum TopologyError {
    /// The map in it was.
    Map(MapError),
    /// The text is no topology: what and where.
    Text {
        /// From the parser, with line and column.
        reason: String,
    },
    /// A setting has a value that it cannot have.
    Setting {
        /// The setting.
        setting: String,
        /// What is wrong, and what would be right.
        reason: String,
    },
}

impl TopologyError {
    pub(crate) fn setting(setting: impl Into<String>, reason: impl Into<String>) -> Self {
        Self::Setting { setting: setting.into(), reason: reason.into() }
    }
}

impl fmt::Display for TopologyError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Map(error) => error.fmt(f),
            Self::Text { reason } => f.write_str(reason),
            Self::Setting { setting, reason } => write!(f, "`{setting}`: {reason}"),
        }
    }
}

impl error::Error for TopologyError {}

/// Reads a connection string. The parser's errors show pieces of it, which may be of a password.
#[cfg(feature = "postgres")]
pub(crate) fn config(text: &str) -> Result<tokio_postgres::Config, String> {
    /// Options of libpq that the driver does not have.
    const OTHERS: &[&str] = &[
        "client_encoding",
        "fallback_application_name",
        "gssencmode",
        "krbsrvname",
        "passfile",
        "replication",
        "require_auth",
        "requirepeer",
        "service",
        "sslcert",
        "sslcompression",
        "sslcrl",
        "sslkey",
        "sslpassword",
        "sslrootcert",
        "sslsni",
    ];
    let config: tokio_postgres::Config = text.parse().map_err(|error: tokio_postgres::Error| {
        let cause = error::Error::source(&error).map(ToString::to_string).unwrap_or_default();
        let other = OTHERS.iter().find(|option| cause.contains(&format!("`{option}`")));
        if cause.starts_with("invalid value for option") || cfg!(broken = "shown_connection") {
            format!("it is no connection string: {cause}")
        } else if let Some(option) = other {
            format!("it is no connection string: the driver has no option `{option}`")
        } else {
            "it is no connection string, which is a URL, or `host=… user=…` with options that the \
             driver has, and quotes (`'`) around values with blanks"
                .into()
        }
    })?;
    if config.get_hosts().is_empty() && config.get_hostaddrs().is_empty() {
        return Err("it names no host".into());
    }
    Ok(config)
}

impl From<MapError> for TopologyError {
    fn from(error: MapError) -> Self {
        Self::Map(error)
    }
}

impl Topology {
    /// Of a map and the types of the key's columns: one to four.
    ///
    /// # Errors
    ///
    /// No column, more than four, or more than one where the map's hash is for one.
    pub fn new(
        map: SlotMap,
        key: impl IntoIterator<Item = KeyType>,
    ) -> Result<Self, TopologyError> {
        let key: Vec<_> = key.into_iter().collect();
        if let Some(reason) = map.hash().refuses(&key) {
            return Err(TopologyError::setting("key", reason));
        }
        let connections = vec![None; map.shards().len()];
        Ok(Self { map, key, connections, tables: Vec::new() })
    }

    /// Reads a topology as TOML; the README shows one.
    ///
    /// # Errors
    ///
    /// With the line of what is wrong, where it is the text; else with the setting.
    #[cfg(feature = "toml")]
    pub fn from_toml(text: &str) -> Result<Self, TopologyError> {
        text::read(text)
    }

    /// The topology as [`from_toml`](Self::from_toml) reads it, with connection strings, and
    /// so with passwords that they hold; those from the environment are named only.
    #[cfg(feature = "toml")]
    pub fn to_toml(&self) -> String {
        text::write(self)
    }

    /// Where a shard of the map is: a connection string or URL, as tokio-postgres reads it.
    ///
    /// # Errors
    ///
    /// The map has no such shard.
    pub fn shard(
        self,
        name: &str,
        connection: impl Into<String>,
    ) -> Result<Self, TopologyError> {
        self.connect(name, Connection::Text(connection.into()))
    }

    /// Where a shard is, as it was given; from the environment, what that has now. Nothing for
    /// one that has no connection. It may hold a password.
    ///
    /// Several hosts in it are servers of one shard, a primary with its replicas: with
    /// `target_session_attrs=read-write` the crate's pool goes to the one that takes writes.
    ///
    /// # Errors
    ///
    /// The map has no such shard, or the environment no such variable.
    #[cfg(feature = "postgres")]
    pub fn connection(&self, shard: &str) -> Result<Option<String>, TopologyError> {
        let unknown = || MapError::UnknownShard { name: shard.into() };
        let index = self.map.index_of(shard).ok_or_else(unknown)?;
        Ok(self.connections()?.swap_remove(index))
    }

    fn connect(mut self, name: &str, connection: Connection) -> Result<Self, TopologyError> {
        let unknown = || MapError::UnknownShard { name: name.into() };
        let index = self.map.index_of(name).ok_or_else(unknown)?;
        self.connections[index] = Some(connection);
        Ok(self)
    }

    /// A table whose rows are where their key is. Its columns are looked at on each shard:
    /// their type, NOT NULL, their collation.
    ///
    /// # Errors
    ///
    /// Another number of columns than the key has.
    pub fn table<C: Into<String>>(
        mut self,
        name: impl Into<String>,
        columns: impl IntoIterator<Item = C>,
    ) -> Result<Self, TopologyError> {
        let (name, columns) =
            (name.into(), columns.into_iter().map(Into::into).collect::<Vec<_>>());
        if columns.len() != self.key.len() {
            let (found, wanted) = (columns.len(), self.key.len());
            return Err(TopologyError::setting(
                format!("tables.{name}.key"),
                format!("it names {found} columns, and `key` has {wanted} types; name as many"),
            ));
        }
        self.tables.push(Table { name, columns });
        Ok(self)
    }

    /// The same with another map, as a plan makes it. Shards that are new need a
    /// [`shard`](Self::shard).
    ///
    /// # Errors
    ///
    /// As [`new`](Self::new).
    pub fn with_map(self, map: SlotMap) -> Result<Self, TopologyError> {
        let mut next = Self::new(map, self.key.clone())?;
        for (name, connection) in self.map.shards().zip(self.connections) {
            if let Some(index) = next.map.index_of(name.as_str()) {
                next.connections[index] = connection;
            }
        }
        next.tables = self.tables;
        Ok(next)
    }

    /// Who owns what.
    pub fn map(&self) -> &SlotMap {
        &self.map
    }

    /// The types of the key's columns.
    pub fn key(&self) -> &[KeyType] {
        &self.key
    }

    /// The tables that are spread.
    pub fn tables(&self) -> &[Table] {
        &self.tables
    }

    /// The key's types as they are stored on shards.
    #[cfg(feature = "postgres")]
    pub(crate) fn key_id(&self) -> String {
        let names: Vec<_> = self.key.iter().map(|part| part.as_str()).collect();
        names.join(",")
    }

    /// The connection string of each shard, by the map's order; nothing for one that has
    /// none.
    #[cfg(feature = "postgres")]
    pub(crate) fn connections(&self) -> Result<Vec<Option<String>>, TopologyError> {
        let text = |connection: &Option<Connection>| match connection {
            None => Ok(None),
            Some(Connection::Text(text)) => Ok(Some(text.clone())),
            #[cfg(feature = "toml")]
            Some(Connection::Env(variable)) => {
                std::env::var(variable).map(Some).map_err(|_| {
                    let reason = format!("the environment has no {variable}; set it");
                    TopologyError::setting("shards.connection_env", reason)
                })
            }
        };
        self.connections.iter().map(text).collect()
    }

    #[cfg(feature = "toml")]
    pub(crate) fn names(&self) -> impl Iterator<Item = &ShardName> {
        self.map.shards()
    }
}
