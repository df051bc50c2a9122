use std::fs::{self, File};
use std::future::Future;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use crate::account::Account;
use crate::error::Error;
use crate::folder::Folder;
use crate::guard::{self, ExitSignal, Process};
use crate::port::Port;

const READY: Duration = Duration::from_secs(30);
const STOP: Duration = Duration::from_secs(10);

/// What every server has: a folder, a port, a log, and a process now and then.
#[derive(Debug)]
pub(crate) struct Server {
    program: &'static str,
    folder: Option<Folder>,
    port: Port,
    process: Mutex<Option<Arc<Process>>>,
    last: fn(&Folder),
}

impl Server {
    /// One that does not run yet. `last` runs on its folder before that is removed.
    pub(crate) async fn new(program: &'static str, last: fn(&Folder)) -> Result<Self, Error> {
        let folder = Some(Folder::new(program).await?);
        Ok(Self { program, folder, port: Port::claim()?, process: Mutex::default(), last })
    }

    pub(crate) fn folder(&self) -> &Path {
        self.folder.as_ref().expect("only drop takes the folder").path()
    }

    pub(crate) fn port(&self) -> u16 {
        self.port.number()
    }

    pub(crate) fn log(&self) -> PathBuf {
        self.folder().join("log")
    }

    pub(crate) fn pid(&self) -> Option<u32> {
        self.running().ok().map(|process| process.pid())
    }

    /// Starts `command` as the servers' account and waits until `answers` does.
    pub(crate) async fn start<F>(
        &self,
        mut command: Command,
        signal: ExitSignal,
        answers: impl Fn() -> F,
    ) -> Result<(), Error>
    where
        F: Future<Output = bool>,
    {
        let log = self.log();
        let doing = || Error::io(format!("writing {}", log.display()));
        let out = File::options().create(true).append(true).open(&log).map_err(doing())?;
        let err = out.try_clone().map_err(doing())?;
        Account::of_servers().run(&mut command);
        command.current_dir("/").stdin(Stdio::null()).stdout(out).stderr(err);
        let process = Arc::new(guard::spawn_guarded(command, signal).await?);
        *self.slot() = Some(Arc::clone(&process));

        let deadline = Instant::now() + READY;
        while !answers().await {
            if let Some(status) = process.exit_status() {
                let program = self.program.into();
                return Err(Error::Exited { program, status, log: self.log_tail() });
            }
            if Instant::now() > deadline {
                let program = self.program.into();
                return Err(Error::NotReady { program, after: READY, log: self.log_tail() });
            }
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
        Ok(())
    }

    /// Ends it with `signal`, or with a crash when it takes too long.
    pub(crate) async fn stop(&self, signal: ExitSignal) -> Result<(), Error> {
        let process = self.running()?;
        // A paused server would never see the signal.
        process.resume()?;
        process.stop_with(signal, STOP).await;
        Ok(())
    }

    pub(crate) async fn kill(&self) -> Result<(), Error> {
        self.running()?.kill().await;
        Ok(())
    }

    pub(crate) fn pause(&self) -> Result<(), Error> {
        self.running()?.pause()
    }

    pub(crate) fn resume(&self) -> Result<(), Error> {
        self.running()?.resume()
    }

    fn running(&self) -> Result<Arc<Process>, Error> {
        let process = self.slot().clone().filter(|process| process.is_running());
        process.ok_or_else(|| Error::NotRunning { program: self.program.into() })
    }

    fn slot(&self) -> MutexGuard<'_, Option<Arc<Process>>> {
        self.process.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn log_tail(&self) -> String {
        let log = fs::read_to_string(self.log()).unwrap_or_else(|error| error.to_string());
        let lines: Vec<&str> = log.lines().collect();
        lines[lines.len().saturating_sub(20)..].join("\n")
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        let folder = self.folder.take().expect("only drop takes the folder");
        guard::bury(self.slot().take(), folder, self.last);
    }
}
