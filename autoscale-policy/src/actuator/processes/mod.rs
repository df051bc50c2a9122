//! A fleet of processes on this machine.

mod fleet;
mod turn;

use std::collections::HashMap;
use std::convert::Infallible;
use std::fmt;
use std::pin::Pin;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use futures_util::future::join_all;
use tokio::process::Command;
use tokio::sync::{Notify, watch};
use tokio::time::{Instant, sleep, timeout};

pub use self::fleet::ProcessError;
use self::fleet::{Fleet, Process};
use self::turn::{Care, Do, Stage, turn};
use super::{Actuator, Resize, Roster, Seen};
use crate::controller::{SystemClock, WallClock};
use crate::observation::{Instance, InstanceId};

type Probed = Pin<Box<dyn Future<Output = Option<u32>> + Send>>;

/// Processes on this machine: started, waited for until they are ready, replaced where
/// they crash, drained by SIGTERM, and reaped. Clones share them.
///
/// ```no_run
/// use autoscale_policy::{InstanceId, LocalProcesses};
/// use tokio::process::Command;
///
/// # async fn ready(id: InstanceId) -> Option<u32> { None }
/// # async fn example() {
/// let workers = LocalProcesses::new(
///     |id| {
///         let mut command = Command::new("worker");
///         command.arg(format!("--socket=/run/worker-{id}"));
///         command
///     },
///     |id| async move { ready(id).await }, // the requests in flight, if it is ready
/// );
/// tokio::select! {
///     never = workers.supervise() => match never {},
///     _ = async { /* a controller that has `workers` as roster and actuator */ } => {}
/// }
/// workers.stop().await;
/// # }
/// ```
///
/// Nothing happens unless [`supervise`](Self::supervise) is polled. Dropping the last
/// clone kills what runs; [`stop`](Self::stop) drains it.
#[derive(Clone)]
pub struct LocalProcesses {
    shared: Arc<Shared>,
}

struct Shared {
    launch: Box<dyn Fn(InstanceId) -> Command + Send + Sync>,
    probe: Box<dyn Fn(InstanceId) -> Probed + Send + Sync>,
    care: Care,
    every: Duration,
    probe_timeout: Duration,
    fleet: Mutex<Fleet>,
    wake: Notify,
    /// With the number of the telling.
    seen: watch::Sender<(u64, Arc<[Instance]>)>,
}

/// Tells when instances of [`LocalProcesses`] change.
#[derive(Debug)]
pub struct ProcessChanges(watch::Receiver<(u64, Arc<[Instance]>)>);

impl ProcessChanges {
    /// The instances after the next change; at once, if there was one since the call before.
    /// Nothing once the processes are gone, their last clone dropped.
    ///
    /// # Cancel safety
    ///
    /// Cancel safe: no change is lost.
    pub async fn next(&mut self) -> Option<Arc<[Instance]>> {
        self.0.changed().await.ok()?;
        Some(Arc::clone(&self.0.borrow_and_update().1))
    }
}

impl LocalProcesses {
    /// None yet. `launch` says how the instance of that number is started; `probe` asks it
    /// whether it is ready: how many requests it is busy with, or nothing if it is not.
    pub fn new<F>(
        launch: impl Fn(InstanceId) -> Command + Send + Sync + 'static,
        probe: impl Fn(InstanceId) -> F + Send + Sync + 'static,
    ) -> Self
    where
        F: Future<Output = Option<u32>> + Send + 'static,
    {
        let shared = Shared {
            launch: Box::new(launch),
            probe: Box::new(move |id| Box::pin(probe(id))),
            care: Care {
                grace: Duration::from_secs(30),
                unready: Duration::from_secs(60),
                backoff: Duration::from_secs(1),
                backoff_max: Duration::from_secs(30),
            },
            every: Duration::from_millis(250),
            probe_timeout: Duration::from_secs(1),
            fleet: Mutex::default(),
            wake: Notify::new(),
            seen: watch::Sender::default(),
        };
        Self { shared: Arc::new(shared) }
    }

