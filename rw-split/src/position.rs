//! A position in the log, for those who keep one beside a copy of what was read.

use std::fmt;

use crate::lsn::{Lsn, Position};

/// How far the database had come: the version to invalidate a cache at, and to ask a
/// replica for. Later positions are greater, also across a promotion.
///
/// As 16 bytes, most significant first, it can be kept outside of the process and
/// compared there; a cache takes them for a version:
///
/// ```
/// use rw_split::WalPosition;
///
/// let kept: [u8; 16] = WalPosition::from([1; 16]).into();
/// assert!(WalPosition::from(kept) > WalPosition::from([0; 16]));
/// ```
///
/// Positions of two database clusters cannot be compared: forget what was kept when
/// the database is restored elsewhere.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct WalPosition {
    timeline: u64,
    lsn: u64,
}

impl WalPosition {
    /// In the history of this cluster.
    pub(crate) fn of(self, system: u64) -> Position {
        // One that no server can be on is ahead of all of them, and judged as such.
        let timeline = u32::try_from(self.timeline).unwrap_or(u32::MAX);
        Position { system, timeline, lsn: Lsn(self.lsn) }
    }
}

impl From<Position> for WalPosition {
    fn from(Position { timeline, lsn: Lsn(lsn), .. }: Position) -> Self {
        Self { timeline: timeline.into(), lsn }
    }
}

impl From<WalPosition> for [u8; 16] {
    fn from(WalPosition { timeline, lsn }: WalPosition) -> Self {
        (u128::from(timeline) << 64 | u128::from(lsn)).to_be_bytes()
    }
}

impl From<[u8; 16]> for WalPosition {
    fn from(bytes: [u8; 16]) -> Self {
        let number = u128::from_be_bytes(bytes);
        Self { timeline: (number >> 64) as u64, lsn: number as u64 }
    }
}

impl fmt::Debug for WalPosition {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} of timeline {}", Lsn(self.lsn), self.timeline)
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    proptest! {
        #[test]
        fn bytes_go_there_and_back(bytes: [u8; 16]) {
            prop_assert_eq!(<[u8; 16]>::from(WalPosition::from(bytes)), bytes);
        }

        #[test]
        fn bytes_are_ordered_as_positions_are(
            a in (0_u32..4, any::<u64>()), b in (0_u32..4, any::<u64>())
        ) {
            let position =
                |(timeline, lsn)| Position { system: 1, timeline, lsn: Lsn(lsn) };
            let [one, other] = [a, b].map(|at| WalPosition::from(position(at)));
            prop_assert_eq!(one.cmp(&other), a.cmp(&b));
            let bytes = |at: WalPosition| <[u8; 16]>::from(at);
            prop_assert_eq!(bytes(one).cmp(&bytes(other)), a.cmp(&b));
            prop_assert_eq!(one.of(1), position(a));
        }
    }

    #[test]
    fn an_impossible_timeline_is_ahead_of_every_server() {
        assert_eq!(WalPosition::from([0xFF; 16]).of(1).timeline, u32::MAX);
    }
}
