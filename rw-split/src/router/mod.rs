//! The handle, and what its clones share.

mod ask;
mod catalogue;
mod op;
mod options;
mod pinned;
mod place;
mod position;
mod query;
mod read;
mod stream;
mod transaction;
mod write;

pub use self::options::{IsolationLevel, TxOptions};
pub use self::pinned::{PooledConnection, PrimaryConnection};
pub use self::query::{Query, Rows};
pub use self::stream::RowStream;
pub use self::transaction::Tx;

use std::fmt;
use std::future::Future;
use std::sync::atomic::AtomicUsize;
use std::sync::{Arc, Weak};
use std::time::Duration;

use tokio::sync::Notify;
use tokio::task::JoinHandle;
use tokio::time::{Instant, sleep, timeout};
use tokio_postgres::types::{ToSql, Type};
use tokio_postgres::{Row, SimpleQueryMessage};

use self::ask::Asker;
use self::op::{Answer, Kind, Op};
use crate::balance::Balance;
use crate::builder::{RwSplitBuilder, WhenUnreachable};
use crate::classify::{Classifier, Route, Target};
use crate::clock::WallClock;
use crate::error::Error;
use crate::level::Level;
use crate::lsn::Position;
use crate::metrics::{Metrics, Stats};
use crate::scope::ConsistencyScope;
use crate::server::Server;
use crate::server::cluster::Cluster;
use crate::server::monitor::{Monitor, Polling};
use crate::server::pool::Lease;
use crate::token::ConsistencyToken;

/// How often the catalogue is read anew.
const CATALOGUE_EVERY: Duration = Duration::from_secs(60);

#[derive(Clone, Debug)]
pub(crate) struct Settings {
    pub(crate) level: Level,
    pub(crate) balance: Balance,
    pub(crate) max_wait: Duration,
    pub(crate) max_lag: Duration,
    pub(crate) failover_wait: Duration,
    pub(crate) unknown_pin: Duration,
    pub(crate) when_unreachable: WhenUnreachable,
    pub(crate) clock: WallClock,
    /// Empty without a name.
    pub(crate) cluster: Arc<str>,
}

/// Routes SQL to the primary or to a replica that has what the session needs.
/// Cheap to clone; the clones share everything.
///
/// ```no_run
/// use rw_split::RwSplit;
///
/// # async fn example() -> Result<(), Box<dyn std::error::Error>> {
/// let db = RwSplit::builder()
///     .server("host=a user=app dbname=shop")
///     .server("host=b user=app dbname=shop")
///     .server("host=c user=app dbname=shop")
///     .build()
///     .await?;
/// # let (name, id) = ("Ada", 7_i64);
/// db.execute("UPDATE profiles SET name = $1 WHERE id = $2", &[&name, &id]).await?;
/// let row = db.query_one("SELECT name FROM profiles WHERE id = $1", &[&id]).await?;
/// # Ok(())
/// # }
/// ```
///
/// # Errors
///
/// Its methods fail with an [`Error`] whose predicates say whether what was asked
/// may have happened, and whether to ask again.
///
/// # Cancel safety
///
/// A future that is dropped leaves no connection busy: it is closed, and the
/// server is asked to cancel. A write that is dropped may have happened; the
/// session then reads from the primary for
/// [`unknown_pin`](RwSplitBuilder::unknown_pin).
#[derive(Clone)]
pub struct RwSplit {
    core: Arc<Core>,
    level: Option<Level>,
}

pub(crate) struct Core {
    pub(crate) cluster: Arc<Cluster>,
    pub(crate) settings: Settings,
    pub(crate) polling: Polling,
    pub(crate) classifier: Classifier,
    pub(crate) metrics: Arc<Metrics>,
    /// For code outside of any session.
    pub(crate) process: ConsistencyScope,
    asker: Asker,
    turn: AtomicUsize,
    relearn: Arc<Notify>,
    this: Weak<Self>,
    _monitors: Vec<Monitor>,
    _scholar: Scholar,
}

/// An answer, with the connection that it came by.
pub(crate) struct Done {
    answer: Answer,
    lease: Lease,
    /// For a stream: a write whose end is yet to come.
    writing: Option<Writing>,
    /// For a stream: a transaction block is open around it.
    in_block: bool,
}