    /// For how long an instance may drain until it is killed; 30 s.
    ///
    /// # Panics
    ///
    /// If it was cloned already, as all settings here.
    #[must_use]
    pub fn grace(mut self, grace: Duration) -> Self {
        self.settings().care.grace = grace;
        self
    }

    /// For how long an instance may be unready, at its start or later, until it is
    /// replaced; 60 s.
    #[must_use]
    pub fn unready_limit(mut self, limit: Duration) -> Self {
        self.settings().care.unready = limit;
        self
    }

    /// The wait between starts that fail in a row, and the longest one; 1 s and 30 s. It
    /// doubles. The first replacement is started at once.
    #[must_use]
    pub fn backoff(mut self, first: Duration, longest: Duration) -> Self {
        let care = &mut self.settings().care;
        (care.backoff, care.backoff_max) = (first, longest);
        self
    }

    /// How often instances are looked at, and how long each may take to answer its probe;
    /// 250 ms and 1 s.
    #[must_use]
    pub fn probe_every(mut self, every: Duration, timeout: Duration) -> Self {
        let settings = self.settings();
        (settings.every, settings.probe_timeout) = (every, timeout);
        self
    }

    fn settings(&mut self) -> &mut Shared {
        Arc::get_mut(&mut self.shared).expect("settings come before clones")
    }

    /// The instances at this moment.
    pub fn instances(&self) -> Arc<[Instance]> {
        Arc::clone(&self.shared.seen.borrow().1)
    }

    /// Every change of the instances from now on.
    pub fn changes(&self) -> ProcessChanges {
        ProcessChanges(self.shared.seen.subscribe())
    }

    /// How many instances have ended that nobody had asked to.
    pub fn crashed(&self) -> u64 {
        self.fleet().crashed
    }

    /// Why an instance was last lost.
    pub fn last_error(&self) -> Option<Arc<ProcessError>> {
        self.fleet().last_error.clone()
    }

    /// The process of an instance, if it runs.
    pub fn process_id(&self, id: InstanceId) -> Option<u32> {
        self.fleet().find(id)?.child.id()
    }

    /// Looks after the processes for as long as it is polled.
    ///
    /// # Cancel safety
    ///
    /// Cancel safe: processes go on, and the next call looks after them.
    pub async fn supervise(&self) -> Infallible {
        loop {
            self.care();
            self.probe().await;
            self.care();
            // Woken where something was asked for.
            let _ = timeout(self.shared.every, self.shared.wake.notified()).await;
        }
    }

    /// Replaces every instance, one after the other: a new one is started and ready before
    /// an old one drains, so that there is never one less. Needs
    /// [`supervise`](Self::supervise) to be polled beside it.
    ///
    /// # Cancel safety
    ///
    /// Dropped, it stops where it is: some are new.
    pub async fn restart_one_by_one(&self) {
        let old: Vec<_> = {
            let fleet = self.fleet();
            fleet.processes.iter().filter(|p| p.member.counts()).map(|p| p.member.id).collect()
        };
        for id in old {
            let spare = Spare::ask(self);
            let mut changes = self.changes();
            while !self.may_go(id) {
                changes.next().await;
            }
            drop(spare);
            self.terminate(id);
        }
    }

    /// Drains all instances, and waits until they are gone.
    ///
    /// # Cancel safety
    ///
    /// Dropped, what drains goes on draining.
    pub async fn stop(&self) {
        self.fleet().target = 0;
        let all: Vec<_> = self.fleet().processes.iter().map(|p| p.member.id).collect();
        all.into_iter().for_each(|id| self.terminate(id));
        while !self.fleet().processes.is_empty() {
            self.care();
            sleep(self.shared.every.min(Duration::from_millis(20))).await;
        }
    }

