use std::sync::atomic::{AtomicUsize, Ordering};

/// How a replica is picked among those that are fresh enough, for a session that
/// is on none yet. Replicas that are near ([`ServerConfig::near`]) come first.
///
/// [`ServerConfig::near`]: crate::ServerConfig::near
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub enum Balance {
    /// The better of two random ones, by requests under way times latency
    /// (Mitzenmacher, "The Power of Two Choices in Randomized Load Balancing", 2001).
    #[default]
    PowerOfTwo,
    /// One after the other.
    RoundRobin,
    /// At random, in proportion to [`ServerConfig::weight`](crate::ServerConfig::weight).
    Weighted,
    /// The one with the fewest requests under way.
    LeastConnections,
    /// At random.
    Random,
}

/// What is known of one that may be picked.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Load {
    pub(crate) in_flight: usize,
    /// In microseconds.
    pub(crate) latency: u32,
    pub(crate) weight: u32,
    pub(crate) near: bool,
}

impl Load {
    fn cost(&self) -> u64 {
        (self.in_flight as u64 + 1) * u64::from(self.latency.max(1))
    }
}

/// One of `set` (a bit each, not empty).
pub(crate) fn pick(
    balance: Balance,
    set: u64,
    turn: &AtomicUsize,
    rng: &mut fastrand::Rng,
    load: impl Fn(usize) -> Load,
) -> usize {
    let near =
        members(set).filter(|index| load(*index).near).fold(0, |s, index| s | 1 << index);
    let set = if near == 0 { set } else { near };
    let count = set.count_ones() as usize;
    match balance {
        Balance::PowerOfTwo if count > 1 => {
            let first = rng.usize(..count);
            let second = (first + rng.usize(1..count)) % count;
            let (first, second) = (nth(set, first), nth(set, second));
            if load(second).cost() < load(first).cost() { second } else { first }
        }
        Balance::RoundRobin => nth(set, turn.fetch_add(1, Ordering::Relaxed) % count),
        Balance::Weighted => {
            let total: u64 = members(set).map(|index| u64::from(load(index).weight)).sum();
            let mut drawn = rng.u64(..total.max(1));
            members(set)
                .find(|index| {
                    let weight = u64::from(load(*index).weight);
                    let found = drawn < weight;
                    drawn = drawn.saturating_sub(weight);
                    found
                })
                .unwrap_or_else(|| nth(set, 0))
        }
        Balance::LeastConnections => {
            members(set).min_by_key(|index| load(*index).in_flight).expect("not empty")
        }
        _ => nth(set, rng.usize(..count)),
    }
}

fn members(mut set: u64) -> impl Iterator<Item = usize> {
    std::iter::from_fn(move || {
        let index = set.trailing_zeros() as usize;
        set &= set.checked_sub(1)?;
        Some(index)
    })
}

fn nth(set: u64, n: usize) -> usize {
    members(set).nth(n).expect("below the count of the set")
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    const ALL: [Balance; 5] = [
        Balance::PowerOfTwo,
        Balance::RoundRobin,
        Balance::Weighted,
        Balance::LeastConnections,
        Balance::Random,
    ];

    fn load(in_flight: usize, latency: u32) -> Load {
        Load { in_flight, latency, weight: 1, near: false }
    }

    fn shares(balance: Balance, set: u64, load: impl Fn(usize) -> Load) -> [u32; 4] {
        let (turn, mut rng) = (AtomicUsize::new(0), fastrand::Rng::with_seed(7));
        let mut counts = [0; 4];
        for _ in 0..1000 {
            counts[pick(balance, set, &turn, &mut rng, &load)] += 1;
        }
        counts
    }

    #[test]
    fn power_of_two_avoids_the_worst() {
        let counts = shares(Balance::PowerOfTwo, 0b111, |index| load(index, 100));
        assert_eq!(counts[2], 0, "{counts:?}");
        assert!(counts[0] > counts[1] && counts[1] > 100, "{counts:?}");
    }

    #[test]
    fn round_robin_is_even_and_weights_are_kept() {
        assert_eq!(shares(Balance::RoundRobin, 0b1011, |_| load(0, 0)), [334, 333, 0, 333]);
        let weighted = |index: usize| Load { weight: [3, 0, 1, 1][index], ..load(0, 0) };
        let counts = shares(Balance::Weighted, 0b0111, weighted);
        assert!(counts[1] == 0 && (700..800).contains(&counts[0]), "{counts:?}");
    }

    #[test]
    fn near_ones_come_first() {
        for balance in ALL {
            let near = |index: usize| Load { near: index == 2, ..load(9, 9) };
            assert_eq!(shares(balance, 0b1111, near), [0, 0, 1000, 0], "{balance:?}");
        }
    }

    proptest! {
        #[test]
        fn only_members_are_picked(set in 1_u64.., seed: u64, weight in 0_u32..3) {
            let (turn, mut rng) = (AtomicUsize::new(0), fastrand::Rng::with_seed(seed));
            for balance in ALL {
                let index = pick(balance, set, &turn, &mut rng, |index| Load {
                    weight, ..load(index % 5, 10)
                });
                prop_assert!(set & (1 << index) != 0);
            }
        }
    }
}
