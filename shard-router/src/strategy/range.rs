use super::{Growth, PlaceError, Strategy};
use crate::key::{KeyPart, KeyType, KeyValue, ShardKeyColumn};
use crate::map::{MapError, ShardName};

/// Ranges of the key's first column: for reads by range, at the price that somebody watches
/// where the rows go. New ones mostly go to the last range.
#[derive(Clone, Debug)]
pub struct Range {
    key_type: KeyType,
    /// Where each begins; sorted.
    starts: Vec<(Option<KeyValue>, usize)>,
    shards: Vec<ShardName>,
}

/// Where a range begins.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum Bound {
    /// Before every key.
    Lowest,
    /// At this key, which belongs to it. Texts are compared by their bytes.
    At(KeyValue),
}

impl Range {
    /// Each range begins at its bound, and ends before the next. A shard may have several.
    ///
    /// # Errors
    ///
    /// No range, bounds that are not of `key_type`, two that are equal, or a shard's name
    /// that is none.
    pub fn new<N: Into<String>>(
        key_type: KeyType,
        ranges: impl IntoIterator<Item = (Bound, N)>,
    ) -> Result<Self, RangeError> {
        let mut shards: Vec<ShardName> = Vec::new();
        let mut starts = Vec::new();
        for (bound, name) in ranges {
            let name = ShardName::new(name).map_err(RangeError::Map)?;
            let known = shards.iter().position(|other| *other == name);
            let index = known.unwrap_or_else(|| {
                shards.push(name);
                shards.len() - 1
            });
            let start = match bound {
                Bound::Lowest => None,
                Bound::At(value) if value.part().key_type() != key_type => {
                    return Err(RangeError::Bound { expected: key_type, found: value });
                }
                Bound::At(value) => Some(value),
            };
            starts.push((start, index));
        }
        starts.sort();
        if let Some(pair) = starts.windows(2).find(|pair| pair[0].0 == pair[1].0) {
            return Err(RangeError::Twice { bound: pair[0].0.clone() });
        }
        if starts.is_empty() {
            return Err(RangeError::Map(MapError::NoShards));
        }
        Ok(Self { key_type, starts, shards })
    }
}

/// Ranges that were refused.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum RangeError {
    /// No range, or a shard's name that is none.
    Map(MapError),
    /// A bound of another type.
    Bound {
        /// The keys' type.
        expected: KeyType,
        /// The bound.
        found: KeyValue,
    },
    /// Two ranges begin at one bound.
    Twice {
        /// Nothing for the lowest.
        bound: Option<KeyValue>,
    },
}

impl std::fmt::Display for RangeError {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::Map(error) => error.fmt(f),
            Self::Bound { expected, found } => {
                let part = found.part();
                write!(f, "the bound {part} is a {} and not a {expected}", part.key_type())
            }
            Self::Twice { bound: Some(bound) } => {
                write!(f, "two ranges begin at {}; remove one", bound.part())
            }
            Self::Twice { bound: None } => f.write_str("two ranges begin before every key"),
        }
    }
}

impl std::error::Error for RangeError {}

impl Strategy for Range {
    fn name(&self) -> &'static str {
        "range"
    }

    fn shards(&self) -> Vec<ShardName> {
        self.shards.clone()
    }

    fn place(&self, parts: &[KeyPart<'_>]) -> Result<usize, PlaceError> {
        let expected = self.key_type;
        let found = parts.first().map(KeyPart::key_type);
        let Some(key) = parts.first().filter(|_| found == Some(expected)) else {
            return Err(PlaceError::WrongType { expected, found });
        };
        let begun =
            |start: &Option<KeyValue>| start.as_ref().is_none_or(|start| start.part() <= *key);
        let behind = self.starts.partition_point(|(start, _)| begun(start));
        let before = behind.checked_sub(1).ok_or(PlaceError::OutOfRange)?;
        Ok(self.starts[before].1)
    }

    fn growth(&self) -> Growth {
        Growth::ByHand
    }

    fn spread(&self) -> Option<f64> {
        None
    }
}
