use std::collections::HashMap;
use std::sync::{Arc, Mutex, RwLock};
use std::time::Duration;

use tokio::sync::{Notify, Semaphore};
use tokio::time::Instant;
use tokio_postgres::tls::{MakeTlsConnect, TlsConnect};
use tokio_postgres::{NoTls, Socket};

use super::{Clock, Core, DEFAULT_RECHECK, Forbidden, Node, Router};
use crate::error::BuildError;
use crate::map::ShardName;
use crate::metrics::Metrics;
use crate::source::{BoxSource, Connect, Expected, Pool, PoolSettings, ShardSource, Tls};
use crate::topology::{self, Topology};

#[derive(Clone, Debug)]
pub(crate) struct Settings {
    pub(crate) pool: PoolSettings,
    sizes: HashMap<String, usize>,
    connect: Arc<dyn Connect>,
    hot: Option<usize>,
    /// How many shards a batch asks at once.
    pub(crate) parallel: usize,
}

/// The settings of a [`Router`].
#[derive(Debug)]
#[must_use]
pub struct RouterBuilder {
    topology: Topology,
    settings: Settings,
    sources: HashMap<String, BoxSource>,
    recheck: Duration,
}

impl RouterBuilder {
    pub(super) fn new(topology: Topology) -> Self {
        let pool = PoolSettings {
            size: 16,
            scatters: 4,
            timeout: Duration::from_secs(5),
            connect_timeout: Duration::from_secs(2),
            query_timeout: Duration::from_secs(30),
            idle_timeout: Duration::from_secs(600),
            max_lifetime: Duration::from_secs(1800),
            statements: 256,
        };
        let settings = Settings {
            pool,
            sizes: HashMap::new(),
            connect: Arc::new(Tls(NoTls)),
            hot: None,
            parallel: 64,
        };
        Self { topology, settings, sources: HashMap::new(), recheck: DEFAULT_RECHECK }
    }

    /// Connections to each shard, without those for scatters. The default is 16.
    pub fn pool_size(mut self, size: usize) -> Self {
        self.settings.pool.size = size;
        self
    }

    /// The same for one shard.
    pub fn pool_size_of(mut self, shard: impl Into<String>, size: usize) -> Self {
        self.settings.sizes.insert(shard.into(), size);
        self
    }

    /// How many scatters may run at a time; each has a connection to each shard, beside
    /// those of `pool_size`, so that scatters and requests do not wait for each other. The
    /// default is 4.
    pub fn scatters(mut self, most: usize) -> Self {
        self.settings.pool.scatters = most;
        self
    }

    /// How long a caller waits for a connection; callers are served in turn. The default is
    /// 5 s.
    pub fn pool_timeout(mut self, timeout: Duration) -> Self {
        self.settings.pool.timeout = timeout;
        self
    }

    /// How long opening a connection may take. The default is 2 s.
    pub fn connect_timeout(mut self, timeout: Duration) -> Self {
        self.settings.pool.connect_timeout = timeout;
        self
    }

    /// How long a statement outside of a transaction may take before its connection is closed,
    /// and the server asked to cancel. The default is 30 s.
    pub fn query_timeout(mut self, timeout: Duration) -> Self {
        self.settings.pool.query_timeout = timeout;
        self
    }

    /// How old a connection may get. The default is 30 min.
    pub fn max_lifetime(mut self, lifetime: Duration) -> Self {
        self.settings.pool.max_lifetime = lifetime;
        self
    }

    /// Statements that are kept prepared on each connection. The default is 256.
    pub fn statements_per_connection(mut self, most: usize) -> Self {
        self.settings.pool.statements = most;
        self
    }

    /// How long it is believed that a shard has the epoch of this router's map: a router that
    /// has missed a change sends single statements to an old owner for this long at most. A
    /// transaction checks for itself. The default is 5 s; 0 asks before each use.
    pub fn recheck(mut self, every: Duration) -> Self {
        self.recheck = every;
        self
    }

    /// How many shards a batch asks at once. The default is 64.
    pub fn parallel(mut self, shards: usize) -> Self {
        self.settings.parallel = shards;
        self
    }

    /// Counts keys and slots, this many of each for each shard, for
    /// [`Router::hot`](Router::hot). A key that is not among them costs a look at all counters, so
    /// some hundreds are enough. By default nothing is counted.
    pub fn hot_keys(mut self, capacity: usize) -> Self {
        self.settings.hot = Some(capacity);
        self
    }

