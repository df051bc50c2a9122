//! Who confirms orders: the relay, and the workers that it has.

use std::fs::{self, File};
use std::process::{Command, Stdio};

use bytes::Bytes;
use http_body_util::{BodyExt, Empty};
use hyper_util::client::legacy::Client;
use hyper_util::rt::TokioExecutor;
use live::mail::Mail;
use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;
use serde_json::Value;
use testbed::guard::{ExitSignal, Process, spawn_guarded};
use testbed::{Folder, eventually_some};

use super::world::{DEADLINE, storefront};

pub(crate) struct Confirmers {
    url: String,
    /// They end with it.
    _process: Process,
}

impl Confirmers {
    pub(crate) async fn start(
        folder: &Folder,
        mail: &Mail,
        environment: &[(String, String)],
    ) -> Self {
        let out = folder.path().join("confirmations.out");
        let mut command = Command::new(storefront());
        command
            .args(["confirmations", "run", "--mail", &mail.url(), "--min", "1", "--max", "3"])
            // Quick, so that what a killed worker had in hand is not long in coming.
            .args(["--push-again", "1000", "--lease", "4000", "--mail-timeout", "2000"])
            .envs(environment.iter().cloned())
            .current_dir("/")
            .stdin(Stdio::null())
            .stdout(File::create(&out).unwrap())
            .stderr(File::create(out.with_extension("err")).unwrap());
        let process = spawn_guarded(command, ExitSignal::Terminate).await.unwrap();
        let url = eventually_some(DEADLINE, async || {
            let said = fs::read_to_string(out.with_extension("err")).unwrap();
            assert_eq!(process.exit_status(), None, "{said}");
            Some(fs::read_to_string(&out).ok()?.strip_suffix('\n')?.to_owned())
        })
        .await;
        Self { url, _process: process }
    }

    /// Kills a worker that has a job in hand.
    pub(crate) async fn kill_one(&self) {
        let busy = eventually_some(DEADLINE, async || {
            let workers = self.workers().await?;
            let busy = workers.iter().find(|worker| worker["in_flight"] != 0)?;
            i32::try_from(busy["process"].as_i64()?).ok()
        })
        .await;
        kill(Pid::from_raw(busy), Signal::SIGKILL).unwrap();
    }

    async fn workers(&self) -> Option<Vec<Value>> {
        let client: Client<_, Empty<Bytes>> =
            Client::builder(TokioExecutor::new()).build_http();
        let answer = client.get(format!("{}/workers", self.url).parse().unwrap()).await.ok()?;
        let body = answer.into_body().collect().await.ok()?.to_bytes();
        serde_json::from_slice(&body).ok()
    }
}
