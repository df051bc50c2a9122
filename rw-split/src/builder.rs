use std::fmt;
use std::str::FromStr;
use std::sync::Arc;
use std::time::Duration;

use tokio_postgres::tls::{MakeTlsConnect, TlsConnect};
use tokio_postgres::{Config, NoTls, Socket};

use crate::balance::Balance;
use crate::carrier::is_name;
use crate::clock::WallClock;
use crate::error::BuildError;
use crate::level::Level;
use crate::policy::choose::MOST_SERVERS;
use crate::router::{RwSplit, Settings};
use crate::server::Server;
use crate::server::connect::{Connect, Tls};
use crate::server::monitor::Polling;
use crate::server::pool::{Pool, PoolSettings};

/// One server: where it is, and what is known of it beforehand. Which one is the
/// primary is found out, not configured.
#[derive(Clone, Debug)]
#[must_use]
pub struct ServerConfig {
    source: Source,
    name: Option<String>,
    near: bool,
    weight: u32,
    shared: bool,
}

#[derive(Clone)]
enum Source {
    Text(String),
    Config(Box<Config>),
}

/// It may hold a password.
impl fmt::Debug for Source {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("..")
    }
}

impl ServerConfig {
    /// From a connection string or URL, as tokio-postgres reads it. With one host.
    pub fn new(connection: impl Into<String>) -> Self {
        Self::of(Source::Text(connection.into()))
    }

    fn of(source: Source) -> Self {
        Self { source, name: None, near: false, weight: 1, shared: false }
    }

    /// A name for logs, metrics, errors and tokens; by default `host:port`. Give
    /// each server the same name in every process: a session stays on its replica
    /// only where the name is known.
    pub fn name(mut self, name: impl Into<String>) -> Self {
        self.name = Some(name.into());
        self
    }

    /// It is in this process's zone, and preferred to those that are not.
    pub fn near(mut self) -> Self {
        self.near = true;
        self
    }

    /// Its share under [`Balance::Weighted`]. The default is 1.
    pub fn weight(mut self, weight: u32) -> Self {
        self.weight = weight;
        self
    }

    /// Its address leads to one server or another, as a load balancer's or a
    /// pooler's in transaction mode does. What is seen there says nothing about
    /// the next question, so each read finds out where it is within its own
    /// transaction: three round trips more.
    pub fn shared_address(mut self) -> Self {
        self.shared = true;
        self
    }
}

impl From<&str> for ServerConfig {
    fn from(connection: &str) -> Self {
        Self::new(connection)
    }
}

impl From<String> for ServerConfig {
    fn from(connection: String) -> Self {
        Self::new(connection)
    }
}

impl From<Config> for ServerConfig {
    fn from(config: Config) -> Self {
        Self::of(Source::Config(Box::new(config)))
    }
}

/// What a read gets when no server is fresh enough, and the primary is away.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum WhenUnreachable {
    /// [`Error::NoServer`](crate::Error::NoServer).
    #[default]
    Fail,
    /// What the replica that is furthest ahead has. It is counted as `stale`.
    Stale,
}

/// The settings of an [`RwSplit`]. Made by [`RwSplit::builder`].
#[derive(Clone, Debug)]
#[must_use]
pub struct RwSplitBuilder {
    servers: Vec<ServerConfig>,
    tls: Arc<dyn Connect>,
    settings: Settings,
    pool: PoolSettings,
    statement_timeout: Option<Duration>,
    polling: Polling,
    start_wait: Duration,
    routes: usize,
}

impl RwSplitBuilder {
    pub(crate) fn new() -> Self {
        let seconds = Duration::from_secs;
        Self {
            servers: Vec::new(),
            tls: Arc::new(Tls(NoTls)),
            settings: Settings {
                level: Level::default(),
                balance: Balance::default(),
                max_wait: Duration::from_millis(20),
                max_lag: seconds(30),
                failover_wait: seconds(3),
                unknown_pin: seconds(10),
                when_unreachable: WhenUnreachable::default(),
                clock: WallClock::system(),
                cluster: Arc::from(""),
            },
            pool: PoolSettings {
                size: 16,
                timeout: seconds(5),
                connect_timeout: seconds(2),
                idle_timeout: seconds(600),
                max_lifetime: seconds(1800),
                statements: 256,
                setup: None,
                shared: false,
            },
            statement_timeout: None,
            polling: Polling {
                every: Duration::from_millis(50),
                eager: Duration::from_micros(1500),
                patience: seconds(1),
            },
            start_wait: seconds(5),
            routes: 4096,
        }
    }

