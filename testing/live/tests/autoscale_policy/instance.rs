//! A server process of its own.

use std::net::SocketAddr;
use std::process::{Command, ExitStatus, Stdio};
use std::time::Duration;

use testbed::guard::{ExitSignal, Process, spawn_guarded};
use testbed::{Folder, eventually_some};

const DEADLINE: Duration = Duration::from_secs(20);

pub(crate) struct Instance {
    pub(crate) process: Process,
    pub(crate) addr: SocketAddr,
    folder: Folder,
}

/// How one has ended.
pub(crate) struct Ended {
    pub(crate) status: ExitStatus,
    /// How many requests it had begun.
    pub(crate) begun: u64,
}

impl Instance {
    pub(crate) async fn start(propagation: Duration, deadline: Duration) -> Self {
        let folder = Folder::new("draining").await.unwrap();
        let path = folder.path().join("port");
        let mut command = Command::new(env!("CARGO_BIN_EXE_draining"));
        command
            .arg(propagation.as_millis().to_string())
            .arg(deadline.as_millis().to_string())
            .current_dir("/")
            .stdin(Stdio::null())
            .stdout(std::fs::File::create(&path).unwrap());
        let process = spawn_guarded(command, ExitSignal::Kill).await.unwrap();
        let port: u16 = eventually_some(DEADLINE, async || {
            std::fs::read_to_string(&path).ok()?.strip_suffix('\n')?.parse().ok()
        })
        .await;
        Self { process, addr: SocketAddr::from(([127, 0, 0, 1], port)), folder }
    }

    /// Tells it to end, and waits for that.
    pub(crate) async fn end(self) -> Ended {
        self.process.signal(ExitSignal::Terminate).unwrap();
        let status = self.process.wait().await;
        let said = std::fs::read_to_string(self.folder.path().join("port")).unwrap();
        let begun = said.lines().nth(1).unwrap().parse().unwrap();
        Ended { status, begun }
    }
}
