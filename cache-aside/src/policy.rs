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
    /// Until when it is shown without asking anybody. Before its expiry only for a
    /// copy of what a shared tier has.
    pub(crate) shown_until: Tick,
    pub(crate) expires: Tick,
    /// How long its load took.
    pub(crate) cost: u64,
    pub(crate) negative: bool,
}

impl Life {
    /// Of a value whose load began at `began`, took `cost`, and is fresh for
    /// `lifetime`.
    pub(crate) fn new(
        stamp: Stamp,
        began: Tick,
        lifetime: Duration,
        cost: u64,
        negative: bool,
    ) -> Self {
        let expires = began.saturating_add(nanos(lifetime));
        Self { stamp, began, shown_until: expires, expires, cost, negative }
    }

    /// The same, of a copy that is shown for at most `limit` after the moment at which
    /// it was known to be current.
    pub(crate) fn shown_for(self, limit: Duration, current: Tick) -> Self {
        let shown_until = self.expires.min(current.saturating_add(nanos(limit)));
        Self { shown_until, ..self }
    }
}

/// What an entry is good for now.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Verdict {
    /// Serve it.
    Fresh,
    /// Serve it, and renew it before it expires.
    Early,
    /// It has not expired, but the tier that it was copied from is to be asked.
    Recheck,
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
        if now < life.shown_until {
            return if self.early(life, now, draw) { Verdict::Early } else { Verdict::Fresh };
        }
        if now < life.expires {
            return Verdict::Recheck;
        }
        let late = now - life.expires;
        match self.windows(life.negative) {
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

    /// How long a value is fresh, or nothing if it is not to be kept. `draw` is in
    /// [0, 1].
    pub(crate) fn lifetime(
        &self,
        negative: bool,
        own_ttl: Option<Duration>,
        draw: f64,
    ) -> Option<Duration> {
        let ttl = match (own_ttl, negative) {
            (Some(own), _) => own,
            (None, true) => self.negative_ttl?,
            (None, false) => self.ttl,
        };
        // Jitter only shortens: the TTL that was asked for stays an upper bound.
        let kept = ttl.as_nanos() as f64 * (1.0 - self.jitter * draw);
        // `as` saturates, at 0 as well as at 584 years.
        let kept = Duration::from_nanos(kept as u64);
        (!kept.is_zero()).then_some(kept)
    }

    /// How long a value of that lifetime may be served at all.
    pub(crate) fn kept_for(&self, negative: bool, lifetime: Duration) -> Duration {
        let [revalidate, on_error] = self.windows(negative);
        lifetime.saturating_add(revalidate.max(on_error))
    }

    /// How long after its load began this entry may still be served at all.
    pub(crate) fn bound(&self, life: &Life) -> Duration {
        let lifetime = Duration::from_nanos(life.expires.saturating_sub(life.began));
        self.kept_for(life.negative, lifetime)
    }

    /// The same for a value that the builder's TTL is given.
    pub(crate) fn hard_ttl(&self) -> Duration {
        self.kept_for(false, self.ttl)
    }

    /// How long an entry may be served after its expiry, while it is renewed and
    /// when its load fails. An absence is not.
    #[inline]
    fn windows(&self, negative: bool) -> [Duration; 2] {
        if negative {
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
        let lifetime = policy.lifetime(false, None, 0.0).expect("a TTL of a minute is kept");
        Life::new(3, 0, lifetime, SECOND, false)
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
        let lifetime = policy.lifetime(true, None, 0.0).expect("a negative TTL is set");
        let life = Life::new(0, 0, lifetime, 0, true);
        assert_eq!(policy.verdict(&life, 0, 5 * SECOND - 1, never), Verdict::Fresh);
        assert_eq!(policy.verdict(&life, 0, 5 * SECOND, never), Verdict::Expired);

        assert_eq!(policy.bound(&life), Duration::from_secs(5));

        policy.negative_ttl = None;
        assert_eq!(policy.lifetime(true, None, 0.0), None);
        assert!(policy.lifetime(true, Some(Duration::from_secs(1)), 0.0).is_some());
    }

    #[test]
    fn a_ttl_of_zero_is_not_kept_even_when_jitter_made_it_zero() {
        let mut policy = policy();
        assert_eq!(policy.lifetime(false, Some(Duration::ZERO), 0.0), None);
        policy.jitter = 1.0;
        assert_eq!(policy.lifetime(false, None, 1.0), None);
    }

    #[test]
    fn an_endless_ttl_does_not_wrap() {
        let lifetime = policy().lifetime(false, Some(Duration::MAX), 0.0).expect("kept");
        assert_eq!(Life::new(0, 9, lifetime, 0, false).expires, u64::MAX);
    }

    #[test]
    fn a_copy_is_rechecked_before_it_expires() {
        let policy = policy();
        let copy = life(&policy).shown_for(Duration::from_secs(10), 20 * SECOND);
        for (seconds, verdict) in [
            (29, Verdict::Fresh),
            (30, Verdict::Recheck),
            (59, Verdict::Recheck),
            (60, Verdict::Revalidate),
        ] {
            assert_eq!(policy.verdict(&copy, 3, seconds * SECOND, never), verdict, "{seconds}");
        }
        let late = life(&policy).shown_for(Duration::from_secs(10), 55 * SECOND);
        assert_eq!(late.shown_until, late.expires);
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
            let kept = policy.lifetime(false, None, draw).expect("99 % leave something");
            prop_assert!(kept <= Duration::from_secs(60));
            prop_assert!(kept.as_secs_f64() >= (1.0 - jitter) * 59.999);
        }

        #[test]
        fn nothing_is_served_past_the_hard_ttl(
            draw in 0.0_f64..=1.0, began in 0..SECOND, later in 160 * SECOND..u64::MAX / 2,
        ) {
            let policy = policy();
            let lifetime = policy.lifetime(false, None, draw).expect("kept");
            let life = Life::new(0, began, lifetime, 0, false);
            let verdict = policy.verdict(&life, 0, began + later, never);
            prop_assert_eq!(verdict, Verdict::Expired);
        }
    }
}