    /// The name of the cluster that the servers are: a process that has routers to several
    /// gives each another name, so that a session has a floor for each. It is part of the
    /// names of cookies: up to 64 letters, digits and `-_.`. The default is none, which is a
    /// name as well.
    ///
    /// A position of one cluster says nothing of another: without names, two of them would
    /// take each other's floors for those of a database that was restored, and drop them. Nor
    /// does PostgreSQL's system identifier tell them apart: those that were made from one
    /// backup share it, and each other's positions would count.
    pub fn cluster(mut self, name: impl Into<Arc<str>>) -> Self {
        self.settings.cluster = name.into();
        self
    }

    /// Adds a server: a connection string, a `tokio_postgres::Config` or a
    /// [`ServerConfig`]. From 1 to 64.
    pub fn server(mut self, server: impl Into<ServerConfig>) -> Self {
        self.servers.push(server.into());
        self
    }

    /// Connects with TLS, as tokio-postgres does. By default there is none, and a
    /// server that asks for it (`sslmode=require`) cannot be reached.
    pub fn tls<T>(mut self, tls: T) -> Self
    where
        T: MakeTlsConnect<Socket> + Clone + Send + Sync + 'static,
        T::Stream: Send,
        T::TlsConnect: Send,
        <T::TlsConnect as TlsConnect<Socket>>::Future: Send,
    {
        self.tls = Arc::new(Tls(tls));
        self
    }

    /// What reads promise where neither the query nor the session says
    /// otherwise. The default is [`Level::Session`].
    pub fn level(mut self, level: Level) -> Self {
        self.settings.level = level;
        self
    }

    /// How a fresh replica is picked. The default is [`Balance::PowerOfTwo`].
    pub fn balance(mut self, balance: Balance) -> Self {
        self.settings.balance = balance;
        self
    }

    /// How long a read may wait for a replica to catch up before it goes to the
    /// primary. The default is 20 ms; zero is never.
    pub fn max_wait(mut self, wait: Duration) -> Self {
        self.settings.max_wait = wait;
        self
    }

    /// A replica that is further behind serves nobody, not even
    /// [`Level::Eventual`]. The default is 30 s.
    pub fn max_lag(mut self, lag: Duration) -> Self {
        self.settings.max_lag = lag;
        self
    }

    /// How long a write waits for a primary while there is none. The default is 3 s.
    pub fn failover_wait(mut self, wait: Duration) -> Self {
        self.settings.failover_wait = wait;
        self
    }

    /// How long a session reads from the primary after a write whose position, or
    /// outcome, is not known: longer than replicas lag. The default is 10 s.
    pub fn unknown_pin(mut self, pin: Duration) -> Self {
        self.settings.unknown_pin = pin;
        self
    }

    /// What a read gets when nothing can answer it as promised. The default is an error.
    pub fn when_unreachable(mut self, then: WhenUnreachable) -> Self {
        self.settings.when_unreachable = then;
        self
    }

    /// The most connections to each server. The default is 16. Two more are used
    /// for the crate's own questions.
    pub fn pool_size(mut self, size: usize) -> Self {
        self.pool.size = size;
        self
    }

    /// How long a caller waits for a connection to come free. The default is 5 s.
    pub fn pool_timeout(mut self, timeout: Duration) -> Self {
        self.pool.timeout = timeout;
        self
    }

    /// How long opening a connection may take. The default is 2 s.
    pub fn connect_timeout(mut self, timeout: Duration) -> Self {
        self.pool.connect_timeout = timeout;
        self
    }

    /// How long a connection lives. The default is 30 min.
    pub fn max_lifetime(mut self, lifetime: Duration) -> Self {
        self.pool.max_lifetime = lifetime;
        self
    }

    /// How many statements each connection keeps prepared. The default is 256.
    pub fn statements_per_connection(mut self, most: usize) -> Self {
        self.pool.statements = most;
        self
    }

    /// The server's `statement_timeout` on each connection. The default is the server's.
    pub fn statement_timeout(mut self, timeout: Duration) -> Self {
        self.statement_timeout = Some(timeout);
        self
    }

    /// How often each server is asked what it is and where. The default is 50 ms.
    pub fn poll_interval(mut self, interval: Duration) -> Self {
        self.polling.every = interval;
        self
    }

    /// A server that has not answered in this time is away. The default is 1 s.
    pub fn patience(mut self, patience: Duration) -> Self {
        self.polling.patience = patience;
        self
    }

    /// How long [`build`](Self::build) waits for the servers to answer. The default is
    /// 5 s; with zero it does not wait.
    pub fn start_wait(mut self, wait: Duration) -> Self {
        self.start_wait = wait;
        self
    }

    /// How many texts' routes are remembered. The default is 4,096.
    pub fn remembered_routes(mut self, most: usize) -> Self {
        self.routes = most;
        self
    }

