//! A pool of one server's connections: a fair queue in front of a stack. Opening
//! a connection is part of the caller's own future, so that its error is the
//! caller's at once, and nothing goes on behind it.

use std::ops::Deref;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use tokio::runtime::Handle;
use tokio::sync::{Notify, OwnedSemaphorePermit, Semaphore};
use tokio::time::{Instant, timeout};
use tokio_postgres::Config;

use super::conn::Conn;
use super::connect::{Connect, Cutter};

#[derive(Debug)]
pub(crate) struct Pool {
    config: Config,
    connect: Arc<dyn Connect>,
    settings: PoolSettings,
    /// Tokio's is fair: whoever came first is served first.
    permits: Arc<Semaphore>,
    /// The most recently used last: the others may grow old.
    idle: Mutex<Vec<(Box<Conn>, Instant)>>,
    /// Connections of an older epoch are closed when they come back.
    epoch: AtomicU64,
    poisoned: Notify,
    open: Mutex<Vec<Cutter>>,
}

#[derive(Clone, Debug)]
pub(crate) struct PoolSettings {
    pub(crate) size: usize,
    pub(crate) timeout: Duration,
    pub(crate) connect_timeout: Duration,
    pub(crate) idle_timeout: Duration,
    pub(crate) max_lifetime: Duration,
    pub(crate) statements: usize,
    /// Run on each new connection.
    pub(crate) setup: Option<String>,
    /// The address leads to one server or another.
    pub(crate) shared: bool,
}

#[derive(Debug)]
pub(crate) enum AcquireError {
    /// All were in use for too long.
    Full,
    /// None could be opened; `None` if that took too long.
    Connect(Option<tokio_postgres::Error>),
}

impl Pool {
    pub(crate) fn new(
        config: Config,
        connect: Arc<dyn Connect>,
        settings: PoolSettings,
    ) -> Arc<Self> {
        Arc::new(Self {
            config,
            connect,
            permits: Arc::new(Semaphore::new(settings.size)),
            settings,
            idle: Mutex::new(Vec::new()),
            epoch: AtomicU64::new(0),
            poisoned: Notify::new(),
            open: Mutex::new(Vec::new()),
        })
    }

    pub(crate) fn settings(&self) -> &PoolSettings {
        &self.settings
    }

    /// Whether somebody would have to wait.
    pub(crate) fn is_full(&self) -> bool {
        self.permits.available_permits() == 0
    }

    /// A connection, if one is idle.
    pub(crate) fn try_acquire(self: &Arc<Self>) -> Option<Lease> {
        let permit = Arc::clone(&self.permits).try_acquire_owned().ok()?;
        let conn = self.reuse()?;
        Some(Lease::new(conn, permit, Arc::clone(self)))
    }

    /// # Cancel safety
    ///
    /// Dropped while it waits, it loses its place; while it connects, the
    /// connection.
    pub(crate) async fn acquire(self: &Arc<Self>) -> Result<Lease, AcquireError> {
        let permit = match Arc::clone(&self.permits).try_acquire_owned() {
            Ok(permit) => permit,
            Err(_) => {
                let waiting = Arc::clone(&self.permits).acquire_owned();
                let permit = timeout(self.settings.timeout, waiting).await;
                let permit = permit.map_err(|_| AcquireError::Full)?;
                permit.expect("the semaphore is never closed")
            }
        };
        if let Some(conn) = self.reuse() {
            return Ok(Lease::new(conn, permit, Arc::clone(self)));
        }
        let conn = Box::new(Box::pin(self.open()).await?);
        Ok(Lease::new(conn, permit, Arc::clone(self)))
    }

    /// One outside of the pool, for the crate's own questions.
    pub(crate) async fn open(&self) -> Result<Conn, AcquireError> {
        let epoch = self.epoch.load(Ordering::Acquire);
        let opening = async {
            let connected = self.connect.connect(&self.config).await?;
            let setup = self.settings.setup.as_deref();
            let PoolSettings { statements, shared, .. } = self.settings;
            Conn::identify(connected, epoch, statements, setup, shared).await
        };
        match timeout(self.settings.connect_timeout, opening).await {
            Ok(Ok(conn)) => {
                let mut open = self.open.lock().unwrap_or_else(PoisonError::into_inner);
                open.retain(Cutter::is_of_use);
                open.push(conn.driver.cutter());
                Ok(conn)
            }
            Ok(Err(error)) => Err(AcquireError::Connect(Some(error))),
            Err(_) => Err(AcquireError::Connect(None)),
        }
    }

    fn reuse(&self) -> Option<Box<Conn>> {
        let mut idle = self.idle();
        while let Some((conn, _)) = idle.pop() {
            if self.is_current(&conn) && conn.is_reusable() {
                return Some(conn);
            }
        }
        None
    }

