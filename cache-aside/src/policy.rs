//! The decisions: may this entry be shown, and how long is that one kept? No
//! clock, no lock, no I/O; chance comes in as an argument.

use std::time::Duration;

use crate::clock::{Tick, nanos};
use crate::epoch::Stamp;

/// What `build` has checked.
#[derive(Clone, Debug)]
pub(crate) struct Policy {
    pub(crate) ttl: Duration,
    pub(crate) negative_ttl: Option<Duration>,
    /// The share of a TTL, from 0 to 1, that chance may take away.
    pub(crate) jitter: f64,
    pub(crate) stale_while_revalidate: Duration,
    pub(crate) stale_if_error: Duration,
    /// XFetch's β; 0 is off.
    pub(crate) early_refresh: f64,
}

/// The dates of one entry.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Life {
    pub(crate) stamp: Stamp,
    /// When its load began: nothing after this is in the value.
    pub(crate) began: Tick,
    pub(crate) expires: Tick,
    /// How long its load took.
    pub(crate) cost: u64,
    pub(crate) negative: bool,
}

/// What an entry is good for now.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Verdict {
    /// Serve it.
    Fresh,
    /// Serve it, and renew it before it expires.
    Early,
    /// Serve it, and renew it: it has expired.
    Revalidate,
    /// Serve it only if a load fails.
    OnError,
    /// Its time is over.
    Expired,
    /// It was read before an invalidation: no path may serve it.
    Invalidated,
}

impl Policy {
    /// `stamp` is the key's at this moment; `draw` gives a number in (0, 1].
    #[inline]
    pub(crate) fn verdict(
        &self,
        life: &Life,
        stamp: Stamp,
        now: Tick,
        draw: impl FnOnce() -> f64,
    ) -> Verdict {
        if life.stamp != stamp && !cfg!(broken = "no_stamp") {
            return Verdict::Invalidated;
        }
        if now < life.expires {
            return if self.early(life, now, draw) { Verdict::Early } else { Verdict::Fresh };
        }
        let late = now - life.expires;
        match self.windows(life) {
            [revalidate, _] if late < nanos(revalidate) => Verdict::Revalidate,
            [_, on_error] if late < nanos(on_error) => Verdict::OnError,
            _ => Verdict::Expired,
        }
    }

    /// XFetch (Vattani, Chierichetti, Lowenstein, "Optimal Probabilistic Cache
    /// Stampede Prevention", VLDB 2015): renew when `now − δ·β·ln(draw)` is at
    /// or past the expiry, so that costly and busy entries are renewed in time,
    /// by one caller, each at another moment.
    #[inline]
    fn early(&self, life: &Life, now: Tick, draw: impl FnOnce() -> f64) -> bool {
        if self.early_refresh == 0.0 {
            return false;
        }
        let left = (life.expires - now) as f64;
        let scale = life.cost as f64 * self.early_refresh;
        // −ln of the smallest draw of 53 bits is below 37, so far from the
        // expiry neither chance nor a logarithm is needed.
        left < scale * 37.0 && left <= scale * -draw().ln()
    }

    /// The dates of a value whose load began at `began` and took `cost`, or
    /// nothing if it is not to be kept. `draw` is in [0, 1].
    pub(crate) fn life(
        &self,
        negative: bool,
        own_ttl: Option<Duration>,
        stamp: Stamp,
        began: Tick,
        cost: u64,
        draw: f64,
    ) -> Option<Life> {
        let ttl = match (own_ttl, negative) {
            (Some(own), _) => own,
            (None, true) => self.negative_ttl?,
            (None, false) => self.ttl,
        };
        // Jitter only shortens: the TTL that was asked for stays an upper bound.
        let kept = ttl.as_nanos() as f64 * (1.0 - self.jitter * draw);
        // `as` saturates, at 0 as well as at 584 years.
        let kept = kept as u64;
        (kept > 0).then(|| Life {
            stamp,
            began,
            expires: began.saturating_add(kept),
            cost,
            negative,
        })
    }

    /// How long after its load began this entry may still be served at all.
    pub(crate) fn bound(&self, life: &Life) -> Duration {
        let [revalidate, on_error] = self.windows(life);
        Duration::from_nanos(life.expires.saturating_sub(life.began))
            .saturating_add(revalidate.max(on_error))
    }

    /// The same for a value that the builder's TTL is given.
    pub(crate) fn hard_ttl(&self) -> Duration {
        self.ttl.saturating_add(self.stale_while_revalidate.max(self.stale_if_error))
    }