    /// Something else than a pool in front of a shard, such as a primary with its replicas.
    pub fn source(mut self, shard: impl Into<String>, source: impl ShardSource) -> Self {
        self.sources.insert(shard.into(), BoxSource::new(source));
        self
    }

    /// TLS for all connections, by any `MakeTlsConnect` of tokio-postgres. The default is
    /// none.
    pub fn tls<T>(mut self, tls: T) -> Self
    where
        T: MakeTlsConnect<Socket> + Clone + Send + Sync + 'static,
        T::Stream: Send,
        T::TlsConnect: Send,
        <T::TlsConnect as TlsConnect<Socket>>::Future: Send,
    {
        self.settings.connect = Arc::new(Tls(tls));
        self
    }

    /// The router. Nothing is connected to yet: a shard that is down does not keep the others
    /// from being used. [`Router::check`] asks all of them.
    ///
    /// # Errors
    ///
    /// A setting of 0 where that makes no sense, a shard without a connection, a connection string that is none, or the
    /// setting of a shard that there is not.
    ///
    /// # Panics
    ///
    /// Outside of a Tokio runtime whose time is enabled.
    pub fn build(self) -> Result<Router, BuildError> {
        let Self { topology, settings, sources, recheck } = self;
        let pool = &settings.pool;
        for (name, value) in [
            ("pool_size", pool.size),
            ("scatters", pool.scatters),
            ("parallel", settings.parallel),
            ("hot_keys", settings.hot.unwrap_or(1)),
        ] {
            // Tokio's semaphore has that limit.
            if value == 0 || value > 1 << 28 {
                let reason = format!("{value}: it is at least 1, and at most {}", 1 << 28);
                return Err(BuildError::new(name, reason));
            }
        }
        for (name, time) in
            [("connect_timeout", pool.connect_timeout), ("query_timeout", pool.query_timeout)]
        {
            if time.is_zero() {
                return Err(BuildError::new(name, "0: nothing would ever be answered in time"));
            }
        }
        for name in settings.sizes.keys().chain(sources.keys()) {
            if topology.map().index_of(name).is_none() {
                let reason = format!("the topology has no shard called {name:?}");
                return Err(BuildError::new("pool_size_of, source", reason));
            }
        }
        let metrics = Arc::new(Metrics::new());
        let view = settings.view(topology, &sources, None, &metrics)?;
        let least = view.members.iter().map(|member| member.node.source.capacity()).min();
        let scatters = least.unwrap_or(1).min(pool.scatters);
        let scatters = if cfg!(broken = "one_queue") { 1 << 20 } else { scatters };
        Ok(Router {
            core: Arc::new(Core {
                view: RwLock::new(Arc::new(view)),
                applying: Mutex::new(()),
                sources,
                settings,
                metrics,
                clock: Clock { start: Instant::now(), recheck },
                scatters: Arc::new(Semaphore::new(scatters)),
                forbidden: Mutex::new(Forbidden::default()),
                nudge: Arc::new(Notify::new()),
                #[cfg(feature = "toml")]
                watcher: Mutex::new(None),
            }),
        })
    }
}

impl Settings {
    pub(super) fn node(
        &self,
        name: &ShardName,
        connection: Option<String>,
        sources: &HashMap<String, BoxSource>,
        expected: &Expected,
        metrics: &Arc<Metrics>,
    ) -> Result<Node, BuildError> {
        let metrics = Arc::clone(metrics);
        if let Some(source) = sources.get(name.as_str()) {
            return Ok(Node::new(name.clone(), source.clone(), None, self.hot, metrics));
        }
        let setting = || format!("shards.{name}.connection");
        let text = connection.ok_or_else(|| {
            BuildError::new(setting(), "there is none; write one, or give the shard a `source`")
        })?;
        let config =
            topology::config(&text).map_err(|reason| BuildError::new(setting(), reason))?;
        let size = self.sizes.get(name.as_str()).copied().unwrap_or(self.pool.size);
        if size == 0 {
            return Err(BuildError::new(
                "pool_size_of",
                format!("{name}: 0; it is at least 1"),
            ));
        }
        let settings = PoolSettings { size, ..self.pool.clone() };
        let pool = Pool::new(config, Arc::clone(&self.connect), settings, expected.clone());
        let source = BoxSource::new(pool.clone());
        Ok(Node::new(name.clone(), source, Some((pool, text)), self.hot, metrics))
    }
}
