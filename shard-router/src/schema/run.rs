use std::fmt;
use std::time::Duration;

use tokio_postgres::Client;
use tracing::info;

use super::fingerprint::{catalogue, differences};
use super::{Migration, MigrationState, Phase, Progress, SchemaError};
use crate::error::Error;
use crate::map::ShardName;
use crate::router::{Member, Router};
use crate::source::{BoxConnection, Purpose, SourceError};
use crate::text::{Effect, outline};

/// One migrator at a time on each shard: "shar" and 3.
const LOCK: &str = "SELECT pg_try_advisory_lock(8386093294336049155)";
const UNLOCK: &str = "SELECT pg_advisory_unlock(8386093294336049155)";
const HISTORY: &str = "SELECT name, checksum, state FROM shard_router.history";
const RECORD: &str = "INSERT INTO shard_router.history (name, phase, checksum, state) \
    VALUES ($1, $2, $3, $4) ON CONFLICT (name) DO UPDATE SET state = excluded.state, at = now()";

/// Runs schema changes on all shards: each change on a canary first, then on the others one
/// after the other, and the next change only when all have this one. It stops at the first
/// failure, and a second run goes on from there.
///
/// ```no_run
/// use shard_router::{Migration, Migrator, Router};
///
/// # async fn example(router: Router) -> Result<(), shard_router::Error> {
/// let changes = [Migration::expand("0001_note", "ALTER TABLE orders ADD note text")];
/// Migrator::new(&router).canary("a").run(&changes).await?;
/// # Ok(())
/// # }
/// ```
#[must_use]
pub struct Migrator<'a> {
    router: &'a Router,
    canary: Option<String>,
    lock_timeout: Duration,
    contract: bool,
    progress: Box<dyn Fn(&Applied<'_>) + Send + Sync + 'a>,
}

/// A change that was just run on a shard.
#[derive(Clone, Copy, Debug)]
#[non_exhaustive]
pub struct Applied<'a> {
    /// The change.
    pub migration: &'a Migration,
    /// The shard.
    pub shard: &'a ShardName,
    /// On how many it is done by now.
    pub done: usize,
    /// Of how many.
    pub of: usize,
}

impl<'a> Migrator<'a> {
    /// For the shards of a router, which must be [installed](Router::install).
    pub fn new(router: &'a Router) -> Self {
        Self {
            router,
            canary: None,
            lock_timeout: Duration::from_secs(2),
            contract: false,
            progress: Box::new(|_| {}),
        }
    }

    /// The shard that has each change first. By default the first of the map.
    pub fn canary(mut self, shard: impl Into<String>) -> Self {
        self.canary = Some(shard.into());
        self
    }

    /// How long a statement waits for a lock, behind which all other statements on the table
    /// would wait. The default is 2 s.
    pub fn lock_timeout(mut self, timeout: Duration) -> Self {
        self.lock_timeout = timeout;
        self
    }

    /// Runs changes that take away, too.
    pub fn contract(mut self) -> Self {
        self.contract = true;
        self
    }

