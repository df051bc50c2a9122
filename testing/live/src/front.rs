//! A front and its workers, as processes.

use std::path::PathBuf;
use std::process::{Command, Stdio};
use std::sync::OnceLock;
use std::time::Duration;

use bytes::Bytes;
use http_body_util::{BodyExt, Empty};
use hyper_util::client::legacy::Client;
use hyper_util::rt::TokioExecutor;
use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;
use serde_json::Value;
use testbed::guard::{ExitSignal, Process, spawn_guarded};
use testbed::{Folder, eventually, eventually_some};

use crate::program;

const SOON: Duration = Duration::from_secs(30);

fn front() -> &'static PathBuf {
    static PROGRAM: OnceLock<PathBuf> = OnceLock::new();
    PROGRAM.get_or_init(|| program("front", &[]))
}

/// `examples/front`, with its workers.
#[derive(Debug)]
pub struct Front {
    /// Where it listens.
    pub url: String,
    admin: String,
    process: Process,
    folder: Folder,
}

impl Front {
    /// Starts it with `words`, and workers by the command `worker`; `environment` is for
    /// both.
    pub async fn start(
        words: &[&str],
        worker: &[&str],
        environment: &[(String, String)],
    ) -> Self {
        let folder = Folder::new("front").await.unwrap();
        let file = |name| std::fs::File::create(folder.path().join(name)).unwrap();
        let mut command = Command::new(front());
        command
            .args(["--listen", "127.0.0.1:0", "--admin", "127.0.0.1:0"])
            .args(words)
            .arg("--")
            .args(worker)
            .envs(environment.iter().cloned())
            .current_dir("/")
            .stdin(Stdio::null())
            .stdout(file("out"))
            .stderr(file("err"));
        let process = spawn_guarded(command, ExitSignal::Terminate).await.unwrap();
        let path = folder.path().join("out");
        let (url, admin) = eventually_some(SOON, async || {
            assert_eq!(process.exit_status(), None, "the front did not start");
            let said = std::fs::read_to_string(&path).ok()?;
            let (url, admin) = said.strip_suffix('\n')?.split_once('\n')?;
            Some((url.to_owned(), admin.to_owned()))
        })
        .await;
        Self { url, admin, process, folder }
    }

    /// Ends it in good order: with 0, and none of its workers left.
    pub async fn stop(&self) {
        let workers: Vec<_> = self.workers().await.iter().map(process).collect();
        self.process.signal(ExitSignal::Terminate).unwrap();
        let status = eventually_some(SOON, async || self.process.exit_status()).await;
        assert!(status.success(), "{status}: {}", self.said());
        for worker in workers.into_iter().flatten() {
            assert!(kill(Pid::from_raw(worker), None).is_err(), "{worker} still runs");
        }
    }

    /// What it has logged.
    pub fn said(&self) -> String {
        std::fs::read_to_string(self.folder.path().join("err")).unwrap()
    }

    /// Asks it once; returns the status, and what `Retry-After` says.
    pub async fn get(&self, path: &str) -> (u16, Option<String>) {
        let client: Client<_, Empty<Bytes>> =
            Client::builder(TokioExecutor::new()).build_http();
        let answer = client.get(format!("{}{path}", self.url).parse().unwrap()).await.unwrap();
        let after = answer.headers().get("retry-after").map(|v| v.to_str().unwrap().to_owned());
        (answer.status().as_u16(), after)
    }

    async fn ask(&self, method: &str, path: &str) -> String {
        let client: Client<_, Empty<Bytes>> =
            Client::builder(TokioExecutor::new()).build_http();
        let request =
            http::Request::builder().method(method).uri(format!("{}{path}", self.admin));
        let answer = client.request(request.body(Empty::new()).unwrap()).await.unwrap();
        assert!(answer.status().is_success(), "{path}: {}", answer.status());
        let body = answer.into_body().collect().await.unwrap().to_bytes();
        String::from_utf8(body.into()).unwrap()
    }

    /// What it says of its workers.
    pub async fn workers(&self) -> Vec<Value> {
        serde_json::from_str(&self.ask("GET", "/workers").await).unwrap()
    }

    /// The numbers of the workers in that phase.
    pub async fn phase(&self, phase: &str) -> Vec<u64> {
        let workers = self.workers().await;
        let fitting = workers.iter().filter(|worker| worker["phase"] == phase);
        fitting.map(|worker| worker["id"].as_u64().unwrap()).collect()
    }

    /// Waits until so many are ready, and there are no others.
    pub async fn ready(&self, count: usize) -> Vec<u64> {
        eventually_some(SOON, async || {
            let workers = self.workers().await;
            let ready = self.phase("ready").await;
            (workers.len() == count && ready.len() == count).then_some(ready)
        })
        .await
    }

    /// Waits until worker `id` is gone and two others are ready.
    pub async fn replaced(&self, id: u64) {
        eventually(SOON, async || !self.ready(2).await.contains(&id)).await;
    }

    /// Sends a signal to worker `id`.
    pub async fn signal(&self, id: u64, signal: Signal) {
        let workers = self.workers().await;
        let worker = workers.iter().find(|worker| worker["id"] == id).unwrap();
        kill(Pid::from_raw(process(worker).unwrap()), signal).unwrap();
    }

    /// Has all workers replaced one by one, and waits for the end of it.
    pub async fn restart(&self) {
        self.ask("POST", "/restart").await;
        eventually(SOON, async || self.counter("front_restarting").await == 0).await;
    }

    /// Asks for so many workers, until it decides otherwise.
    pub async fn resize(&self, count: usize) {
        self.ask("POST", &format!("/resize?count={count}")).await;
    }

    /// A figure of its own.
    pub async fn counter(&self, name: &str) -> u64 {
        let text = self.ask("GET", "/metrics").await;
        let figure = text.lines().find_map(|line| line.strip_prefix(name)?.strip_prefix(' '));
        figure.unwrap().parse().unwrap()
    }

    /// How many requests each worker has answered.
    pub async fn served(&self) -> Vec<u64> {
        self.workers().await.iter().map(|worker| worker["served"].as_u64().unwrap()).collect()
    }
}

fn process(worker: &Value) -> Option<i32> {
    worker["process"].as_i64().map(|id| i32::try_from(id).unwrap())
}
