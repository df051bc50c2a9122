mod refusal;

use std::sync::Arc;
use std::time::Duration;
use std::{error, fmt};

use crate::key::KeyType;
use crate::map::ShardName;
use crate::slot::{Epoch, Slot};
use crate::source::SourceError;

pub use self::refusal::{CoverageError, Refusal};

/// Why there is no answer. Whatever happened on a shard names it.
///
/// `Display` says what happened, and what mends it; the driver's own error is the
/// [`source`](std::error::Error::source).
#[derive(Debug)]
#[non_exhaustive]
pub enum Error {
    /// The shard's server has refused the statement: it had no effect.
    Sql {
        /// The shard.
        shard: ShardName,
        /// What it said.
        source: tokio_postgres::Error,
    },
    /// No connection to the shard could be had. Nothing was sent.
    Unreachable {
        /// The shard.
        shard: ShardName,
        /// Why; nothing where it took too long, or where the shard was found so a moment
        /// ago and nobody has tried again.
        source: Option<Arc<dyn error::Error + Send + Sync>>,
    },
    /// All of the shard's connections stayed in use. Nothing was sent.
    PoolTimeout {
        /// The shard.
        shard: ShardName,
        /// How many there are ([`pool_size`](crate::RouterBuilder::pool_size)).
        size: usize,
        /// How long it was waited for.
        waited: Duration,
    },
    /// The shard had not answered a scatter by its deadline. What was asked only reads.
    Late {
        /// The shard.
        shard: ShardName,
        /// The deadline.
        after: Duration,
    },
    /// The connection was lost, or time was over, while a statement was under way: it may
    /// have happened or not.
    OutcomeUnknown {
        /// The shard.
        shard: ShardName,
        /// What the driver says of it.
        source: Option<Arc<dyn error::Error + Send + Sync>>,
    },
    /// The server is not what the topology says it is. Nothing was sent to it.
    Refused {
        /// The shard.
        shard: ShardName,
        /// In what it differs.
        reason: Refusal,
    },
    /// The shard stores another epoch than this router's map has: slots have moved, or are
    /// about to. Nothing was done; with a control table the router is reading the new map.
    Epoch {
        /// The shard.
        shard: ShardName,
        /// What it stores.
        stored: Epoch,
        /// What this router has.
        map: Epoch,
    },
    /// The shard does not own the key's slot, by what it stores. Nothing was done.
    NotOwned {
        /// The shard.
        shard: ShardName,
        /// The slot.
        slot: Slot,
    },
    /// The key's columns are not those of the topology.
    KeyType {
        /// What they should be.
        expected: Vec<KeyType>,
        /// What they are.
        found: Vec<KeyType>,
    },
    /// Two keys of one transaction are on two shards.
    CrossShard {
        /// The transaction's shard.
        a: ShardName,
        /// The other key's.
        b: ShardName,
    },
    /// More shards are missing from a scatter than its policy allows.
    Missing {
        /// Which, and why.
        missing: Vec<Missing>,
    },
    /// The answers of a scatter do not cover every slot exactly once, by what the shards
    /// themselves store.
    Coverage(CoverageError),
    /// A column cannot be merged in order.
    Order {
        /// The column.
        column: String,
        /// Why not, and what to write instead.
        reason: String,
    },
    /// A shard's rows came out of order, as from a broken index.
    OutOfOrder {
        /// The shard.
        shard: ShardName,
    },
    /// Shards have answered with rows of different columns.
    ShardsDiffer {
        /// One.
        a: ShardName,
        /// The other.
        b: ShardName,
        /// In what.
        reason: String,
    },
    /// An aggregate's parts are no numbers of its type, or their total is too large for it.
    Aggregate {
        /// What is wrong, and what to write instead.
        reason: String,
    },
    /// A scatter where [`no_scatter`](crate::Router::no_scatter) forbids all.
    ScatterForbidden {
        /// Where it was asked for.
        at: &'static std::panic::Location<'static>,
    },
    /// `query_one` or `query_opt` found another number of rows.
    RowCount {
        /// The shard.
        shard: ShardName,
        /// How many there were.
        found: usize,
    },
    /// The statement would leave something behind on a connection that others have next: a
    /// transaction, a setting, a lock, a table. Nothing was sent.
    SessionState {
        /// The shard.
        shard: ShardName,
        /// What begins it, as in `BEGIN`.
        what: &'static str,
    },
    /// All scatters that may run at a time were under way until the deadline. Nothing was sent.
    ScattersBusy {
        /// How many there may be ([`scatters`](crate::RouterBuilder::scatters)).
        size: usize,
        /// How long it was waited for.
        waited: Duration,
    },
    /// A statement of the transaction had failed, so that its commit was a rollback.
    TransactionAborted {
        /// The shard.
        shard: ShardName,
    },
    /// The connection of the transaction was lost, or a statement of it was not answered in time,
    /// before it was to be committed. The server rolls it back.
    TransactionLost {
        /// The shard.
        shard: ShardName,
    },
    /// A schema change has stopped.
    Schema(Box<crate::schema::SchemaError>),
    /// A scatter that cannot be asked as it was put.
    Question {
        /// What is wrong, and what to write instead.
        reason: String,
    },
}

