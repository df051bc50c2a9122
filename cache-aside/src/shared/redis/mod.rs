//! The tier in Redis.

mod answer;
mod connect;
mod generations;
mod header;
#[cfg(feature = "http")]
mod log;
mod operations;
mod script;
mod session;
mod topology;

use std::fmt;
use std::future::Future;
use std::io::Write;
use std::sync::Arc;
use std::time::Duration;

use redis::aio::MultiplexedConnection;
use redis::{
    Client, Cmd, IntoConnectionInfo, Pipeline, RedisResult, RedisWrite, ToRedisArgs,
    ToSingleRedisArg, Value,
};

use self::connect::Connect;
use self::session::{Node, Session};
use self::topology::{Cluster, Topology};
use super::{Lease, SharedError, SharedStore};
use crate::error::BuildError;

/// Records in Redis 6.2 or newer, or Valkey, for all processes that use the same
/// prefix and name of cache.
///
/// Nothing is connected before it is first used, so a service starts with Redis
/// down. A handle is cheap to clone, and the caches that are built on clones of one
/// share its connection.
///
/// ```no_run
/// # use cache_aside::{BuildError, CacheAside, RedisStore};
/// # fn build() -> Result<(), BuildError> {
/// let redis = RedisStore::open("redis://127.0.0.1/")?;
/// let users: CacheAside<u64, String> =
///     CacheAside::builder("user").l2(redis.clone()).build()?;
/// # Ok(())
/// # }
/// ```
///
/// **The server.** One primary, or the primaries of a Cluster: a value read from a
/// replica may be older than its invalidation. It may evict as it likes
/// (`maxmemory-policy`). The user that it is accessed as needs `INFO`, `TIME`,
/// `SCRIPT LOAD`, `EVALSHA`, `GET`, `MGET`, `PTTL`, `UNLINK`, `SET`, `HMGET`, `HSET`,
/// `HDEL` and `HRANDFIELD` on the keys `{prefix:*` (the brace is a part of each), for HTTP
/// also `HGET`, `HGETALL`, `RPUSH`, `LTRIM`, `LLEN` and `LRANGE`, for a Cluster `CLUSTER SLOTS`, and for a database other than 0 `SELECT`. With `CLIENT
/// TRACKING` and `CLIENT CACHING` a hit reads one key, else two.
///
/// **Keys** are `{prefix:cache:partition}` (a colon in the name of the cache is `%3A`)
/// and then a letter: `v` for records, `l` for
/// leases, both followed by the key's bytes, `g` for the generation and `f` for
/// the floors of the partition; for HTTP `c`, `j`, `p` and `o` in partition 0, the log of what
/// was purged and its tables. A record is 81 bytes longer than what is in it.
#[derive(Clone)]
#[must_use]
pub struct RedisStore {
    topology: Arc<Topology>,
    prefix: Box<str>,
    partitions: Arc<[Partition]>,
    cache: Box<str>,
}

/// A part of the keys, which share a slot.
struct Partition {
    tag: Box<[u8]>,
    slot: u16,
}

/// How long a connection attempt may take.
const CONNECT: Duration = Duration::from_secs(2);

/// Of a Cluster. A single server has no use for more than one.
const PARTITIONS: usize = 64;

impl RedisStore {
    /// One server, by a URL such as `redis://user:password@host:6379/0`, or `rediss:`
    /// for TLS (a feature of the `redis` crate), or by anything else that the
    /// `redis` crate makes a connection from. `TCP_NODELAY` is set.
    ///
    /// # Errors
    ///
    /// The address cannot be read. Nothing is connected.
    pub fn open(server: impl IntoConnectionInfo) -> Result<Self, BuildError> {
        let info = server.into_connection_info().map_err(|error| refuse(&error))?;
        // Says whether the address can be used at all, TLS included.
        Client::open(info.clone()).map_err(|error| refuse(&error))?;
        Ok(Self::on(Topology::Single(Node::new(Connect::to(info, CONNECT)))))
    }

