//! What shards store about themselves: writing it, and looking at it.

use futures_util::future::join_all;
use tokio::time::timeout;
use tokio_postgres::Client;

use super::node::stored;
use super::{Member, Router, View, columns};
use crate::error::{Error, Refusal};
use crate::map::ShardName;
use crate::slot::Epoch;
use crate::source::{Purpose, STATE, SourceError, Stored};

/// One installer at a time: a number of ours, "shar" and 1.
pub(crate) const LOCK: &str = "SELECT pg_advisory_xact_lock(8386093294336049153)";

pub(crate) const TABLES: &str = "CREATE SCHEMA IF NOT EXISTS shard_router; \
    CREATE TABLE IF NOT EXISTS shard_router.state ( \
        only_row boolean PRIMARY KEY DEFAULT true CHECK (only_row), \
        shard text NOT NULL, hash text NOT NULL, key text NOT NULL, epoch bigint NOT NULL); \
    CREATE TABLE IF NOT EXISTS shard_router.owned ( \
        first int PRIMARY KEY, last int NOT NULL, \
        CHECK (0 <= first AND first <= last AND last < 16384)); \
    CREATE TABLE IF NOT EXISTS shard_router.history ( \
        name text PRIMARY KEY, phase text NOT NULL, checksum text NOT NULL, \
        state text NOT NULL CHECK (state IN ('running', 'done')), \
        at timestamptz NOT NULL DEFAULT now());";

/// What [`Router::check`] has found on a shard.
#[derive(Debug)]
#[non_exhaustive]
pub struct ShardReport {
    /// The shard.
    pub shard: ShardName,
    /// What it is, or why it cannot be used.
    pub state: Result<ShardState, Error>,
}

/// A shard that can be used.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct ShardState {
    /// The epoch that it stores: the map's.
    pub epoch: Epoch,
    /// How many slots it owns, by what it stores.
    pub slots: u16,
    /// The server's version, as in `15.18`.
    pub version: String,
    /// Whether it refuses writes.
    pub read_only: bool,
}

impl Router {
    /// Writes down on each shard what it is: its name, hash and key, the slots that it owns, and
    /// the epoch, in a schema `shard_router`. Run it once for a new cluster, and after each
    /// new map that leaves a shard's slots as they are. It changes nothing where nothing is
    /// to be changed.
    ///
    /// # Errors
    ///
    /// A shard that is something else already, or owns other slots: it would then say that it
    /// has rows which are elsewhere. Shards before it in the map are done, and a second run goes
    /// on.
    pub async fn install(&self) -> Result<(), Error> {
        self.install_on_all(false).await
    }

    /// As [`install`](Self::install), for shards that own other slots than before, after somebody
    /// has moved the rows, and while nobody writes.
    ///
    /// # Errors
    ///
    /// As [`install`](Self::install), without the last.
    pub async fn install_after_moving_rows(&self) -> Result<(), Error> {
        self.install_on_all(true).await
    }

    async fn install_on_all(&self, moved: bool) -> Result<(), Error> {
        let view = self.view();
        for member in &view.members {
            let patience = self.core.settings.pool.query_timeout;
            let installing = install(member, &view, moved);
            let installed = timeout(patience, installing).await;
            installed.unwrap_or(Err(SourceError::OutcomeUnknown(None))).map_err(|error| {
                member.node.metrics.refusals();
                Error::of(&member.node.name, error)
            })?;
            member.forget();
        }
        Ok(())
    }

    /// Asks every shard at once whether it is what the topology says, whatever was found a
    /// moment ago: its name, hash, key, encoding, epoch, slots, and the columns of the tables.
    pub async fn check(&self) -> Vec<ShardReport> {
        let view = self.view();
        let patience = self.core.settings.pool.connect_timeout.saturating_mul(2);
        let asking = view.members.iter().map(async |member| {
            let state = match timeout(patience, look(member, &view)).await {
                Ok(state) => state,
                Err(_) => {
                    let (shard, after) = (member.node.name.clone(), patience);
                    Err(Error::Late { shard, after })
                }
            };
            ShardReport { shard: member.node.name.clone(), state }
        });
        join_all(asking).await
    }
}

