//! Sessions and the feed on PostgreSQL 14 or newer.

mod feed;
mod pool;
mod statements;

use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use tokio::sync::Mutex;
use tokio_postgres::config::TargetSessionAttrs;
use tokio_postgres::{Config, NoTls, Row};

pub use self::pool::Tls;
use self::pool::{Listener, Manager, PATIENCE, Prepared};
use super::{
    Created, Cursor, Described, Feed, NewSession, Revocation, Revoke, Rotate, Rotation,
    Session, SessionId, SessionRef, Store,
};
use crate::error::{BoxError, BuildError};

/// A store on PostgreSQL: one statement for each step, in the schema
/// `jwt_refresh`. Clones share it.
///
/// The first read of the feed opens one more connection, with a task that listens
/// on it; both end with the last clone.
///
/// A URL may name several hosts, of a primary and its replicas, with
/// `target_session_attrs=read-write`: then the store goes on where one of them is promoted.
/// What the primary had not sent there yet is lost: a session whose last rotation it was is
/// told to log in again. A host that takes connections and answers nothing is waited for
/// first; put one that is stopped for good to its end.
///
/// Behind a pooler that takes no `LISTEN`,
/// the feed is polled ten times a second.
pub struct PostgresStore<T: Tls = NoTls> {
    shared: Arc<Shared<T>>,
}

struct Shared<T: Tls> {
    pool: bb8::Pool<Manager<T>>,
    listening: Manager<T>,
    listener: Mutex<Option<Listener>>,
}

type Connection<'a, T> = bb8::PooledConnection<'a, Manager<T>>;

impl<T: Tls> PostgresStore<T> {
    /// Connects to the database at `url`, with up to `connections` connections, and
    /// makes the schema where it is not there, for which the user must be allowed
    /// to create one.
    ///
    /// # Errors
    ///
    /// When the URL is no such one, or one of several hosts without
    /// `target_session_attrs=read-write`; the database cannot be reached, or its schema is of
    /// a later version.
    ///
    /// # Cancel safety
    ///
    /// Cancel safe.
    pub async fn connect(url: &str, tls: T, connections: u32) -> Result<Self, BuildError> {
        // Messages of the driver may hold the URL, and that a password.
        let config: Config =
            url.parse().map_err(|_| BuildError::new("url", "it is no URL of PostgreSQL"))?;
        let writes = config.get_target_session_attrs() == TargetSessionAttrs::ReadWrite;
        if config.get_hosts().len() > 1 && !writes {
            return Err(BuildError::new(
                "url",
                "it names several hosts, of which only one takes writes; add \
                 target_session_attrs=read-write",
            ));
        }
        if connections == 0 {
            return Err(BuildError::new("connections", "there must be at least one"));
        }
        migrate(&config, &tls).await?;
        let manager = Manager { config: config.clone(), tls: tls.clone() };
        let pool = bb8::Pool::builder()
            .max_size(connections)
            .connection_timeout(PATIENCE)
            // Those that are closed are passed over, and others show when they are used.
            .test_on_check_out(false)
            .build(manager)
            .await
            .map_err(|error| unreachable(&error))?;
        let listening = Manager { config, tls };
        Ok(Self { shared: Arc::new(Shared { pool, listening, listener: Mutex::new(None) }) })
    }

    /// Marked as busy until [`Prepared::end`].
    async fn connection(&self) -> Result<Connection<'_, T>, BoxError> {
        loop {
            let mut connection = self.shared.pool.get().await?;
            // As all are at once when their server has died: each would fail somebody.
            if connection.is_closed() && !cfg!(broken = "closed_connections") {
                continue;
            }
            connection.begin();
            return Ok(connection);
        }
    }
}

