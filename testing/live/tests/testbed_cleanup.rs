//! Nothing outlives the process that started it, however that process ends.

#![allow(clippy::unwrap_used, reason = "the helpers of tests are tests")]

use std::io::{BufRead, BufReader};
use std::path::{Path, PathBuf};
use std::process::{Child, ChildStdout, Command, Stdio};
use std::time::Duration;
use std::{fs, thread};

use testbed::guard::{ExitSignal, descendants, is_alive, spawn_guarded};
use testbed::postgres::Postgres;
use testbed::{Folder, eventually};

const DEADLINE: Duration = Duration::from_secs(20);

/// A process that has servers, and what it has.
struct Victim {
    process: Child,
    /// Kept open, or its writes fail.
    _output: BufReader<ChildStdout>,
    family: Vec<u32>,
    folder: PathBuf,
}

impl Victim {
    fn start(mode: &str) -> Self {
        let mut process = Command::new(env!("CARGO_BIN_EXE_victim"))
            .arg(mode)
            .stdout(Stdio::piped())
            .stderr(if mode == "panic" { Stdio::null() } else { Stdio::inherit() })
            .spawn()
            .unwrap();
        let mut output = BufReader::new(process.stdout.take().unwrap());
        let mut folder = String::new();
        output.read_line(&mut folder).unwrap();
        let folder = folder.strip_suffix('\n').expect("the victim comes to have servers");
        let folder = PathBuf::from(folder);
        let family = descendants(process.id());
        Self { process, _output: output, family, folder }
    }

    /// Waits until all it had is gone.
    async fn leaves_nothing(mut self) {
        self.process.wait().unwrap();
        self.processes_end().await;
        eventually(DEADLINE, async || !self.folder.exists()).await;
    }

    async fn processes_end(&self) {
        eventually(DEADLINE, async || {
            self.living().next().is_none() && strangers(&self.folder).is_empty()
        })
        .await;
    }

    fn living(&self) -> impl Iterator<Item = u32> {
        self.family.iter().copied().filter(|pid| is_alive(*pid))
    }
}

/// A test that fails, fails for what is left behind: it is ended here.
impl Drop for Victim {
    fn drop(&mut self) {
        self.family.push(self.process.id());
        // In good order first: a killed postmaster leaves shared memory behind.
        for signal in ["QUIT", "CONT"] {
            self.living().for_each(|pid| send(signal, pid));
        }
        for _ in 0..300 {
            if self.living().next().is_none() {
                break;
            }
            thread::sleep(Duration::from_millis(10));
        }
        self.living().for_each(|pid| send("KILL", pid));
        // It is there only if the test has failed.
        let _ = fs::remove_dir_all(&self.folder);
    }
}

fn send(signal: &str, pid: u32) {
    // It may have ended in between.
    let _ = Command::new("/bin/sh").args(["-c", &format!("kill -{signal} {pid}")]).status();
}

/// The processes whose command line names the folder.
fn strangers(folder: &Path) -> Vec<String> {
    let folder = folder.to_str().unwrap();
    let lines: Vec<String> =
        match fs::read_dir("/proc/self").and_then(|_| fs::read_dir("/proc")) {
            Ok(proc) => proc
                .flatten()
                .filter_map(|entry| fs::read_to_string(entry.path().join("cmdline")).ok())
                .collect(),
            Err(_) => {
                let ps = Command::new("ps").args(["-A", "-o", "args="]).output().unwrap();
                String::from_utf8_lossy(&ps.stdout).lines().map(String::from).collect()
            }
        };
    lines.into_iter().filter(|line| line.contains(folder)).collect()
}

#[tokio::test]
async fn a_killed_process_leaves_nothing() {
    let mut victim = Victim::start("wait");
    // The watchdog, two postmasters with their children, Redis, two shells.
    assert!(victim.family.len() > 12, "{:?}", victim.family);
    assert!(victim.folder.join("postgres-1/data").exists());
    victim.process.kill().unwrap();
    victim.leaves_nothing().await;
}

#[tokio::test]
async fn a_process_killed_with_a_redis_cluster_leaves_nothing() {
    let mut victim = Victim::start("cluster");
    // The watchdog; six nodes, of which one was killed; a primary and its replica.
    assert_eq!(victim.family.len(), 8, "{:?}", victim.family);
    victim.process.kill().unwrap();
    victim.leaves_nothing().await;
}

#[tokio::test]
async fn a_panic_leaves_nothing() {
    Victim::start("panic").leaves_nothing().await;
}

