use std::io;
use std::os::unix::process::CommandExt;
use std::process::{Child, Command};
use std::sync::{OnceLock, mpsc};
use std::thread;

use tokio::sync::oneshot;

use super::ExitSignal;
use super::watchdog::Watchdog;
use crate::folder;

type Job = Box<dyn FnOnce() + Send>;

/// Runs `job` on the one thread that starts every guarded process and lives as
/// long as this process: the kernel's parent-death signal fires when the
/// starting *thread* ends, and threads of tests end early.
pub(super) async fn on_the_thread<T: Send + 'static>(
    job: impl FnOnce() -> T + Send + 'static,
) -> T {
    static THREAD: OnceLock<mpsc::Sender<Job>> = OnceLock::new();
    let thread = THREAD.get_or_init(|| {
        let (jobs, inbox) = mpsc::channel::<Job>();
        thread::Builder::new()
            .name("testbed-spawner".into())
            .spawn(move || inbox.into_iter().for_each(|job| job()))
            .expect("a thread can be started");
        jobs
    });
    let (answer, answered) = oneshot::channel();
    // A caller who is gone drops the answer here, which ends what was started.
    let job = Box::new(move || drop(answer.send(job())));
    thread.send(job).expect("the spawner lives as long as the process");
    answered.await.expect("the spawner answers every job")
}

/// The watchdog of this process, started at first use. Blocks for some milliseconds then.
pub(super) fn watchdog() -> io::Result<&'static Watchdog> {
    static WATCHDOG: OnceLock<io::Result<Watchdog>> = OnceLock::new();
    match WATCHDOG.get_or_init(|| Watchdog::start(folder::base())) {
        Ok(watchdog) if watchdog.is_running() => Ok(watchdog),
        Ok(_) => Err(io::Error::other("the watchdog of this process was killed")),
        Err(error) => Err(io::Error::new(error.kind(), error.to_string())),
    }
}

/// Starts `command` guarded from its first instruction on.
pub(super) fn spawn(mut command: Command, signal: ExitSignal) -> io::Result<Child> {
    let watchdog = watchdog()?;
    command.process_group(0);
    let guard_self = move || {
        if cfg!(broken = "unguarded") {
            return Ok(());
        }
        // Against the death of the watchdog too, where the kernel can.
        #[cfg(target_os = "linux")]
        nix::sys::prctl::set_pdeathsig(signal.number())?;
        watchdog.guard_self(signal)
    };
    #[allow(unsafe_code, reason = "only the child knows its PID before it runs")]
    // SAFETY: `guard_self` makes two system calls; it allocates and locks nothing.
    unsafe {
        command.pre_exec(guard_self);
    }
    command.spawn()
}
