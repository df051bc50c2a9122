//! Wall-clock time, which tokens are dated by.

use std::fmt;
use std::sync::Arc;
use std::time::{SystemTime, UNIX_EPOCH};

/// Where a verifier takes the date from.
///
/// Dates in tokens come from the store; this clock is only compared with them,
/// within the leeway.
pub trait WallClock: Send + Sync + 'static {
    /// Milliseconds since 1970-01-01 00:00 UTC.
    fn now_ms(&self) -> u64;
}

/// The system's clock.
#[derive(Clone, Copy, Debug, Default)]
pub struct SystemClock;

impl WallClock for SystemClock {
    #[allow(clippy::disallowed_methods, reason = "this is the clock that is injected")]
    fn now_ms(&self) -> u64 {
        let since = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
        u64::try_from(since.as_millis()).unwrap_or(u64::MAX)
    }
}

/// A clock that a test sets. Clones show the same time.
#[cfg(feature = "test-util")]
#[derive(Clone, Debug)]
pub struct ManualClock(Arc<std::sync::atomic::AtomicU64>);

#[cfg(feature = "test-util")]
impl ManualClock {
    /// A clock that shows `ms` milliseconds since 1970 until it is moved.
    pub fn at(ms: u64) -> Self {
        Self(Arc::new(std::sync::atomic::AtomicU64::new(ms)))
    }

    /// Moves it forward.
    pub fn advance(&self, by: std::time::Duration) {
        let ms = u64::try_from(by.as_millis()).unwrap_or(u64::MAX);
        self.0.fetch_add(ms, std::sync::atomic::Ordering::SeqCst);
    }

    /// Sets it, also back.
    pub fn set(&self, ms: u64) {
        self.0.store(ms, std::sync::atomic::Ordering::SeqCst);
    }
}

#[cfg(feature = "test-util")]
impl WallClock for ManualClock {
    fn now_ms(&self) -> u64 {
        self.0.load(std::sync::atomic::Ordering::SeqCst)
    }
}

/// The clock of a verifier, an issuer or a store.
#[derive(Clone)]
pub(crate) struct Clock(Arc<dyn WallClock>);

impl Clock {
    pub(crate) fn system() -> Self {
        Self::new(SystemClock)
    }

    pub(crate) fn new(clock: impl WallClock) -> Self {
        Self(Arc::new(clock))
    }

    #[inline]
    pub(crate) fn now_ms(&self) -> u64 {
        self.0.now_ms()
    }

    #[inline]
    pub(crate) fn now_secs(&self) -> u64 {
        self.0.now_ms() / 1_000
    }
}

impl fmt::Debug for Clock {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Clock")
    }
}