    /// A Redis Cluster, by some of its nodes. The others are found, and are spoken to
    /// in the same way: user, password, TLS.
    ///
    /// # Errors
    ///
    /// An address cannot be read, or there is none. Nothing is connected.
    pub fn cluster<I>(nodes: I) -> Result<Self, BuildError>
    where
        I: IntoIterator,
        I::Item: IntoConnectionInfo,
    {
        let seeds: RedisResult<Vec<_>> =
            nodes.into_iter().map(IntoConnectionInfo::into_connection_info).collect();
        let seeds = seeds.map_err(|error| refuse(&error))?;
        if seeds.is_empty() {
            return Err(BuildError::new(
                "l2",
                "a cluster needs the address of at least one node",
            ));
        }
        for seed in &seeds {
            Client::open(seed.clone()).map_err(|error| refuse(&error))?;
        }
        Ok(Self::on(Topology::Cluster(Arc::new(Cluster::new(seeds, CONNECT)))))
    }

    /// One server, by a client of your own: its address, user and TLS settings.
    pub fn client(client: &Client) -> Self {
        let info = client.get_connection_info().clone();
        Self::on(Topology::Single(Node::new(Connect::to(info, CONNECT))))
    }

    /// One server, by connections that you make. `connect` is called whenever there
    /// is none, one call at a time. It must bring a new connection to the primary;
    /// this type does not reconnect by itself, which matters, since each new
    /// connection may be to another server. Give it a time limit, and set
    /// `TCP_NODELAY`.
    pub fn factory<F, C>(connect: F) -> Self
    where
        F: Fn() -> C + Send + Sync + 'static,
        C: Future<Output = RedisResult<MultiplexedConnection>> + Send + 'static,
    {
        let connect = Connect::By(Arc::new(move || Box::pin(connect())));
        Self::on(Topology::Single(Node::new(connect)))
    }

    fn on(topology: Topology) -> Self {
        let mut store = Self {
            topology: Arc::new(topology),
            prefix: "cache-aside".into(),
            partitions: Arc::new([]),
            cache: "".into(),
        };
        store.lay_out(match *store.topology {
            Topology::Single(_) => 1,
            Topology::Cluster(_) => PARTITIONS,
        });
        store
    }

    /// Begins every key with `prefix`. The default is `cache-aside`. Services that
    /// share a server, and not their data, need different ones.
    ///
    /// # Errors
    ///
    /// A prefix with braces, which would move its keys to other slots.
    pub fn prefix(mut self, prefix: impl Into<String>) -> Result<Self, BuildError> {
        let prefix = prefix.into();
        if prefix.is_empty() || prefix.contains(['{', '}']) {
            let reason = format!("the prefix {prefix:?} must not be empty, nor hold braces");
            return Err(BuildError::new("prefix", reason));
        }
        self.prefix = prefix.into();
        self.lay_out(self.partitions.len());
        Ok(self)
    }

    /// Spreads the keys over this many partitions, 1 to 16,384; the default is 1 for a
    /// single server and 64 for a Cluster, where each is on one node. All processes that share a cache need the
    /// same number: those with another see neither its records nor its
    /// invalidations.
    ///
    /// # Errors
    ///
    /// A number outside that range.
    pub fn partitions(mut self, partitions: usize) -> Result<Self, BuildError> {
        if !(1..=16_384).contains(&partitions) {
            let reason = format!("{partitions} partitions: from 1 to 16,384 are possible");
            return Err(BuildError::new("partitions", reason));
        }
        self.lay_out(partitions);
        Ok(self)
    }

    fn lay_out(&mut self, partitions: usize) {
        // So that no prefix and name are another prefix and name, put together.
        let cache = self.cache.replace('%', "%25").replace(':', "%3A");
        let partition = |n| {
            let name = format!("{}:{cache}:{n}", self.prefix);
            let slot = crc16::State::<crc16::XMODEM>::calculate(name.as_bytes()) % 16_384;
            Partition { tag: format!("{{{name}}}").into_bytes().into(), slot }
        };
        self.partitions = (0..partitions).map(partition).collect();
    }

    fn place(&self, key: &[u8]) -> &Partition {
        &self.partitions[SharedStore::partition(self, key)]
    }

    /// A session with the node that has all of `keys`.
    async fn session(&self, key: &[u8]) -> Result<Arc<Session>, SharedError> {
        let node = self.topology.node(self.place(key).slot).await?;
        let session = node.session().await.inspect_err(|_| self.topology.suspect())?;
        session.recheck().await?;
        Ok(session)
    }