    fn fleet(&self) -> MutexGuard<'_, Fleet> {
        self.shared.fleet.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Reaps, ends and starts.
    fn care(&self) {
        let mut fleet = self.fleet();
        let now = Instant::now();
        fleet.reap(now);
        let members: Vec<_> = fleet.processes.iter().map(|p| p.member).collect();
        for todo in turn(&members, fleet.wanted(), fleet.strikes, now, &self.shared.care) {
            match todo {
                Do::Start => fleet.start(&*self.shared.launch, now),
                Do::Terminate(id) => {
                    fleet.lost(ProcessError::NeverReady { id }, now);
                    fleet.terminate(id, now);
                }
                Do::Kill(id) => fleet.kill(id),
            }
        }
        self.publish(fleet);
    }

    /// Tells of the fleet as it was when `fleet` was unlocked. Who watches may hold what is
    /// there while they ask for more, so nothing is locked here.
    fn publish(&self, mut fleet: MutexGuard<'_, Fleet>) {
        fleet.told += 1;
        let told = fleet.told;
        let instances: Arc<[Instance]> =
            fleet.processes.iter().map(Process::instance).collect();
        drop(fleet);
        self.shared.seen.send_if_modified(|seen| {
            // Another one was faster, and has told of what came later.
            if told <= seen.0 {
                return false;
            }
            let changed = *seen.1 != *instances;
            *seen = (told, instances);
            changed
        });
    }

    async fn probe(&self) {
        let running: Vec<_> = {
            let fleet = self.fleet();
            fleet.processes.iter().filter(|p| p.member.counts()).map(|p| p.member.id).collect()
        };
        let limit = self.shared.probe_timeout;
        let answers = join_all(running.into_iter().map(|id| {
            let answer = timeout(limit, (self.shared.probe)(id));
            async move { (id, answer.await.ok().flatten()) }
        }));
        let answers: HashMap<_, _> = answers.await.into_iter().collect();
        let mut fleet = self.fleet();
        let (now, at) = (Instant::now(), SystemClock.now());
        let mut ready = false;
        for process in &mut fleet.processes {
            let Some(answer) = answers.get(&process.member.id) else { continue };
            ready |= process.answered(*answer, now, at);
        }
        if ready {
            fleet.strikes.forgiven();
        }
    }

    /// Whether one more than the target is ready, or it is gone already.
    fn may_go(&self, id: InstanceId) -> bool {
        let fleet = self.fleet();
        let ready = fleet.processes.iter().filter(|p| p.member.stage == Stage::Ready).count();
        let there = fleet.find(id).is_some_and(|process| process.member.counts());
        !there || ready >= fleet.wanted() as usize || cfg!(broken = "restart_at_once")
    }

    fn terminate(&self, id: InstanceId) {
        let mut fleet = self.fleet();
        fleet.terminate(id, Instant::now());
        self.publish(fleet);
    }
}

/// One more than the target, until it is dropped.
struct Spare<'a>(&'a LocalProcesses);

impl<'a> Spare<'a> {
    fn ask(processes: &'a LocalProcesses) -> Self {
        processes.fleet().spare += 1;
        processes.shared.wake.notify_one();
        Self(processes)
    }
}

impl Drop for Spare<'_> {
    fn drop(&mut self) {
        self.0.fleet().spare -= 1;
    }
}

impl Actuator for LocalProcesses {
    type Error = Infallible;

    async fn set(&self, resize: &Resize) -> Result<u32, Infallible> {
        let now = Instant::now();
        let mut fleet = self.fleet();
        fleet.target = resize.to;
        for id in fleet.superfluous(&resize.removal) {
            fleet.terminate(id, now);
        }
        self.publish(fleet);
        self.shared.wake.notify_one();
        Ok(resize.to)
    }
}

impl Roster for LocalProcesses {
    type Error = Infallible;

    async fn seen(&self) -> Result<Seen, Infallible> {
        let fleet = self.fleet();
        let instances = fleet.processes.iter().map(Process::instance).collect();
        Ok(Seen { target: Some(fleet.target), instances })
    }
}

impl fmt::Debug for LocalProcesses {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let fleet = self.fleet();
        f.debug_struct("LocalProcesses")
            .field("target", &fleet.target)
            .field("running", &fleet.processes.len())
            .finish_non_exhaustive()
    }
}
