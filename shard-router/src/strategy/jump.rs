use super::{Growth, PlaceError, Strategy, hash, names};
use crate::key::KeyPart;
use crate::map::{MapError, ShardName};

/// Jump consistent hash (Lamping and Veach, 2014), for shards that are only ever added at the
/// end. One in the middle cannot leave: the shards behind it would take each other's keys.
#[derive(Clone, Debug)]
pub struct Jump {
    shards: Vec<ShardName>,
}

/// Only the last shard may leave.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct NotTheLast {
    shard: ShardName,
}

impl std::fmt::Display for NotTheLast {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(
            f,
            "{} is not the last shard, and a jump hash can only lose the last: about half of all \
             keys would move; use a slot map",
            self.shard
        )
    }
}

impl std::error::Error for NotTheLast {}

impl Jump {
    /// Over these shards; their order counts.
    ///
    /// # Errors
    ///
    /// No shard, a name that is none, or twice the same.
    pub fn new<N: Into<String>>(shards: impl IntoIterator<Item = N>) -> Result<Self, MapError> {
        let (shards, _) = names(shards.into_iter().map(|name| (name, 1)))?;
        Ok(Self { shards })
    }

    /// Without a shard.
    ///
    /// # Errors
    ///
    /// Any but the last, and the only one.
    pub fn remove(mut self, shard: &str) -> Result<Self, NotTheLast> {
        let last = self.shards.len() - 1;
        if last == 0 || self.shards[last].as_str() != shard {
            let found = self.shards.iter().find(|other| other.as_str() == shard);
            let shard = found.unwrap_or(&self.shards[last]).clone();
            return Err(NotTheLast { shard });
        }
        self.shards.pop();
        Ok(self)
    }
}

impl Strategy for Jump {
    fn name(&self) -> &'static str {
        "jump"
    }

    fn shards(&self) -> Vec<ShardName> {
        self.shards.clone()
    }

    fn place(&self, parts: &[KeyPart<'_>]) -> Result<usize, PlaceError> {
        let (mut key, shards) = (hash(parts), self.shards.len() as i64);
        let (mut at, mut next) = (0_i64, 0_i64);
        while next < shards {
            at = next;
            key = key.wrapping_mul(2_862_933_555_777_941_757).wrapping_add(1);
            let step = (1_u64 << 31) as f64 / ((key >> 33) + 1) as f64;
            next = ((at + 1) as f64 * step) as i64;
        }
        Ok(at as usize)
    }

    fn growth(&self) -> Growth {
        Growth::Minimal
    }

    fn spread(&self) -> Option<f64> {
        Some(1.02)
    }
}
