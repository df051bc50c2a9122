//! Where a read goes: the policy, with what is known, and with waiting.

use std::pin::pin;
use std::sync::atomic::Ordering;

use tokio::time::{Instant, timeout_at};
use tracing::debug;

use super::Core;
use crate::balance::{Load, pick};
use crate::level::Level;
use crate::lsn::{Lsn, Position};
use crate::metrics::Cause;
use crate::policy::choose::{Candidate, Choice, Need, Why, choose};
use crate::policy::{Floor, Known};
use crate::scope::ConsistencyScope;
use crate::server::Counted;
use crate::token::{Floors, Sticky};

/// Where a read goes next.
#[derive(Debug)]
pub(super) enum Spot {
    Replica { index: usize, identity: Sticky, floor: Option<Lsn> },
    Primary(Cause),
}

/// One read, from server to server until it is answered.
#[derive(Debug)]
pub(super) struct Reading<'a> {
    pub(super) core: &'a Core,
    pub(super) scope: ConsistencyScope,
    pub(super) level: Level,
    /// A bit per server that has failed it.
    pub(super) excluded: u64,
    pub(super) attempts: u32,
    deadline: Option<Instant>,
    asked: bool,
}

enum Placed {
    At {
        write: Option<Lsn>,
        read: Option<Lsn>,
    },
    /// Once more, with a better picture.
    Again,
    Unknowable,
}

impl<'a> Reading<'a> {
    pub(super) fn new(core: &'a Core, level: Option<Level>) -> Self {
        let (scope, level) = core.session(level);
        Self { core, scope, level, excluded: 0, attempts: 0, deadline: None, asked: false }
    }

    pub(super) async fn place(&mut self) -> Spot {
        if self.level == Level::Primary {
            return Spot::Primary(Cause::Asked);
        }
        loop {
            let view = self.core.cluster.view();
            let Some(known) = view.known() else { return Spot::Primary(Cause::NoReplica) };
            let floors = self.scope.floors().clone();
            if self.is_pinned(&floors) {
                return Spot::Primary(Cause::Pinned);
            }
            let (write, read) = match self.floors(&floors, known).await {
                Placed::At { write, read } => (write, read),
                Placed::Again => continue,
                Placed::Unknowable => return Spot::Primary(Cause::Behind),
            };
            let need = Need {
                write,
                read,
                sticky: floors.sticky.filter(|_| self.level == Level::Session),
                max_lag: self.core.settings.max_lag,
                max_wait: self.core.settings.max_wait,
                excluded: self.excluded,
            };
            match choose(&view.candidates, &need) {
                Choice::Stay(index) => {
                    return self.at(index, &view.candidates, write.max(read));
                }
                Choice::AnyOf(set) => {
                    let index = self.pick(set);
                    let spot = self.at(index, &view.candidates, write.max(read));
                    if self.level == Level::Session {
                        // At once, so that a read beside this one goes there too.
                        self.scope.moved_to(Some(view.candidates[index].identity), None);
                    }
                    return spot;
                }
                Choice::Leave => {
                    self.core.metrics.moves();
                    let position = if cfg!(broken = "cached_read_floor") {
                        let Known { system, timeline, insert: lsn, .. } = known;
                        Some(Position { system, timeline, lsn })
                    } else {
                        Box::pin(self.core.ask()).await
                    };
                    let Some(position) = position else {
                        return Spot::Primary(Cause::NoReplica);
                    };
                    self.scope.moved_to(None, Some(position));
                }
                Choice::WaitFor(index) => {
                    if !Box::pin(self.wait(index, write.max(read))).await {
                        return Spot::Primary(Cause::Behind);
                    }
                }
                Choice::None(Why::Behind) => return Spot::Primary(Cause::Behind),
                Choice::None(Why::NoReplica) => return Spot::Primary(Cause::NoReplica),
            }
        }
    }

    fn at(&self, index: usize, candidates: &[Candidate], floor: Option<Lsn>) -> Spot {
        Spot::Replica { index, identity: candidates[index].identity, floor }
    }