/// A write under way. Its drop is an unknown outcome.
pub(crate) struct Writing {
    core: Arc<Core>,
    scope: ConsistencyScope,
    level: Level,
    armed: bool,
}

/// The task that reads the catalogue; dropped = ended.
#[derive(Debug)]
struct Scholar(JoinHandle<()>);

impl Drop for Scholar {
    fn drop(&mut self) {
        self.0.abort();
    }
}

impl RwSplit {
    /// Begins the settings of a router.
    pub fn builder() -> RwSplitBuilder {
        RwSplitBuilder::new()
    }

    pub(crate) async fn start(
        servers: Box<[Arc<Server>]>,
        settings: Settings,
        polling: Polling,
        start_wait: Duration,
        routes: usize,
    ) -> Self {
        let names: Vec<_> = servers.iter().map(|server| Arc::clone(&server.name)).collect();
        let metrics = Metrics::new(&names);
        let cluster = Arc::new(Cluster::new(servers, Arc::clone(&metrics)));
        let monitors = (0..cluster.servers.len())
            .map(|index| Monitor::start(&cluster, index, polling))
            .collect();
        let relearn = Arc::new(Notify::new());
        let core = Arc::new_cyclic(|this: &Weak<Core>| Core {
            cluster,
            settings,
            polling,
            classifier: Classifier::new(routes.max(1)),
            metrics,
            process: ConsistencyScope::default(),
            asker: Asker::default(),
            turn: AtomicUsize::new(0),
            relearn: Arc::clone(&relearn),
            this: this.clone(),
            _monitors: monitors,
            _scholar: Scholar(tokio::spawn(study(this.clone(), Arc::clone(&relearn)))),
        });
        let ready = async {
            while !core.is_complete() {
                let _ = timeout(polling.eager * 4, core.cluster.changed.notified()).await;
            }
            core.learn().await;
        };
        let _ = timeout(start_wait, ready).await;
        Self { core, level: None }
    }

    /// Where `sql` goes, and why, as the catalogue of the database has it by now.
    pub fn explain(&self, sql: &str) -> Route {
        self.core.classifier.explain(sql)
    }

    /// Where `sql` goes, remembered by its text: what every query asks first.
    pub fn target(&self, sql: &str) -> Target {
        self.core.classifier.classify(sql).target()
    }

    /// Where `sql` goes, and why, for a database without functions, views and
    /// sequences of its own. Needs no server.
    ///
    /// ```
    /// use rw_split::{RwSplit, Target};
    ///
    /// let route = RwSplit::route("WITH x AS (DELETE FROM t RETURNING *) SELECT * FROM x");
    /// assert_eq!(route.target(), Target::Primary);
    /// assert_eq!(route.to_string(), "the primary: it writes, or may (`DELETE`)");
    /// ```
    pub fn route(sql: &str) -> Route {
        Route::of(sql, &crate::classify::Catalogue::default())
    }

    /// The same router, whose reads are at `level`, whatever the session's is. A
    /// [`Level::PinWindow`] begins with what is written at that level.
    #[must_use]
    pub fn at_level(&self, level: Level) -> Self {
        Self { core: Arc::clone(&self.core), level: Some(level) }
    }

    /// The same router, whose reads go to the primary.
    #[must_use]
    pub fn on_primary(&self) -> Self {
        self.at_level(Level::Primary)
    }

    /// What the session that this code runs for has written and seen, to be
    /// passed on to a task or a job. Outside of any session, what this process
    /// has written.
    pub fn token(&self) -> ConsistencyToken {
        ConsistencyScope::current().map_or_else(
            || {
                let floors = self.core.process.floors().clone();
                ConsistencyToken::of(&self.core.settings.cluster, floors)
            },
            |session| session.token(),
        )
    }

    /// Runs `work` as a continuation of the session that `token` was taken from.
    /// What it writes and sees is in [`token`](Self::token) at its end, and not
    /// in the session that this is called from.
    pub async fn with_token<F: Future>(&self, token: ConsistencyToken, work: F) -> F::Output {
        ConsistencyScope::new(token).enter(work).await
    }

