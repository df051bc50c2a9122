use std::time::{SystemTime, UNIX_EPOCH};

use crate::time::EpochMillis;

/// Tells the time of day; a fake one in tests.
pub trait WallClock {
    /// Milliseconds since the Unix epoch.
    fn now(&self) -> EpochMillis;
}

/// The system's.
#[derive(Clone, Copy, Debug, Default)]
pub struct SystemClock;

impl WallClock for SystemClock {
    #[allow(clippy::disallowed_methods, reason = "the one place where the wall clock is read")]
    fn now(&self) -> EpochMillis {
        let since = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
        EpochMillis::new(u64::try_from(since.as_millis()).unwrap_or(u64::MAX))
    }
}

impl<F: Fn() -> EpochMillis> WallClock for F {
    fn now(&self) -> EpochMillis {
        self()
    }
}
