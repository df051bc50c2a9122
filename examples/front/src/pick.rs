//! Which worker takes a request: a function of what is known of each.

use std::sync::atomic::{AtomicU64, Ordering};

use clap::ValueEnum;

/// How requests are spread.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, ValueEnum)]
pub(crate) enum Strategy {
    /// The less busy of two that are drawn (power of two choices).
    #[default]
    P2c,
    /// One after the other.
    RoundRobin,
    /// One after the other, each as often as its weight says.
    Weighted,
    /// The least busy.
    LeastConnections,
    /// By a key of the request, the same for as long as its worker is there (rendezvous
    /// hashing).
    Hash,
}

/// What is known of a worker.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Candidate {
    pub(crate) id: u64,
    pub(crate) in_flight: u32,
    /// From 1 on.
    pub(crate) weight: u32,
}

/// What one front remembers between requests.
#[derive(Debug, Default)]
pub(crate) struct Turns(AtomicU64);

impl Strategy {
    /// The place of the one to take; none where there is none. `key`: the hash of the
    /// request's key, of those that have one.
    pub(crate) fn pick(
        self,
        candidates: &[Candidate],
        key: Option<u64>,
        turns: &Turns,
        draw: &mut fastrand::Rng,
    ) -> Option<usize> {
        let count = candidates.len();
        if count == 0 {
            return None;
        }
        Some(match self {
            Self::P2c => two_choices(candidates, draw),
            Self::RoundRobin => (turns.next() % count as u64) as usize,
            Self::Weighted => weighted(candidates, turns.next()),
            Self::LeastConnections => least(candidates, draw),
            Self::Hash => match key {
                Some(key) => rendezvous(candidates, key),
                None => two_choices(candidates, draw),
            },
        })
    }
}

impl Turns {
    fn next(&self) -> u64 {
        self.0.fetch_add(1, Ordering::Relaxed)
    }
}

/// Mitzenmacher, "The Power of Two Choices in Randomized Load Balancing" (2001).
fn two_choices(candidates: &[Candidate], draw: &mut fastrand::Rng) -> usize {
    let count = candidates.len();
    let one = draw.usize(0..count);
    if count == 1 {
        return one;
    }
    // Another one: of those that are left, counted on from the first.
    let other = (one + draw.usize(1..count)) % count;
    if busy(&candidates[other], &candidates[one]) { one } else { other }
}

/// Whether `one` has more to do than `other`, for its weight.
fn busy(one: &Candidate, other: &Candidate) -> bool {
    u64::from(one.in_flight) * u64::from(other.weight)
        > u64::from(other.in_flight) * u64::from(one.weight)
}

fn least(candidates: &[Candidate], draw: &mut fastrand::Rng) -> usize {
    // From a place that is drawn, or the first would take all when nobody is busy.
    let (count, from) = (candidates.len(), draw.usize(0..candidates.len()));
    (1..count)
        .map(|step| (from + step) % count)
        .fold(from, |best, at| if busy(&candidates[best], &candidates[at]) { at } else { best })
}

/// Turns are dealt out in rounds, as many as the weights together. Of a worker's `w` turns
/// the k-th is due when k / w of the round is over; what is due first goes first. So heavy
/// ones are spread over the round, and nothing is remembered but the turn.
fn weighted(candidates: &[Candidate], turn: u64) -> usize {
    let total: u64 = candidates.iter().map(|candidate| u64::from(candidate.weight)).sum();
    let mut given = vec![0_u64; candidates.len()];
    let mut chosen = 0;
    for _ in 0..=turn % total {
        let due = |at: usize| (given[at] + 1) as f64 / f64::from(candidates[at].weight);
        let first = (0..candidates.len()).min_by(|a, b| due(*a).total_cmp(&due(*b)));
        chosen = first.expect("there is one");
        given[chosen] += 1;
    }
    chosen
}

