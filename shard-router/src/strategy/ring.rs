use std::fmt;
use std::hash::{BuildHasherDefault, Hash, Hasher};

use hashring::HashRing;

use super::{Growth, PlaceError, Strategy, hash, names};
use crate::hash::SlotHash;
use crate::key::KeyPart;
use crate::map::{MapError, ShardName};

/// A hash ring (Karger and others, 1997) on the `hashring` crate, with virtual nodes by
/// weight, and bytes of keys that are written down.
#[derive(Clone)]
pub struct Ring {
    shards: Vec<ShardName>,
    ring: HashRing<Node, BuildHasherDefault<AsIs>>,
}

impl Ring {
    /// Over these shards and weights, with `nodes` virtual nodes for each unit of weight:
    /// 128 keeps shards within about a quarter of their share.
    ///
    /// # Errors
    ///
    /// No shard, a name that is none, twice the same, a weight of 0.
    pub fn new<N: Into<String>>(
        shards: impl IntoIterator<Item = (N, u32)>,
        nodes: u32,
    ) -> Result<Self, MapError> {
        let (shards, weights) = names(shards)?;
        let mut ring = HashRing::with_hasher(BuildHasherDefault::default());
        let all = shards.iter().zip(weights).enumerate().flat_map(|(shard, (name, weight))| {
            (0..weight.saturating_mul(nodes.max(1))).map(move |number| {
                let parts = [KeyPart::Text(name.as_str()), KeyPart::Int(number.into())];
                Node { shard, at: SlotHash::Postgres.hash(&parts) }
            })
        });
        ring.batch_add(all.collect());
        Ok(Self { shards, ring })
    }
}

impl Strategy for Ring {
    fn name(&self) -> &'static str {
        "ring"
    }

    fn shards(&self) -> Vec<ShardName> {
        self.shards.clone()
    }

    fn place(&self, parts: &[KeyPart<'_>]) -> Result<usize, PlaceError> {
        let node = self.ring.get(&Point(hash(parts)));
        Ok(node.map_or(0, |node| node.shard))
    }

    fn growth(&self) -> Growth {
        Growth::Minimal
    }

    fn spread(&self) -> Option<f64> {
        Some(1.35)
    }
}

impl fmt::Debug for Ring {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Ring")
            .field("shards", &self.shards)
            .field("nodes", &self.ring.len())
            .finish()
    }
}

#[derive(Clone, Copy, Debug)]
struct Node {
    shard: usize,
    at: u64,
}

impl Hash for Node {
    fn hash<H: Hasher>(&self, state: &mut H) {
        state.write_u64(self.at);
    }
}

struct Point(u64);

impl Hash for Point {
    fn hash<H: Hasher>(&self, state: &mut H) {
        state.write_u64(self.0);
    }
}

/// The places on the ring are hashes already.
#[derive(Default)]
struct AsIs(u64);

impl Hasher for AsIs {
    fn write(&mut self, _: &[u8]) {
        unreachable!("nodes and points write one u64");
    }

    fn write_u64(&mut self, at: u64) {
        self.0 = at;
    }

    fn finish(&self) -> u64 {
        self.0
    }
}
