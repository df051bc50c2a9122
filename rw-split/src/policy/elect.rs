//! Which server is the primary, and which may serve reads.

use crate::lsn::Lsn;

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Role {
    Primary,
    Standby,
}

/// What one server said about itself, last.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Observation {
    pub(crate) role: Role,
    pub(crate) system: u64,
    /// When it started, or recovered from a crash, in microseconds since 2000.
    pub(crate) started: i64,
    /// Of a primary, its timeline; of a standby, the newest that it is proven to follow.
    pub(crate) timeline: u32,
    /// What is written, or replayed.
    pub(crate) lsn: Lsn,
}

impl Observation {
    /// What is known after `next`: within one life of a standby, what was proven
    /// stays so, and a smaller position is an old answer that comes late.
    pub(crate) fn follow(self, next: Self) -> Self {
        let same =
            (self.system, self.started, self.role) == (next.system, next.started, next.role);
        if !same {
            return next;
        }
        Self { timeline: self.timeline.max(next.timeline), lsn: self.lsn.max(next.lsn), ..next }
    }
}

/// The primary that was elected.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Elected {
    pub(crate) index: usize,
    pub(crate) system: u64,
    pub(crate) timeline: u32,
}

/// The primary among `servers` (unreachable ones are `None`), given the one
/// before. The highest timeline wins. A server that is writable on a timeline
/// that was left, or on the current one beside the one that has it, is none: the
/// history that it writes is not the cluster's.
pub(crate) fn elect(
    servers: &[Option<Observation>],
    before: Option<Elected>,
) -> Option<Elected> {
    let mut elected = before;
    let writable = servers.iter().enumerate().filter_map(|(index, server)| {
        let server = server.as_ref().filter(|server| server.role == Role::Primary)?;
        Some((index, server))
    });
    for (index, server) in writable {
        let better = match elected {
            None => true,
            Some(elected) => {
                server.system == elected.system && server.timeline > elected.timeline
            }
        };
        if better {
            let Observation { system, timeline, .. } = *server;
            elected = Some(Elected { index, system, timeline });
        }
    }
    elected
}

/// Whether what `server` replays is the history that `elected` writes.
pub(crate) fn is_trusted(server: &Observation, elected: Elected) -> bool {
    server.role == Role::Standby
        && server.system == elected.system
        && (server.timeline == elected.timeline || cfg!(broken = "bare_lsn"))
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn server(role: Role, timeline: u32, lsn: u64) -> Option<Observation> {
        Some(Observation { role, system: 7, started: 1, timeline, lsn: Lsn(lsn) })
    }

    fn elected(index: usize, timeline: u32) -> Option<Elected> {
        Some(Elected { index, system: 7, timeline })
    }

    use Role::{Primary, Standby};

    #[test]
    fn the_writable_server_is_the_primary() {
        let servers = [server(Standby, 1, 9), server(Primary, 1, 9), None];
        assert_eq!(elect(&servers, None), elected(1, 1));
    }

    #[test]
    fn the_higher_timeline_wins_over_an_old_primary_that_still_writes() {
        let servers = [server(Primary, 1, 900), server(Primary, 2, 100)];
        assert_eq!(elect(&servers, elected(0, 1)), elected(1, 2));
        assert_eq!(elect(&servers, None), elected(1, 2));
    }

    #[test]
    fn an_old_primary_does_not_come_back_while_the_new_one_is_away() {
        let servers = [server(Primary, 1, 900), None];
        assert_eq!(elect(&servers, elected(1, 2)), elected(1, 2));
    }

    #[test]
    fn a_second_server_on_the_same_timeline_changes_nothing() {
        let servers = [server(Primary, 2, 900), server(Primary, 2, 100)];
        assert_eq!(elect(&servers, elected(1, 2)), elected(1, 2));
    }

    #[test]
    fn a_server_of_another_cluster_is_never_elected_over_ours() {
        let foreign = Some(Observation { system: 8, ..server(Primary, 9, 1).unwrap() });
        assert_eq!(elect(&[foreign, None], elected(1, 2)), elected(1, 2));
    }

    #[test]
    fn a_standby_is_trusted_once_it_follows_the_new_timeline() {
        let elected = elected(0, 2).unwrap();
        assert!(!is_trusted(&server(Standby, 1, 999).unwrap(), elected));
        assert!(is_trusted(&server(Standby, 2, 1).unwrap(), elected));
        assert!(!is_trusted(&server(Primary, 2, 1).unwrap(), elected));
    }

    #[test]
    fn observations_of_one_life_only_grow_and_a_restart_forgets() {
        let old = server(Standby, 2, 50).unwrap();
        let late = server(Standby, 1, 40).unwrap();
        assert_eq!(old.follow(late), old);
        let restarted = Observation { started: 2, ..late };
        assert_eq!(old.follow(restarted), restarted);
        let promoted = server(Primary, 3, 45).unwrap();
        assert_eq!(old.follow(promoted), promoted);
    }

    proptest! {
        /// Whatever servers come and go, the timeline never goes back.
        #[test]
        fn the_elected_timeline_never_goes_back(
            rounds in prop::collection::vec(
                prop::collection::vec(prop::option::of((any::<bool>(), 1_u32..5)), 3), 1..20)
        ) {
            let mut now = None;
            for round in rounds {
                let servers: Vec<_> = round
                    .into_iter()
                    .map(|known| known.and_then(|(writes, timeline)| {
                        server(if writes { Primary } else { Standby }, timeline, 1)
                    }))
                    .collect();
                let next = elect(&servers, now);
                if let (Some(now), Some(next)) = (now, next) {
                    prop_assert!(next.timeline >= now.timeline);
                    prop_assert!(next.timeline > now.timeline || next == now);
                }
                now = next;
            }
        }
    }
}
