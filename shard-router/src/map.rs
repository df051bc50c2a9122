//! Who owns which slot.

use std::collections::HashMap;
use std::fmt;
use std::sync::Arc;
use std::{error, iter};

use crate::hash::SlotHash;
use crate::key::{KeyPart, ShardKey};
use crate::plan::{self, Planner};
use crate::slot::{Epoch, SLOTS, Slot, SlotRange};

/// A shard's name, in topologies, errors, metrics and on the shard itself.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct ShardName(Arc<str>);

impl ShardName {
    /// 1 to 63 letters of ASCII, digits, `-`, `_` or `.`.
    ///
    /// # Errors
    ///
    /// [`MapError::Name`] for any other.
    pub fn new(name: impl Into<String>) -> Result<Self, MapError> {
        let name = name.into();
        let fine = |byte: u8| byte.is_ascii_alphanumeric() || b"-_.".contains(&byte);
        if name.is_empty() || name.len() > 63 || !name.bytes().all(fine) {
            return Err(MapError::Name { name });
        }
        Ok(Self(name.into()))
    }

    /// The text.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl fmt::Display for ShardName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

#[cfg(feature = "serde")]
impl serde::Serialize for ShardName {
    fn serialize<S: serde::Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_str(&self.0)
    }
}

/// A map that was refused.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum MapError {
    /// There is no shard.
    NoShards,
    /// There are more shards than slots.
    TooManyShards {
        /// How many.
        shards: usize,
    },
    /// A name that no shard may have.
    Name {
        /// The name.
        name: String,
    },
    /// Two shards have one name.
    Duplicate {
        /// The name.
        shard: ShardName,
    },
    /// A shard that exists has a weight of 0.
    ZeroWeight {
        /// The shard.
        shard: ShardName,
    },
    /// There is no shard of that name.
    UnknownShard {
        /// The name.
        name: String,
    },
    /// Nobody owns these slots.
    Hole {
        /// The first hole.
        range: SlotRange,
        /// How many slots nobody owns.
        slots: u16,
    },
    /// Two shards own these slots.
    Overlap {
        /// The first slots of which that holds.
        range: SlotRange,
        /// One owner.
        one: ShardName,
        /// The other.
        other: ShardName,
    },
    /// An epoch of 0, or past what `bigint` can hold.
    Epoch {
        /// The number.
        number: u64,
    },
}

impl fmt::Display for MapError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::NoShards => f.write_str("there is no shard; name at least one"),
            Self::TooManyShards { shards } => {
                write!(f, "{shards} shards are more than the {SLOTS} slots they would share")
            }
            Self::Name { name } => write!(
                f,
                "{name:?} is no name of a shard: it has 1 to 63 letters of ASCII, digits, `-`, \
                 `_` or `.`"
            ),
            Self::Duplicate { shard } => write!(f, "two shards are called {shard}"),
            Self::ZeroWeight { shard } => write!(
                f,
                "{shard} has a weight of 0; give it at least 1, or remove the shard by a plan, \
                 which says where its slots go"
            ),
            Self::UnknownShard { name } => write!(f, "there is no shard called {name:?}"),
            Self::Hole { range, slots } => write!(
                f,
                "nobody owns {slots} of {SLOTS} slots, the first of them {range}; give them to a \
                 shard"
            ),
            Self::Overlap { range, one, other } => {
                write!(f, "{one} and {other} both own {range}; take it from one of them")
            }
            Self::Epoch { number } => {
                write!(f, "an epoch of {number}: it is at least 1 and at most {}", i64::MAX)
            }
        }
    }
}

impl error::Error for MapError {}

#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Shard {
    pub(crate) name: ShardName,
    pub(crate) weight: u32,
}

/// Which shard owns which of the 16,384 slots, at an epoch, and how keys are hashed to
/// slots. Every slot has exactly one owner, or there is no map.
///
/// ```
/// use shard_router::SlotMap;
///
/// let map = SlotMap::weighted([("big", 2), ("small", 1)])?;
/// assert_eq!(map.slot_count("big"), Some(10_923)); // of 16,384
/// let user = 42_i64;
/// println!("user {user} is in slot {} on {}", map.slot(&user), map.shard_of(&user));
/// # Ok::<_, shard_router::MapError>(())
/// ```
#[derive(Clone, PartialEq, Eq)]
pub struct SlotMap {
    hash: SlotHash,
    epoch: Epoch,
    shards: Arc<[Shard]>,
    owners: Box<[u16; SLOTS as usize]>,
}

