//! A pool of one shard's connections: a fair queue in front of a stack, and another queue
//! for scatters. Opening a connection is part of the caller's own future, so that its error
//! is the caller's at once, and nothing goes on behind it.

use std::fmt;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use quick_cache::unsync::Cache;
use tokio::runtime::Handle;
use tokio::sync::{OwnedSemaphorePermit, Semaphore};
use tokio::time::{Instant, timeout};
use tokio_postgres::error::Severity;
use tokio_postgres::types::ToSql;
use tokio_postgres::{Client, Config, Row, Statement};

use super::connect::{Connect, Connected, Driver};
use super::stored::{Expected, STATE, Stored};
use super::{Purpose, ShardConnection, ShardSource, SourceError};
use crate::error::{Refusal, is_stale_plan};
use crate::text::{Effect, outline};

const UNDEFINED_TABLE: &str = "42P01";
const UNDEFINED_SCHEMA: &str = "3F000";
/// Connections beside all others, for the router's own looks.
const CHECKS: usize = 1;

#[derive(Clone, Debug)]
pub(crate) struct PoolSettings {
    pub(crate) size: usize,
    /// Connections beside these, for scatters.
    pub(crate) scatters: usize,
    pub(crate) timeout: Duration,
    pub(crate) connect_timeout: Duration,
    pub(crate) query_timeout: Duration,
    pub(crate) idle_timeout: Duration,
    pub(crate) max_lifetime: Duration,
    pub(crate) statements: usize,
}

#[derive(Clone, Debug)]
pub(crate) struct Pool(Arc<Shared>);

struct Shared {
    config: Config,
    connect: Arc<dyn Connect>,
    settings: PoolSettings,
    expected: Expected,
    /// Tokio's is fair: whoever came first is served first.
    permits: Arc<Semaphore>,
    scatters: Arc<Semaphore>,
    /// Looking at what a shard stores does not wait for those who use it.
    checks: Arc<Semaphore>,
    /// The most recently used last: the others may grow old.
    idle: Mutex<Vec<(Box<Conn>, Instant)>>,
    /// Connections of an older generation are closed when they come back.
    generation: AtomicU64,
}

/// The configuration may hold a password.
impl fmt::Debug for Shared {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Pool").field("shard", &self.expected.shard).finish_non_exhaustive()
    }
}

impl Pool {
    pub(crate) fn new(
        config: Config,
        connect: Arc<dyn Connect>,
        settings: PoolSettings,
        expected: Expected,
    ) -> Self {
        Self(Arc::new(Shared {
            config,
            connect,
            permits: Arc::new(Semaphore::new(settings.size)),
            scatters: Arc::new(Semaphore::new(settings.scatters)),
            checks: Arc::new(Semaphore::new(CHECKS)),
            settings,
            expected,
            idle: Mutex::new(Vec::new()),
            generation: AtomicU64::new(0),
        }))
    }

    /// One outside of the pool, of which nobody has asked what it is connected to.
    pub(crate) async fn open_unchecked(&self) -> Result<Conn, SourceError> {
        let shared = &self.0;
        let opening = shared.connect.connect(&shared.config);
        let Connected { client, driver } =
            match timeout(shared.settings.connect_timeout, opening).await {
                Ok(Ok(connected)) => connected,
                Ok(Err(error)) => return Err(SourceError::Unreachable(Some(Arc::new(error)))),
                Err(_) => return Err(SourceError::Unreachable(None)),
            };
        Ok(Conn {
            client,
            born: Instant::now(),
            generation: shared.generation.load(Ordering::Acquire),
            statements: Mutex::new(Cache::new(shared.settings.statements.max(1))),
            driver,
        })
    }

    async fn open(&self) -> Result<Conn, SourceError> {
        let conn = self.open_unchecked().await?;
        let checking = async {
            let statement = conn.statement(STATE).await?;
            conn.client.query(&statement, &[]).await
        };
        let rows = match timeout(self.0.settings.connect_timeout, checking).await {
            Ok(rows) => rows.map_err(not_installed)?,
            Err(_) => return Err(SourceError::Unreachable(None)),
        };
        let stored = Stored::read(&rows).map_err(SourceError::Refused)?;
        stored.verify(&self.0.expected).map_err(SourceError::Refused)?;
        Ok(conn)
    }