/// A shard that is missing from a scatter.
#[derive(Clone, Debug)]
#[non_exhaustive]
pub struct Missing {
    /// The shard.
    pub shard: ShardName,
    /// The slots that it owns by the router's map.
    pub slots: u16,
    /// Why it is missing.
    pub reason: Arc<Error>,
}

impl Error {
    /// The shard that it happened on, where it was one.
    pub fn shard(&self) -> Option<&ShardName> {
        match self {
            Self::Sql { shard, .. }
            | Self::Unreachable { shard, .. }
            | Self::PoolTimeout { shard, .. }
            | Self::Late { shard, .. }
            | Self::OutcomeUnknown { shard, .. }
            | Self::Refused { shard, .. }
            | Self::Epoch { shard, .. }
            | Self::NotOwned { shard, .. }
            | Self::OutOfOrder { shard }
            | Self::RowCount { shard, .. }
            | Self::SessionState { shard, .. }
            | Self::TransactionAborted { shard }
            | Self::TransactionLost { shard } => Some(shard),
            _ => None,
        }
    }

    /// Whether what was asked for may have been done.
    pub fn may_have_happened(&self) -> bool {
        matches!(self, Self::OutcomeUnknown { .. } | Self::RowCount { .. })
    }

    /// Whether the same may succeed if it is asked again. Never if it
    /// [may have happened](Self::may_have_happened).
    pub fn is_transient(&self) -> bool {
        match self {
            Self::Sql { source, .. } => {
                is_stale_plan(source)
                    || source.code().is_some_and(|code| {
                        matches!(code.code(), "40001" | "40P01" | "53300" | "57P03")
                    })
            }
            Self::Unreachable { .. }
            | Self::PoolTimeout { .. }
            | Self::ScattersBusy { .. }
            | Self::Late { .. }
            | Self::TransactionLost { .. }
            | Self::Epoch { .. } => true,
            Self::Missing { missing } => {
                missing.iter().all(|missing| missing.reason.is_transient())
            }
            _ => false,
        }
    }

    /// Whether the server is read-only: a standby, or one whose transactions are by default.
    pub fn is_read_only(&self) -> bool {
        self.code().is_some_and(|code| code.code() == "25006")
    }

    /// The server's SQLSTATE, if one has answered.
    pub fn code(&self) -> Option<&tokio_postgres::error::SqlState> {
        match self {
            Self::Sql { source, .. } => source.code(),
            _ => None,
        }
    }

    /// Whether the shard was not there to answer, rather than refused the question.
    pub(crate) fn is_absence(&self) -> bool {
        match self {
            Self::Unreachable { .. }
            | Self::PoolTimeout { .. }
            | Self::Late { .. }
            | Self::OutcomeUnknown { .. }
            | Self::Refused { .. }
            | Self::Epoch { .. } => true,
            // The server is out of resources, shuts down, or its machine fails.
            Self::Sql { source, .. } => source.code().is_some_and(|code| {
                ["53", "57P", "58"].iter().any(|c| code.code().starts_with(c))
            }),
            _ => false,
        }
    }

    /// Of a shard that could not be asked.
    pub(crate) fn of(shard: &ShardName, error: SourceError) -> Self {
        let shard = shard.clone();
        match error {
            SourceError::Sql(source) if source.code().is_some() || is_ours(&source) => {
                Self::Sql { shard, source }
            }
            SourceError::Sql(source) => {
                Self::OutcomeUnknown { shard, source: Some(Arc::new(source)) }
            }
            SourceError::Unreachable(source) => Self::Unreachable { shard, source },
            SourceError::OutcomeUnknown(source) => Self::OutcomeUnknown { shard, source },
            SourceError::Full { size, waited } => Self::PoolTimeout { shard, size, waited },
            SourceError::Refused(reason) => Self::Refused { shard, reason },
            SourceError::SessionState(what) => Self::SessionState { shard, what },
        }
    }
}

/// Whether a prepared statement has other columns since a schema change. The code is of all that
/// a server cannot do, and the message is in its language; this is where it comes from.
pub(crate) fn is_stale_plan(error: &tokio_postgres::Error) -> bool {
    error.as_db_error().is_some_and(|error| error.routine() == Some("RevalidateCachedQuery"))
}

/// Whether the driver has refused a parameter or a value, rather than lost the connection.
fn is_ours(error: &tokio_postgres::Error) -> bool {
    use std::error::Error as _;
    !error.is_closed() && error.source().is_none_or(|cause| !cause.is::<std::io::Error>())
}

