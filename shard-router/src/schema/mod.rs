//! Schema changes on all shards.

mod file;
mod fingerprint;
mod run;

use std::fmt;

use crate::error::Error;
use crate::map::ShardName;

pub use self::run::{Applied, Migrator};

/// When a change is safe beside programs that run.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
#[cfg_attr(feature = "serde", derive(serde::Serialize), serde(rename_all = "lowercase"))]
pub enum Phase {
    /// It adds: the programs of before can go on.
    Expand,
    /// It takes away: only after all programs have stopped using it. Never run unless asked for.
    Contract,
}

impl Phase {
    /// `expand` or `contract`.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Expand => "expand",
            Self::Contract => "contract",
        }
    }
}

/// One change, which is run once on each shard.
#[derive(Clone, Debug, PartialEq, Eq)]
#[must_use]
pub struct Migration {
    pub(crate) name: String,
    pub(crate) phase: Phase,
    pub(crate) sql: String,
    pub(crate) transaction: bool,
}

impl Migration {
    /// A change that adds; in a transaction, so that a shard has all of it or nothing.
    pub fn expand(name: impl Into<String>, sql: impl Into<String>) -> Self {
        let (name, sql) = (name.into(), sql.into());
        Self { name, phase: Phase::Expand, sql, transaction: true }
    }

    /// A change that takes away.
    pub fn contract(name: impl Into<String>, sql: impl Into<String>) -> Self {
        Self { phase: Phase::Contract, ..Self::expand(name, sql) }
    }

    /// For statements that cannot be in a transaction, such as `CREATE INDEX CONCURRENTLY`. One
    /// that is interrupted is run again, so it must bear that (`IF NOT EXISTS`).
    pub fn without_transaction(mut self) -> Self {
        self.transaction = false;
        self
    }

    /// Its name.
    pub fn name(&self) -> &str {
        &self.name
    }

    /// Its phase.
    pub fn phase(&self) -> Phase {
        self.phase
    }

    /// Of what is run, so that a change of a change is noticed: FNV-1a, of 64 bits.
    pub(crate) fn checksum(&self) -> String {
        let bytes = self.sql.bytes().chain([u8::from(self.transaction)]);
        let hash = bytes.fold(0xcbf2_9ce4_8422_2325_u64, |hash, byte| {
            (hash ^ u64::from(byte)).wrapping_mul(0x0100_0000_01b3)
        });
        format!("{hash:016x}")
    }
}

/// Where a change is on one shard.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[cfg_attr(feature = "serde", derive(serde::Serialize), serde(rename_all = "lowercase"))]
#[non_exhaustive]
pub enum Progress {
    /// It is done.
    Done,
    /// It was begun without a transaction, and has not ended.
    Interrupted,
    /// It was not begun, or was rolled back.
    Pending,
}

impl fmt::Display for Progress {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Done => "done",
            Self::Interrupted => "interrupted",
            Self::Pending => "pending",
        })
    }
}

/// Where a change is on all shards.
#[derive(Clone, Debug, PartialEq, Eq)]
#[cfg_attr(feature = "serde", derive(serde::Serialize))]
#[non_exhaustive]
pub struct MigrationState {
    /// The change.
    pub name: String,
    /// Its phase.
    pub phase: Phase,
    /// By shard, the canary first.
    pub shards: Vec<(ShardName, Progress)>,
}

/// Why schema changes have stopped.
#[derive(Debug)]
#[non_exhaustive]
pub enum SchemaError {
    /// A change has failed on a shard. What was done before stays, and a second run goes on
    /// from there.
    Failed {
        /// The change.
        migration: String,
        /// The shard.
        shard: ShardName,
        /// The shards on which it is done.
        done: Vec<ShardName>,
        /// The server's error, or the connection's.
        source: Box<Error>,
    },
    /// Somebody else changes this shard's schema at this moment.
    Locked {
        /// The shard.
        shard: ShardName,
    },
    /// A change is done on a shard, and was another then.
    Changed {
        /// The change.
        migration: String,
        /// The shard.
        shard: ShardName,
    },
    /// A change that takes away is next, and was not asked for.
    Contract {
        /// The change.
        migration: String,
    },
    /// Shards have different schemas.
    Differ {
        /// One.
        a: ShardName,
        /// The other.
        b: ShardName,
        /// What only one of them has; the first few.
        differences: Vec<String>,
    },
    /// The files or names cannot be used.
    Invalid {
        /// Why.
        reason: String,
    },
}

impl fmt::Display for SchemaError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Failed { migration, shard, done, source } => {
                let done: Vec<_> = done.iter().map(ShardName::as_str).collect();
                let done = if done.is_empty() { "no shard".into() } else { done.join(", ") };
                write!(
                    f,
                    "{migration} has failed on {shard} ({source}) and is done on {done}; mend the \
                     cause and run it again"
                )
            }
            Self::Locked { shard } => {
                write!(f, "somebody else changes the schema of {shard}; wait for them")
            }
            Self::Changed { migration, shard } => write!(
                f,
                "{migration} was another when it was run on {shard}; a change that was run is not \
                 edited: write another one"
            ),
            Self::Contract { migration } => write!(
                f,
                "{migration} takes something away; when no program uses that any more, say so \
                 (`contract`, `--contract`)"
            ),
            Self::Differ { a, b, differences } => {
                write!(f, "the schemas of {a} and {b} differ: {}", differences.join("; "))
            }
            Self::Invalid { reason } => f.write_str(reason),
        }
    }
}

impl std::error::Error for SchemaError {
    fn source(&self) -> Option<&(dyn std::error::Error + 'static)> {
        match self {
            Self::Failed { source, .. } => Some(source),
            _ => None,
        }
    }
}

impl From<SchemaError> for Error {
    fn from(error: SchemaError) -> Self {
        Self::Schema(Box::new(error))
    }
}
