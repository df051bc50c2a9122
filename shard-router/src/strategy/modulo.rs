use super::{Growth, PlaceError, Strategy, hash, names};
use crate::key::KeyPart;
use crate::map::{MapError, ShardName};

/// Hash modulo the number of shards: the simple form, of which going from 3 to 4 shards moves
/// 75 % of all keys. For a number of shards that never changes.
#[derive(Clone, Debug)]
pub struct Modulo {
    shards: Vec<ShardName>,
}

impl Modulo {
    /// Over these shards; their order counts.
    ///
    /// # Errors
    ///
    /// No shard, a name that is none, or twice the same.
    pub fn new<N: Into<String>>(shards: impl IntoIterator<Item = N>) -> Result<Self, MapError> {
        let (shards, _) = names(shards.into_iter().map(|name| (name, 1)))?;
        Ok(Self { shards })
    }
}

impl Strategy for Modulo {
    fn name(&self) -> &'static str {
        "modulo"
    }

    fn shards(&self) -> Vec<ShardName> {
        self.shards.clone()
    }

    fn place(&self, parts: &[KeyPart<'_>]) -> Result<usize, PlaceError> {
        Ok((hash(parts) % self.shards.len() as u64) as usize)
    }

    fn growth(&self) -> Growth {
        Growth::Reshuffles
    }

    fn spread(&self) -> Option<f64> {
        Some(1.02)
    }
}
