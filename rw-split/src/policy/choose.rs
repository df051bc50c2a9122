//! Where one read goes.

use std::time::Duration;

use crate::lsn::Lsn;
use crate::token::Sticky;

/// More servers than this cannot be configured: sets of them are one word.
pub(crate) const MOST_SERVERS: usize = 64;

/// A replica, as far as a read is concerned.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Candidate {
    /// It is reachable, and trusted to replay the primary's history.
    pub(crate) usable: bool,
    pub(crate) identity: Sticky,
    /// Every snapshot that it takes from now on shows at least this.
    pub(crate) replayed: Lsn,
    /// How far behind it seems to be, in time.
    pub(crate) lag: Duration,
}

/// What a read needs.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Need {
    /// What the session has written.
    pub(crate) write: Option<Lsn>,
    /// What the session has seen.
    pub(crate) read: Option<Lsn>,
    /// Where it has seen it last; `None` below the level `Session`.
    pub(crate) sticky: Option<Sticky>,
    /// Replicas that are further behind are of no use to anybody.
    pub(crate) max_lag: Duration,
    /// How long a read may wait for a replica.
    pub(crate) max_wait: Duration,
    /// A bit per server that failed this read already.
    pub(crate) excluded: u64,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Choice {
    /// Stay on this one.
    Stay(usize),
    /// Any of these (a bit each) will do.
    AnyOf(u64),
    /// The session leaves its replica for another: its floor has to be raised first.
    Leave,
    /// None is fresh enough yet; this one will be soonest, and soon enough.
    WaitFor(usize),
    /// None will do in time.
    None(Why),
}

/// Why a read did not go to a replica; a metric's label.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Why {
    /// No replica is reachable and trusted.
    NoReplica,
    /// All of them are behind what the session needs.
    Behind,
}