    /// The session that a lease was asked over.
    async fn same_session(&self, key: &[u8], lease: &Lease) -> Option<Arc<Session>> {
        let node = self.topology.node(self.place(key).slot).await.ok()?;
        node.same_session(lease.note.session)
    }

    /// Runs scripts, again if the server has forgotten them.
    async fn run(
        &self,
        session: &Session,
        calls: &Pipeline,
    ) -> Result<Vec<Value>, SharedError> {
        let answers = session.commands(calls).await;
        let answers = match answers {
            Err(SharedError::Refused(cause)) if is_no_script(&*cause) => {
                session.reload().await?;
                session.commands(calls).await
            }
            answers => answers,
        };
        answers.inspect_err(|error| self.look_around(error))
    }

    fn look_around(&self, error: &SharedError) {
        if !matches!(error, SharedError::Full(_)) {
            self.topology.suspect();
        }
    }
}

fn refuse(error: &redis::RedisError) -> BuildError {
    // Of the parts of an address, its error names none that is secret.
    BuildError::new("l2", format!("the address of Redis cannot be used: {error}"))
}

fn is_no_script(error: &(dyn std::error::Error + 'static)) -> bool {
    error.downcast_ref::<redis::RedisError>().is_some_and(|e| e.code() == Some("NOSCRIPT"))
}

impl Partition {
    fn record<'a>(&'a self, key: &'a [u8]) -> Name<'a> {
        Name { tag: &self.tag, kind: b'v', key }
    }

    /// A GET of a record.
    fn get(&self, key: &[u8]) -> Cmd {
        let mut get = Cmd::with_capacity(2, self.tag.len() + key.len() + 8);
        get.arg(b"GET").arg(self.record(key));
        get
    }

    /// An MGET of records.
    fn mget<'a>(&'a self, keys: impl ExactSizeIterator<Item = &'a [u8]> + Clone) -> Cmd {
        let room: usize = keys.clone().map(|key| self.tag.len() + 1 + key.len()).sum();
        let mut get = Cmd::with_capacity(2 + keys.len(), room + self.tag.len() + 8);
        get.arg(b"MGET");
        for key in keys {
            get.arg(self.record(key));
        }
        get
    }

    /// The same, and of the generation last.
    fn mget_all<'a>(&'a self, keys: impl ExactSizeIterator<Item = &'a [u8]> + Clone) -> Cmd {
        let mut get = self.mget(keys);
        get.arg(self.generation());
        get
    }

    fn lease<'a>(&'a self, key: &'a [u8]) -> Name<'a> {
        Name { tag: &self.tag, kind: b'l', key }
    }

    fn generation(&self) -> Name<'_> {
        Name { tag: &self.tag, kind: b'g', key: b"" }
    }

    fn floors(&self) -> Name<'_> {
        Name { tag: &self.tag, kind: b'f', key: b"" }
    }
}

/// A key in Redis, written into a command piece by piece.
struct Name<'a> {
    tag: &'a [u8],
    kind: u8,
    key: &'a [u8],
}

impl ToRedisArgs for Name<'_> {
    fn write_redis_args<W: ?Sized + RedisWrite>(&self, out: &mut W) {
        let mut name = out.writer_for_next_arg();
        // A command is written to memory.
        let _ = name.write_all(self.tag);
        let _ = name.write_all(&[self.kind]);
        let _ = name.write_all(self.key);
    }
}

impl ToSingleRedisArg for Name<'_> {}

impl fmt::Debug for RedisStore {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("RedisStore")
            .field("prefix", &self.prefix)
            .field("partitions", &self.partitions.len())
            .finish_non_exhaustive()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn no_prefix_and_name_are_those_of_another_cache() {
        let tag = |prefix: &str, cache: &str| {
            let store = RedisStore::open("redis://127.0.0.1/").expect("an address");
            let mut store = store.prefix(prefix).expect("a prefix");
            store.bind(cache);
            String::from_utf8(store.partitions[0].tag.to_vec()).expect("it is text")
        };
        assert_eq!(tag("a", "user"), "{a:user:0}");
        assert_ne!(tag("a:b", "c"), tag("a", "b:c"));
        assert_ne!(tag("a", "b:c"), tag("a", "b%3Ac"));
    }
}