    async fn acquire(&self, purpose: Purpose) -> Result<Lease, SourceError> {
        let shared = &self.0;
        let PoolSettings { size, scatters, timeout: waited, .. } = shared.settings;
        let (queue, size) = match purpose {
            Purpose::Scatter if !cfg!(broken = "one_queue") => (&shared.scatters, scatters),
            Purpose::Check if !cfg!(broken = "check_queue") => (&shared.checks, CHECKS),
            _ => (&shared.permits, size),
        };
        let permit = match Arc::clone(queue).try_acquire_owned() {
            Ok(permit) => permit,
            Err(_) => {
                let permit = timeout(waited, Arc::clone(queue).acquire_owned()).await;
                let permit = permit.map_err(|_| SourceError::Full { size, waited })?;
                permit.expect("the semaphore is never closed")
            }
        };
        let now = Instant::now();
        let (conn, now) = match shared.reuse(now) {
            Some(conn) => (conn, now),
            None => (Box::new(Box::pin(self.open()).await?), Instant::now()),
        };
        Ok(Lease {
            conn: Some(conn),
            _permit: permit,
            pool: Arc::clone(shared),
            busy: AtomicBool::new(false),
            since: now,
        })
    }

    async fn ask(
        &self,
        sql: &str,
        params: Params<'_>,
        kind: Kind,
    ) -> Result<Answer, SourceError> {
        let lease = self.acquire(Purpose::Transaction).await?;
        let conn = lease.conn();
        lease.busy();
        conn.driver.done_by(lease.since.checked_add(self.0.settings.query_timeout));
        let asking = async {
            match conn.run(&conn.lone_statement(sql).await?, params, kind).await {
                // The server has refused the plan, and done nothing.
                Err(error) if is_stale_plan(&error) => {
                    conn.forget_statement(sql);
                    Ok(conn.run(&conn.lone_statement(sql).await?, params, kind).await?)
                }
                answer => Ok(answer?),
            }
        };
        let answer: Result<Answer, SourceError> = asking.await;
        conn.driver.done();
        let over = match &answer {
            Ok(_) | Err(SourceError::SessionState(_)) => true,
            Err(SourceError::Sql(error)) => is_over(error),
            Err(_) => false,
        };
        if over {
            lease.idle();
        } else if conn.driver.has_passed() {
            return Err(SourceError::OutcomeUnknown(None));
        }
        answer
    }

    /// Closes what is idle, and what is in use when it comes back.
    pub(crate) fn retire(&self) {
        self.0.retire();
    }
}

/// Whether nothing is under way any more on the connection of a statement that has failed, so
/// that others may have it. Not after what the driver alone has to say: it may have stopped
/// reading in the middle, as of a COPY.
pub(crate) fn is_over(error: &tokio_postgres::Error) -> bool {
    let severity = error.as_db_error().and_then(|error| error.parsed_severity());
    let over = severity.is_some_and(|s| !matches!(s, Severity::Fatal | Severity::Panic));
    over || (cfg!(broken = "reuse_broken") && !error.is_closed())
}

/// A server without our schema is no shard yet.
pub(crate) fn not_installed(error: tokio_postgres::Error) -> SourceError {
    match error.code().map(|code| code.code()) {
        Some(UNDEFINED_TABLE | UNDEFINED_SCHEMA) => SourceError::Refused(Refusal::NotInstalled),
        Some(_) => SourceError::Sql(error),
        None => SourceError::Unreachable(Some(Arc::new(error))),
    }
}

impl ShardSource for Pool {
    type Connection = Lease;

    async fn connect(&self, purpose: Purpose) -> Result<Lease, SourceError> {
        self.acquire(purpose).await
    }

    async fn query(
        &self,
        sql: &str,
        params: &[&(dyn ToSql + Sync)],
    ) -> Result<Vec<Row>, SourceError> {
        match self.ask(sql, params, Kind::Rows).await? {
            Answer::Rows(rows) => Ok(rows),
            Answer::Count(_) => unreachable!("rows were asked for"),
        }
    }

    async fn execute(
        &self,
        sql: &str,
        params: &[&(dyn ToSql + Sync)],
    ) -> Result<u64, SourceError> {
        match self.ask(sql, params, Kind::Count).await? {
            Answer::Count(count) => Ok(count),
            Answer::Rows(_) => unreachable!("a count was asked for"),
        }
    }

    fn capacity(&self) -> usize {
        self.0.settings.scatters
    }
}

impl Shared {
    fn retire(&self) {
        self.generation.fetch_add(1, Ordering::AcqRel);
        self.idle().clear();
    }

