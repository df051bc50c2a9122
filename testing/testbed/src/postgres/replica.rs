use std::fs;
use std::net::SocketAddr;
use std::ops::Deref;
use std::pin::Pin;
use std::sync::Arc;
use std::time::{Duration, Instant};

use super::{Client, Postgres, forget_shared_memory, program, template};
use crate::account::Account;
use crate::error::Error;
use crate::guard::run;
use crate::server::Server;

const PATIENCE: Duration = Duration::from_secs(10);

/// Builds a [`Replica`]; awaiting it starts the replica.
#[derive(Debug)]
#[must_use]
pub struct ReplicaBuilder<'a> {
    primary: &'a Postgres,
    through: SocketAddr,
    settings: Vec<(String, String)>,
}

impl<'a> ReplicaBuilder<'a> {
    pub(super) fn new(primary: &'a Postgres) -> Self {
        Self { primary, through: primary.addr(), settings: Vec::new() }
    }

    /// Sets a configuration parameter on the replica alone.
    pub fn setting(mut self, name: impl Into<String>, value: impl Into<String>) -> Self {
        self.settings.push((name.into(), value.into()));
        self
    }

    /// Streams by way of another address, such as a [`Link`](crate::link::Link)'s.
    pub fn through(mut self, addr: SocketAddr) -> Self {
        self.through = addr;
        self
    }

    /// Copies the primary, starts the replica and waits until it answers and streams.
    ///
    /// # Errors
    ///
    /// [`Error::Exited`] or [`Error::NotReady`] with a log; [`Error::Late`]
    /// when it does not come to stream.
    ///
    /// # Cancel safety
    ///
    /// Dropped before it is done, nothing stays behind.
    pub async fn start(self) -> Result<Replica, Error> {
        let bin = Arc::clone(&self.primary.bin);
        let server = Server::new("postgres", forget_shared_memory).await?;
        let postgres = Postgres { bin, server };
        let conninfo = |addr: SocketAddr| {
            let name = format!("replica_{}", postgres.port());
            let (host, port) = (addr.ip(), addr.port());
            format!("host={host} port={port} user=postgres application_name={name}")
        };

        let mut backup = program(&postgres.bin.join("pg_basebackup"));
        backup.arg("-D").arg(postgres.data()).arg("-d").arg(conninfo(self.primary.addr()));
        backup.args(["-X", "stream", "-c", "fast", "--no-sync", "--no-manifest"]);
        run(backup).await?;

        let mut settings = self.settings;
        settings.push(("primary_conninfo".into(), conninfo(self.through)));
        template::write_settings(&postgres.data().join("replica.conf"), &settings)?;
        let signal = postgres.data().join("standby.signal");
        let marked = fs::write(&signal, "").and_then(|()| Account::of_servers().own(&signal));
        marked.map_err(Error::io(format!("writing {}", signal.display())))?;

        postgres.launch().await?;
        let replica = Replica { postgres, primary_url: self.primary.url() };
        replica.await_sql("it streams", STREAMS).await?;
        Ok(replica)
    }
}

impl<'a> IntoFuture for ReplicaBuilder<'a> {
    type Output = Result<Replica, Error>;
    type IntoFuture = Pin<Box<dyn Future<Output = Self::Output> + Send + 'a>>;

    fn into_future(self) -> Self::IntoFuture {
        Box::pin(self.start())
    }
}

const STREAMS: &str = "SELECT status = 'streaming' FROM pg_stat_wal_receiver";
const NO_RECEIVER: &str =
    "SELECT count(*) = 0 FROM pg_stat_activity WHERE backend_type = 'walreceiver'";

/// A hot standby that streams from a [`Postgres`], made by [`Postgres::replica`].
///
/// It is a server like any other and derefs to one. Lag is made by pausing or
/// delaying its replay, never by sleeping.
#[derive(Debug)]
pub struct Replica {
    postgres: Postgres,
    primary_url: String,
}

impl Replica {
    /// Stops applying what is received, which it goes on receiving. Returns
    /// once nothing more is applied.
    ///
    /// # Errors
    ///
    /// [`Error::Sql`] when it is not running or was promoted.
    pub async fn pause_replay(&self) -> Result<(), Error> {
        self.execute("pausing replay", "SELECT pg_wal_replay_pause()").await?;
        self.await_sql("replay is paused", "SELECT pg_get_wal_replay_pause_state() = 'paused'")
            .await
    }

    /// Applies what is received again.
    ///
    /// # Errors
    ///
    /// [`Error::Sql`] when it is not running or was promoted.
    pub async fn resume_replay(&self) -> Result<(), Error> {
        self.execute("resuming replay", "SELECT pg_wal_replay_resume()").await
    }

    /// Applies every commit so long after it was made, in whole milliseconds;
    /// zero for at once.
    ///
    /// # Errors
    ///
    /// [`Error::Sql`] when it is not running.
    pub async fn delay_replay(&self, delay: Duration) -> Result<(), Error> {
        let delay = delay.as_millis().to_string();
        self.set("recovery_min_apply_delay", Some(&delay)).await
    }