async fn migrate<T: Tls>(config: &Config, tls: &T) -> Result<(), BuildError> {
    let connecting = config.connect(tls.clone());
    let connected = tokio::time::timeout(PATIENCE, connecting).await;
    let connected = connected
        .map_err(|_| BuildError::new("url", format!("no answer within {PATIENCE:?}")))?;
    let (client, connection) = connected.map_err(|error| unreachable(&error))?;
    let work = async {
        let made = "SELECT to_regclass('jwt_refresh.version') IS NOT NULL";
        if !client.query_one(made, &[]).await?.get::<_, bool>(0) {
            // One process at a time: CREATE IF NOT EXISTS is not safe against itself.
            let schema = format!(
                "BEGIN; SELECT pg_advisory_xact_lock(8723615041); {}; COMMIT",
                include_str!("schema.sql")
            );
            client.batch_execute(&schema).await?;
        }
        client.query_one("SELECT version FROM jwt_refresh.version", &[]).await
    };
    let done = tokio::select! {
        done = work => done,
        ended = connection => match ended {
            Err(error) => Err(error),
            Ok(()) => return Err(BuildError::new("url", "the server has hung up")),
        },
    };
    match done.map_err(|error| unreachable(&error))?.get::<_, i32>(0) {
        1 => Ok(()),
        other => Err(BuildError::new(
            "url",
            format!("the schema jwt_refresh is of version {other}; this crate knows version 1"),
        )),
    }
}

fn unreachable(error: &tokio_postgres::Error) -> BuildError {
    let what = match error.as_db_error() {
        Some(error) => format!("{} ({})", error.message(), error.code().code()),
        None => error.to_string(),
    };
    BuildError::new("url", format!("PostgreSQL cannot be used: {what}"))
}

impl<T: Tls> Store for PostgresStore<T> {
    async fn create(&self, new: &NewSession) -> Result<Created, BoxError> {
        let mut connection = self.connection().await?;
        let Prepared { client, statements, .. } = &*connection;
        let row = client
            .query_one(
                &statements.create,
                &[
                    &new.session.id.bytes().as_slice(),
                    &new.user,
                    &new.client,
                    &new.scope,
                    &new.grant,
                    &new.device,
                    &new.hash.bytes().as_slice(),
                    &millis(new.absolute),
                    &millis(new.idle),
                ],
            )
            .await?;
        connection.end();
        created(&row, 0)
    }

    async fn describe(&self, session: SessionRef) -> Result<Option<Described>, BoxError> {
        let mut connection = self.connection().await?;
        let Prepared { client, statements, .. } = &*connection;
        let id = session.id.bytes().as_slice();
        let row = client.query_opt(&statements.describe, &[&id]).await?;
        connection.end();
        row.map(|row| {
            Ok(Described {
                user: row.try_get(0)?,
                client: row.try_get(1)?,
                scope: row.try_get(2)?,
                grant: row.try_get(3)?,
                device: row.try_get(4)?,
            })
        })
        .transpose()
    }

    async fn rotate(&self, request: &Rotate) -> Result<Rotation, BoxError> {
        let mut connection = self.connection().await?;
        let Prepared { client, statements, .. } = &*connection;
        let retry = request.retry.as_ref().map(|hash| hash.bytes().as_slice());
        let row = client
            .query_opt(
                &statements.rotate,
                &[
                    &request.session.id.bytes().as_slice(),
                    &i64::from(request.generation),
                    &request.hash.bytes().as_slice(),
                    &request.next.hash.bytes().as_slice(),
                    &request.next.nonce.as_slice(),
                    &request.next.key_id.as_slice(),
                    &retry,
                    &millis(request.grace),
                    &millis(request.retry_window),
                    &i64::from(request.most_replays),
                    &millis(request.idle),
                    &millis(request.publish_for),
                ],
            )
            .await?;
        connection.end();
        let Some(row) = row else { return Ok(Rotation::Unknown) };
        Ok(match row.try_get(0)? {
            "rotated" => Rotation::Rotated(created(&row, 1)?),
            "kept" => Rotation::Kept(created(&row, 1)?),
            "replayed" => Rotation::Replayed {
                at: created(&row, 1)?,
                nonce: row.try_get::<_, &[u8]>(4)?.try_into()?,
                key_id: row.try_get::<_, &[u8]>(5)?.try_into()?,
            },
            "revoked" => Rotation::Revoked,
            "expired" => Rotation::Expired,
            "too-many" => Rotation::TooManyReplays,
            "retry-key" => Rotation::RetryKeyReused,
            "forked" => Rotation::Forked,
            "reuse" => Rotation::Reuse,
            "ahead" => Rotation::Ahead,
            _ => return Err("the statement has answered something else".into()),
        })
    }