impl SlotMap {
    /// A first map, in which each shard has the same share, to one slot.
    ///
    /// # Errors
    ///
    /// No shard, more than 16,384, a name that is none, or twice the same.
    pub fn even<N: Into<String>>(
        shards: impl IntoIterator<Item = N>,
    ) -> Result<Self, MapError> {
        Self::weighted(shards.into_iter().map(|name| (name, 1)))
    }

    /// A first map, in which shares are as weights, to one slot.
    ///
    /// # Errors
    ///
    /// As [`even`](Self::even), and weights of 0.
    pub fn weighted<N: Into<String>>(
        shards: impl IntoIterator<Item = (N, u32)>,
    ) -> Result<Self, MapError> {
        let shards = checked(shards)?;
        let none = vec![0; shards.len()];
        let counts = plan::shares(&shards.iter().map(|s| s.weight).collect::<Vec<_>>(), &none);
        let owners = (0_u16..)
            .zip(counts)
            .flat_map(|(shard, count)| iter::repeat_n(shard, usize::from(count)));
        let mut all = Box::new([0; SLOTS as usize]);
        all.iter_mut().zip(owners).for_each(|(slot, owner)| *slot = owner);
        Ok(Self {
            hash: SlotHash::default(),
            epoch: Epoch::FIRST,
            shards: shards.into(),
            owners: all,
        })
    }

    /// A map that is written down: each shard's name, its weight, and the slots that it owns.
    /// A shard may own none.
    ///
    /// # Errors
    ///
    /// As [`weighted`](Self::weighted), and slots that nobody owns, or two do.
    pub fn from_ranges<N: Into<String>>(
        epoch: Epoch,
        shards: impl IntoIterator<Item = (N, u32, Vec<SlotRange>)>,
    ) -> Result<Self, MapError> {
        let mut ranges = Vec::new();
        let shards = checked(shards.into_iter().map(|(name, weight, owned)| {
            ranges.push(owned);
            (name, weight)
        }))?;
        let mut owners: Box<[Option<u16>; SLOTS as usize]> = Box::new([None; SLOTS as usize]);
        for (index, owned) in (0_u16..).zip(&ranges) {
            for slot in owned.iter().flat_map(|range| range.slots()) {
                let place = &mut owners[usize::from(slot.number())];
                let Some(before) = place.replace(index) else { continue };
                if before == index {
                    continue;
                }
                let both = |slot: Slot| {
                    let owns = |shard: u16| {
                        ranges[usize::from(shard)].iter().any(|range| range.contains(slot))
                    };
                    owns(before) && owns(index)
                };
                return Err(MapError::Overlap {
                    range: SlotRange::of(both)[0],
                    one: shards[usize::from(before)].name.clone(),
                    other: shards[usize::from(index)].name.clone(),
                });
            }
        }
        let holes = SlotRange::of(|slot| owners[usize::from(slot.number())].is_none());
        if let Some(range) = holes.first()
            && !cfg!(broken = "holes")
        {
            let slots = holes.iter().map(|hole| hole.len()).sum();
            return Err(MapError::Hole { range: *range, slots });
        }
        let owners = owners.map(|owner| owner.unwrap_or(0));
        Ok(Self {
            hash: SlotHash::default(),
            epoch,
            shards: shards.into(),
            owners: Box::new(owners),
        })
    }

    /// The same owners, but for keys that are hashed by `hash`. The default is
    /// [`SlotHash::Postgres`]. Rows that are there were placed by the old one: all of them
    /// would be on wrong shards, and routers refuse shards with another hash.
    #[must_use]
    pub fn with_hash(mut self, hash: SlotHash) -> Self {
        self.hash = hash;
        self
    }