    /// Counts since the router was built.
    pub fn stats(&self) -> Stats {
        self.core.metrics.stats()
    }

    /// The rows of a statement, which is prepared once on each connection.
    pub async fn query(
        &self,
        sql: &str,
        params: &[&(dyn ToSql + Sync)],
    ) -> Result<Vec<Row>, Error> {
        let op = Op { sql, kind: Kind::Rows(params) };
        match self.core.run(&op, self.level).await?.answer {
            Answer::Rows(rows) => Ok(rows),
            _ => unreachable!("rows were asked for"),
        }
    }

    /// The one row of a statement.
    ///
    /// # Errors
    ///
    /// [`Error::RowCount`] if there is none, or more than one; if it was a write,
    /// it is done.
    pub async fn query_one(
        &self,
        sql: &str,
        params: &[&(dyn ToSql + Sync)],
    ) -> Result<Row, Error> {
        self.query_opt(sql, params).await?.ok_or(Error::RowCount { found: 0 })
    }

    /// The row of a statement, if there is one.
    ///
    /// # Errors
    ///
    /// [`Error::RowCount`] if there is more than one; if it was a write, it is done.
    pub async fn query_opt(
        &self,
        sql: &str,
        params: &[&(dyn ToSql + Sync)],
    ) -> Result<Option<Row>, Error> {
        let mut rows = self.query(sql, params).await?;
        match rows.len() {
            0 | 1 => Ok(rows.pop()),
            found => Err(Error::RowCount { found }),
        }
    }

    /// How many rows a statement has changed, or found.
    pub async fn execute(
        &self,
        sql: &str,
        params: &[&(dyn ToSql + Sync)],
    ) -> Result<u64, Error> {
        let op = Op { sql, kind: Kind::Count(params) };
        match self.core.run(&op, self.level).await?.answer {
            Answer::Count(count) => Ok(count),
            _ => unreachable!("a count was asked for"),
        }
    }

    /// The rows of a statement whose parameters' types are given: it is not
    /// prepared, which spares a round trip where it is the only one of its kind.
    pub async fn query_typed(
        &self,
        sql: &str,
        params: &[(&(dyn ToSql + Sync), Type)],
    ) -> Result<Vec<Row>, Error> {
        let op = Op { sql, kind: Kind::Typed(params) };
        match self.core.run(&op, self.level).await?.answer {
            Answer::Rows(rows) => Ok(rows),
            _ => unreachable!("rows were asked for"),
        }
    }

    /// Runs a text of one or several statements, without parameters; the
    /// strictest decides where. One that changes a session's state (`SET`, …)
    /// runs on a primary connection that is closed afterwards.
    pub async fn simple_query(&self, sql: &str) -> Result<Vec<SimpleQueryMessage>, Error> {
        let op = Op { sql, kind: Kind::Simple };
        match self.core.run(&op, self.level).await?.answer {
            Answer::Simple(messages) => Ok(messages),
            _ => unreachable!("messages were asked for"),
        }
    }

    /// The rows of a statement as they come. The stream holds its connection, and
    /// its place in the pool, until it ends or is dropped.
    pub async fn query_raw(
        &self,
        sql: &str,
        params: &[&(dyn ToSql + Sync)],
    ) -> Result<RowStream, Error> {
        let op = Op { sql, kind: Kind::Stream(params) };
        Ok(RowStream::new(self.core.run(&op, self.level).await?))
    }

    pub(crate) fn core(&self) -> &Arc<Core> {
        &self.core
    }

    pub(crate) fn own_level(&self) -> Option<Level> {
        self.level
    }
}

impl Core {
    async fn run(&self, op: &Op<'_>, level: Option<Level>) -> Result<Done, Error> {
        let class = self.classifier.classify(op.sql);
        match class.target() {
            Target::Replica => self.read(op, level).await,
            Target::Connection if !op.is_simple() => Err(Error::NeedsConnection(class.reason)),
            Target::Connection | Target::Primary => Box::pin(self.write(op, level)).await,
        }
    }

