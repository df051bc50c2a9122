use std::fmt;

use crate::map::ShardName;
use crate::slot::SlotRange;

/// Why a server is refused as a shard.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum Refusal {
    /// It has no `shard_router` schema, so that nobody knows what it is.
    NotInstalled,
    /// It is another shard.
    OtherShard {
        /// The name that it stores.
        stored: String,
    },
    /// Its keys are hashed in another way.
    OtherHash {
        /// What it stores.
        stored: String,
        /// What the topology has.
        map: String,
    },
    /// Its keys have other columns.
    OtherKey {
        /// What it stores.
        stored: String,
        /// What the topology has.
        map: String,
    },
    /// Its database is not UTF-8, so that texts are other bytes there.
    Encoding {
        /// Its encoding.
        encoding: String,
    },
    /// A column of a key cannot be one.
    Column {
        /// The table.
        table: String,
        /// The column.
        column: String,
        /// Why, and what to do.
        reason: String,
    },
    /// What it stores makes no sense.
    Damaged {
        /// What.
        reason: String,
    },
}

impl fmt::Display for Refusal {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::NotInstalled => f.write_str(
                "it has no table shard_router.state; if it is meant to be this shard, run \
                 `Router::install` or `shard-router check --install`",
            ),
            Self::OtherShard { stored } => write!(
                f,
                "it is the shard {stored:?}; two connection strings may have been exchanged"
            ),
            Self::OtherHash { stored, map } => write!(
                f,
                "its rows are placed by {stored}, and the topology says {map}; set `hash` to what \
                 it stores, for changing it would put every row on a wrong shard"
            ),
            Self::OtherKey { stored, map } => {
                write!(f, "its keys are ({stored}), and the topology's are ({map})")
            }
            Self::Encoding { encoding } => write!(
                f,
                "its database is {encoding}, where a text has other bytes and so another slot; \
                 make it anew with ENCODING 'UTF8'"
            ),
            Self::Column { table, column, reason } => write!(f, "{table}.{column}: {reason}"),
            Self::Damaged { reason } => write!(f, "what it stores makes no sense: {reason}"),
        }
    }
}

/// Why the answers of a scatter are not the whole.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum CoverageError {
    /// No shard that has answered owns these slots.
    Hole {
        /// The first.
        range: SlotRange,
        /// How many in all.
        slots: u16,
    },
    /// Two own them.
    Overlap {
        /// The first such slots.
        range: SlotRange,
        /// One.
        a: ShardName,
        /// The other.
        b: ShardName,
    },
}

impl fmt::Display for CoverageError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Hole { range, slots } => write!(
                f,
                "no shard says that it owns {slots} slots, the first of them {range}: rows may be \
                 missing; compare shard_router.owned on the shards (`shard-router check`)"
            ),
            Self::Overlap { range, a, b } => write!(
                f,
                "{a} and {b} both say that they own {range}: rows may be counted twice; correct \
                 shard_router.owned on one of them (`shard-router check`)"
            ),
        }
    }
}