/// Thaler and Ravishankar, "Using name-based mappings to increase hit rates" (1998).
fn rendezvous(candidates: &[Candidate], key: u64) -> usize {
    let score = |candidate: &Candidate| mixed(key ^ mixed(candidate.id));
    let best = candidates.iter().enumerate().max_by_key(|(_, candidate)| score(candidate));
    best.map_or(0, |(at, _)| at)
}

/// The finaliser of SplitMix64.
fn mixed(mut bits: u64) -> u64 {
    bits = bits.wrapping_add(0x9E37_79B9_7F4A_7C15);
    bits = (bits ^ (bits >> 30)).wrapping_mul(0xBF58_476D_1CE4_E5B9);
    bits = (bits ^ (bits >> 27)).wrapping_mul(0x94D0_49BB_1331_11EB);
    bits ^ (bits >> 31)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn fleet(loads: &[u32]) -> Vec<Candidate> {
        (0..).zip(loads).map(|(id, n)| Candidate { id, in_flight: *n, weight: 1 }).collect()
    }

    fn all(strategy: Strategy, fleet: &[Candidate], requests: u64) -> Vec<u64> {
        let (turns, mut draw) = (Turns::default(), fastrand::Rng::with_seed(7));
        let mut counts = vec![0; fleet.len()];
        for request in 0..requests {
            let key = Some(mixed(request));
            counts[strategy.pick(fleet, key, &turns, &mut draw).unwrap()] += 1;
        }
        counts
    }

    #[test]
    fn of_none_there_is_none() {
        let (turns, mut draw) = (Turns::default(), fastrand::Rng::with_seed(7));
        for strategy in Strategy::value_variants() {
            assert_eq!(strategy.pick(&[], Some(1), &turns, &mut draw), None);
            assert_eq!(strategy.pick(&fleet(&[9]), Some(1), &turns, &mut draw), Some(0));
        }
    }

    #[test]
    fn where_all_are_idle_all_are_used_alike() {
        for strategy in Strategy::value_variants() {
            let counts = all(*strategy, &fleet(&[0, 0, 0, 0]), 40_000);
            assert!(
                counts.iter().all(|n| (9_500..10_500).contains(n)),
                "{strategy:?} {counts:?}"
            );
        }
    }

    #[test]
    fn the_busiest_is_never_the_better_of_two() {
        let counts = all(Strategy::P2c, &fleet(&[5, 1, 3]), 30_000);
        assert_eq!(counts[0], 0);
        assert!(counts[1] > counts[2]);
        assert_eq!(all(Strategy::LeastConnections, &fleet(&[5, 1, 3]), 100), [0, 100, 0]);
    }

    #[test]
    fn weights_are_exact_over_a_round_and_spread_within() {
        let mut fleet = fleet(&[0, 0, 0]);
        for (candidate, weight) in fleet.iter_mut().zip([5, 1, 2]) {
            candidate.weight = weight;
        }
        let (turns, mut draw) = (Turns::default(), fastrand::Rng::with_seed(7));
        let mut order = Vec::new();
        for _ in 0..16 {
            order.push(Strategy::Weighted.pick(&fleet, None, &turns, &mut draw).unwrap());
        }
        let count = |at: usize| order.iter().filter(|chosen| **chosen == at).count();
        assert_eq!([count(0), count(1), count(2)], [10, 2, 4]);
        assert!(order.windows(4).all(|four| four != [0; 4]), "{order:?}");
    }

    #[test]
    fn a_key_stays_where_it_is_when_another_worker_goes() {
        let four = fleet(&[0; 4]);
        let (turns, mut draw) = (Turns::default(), fastrand::Rng::with_seed(7));
        for key in 0..1_000 {
            let before = Strategy::Hash.pick(&four, Some(key), &turns, &mut draw).unwrap();
            for gone in 0..4 {
                let mut three = four.clone();
                three.remove(gone);
                let at = Strategy::Hash.pick(&three, Some(key), &turns, &mut draw).unwrap();
                if gone != before {
                    assert_eq!(three[at].id, four[before].id);
                }
            }
        }
    }
}
