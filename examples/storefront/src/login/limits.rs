//! How often somebody may try to log in. It is counted in this process, in bounded memory.

use std::fmt;
use std::hash::{BuildHasher, RandomState};
use std::net::IpAddr;
use std::num::NonZeroU32;
use std::time::Duration;

use governor::clock::Clock as _;
use governor::middleware::NoOpMiddleware;
use governor::state::keyed::HashMapStateStore;
use governor::{Quota, RateLimiter, clock};
use tokio::time::Instant;

/// From one address: an office behind one router has many users.
const OF_ADDRESS: u32 = 60;

/// For one user, whoever tries. A guesser can keep a user from logging in for as long as it
/// goes on; the sessions that are open stay open.
const OF_USER: u32 = 10;

/// How soon a limit that was reached is whole again.
const PERIOD: Duration = Duration::from_secs(60);

/// Both limits.
#[derive(Debug)]
pub(crate) struct Limits {
    addresses: Limit,
    users: Limit,
}

impl Limits {
    pub(crate) fn new() -> Self {
        Self { addresses: Limit::new(OF_ADDRESS), users: Limit::new(OF_USER) }
    }

    /// Lets an attempt through, or says how long to wait. An address that has reached its
    /// limit does not count against the user.
    ///
    /// # Errors
    ///
    /// How long to wait.
    pub(crate) fn admit(&self, address: IpAddr, user: &str) -> Result<(), Duration> {
        if cfg!(broken = "no_login_limit") {
            return Ok(());
        }
        self.addresses.admit(network(address))?;
        self.users.admit(user)
    }
}

/// A household has 2⁶⁴ addresses of IPv6.
fn network(address: IpAddr) -> IpAddr {
    match address.to_canonical() {
        IpAddr::V6(v6) => IpAddr::V6((u128::from(v6) & !u128::from(u64::MAX)).into()),
        v4 => v4,
    }
}

/// So many attempts in a [`PERIOD`] for each key, by GCRA.
///
/// Keys are told apart by 16 bits of a hash that nobody outside can predict, so that no flood
/// of made-up users fills the memory: two keys share a limit once in 65,536 times.
struct Limit {
    limiter: RateLimiter<u16, HashMapStateStore<u16>, Clock, NoOpMiddleware<Duration>>,
    clock: Clock,
    hasher: RandomState,
}

impl Limit {
    fn new(attempts: u32) -> Self {
        let burst = NonZeroU32::new(attempts).expect("limits are above 0");
        let quota = Quota::with_period(PERIOD / attempts).expect("the period is above 0");
        let clock = Clock(Instant::now());
        let limiter = RateLimiter::hashmap_with_clock(quota.allow_burst(burst), clock);
        Self { limiter, clock, hasher: RandomState::new() }
    }

    fn admit(&self, key: impl std::hash::Hash) -> Result<(), Duration> {
        let key = self.hasher.hash_one(key) as u16;
        let admitted = self.limiter.check_key(&key);
        admitted.map_err(|until| until.wait_time_from(self.clock.now()))
    }
}

impl fmt::Debug for Limit {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Limit").field("keys", &self.limiter.len()).finish_non_exhaustive()
    }
}

/// Tokio's, which tests can pause: since this moment.
#[derive(Clone, Copy, Debug)]
struct Clock(Instant);

impl clock::Clock for Clock {
    type Instant = Duration;

    fn now(&self) -> Duration {
        self.0.elapsed()
    }
}

#[cfg(test)]
mod tests {
    use tokio::time::advance;

    use super::*;

    fn ip(text: &str) -> IpAddr {
        text.parse().unwrap()
    }

    #[tokio::test(start_paused = true)]
    async fn a_user_is_tried_so_often_from_wherever() {
        let limits = Limits::new();
        for n in 0..OF_USER {
            let from = ip(&format!("10.0.0.{n}"));
            assert_eq!(limits.admit(from, "ada@example.org"), Ok(()));
        }
        let wait = limits.admit(ip("10.0.1.1"), "ada@example.org").unwrap_err();
        assert_eq!(wait, PERIOD / OF_USER);
        assert_eq!(limits.admit(ip("10.0.1.1"), "bob@example.org"), Ok(()));
        advance(wait).await;
        assert_eq!(limits.admit(ip("10.0.1.1"), "ada@example.org"), Ok(()));
        assert!(limits.admit(ip("10.0.1.1"), "ada@example.org").is_err());
        advance(PERIOD).await;
        for _ in 0..OF_USER {
            assert_eq!(limits.admit(ip("10.0.1.2"), "ada@example.org"), Ok(()));
        }
    }

    #[tokio::test(start_paused = true)]
    async fn an_address_tries_so_often_whomever() {
        let limits = Limits::new();
        for n in 0..OF_ADDRESS {
            // All of one household's network.
            let from = ip(&format!("2001:db8:1:2:{n:x}::1"));
            assert_eq!(limits.admit(from, &format!("{n}@example.org")), Ok(()));
        }
        let there = ip("2001:db8:1:2:ffff::1");
        for _ in 0..100 {
            assert!(limits.admit(there, "victim@example.org").is_err());
        }
        // What was refused has not counted against the user.
        assert_eq!(limits.admit(ip("2001:db8:1:3::1"), "victim@example.org"), Ok(()));
        assert_eq!(network(ip("::ffff:10.0.0.1")), ip("10.0.0.1"));
    }

    #[tokio::test(start_paused = true)]
    async fn made_up_users_do_not_fill_the_memory() {
        let limit = Limit::new(OF_USER);
        for n in 0..300_000 {
            let _ = limit.admit(n);
        }
        assert!(limit.limiter.len() <= 1 << 16, "{limit:?}");
    }
}
