//! Real processes: started, crashed, frozen, drained, replaced.

use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::{Duration, Instant};

use autoscale_policy::{
    Actuator, Instance, InstanceId, LocalProcesses, Phase, ProcessError, Resize, conformance,
};
use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;
use testbed::{Folder, eventually};
use tokio::process::Command;

const SOON: Duration = Duration::from_secs(20);

/// What workers do when they are started, and when they are told to end.
#[derive(Clone, Copy)]
struct Worker {
    start: &'static str,
    term: &'static str,
}

const GOOD: Worker = Worker { start: "touch $READY", term: "rm -f $READY; exit 0" };

/// Workers that say by a file that they are ready.
struct Bed {
    folder: Arc<Folder>,
    workers: LocalProcesses,
}

impl Bed {
    async fn new(worker: Worker) -> Self {
        Self::with(worker, |workers| workers).await
    }

    async fn with(worker: Worker, set: impl FnOnce(LocalProcesses) -> LocalProcesses) -> Self {
        let folder = Arc::new(Folder::new("workers").await.unwrap());
        let path = folder.path().to_owned();
        let launch = move |id: InstanceId| {
            let Worker { start, term } = worker;
            let mut command = Command::new("sh");
            let script = format!("trap '{term}' TERM; {start}; while :; do sleep 0.02; done");
            command.args(["-c", &script]).env("READY", ready(&path, id)).env("FOLDER", &path);
            command
        };
        let path = folder.path().to_owned();
        let probe = move |id| {
            let path = ready(&path, id);
            async move { path.exists().then_some(0) }
        };
        let workers = LocalProcesses::new(launch, probe)
            .probe_every(Duration::from_millis(20), Duration::from_secs(1))
            .backoff(Duration::from_millis(200), Duration::from_secs(1));
        Self { folder, workers: set(workers) }
    }

    /// Runs `test` while the processes are looked after; none is left behind.
    async fn run(self, test: impl AsyncFnOnce(&Self)) {
        let workers = self.workers.clone();
        tokio::select! {
            never = workers.supervise() => match never {},
            () = test(&self) => {}
        }
        workers.stop().await;
        assert!(workers.instances().is_empty());
    }

    async fn set(&self, to: u32) {
        let Ok(taken) = self.workers.set(&Resize::new(0, to)).await;
        assert_eq!(taken, to);
    }

    fn phase(&self, phase: Phase) -> Vec<InstanceId> {
        let seen = self.workers.instances();
        seen.iter().filter(|i| i.phase == phase).map(|i| i.id).collect()
    }

    async fn ready(&self, count: usize) -> Vec<InstanceId> {
        eventually(SOON, async || self.phase(Phase::Ready).len() == count).await;
        self.phase(Phase::Ready)
    }

    fn signal(&self, id: InstanceId, signal: Signal) {
        let process = self.workers.process_id(id).unwrap().cast_signed();
        kill(Pid::from_raw(process), signal).unwrap();
    }
}

fn ready(folder: &Path, id: InstanceId) -> PathBuf {
    folder.join(format!("ready-{id}"))
}

