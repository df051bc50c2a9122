//! What a shard stores about itself.

use tokio_postgres::Row;

use crate::error::Refusal;
use crate::map::ShardName;
use crate::slot::{Epoch, Slot, SlotRange};

/// In one statement, so that it is of one snapshot, and of that of the query beside it.
pub(crate) const STATE: &str = "SELECT s.shard, s.hash, s.key, s.epoch, \
    ARRAY(SELECT first FROM shard_router.owned ORDER BY first), \
    ARRAY(SELECT last FROM shard_router.owned ORDER BY first), \
    current_setting('server_encoding') FROM shard_router.state s";

#[derive(Clone, Debug)]
pub(crate) struct Stored {
    pub(crate) shard: String,
    pub(crate) hash: String,
    pub(crate) key: String,
    pub(crate) epoch: Epoch,
    pub(crate) owned: Vec<SlotRange>,
    pub(crate) encoding: String,
}

/// What the topology says of it.
#[derive(Clone, Debug)]
pub(crate) struct Expected {
    pub(crate) shard: ShardName,
    pub(crate) hash: String,
    pub(crate) key: String,
}

impl Stored {
    pub(crate) fn read(rows: &[Row]) -> Result<Self, Refusal> {
        let damaged = |reason: String| Refusal::Damaged { reason };
        let [row] = rows else {
            let rows = rows.len();
            return Err(damaged(format!("shard_router.state has {rows} rows, and not one")));
        };
        let field = |error: tokio_postgres::Error| damaged(error.to_string());
        let number: i64 = row.try_get(3).map_err(field)?;
        let epoch = u64::try_from(number).ok().and_then(Epoch::new);
        let first: Vec<i32> = row.try_get(4).map_err(field)?;
        let last: Vec<i32> = row.try_get(5).map_err(field)?;
        let range = |(first, last): (&i32, &i32)| {
            let both = u16::try_from(*first).ok().zip(u16::try_from(*last).ok());
            both.and_then(|(first, last)| SlotRange::new(first, last)).ok_or_else(|| {
                damaged(format!("shard_router.owned has slots {first} to {last}"))
            })
        };
        Ok(Self {
            shard: row.try_get(0).map_err(field)?,
            hash: row.try_get(1).map_err(field)?,
            key: row.try_get(2).map_err(field)?,
            epoch: epoch.ok_or_else(|| damaged(format!("an epoch of {number}")))?,
            owned: first.iter().zip(&last).map(range).collect::<Result<_, _>>()?,
            encoding: row.try_get(6).map_err(field)?,
        })
    }

    /// Whether it is the shard that it should be, whatever the epoch.
    pub(crate) fn verify(&self, expected: &Expected) -> Result<(), Refusal> {
        if cfg!(broken = "identity") {
            return Ok(());
        }
        if self.encoding != "UTF8" {
            return Err(Refusal::Encoding { encoding: self.encoding.clone() });
        }
        if self.shard != expected.shard.as_str() {
            return Err(Refusal::OtherShard { stored: self.shard.clone() });
        }
        if self.hash != expected.hash && !cfg!(broken = "hash_id") {
            let (stored, map) = (self.hash.clone(), expected.hash.clone());
            return Err(Refusal::OtherHash { stored, map });
        }
        if self.key != expected.key {
            let (stored, map) = (self.key.clone(), expected.key.clone());
            return Err(Refusal::OtherKey { stored, map });
        }
        Ok(())
    }

    pub(crate) fn owns(&self, slot: Slot) -> bool {
        self.owned.iter().any(|range| range.contains(slot))
    }
}
