//! The tier in Redis.

mod connect;
mod header;
mod script;
mod session;
mod topology;

use std::fmt;
use std::future::Future;
use std::sync::Arc;
use std::time::Duration;

use redis::aio::MultiplexedConnection;
use redis::{Client, Cmd, IntoConnectionInfo, Pipeline, RedisResult, Value};

use self::connect::Connect;
use self::session::{Node, Session, classify, unreachable};
use self::topology::{Cluster, Topology};
use super::{
    Acquired, Ask, Fill, Filled, Floor, Lease, LeaseNote, Reading, SharedError, SharedStore,
};
use crate::error::BuildError;
use crate::version::{Version, VersionFloor};

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
/// `SCRIPT LOAD`, `EVALSHA`, `MGET`, `PTTL`, `UNLINK`, `SET`, `HMGET`, `HSET`, `HDEL`
/// and `HRANDFIELD` on the keys `{prefix:*`, and for a Cluster `CLUSTER SLOTS`, for a
/// database other than 0 `SELECT`.
///
/// **Keys** are `{prefix:cache:partition}` and then a letter: `v` for records, `l` for
/// leases, both followed by the key's bytes, `g` for the generation and `f` for
/// the floors of the partition. A record is 81 bytes longer than what is in it.
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
        store.lay_out(PARTITIONS);
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

    /// Spreads the keys over this many partitions, 1 to 16,384; the default is 64. In
    /// a Cluster each is on one node. All processes that share a cache need the
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
        let partition = |n| {
            let name = format!("{}:{}:{n}", self.prefix, self.cache);
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
    fn key(&self, kind: u8, key: &[u8]) -> Vec<u8> {
        let mut name = Vec::with_capacity(self.tag.len() + 1 + key.len());
        name.extend_from_slice(&self.tag);
        name.push(kind);
        name.extend_from_slice(key);
        name
    }

    fn record(&self, key: &[u8]) -> Vec<u8> {
        self.key(b'v', key)
    }

    fn lease(&self, key: &[u8]) -> Vec<u8> {
        self.key(b'l', key)
    }

    fn generation(&self) -> Vec<u8> {
        self.key(b'g', b"")
    }

    fn floors(&self) -> Vec<u8> {
        self.key(b'f', b"")
    }
}

impl SharedStore for RedisStore {
    fn bind(&mut self, cache: &str) {
        self.cache = cache.into();
        self.lay_out(self.partitions.len());
    }

    fn partitions(&self) -> usize {
        self.partitions.len()
    }

    fn partition(&self, key: &[u8]) -> usize {
        // FNV-1a: all processes, of all versions, must agree on it.
        let hash = key.iter().fold(0xcbf2_9ce4_8422_2325_u64, |hash, byte| {
            (hash ^ u64::from(*byte)).wrapping_mul(0x0100_0000_01b3)
        });
        ((hash ^ (hash >> 32)) % self.partitions.len() as u64) as usize
    }

    fn domain(&self, partition: usize) -> usize {
        self.topology.domain(self.partitions[partition].slot)
    }

    async fn read(&self, keys: &[&[u8]]) -> Result<Vec<Reading>, SharedError> {
        let [first, ..] = keys else { return Ok(Vec::new()) };
        let session = self.session(first).await?;
        if let [key] = keys {
            let place = self.place(key);
            let mut get = Cmd::with_capacity(3, 2 * place.tag.len() + key.len() + 32);
            get.arg(b"MGET").arg(place.record(key)).arg(place.generation());
            let answer = session.command(&get).await;
            let answer = answer.inspect_err(|error| self.look_around(error))?;
            let [record, generation] = strings(answer)?;
            return Ok(vec![judge(record, generation.as_deref(), &session)]);
        }
        self.read_many(&session, keys).await
    }

