use std::path::PathBuf;

use clap::Args;
use shard_router::{Router, ShardReport, ShardState};

use crate::keys::read;
use crate::{Outcome, print_json, with_causes};

#[derive(Args)]
pub(crate) struct Check {
    /// A topology in TOML
    topology: PathBuf,
    /// First write down on each shard what it is, where that is not written down yet, or of an
    /// older epoch with the same slots
    #[arg(long)]
    install: bool,
    /// As `--install`, for shards that own other slots now: their rows have been moved
    #[arg(long)]
    install_after_moving_rows: bool,
    /// As JSON
    #[arg(long)]
    json: bool,
}

#[derive(serde::Serialize)]
struct Row {
    shard: String,
    ok: bool,
    epoch: Option<u64>,
    slots: Option<u16>,
    version: Option<String>,
    read_only: Option<bool>,
    error: Option<String>,
}

impl Check {
    pub(crate) async fn run(self) -> Outcome {
        let router = Router::builder(read(&self.topology)?).build()?;
        if self.install_after_moving_rows {
            router.install_after_moving_rows().await?;
        } else if self.install {
            router.install().await?;
        }
        let rows: Vec<Row> = router.check().await.into_iter().map(row).collect();
        let (bad, of) = (rows.iter().filter(|row| !row.ok).count(), rows.len());
        if self.json {
            print_json(&rows)?;
        } else {
            say!("{:20} {:>8} {:>8} {:>10}  state", "shard", "epoch", "slots", "PostgreSQL");
            for row in rows {
                let Row { shard, epoch, slots, version, read_only, error, .. } = row;
                let state = error.unwrap_or_else(|| {
                    if read_only == Some(true) { "ok, read-only".into() } else { "ok".into() }
                });
                let number = |number: Option<u64>| {
                    number.map_or_else(|| "-".into(), |number| number.to_string())
                };
                say!(
                    "{shard:20} {:>8} {:>8} {:>10}  {state}",
                    number(epoch),
                    number(slots.map(u64::from)),
                    version.as_deref().and_then(|v| v.split(' ').next()).unwrap_or("-"),
                );
            }
        }
        if bad > 0 {
            return Err(format!("{bad} of {of} shards cannot be used as they are").into());
        }
        Ok(())
    }
}

fn row(report: ShardReport) -> Row {
    let shard = report.shard.to_string();
    match report.state {
        Ok(ShardState { epoch, slots, version, read_only, .. }) => Row {
            shard,
            ok: true,
            epoch: Some(epoch.number()),
            slots: Some(slots),
            version: Some(version),
            read_only: Some(read_only),
            error: None,
        },
        Err(error) => {
            let error = Some(with_causes(&error));
            Row {
                shard,
                ok: false,
                epoch: None,
                slots: None,
                version: None,
                read_only: None,
                error,
            }
        }
    }
}
