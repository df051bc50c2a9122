//! A server that is measured. It ends with this process, however that ends.

use std::fs::{self, File};
use std::net::SocketAddr;
use std::os::unix::fs::MetadataExt;
use std::os::unix::process::CommandExt;
use std::path::Path;
use std::process::{Command, Stdio};
use std::time::Duration;

use testbed::Folder;
use testbed::guard::{ExitSignal, Process, descendants, spawn_guarded};
use testbed::locate;
use tokio::net::TcpStream;

use super::nginx::{self, Sends};
use super::origin::Origin;
use super::{CORE, pinned};
use crate::overhead::cpu::Cpu;

const OPENING: Duration = Duration::from_secs(10);
const STOPPING: Duration = Duration::from_secs(15);

pub(super) struct Subject {
    process: Process,
    address: SocketAddr,
    folder: Folder,
}

impl Subject {
    pub(super) async fn nginx(origin: &Origin, sends: Sends) -> Result<Self, String> {
        let program = locate::nginx().map_err(|missing| missing.to_string())?;
        let folder = folder().await?;
        let (command, address) =
            nginx::command(&program, folder.path(), origin.address(), sends)?;
        let mut on_core = pinned(CORE, Path::new(command.get_program()));
        // The folder's account: nginx is started by whoever is to own its files.
        let owner = fs::metadata(folder.path()).map_err(|error| error.to_string())?;
        on_core.args(command.get_args()).uid(owner.uid()).gid(owner.gid());
        let process = start(on_core, &folder).await?;
        let opened = async {
            while TcpStream::connect(address).await.is_err() {
                tokio::time::sleep(Duration::from_millis(10)).await;
            }
        };
        let opened = tokio::time::timeout(OPENING, opened).await;
        opened.map_err(|_| format!("nginx did not open: {}", said(&folder, "errors")))?;
        Ok(Self { process, address, folder })
    }

    /// A proxy that prints its URL as the first line.
    pub(super) async fn proxy(
        program: &Path,
        words: &[&str],
        origin: &Origin,
    ) -> Result<Self, String> {
        let folder = folder().await?;
        let mut command = pinned(CORE, program);
        let url = format!("http://{}", origin.address());
        command.args(["--listen", "127.0.0.1:0", "--origin", &url]).args(words);
        let process = start(command, &folder).await?;
        let opened = async {
            loop {
                if let Some((url, _)) = said(&folder, "output").split_once('\n') {
                    return url.trim_start_matches("http://").parse().ok();
                }
                tokio::time::sleep(Duration::from_millis(10)).await;
            }
        };
        let address = tokio::time::timeout(OPENING, opened).await.ok().flatten();
        let errors =
            || format!("{} did not open: {}", program.display(), said(&folder, "errors"));
        let address = address.ok_or_else(errors)?;
        Ok(Self { process, address, folder })
    }

    pub(super) fn address(&self) -> SocketAddr {
        self.address
    }

    /// What it has said of errors, the last lines.
    pub(super) fn errors(&self) -> String {
        let said = said(&self.folder, "errors");
        let lines: Vec<&str> = said.lines().collect();
        lines[lines.len().saturating_sub(5)..].join("\n")
    }

    /// The CPU time of the process and its workers.
    pub(super) fn cpu(&self) -> Duration {
        // Of one that has done nothing yet, or has ended, there is none.
        self.family().into_iter().filter_map(|pid| Cpu::of(pid).ok()).map(Cpu::spent).sum()
    }

    /// Bytes that are in memory for the process and its workers.
    pub(super) fn resident(&self) -> Result<u64, String> {
        let mut kibis = 0;
        for pid in self.family() {
            let path = format!("/proc/{pid}/status");
            let text = fs::read_to_string(&path).map_err(|error| format!("{path}: {error}"))?;
            let line = text.lines().find_map(|line| line.strip_prefix("VmRSS:"));
            let number = line.and_then(|line| line.split_whitespace().next()?.parse().ok());
            kibis += number.unwrap_or(0_u64);
        }
        Ok(kibis << 10)
    }

    pub(super) async fn stop(self) {
        self.process.stop(STOPPING).await;
    }

    fn family(&self) -> Vec<u32> {
        let mut family = descendants(self.process.pid());
        family.push(self.process.pid());
        family
    }
}

async fn folder() -> Result<Folder, String> {
    Folder::new("bench-http").await.map_err(|error| error.to_string())
}

async fn start(mut command: Command, folder: &Folder) -> Result<Process, String> {
    let file = |name| {
        let path = folder.path().join(name);
        File::create(&path).map_err(|error| format!("{}: {error}", path.display()))
    };
    command
        .current_dir("/")
        .stdin(Stdio::null())
        .stdout(file("output")?)
        .stderr(file("errors")?);
    spawn_guarded(command, ExitSignal::Terminate).await.map_err(|error| error.to_string())
}

fn said(folder: &Folder, name: &str) -> String {
    // What cannot be read yet was not said yet.
    fs::read_to_string(folder.path().join(name)).unwrap_or_default()
}