    /// Closes what was idle, or alive, for too long.
    pub(crate) fn prune(&self, now: Instant) {
        let PoolSettings { idle_timeout, max_lifetime, .. } = self.settings;
        self.idle().retain(|(conn, since)| {
            conn.is_reusable()
                && now.saturating_duration_since(*since) < idle_timeout
                && now.saturating_duration_since(conn.born) < max_lifetime
        });
    }

    /// The server is not what its connections were opened for: those in use are
    /// told, and closed when they come back.
    pub(crate) fn poison(&self) {
        self.epoch.fetch_add(1, Ordering::AcqRel);
        self.idle().clear();
        self.poisoned.notify_waiters();
    }

    /// Closes what is idle: it may be dead.
    pub(crate) fn drain(&self) {
        self.idle().clear();
    }

    /// Ends the reads under way: the server has gone silent. Whoever begins one at
    /// this moment says so, and then looks whether the server is reachable; it is
    /// called unreachable before this: so one of the two sees the other.
    pub(crate) fn cut_reads(&self) {
        let open = self.open.lock().unwrap_or_else(PoisonError::into_inner);
        open.iter().for_each(Cutter::cut);
    }

    /// Ends when the pool is poisoned after this call.
    pub(crate) fn poisoned(&self) -> tokio::sync::futures::Notified<'_> {
        self.poisoned.notified()
    }

    fn is_current(&self, conn: &Conn) -> bool {
        conn.epoch == self.epoch.load(Ordering::Acquire)
    }

    fn idle(&self) -> MutexGuard<'_, Vec<(Box<Conn>, Instant)>> {
        self.idle.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// A connection that somebody uses. Dropped, it goes back, unless a question is
/// still under way on it: the next caller would wait for that one's answer.
#[derive(Debug)]
pub(crate) struct Lease {
    conn: Option<Box<Conn>>,
    _permit: OwnedSemaphorePermit,
    pool: Arc<Pool>,
    busy: AtomicBool,
    /// When it was last used, if somebody has looked at the clock.
    used: Option<Instant>,
}

impl Lease {
    fn new(conn: Box<Conn>, permit: OwnedSemaphorePermit, pool: Arc<Pool>) -> Self {
        conn.driver.reads(false);
        Self {
            conn: Some(conn),
            _permit: permit,
            pool,
            busy: AtomicBool::new(false),
            used: None,
        }
    }

    pub(crate) fn pool(&self) -> &Arc<Pool> {
        &self.pool
    }

    /// A question is under way from here on, until [`done`](Self::done).
    pub(crate) fn ask(&mut self) {
        *self.busy.get_mut() = true;
    }

    /// As [`ask`](Self::ask), for one that is shared.
    pub(crate) fn soil(&self) {
        self.busy.store(true, Ordering::Release);
    }

    /// As [`ask`](Self::ask), of something that may be given up when the server goes
    /// silent.
    pub(crate) fn ask_read(&mut self) {
        self.ask();
        self.driver.reads(true);
    }

    pub(crate) fn done(&mut self) {
        *self.busy.get_mut() = false;
    }

    pub(crate) fn done_at(&mut self, now: Instant) {
        self.used = Some(now);
        self.done();
    }

    /// As [`done`](Self::done), for one that is shared.
    pub(crate) fn clean(&self) {
        self.busy.store(false, Ordering::Release);
    }

    /// Whether the server was found to be something else since.
    pub(crate) fn is_poisoned(&self) -> bool {
        !self.pool.is_current(self)
    }

    pub(crate) fn conn_mut(&mut self) -> &mut Conn {
        self.conn.as_mut().expect("only drop takes it")
    }
}

impl Deref for Lease {
    type Target = Conn;

    fn deref(&self) -> &Conn {
        self.conn.as_ref().expect("only drop takes it")
    }
}

impl Drop for Lease {
    fn drop(&mut self) {
        let Some(conn) = self.conn.take() else { return };
        if *self.busy.get_mut() {
            let cancel = self.pool.connect.cancel(conn.client.cancel_token());
            // Where there is no runtime any more, there is nobody to do it.
            if let Ok(runtime) = Handle::try_current() {
                runtime.spawn(timeout(self.pool.settings.connect_timeout, cancel));
            }
            return;
        }
        let now = self.used.unwrap_or_else(Instant::now);
        let young = now.saturating_duration_since(conn.born) < self.pool.settings.max_lifetime;
        if young && conn.is_reusable() && self.pool.is_current(&conn) {
            self.pool.idle().push((conn, now));
        }
    }
}