    fn reuse(&self, now: Instant) -> Option<Box<Conn>> {
        let PoolSettings { idle_timeout, max_lifetime, .. } = self.settings;
        let mut idle = self.idle();
        // The longest unused are at the bottom.
        let old = idle.iter().take_while(|(conn, since)| {
            now.saturating_duration_since(*since) > idle_timeout
                || now.saturating_duration_since(conn.born) > max_lifetime
        });
        let old = old.count();
        idle.drain(..old);
        while let Some((conn, _)) = idle.pop() {
            if self.is_current(&conn) && !conn.client.is_closed() {
                return Some(conn);
            }
        }
        None
    }

    fn is_current(&self, conn: &Conn) -> bool {
        conn.generation == self.generation.load(Ordering::Acquire)
    }

    fn idle(&self) -> MutexGuard<'_, Vec<(Box<Conn>, Instant)>> {
        self.idle.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

type Params<'a> = &'a [&'a (dyn ToSql + Sync)];

#[derive(Clone, Copy)]
enum Kind {
    Rows,
    Count,
}

enum Answer {
    Rows(Vec<Row>),
    Count(u64),
}

#[derive(Debug)]
pub(crate) struct Conn {
    pub(crate) client: Client,
    born: Instant,
    generation: u64,
    statements: Mutex<Cache<Arc<str>, Statement>>,
    driver: Driver,
}

impl Conn {
    /// As [`statement`](Self::statement), of one that leaves nothing behind.
    async fn lone_statement(&self, sql: &str) -> Result<Statement, SourceError> {
        if let Some(statement) = self.statements().get(sql) {
            return Ok(statement.clone());
        }
        match outline(sql).effect {
            Effect::Transaction(what) | Effect::Session(what)
                if !cfg!(broken = "session_state") =>
            {
                Err(SourceError::SessionState(what))
            }
            _ => Ok(self.statement(sql).await?),
        }
    }

    /// The statement for `sql`, prepared once on this connection.
    async fn statement(&self, sql: &str) -> Result<Statement, tokio_postgres::Error> {
        if let Some(statement) = self.statements().get(sql) {
            return Ok(statement.clone());
        }
        let statement = self.client.prepare(sql).await?;
        self.statements().insert(sql.into(), statement.clone());
        Ok(statement)
    }

    async fn run(
        &self,
        statement: &Statement,
        params: Params<'_>,
        kind: Kind,
    ) -> Result<Answer, tokio_postgres::Error> {
        Ok(match kind {
            Kind::Rows => Answer::Rows(self.client.query(statement, params).await?),
            Kind::Count => Answer::Count(self.client.execute(statement, params).await?),
        })
    }

    fn forget_statement(&self, sql: &str) {
        self.statements().remove(sql);
    }

    fn statements(&self) -> MutexGuard<'_, Cache<Arc<str>, Statement>> {
        self.statements.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// A connection that somebody uses. Dropped, it goes back, unless something is still under
/// way on it: the next caller would wait for that one's answer, or be in its transaction.
#[derive(Debug)]
pub(crate) struct Lease {
    conn: Option<Box<Conn>>,
    _permit: OwnedSemaphorePermit,
    pool: Arc<Shared>,
    busy: AtomicBool,
    /// When it was taken: what was used since is not idle for longer.
    since: Instant,
}

impl Lease {
    fn conn(&self) -> &Conn {
        self.conn.as_ref().expect("only drop takes it")
    }
}

impl ShardConnection for Lease {
    fn client(&self) -> &Client {
        &self.conn().client
    }

    async fn statement(&self, sql: &str) -> Result<Statement, tokio_postgres::Error> {
        self.conn().statement(sql).await
    }

    fn busy(&self) {
        self.busy.store(true, Ordering::Release);
    }

    fn idle(&self) {
        self.busy.store(false, Ordering::Release);
    }

    fn stale(&self) {
        if !cfg!(broken = "stale_plans") {
            self.pool.retire();
        }
    }
}

impl Drop for Lease {
    fn drop(&mut self) {
        let Some(conn) = self.conn.take() else { return };
        if *self.busy.get_mut() && !cfg!(broken = "reuse_busy") {
            let cancel = self.pool.connect.cancel(conn.client.cancel_token());
            // Where there is no runtime any more, there is nobody to do it.
            if let Ok(runtime) = Handle::try_current() {
                runtime.spawn(timeout(self.pool.settings.connect_timeout, cancel));
            }
            return;
        }
        let now = self.since;
        let young = now.saturating_duration_since(conn.born) < self.pool.settings.max_lifetime;
        if young && !conn.client.is_closed() && self.pool.is_current(&conn) {
            self.pool.idle().push((conn, now));
        }
    }
}
