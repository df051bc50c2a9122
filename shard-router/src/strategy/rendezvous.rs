use super::{Growth, PlaceError, Strategy, hash, names};
use crate::hash::SlotHash;
use crate::key::KeyPart;
use crate::map::{MapError, ShardName};

/// Weighted rendezvous hashing (Schindelhauer and Schomaker, 2005): each shard scores
/// `weight / -ln(u)` for a key, the best has it. In whole numbers, so that every machine
/// comes to the same result. Its cost grows with the number of shards.
#[derive(Clone, Debug)]
pub struct Rendezvous {
    shards: Vec<ShardName>,
    /// A hash of each name, and its weight.
    seeds: Vec<(u64, u32)>,
}

impl Rendezvous {
    /// Over these shards and weights; their order does not count.
    ///
    /// # Errors
    ///
    /// No shard, a name that is none, twice the same, a weight of 0.
    pub fn new<N: Into<String>>(
        shards: impl IntoIterator<Item = (N, u32)>,
    ) -> Result<Self, MapError> {
        let (shards, weights) = names(shards)?;
        let seed = |name: &ShardName| SlotHash::Postgres.hash(&[KeyPart::Text(name.as_str())]);
        let seeds = shards.iter().map(seed).zip(weights).collect();
        Ok(Self { shards, seeds })
    }
}

impl Strategy for Rendezvous {
    fn name(&self) -> &'static str {
        "rendezvous"
    }

    fn shards(&self) -> Vec<ShardName> {
        self.shards.clone()
    }

    fn place(&self, parts: &[KeyPart<'_>]) -> Result<usize, PlaceError> {
        let key = hash(parts);
        let cost = |seed: u64| u128::from(minus_log2(scrambled(key ^ seed)));
        let mut best = (0, cost(self.seeds[0].0), self.seeds[0]);
        for (index, (seed, weight)) in self.seeds.iter().copied().enumerate().skip(1) {
            let cost = cost(seed);
            let (_, least, (other, its)) = best;
            // weight / cost > its / least, and where they are equal, by the seed.
            let (one, two) = (u128::from(weight) * least, u128::from(its) * cost);
            if (one, seed) > (two, other) {
                best = (index, cost, (seed, weight));
            }
        }
        Ok(best.0)
    }

    fn growth(&self) -> Growth {
        Growth::Minimal
    }

    fn spread(&self) -> Option<f64> {
        Some(1.02)
    }
}

/// The finaliser of SplitMix64 (Steele, Lea and Flood, 2014).
fn scrambled(mut hash: u64) -> u64 {
    hash = (hash ^ (hash >> 30)).wrapping_mul(0xBF58_476D_1CE4_E5B9);
    hash = (hash ^ (hash >> 27)).wrapping_mul(0x94D0_49BB_1331_11EB);
    hash ^ (hash >> 31)
}

/// `-log2((hash + 1) / 2^64)`, times 2^40: the bits of the logarithm one by one, each by
/// squaring.
fn minus_log2(hash: u64) -> u64 {
    const FRACTION: u32 = 40;
    let Some(number) = hash.checked_add(1) else { return 0 };
    let whole = 63 - number.leading_zeros();
    let mut mantissa = number << (63 - whole);
    let mut log = u64::from(whole);
    for _ in 0..FRACTION {
        let square = (u128::from(mantissa) * u128::from(mantissa)) >> 63;
        let carry = (square >> 64) as u64;
        log = log << 1 | carry;
        mantissa = (square >> carry) as u64;
    }
    (64 << FRACTION) - log
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_logarithm_is_one() {
        for hash in [0, 1, 2, 1 << 20, 1 << 40, u64::MAX / 3, u64::MAX / 2, u64::MAX - 1] {
            let exact = 64.0 - (hash as f64 + 1.0).log2();
            let ours = minus_log2(hash) as f64 / (1_u64 << 40) as f64;
            assert!((exact - ours).abs() < 1e-9, "{hash}: {exact} {ours}");
        }
        assert_eq!(minus_log2(u64::MAX), 0);
    }
}
