use std::io::Write;
use std::path::PathBuf;
use std::time::Duration;

use clap::Args;
use shard_router::{Migration, Migrator, Router};

use crate::keys::read;
use crate::{Outcome, print_json};

#[derive(Args)]
pub(crate) struct Migrate {
    /// A topology in TOML
    topology: PathBuf,
    /// A folder of `….expand.sql` and `….contract.sql`, which are run by their names
    folder: PathBuf,
    /// The shard that has each change first
    #[arg(long, value_name = "SHARD")]
    canary: Option<String>,
    /// Changes that take something away, too
    #[arg(long)]
    contract: bool,
    /// Milliseconds that a statement waits for a lock
    #[arg(long, default_value_t = 2000, value_name = "MS")]
    lock_timeout: u64,
    /// Run nothing; show what is done where
    #[arg(long)]
    status: bool,
    /// As JSON
    #[arg(long, requires = "status")]
    json: bool,
}

impl Migrate {
    pub(crate) async fn run(self) -> Outcome {
        let router = Router::builder(read(&self.topology)?).build()?;
        let migrations = Migration::read_folder(&self.folder)?;
        let mut migrator = Migrator::new(&router)
            .lock_timeout(Duration::from_millis(self.lock_timeout))
            .on_progress(|applied| {
                let (name, shard) = (applied.migration.name(), applied.shard);
                // That nobody reads it any more is no reason to stop.
                let _ = writeln!(
                    std::io::stdout(),
                    "{name}: done on {shard} ({} of {})",
                    applied.done,
                    applied.of
                );
            });
        if let Some(canary) = self.canary {
            migrator = migrator.canary(canary);
        }
        if self.contract {
            migrator = migrator.contract();
        }
        if !self.status {
            migrator.run(&migrations).await?;
            say!(
                "{} changes are done on all shards, whose schemas are the same",
                migrations.len()
            );
            return Ok(());
        }
        let states = migrator.state(&migrations).await?;
        if self.json {
            return print_json(&states);
        }
        for state in states {
            let shards: Vec<_> = state
                .shards
                .iter()
                .map(|(shard, progress)| format!("{shard} {progress}"))
                .collect();
            say!("{:32} {:10} {}", state.name, state.phase.as_str(), shards.join(", "));
        }
        Ok(())
    }
}