    /// The session that this code runs for, and the level of its reads.
    fn session(&self, level: Option<Level>) -> (ConsistencyScope, Level) {
        if let Some(scope) = self.scope() {
            let level = level.or_else(|| scope.level()).unwrap_or(self.settings.level);
            let level = if cfg!(broken = "pin_window") && level == Level::Session {
                Level::PinWindow(Duration::from_secs(2))
            } else {
                level
            };
            return (scope, level);
        }
        self.metrics.unscoped_reads();
        // All of the process is no one session: it stays on no replica.
        let level = match level.unwrap_or(self.settings.level) {
            Level::Session => Level::ReadYourWrites,
            level => level,
        };
        (self.process.clone(), level)
    }

    /// The session that this code runs for, as far as it is about this cluster.
    fn scope(&self) -> Option<ConsistencyScope> {
        let session = ConsistencyScope::current()?;
        for _ in 0..session.take_refused() {
            self.metrics.tokens_refused();
        }
        Some(session.on(&self.settings.cluster))
    }

    fn shared(&self) -> Arc<Self> {
        self.this.upgrade().expect("whoever calls holds the router")
    }

    /// Something was shown to the session that its replica may not have: the
    /// primary is asked how far that may be. If it cannot say, the session reads
    /// from it for a while.
    async fn has_seen(&self, scope: &ConsistencyScope) {
        match Box::pin(self.ask()).await {
            Some(position) => scope.saw(position),
            None => {
                let until = self.settings.clock.now().after(self.settings.unknown_pin);
                scope.pin(until);
            }
        }
    }

    /// Where the primary is now, at some moment after this call.
    async fn ask(&self) -> Option<Position> {
        self.asker.ask(&self.cluster, self.polling.patience).await
    }

    /// Has every server asked what it is, from here on: the first answer may be
    /// one to a question that was under way.
    async fn look_again(&self) {
        let looks = self.cluster.servers.iter().map(|server| async {
            for _ in 0..2 {
                let progress = server.progress.notified();
                server.nudge.notify_one();
                let _ = timeout(self.polling.patience, progress).await;
            }
        });
        futures_util::future::join_all(looks).await;
    }

    fn full(&self, index: usize) -> Error {
        self.metrics.pool_timeouts();
        let server = &self.cluster.servers[index];
        let settings = server.pool.settings();
        Error::PoolTimeout {
            server: server.name.to_string(),
            size: settings.size,
            waited: settings.timeout,
        }
    }

    /// Whether there is a primary, and every server has answered.
    fn is_complete(&self) -> bool {
        let reachable =
            |server: &Arc<Server>| server.reachable.load(std::sync::atomic::Ordering::Acquire);
        self.cluster.view().elected.is_some() && self.cluster.servers.iter().all(reachable)
    }

    async fn learn(&self) {
        let Ok((_, mut lease)) = self.primary_lease(Instant::now()).await else { return };
        lease.ask();
        match catalogue::load(&lease.client).await {
            Ok(catalogue) => {
                lease.done();
                self.classifier.learn(catalogue);
            }
            Err(error) => {
                tracing::warn!(%error, "the catalogue could not be read; functions, views \
                    and sequences are judged by what was known before");
            }
        }
    }
}

/// Reads the catalogue now and then, and when a server has refused as a write
/// what was taken for a read.
async fn study(core: Weak<Core>, relearn: Arc<Notify>) {
    loop {
        let _ = timeout(CATALOGUE_EVERY, relearn.notified()).await;
        let Some(core) = core.upgrade() else { return };
        core.learn().await;
        drop(core);
        // However often it is asked for.
        sleep(Duration::from_secs(1)).await;
    }
}

impl fmt::Debug for Core {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let names = self.cluster.servers.iter().map(|server| &server.name);
        f.debug_struct("Core")
            .field("servers", &names.collect::<Vec<_>>())
            .finish_non_exhaustive()
    }
}

impl fmt::Debug for RwSplit {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let names = self.core.cluster.servers.iter().map(|server| &server.name);
        f.debug_struct("RwSplit")
            .field("servers", &names.collect::<Vec<_>>())
            .finish_non_exhaustive()
    }
}