async fn look(member: &Member, view: &View) -> Result<ShardState, Error> {
    let node = &member.node;
    let of = |error| Error::of(&node.name, error);
    let connection = node.source.connect(Purpose::Check).await.map_err(of)?;
    let found = stored(&connection).await.map_err(of)?;
    found.verify(&member.expected).map_err(|reason| node.refused(reason))?;
    let topology = &view.topology;
    member.compare(&found, topology.map().epoch())?;
    member.compare_slots(&found, topology.map())?;
    let asking = async {
        columns::check(connection.client(), topology.tables(), topology.key()).await?;
        let sql = "SELECT current_setting('server_version'), \
            current_setting('transaction_read_only') = 'on'";
        Ok::<_, SourceError>(connection.client().query_typed(sql, &[]).await?)
    };
    connection.busy();
    let rows = asking.await.map_err(of)?;
    connection.idle();
    let row = rows.first().ok_or_else(|| {
        node.refused(Refusal::Damaged { reason: "it does not tell its version".into() })
    })?;
    let field = |error| of(SourceError::Sql(error));
    Ok(ShardState {
        epoch: found.epoch,
        slots: found.owned.iter().map(|range| range.len()).sum(),
        version: row.try_get::<_, String>(0).map_err(field)?,
        read_only: row.try_get(1).map_err(field)?,
    })
}

async fn install(member: &Member, view: &View, moved: bool) -> Result<(), SourceError> {
    let node = &member.node;
    if let Some(pool) = &node.pool {
        let connection = pool.open_unchecked().await?;
        write(&connection.client, member, view, moved).await
    } else {
        let connection = node.source.connect(Purpose::Check).await?;
        connection.busy();
        write(connection.client(), member, view, moved).await?;
        connection.committed().await?;
        connection.idle();
        Ok(())
    }
}

/// In one transaction, which ends with its connection if this fails.
async fn write(
    client: &Client,
    member: &Member,
    view: &View,
    moved: bool,
) -> Result<(), SourceError> {
    client.batch_execute("BEGIN").await?;
    let written = write_in_transaction(client, member, view, moved).await;
    // What failed is rolled back; if that fails, the connection is gone, and with it the
    // transaction.
    let end = if written.is_ok() { "COMMIT" } else { "ROLLBACK" };
    let ended = client.batch_execute(end).await;
    written?;
    Ok(ended?)
}

async fn write_in_transaction(
    client: &Client,
    member: &Member,
    view: &View,
    moved: bool,
) -> Result<(), SourceError> {
    let map = view.topology.map();
    let (name, expected) = (member.node.name.as_str(), &member.expected);
    let owned = map.ranges(name).unwrap_or_default();
    let epoch = i64::try_from(map.epoch().number()).unwrap_or(i64::MAX);
    let encoding = client.query_typed("SELECT current_setting('server_encoding')", &[]).await?;
    let encoding: String = encoding[0].try_get(0)?;
    if encoding != "UTF8" {
        return Err(SourceError::Refused(Refusal::Encoding { encoding }));
    }
    client.batch_execute(LOCK).await?;
    client.batch_execute(TABLES).await?;
    let rows = client.query(STATE, &[]).await?;
    if rows.is_empty() {
        let sql =
            "INSERT INTO shard_router.state (shard, hash, key, epoch) VALUES ($1, $2, $3, $4)";
        client.execute(sql, &[&name, &expected.hash, &expected.key, &epoch]).await?;
    } else {
        let stored = Stored::read(&rows).map_err(SourceError::Refused)?;
        stored.verify(expected).map_err(SourceError::Refused)?;
        if stored.epoch > map.epoch() {
            let reason = format!("its epoch {} is ahead of the map's {epoch}", stored.epoch);
            return Err(SourceError::Refused(Refusal::Damaged { reason }));
        }
        if stored.owned != owned && stored.epoch == map.epoch() && !cfg!(broken = "one_epoch") {
            let reason = format!(
                "at epoch {epoch}, too, it owns other slots: two maps were planned from one; \
                 plan anew from the one that is published"
            );
            return Err(SourceError::Refused(Refusal::Damaged { reason }));
        }
        if stored.owned != owned && !moved {
            let reason =
                "it owns other slots than the map gives it; move its rows first, then say \
                so (`install_after_moving_rows`)"
                    .to_owned();
            return Err(SourceError::Refused(Refusal::Damaged { reason }));
        }
        if stored.owned == owned && stored.epoch == map.epoch() {
            return Ok(());
        }
        client.execute("UPDATE shard_router.state SET epoch = $1", &[&epoch]).await?;
    }
    client.batch_execute("DELETE FROM shard_router.owned").await?;
    let (first, last): (Vec<i32>, Vec<i32>) = owned
        .iter()
        .map(|range| (i32::from(range.first.number()), i32::from(range.last.number())))
        .unzip();
    let sql = "INSERT INTO shard_router.owned SELECT * FROM unnest($1::int[], $2::int[])";
    client.execute(sql, &[&first, &last]).await?;
    Ok(())
}
