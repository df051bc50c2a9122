use std::process::{Child, ExitStatus};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};
use std::{fmt, thread};

use nix::errno::Errno;
use nix::sys::signal::{Signal, kill};

use super::{ExitSignal, forget, tree};
use crate::error::Error;
use crate::folder::Folder;

const POLL: Duration = Duration::from_millis(5);

/// A running child that ends with this process. Made by
/// [`spawn_guarded`](super::spawn_guarded); dropped = killed.
pub struct Process {
    name: String,
    pid: u32,
    exit_signal: ExitSignal,
    state: Mutex<State>,
}

struct State {
    child: Child,
    ended: Option<ExitStatus>,
}

impl Process {
    pub(super) fn new(name: String, child: Child, exit_signal: ExitSignal) -> Self {
        let pid = child.id();
        Self { name, pid, exit_signal, state: Mutex::new(State { child, ended: None }) }
    }

    /// Its PID.
    pub fn pid(&self) -> u32 {
        self.pid
    }

    /// Whether it has not ended. A stopped process has not.
    pub fn is_running(&self) -> bool {
        self.exit_status().is_none()
    }

    /// How it ended, once it has.
    pub fn exit_status(&self) -> Option<ExitStatus> {
        self.state().poll(self.pid)
    }

    /// Waits until it ends.
    ///
    /// # Cancel safety
    ///
    /// Cancel safe: the process goes on.
    pub async fn wait(&self) -> ExitStatus {
        loop {
            if let Some(status) = self.exit_status() {
                return status;
            }
            tokio::time::sleep(POLL).await;
        }
    }

    /// Sends a signal to it alone.
    ///
    /// # Errors
    ///
    /// [`Error::NotRunning`] when it has ended.
    pub fn signal(&self, signal: ExitSignal) -> Result<(), Error> {
        self.send(signal.number())
    }

    /// Ends it in good order: sends the signal it was started with, and
    /// `SIGKILL` to it and its descendants when `patience` is over. Returns how it ended.
    ///
    /// # Cancel safety
    ///
    /// Dropped while it waits, the process has its signal and nothing more.
    pub async fn stop(&self, patience: Duration) -> ExitStatus {
        self.stop_with(self.exit_signal, patience).await
    }

    pub(crate) async fn stop_with(&self, signal: ExitSignal, patience: Duration) -> ExitStatus {
        // One that has ended already is what was asked for.
        let _ = self.signal(signal);
        if let Ok(status) = tokio::time::timeout(patience, self.wait()).await {
            return status;
        }
        self.kill().await;
        self.wait().await
    }

    /// Crashes it: `SIGKILL` to it and all its descendants. Returns once all are gone.
    ///
    /// # Cancel safety
    ///
    /// The signals are sent at the first poll.
    pub async fn kill(&self) {
        let family = self.kill_family();
        self.wait().await;
        while family.iter().any(|pid| tree::is_alive(*pid)) {
            tokio::time::sleep(POLL).await;
        }
    }

    /// Stops it and its descendants in their tracks (`SIGSTOP`): connections
    /// stay open and new ones are accepted by the kernel, but nothing answers.
    ///
    /// # Errors
    ///
    /// [`Error::NotRunning`] when it has ended.
    pub fn pause(&self) -> Result<(), Error> {
        self.send(Signal::SIGSTOP)?;
        // The stopped parent starts no more children, so the list is whole.
        for pid in tree::descendants(self.pid) {
            send(pid, Signal::SIGSTOP);
        }
        Ok(())
    }

    /// Lets it and its descendants go on (`SIGCONT`).
    ///
    /// # Errors
    ///
    /// [`Error::NotRunning`] when it has ended.
    pub fn resume(&self) -> Result<(), Error> {
        for pid in tree::descendants(self.pid) {
            send(pid, Signal::SIGCONT);
        }
        self.send(Signal::SIGCONT)
    }

    fn send(&self, signal: Signal) -> Result<(), Error> {
        let mut state = self.state();
        match state.poll(self.pid) {
            // Not reaped, and the lock keeps it so: the PID is still its own.
            None => {
                send(self.pid, signal);
                Ok(())
            }
            Some(_) => Err(Error::NotRunning { program: self.name.clone() }),
        }
    }

    /// Signals only; returns the descendants.
    fn kill_family(&self) -> Vec<u32> {
        if self.send(Signal::SIGSTOP).is_err() {
            return Vec::new();
        }
        // Servers' children may have sessions of their own, out of a group kill's reach.
        let family = tree::descendants(self.pid);
        for pid in &family {
            send(*pid, Signal::SIGKILL);
        }
        // It cannot have been reaped since: only `poll` reaps.
        let _ = self.send(Signal::SIGKILL);
        family
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl State {
    fn poll(&mut self, pid: u32) -> Option<ExitStatus> {
        if self.ended.is_none() {
            self.ended = self.child.try_wait().expect("nobody else waits for this child");
            if self.ended.is_some() {
                forget(pid);
            }
        }
        self.ended
    }
}

impl Drop for Process {
    fn drop(&mut self) {
        self.kill_family();
        // Death takes the kernel a moment; a zombie would be harmless, a long wait here not.
        wait_until(&|| !self.is_running(), Duration::from_millis(50));
    }
}

impl fmt::Debug for Process {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Process").field("name", &self.name).field("pid", &self.pid).finish()
    }
}

/// Ends `process` in good order, but soon and in the background; once all its
/// family is gone `last` runs and `folder` is removed.
pub(crate) fn bury(
    process: Option<Arc<Process>>,
    folder: Folder,
    last: impl FnOnce(&Folder) + Send + 'static,
) {
    let mut family = Vec::new();
    if let Some(process) = &process {
        family = tree::descendants(process.pid);
        // One that has ended already is as good.
        let _ = process.resume().and_then(|()| process.signal(process.exit_signal));
    }
    let mourn = move || {
        let gone = || {
            process.as_ref().is_none_or(|process| !process.is_running())
                && !family.iter().any(|pid| tree::is_alive(*pid))
        };
        wait_until(&gone, Duration::from_secs(3));
        if let Some(process) = &process {
            process.kill_family();
        }
        wait_until(&gone, Duration::from_secs(3));
        last(&folder);
    };
    // Without a thread the watchdog does it when this process ends.
    let _ = thread::Builder::new().name("testbed-bury".into()).spawn(mourn);
}

fn wait_until(condition: &impl Fn() -> bool, patience: Duration) {
    let deadline = Instant::now() + patience;
    while !condition() && Instant::now() < deadline {
        thread::sleep(POLL);
    }
}

fn send(pid: u32, signal: Signal) {
    match kill(tree::as_pid(pid), signal) {
        // A descendant may end by itself at any moment.
        Ok(()) | Err(Errno::ESRCH) => {}
        Err(error) => panic!("kill({pid}, {signal}): {error}"),
    }
}
