//! The front's process: started, asked, watched through a day, and stopped.

use std::fs::{self, File};
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use serde_json::Value;
use testbed::Folder;
use testbed::guard::{ExitSignal, Process, spawn_guarded};

use super::workers::{Counts, Workers};
use super::{Fleet, LOGGED_IN, POLICY, SEEDED, decision};
use crate::command::target;
use crate::demo::shop::{Storefront, ask};

/// Its process, and where it is.
pub(super) struct Front {
    pub(super) url: String,
    pub(super) admin: String,
    pub(super) folder: Folder,
    process: Process,
}

/// What the front says of itself at one moment.
#[derive(Clone, Default)]
pub(super) struct Moment {
    pub(super) requests: u64,
    pub(super) retries: u64,
    pub(super) unanswered: u64,
    pub(super) crashes: u64,
    in_flight: u64,
    ready: usize,
    list: Vec<Value>,
}

impl Front {
    pub(super) async fn start(storefront: &Storefront) -> Result<Self, String> {
        let folder = Folder::new("front").await.map_err(|error| error.to_string())?;
        let policy = folder.path().join("policy.toml");
        let written = |path: &PathBuf| {
            File::create(path).map_err(|error| format!("{}: {error}", path.display()))
        };
        fs::write(&policy, POLICY).map_err(|error| format!("{}: {error}", policy.display()))?;
        let (out, log) = (folder.path().join("out"), folder.path().join("log"));
        let mut command = Command::new(target().join("release").join("front"));
        command
            .args(["--listen", "127.0.0.1:0", "--every", "500", "--policy"])
            .arg(&policy)
            .arg("--")
            .arg(storefront.program())
            .args(["serve", "--listen", "127.0.0.1:0", "--announce", "{announce}"])
            .args(["--propagation", "600", "--behind-front", "--development-cookies"])
            .args(["--cache", "shared", "--connections", "6", "--access-ttl", "15"])
            .current_dir("/")
            .stdin(Stdio::null())
            .stdout(written(&out)?)
            .stderr(written(&log)?);
        storefront.settle(&mut command);
        let process = spawn_guarded(command, ExitSignal::Terminate).await;
        let process = process.map_err(|error| error.to_string())?;
        let until = Instant::now() + Duration::from_secs(20);
        loop {
            let said = fs::read_to_string(&out).unwrap_or_default();
            let lines = said.strip_suffix('\n').and_then(|said| said.split_once('\n'));
            if let Some((url, admin)) = lines {
                let (url, admin) = (url.to_owned(), admin.to_owned());
                return Ok(Self { url, admin, process, folder });
            }
            if let Some(status) = process.exit_status() {
                return Err(format!("the front did not start ({status})"));
            }
            if Instant::now() > until {
                return Err("the front did not start in time".to_owned());
            }
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
    }

    async fn moment(&self) -> Result<Moment, String> {
        let metrics = ask(&self.admin, "GET", "/metrics").await?;
        let figure = |name: &str| {
            let line =
                metrics.lines().find_map(|line| line.strip_prefix(name)?.strip_prefix(' '));
            line.and_then(|figure| figure.parse().ok()).unwrap_or(0)
        };
        let list: Vec<Value> =
            serde_json::from_str(&ask(&self.admin, "GET", "/workers").await?)
                .map_err(|error| format!("the workers: {error}"))?;
        Ok(Moment {
            requests: figure("front_requests_total"),
            retries: figure("front_retries_total"),
            unanswered: figure("front_unanswered_total"),
            crashes: figure("front_crashes_total"),
            in_flight: figure("front_in_flight"),
            ready: list.iter().filter(|worker| worker["phase"] == "ready").count(),
            list,
        })
    }

    pub(super) async fn ready(&self) -> Result<(), String> {
        let until = Instant::now() + Duration::from_secs(30);
        while self.moment().await?.ready < 2 {
            if Instant::now() > until {
                return Err(format!("no worker was ready in time:\n{}", self.said()));
            }
            tokio::time::sleep(Duration::from_millis(50)).await;
        }
        Ok(())
    }

    fn said(&self) -> String {
        // What cannot be read yet was not said yet.
        fs::read_to_string(self.folder.path().join("log")).unwrap_or_default()
    }

    /// Sends the day, prints a line a second and each decision, and replaces all workers at
    /// the peak.
    pub(super) async fn watch(
        &self,
        storefront: &Storefront,
        replay: &Path,
    ) -> Result<Fleet, String> {
        let words = [&SEEDED[..], &LOGGED_IN].concat();
        let load = storefront.replay(&self.url, replay, &words);
        tokio::pin!(load);
        let mut every = tokio::time::interval(Duration::from_secs(1));
        let (mut before, mut heard) = (self.moment().await?, 0);
        let mut fleet = Fleet { least: before.ready, ..Fleet::default() };
        let (mut calm, mut restarted) = (before.ready, false);
        let (mut workers, mut counted) = (Workers::default(), Counts::default());
        println!(
            "\n{:>4}{:>12}{:>11}{:>9}{:>7}{:>10}{:>15}",
            "s", "requests/s", "in flight", "workers", "ready", "cached %", "on replicas %"
        );
        for second in 0.. {
            let report = tokio::select! {
                report = &mut load => Some(report?),
                _ = every.tick() => None,
            };
            let now = self.moment().await?;
            workers.look(&now.list).await;
            let said = self.said();
            for line in said[heard..].lines().filter_map(decision) {
                println!("       {line}");
                fleet.outs += u32::from(line.contains("OUT "));
                fleet.ins += u32::from(line.contains("IN "));
            }
            heard = said.len();
            if second > 0 && report.is_none() {
                let requests = now.requests - before.requests;
                let (Moment { in_flight, ready, .. }, all) = (&now, now.list.len());
                let of = workers.counts().since(counted);
                let (cached, on_replicas) = (of.cached(), of.on_replicas());
                println!(
                    "{second:>4}{requests:>12}{in_flight:>11}{all:>9}{ready:>7}{cached:>10.0}\
                     {on_replicas:>15.0}"
                );
            }
            counted = workers.counts();
            fleet.most = fleet.most.max(now.ready);
            // At the peak: more than there were, and then one by one all are new.
            calm = calm.min(now.ready);
            if !restarted && now.ready > calm {
                ask(&self.admin, "POST", "/restart").await?;
                println!("       all workers are replaced, one by one");
                restarted = true;
            }
            if let Some(report) = report {
                fleet.last = now.ready;
                (fleet.counts, fleet.memory) = (workers.counts(), workers.memory());
                return fleet.ended(&report, now, restarted);
            }
            before = now;
        }
        unreachable!("a load ends")
    }

    pub(super) async fn stop(self) -> Result<(), String> {
        let status = self.process.stop(Duration::from_secs(40)).await;
        if status.success() { Ok(()) } else { Err(format!("the front ended with {status}")) }
    }
}