    /// Makes it a primary. Returns once it takes writes. A cut stream and a delay are
    /// forgotten, which its own replicas would inherit.
    ///
    /// # Errors
    ///
    /// [`Error::Sql`] when it is not running or was promoted before,
    /// [`Error::Late`] when it does not come to take writes.
    pub async fn promote(&self) -> Result<(), Error> {
        self.execute("promoting", "SELECT pg_promote(true, 10)").await?;
        self.await_sql("it takes writes", "SELECT NOT pg_is_in_recovery()").await?;
        self.set("primary_conninfo", None).await?;
        self.set("recovery_min_apply_delay", None).await
    }

    /// Cuts the stream from the primary: it receives nothing until
    /// [`mend_stream`](Self::mend_stream). Returns once it receives nothing.
    ///
    /// # Errors
    ///
    /// [`Error::Sql`] when it is not running, [`Error::Late`].
    pub async fn cut_stream(&self) -> Result<(), Error> {
        self.set("primary_conninfo", Some("")).await?;
        self.await_sql("it has stopped streaming", NO_RECEIVER).await
    }

    /// Streams again. Returns once it does.
    ///
    /// # Errors
    ///
    /// [`Error::Sql`] when it is not running, [`Error::Late`] when the primary
    /// is not there.
    pub async fn mend_stream(&self) -> Result<(), Error> {
        self.set("primary_conninfo", None).await?;
        self.await_sql("it streams", STREAMS).await
    }

    /// Waits until it has applied all that the primary has written by now.
    ///
    /// # Errors
    ///
    /// [`Error::Sql`] when either is not running, [`Error::Late`] with both
    /// positions when `deadline` passes first.
    ///
    /// # Cancel safety
    ///
    /// Cancel safe.
    pub async fn caught_up(&self, deadline: Duration) -> Result<(), Error> {
        let doing = "comparing positions";
        let primary = Client::connect(&self.primary_url).await?;
        let row = primary.query_one("SELECT pg_current_wal_lsn()::text", &[]).await;
        let target: String = row.map_err(Error::sql(doing))?.get(0);
        let replica = self.client().await?;
        let compare = format!(
            "SELECT pg_last_wal_replay_lsn() >= '{target}', pg_last_wal_replay_lsn()::text"
        );
        let start = Instant::now();
        loop {
            let row = replica.query_one(&compare, &[]).await.map_err(Error::sql(doing))?;
            if row.get::<_, Option<bool>>(0) == Some(true) {
                return Ok(());
            }
            if start.elapsed() > deadline {
                let at = row.get::<_, Option<String>>(1).unwrap_or_else(|| "nothing".into());
                let awaited = format!("replay reaches {target}; it has reached {at}");
                return Err(Error::Late { awaited, after: deadline });
            }
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
    }

    /// Sets or resets a parameter. Returns once the server's processes have it.
    async fn set(&self, name: &str, value: Option<&str>) -> Result<(), Error> {
        let doing = || Error::sql(format!("setting {name}"));
        let client = self.client().await?;
        let alter = match value {
            Some(value) => format!("ALTER SYSTEM SET {name} = '{value}'"),
            None => format!("ALTER SYSTEM RESET {name}"),
        };
        client.batch_execute(&alter).await.map_err(doing())?;
        // The postmaster tells its processes one after the other, the replaying
        // one last; this session's own reload shows that all were told.
        let loaded = "SELECT pg_conf_load_time()::text";
        let row = client.query_one(loaded, &[]).await.map_err(doing())?;
        let before: String = row.get(0);
        client.batch_execute("SELECT pg_reload_conf()").await.map_err(doing())?;
        let start = Instant::now();
        loop {
            let row = client.query_one(loaded, &[]).await.map_err(doing())?;
            if row.get::<_, String>(0) != before {
                return Ok(());
            }
            if start.elapsed() > PATIENCE {
                let awaited = format!("the server has loaded its new {name}");
                return Err(Error::Late { awaited, after: PATIENCE });
            }
            tokio::time::sleep(Duration::from_millis(1)).await;
        }
    }

    async fn execute(&self, doing: &str, sql: &str) -> Result<(), Error> {
        self.client().await?.batch_execute(sql).await.map_err(Error::sql(doing))
    }

    /// Waits until `sql` answers with a true.
    async fn await_sql(&self, awaited: &str, sql: &str) -> Result<(), Error> {
        let client = self.client().await?;
        let start = Instant::now();
        loop {
            let row = client.query_opt(sql, &[]).await.map_err(Error::sql(awaited))?;
            if row.is_some_and(|row| row.get::<_, Option<bool>>(0) == Some(true)) {
                return Ok(());
            }
            if start.elapsed() > PATIENCE {
                return Err(Error::Late { awaited: awaited.into(), after: PATIENCE });
            }
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
    }
}

impl Deref for Replica {
    type Target = Postgres;

    fn deref(&self) -> &Postgres {
        &self.postgres
    }
}
