//! The one place where this crate reads time.

#[cfg(feature = "test-util")]
use std::sync::Arc;
#[cfg(feature = "test-util")]
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use tokio::time::Instant;

/// Nanoseconds since the clock's origin; 64 bits last for 584 years.
pub(crate) type Tick = u64;

/// A clock starts 200 years after zero, so that what another process loaded before
/// this one began has its dates too.
const ORIGIN: Tick = 200 * 365 * 24 * 3_600 * 1_000_000_000;

/// Where a cache takes its time from.
///
/// By default that is `CLOCK_BOOTTIME` on Linux, which goes on while the
/// machine is suspended, so that a laptop or a paused virtual machine does not
/// wake up with entries that outlive their TTL; elsewhere it is Tokio's clock.
#[cfg_attr(not(feature = "test-util"), allow(unreachable_pub))]
#[derive(Clone, Debug)]
pub struct Clock(Source);

#[derive(Clone, Debug)]
enum Source {
    #[cfg(target_os = "linux")]
    Boot,
    Tokio {
        origin: Instant,
    },
    #[cfg(feature = "test-util")]
    Hand(Arc<AtomicU64>),
}

#[cfg_attr(not(feature = "test-util"), allow(unreachable_pub))]
impl Clock {
    /// Tokio's clock, which tests can pause and advance.
    pub fn tokio() -> Self {
        Self(Source::Tokio { origin: Instant::now() })
    }

    /// A clock that stands still but for [`advance`](Self::advance); clones go with it. For
    /// tests with real sockets, where Tokio's clock cannot be paused.
    #[cfg(feature = "test-util")]
    pub fn by_hand() -> Self {
        Self(Source::Hand(Arc::default()))
    }

    /// Moves a clock that was made [by hand](Self::by_hand).
    ///
    /// # Panics
    ///
    /// If it was not.
    #[cfg(feature = "test-util")]
    pub fn advance(&self, by: Duration) {
        match &self.0 {
            Source::Hand(time) => drop(time.fetch_add(nanos(by), Ordering::SeqCst)),
            _ => panic!("only a clock that was made by hand can be moved"),
        }
    }

    pub(crate) fn system() -> Self {
        #[cfg(target_os = "linux")]
        if boot_time().is_some() {
            return Self(Source::Boot);
        }
        Self::tokio()
    }

    #[inline]
    pub(crate) fn now(&self) -> Tick {
        ORIGIN
            + match &self.0 {
                #[cfg(target_os = "linux")]
                Source::Boot => {
                    boot_time().expect("a clock that answered once goes on answering")
                }
                Source::Tokio { origin } => nanos(origin.elapsed()),
                #[cfg(feature = "test-util")]
                Source::Hand(time) => time.load(Ordering::SeqCst),
            }
    }
}

/// A duration in nanoseconds; past 584 years it stays there.
#[inline]
pub(crate) fn nanos(duration: Duration) -> u64 {
    u64::try_from(duration.as_nanos()).unwrap_or(u64::MAX)
}

#[cfg(target_os = "linux")]
#[inline]
fn boot_time() -> Option<Tick> {
    let time = nix::time::clock_gettime(nix::time::ClockId::CLOCK_BOOTTIME).ok()?;
    // Neither is negative: the kernel normalises, and the origin is the boot.
    Some((time.tv_sec() as u64).wrapping_mul(1_000_000_000).wrapping_add(time.tv_nsec() as u64))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_system_clock_never_steps_back() {
        let clock = Clock::system();
        let mut last = clock.now();
        for _ in 0..10_000 {
            let now = clock.now();
            assert!(now >= last);
            last = now;
        }
    }

    #[tokio::test(start_paused = true)]
    async fn tokios_clock_can_be_advanced() {
        let clock = Clock::tokio();
        let before = clock.now();
        tokio::time::advance(Duration::from_secs(3)).await;
        assert_eq!(clock.now() - before, 3_000_000_000);
    }
}
