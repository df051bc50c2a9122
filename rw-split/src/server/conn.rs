//! One connection, which knows whom it is connected to.

use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, PoisonError};

use quick_cache::unsync::Cache;
use tokio::time::Instant;
use tokio_postgres::types::PgLsn;
use tokio_postgres::{Client, Error, Row, Statement};

use super::connect::{Connected, Driver};
use crate::lsn::{Lsn, Position, WalLayout};
use crate::policy::elect::{Observation, Role};

/// What a server says about itself. `pg_walfile_name` fails on a standby. The
/// control file's timeline of a standby is that of its last restart point, so it
/// may be old and is never too new; the receiver's is at hand where the role may
/// see it (`pg_read_all_stats`), and a standby that has gone past the point where
/// a timeline branches off cannot receive that timeline.
///
/// A server whose process is killed (as by a kernel short of memory) begins all
/// over from its last restart point under the same postmaster: a standby may then
/// show less than it did. Recovery from a crash discards the statistics, so the
/// date of their reset tells these lives apart.
macro_rules! probe {
    ($started:literal) => {
        concat!(
            "SELECT pg_is_in_recovery(), (extract(epoch FROM ",
            $started,
            ") * 1000000)::bigint - 946684800000000, \
    CASE WHEN pg_is_in_recovery() THEN pg_last_wal_replay_lsn() \
        ELSE pg_current_wal_insert_lsn() END, \
    CASE WHEN pg_is_in_recovery() THEN NULL \
        ELSE pg_walfile_name(pg_current_wal_insert_lsn()) END, \
    (SELECT received_tli FROM pg_stat_wal_receiver WHERE status = 'streaming'), \
    (SELECT timeline_id FROM pg_control_checkpoint()), \
    (SELECT system_identifier FROM pg_control_system()), \
    pg_size_bytes(current_setting('wal_segment_size')), \
    current_setting('wal_block_size')::bigint"
        )
    };
}

pub(crate) const PROBE: &str = if cfg!(broken = "postmaster_start") {
    probe!("pg_postmaster_start_time()")
} else {
    probe!("greatest(pg_postmaster_start_time(), (SELECT stats_reset FROM pg_stat_bgwriter))")
};

/// Always the insert position, and always asked after the commit: with
/// `synchronous_commit = off`, by role or by `SET LOCAL`, the written and the
/// flushed positions are behind the commit.
const CAPTURE: &str = if cfg!(broken = "current_lsn") {
    "SELECT pg_current_wal_lsn()"
} else if cfg!(broken = "flush_lsn") {
    "SELECT pg_current_wal_flush_lsn()"
} else if cfg!(broken = "lsn_by_setting") {
    "SELECT CASE current_setting('synchronous_commit') WHEN 'off' \
        THEN pg_current_wal_insert_lsn() ELSE pg_current_wal_flush_lsn() END"
} else {
    "SELECT pg_current_wal_insert_lsn()"
};

#[derive(Clone, Copy, Debug)]
pub(crate) struct Identity {
    pub(crate) observation: Observation,
    pub(crate) layout: WalLayout,
}

impl Identity {
    pub(crate) fn read(row: &Row) -> Result<Self, Error> {
        let standby: bool = row.try_get(0)?;
        let layout = WalLayout {
            segment: u64::try_from(row.try_get::<_, i64>(7)?).unwrap_or(16 << 20).max(1 << 20),
            block: u64::try_from(row.try_get::<_, i64>(8)?).unwrap_or(8192).max(512),
        };
        let lsn = row.try_get::<_, Option<PgLsn>>(2)?.map_or(Lsn(0), |lsn| Lsn(lsn.into()));
        let file: Option<String> = row.try_get(3)?;
        let tli = |tli: Option<i32>| tli.and_then(|tli| u32::try_from(tli).ok()).unwrap_or(0);
        let written = file.as_deref().and_then(|file| file.get(..8));
        let timeline = match written.and_then(|hex| u32::from_str_radix(hex, 16).ok()) {
            Some(timeline) => timeline,
            None => tli(row.try_get(4)?).max(tli(row.try_get(5)?)),
        };
        let observation = Observation {
            role: if standby { Role::Standby } else { Role::Primary },
            system: u64::from_ne_bytes(row.try_get::<_, i64>(6)?.to_ne_bytes()),
            started: row.try_get(1)?,
            timeline,
            lsn: if standby { lsn } else { layout.end_of_record(lsn) },
        };
        Ok(Self { observation, layout })
    }
}