    async fn acquire(&self, asks: &[Ask<'_>]) -> Result<Vec<Acquired>, SharedError> {
        let [first, ..] = asks else { return Ok(Vec::new()) };
        let session = self.session(first.key).await?;
        let mut calls = Pipeline::with_capacity(asks.len());
        for ask in asks {
            let place = self.place(ask.key);
            let seen = ask.seen.as_ref().map_or(&[][..], |seen| seen.as_bytes());
            calls
                .cmd("EVALSHA")
                .arg(&session.scripts.acquire)
                .arg(4)
                .arg(place.record(ask.key))
                .arg(place.lease(ask.key))
                .arg(place.generation())
                .arg(place.floors())
                .arg(&random())
                .arg(millis(ask.lease))
                .arg(&random())
                .arg(seen)
                .arg(millis(ask.floor_ttl))
                .arg(ask.key);
        }
        let answers = self.run(&session, &calls).await?;
        answers.into_iter().map(|answer| acquired(answer, &session)).collect()
    }

    async fn fill(&self, fills: &[Fill<'_>]) -> Result<Vec<Filled>, SharedError> {
        let [first, ..] = fills else { return Ok(Vec::new()) };
        let Some(session) = self.same_session(first.key, first.lease).await else {
            // Another connection may be to another life of the server.
            return Ok(vec![Filled::LeaseLost; fills.len()]);
        };
        let mut calls = Pipeline::with_capacity(fills.len());
        for fill in fills {
            let place = self.place(fill.key);
            let bytes = fill
                .record
                .as_ref()
                .map(|record| header::write(record, fill.lease, &session.identity));
            let record = fill.record.as_ref();
            let version = record.and_then(|record| record.version);
            calls
                .cmd("EVALSHA")
                .arg(&session.scripts.fill)
                .arg(4)
                .arg(place.record(fill.key))
                .arg(place.lease(fill.key))
                .arg(place.generation())
                .arg(place.floors())
                .arg(&fill.lease.token)
                .arg(&fill.lease.note.generation)
                .arg(bytes.unwrap_or_default())
                .arg(record.map_or(0, |record| millis(record.ttl)))
                .arg(version.as_ref().map_or(&[][..], |version| version.as_bytes()))
                .arg(fill.key);
        }
        let answers = self.run(&session, &calls).await?;
        answers
            .into_iter()
            .map(|answer| match answer {
                Value::Int(0) => Ok(Filled::Stored),
                Value::Int(1) => Ok(Filled::LeaseLost),
                Value::Int(2) => Ok(Filled::BelowFloor),
                answer => Err(unexpected(answer)),
            })
            .collect()
    }

    async fn release(&self, leases: &[(&[u8], &Lease)]) -> Result<(), SharedError> {
        let [(key, lease), ..] = leases else { return Ok(()) };
        let Some(session) = self.same_session(key, lease).await else { return Ok(()) };
        let mut calls = Pipeline::with_capacity(leases.len());
        for (key, lease) in leases {
            let call = calls.cmd("EVALSHA").arg(&session.scripts.release).arg(1);
            call.arg(self.place(key).lease(key)).arg(&lease.token);
        }
        self.run(&session, &calls).await.map(drop)
    }

    async fn invalidate(&self, key: &[u8], floor: Option<&Floor>) -> Result<(), SharedError> {
        let session = self.session(key).await?;
        let place = self.place(key);
        let mut calls = Pipeline::with_capacity(1);
        calls
            .cmd("EVALSHA")
            .arg(&session.scripts.invalidate)
            .arg(3)
            .arg(place.record(key))
            .arg(place.lease(key))
            .arg(place.floors())
            .arg(floor.map_or(&[][..], |floor| floor.version.as_bytes()))
            .arg(floor.map_or(0, |floor| millis(floor.ttl)))
            .arg(key);
        self.run(&session, &calls).await.map(drop)
    }

    async fn displace(
        &self,
        key: &[u8],
        lease: Duration,
        floor: Option<&Floor>,
    ) -> Result<Option<Lease>, SharedError> {
        let session = self.session(key).await?;
        let place = self.place(key);
        let token = random();
        let mut calls = Pipeline::with_capacity(1);
        calls
            .cmd("EVALSHA")
            .arg(&session.scripts.displace)
            .arg(4)
            .arg(place.record(key))
            .arg(place.lease(key))
            .arg(place.generation())
            .arg(place.floors())
            .arg(&token)
            .arg(millis(lease))
            .arg(&random())
            .arg(floor.map_or(&[][..], |floor| floor.version.as_bytes()))
            .arg(floor.map_or(0, |floor| millis(floor.ttl)))
            .arg(key);
        let mut answers = self.run(&session, &calls).await?;
        match answers.pop() {
            Some(Value::Array(parts)) if parts.is_empty() => Ok(None),
            Some(Value::Array(parts)) => match &parts[..] {
                [Value::BulkString(generation), Value::Int(given)] => {
                    lease_of(token, generation, *given, &session).map(Some)
                }
                _ => Err(unexpected(Value::Array(parts))),
            },
            answer => Err(unexpected(answer.unwrap_or(Value::Nil))),
        }
    }

    async fn clear(&self, partition: usize, floors: bool) -> Result<(), SharedError> {
        let place = &self.partitions[partition];
        let node = self.topology.node(place.slot).await?;
        let session = node.session().await.inspect_err(|_| self.topology.suspect())?;
        session.recheck().await?;
        // Without a generation nothing is shown or filled, until a lease makes a new
        // one. Taking away works even when there is no room.
        let mut unlink = redis::cmd("UNLINK");
        unlink.arg(place.generation());
        if floors {
            unlink.arg(place.floors());
        }
        session.command(&unlink).await.inspect_err(|error| self.look_around(error)).map(drop)
    }

    async fn probe(&self, domain: usize) -> Result<(), SharedError> {
        self.topology.refresh().await?;
        let mut places = self.partitions.iter();
        // What no node has any more is none's concern.
        let Some(place) = places.find(|place| self.topology.domain(place.slot) == domain)
        else {
            return Ok(());
        };
        let node = self.topology.node(place.slot).await?;
        // A read, so that a server that refuses those is not thought to be well.
        let mut read = redis::cmd("MGET");
        read.arg(place.generation());
        node.session().await?.probe(&read).await
    }
}

impl RedisStore {
    /// One MGET for each slot; a single server has one.
    async fn read_many(
        &self,
        session: &Session,
        keys: &[&[u8]],
    ) -> Result<Vec<Reading>, SharedError> {
        // Partitions, in groups that one MGET may touch, and where each has its
        // generation in the answer.
        let single = matches!(*self.topology, Topology::Single(_));
        let mut groups: Vec<Group<'_>> = Vec::new();
        let mut wanted = Vec::with_capacity(keys.len());
        for key in keys {
            let partition = SharedStore::partition(self, key);
            let at = groups.iter().position(|group| single || group.partitions == [partition]);
            let at = at.unwrap_or_else(|| {
                groups.push(Group::default());
                groups.len() - 1
            });
            let group = &mut groups[at];
            group.keys.push(key);
            let generation = group.partitions.iter().position(|p| *p == partition);
            let generation = generation.unwrap_or_else(|| {
                group.partitions.push(partition);
                group.partitions.len() - 1
            });
            wanted.push((at, group.keys.len() - 1, generation));
        }
        let mut calls = Pipeline::with_capacity(groups.len());
        for group in &groups {
            let call = calls.cmd("MGET");
            for key in &group.keys {
                call.arg(self.place(key).record(key));
            }
            for partition in &group.partitions {
                call.arg(self.partitions[*partition].generation());
            }
        }
        let answers = session.commands(&calls).await;
        let mut answers = answers.inspect_err(|error| self.look_around(error))?;
        let mut found = Vec::with_capacity(groups.len());
        for (group, answer) in groups.iter().zip(answers.drain(..)) {
            let expected = group.keys.len() + group.partitions.len();
            found.push(list(answer, expected)?);
        }
        let readings = wanted.into_iter().map(|(at, key, generation)| {
            let generation = found[at][groups[at].keys.len() + generation].clone();
            judge(found[at][key].take(), generation.as_deref(), session)
        });
        Ok(readings.collect())
    }
}

/// Keys and partitions that one MGET reads.
#[derive(Default)]
struct Group<'a> {
    keys: Vec<&'a [u8]>,
    partitions: Vec<usize>,
}

fn judge(record: Option<Vec<u8>>, generation: Option<&[u8]>, session: &Session) -> Reading {
    record.map_or(Reading::Missing, |bytes| {
        header::read(bytes, generation, &session.identity, session.server_now())
    })
}

fn acquired(answer: Value, session: &Session) -> Result<Acquired, SharedError> {
    let Value::Array(mut parts) = answer else { return Err(unexpected(answer)) };
    match &mut parts[..] {
        [Value::Int(0), Value::BulkString(record), generation] => {
            let generation = match generation {
                Value::BulkString(generation) => Some(&generation[..]),
                _ => None,
            };
            Ok(Acquired::Read(judge(Some(std::mem::take(record)), generation, session)))
        }
        [
            Value::Int(1),
            Value::BulkString(generation),
            Value::Int(given),
            Value::BulkString(token),
            Value::Int(known),
            Value::BulkString(floor),
        ] => {
            let floor = match <[u8; 16]>::try_from(&floor[..]) {
                _ if *known == 0 => VersionFloor::Unknown,
                Ok(version) => VersionFloor::AtLeast(Version::from(version)),
                Err(_) => VersionFloor::None,
            };
            let Ok(token) = <[u8; 16]>::try_from(&token[..]) else {
                return Err(unexpected(Value::Array(parts)));
            };
            let lease = lease_of(token, generation, *given, session)?;
            Ok(Acquired::Leased(lease, floor))
        }
        [Value::Int(2)] => Ok(Acquired::Held),
        _ => Err(unexpected(Value::Array(parts))),
    }
}

fn lease_of(
    token: [u8; 16],
    generation: &[u8],
    given: i64,
    session: &Session,
) -> Result<Lease, SharedError> {
    let generation =
        generation.try_into().map_err(|_| unreachable("a generation is 16 bytes"))?;
    let given = u64::try_from(given).unwrap_or_default();
    Ok(Lease { token, note: LeaseNote { session: session.id, generation, given } })
}

fn list(answer: Value, expected: usize) -> Result<Vec<Option<Vec<u8>>>, SharedError> {
    let Value::Array(parts) = answer else { return Err(unexpected(answer)) };
    if parts.len() != expected {
        return Err(unexpected(Value::Array(parts)));
    }
    parts
        .into_iter()
        .map(|part| match part {
            Value::BulkString(bytes) => Ok(Some(bytes)),
            Value::Nil => Ok(None),
            part => Err(unexpected(part)),
        })
        .collect()
}

fn strings<const N: usize>(answer: Value) -> Result<[Option<Vec<u8>>; N], SharedError> {
    let parts = list(answer, N)?;
    parts.try_into().map_err(|_| unreachable("its length was checked"))
}

/// Says of what kind an answer was; its content may be anybody's.
fn unexpected(answer: Value) -> SharedError {
    match answer {
        Value::ServerError(error) => classify(error.into()),
        Value::Array(_) => unreachable("the server's answer is a list of another form"),
        _ => unreachable("the server's answer is of another form"),
    }
}

fn random() -> [u8; 16] {
    let mut bytes = [0; 16];
    getrandom::fill(&mut bytes).expect("the system gives random numbers");
    bytes
}

/// At least one: zero would be refused, or last for ever.
fn millis(duration: Duration) -> u64 {
    u64::try_from(duration.as_millis()).unwrap_or(u64::MAX >> 2).clamp(1, u64::MAX >> 2)
}

impl fmt::Debug for RedisStore {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("RedisStore")
            .field("prefix", &self.prefix)
            .field("partitions", &self.partitions.len())
            .finish_non_exhaustive()
    }
}
