//! Processes and folders that never outlive this process, not even when it is
//! killed: a watchdog shell waits on a pipe which closes when this process dies.

mod process;
mod run;
mod spawner;
mod tree;
mod watchdog;

pub use self::process::Process;
pub(crate) use self::process::bury;
pub(crate) use self::run::run;
pub use self::tree::{descendants, is_alive};

use std::path::Path;
use std::process::Command;

use nix::sys::signal::Signal;

use crate::error::Error;

/// The signal that ends a guarded process in good order.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ExitSignal {
    /// `SIGINT`: what Ctrl-C sends; a fast shutdown of PostgreSQL.
    Interrupt,
    /// `SIGQUIT`: an immediate shutdown of PostgreSQL.
    Quit,
    /// `SIGTERM`: what most servers take for an orderly end.
    Terminate,
    /// `SIGKILL`: no order at all.
    Kill,
}

impl ExitSignal {
    fn name(self) -> &'static str {
        match self {
            Self::Interrupt => "INT",
            Self::Quit => "QUIT",
            Self::Terminate => "TERM",
            Self::Kill => "KILL",
        }
    }

    fn number(self) -> Signal {
        match self {
            Self::Interrupt => Signal::SIGINT,
            Self::Quit => Signal::SIGQUIT,
            Self::Terminate => Signal::SIGTERM,
            Self::Kill => Signal::SIGKILL,
        }
    }
}

/// Starts `command` in a process group of its own, so that it ends with this process.
///
/// It is guarded before its first instruction: when this process is gone,
/// whatever the reason, it gets `signal`, and `SIGKILL` with all its
/// descendants if it is still there 3 s later. When the [`Process`] is dropped
/// it gets `SIGKILL` at once. Set an absolute `current_dir` (`/` for a server),
/// and `stdin`, `stdout`, `stderr` on the command.
///
/// # Errors
///
/// [`Error::Io`] when the program or the watchdog cannot be started.
///
/// # Cancel safety
///
/// Dropped before it is done, it ends what it has started.
pub async fn spawn_guarded(command: Command, signal: ExitSignal) -> Result<Process, Error> {
    let program = command.get_program().to_os_string();
    let name =
        Path::new(&program).file_name().unwrap_or(&program).to_string_lossy().into_owned();
    spawner::on_the_thread({
        let name = name.clone();
        move || {
            let child = spawner::spawn(command, signal)?;
            Ok(Process::new(name, child, signal))
        }
    })
    .await
    .map_err(Error::io(format!("starting {name}")))
}

/// The folder that is removed when this process is gone.
pub(crate) async fn root() -> Result<&'static Path, Error> {
    spawner::on_the_thread(|| spawner::watchdog().map(|watchdog| watchdog.root()))
        .await
        .map_err(Error::io("starting the watchdog"))
}

fn forget(pid: u32) {
    if let Ok(watchdog) = spawner::watchdog() {
        watchdog.forget(tree::as_pid(pid));
    }
}
