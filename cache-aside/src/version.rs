use std::fmt;

/// A version of a row that orders it: 16 bytes, compared as bytes.
///
/// A counter, a timestamp, or a position in a log; of a log that can be forked
/// by a failover, the timeline and then the position:
///
/// ```
/// use cache_aside::Version;
///
/// assert!(Version::from(9_u64) < Version::from(10_u64));
/// let (timeline, lsn) = (2_u64, 0x0100_0000_u64);
/// assert!(Version::from((timeline, lsn)) > Version::from((1, u64::MAX)));
/// ```
///
/// All versions of one cache must be made in the same way.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Version([u8; 16]);

impl Version {
    /// Its bytes, most significant first.
    pub fn as_bytes(&self) -> &[u8; 16] {
        &self.0
    }
}

impl From<[u8; 16]> for Version {
    fn from(bytes: [u8; 16]) -> Self {
        Self(bytes)
    }
}

impl From<u64> for Version {
    fn from(n: u64) -> Self {
        Self::from(u128::from(n))
    }
}

impl From<u128> for Version {
    fn from(n: u128) -> Self {
        Self(n.to_be_bytes())
    }
}

/// A timeline, and a position on it.
impl From<(u64, u64)> for Version {
    fn from((timeline, position): (u64, u64)) -> Self {
        Self::from(u128::from(timeline) << 64 | u128::from(position))
    }
}

impl fmt::Debug for Version {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Version({:#x})", u128::from_be_bytes(self.0))
    }
}

/// How new a row must be that a load may bring: what
/// [`invalidate_at`](crate::CacheAside::invalidate_at) has left behind. Where a
/// source has replicas that lag, this says whether one of them will do.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum VersionFloor {
    /// No recent invalidation named a version: any replica will do.
    None,
    /// Read where this version, or a later one, is visible.
    AtLeast(Version),
    /// What was known is lost, was never known, or is out of reach: read the
    /// primary.
    Unknown,
}

impl VersionFloor {
    /// What holds for a load of two rows.
    #[must_use]
    pub fn and(self, other: Self) -> Self {
        match (self, other) {
            (Self::Unknown, _) | (_, Self::Unknown) => Self::Unknown,
            (Self::AtLeast(a), Self::AtLeast(b)) => Self::AtLeast(a.max(b)),
            (floor @ Self::AtLeast(_), Self::None) | (Self::None, floor) => floor,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_stricter_floor_holds_for_both() {
        use VersionFloor::{AtLeast, None, Unknown};
        let [low, high] = [1_u64, 2].map(|n| AtLeast(Version::from(n)));
        for (a, b, both) in [
            (None, None, None),
            (None, low, low),
            (low, high, high),
            (high, Unknown, Unknown),
            (None, Unknown, Unknown),
        ] {
            assert_eq!((a.and(b), b.and(a)), (both, both));
        }
    }
}
