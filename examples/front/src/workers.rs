//! The workers: processes of this machine that say where they listen.

use std::collections::HashMap;
use std::ffi::OsString;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;
use std::{fs, io};

use autoscale_policy::{InstanceId, LocalProcesses, Phase};
use bytes::Bytes;
use http::Uri;
use http_body_util::Empty;
use hyper_util::client::legacy::Client;
use hyper_util::client::legacy::connect::HttpConnector;
use hyper_util::rt::TokioExecutor;
use tokio::process::Command;
use tracing::{info, warn};

use crate::pool::Pool;

/// What runs, and how it tells that it is ready.
#[derive(Clone, Debug)]
pub(crate) struct Launch {
    /// The program and its words; `{announce}` is the file to write its URL to.
    pub(crate) command: Vec<OsString>,
    /// The path that answers 200 where it is ready.
    pub(crate) ready: String,
    /// From SIGTERM to SIGKILL.
    pub(crate) grace: Duration,
}

/// The workers, and where each listens.
#[derive(Clone)]
pub(crate) struct Workers {
    pub(crate) processes: LocalProcesses,
    at: Arc<Mutex<HashMap<InstanceId, Announced>>>,
    folder: Arc<Folder>,
}

#[derive(Clone, Copy)]
struct Announced {
    address: SocketAddr,
    weight: u32,
}

/// A folder of this process alone, removed with it.
struct Folder(PathBuf);

impl Drop for Folder {
    fn drop(&mut self) {
        // In the temporary folder, where nobody misses it.
        let _ = fs::remove_dir_all(&self.0);
    }
}

impl Folder {
    fn new() -> io::Result<Self> {
        let name = format!("front-{}-{:x}", std::process::id(), fastrand::u64(..));
        let path = std::env::temp_dir().join(name);
        fs::create_dir(&path)?;
        Ok(Self(path))
    }

    fn announcement(&self, id: InstanceId) -> PathBuf {
        self.0.join(id.to_string())
    }
}

type Known = Arc<Mutex<HashMap<InstanceId, Announced>>>;

impl Workers {
    /// None run yet. `pool` tells how busy each is.
    pub(crate) fn new(launch: Launch, pool: &Arc<Pool>) -> io::Result<Self> {
        let folder = Arc::new(Folder::new()?);
        let at = Known::default();
        let start = {
            let (folder, launch) = (Arc::clone(&folder), launch.clone());
            move |id| started(&launch.command, &folder.announcement(id))
        };
        let probe = {
            let (folder, at, pool) = (Arc::clone(&folder), Arc::clone(&at), Arc::clone(pool));
            let client: Client<_, Empty<Bytes>> =
                Client::builder(TokioExecutor::new()).build(HttpConnector::new());
            move |id| {
                let announcement = folder.announcement(id);
                let known = at.clone();
                let (client, path, pool) = (client.clone(), launch.ready.clone(), pool.clone());
                async move {
                    let announced = announced(&known, id, &announcement)?;
                    let uri = format!("http://{}{path}", announced.address);
                    let answer = client.get(uri.parse::<Uri>().ok()?).await.ok()?;
                    let worker = pool.workers().iter().find(|w| w.id == id.number()).cloned();
                    let in_flight = worker.map_or(0, |worker| worker.in_flight());
                    answer.status().is_success().then_some(in_flight)
                }
            }
        };
        let processes = LocalProcesses::new(start, probe).grace(launch.grace);
        Ok(Self { processes, at, folder })
    }

    /// Tells `pool` which workers are ready, for as long as it is polled.
    pub(crate) async fn tell(&self, pool: &Pool) {
        let mut changes = self.processes.changes();
        let mut instances = self.processes.instances();
        let mut crashed = 0;
        loop {
            {
                let mut at = self.at();
                let there = |id: &InstanceId| instances.iter().any(|i| i.id == *id);
                at.retain(|id, _| {
                    there(id) || fs::remove_file(self.folder.announcement(*id)).is_err()
                });
                let ready = instances.iter().filter(|i| i.phase == Phase::Ready);
                let ready: Vec<_> = ready
                    .filter_map(|i| Some((i.id.number(), at.get(&i.id)?)))
                    .map(|(id, announced)| (id, announced.address, announced.weight))
                    .collect();
                pool.set(ready);
            }
            let now = self.processes.crashed();
            if now > crashed
                && let Some(error) = self.processes.last_error()
            {
                warn!("{error}; another one is started");
            }
            crashed = now;
            match changes.next().await {
                Some(changed) => instances = changed,
                None => return,
            }
        }
    }

    /// Replaces each worker, one by one.
    pub(crate) async fn restart(&self) {
        info!("replacing the workers one by one");
        self.processes.restart_one_by_one().await;
        info!("all workers are new");
    }

    fn at(&self) -> MutexGuard<'_, HashMap<InstanceId, Announced>> {
        self.at.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

fn started(command: &[OsString], announcement: &Path) -> Command {
    // Never empty: clap asks for one word at least.
    let (program, words) = command.split_first().expect("a command has a program");
    let mut command = Command::new(program);
    let file = announcement.display().to_string();
    for word in words {
        match word.to_str() {
            Some(text) => command.arg(text.replace("{announce}", &file)),
            None => command.arg(word),
        };
    }
    command.stdout(std::process::Stdio::null()).stdin(std::process::Stdio::null());
    // A Ctrl-C is the front's to pass on, when it is time.
    command.process_group(0);
    command
}

/// Where a worker listens, if it has said so: `http://127.0.0.1:4711`, and its weight after
/// a space if it is not 1.
fn announced(known: &Known, id: InstanceId, file: &Path) -> Option<Announced> {
    let mut known = known.lock().unwrap_or_else(PoisonError::into_inner);
    if let Some(announced) = known.get(&id) {
        return Some(*announced);
    }
    let announced = parsed(&fs::read_to_string(file).ok()?)?;
    known.insert(id, announced);
    Some(announced)
}

fn parsed(text: &str) -> Option<Announced> {
    // Without its end it is not whole yet.
    let mut words = text.strip_suffix('\n')?.split(' ');
    let address = words.next()?.strip_prefix("http://")?.parse().ok()?;
    let weight = words.next().map_or(Some(1), |weight| weight.parse().ok())?;
    (1..=100).contains(&weight).then_some(Announced { address, weight })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_announcement_is_a_url_and_maybe_a_weight() {
        let read = |text| parsed(text).map(|a| (a.address.to_string(), a.weight));
        assert_eq!(read("http://127.0.0.1:80\n"), Some(("127.0.0.1:80".to_owned(), 1)));
        assert_eq!(read("http://[::1]:8080 3\n"), Some(("[::1]:8080".to_owned(), 3)));
        for half in ["", "http://127.0.0.1:80", "http://127.0.0.1:80 \n", "127.0.0.1:80\n"] {
            assert_eq!(read(half), None, "{half:?}");
        }
        assert_eq!(read("http://127.0.0.1:80 0\n"), None);
    }
}
