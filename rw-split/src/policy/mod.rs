//! The decisions, as plain functions of what is known.

pub(crate) mod choose;
pub(crate) mod elect;
pub(crate) mod lag;
pub(crate) mod retry;

use crate::lsn::{Lsn, Position};

/// What is known of the cluster as a whole.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Known {
    pub(crate) system: u64,
    /// The newest timeline that a server was seen on.
    pub(crate) timeline: u32,
    /// Where its primary was first seen on this timeline: at or behind the point
    /// where it branched off.
    pub(crate) since: Lsn,
    /// The primary has come at least this far. It is further by now.
    pub(crate) insert: Lsn,
}

/// What a session's floor means to this cluster.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Floor {
    /// A replica of the timeline that has replayed this far has it.
    At(Lsn),
    /// As `At`, but some of what was written before the promotion is lost.
    Lost(Lsn),
    /// Further than the primary is known to be: only the primary itself can tell.
    Ahead,
    /// Of another cluster.
    Foreign,
}

impl Known {
    pub(crate) fn place(&self, floor: Position) -> Floor {
        if cfg!(broken = "bare_lsn") {
            return Floor::At(floor.lsn);
        }
        if floor.system != self.system {
            return Floor::Foreign;
        }
        if floor.timeline < self.timeline {
            // What survived the promotion is before `since`; how far exactly it
            // survived is not known, so nothing less will do.
            return if floor.lsn > self.since {
                Floor::Lost(self.since)
            } else {
                Floor::At(self.since)
            };
        }
        if floor.timeline > self.timeline || floor.lsn > self.insert {
            return Floor::Ahead;
        }
        Floor::At(floor.lsn)
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    const KNOWN: Known = Known { system: 7, timeline: 2, since: Lsn(100), insert: Lsn(200) };

    fn place(system: u64, timeline: u32, lsn: u64) -> Floor {
        KNOWN.place(Position { system, timeline, lsn: Lsn(lsn) })
    }

    #[test]
    fn a_floor_of_this_timeline_stands_as_it_is() {
        assert_eq!(place(7, 2, 150), Floor::At(Lsn(150)));
        assert_eq!(place(7, 2, 200), Floor::At(Lsn(200)));
    }

    #[test]
    fn a_floor_from_before_a_promotion_means_all_that_survived_it() {
        assert_eq!(place(7, 1, 50), Floor::At(Lsn(100)));
        assert_eq!(place(7, 1, 101), Floor::Lost(Lsn(100)));
    }

    #[test]
    fn only_the_primary_can_judge_what_is_ahead_of_it() {
        assert_eq!(place(7, 2, 201), Floor::Ahead);
        assert_eq!(place(7, 3, 1), Floor::Ahead);
        assert_eq!(place(8, 2, 1), Floor::Foreign);
    }

    proptest! {
        #[test]
        fn no_floor_is_lowered_but_by_a_promotion(timeline in 0_u32..4, lsn: u64) {
            match place(7, timeline, lsn) {
                Floor::At(at) => prop_assert!(at >= Lsn(lsn) || timeline < 2),
                Floor::Lost(_) => prop_assert!(timeline < 2),
                Floor::Ahead => prop_assert!(timeline > 2 || lsn > 200),
                Floor::Foreign => prop_assert!(false),
            }
        }
    }
}