impl fmt::Display for Error {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Sql { shard, .. } => write!(f, "shard {shard}: the statement failed"),
            Self::Unreachable { shard, .. } => {
                write!(f, "shard {shard} cannot be reached; nothing was sent")
            }
            Self::PoolTimeout { shard, size, waited } => write!(
                f,
                "shard {shard}: all {size} connections were in use for {waited:?}; raise \
                 `pool_size`, or hold connections for less long"
            ),
            Self::Late { shard, after } => {
                write!(f, "shard {shard} had not answered after {after:?}")
            }
            Self::OutcomeUnknown { shard, .. } => write!(
                f,
                "shard {shard}: the connection was lost under way; what was asked may have \
                 happened or not"
            ),
            Self::Refused { shard, reason } => write!(f, "shard {shard}: {reason}"),
            Self::Epoch { shard, stored, map } => {
                write!(f, "shard {shard} stores epoch {stored}, and this router's map is ")?;
                if stored > map {
                    write!(f, "of epoch {map}: publish the new topology to this process")
                } else {
                    write!(f, "of epoch {map}: the shard was not told (`shard-router check`)")
                }
            }
            Self::NotOwned { shard, slot } => write!(
                f,
                "shard {shard} does not own slot {slot} by its own shard_router.owned; nothing was \
                 done"
            ),
            Self::KeyType { expected, found } => {
                let list = |types: &[KeyType]| {
                    types.iter().map(|part| part.as_str()).collect::<Vec<_>>().join(", ")
                };
                write!(f, "a key is ({}), and this is ({})", list(expected), list(found))
            }
            Self::CrossShard { a, b } => write!(
                f,
                "the transaction is on {a}, and the other key is on {b}; a transaction has one shard"
            ),
            Self::Missing { missing } => {
                f.write_str("the answers are incomplete:")?;
                missing.iter().try_for_each(|missing| {
                    write!(f, " {} ({})", missing.shard, missing.reason)
                })
            }
            Self::Coverage(error) => error.fmt(f),
            Self::Order { column, reason } => write!(f, "order by {column:?}: {reason}"),
            Self::OutOfOrder { shard } => write!(
                f,
                "shard {shard}: its rows are not in the order that was asked for; an index may be \
                 damaged (REINDEX)"
            ),
            Self::ShardsDiffer { a, b, reason } => {
                write!(f, "{a} and {b} answer with different columns: {reason}")
            }
            Self::Aggregate { reason } | Self::Question { reason } => f.write_str(reason),
            Self::ScatterForbidden { at } => {
                write!(f, "a scatter at {at} where none is allowed")
            }
            Self::RowCount { shard, found } => {
                write!(f, "shard {shard}: another number of rows was expected: {found}")
            }
            Self::SessionState { shard, what } => write!(
                f,
                "shard {shard}: {what} would hold for whoever has the connection next; begin \
                 transactions by `shard.begin()`, end them by `commit` and `rollback`, and set in \
                 them what is to hold in them"
            ),
            Self::ScattersBusy { size, waited } => write!(
                f,
                "{size} scatters were under way for {waited:?}; raise `scatters`, or hold their \
                 streams for less long"
            ),
            Self::TransactionAborted { shard } => write!(
                f,
                "shard {shard}: a statement of the transaction had failed, so it was rolled back; \
                 return that statement's error, or use a savepoint"
            ),
            Self::TransactionLost { shard } => write!(
                f,
                "shard {shard}: the transaction's connection was lost before its commit, so it is \
                 rolled back; it may be done again from its beginning"
            ),
            Self::Schema(error) => error.fmt(f),
        }
    }
}

impl error::Error for Error {
    fn source(&self) -> Option<&(dyn error::Error + 'static)> {
        match self {
            Self::Sql { source, .. } => Some(source),
            Self::Unreachable { source, .. } | Self::OutcomeUnknown { source, .. } => {
                source.as_ref().map(|cause| cause as _)
            }
            Self::Missing { missing } => missing.first().map(|missing| &*missing.reason as _),
            Self::Schema(error) => error.source(),
            _ => None,
        }
    }
}

/// A setting that was refused by [`build`](crate::RouterBuilder::build).
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct BuildError {
    setting: String,
    reason: String,
}

impl BuildError {
    pub(crate) fn new(setting: impl Into<String>, reason: impl Into<String>) -> Self {
        Self { setting: setting.into(), reason: reason.into() }
    }

    /// The builder's method, or the topology's setting.
    pub fn setting(&self) -> &str {
        &self.setting
    }
}

impl fmt::Display for BuildError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "`{}`: {}", self.setting, self.reason)
    }
}

impl error::Error for BuildError {}