    async fn revoke(
        &self,
        scope: &Revoke,
        publish_for: Duration,
    ) -> Result<Vec<Revocation>, BoxError> {
        let mut connection = self.connection().await?;
        let Prepared { client, statements, .. } = &*connection;
        let publish = millis(publish_for);
        let session = |row: &Row| {
            let id: [u8; 16] = row.try_get::<_, &[u8]>(0)?.try_into()?;
            let session = SessionId::from_bytes(id);
            Ok::<_, BoxError>(Revocation::Session { session, until_ms: time(row, 1)? })
        };
        let published = match scope {
            Revoke::Session(of) => {
                let id = of.id.bytes().as_slice();
                let row =
                    client.query_one(&statements.revoke_session, &[&id, &publish]).await?;
                Ok(vec![session(&row)?])
            }
            Revoke::User(user) => {
                let row = client.query_one(&statements.revoke_user, &[user, &publish]).await?;
                let (epoch, until_ms) = (time(&row, 0)?, time(&row, 1)?);
                Ok(vec![Revocation::User { user: user.clone(), epoch, until_ms }])
            }
            Revoke::Others { user, keep } => {
                let keep = keep.bytes().as_slice();
                let rows =
                    client.query(&statements.revoke_others, &[user, &keep, &publish]).await?;
                rows.iter().map(session).collect()
            }
            Revoke::Token { token_id } => {
                let row =
                    client.query_one(&statements.revoke_token, &[token_id, &publish]).await?;
                let until_ms = time(&row, 0)?;
                Ok(vec![Revocation::Token { token_id: token_id.clone(), until_ms }])
            }
            Revoke::Key { kid } => {
                client.execute(&statements.kill_key, &[kid]).await?;
                Ok(vec![Revocation::Key { kid: kid.clone() }])
            }
        };
        connection.end();
        published
    }

    async fn sessions(&self, user: &str) -> Result<Vec<Session>, BoxError> {
        let mut connection = self.connection().await?;
        let Prepared { client, statements, .. } = &*connection;
        let rows = client.query(&statements.sessions, &[&user]).await?;
        connection.end();
        rows.iter()
            .map(|row| {
                let id: [u8; 16] = row.try_get::<_, &[u8]>(0)?.try_into()?;
                Ok(Session {
                    id: SessionId::from_bytes(id),
                    client: row.try_get(1)?,
                    device: row.try_get(2)?,
                    created_ms: time(row, 3)?,
                    last_seen_ms: time(row, 4)?,
                    expires_ms: time(row, 5)?,
                })
            })
            .collect()
    }

    async fn revocations(
        &self,
        since: Option<&Cursor>,
        window: Duration,
        wait: Duration,
    ) -> Result<Feed, BoxError> {
        feed::read(self, since, window, wait).await
    }

    async fn heartbeat(&self, every: Duration) -> Result<(), BoxError> {
        let mut connection = self.connection().await?;
        let Prepared { client, statements, .. } = &*connection;
        if client.execute(&statements.heartbeat, &[&millis(every)]).await? > 0 {
            client.execute(&statements.sweep, &[]).await?;
        }
        connection.end();
        Ok(())
    }
}

/// `now, absolute expiry, epoch`, from this column on.
fn created(row: &Row, at: usize) -> Result<Created, BoxError> {
    Ok(Created {
        now_ms: time(row, at)?,
        expires_ms: time(row, at + 1)?,
        user_epoch: time(row, at + 2)?,
    })
}

fn time(row: &Row, at: usize) -> Result<u64, BoxError> {
    Ok(u64::try_from(row.try_get::<_, i64>(at)?)?)
}

fn millis(duration: Duration) -> i64 {
    i64::try_from(duration.as_millis()).unwrap_or(i64::MAX).min(1 << 50)
}

impl<T: Tls> Clone for PostgresStore<T> {
    fn clone(&self) -> Self {
        Self { shared: Arc::clone(&self.shared) }
    }
}

impl<T: Tls> fmt::Debug for PostgresStore<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("PostgresStore").field("pool", &self.shared.pool.state()).finish()
    }
}
