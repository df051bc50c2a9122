//! Who confirms the orders of the load while it runs, and whether each is confirmed.

use std::collections::BTreeSet;
use std::fs::{self, File};
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use serde_json::Value;
use testbed::Folder;
use testbed::guard::{ExitSignal, Process, spawn_guarded};

use super::beds::Beds;
use super::decision;
use super::mail::Mail;
use crate::demo::shop::{Storefront, ask};

/// How long after the load the last order may be confirmed.
const DEADLINE: Duration = Duration::from_secs(20);

/// Its process, the mail service that it sends to, and what was seen of both.
pub(super) struct Confirmations {
    mail: Mail,
    admin: String,
    folder: Folder,
    process: Process,
    heard: usize,
    most: usize,
}

/// What is known of the orders of the load at the end.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct Confirmed {
    pub(super) placed: usize,
    pub(super) confirmed: usize,
    /// Confirmed, and the mail service has not taken it.
    pub(super) unsent: usize,
    pub(super) sent_again: usize,
    pub(super) most: usize,
}

impl Confirmations {
    pub(super) async fn start(storefront: &Storefront) -> Result<Self, String> {
        let mail = Mail::open().await?;
        let folder = Folder::new("confirmations").await.map_err(|error| error.to_string())?;
        let (out, log) = (folder.path().join("out"), folder.path().join("log"));
        let written =
            |path| File::create(path).map_err(|error| format!("confirmations: {error}"));
        let mut command = Command::new(storefront.program());
        command
            .args(["confirmations", "run", "--mail", &mail.url, "--min", "1", "--max", "3"])
            // Quick, to be watched.
            .args(["--drain-within", "2", "--hold-down", "4", "--decide-every", "500"])
            .args(["--mail-timeout", "2000", "--lease", "5000", "--connections", "4"])
            .current_dir("/")
            .env("RUST_LOG", "info")
            .stdin(Stdio::null())
            .stdout(written(&out)?)
            .stderr(written(&log)?);
        storefront.settle(&mut command);
        let process = spawn_guarded(command, ExitSignal::Terminate).await;
        let process = process.map_err(|error| error.to_string())?;
        let until = Instant::now() + Duration::from_secs(20);
        loop {
            let said = fs::read_to_string(&out).unwrap_or_default();
            if let Some(admin) = said.strip_suffix('\n') {
                let admin = admin.to_owned();
                return Ok(Self { mail, admin, folder, process, heard: 0, most: 0 });
            }
            if let Some(status) = process.exit_status() {
                return Err(format!("the confirmations did not start ({status})"));
            }
            if Instant::now() > until {
                return Err("the confirmations did not start in time".to_owned());
            }
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
    }

    pub(super) fn admin(&self) -> &str {
        &self.admin
    }

    /// Prints what was decided since the last look. Returns how many jobs wait, and how many
    /// workers there are.
    pub(super) async fn look(&mut self) -> Result<(u64, usize), String> {
        let said = fs::read_to_string(self.folder.path().join("log")).unwrap_or_default();
        for line in said[self.heard..].lines().filter_map(decision) {
            let of = if line.starts_with(' ') { "" } else { "confirmations: " };
            println!("       {of}{line}");
        }
        self.heard = said.len();
        let list: Vec<Value> =
            serde_json::from_str(&ask(&self.admin, "GET", "/workers").await?)
                .map_err(|error| format!("who confirms: {error}"))?;
        let ready = list.iter().filter(|worker| worker["phase"] == "ready").count();
        self.most = self.most.max(ready);
        let metrics = ask(&self.admin, "GET", "/metrics").await?;
        let depth = metrics
            .lines()
            .find_map(|line| line.strip_prefix("storefront_confirmations_queue_depth "));
        Ok((depth.and_then(|depth| depth.parse().ok()).unwrap_or(0), ready))
    }

    /// Waits until nothing is left to be done, or for as long as that may take. The load was
    /// told of so many orders.
    pub(super) async fn end(
        &mut self,
        beds: &Beds,
        placed: usize,
    ) -> Result<Confirmed, String> {
        let until = Instant::now() + DEADLINE;
        let confirmed = loop {
            self.look().await?;
            let (waiting, confirmed) = beds.confirmed().await?;
            if waiting == 0 && confirmed.len() >= placed || Instant::now() > until {
                break confirmed;
            }
            tokio::time::sleep(Duration::from_millis(100)).await;
        };
        let taken = self.mail.taken();
        let unsent: BTreeSet<_> =
            confirmed.iter().filter(|order| !taken.contains_key(order)).collect();
        Ok(Confirmed {
            placed,
            confirmed: confirmed.len(),
            unsent: unsent.len(),
            sent_again: taken.values().filter(|times| **times > 1).count(),
            most: self.most,
        })
    }

    pub(super) async fn stop(self) -> Result<(), String> {
        let status = self.process.stop(Duration::from_secs(20)).await;
        if status.success() {
            Ok(())
        } else {
            Err(format!("the confirmations ended with {status}"))
        }
    }
}

impl Confirmed {
    /// Whether each order was confirmed, once.
    pub(super) fn judge(&self) -> Result<(), String> {
        let Self { placed, confirmed, unsent, .. } = self;
        if confirmed != placed {
            return Err(format!(
                "{placed} orders were placed, and {confirmed} confirmed, {DEADLINE:?} after the \
                 load at the latest"
            ));
        }
        if *unsent > 0 {
            return Err(format!(
                "{unsent} orders are confirmed, and the mail service knows nothing of them"
            ));
        }
        if *placed == 0 {
            return Err("nobody has ordered anything".to_owned());
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_order_that_is_not_confirmed_does_not_pass() {
        let fine = Confirmed { placed: 3, confirmed: 3, sent_again: 1, ..Confirmed::default() };
        assert_eq!(fine.judge(), Ok(()));
        for wrong in [
            Confirmed { confirmed: 2, ..fine.clone() },
            Confirmed { confirmed: 4, ..fine.clone() },
            Confirmed { unsent: 1, ..fine.clone() },
            Confirmed::default(),
        ] {
            assert!(wrong.judge().is_err(), "{wrong:?}");
        }
    }
}