    /// The slot of a key.
    #[inline]
    pub fn slot<K: ShardKey + ?Sized>(&self, key: &K) -> Slot {
        self.hash.slot(key)
    }

    /// The shard that owns a key.
    #[inline]
    pub fn shard_of<K: ShardKey + ?Sized>(&self, key: &K) -> &ShardName {
        self.owner(self.slot(key))
    }

    /// The shard that owns a slot.
    #[inline]
    pub fn owner(&self, slot: Slot) -> &ShardName {
        &self.shards[self.owner_index(slot)].name
    }

    /// The same as its place in [`shards`](Self::shards).
    #[inline]
    pub fn owner_index(&self, slot: Slot) -> usize {
        usize::from(self.owners[usize::from(slot.number() % SLOTS)])
    }

    /// The names of the shards, in their order.
    pub fn shards(&self) -> impl ExactSizeIterator<Item = &ShardName> {
        self.shards.iter().map(|shard| &shard.name)
    }

    /// Of each shard, in their order.
    pub fn weights(&self) -> impl ExactSizeIterator<Item = u32> {
        self.shards.iter().map(|shard| shard.weight)
    }

    /// How keys are hashed.
    pub fn hash(&self) -> SlotHash {
        self.hash
    }

    /// The map's version.
    pub fn epoch(&self) -> Epoch {
        self.epoch
    }

    /// What a shard owns, in as few ranges as there are; nothing if there is no such
    /// shard.
    pub fn ranges(&self, shard: &str) -> Option<Vec<SlotRange>> {
        let index = self.index_of(shard)?;
        Some(SlotRange::of(|slot| self.owner_index(slot) == index))
    }

    /// How many slots a shard owns.
    pub fn slot_count(&self, shard: &str) -> Option<u16> {
        let index = self.index_of(shard)?;
        let owned = self.owners.iter().filter(|owner| usize::from(**owner) == index);
        Some(owned.count() as u16)
    }

    /// Plans another map that moves as few slots as it can.
    pub fn plan(&self) -> Planner<'_> {
        Planner::new(self)
    }

    pub(crate) fn index_of(&self, shard: &str) -> Option<usize> {
        self.shards.iter().position(|other| other.name.as_str() == shard)
    }

    pub(crate) fn counts(&self) -> Vec<u16> {
        let mut counts = vec![0; self.shards.len()];
        self.owners.iter().for_each(|owner| counts[usize::from(*owner)] += 1);
        counts
    }

    /// The next epoch's, with other shards and owners.
    pub(crate) fn next(&self, shards: Vec<Shard>, owners: Box<[u16; SLOTS as usize]>) -> Self {
        Self { hash: self.hash, epoch: self.epoch.next(), shards: shards.into(), owners }
    }

    #[inline]
    pub(crate) fn index_of_parts(&self, parts: &[KeyPart<'_>]) -> usize {
        self.owner_index(self.hash.slot_of_parts(parts))
    }
}

/// By ranges: 16,384 numbers tell nobody anything.
impl fmt::Debug for SlotMap {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut shown = f.debug_struct("SlotMap");
        shown.field("hash", &self.hash).field("epoch", &self.epoch);
        for (shard, count) in self.shards.iter().zip(self.counts()) {
            shown.field(shard.name.as_str(), &count);
        }
        shown.finish()
    }
}

/// The names and weights of shards that may be in one map.
pub(crate) fn checked<N: Into<String>>(
    shards: impl IntoIterator<Item = (N, u32)>,
) -> Result<Vec<Shard>, MapError> {
    let mut all: Vec<Shard> = Vec::new();
    let mut known = HashMap::new();
    for (name, weight) in shards {
        let name = ShardName::new(name)?;
        if known.insert(name.clone(), ()).is_some() {
            return Err(MapError::Duplicate { shard: name });
        }
        if weight == 0 {
            return Err(MapError::ZeroWeight { shard: name });
        }
        all.push(Shard { name, weight });
    }
    match all.len() {
        0 => Err(MapError::NoShards),
        shards if shards > usize::from(SLOTS) => Err(MapError::TooManyShards { shards }),
        _ => Ok(all),
    }
}
