//! Which ids are asked for: few of them often, most of them hardly ever.

use crate::rng::Rng;

/// Ranks from 1 to `n` with P(k) ∝ k⁻ˢ, in constant time and memory.
///
/// Rejection-inversion: Hörmann and Derflinger, "Rejection-Inversion to Generate Variates from
/// Monotone Discrete Distributions", ACM TOMACS 6 (1996). `h` is the hat k⁻ˢ, `area` its
/// integral; a draw under the hat is rounded to the rank whose bar it most likely lies in.
#[derive(Clone, Copy, Debug)]
struct Zipf {
    n: u64,
    exponent: f64,
    first_area: f64,
    whole_area: f64,
    /// A draw this close below its rank needs no further test.
    shortcut: f64,
}

impl Zipf {
    /// `n` is at least 1; `exponent` is positive.
    fn new(n: u64, exponent: f64) -> Self {
        debug_assert!(n >= 1 && exponent > 0.0);
        Self {
            n,
            exponent,
            first_area: area(1.5, exponent) - 1.0,
            whole_area: area(n as f64 + 0.5, exponent),
            shortcut: 2.0 - inverse_area(area(2.5, exponent) - hat(2.0, exponent), exponent),
        }
    }

    fn rank(&self, rng: &mut Rng) -> u64 {
        loop {
            let u = self.whole_area + rng.unit() * (self.first_area - self.whole_area);
            let x = inverse_area(u, self.exponent);
            let k = (x + 0.5).floor().clamp(1.0, self.n as f64);
            if k - x <= self.shortcut
                || u >= area(k + 0.5, self.exponent) - hat(k, self.exponent)
            {
                return k as u64;
            }
        }
    }
}

fn hat(x: f64, exponent: f64) -> f64 {
    (-exponent * x.ln()).exp()
}

/// ∫₁ˣ t⁻ˢ dt, also where s is 1 or very near it.
fn area(x: f64, exponent: f64) -> f64 {
    let log = x.ln();
    let y = (1.0 - exponent) * log;
    let quotient =
        if y.abs() > 1e-8 { y.exp_m1() / y } else { 1.0 + y / 2.0 * (1.0 + y / 3.0) };
    quotient * log
}

fn inverse_area(area: f64, exponent: f64) -> f64 {
    // Rounding must not leave the domain of the logarithm.
    let y = (area * (1.0 - exponent)).max(-1.0);
    let quotient = if y.abs() > 1e-8 { y.ln_1p() / y } else { 1.0 - y * (0.5 - y / 3.0) };
    (quotient * area).exp()
}

/// Ids from 1 to `n`, by Zipf's law over a fixed shuffle.
///
/// The shuffle does not depend on the run's seed: the same products are popular in every run.
/// Without it the popular ones would be neighbours in the table, on the same few pages.
#[derive(Clone, Debug)]
pub(crate) struct Popularity {
    ranks: Zipf,
    ids: Vec<u32>,
}

/// Shuffles as nobody's seed does.
const SHUFFLE: u64 = 0x7368_7566_666c_6521;

impl Popularity {
    /// `n` is at least 1.
    pub(crate) fn new(n: u32, exponent: f64) -> Self {
        let mut ids: Vec<u32> = (1..=n).collect();
        let mut rng = Rng::stream(SHUFFLE, u64::from(n));
        for last in (1..ids.len()).rev() {
            ids.swap(last, rng.below(last as u64 + 1) as usize);
        }
        Self { ranks: Zipf::new(u64::from(n), exponent), ids }
    }

    pub(crate) fn draw(&self, rng: &mut Rng) -> u32 {
        self.ids[self.ranks.rank(rng) as usize - 1]
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Pearson's χ² of `draws` ranks against the law, over the ranks 1 to 49 and all the rest.
    fn chi_square(n: u64, exponent: f64, draws: u32, seed: u64) -> f64 {
        let zipf = Zipf::new(n, exponent);
        let mut rng = Rng::stream(seed, 0);
        let mut seen = [0u32; 50];
        for _ in 0..draws {
            seen[zipf.rank(&mut rng).min(50) as usize - 1] += 1;
        }
        let norm: f64 = (1..=n).map(|k| (k as f64).powf(-exponent)).sum();
        let mut rest = 1.0;
        let mut sum = 0.0;
        for (place, &seen) in seen.iter().enumerate() {
            let p = if place < 49 { ((place + 1) as f64).powf(-exponent) / norm } else { rest };
            rest -= p;
            let expected = p * f64::from(draws);
            sum += (f64::from(seen) - expected).powi(2) / expected;
        }
        sum
    }

    #[test]
    fn ranks_follow_the_law() {
        // 49 degrees of freedom: 85.4 is exceeded once in a thousand runs.
        for exponent in [0.8, 1.0, 1.1, 2.0] {
            let chi = chi_square(100_000, exponent, 1_000_000, 7);
            assert!(chi < 85.4, "exponent {exponent}: {chi}");
        }
    }

    #[test]
    fn another_law_is_told_apart() {
        // The test above has teeth: an exponent off by 0.02 fails it.
        let (n, draws) = (100_000, 1_000_000);
        let zipf = Zipf::new(n, 1.12);
        let mut rng = Rng::stream(7, 0);
        let firsts = (0..draws).filter(|_| zipf.rank(&mut rng) == 1).count() as f64;
        let norm: f64 = (1..=n).map(|k| (k as f64).powf(-1.1)).sum();
        let expected = f64::from(draws) / norm;
        assert!((firsts - expected).powi(2) / expected > 85.4);
    }

    #[test]
    fn every_rank_is_in_range() {
        let mut rng = Rng::stream(7, 1);
        for n in [1, 2, 3, 10] {
            let zipf = Zipf::new(n, 1.1);
            assert!((0..1_000).all(|_| (1..=n).contains(&zipf.rank(&mut rng))), "{n}");
        }
    }

    #[test]
    fn ids_are_a_permutation_that_no_seed_changes() {
        let popularity = Popularity::new(1_000, 1.1);
        let mut ids = popularity.ids.clone();
        assert_eq!(ids, Popularity::new(1_000, 1.1).ids);
        assert_ne!(ids[..3], [1, 2, 3]);
        ids.sort_unstable();
        assert!(ids.iter().copied().eq(1..=1_000));
    }
}