    /// Called after each change on each shard.
    pub fn on_progress(mut self, call: impl Fn(&Applied<'_>) + Send + Sync + 'a) -> Self {
        self.progress = Box::new(call);
        self
    }

    /// Runs what is pending, and compares the schemas of all shards at the end, but for
    /// constraints whose names begin with `shard_router_`: these are each shard's own, such as
    /// a `CHECK` that a row's [`slot_sql`](crate::slot_sql) is among the slots that it owns.
    ///
    /// # Errors
    ///
    /// [`Error::Schema`] says what has failed where, and where it is done.
    ///
    /// # Cancel safety
    ///
    /// Dropped, the change under way may have happened or not on its shard; a second run finds
    /// out.
    pub async fn run(&self, migrations: &[Migration]) -> Result<(), Error> {
        check_names(migrations)?;
        let view = self.router.view();
        let members = self.ordered(&view.members)?;
        let mut shards = Vec::new();
        let mut outcome = Ok(());
        for member in &members {
            match Target::connect(member, self.lock_timeout).await {
                Ok(target) => shards.push(target),
                Err(error) => {
                    outcome = Err(error);
                    break;
                }
            }
        }
        if outcome.is_ok() {
            outcome = self.run_on(&shards, migrations).await;
        }
        // Also after an error: a second run would find its own locks.
        for shard in shards {
            shard.release().await;
        }
        outcome
    }

    async fn run_on(
        &self,
        shards: &[Target<'_>],
        migrations: &[Migration],
    ) -> Result<(), Error> {
        for shard in shards {
            for migration in migrations {
                shard.progress_of(migration)?;
            }
        }
        for migration in migrations {
            let mut done: Vec<ShardName> = Vec::new();
            for shard in shards {
                if shard.progress_of(migration)? == Progress::Done {
                    done.push(shard.name().clone());
                }
            }
            if done.len() == shards.len() {
                continue;
            }
            if migration.phase == Phase::Contract && !self.contract {
                let migration = migration.name.clone();
                return Err(SchemaError::Contract { migration }.into());
            }
            for shard in shards {
                if done.contains(shard.name()) && !cfg!(broken = "no_resume") {
                    continue;
                }
                if let Err(error) = shard.apply(migration).await {
                    let source = Error::of(shard.name(), SourceError::Sql(error));
                    return Err(SchemaError::Failed {
                        migration: migration.name.clone(),
                        shard: shard.name().clone(),
                        done,
                        source: Box::new(source),
                    }
                    .into());
                }
                done.push(shard.name().clone());
                info!(shard = %shard.name(), migration = %migration.name, "a schema change is done");
                let (done, of) = (done.len(), shards.len());
                (self.progress)(&Applied { migration, shard: shard.name(), done, of });
            }
        }
        compare(shards).await
    }

    /// Where each change is, without running any.
    ///
    /// # Errors
    ///
    /// If a shard cannot be asked.
    pub async fn state(&self, migrations: &[Migration]) -> Result<Vec<MigrationState>, Error> {
        check_names(migrations)?;
        let view = self.router.view();
        let mut states: Vec<_> = migrations
            .iter()
            .map(|migration| MigrationState {
                name: migration.name.clone(),
                phase: migration.phase,
                shards: Vec::new(),
            })
            .collect();
        for member in self.ordered(&view.members)? {
            let connection = member.node.connect(Purpose::Check).await?;
            connection.busy();
            let history = history(connection.client()).await;
            let history =
                history.map_err(|error| member.node.error(SourceError::Sql(error)))?;
            connection.idle();
            for (migration, state) in migrations.iter().zip(&mut states) {
                let progress = progress_of(migration, &history, &member.node.name)?;
                state.shards.push((member.node.name.clone(), progress));
            }
        }
        Ok(states)
    }

    fn ordered<'m>(&self, members: &'m [Member]) -> Result<Vec<&'m Member>, Error> {
        let mut members: Vec<_> = members.iter().collect();
        if let Some(canary) = &self.canary {
            let place = members.iter().position(|m| m.node.name.as_str() == canary);
            let place = place.ok_or_else(|| SchemaError::Invalid {
                reason: format!("there is no shard called {canary:?} to be the canary"),
            })?;
            members[..=place].rotate_right(1);
        }
        Ok(members)
    }
}

impl fmt::Debug for Migrator<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Migrator")
            .field("canary", &self.canary)
            .field("contract", &self.contract)
            .finish_non_exhaustive()
    }
}

fn check_names(migrations: &[Migration]) -> Result<(), Error> {
    for (at, migration) in migrations.iter().enumerate() {
        let twice = migrations[..at].iter().any(|other| other.name == migration.name);
        if twice || migration.name.is_empty() {
            let reason = format!("two changes are called {:?}, or it is empty", migration.name);
            return Err(SchemaError::Invalid { reason }.into());
        }
        if let (true, Effect::Transaction(what)) =
            (migration.transaction, outline(&migration.sql).effect)
            && !cfg!(broken = "own_commit")
        {
            let reason = format!(
                "{} has a {what} of its own; it is run in a transaction already, so remove it, or \
                 say that it is to be run without one",
                migration.name
            );
            return Err(SchemaError::Invalid { reason }.into());
        }
    }
    Ok(())
}

type History = Vec<(String, String, String)>;

