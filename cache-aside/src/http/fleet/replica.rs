//! What this server knows of the log: up to where, and when what was purged.

use super::super::entry::{Place, Shared};
use super::super::marks::{STRIPES, stripe_of};
use super::event::Event;
use super::page::Sheet;
use crate::shared::{Life, Position};

/// Bits of a place that are a count.
const COUNT: u32 = 48;

/// The tables as they were at a position, and what is known beyond it.
#[derive(Debug)]
pub(super) struct Replica {
    position: Option<Position>,
    /// This process's own number of the life; 0 before there is one.
    number: u16,
    /// How often it was lost.
    losses: u64,
    purged: Box<[u64]>,
    outdated: Box<[u64]>,
}

/// How it stands with what another server has stored.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Worth {
    Good,
    /// It was made stale since.
    Outdated,
    /// It was purged since, or nobody can tell.
    Nothing,
}

impl Replica {
    pub(super) fn new() -> Self {
        Self {
            position: None,
            number: 0,
            losses: 0,
            purged: vec![0; STRIPES].into(),
            outdated: vec![0; STRIPES].into(),
        }
    }

    pub(super) fn position(&self) -> Option<Position> {
        self.position
    }

    /// Forgets where it is, so that it begins anew.
    pub(super) fn lose(&mut self) {
        self.position = None;
        self.losses += 1;
    }

    /// News that were asked for before a loss are from before it.
    pub(super) fn losses(&self) -> u64 {
        self.losses
    }

    /// The position, for what is asked for from now on.
    pub(super) fn place(&self) -> Place {
        let count = self.position.map_or(0, |position| position.count);
        (u64::from(self.number) << COUNT) | count
    }

    /// The count of a place, if it is of the life that this is in.
    fn count(&self, place: Place) -> Option<u64> {
        let known = self.number != 0 && place >> COUNT == u64::from(self.number);
        known.then_some(place & ((1 << COUNT) - 1))
    }

    /// The life and the counts of a response's moments, to be told to others.
    pub(super) fn told(&self, shared: Shared) -> Option<(Life, u64, u64)> {
        let life = self.position?.life;
        Some((life, self.count(shared.since)?, self.count(shared.fresh_since)?))
    }

    /// The moments of a response of this life, by this process's places.
    pub(super) fn shared(&self, sheet: &Sheet) -> Shared {
        let place =
            |count: u64| (u64::from(self.number) << COUNT) | (count & ((1 << COUNT) - 1));
        Shared { since: place(sheet.since), fresh_since: place(sheet.fresh_since) }
    }

    pub(super) fn begin(
        &mut self,
        position: Position,
        purged: &[(u16, u64)],
        outdated: &[(u16, u64)],
    ) {
        // Always a new number: what is stored from before does not go on.
        self.number = self.number.checked_add(1).unwrap_or(1);
        self.position = Some(position);
        for (table, moments) in [(&mut self.purged, purged), (&mut self.outdated, outdated)] {
            table.fill(0);
            for (at, count) in moments {
                let moment = &mut table[usize::from(*at) % STRIPES];
                *moment = (*moment).max(*count);
            }
        }
    }

    /// Notes what was announced as the `count`th in that life. False if this is in another.
    pub(super) fn note(&mut self, life: Life, event: &Event, count: u64) -> bool {
        if self.position.is_none_or(|position| position.life != life) {
            return false;
        }
        let moment = match event {
            Event::Purged(mark) => &mut self.purged[stripe_of(*mark)],
            Event::Outdated(mark) => &mut self.outdated[stripe_of(*mark)],
            Event::Uri(_) | Event::All => return true,
        };
        *moment = (*moment).max(count);
        true
    }

    /// All up to there was noted.
    pub(super) fn advance(&mut self, position: Position) {
        self.position = Some(position);
    }