    /// Takes dates from `clock`, so that tests can move it.
    #[cfg(feature = "test-util")]
    pub fn clock(mut self, clock: WallClock) -> Self {
        self.settings.clock = clock;
        self
    }

    /// Starts to watch the servers, and returns once each has answered or has
    /// had time to: servers that are away are no error, they may come. Needs a
    /// Tokio runtime, which runs one task per server until the last clone of the
    /// router is dropped. With the `metrics` feature, install the recorder before.
    ///
    /// # Errors
    ///
    /// A setting that is missing, makes no sense, or contradicts another.
    ///
    /// # Cancel safety
    ///
    /// Dropped before it is done, nothing stays behind.
    pub async fn build(mut self) -> Result<RwSplit, BuildError> {
        self.check()?;
        if let Some(timeout) = self.statement_timeout {
            self.pool.setup = Some(format!("SET statement_timeout = {}", timeout.as_millis()));
        }
        let mut servers = Vec::new();
        for server in &self.servers {
            servers.push(Arc::new(self.one(server)?));
        }
        for (index, server) in servers.iter().enumerate() {
            if servers[..index].iter().any(|other| other.name == server.name) {
                let same = format!("two servers are called {}; give them names", server.name);
                return Err(BuildError::new("server", same));
            }
        }
        Ok(RwSplit::start(
            servers.into(),
            self.settings,
            self.polling,
            self.start_wait,
            self.routes,
        )
        .await)
    }

    fn one(&self, server: &ServerConfig) -> Result<Server, BuildError> {
        let config = match &server.source {
            Source::Config(config) => (**config).clone(),
            // The text may hold a password: the driver's message does not repeat it.
            Source::Text(text) => Config::from_str(text).map_err(|error| {
                BuildError::new("server", format!("a connection string is wrong: {error}"))
            })?,
        };
        let hosts = config.get_hosts();
        if hosts.len() != 1 {
            return Err(BuildError::new(
                "server",
                format!(
                    "a connection string has {} hosts; give each server its own",
                    hosts.len()
                ),
            ));
        }
        let name = server.name.clone().unwrap_or_else(|| {
            let port = config.get_ports().first().copied().unwrap_or(5432);
            match &hosts[0] {
                tokio_postgres::config::Host::Tcp(host) => format!("{host}:{port}"),
                #[cfg(unix)]
                tokio_postgres::config::Host::Unix(path) => {
                    format!("{}:{port}", path.display())
                }
            }
        });
        let settings = PoolSettings { shared: server.shared, ..self.pool.clone() };
        let pool = Pool::new(config, Arc::clone(&self.tls), settings);
        Ok(Server::new(&name, server.near, server.weight, server.shared, pool))
    }

    fn check(&self) -> Result<(), BuildError> {
        let refuse = |setting, reason: &str| Err(BuildError::new(setting, reason));
        if self.servers.is_empty() {
            return refuse("server", "no server is given; name the primary and its replicas");
        }
        if self.servers.len() > MOST_SERVERS {
            return refuse("server", "there are more than 64 servers");
        }
        let cluster = &self.settings.cluster;
        if !cluster.is_empty() && !is_name(cluster) {
            return refuse("cluster", "a name has up to 64 letters, digits and `-_.`");
        }
        if self.pool.size == 0 {
            return refuse(
                "pool_size",
                "a pool of no connections answers nobody; give it some",
            );
        }
        if self.pool.statements == 0 {
            return refuse("statements_per_connection", "every query needs one; give it some");
        }
        if self.polling.every < Duration::from_millis(1) {
            return refuse("poll_interval", "the servers would do little else; 1 ms or more");
        }
        if self.polling.patience < self.polling.every {
            return refuse("patience", "it is shorter than `poll_interval`");
        }
        let zero = [
            ("pool_timeout", self.pool.timeout),
            ("connect_timeout", self.pool.connect_timeout),
            ("max_lifetime", self.pool.max_lifetime),
            ("max_lag", self.settings.max_lag),
            ("unknown_pin", self.settings.unknown_pin),
        ];
        if let Some((setting, _)) = zero.iter().find(|(_, value)| value.is_zero()) {
            return refuse(setting, "it is zero");
        }
        if self.statement_timeout.is_some_and(|timeout| timeout.as_millis() == 0) {
            return refuse("statement_timeout", "below 1 ms it would mean none at all");
        }
        if self.settings.level == Level::PinWindow(Duration::ZERO) {
            return refuse("level", "a pin of no time is `Level::Eventual`");
        }
        if self.settings.max_wait > Duration::from_secs(10) {
            return refuse(
                "max_wait",
                "a read that waits for more than 10 s belongs on the primary",
            );
        }
        Ok(())
    }
}