async fn history(client: &Client) -> Result<History, tokio_postgres::Error> {
    let rows = client.query_typed(HISTORY, &[]).await?;
    rows.iter().map(|row| Ok((row.try_get(0)?, row.try_get(1)?, row.try_get(2)?))).collect()
}

fn progress_of(
    migration: &Migration,
    history: &History,
    shard: &ShardName,
) -> Result<Progress, Error> {
    let Some((_, checksum, state)) = history.iter().find(|(name, ..)| *name == migration.name)
    else {
        return Ok(Progress::Pending);
    };
    if *checksum != migration.checksum() {
        let (migration, shard) = (migration.name.clone(), shard.clone());
        return Err(SchemaError::Changed { migration, shard }.into());
    }
    Ok(if state == "done" { Progress::Done } else { Progress::Interrupted })
}

/// A shard whose lock is held.
struct Target<'a> {
    member: &'a Member,
    connection: BoxConnection,
    history: History,
    /// Undoes what a change has set for its session.
    reset: String,
}

impl<'a> Target<'a> {
    async fn connect(member: &'a Member, lock_timeout: Duration) -> Result<Self, Error> {
        let node = &member.node;
        let connection = node.connect(Purpose::Transaction).await?;
        // It is never given back: changes may leave anything in its session.
        connection.busy();
        let client = connection.client();
        let sql = |error| node.error(SourceError::Sql(error));
        let rows = client.query_typed(LOCK, &[]).await.map_err(sql)?;
        let locked = rows.first().map(|row| row.try_get(0)).transpose().map_err(sql)?;
        if locked != Some(true) {
            return Err(SchemaError::Locked { shard: node.name.clone() }.into());
        }
        let reset = format!(
            "RESET SESSION AUTHORIZATION; RESET ROLE; RESET ALL; SET lock_timeout = {}",
            lock_timeout.as_millis().clamp(1, i32::MAX as u128)
        );
        let history = history(client).await.map_err(sql)?;
        Ok(Self { member, connection, history, reset })
    }

    fn name(&self) -> &ShardName {
        &self.member.node.name
    }

    fn progress_of(&self, migration: &Migration) -> Result<Progress, Error> {
        progress_of(migration, &self.history, self.name())
    }

    /// As if nobody had used it before.
    async fn client(&self) -> Result<&Client, tokio_postgres::Error> {
        let client = self.connection.client();
        if !cfg!(broken = "session_of_changes") {
            client.batch_execute(&self.reset).await?;
        }
        Ok(client)
    }

    async fn apply(&self, migration: &Migration) -> Result<(), tokio_postgres::Error> {
        let client = self.client().await?;
        let checksum = migration.checksum();
        let record = async |state: &str| {
            let phase = migration.phase.as_str();
            client.execute(RECORD, &[&migration.name, &phase, &checksum, &state]).await
        };
        if migration.transaction {
            client.batch_execute("BEGIN").await?;
            let applied = async {
                client.batch_execute(&migration.sql).await?;
                record("done").await
            };
            let applied = applied.await;
            let end = if applied.is_ok() { "COMMIT" } else { "ROLLBACK" };
            let ended = client.batch_execute(end).await;
            applied?;
            ended
        } else {
            record("running").await?;
            client.batch_execute(&migration.sql).await?;
            record("done").await.map(drop)
        }
    }

    /// Now, and not when the server notices that the connection is closed.
    async fn release(self) {
        // If this fails, the connection is gone, and with it the lock.
        let _ = self.connection.client().batch_execute(UNLOCK).await;
        if cfg!(broken = "session_of_changes") {
            self.connection.idle();
        }
    }
}

async fn compare(shards: &[Target<'_>]) -> Result<(), Error> {
    let mut first = None;
    for shard in shards {
        let catalogue = catalogue(shard.connection.client()).await;
        let catalogue =
            catalogue.map_err(|error| shard.member.node.error(SourceError::Sql(error)))?;
        let Some((a, expected)) = &first else {
            first = Some((shard.name(), catalogue));
            continue;
        };
        let differences = differences(expected, &catalogue);
        if !differences.is_empty() && !cfg!(broken = "no_fingerprint") {
            let (a, b) = (ShardName::clone(a), shard.name().clone());
            return Err(SchemaError::Differ { a, b, differences }.into());
        }
    }
    Ok(())
}