#[tokio::test(flavor = "multi_thread")]
async fn local_processes_conform() {
    let bed = Bed::new(GOOD).await;
    bed.run(async |bed| conformance::actuator(&bed.workers, true, SOON).await).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_worker_that_crashes_is_replaced() {
    let bed = Bed::new(GOOD).await;
    bed.run(async |bed| {
        bed.set(3).await;
        let [first, ..] = bed.ready(3).await[..] else { panic!() };
        bed.signal(first, Signal::SIGKILL);
        eventually(SOON, async || {
            let now = bed.phase(Phase::Ready);
            now.len() == 3 && !now.contains(&first)
        })
        .await;
        assert_eq!(bed.workers.crashed(), 1);
        let error = bed.workers.last_error().unwrap();
        let ProcessError::Ended { id, status } = &*error else { panic!("{error}") };
        assert_eq!(*id, first);
        assert!(status.contains("signal: 9"), "{error}");
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn what_crashes_at_once_is_not_started_all_the_time() {
    let worker = Worker { start: "echo >> $FOLDER/starts; exit 3", ..GOOD };
    let bed = Bed::new(worker).await;
    bed.run(async |bed| {
        let began = Instant::now();
        bed.set(5).await;
        let starts = bed.folder.path().join("starts");
        let count = || std::fs::read(&starts).map_or(0, |bytes| bytes.len());
        // All five, one at once, and then after 0.2, 0.4, 0.8 and 1 s: without the wait it would
        // be dozens a second.
        eventually(SOON, async || count() >= 10).await;
        assert!(began.elapsed() >= Duration::from_millis(2_400), "{:?}", began.elapsed());
        assert!(bed.workers.last_error().unwrap().to_string().contains("exit status: 3"));
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_command_that_is_none_is_an_error() {
    let none = |_| Command::new("/nowhere/worker");
    let workers = LocalProcesses::new(none, |_| async { None });
    let Ok(_) = workers.set(&Resize::new(0, 1)).await;
    tokio::select! {
        never = workers.supervise() => match never {},
        () = eventually(SOON, async || workers.last_error().is_some()) => {}
    }
    assert!(workers.last_error().unwrap().to_string().contains("could not be started"));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_worker_that_does_not_answer_is_not_ready_and_then_replaced() {
    let bed = Bed::with(GOOD, |workers| {
        workers.unready_limit(Duration::from_secs(1)).grace(Duration::from_millis(300))
    });
    bed.await
        .run(async |bed| {
            bed.set(2).await;
            let [first, second] = bed.ready(2).await[..] else { panic!() };
            // Frozen, it cannot remove the file itself; nor does it hear SIGTERM.
            bed.signal(first, Signal::SIGSTOP);
            std::fs::remove_file(ready(bed.folder.path(), first)).unwrap();
            eventually(SOON, async || bed.phase(Phase::Warming).contains(&first)).await;
            eventually(SOON, async || {
                let now = bed.phase(Phase::Ready);
                now.len() == 2 && now.contains(&second) && !now.contains(&first)
            })
            .await;
            eventually(SOON, async || bed.workers.process_id(first).is_none()).await;
        })
        .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_worker_that_does_not_end_is_killed_after_its_grace() {
    let worker = Worker { term: "touch $FOLDER/asked", ..GOOD };
    let bed = Bed::with(worker, |workers| workers.grace(Duration::from_millis(500))).await;
    bed.run(async |bed| {
        bed.set(1).await;
        let [only] = bed.ready(1).await[..] else { panic!() };
        bed.set(0).await;
        let asked = bed.folder.path().join("asked");
        eventually(SOON, async || asked.exists()).await;
        assert_eq!(bed.phase(Phase::Draining), [only]);
        eventually(SOON, async || bed.workers.process_id(only).is_none()).await;
        assert_eq!(bed.workers.crashed(), 0, "it was asked to");
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_restart_one_by_one_never_has_one_less() {
    let bed = Bed::new(GOOD).await;
    bed.run(async |bed| {
        bed.set(3).await;
        let old = bed.ready(3).await;
        let mut changes = bed.workers.changes();
        let ready = |instances: &[Instance]| {
            instances.iter().filter(|i| i.phase == Phase::Ready).count()
        };
        let mut least = 3;
        let restart = bed.workers.restart_one_by_one();
        tokio::pin!(restart);
        loop {
            tokio::select! {
                () = &mut restart => break,
                changed = changes.next() => least = least.min(ready(&changed.unwrap())),
            }
        }
        // The last change may not have been looked at.
        least = least.min(ready(&bed.workers.instances()));
        assert!(least >= 3, "at one time there were {least}");
        let new = bed.ready(3).await;
        assert!(new.iter().all(|id| !old.contains(id)), "{old:?} {new:?}");
    })
    .await;
}
