use std::time::Duration;
use std::{error, fmt};

use crate::classify::Reason;

/// Why there is no answer.
///
/// `Display` says what happened; the driver's own error is the
/// [`source`](std::error::Error::source).
#[derive(Debug)]
#[non_exhaustive]
pub enum Error {
    /// The server's error, or the driver's: the statement had no effect.
    Sql(tokio_postgres::Error),
    /// The connection was lost while a write was under way. It may have happened
    /// or not; it was not sent again. The session reads from the primary for a while.
    OutcomeUnknown(Option<tokio_postgres::Error>),
    /// No server takes writes, and none has come to in this time. Nothing was sent.
    NoPrimary {
        /// How long it was waited for
        /// ([`failover_wait`](crate::RwSplitBuilder::failover_wait)).
        waited: Duration,
    },
    /// Neither a replica nor the primary could answer the read.
    NoServer(Option<tokio_postgres::Error>),
    /// All connections to a server stayed in use. Nothing was sent.
    PoolTimeout {
        /// The server's name.
        server: String,
        /// How many connections there may be
        /// ([`pool_size`](crate::RwSplitBuilder::pool_size)).
        size: usize,
        /// How long it was waited for
        /// ([`pool_timeout`](crate::RwSplitBuilder::pool_timeout)).
        waited: Duration,
    },
    /// The text is about the state of one session, and a pool has many: it needs
    /// [`primary_connection`](crate::RwSplit::primary_connection) or a transaction.
    NeedsConnection(Reason),
    /// The server is not the primary any more: what was begun there was not committed.
    Fenced {
        /// The server's name.
        server: String,
    },
    /// A handle of a transaction was used after its end.
    TransactionOver,
    /// A statement of the transaction had failed, so it was rolled back though
    /// the closure returned `Ok`.
    TransactionAborted,
    /// `query_one` or `query_opt` found another number of rows.
    RowCount {
        /// How many there were.
        found: usize,
    },
}

impl Error {
    /// Whether what was asked for may have been done.
    pub fn may_have_happened(&self) -> bool {
        matches!(self, Self::OutcomeUnknown(_) | Self::RowCount { .. })
    }

    /// Whether the same may succeed if it is asked again: a serialization
    /// failure, a deadlock, a server that is away. Never if it
    /// [may have happened](Self::may_have_happened).
    pub fn is_transient(&self) -> bool {
        match self {
            Self::Sql(error) => error
                .code()
                .is_some_and(|code| matches!(code.code(), "40001" | "40P01" | "53300")),
            Self::NoPrimary { .. }
            | Self::NoServer(_)
            | Self::PoolTimeout { .. }
            | Self::Fenced { .. } => true,
            _ => false,
        }
    }

    /// The server's SQLSTATE, if a server has answered.
    pub fn code(&self) -> Option<&tokio_postgres::error::SqlState> {
        match self {
            Self::Sql(error)
            | Self::OutcomeUnknown(Some(error))
            | Self::NoServer(Some(error)) => error.code(),
            _ => None,
        }
    }
}

impl fmt::Display for Error {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Sql(_) => f.write_str("the statement failed"),
            Self::OutcomeUnknown(_) => f.write_str(
                "the connection was lost during a write: it may have happened or not, and was \
                 not sent again",
            ),
            Self::NoPrimary { waited } => {
                write!(f, "no server takes writes, and none came to within {waited:?}")
            }
            Self::NoServer(_) => f.write_str("no server could answer the read"),
            Self::PoolTimeout { server, size, waited } => write!(
                f,
                "all {size} connections to {server} were in use for {waited:?}; raise \
                 `pool_size`, or hold connections for less long"
            ),
            Self::NeedsConnection(reason) => write!(
                f,
                "the text needs a connection of its own ({}): use `primary_connection()` or \
                 `transaction()`",
                reason.as_str()
            ),
            Self::Fenced { server } => {
                write!(f, "{server} is not the primary any more; nothing was committed there")
            }
            Self::TransactionOver => f.write_str("the transaction is over"),
            Self::TransactionAborted => f.write_str(
                "a statement of the transaction failed, so it was rolled back; return the \
                 statement's error from the closure, or use a savepoint",
            ),
            Self::RowCount { found } => {
                write!(f, "another number of rows was expected: {found}")
            }
        }
    }
}

impl error::Error for Error {
    fn source(&self) -> Option<&(dyn error::Error + 'static)> {
        match self {
            Self::Sql(cause) => Some(cause),
            Self::OutcomeUnknown(cause) | Self::NoServer(cause) => {
                cause.as_ref().map(|cause| cause as _)
            }
            _ => None,
        }
    }
}

impl From<tokio_postgres::Error> for Error {
    fn from(error: tokio_postgres::Error) -> Self {
        Self::Sql(error)
    }
}

/// Whether the connection failed, rather than the server or the caller.
pub(crate) fn is_lost(error: &tokio_postgres::Error) -> bool {
    use std::error::Error as _;
    error.is_closed() || error.source().is_some_and(|cause| cause.is::<std::io::Error>())
}

/// A setting that was refused by [`build`](crate::RwSplitBuilder::build).
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct BuildError {
    setting: &'static str,
    reason: String,
}

impl BuildError {
    pub(crate) fn new(setting: &'static str, reason: impl Into<String>) -> Self {
        Self { setting, reason: reason.into() }
    }

    /// The name of the builder's method that took the value.
    pub fn setting(&self) -> &'static str {
        self.setting
    }
}

impl fmt::Display for BuildError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "`{}`: {}", self.setting, self.reason)
    }
}

impl error::Error for BuildError {}