#[derive(Debug)]
pub(crate) struct Conn {
    pub(crate) client: Client,
    pub(crate) identity: Identity,
    pub(crate) born: Instant,
    /// The pool's epoch at its birth.
    pub(crate) epoch: u64,
    /// Where it is prepared: on a primary's own address.
    capture: Option<Statement>,
    statements: Mutex<Cache<Arc<str>, Statement>>,
    discard: AtomicBool,
    pub(super) driver: Driver,
}

impl Conn {
    /// Finds out whom it is connected to, before its first use.
    pub(crate) async fn identify(
        connected: Connected,
        epoch: u64,
        statements: usize,
        setup: Option<&str>,
        shared: bool,
    ) -> Result<Self, Error> {
        let Connected { client, driver } = connected;
        if let Some(setup) = setup {
            client.batch_execute(setup).await?;
        }
        let identity = Self::ask(&client).await?;
        // Behind a pooler the next question may come to another server.
        let capture = if identity.observation.role == Role::Primary && !shared {
            Some(client.prepare(CAPTURE).await?)
        } else {
            None
        };
        Ok(Self {
            client,
            identity,
            born: Instant::now(),
            epoch,
            capture,
            statements: Mutex::new(Cache::new(statements.max(1))),
            discard: AtomicBool::new(false),
            driver,
        })
    }

    async fn ask(client: &Client) -> Result<Identity, Error> {
        let rows = client.query_typed(PROBE, &[]).await?;
        Identity::read(&rows[0])
    }

    /// A standby may have been promoted under its connections.
    pub(crate) async fn identify_again(&mut self) -> Result<(), Error> {
        self.identity = Self::ask(&self.client).await?;
        Ok(())
    }

    /// The identity as of now, within whatever transaction is open.
    pub(crate) async fn identity_now(&self) -> Result<Identity, Error> {
        Self::ask(&self.client).await
    }

    /// Where the primary writes now. Queued behind what was sent on this
    /// connection before, so that it is answered after that has committed.
    pub(crate) async fn position(&self) -> Result<Position, Error> {
        let lsn: PgLsn = match &self.capture {
            Some(capture) => self.client.query_one(capture, &[]).await?.try_get(0)?,
            None => self.client.query_typed(CAPTURE, &[]).await?[0].try_get(0)?,
        };
        let Observation { system, timeline, .. } = self.identity.observation;
        let lsn = self.identity.layout.end_of_record(Lsn(lsn.into()));
        Ok(Position { system, timeline, lsn })
    }

    /// The statement for `sql`, prepared once on this connection.
    pub(crate) async fn statement(&self, sql: &str) -> Result<Statement, Error> {
        if let Some(statement) = self.statements().get(sql) {
            return Ok(statement.clone());
        }
        let statement = self.client.prepare(sql).await?;
        self.statements().insert(sql.into(), statement.clone());
        Ok(statement)
    }

    pub(crate) fn forget_statement(&self, sql: &str) {
        self.statements().remove(sql);
    }

    pub(crate) fn forget_statements(&self) {
        self.statements().clear();
    }

    fn statements(&self) -> std::sync::MutexGuard<'_, Cache<Arc<str>, Statement>> {
        self.statements.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Not to be used by anybody else: its session's state was changed.
    pub(crate) fn discard(&self) {
        self.discard.store(true, Ordering::Relaxed);
    }

    pub(crate) fn is_reusable(&self) -> bool {
        !self.discard.load(Ordering::Relaxed) && !self.client.is_closed()
    }
}
