//! The processes that there are, and what is done to them.

use std::sync::Arc;
use std::{error, fmt, io};

use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;
use tokio::process::{Child, Command};
use tokio::time::Instant;

use super::turn::{Member, Stage, Strikes};
use crate::controller::{SystemClock, WallClock};
use crate::observation::{Instance, InstanceId, Phase};
use crate::time::EpochMillis;

#[derive(Default)]
pub(super) struct Fleet {
    pub(super) target: u32,
    /// Started beyond the target, while others are replaced.
    pub(super) spare: u32,
    pub(super) next: u64,
    pub(super) processes: Vec<Process>,
    pub(super) strikes: Strikes,
    pub(super) crashed: u64,
    /// How often it was told what there is.
    pub(super) told: u64,
    pub(super) last_error: Option<Arc<ProcessError>>,
}

pub(super) struct Process {
    pub(super) child: Child,
    pub(super) member: Member,
    pub(super) started: EpochMillis,
    pub(super) changed: EpochMillis,
    pub(super) in_flight: u32,
}

/// Why a process is not there.
#[derive(Debug)]
#[non_exhaustive]
pub enum ProcessError {
    /// It could not be started.
    Start(io::Error),
    /// It has ended by itself.
    Ended {
        /// Which one.
        id: InstanceId,
        /// How.
        status: String,
    },
    /// It was not ready in time, and was ended.
    NeverReady {
        /// Which one.
        id: InstanceId,
    },
}

impl fmt::Display for ProcessError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Start(error) => write!(f, "an instance could not be started: {error}"),
            Self::Ended { id, status } => {
                write!(f, "instance {id} has ended by itself: {status}")
            }
            Self::NeverReady { id } => write!(f, "instance {id} was not ready in time"),
        }
    }
}

impl error::Error for ProcessError {
    fn source(&self) -> Option<&(dyn error::Error + 'static)> {
        match self {
            Self::Start(error) => Some(error),
            Self::Ended { .. } | Self::NeverReady { .. } => None,
        }
    }
}

impl Process {
    pub(super) fn instance(&self) -> Instance {
        let phase = match self.member.stage {
            Stage::Unready(_) => Phase::Warming,
            Stage::Ready => Phase::Ready,
            Stage::Draining(_) | Stage::Killed => Phase::Draining,
        };
        Instance::new(self.member.id, phase, self.started)
            .changed(self.changed)
            .in_flight(self.in_flight)
    }

    pub(super) fn signal(&self, signal: Signal) {
        // None once it was reaped, so the number is never another's.
        let Some(id) = self.child.id().and_then(|id| i32::try_from(id).ok()) else { return };
        // It may have ended just now.
        let _ = kill(Pid::from_raw(id), signal);
    }

    /// Whether it is ready.
    pub(super) fn answered(
        &mut self,
        answer: Option<u32>,
        now: Instant,
        at: EpochMillis,
    ) -> bool {
        let next = match (self.member.stage, answer) {
            (Stage::Unready(_), Some(_)) => Stage::Ready,
            (Stage::Ready, None) => Stage::Unready(now),
            (stage, _) => stage,
        };
        if next != self.member.stage {
            (self.member.stage, self.changed) = (next, at);
        }
        self.in_flight = answer.unwrap_or_default();
        next == Stage::Ready
    }
}

impl Fleet {
    pub(super) fn wanted(&self) -> u32 {
        self.target.saturating_add(self.spare)
    }

    pub(super) fn find(&self, id: InstanceId) -> Option<&Process> {
        self.processes.iter().find(|process| process.member.id == id)
    }

    pub(super) fn find_mut(&mut self, id: InstanceId) -> Option<&mut Process> {
        self.processes.iter_mut().find(|process| process.member.id == id)
    }

    pub(super) fn lost(&mut self, error: ProcessError, now: Instant) {
        self.strikes.struck(now);
        self.last_error = Some(Arc::new(error));
    }

    pub(super) fn reap(&mut self, now: Instant) {
        let mut ended = Vec::new();
        self.processes.retain_mut(|process| match process.child.try_wait() {
            Ok(None) => true,
            Ok(Some(status)) => {
                ended.push((process.member, status.to_string()));
                false
            }
            // Nobody else waits for it, so this cannot be; and if it is, it stays.
            Err(_) => true,
        });
        for (member, status) in ended {
            if member.counts() {
                self.crashed += 1;
                self.lost(ProcessError::Ended { id: member.id, status }, now);
            }
        }
    }

    pub(super) fn start(&mut self, launch: &dyn Fn(InstanceId) -> Command, now: Instant) {
        let id = InstanceId::new(self.next);
        self.next += 1;
        let at = SystemClock.now();
        match launch(id).kill_on_drop(true).spawn() {
            Ok(child) => {
                let member = Member { id, stage: Stage::Unready(now) };
                let process = Process { child, member, started: at, changed: at, in_flight: 0 };
                self.processes.push(process);
            }
            Err(error) => self.lost(ProcessError::Start(error), now),
        }
    }

    /// What runs beyond what is wanted, in the order in which it goes: as was asked, then
    /// the youngest.
    pub(super) fn superfluous(&self, order: &[InstanceId]) -> Vec<InstanceId> {
        let mut counted: Vec<_> =
            self.processes.iter().map(|p| p.member).filter(Member::counts).collect();
        let excess = counted.len().saturating_sub(self.wanted() as usize);
        let rank = |id| order.iter().position(|other| *other == id).unwrap_or(usize::MAX);
        counted.sort_by_key(|member| (rank(member.id), std::cmp::Reverse(member.id)));
        counted.into_iter().take(excess).map(|member| member.id).collect()
    }

    pub(super) fn terminate(&mut self, id: InstanceId, now: Instant) {
        let Some(process) = self.find_mut(id) else { return };
        if !process.member.counts() {
            return;
        }
        (process.member.stage, process.changed) = (Stage::Draining(now), SystemClock.now());
        process.signal(Signal::SIGTERM);
    }

    pub(super) fn kill(&mut self, id: InstanceId) {
        let Some(process) = self.find_mut(id) else { return };
        process.member.stage = Stage::Killed;
        process.signal(Signal::SIGKILL);
    }
}
