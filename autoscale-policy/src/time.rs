use std::time::Duration;

/// A moment: milliseconds since the Unix epoch, as the caller's clock has it.
///
/// Nothing in the core reads a clock. All arithmetic saturates, so that a clock
/// that is wrong leads to a wrong age, and never to a panic.
///
/// ```
/// use std::time::Duration;
/// use autoscale_policy::EpochMillis;
///
/// let noon = EpochMillis::new(1_790_000_000_000);
/// assert_eq!((noon + Duration::from_secs(5)).since(noon), Duration::from_secs(5));
/// assert_eq!(noon.since(noon + Duration::from_secs(5)), Duration::ZERO);
/// ```
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
#[cfg_attr(feature = "serde", derive(serde::Serialize, serde::Deserialize))]
#[cfg_attr(feature = "serde", serde(transparent))]
pub struct EpochMillis(u64);

impl EpochMillis {
    /// The moment `millis` milliseconds after the Unix epoch.
    #[must_use]
    pub const fn new(millis: u64) -> Self {
        Self(millis)
    }

    /// Milliseconds since the Unix epoch.
    #[must_use]
    pub const fn as_millis(self) -> u64 {
        self.0
    }

    /// How long after `earlier` this is; zero if it is not.
    #[must_use]
    pub const fn since(self, earlier: Self) -> Duration {
        Duration::from_millis(self.0.saturating_sub(earlier.0))
    }
}

fn millis(span: Duration) -> u64 {
    span.as_secs().saturating_mul(1000).saturating_add(u64::from(span.subsec_millis()))
}

impl std::ops::Add<Duration> for EpochMillis {
    type Output = Self;

    fn add(self, span: Duration) -> Self {
        Self(self.0.saturating_add(millis(span)))
    }
}

impl std::ops::Sub<Duration> for EpochMillis {
    type Output = Self;

    fn sub(self, span: Duration) -> Self {
        Self(self.0.saturating_sub(millis(span)))
    }
}
