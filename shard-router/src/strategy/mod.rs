//! Ways to place keys on shards, behind one trait.

mod directory;
mod geo;
mod jump;
mod modulo;
mod range;
mod rendezvous;
#[cfg(feature = "ring")]
mod ring;

use std::error;
use std::fmt;

use crate::hash::SlotHash;
use crate::key::{KeyPart, KeyType, ShardKey};
use crate::map::{MapError, ShardName, SlotMap, checked};

pub use self::directory::Directory;
pub use self::geo::Geo;
pub use self::jump::{Jump, NotTheLast};
pub use self::modulo::Modulo;
pub use self::range::{Bound, Range, RangeError};
pub use self::rendezvous::Rendezvous;
#[cfg(feature = "ring")]
pub use self::ring::Ring;

/// A way to place keys on shards.
///
/// The [`Router`](crate::Router) works on a [`SlotMap`], the only one of them that a
/// database can check and that moves what it is told to. The others are for what keeps no
/// state, such as caches, and to compare with.
pub trait Strategy: Send + Sync + fmt::Debug {
    /// The name, in lower case.
    fn name(&self) -> &'static str;

    /// The shards, in the order that [`place`](Self::place) counts in.
    fn shards(&self) -> Vec<ShardName>;

    /// The number of the shard for a key with these columns.
    ///
    /// # Errors
    ///
    /// A key that has no place, where the strategy is one that lists keys.
    fn place(&self, parts: &[KeyPart<'_>]) -> Result<usize, PlaceError>;

    /// What happens to keys when a shard is added.
    fn growth(&self) -> Growth;

    /// By how much the fullest shard may be over its share, at equal weights and many
    /// keys: 1.1 is 10 %. Nothing where somebody places by hand.
    fn spread(&self) -> Option<f64>;
}

/// What happens to keys when a shard is added at the end.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum Growth {
    /// Keys move to the new shard only.
    Minimal,
    /// Most keys move, among all shards.
    Reshuffles,
    /// Nothing moves but what somebody writes down.
    ByHand,
}

/// A key that has no place.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum PlaceError {
    /// It is listed nowhere, and there is no default.
    NotListed,
    /// It is in no range.
    OutOfRange,
    /// There is no such region.
    UnknownRegion {
        /// The region.
        region: String,
    },
    /// The key is of another type.
    WrongType {
        /// The type that it should have.
        expected: KeyType,
        /// The type that it has; nothing if there is no such column.
        found: Option<KeyType>,
    },
}

impl fmt::Display for PlaceError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::NotListed => {
                f.write_str("the directory does not list the key, and has no default")
            }
            Self::OutOfRange => {
                f.write_str("the key is below the first range; let one begin there")
            }
            Self::UnknownRegion { region } => write!(f, "there is no region {region:?}"),
            Self::WrongType { expected, found: Some(found) } => {
                write!(f, "the key is a {found} where a {expected} is placed")
            }
            Self::WrongType { expected, found: None } => {
                write!(f, "the key has no column where a {expected} is placed")
            }
        }
    }
}

impl error::Error for PlaceError {}

/// The share of `keys` that are on another shard, by name, under `after` than under
/// `before`: from 0 to 1. A key that either cannot place counts as moved.
pub fn moved<K: ShardKey>(
    before: &dyn Strategy,
    after: &dyn Strategy,
    keys: impl IntoIterator<Item = K>,
) -> f64 {
    let (old, new) = (before.shards(), after.shards());
    let (mut all, mut gone) = (0_u64, 0_u64);
    for key in keys {
        all += 1;
        gone += u64::from(key.parts(|parts| {
            let pair = before.place(parts).ok().zip(after.place(parts).ok());
            pair.is_none_or(|(before, after)| old.get(before) != new.get(after))
        }));
    }
    gone as f64 / all.max(1) as f64
}

impl Strategy for SlotMap {
    fn name(&self) -> &'static str {
        "slots"
    }

    fn shards(&self) -> Vec<ShardName> {
        self.shards().cloned().collect()
    }

    fn place(&self, parts: &[KeyPart<'_>]) -> Result<usize, PlaceError> {
        Ok(self.index_of_parts(parts))
    }

    fn growth(&self) -> Growth {
        Growth::Minimal
    }

    fn spread(&self) -> Option<f64> {
        Some(1.02)
    }
}

/// The names and weights that a strategy was given.
fn names<N: Into<String>>(
    shards: impl IntoIterator<Item = (N, u32)>,
) -> Result<(Vec<ShardName>, Vec<u32>), MapError> {
    let shards = checked(shards)?;
    Ok(shards.into_iter().map(|shard| (shard.name, shard.weight)).unzip())
}

/// All of them use the default hash, in 64 bits.
#[inline]
fn hash(parts: &[KeyPart<'_>]) -> u64 {
    SlotHash::Postgres.hash(parts)
}