    /// How long an entry may be served after its expiry, while it is renewed and
    /// when its load fails. An absence is not.
    #[inline]
    fn windows(&self, life: &Life) -> [Duration; 2] {
        if life.negative {
            [Duration::ZERO; 2]
        } else {
            [self.stale_while_revalidate, self.stale_if_error]
        }
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    const SECOND: u64 = 1_000_000_000;

    fn policy() -> Policy {
        Policy {
            ttl: Duration::from_secs(60),
            negative_ttl: Some(Duration::from_secs(5)),
            jitter: 0.1,
            stale_while_revalidate: Duration::from_secs(10),
            stale_if_error: Duration::from_secs(100),
            early_refresh: 0.0,
        }
    }

    fn life(policy: &Policy) -> Life {
        policy.life(false, None, 3, 0, SECOND, 0.0).expect("a TTL of a minute is kept")
    }

    fn never() -> f64 {
        panic!("no chance is needed here")
    }

    #[test]
    fn an_entry_ages_through_its_windows() {
        let policy = policy();
        let life = life(&policy);
        for (seconds, verdict) in [
            (0, Verdict::Fresh),
            (59, Verdict::Fresh),
            (60, Verdict::Revalidate),
            (69, Verdict::Revalidate),
            (70, Verdict::OnError),
            (159, Verdict::OnError),
            (160, Verdict::Expired),
        ] {
            assert_eq!(policy.verdict(&life, 3, seconds * SECOND, never), verdict, "{seconds}");
            let other = policy.verdict(&life, 4, seconds * SECOND, never);
            assert_eq!(other, Verdict::Invalidated, "{seconds}");
        }
        assert_eq!(policy.hard_ttl(), Duration::from_secs(160));
        assert_eq!(policy.bound(&life), Duration::from_secs(160));
    }

    #[test]
    fn an_absence_has_a_ttl_of_its_own_and_no_stale_windows() {
        let mut policy = policy();
        let life = policy.life(true, None, 0, 0, 0, 0.0).expect("a negative TTL is set");
        assert_eq!(policy.verdict(&life, 0, 5 * SECOND - 1, never), Verdict::Fresh);
        assert_eq!(policy.verdict(&life, 0, 5 * SECOND, never), Verdict::Expired);

        assert_eq!(policy.bound(&life), Duration::from_secs(5));

        policy.negative_ttl = None;
        assert_eq!(policy.life(true, None, 0, 0, 0, 0.0), None);
        assert!(policy.life(true, Some(Duration::from_secs(1)), 0, 0, 0, 0.0).is_some());
    }

    #[test]
    fn a_ttl_of_zero_is_not_kept_even_when_jitter_made_it_zero() {
        let mut policy = policy();
        assert_eq!(policy.life(false, Some(Duration::ZERO), 0, 9, 0, 0.0), None);
        policy.jitter = 1.0;
        assert_eq!(policy.life(false, None, 0, 9, 0, 1.0), None);
    }

    #[test]
    fn an_endless_ttl_does_not_wrap() {
        let life = policy().life(false, Some(Duration::MAX), 0, 9, 0, 0.5);
        assert_eq!(life.map(|l| l.expires), Some(u64::MAX));
    }

    #[test]
    fn early_refresh_follows_the_formula() {
        let policy = Policy { early_refresh: 1.0, ..policy() };
        let life = life(&policy); // it expires at 60 s, and its load took 1 s
        let at = |seconds, draw: f64| policy.verdict(&life, 3, seconds * SECOND, || draw);
        // −ln(0.01) is 4.6: that draw renews from 55.4 s on.
        assert_eq!(at(55, 0.01), Verdict::Fresh);
        assert_eq!(at(56, 0.01), Verdict::Early);
        assert_eq!(at(59, 0.5), Verdict::Fresh);
        assert_eq!(at(59, 0.3), Verdict::Early);
        assert_eq!(policy.verdict(&life, 3, 0, never), Verdict::Fresh);
    }

    proptest! {
        #[test]
        fn jitter_only_shortens(draw in 0.0_f64..=1.0, jitter in 0.0_f64..0.99) {
            let policy = Policy { jitter, ..policy() };
            let life = policy.life(false, None, 0, 5, 0, draw).expect("99 % leave something");
            prop_assert!(life.expires <= 5 + 60 * SECOND);
            prop_assert!(life.expires as f64 >= 5.0 + (1.0 - jitter) * 59.999 * SECOND as f64);
        }

        #[test]
        fn nothing_is_served_past_the_hard_ttl(
            draw in 0.0_f64..=1.0, began in 0..SECOND, later in 160 * SECOND..u64::MAX / 2,
        ) {
            let policy = policy();
            let life = policy.life(false, None, 0, began, 0, draw).expect("kept");
            let verdict = policy.verdict(&life, 0, began + later, never);
            prop_assert_eq!(verdict, Verdict::Expired);
        }
    }
}