#[tokio::test]
async fn an_exit_without_unwinding_leaves_nothing() {
    Victim::start("exit").leaves_nothing().await;
}

#[tokio::test]
async fn a_process_killed_with_a_crashed_server_leaves_nothing() {
    let mut victim = Victim::start("crash");
    let lock =
        fs::read_to_string(victim.folder.join("postgres-1/data/postmaster.pid")).unwrap();
    let memory = lock.lines().nth(6).unwrap().split_whitespace().nth(1).unwrap().to_owned();
    victim.process.kill().unwrap();
    victim.leaves_nothing().await;
    // Not even the shared memory that a killed postmaster cannot give back.
    if let Ok(segments) = fs::read_to_string("/proc/sysvipc/shm") {
        let ids = segments.lines().filter_map(|line| line.split_whitespace().nth(1));
        assert!(!ids.into_iter().any(|id| id == memory), "{segments}");
    }
}

#[tokio::test]
async fn a_process_killed_while_it_starts_servers_leaves_nothing() {
    for step in 0..8 {
        let mut victim = Victim::start("starting");
        // Not to wait for anything: to hit other moments of the start.
        tokio::time::sleep(Duration::from_millis(step * 57)).await;
        victim.process.kill().unwrap();
        victim.leaves_nothing().await;
    }
}

/// Only Linux has the parent-death signal.
#[cfg(target_os = "linux")]
#[tokio::test]
async fn a_killed_watchdog_leaves_no_orphan_either() {
    let mut victim = Victim::start("wait");
    let watchdog = descendants(victim.process.id())
        .into_iter()
        .find(|pid| {
            let line = fs::read_to_string(format!("/proc/{pid}/cmdline")).unwrap_or_default();
            line.contains("earned-watchdog")
        })
        .unwrap();
    // Resumed, for the kernel's signal wakes nobody who is stopped.
    victim.family.iter().for_each(|pid| send("CONT", *pid));
    send("KILL", watchdog);
    victim.process.kill().unwrap();
    victim.process.wait().unwrap();

    // All but the stubborn one, which ignores its signal.
    eventually(DEADLINE, async || strangers(&victim.folder).is_empty()).await;
    assert!(victim.folder.exists());
}

#[test]
fn a_server_outlives_the_thread_and_the_runtime_that_started_it() {
    let runtime =
        || tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    let started = thread::spawn(move || runtime().block_on(Postgres::start()).unwrap());
    let primary = started.join().unwrap();
    runtime().block_on(async {
        primary.client().await.unwrap().batch_execute("SELECT 1").await.unwrap();
        primary.restart().await.unwrap();
        primary.client().await.unwrap();
    });
}

#[tokio::test]
async fn a_guarded_process_and_its_folder_end_when_dropped() {
    let folder = Folder::new("mine").await.unwrap();
    let path = folder.path().to_owned();
    let mut command = Command::new("/bin/sh");
    command.args(["-c", "sleep 1000 & sleep 1000"]);
    let process = spawn_guarded(command, ExitSignal::Terminate).await.unwrap();
    eventually(DEADLINE, async || descendants(process.pid()).len() == 2).await;
    let mut family = descendants(process.pid());
    family.push(process.pid());
    assert!(process.is_running() && path.exists());

    drop((process, folder));
    assert!(!path.exists());
    eventually(DEADLINE, async || !family.iter().any(|pid| is_alive(*pid))).await;
}

#[tokio::test]
async fn a_guarded_process_that_ignores_its_signal_is_killed_after_the_patience() {
    let mut command = Command::new("/bin/sh");
    command.args(["-c", "trap '' TERM; echo up; while :; do sleep 1000; done"]);
    let folder = Folder::new("mine").await.unwrap();
    let out = folder.path().join("out");
    command.stdout(fs::File::create(&out).unwrap());
    let process = spawn_guarded(command, ExitSignal::Terminate).await.unwrap();
    eventually(DEADLINE, async || fs::read_to_string(&out).unwrap() == "up\n").await;
    let status = process.stop(Duration::from_millis(50)).await;
    assert!(!status.success());
    assert!(!process.is_running());
}

#[tokio::test]
async fn a_program_that_is_not_there_is_an_error() {
    let error = spawn_guarded(Command::new("/no/such/program"), ExitSignal::Kill).await;
    let error = error.unwrap_err();
    assert_eq!(error.to_string(), "starting program failed");
}