    fn is_pinned(&self, floors: &Floors) -> bool {
        if floors.pin_until.0 == 0 || self.level == Level::Eventual {
            return false;
        }
        let now = self.core.settings.clock.now();
        let longest = match self.level {
            Level::PinWindow(window) => window.max(self.core.settings.unknown_pin),
            _ => self.core.settings.unknown_pin,
        };
        if floors.pin_until > now.after(longest) {
            // No process of this service has set that.
            self.core.metrics.clamps();
            self.scope.floors().pin_until = crate::clock::Millis(0);
            return false;
        }
        floors.pin_until > now
    }

    /// What the session's floors mean here.
    async fn floors(&mut self, floors: &Floors, known: Known) -> Placed {
        if !matches!(self.level, Level::ReadYourWrites | Level::Session) {
            return Placed::At { write: None, read: None };
        }
        let read = floors.read.filter(|_| self.level == Level::Session);
        let mut placed = [None, None];
        for (index, floor) in [floors.write, read].into_iter().enumerate() {
            let Some(floor) = floor else { continue };
            match known.place(floor) {
                Floor::At(lsn) => placed[index] = Some(lsn),
                Floor::Lost(lsn) => {
                    self.core.metrics.lost_writes();
                    debug!(lost = %floor.lsn, timeline = floor.timeline, "a write is lost");
                    let survived = Position { lsn, timeline: known.timeline, ..floor };
                    self.replace(index, floor, Some(survived));
                    placed[index] = Some(lsn);
                }
                Floor::Ahead if !self.asked && !cfg!(broken = "cached_clamp") => {
                    self.asked = true;
                    if floor.timeline > known.timeline {
                        Box::pin(self.core.look_again()).await;
                    }
                    return match Box::pin(self.core.ask()).await {
                        Some(_) => Placed::Again,
                        None => Placed::Unknowable,
                    };
                }
                Floor::Ahead | Floor::Foreign => {
                    self.core.metrics.clamps();
                    self.replace(index, floor, None);
                }
            }
        }
        Placed::At { write: placed[0], read: placed[1] }
    }

    fn replace(&self, index: usize, old: Position, new: Option<Position>) {
        let mut floors = self.scope.floors();
        let floor = if index == 0 { &mut floors.write } else { &mut floors.read };
        if *floor == Some(old) {
            *floor = new;
        }
    }

    fn pick(&self, set: u64) -> usize {
        let servers = &self.core.cluster.servers;
        let full = (0..servers.len())
            .filter(|index| set & (1 << index) != 0 && servers[*index].pool.is_full())
            .fold(0, |full, index| full | 1 << index);
        let set = if set == full { set } else { set & !full };
        let load = |index: usize| {
            let server = &servers[index];
            Load {
                in_flight: server.in_flight.load(Ordering::Relaxed),
                latency: server.latency(),
                weight: server.weight,
                near: server.near,
            }
        };
        let mut rng = fastrand::Rng::new();
        pick(self.core.settings.balance, set, &self.core.turn, &mut rng, load)
    }

    /// Waits for the replica to be asked again. False once `max_wait` is over.
    async fn wait(&mut self, index: usize, floor: Option<Lsn>) -> bool {
        let server = &self.core.cluster.servers[index];
        let max_wait = self.core.settings.max_wait;
        if max_wait.is_zero() {
            return false;
        }
        let deadline = *self.deadline.get_or_insert_with(|| {
            self.core.metrics.waits();
            Instant::now() + max_wait
        });
        let _waiting = Counted::one_more(&server.waiters);
        let mut progress = pin!(server.progress.notified());
        progress.as_mut().enable();
        server.nudge.notify_one();
        // It may have come in between.
        if Some(self.core.cluster.view().candidates[index].replayed) >= floor {
            return true;
        }
        let in_time = timeout_at(deadline, progress).await.is_ok();
        if !in_time {
            self.core.metrics.wait_timeouts();
        }
        in_time
    }
}