pub(crate) fn choose(candidates: &[Candidate], need: &Need) -> Choice {
    let usable = |index: usize, candidate: &Candidate| {
        candidate.usable && candidate.lag <= need.max_lag && need.excluded & (1 << index) == 0
    };
    if cfg!(broken = "random_routing") {
        let all = (0..candidates.len()).filter(|index| usable(*index, &candidates[*index]));
        let all = all.fold(0, |set, index| set | 1 << index);
        return if all == 0 { Choice::None(Why::NoReplica) } else { Choice::AnyOf(all) };
    }
    let floor = need.write.max(need.read);
    let has = |candidate: &Candidate| floor.is_none_or(|floor| candidate.replayed >= floor);
    if let Some(sticky) = need.sticky {
        let mut others = candidates.iter().enumerate().filter(|(index, candidate)| {
            candidate.identity != sticky && usable(*index, candidate)
        });
        let own = candidates.iter().enumerate().find(|(index, candidate)| {
            candidate.identity == sticky && usable(*index, candidate)
        });
        return match own {
            Some((index, candidate)) if has(candidate) => Choice::Stay(index),
            // It comes along; leaving costs a question.
            Some((index, candidate)) if candidate.lag <= need.max_wait => {
                Choice::WaitFor(index)
            }
            // It is left for one that is better, and not for the primary.
            Some(_) if others.any(|(_, other)| has(other)) => Choice::Leave,
            Some(_) => Choice::None(Why::Behind),
            None if others.next().is_some() => Choice::Leave,
            None => Choice::None(Why::NoReplica),
        };
    }

    let (mut fresh, mut soonest) = (0_u64, None::<(usize, &Candidate)>);
    for (index, candidate) in candidates.iter().enumerate() {
        if !usable(index, candidate) {
            continue;
        }
        if has(candidate) {
            fresh |= 1 << index;
        } else if soonest.is_none_or(|(_, other)| candidate.replayed > other.replayed) {
            soonest = Some((index, candidate));
        }
    }
    match soonest {
        _ if fresh != 0 => Choice::AnyOf(fresh),
        None => Choice::None(Why::NoReplica),
        Some((index, candidate)) if candidate.lag <= need.max_wait => Choice::WaitFor(index),
        Some(_) => Choice::None(Why::Behind),
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    const NEED: Need = Need {
        write: None,
        read: None,
        sticky: None,
        max_lag: Duration::from_secs(30),
        max_wait: Duration::from_millis(20),
        excluded: 0,
    };

    fn identity(server: u32) -> Sticky {
        Sticky { server, started: 1 }
    }

    fn at(server: u32, replayed: u64) -> Candidate {
        let (identity, lag) = (identity(server), Duration::ZERO);
        Candidate { usable: true, identity, replayed: Lsn(replayed), lag }
    }

    #[test]
    fn all_fresh_replicas_may_serve() {
        let need = Need { write: Some(Lsn(5)), ..NEED };
        assert_eq!(choose(&[at(0, 4), at(1, 5), at(2, 6)], &need), Choice::AnyOf(0b110));
    }

    #[test]
    fn a_session_stays_where_it_was() {
        let need = Need { sticky: Some(identity(1)), read: Some(Lsn(9)), ..NEED };
        assert_eq!(choose(&[at(0, 99), at(1, 9)], &need), Choice::Stay(1));
    }

    #[test]
    fn a_session_leaves_a_replica_that_is_behind_or_gone_or_new() {
        let need = Need { sticky: Some(identity(1)), write: Some(Lsn(9)), ..NEED };
        let late = Candidate { lag: Duration::from_secs(1), ..at(1, 5) };
        assert_eq!(choose(&[at(0, 99), late], &need), Choice::Leave);
        assert_eq!(choose(&[at(0, 99)], &need), Choice::Leave);
        let mut restarted = at(1, 99);
        restarted.identity.started = 2;
        assert_eq!(choose(&[restarted], &need), Choice::Leave);
        // Nothing better is there, or it will be there in a moment.
        assert_eq!(choose(&[at(0, 8), late], &need), Choice::None(Why::Behind));
        assert_eq!(choose(&[at(0, 99), at(1, 5)], &need), Choice::WaitFor(1));
        assert_eq!(choose(&[], &need), Choice::None(Why::NoReplica));
    }

    #[test]
    fn waiting_is_for_a_replica_that_will_make_it() {
        let need = Need { read: Some(Lsn(9)), ..NEED };
        assert_eq!(choose(&[at(0, 7), at(1, 8)], &need), Choice::WaitFor(1));
        let late = Candidate { lag: Duration::from_secs(1), ..at(1, 8) };
        assert_eq!(choose(&[late], &need), Choice::None(Why::Behind));
        let gone = Candidate { usable: false, ..at(1, 99) };
        assert_eq!(choose(&[gone], &need), Choice::None(Why::NoReplica));
    }

    proptest! {
        /// Whatever is chosen has what was written, and what was seen elsewhere.
        #[test]
        fn nothing_stale_is_ever_chosen(
            replicas in prop::collection::vec((any::<bool>(), 0_u64..9, 0_u64..40), 0..5),
            write in prop::option::of(0_u64..9),
            read in prop::option::of(0_u64..9),
            sticky in prop::option::of(0_u32..5),
            excluded in 0_u64..32,
        ) {
            let candidates: Vec<_> = replicas.iter().enumerate().map(|(index, replica)| {
                let &(usable, replayed, lag) = replica;
                let server = u32::try_from(index).unwrap();
                Candidate { usable, lag: Duration::from_millis(lag), ..at(server, replayed) }
            }).collect();
            let (write, read) = (write.map(Lsn), read.map(Lsn));
            let sticky = sticky.map(identity);
            let need = Need { write, read, sticky, excluded, ..NEED };
            let fine = |index: usize| {
                candidates[index].usable && excluded & (1 << index) == 0
            };
            match choose(&candidates, &need) {
                Choice::Stay(index) => {
                    let replayed = Some(candidates[index].replayed);
                    prop_assert!(fine(index) && replayed >= write && replayed >= read);
                    prop_assert_eq!(Some(candidates[index].identity), sticky);
                }
                Choice::AnyOf(set) => {
                    prop_assert!(set != 0 && sticky.is_none());
                    for index in (0..64).filter(|index| set & (1 << index) != 0) {
                        let replayed = Some(candidates[index].replayed);
                        prop_assert!(fine(index) && replayed >= write && replayed >= read);
                    }
                }
                Choice::WaitFor(index) => prop_assert!(fine(index)),
                Choice::Leave => prop_assert!(sticky.is_some()),
                Choice::None(_) => {}
            }
        }
    }
}