    pub(super) fn worth(
        &self,
        life: Life,
        marks: &[u64],
        since: u64,
        fresh_since: u64,
    ) -> Worth {
        let same = self.position.is_some_and(|position| position.life == life);
        if !same && !cfg!(broken = "http_life") {
            return Worth::Nothing;
        }
        let held =
            |table: &[u64], since| marks.iter().all(|mark| table[stripe_of(*mark)] <= since);
        if !held(&self.purged, since) && !cfg!(broken = "http_clocks") {
            Worth::Nothing
        } else if held(&self.outdated, fresh_since) {
            Worth::Good
        } else {
            Worth::Outdated
        }
    }
}

#[cfg(test)]
mod tests {
    use proptest::collection::vec;
    use proptest::prelude::*;

    use super::*;

    const LIFE: Life = Life([1; 36]);

    fn at(count: u64) -> Position {
        Position { life: LIFE, count }
    }

    #[test]
    fn nothing_is_of_worth_before_it_knows_or_in_another_life() {
        let mut replica = Replica::new();
        assert_eq!(replica.worth(LIFE, &[], 9, 9), Worth::Nothing);
        assert_eq!(replica.told(Shared::default()), None);
        replica.begin(at(9), &[(7, 3)], &[(7, 9)]);
        assert_eq!(replica.worth(LIFE, &[8], 2, 9), Worth::Good);
        assert_eq!(replica.worth(LIFE, &[7, 8], 2, 9), Worth::Nothing);
        assert_eq!(replica.worth(LIFE, &[7], 3, 8), Worth::Outdated);
        assert_eq!(replica.worth(Life([2; 36]), &[8], 9, 9), Worth::Nothing);
        let shared = Shared { since: replica.place(), fresh_since: replica.place() };
        assert_eq!(replica.told(shared), Some((LIFE, 9, 9)));
        replica.begin(at(9), &[], &[]);
        assert_eq!(replica.told(shared), None, "what was there before does not go on");
        assert!(!replica.note(Life([2; 36]), &Event::Purged(7), 10));
        assert_eq!(replica.worth(LIFE, &[7], 0, 0), Worth::Good, "of another life");
        replica.lose();
        assert_eq!(replica.worth(LIFE, &[7], 0, 0), Worth::Nothing);
    }

    proptest! {
        /// Against the plain rule: what was asked for after `since` announcements is purged by
        /// a later one of a mark that it has, whether it was heard of one by one, late and
        /// twice, or at once.
        #[test]
        fn a_purge_reaches_all_that_was_asked_for_before(
            events in vec((0_u64..4, any::<bool>()), 0..12),
            marks in vec(0_u64..4, 0..3),
            moments in [0_u64..13, 0_u64..13],
            anew in 0_usize..13,
        ) {
            let event = |(mark, soft): &(u64, bool)| {
                if *soft { Event::Outdated(*mark) } else { Event::Purged(*mark) }
            };
            let [since, fresh_since] = moments;
            let mut replica = Replica::new();
            let anew = anew.min(events.len());
            let table = |soft| {
                let early = events[..anew].iter().enumerate();
                let mine = early.filter(|(_, event)| event.1 == soft);
                mine.map(|(n, event)| (event.0 as u16, n as u64 + 1)).collect::<Vec<_>>()
            };
            replica.begin(at(anew as u64), &table(false), &table(true));
            for (n, told) in events.iter().enumerate().skip(anew) {
                replica.note(LIFE, &event(told), n as u64 + 1);
                replica.note(LIFE, &event(&events[anew]), anew as u64 + 1);
                replica.advance(at(n as u64 + 1));
            }
            let reaches = |soft, since| {
                events.iter().enumerate().any(|(n, event)| {
                    event.1 == soft && n as u64 + 1 > since && marks.contains(&event.0)
                })
            };
            let expected = match (reaches(false, since), reaches(true, fresh_since)) {
                (true, _) => Worth::Nothing,
                (false, true) => Worth::Outdated,
                (false, false) => Worth::Good,
            };
            prop_assert_eq!(replica.worth(LIFE, &marks, since, fresh_since), expected);
        }
    }
}
