//! A tier that processes share: what the cache asks of it.

mod erased;
#[cfg(feature = "test-util")]
mod in_memory;
#[cfg(feature = "http")]
mod news;
#[cfg(feature = "redis")]
pub(crate) mod redis;

pub(crate) use self::erased::AnyShared;
#[cfg(feature = "test-util")]
pub use self::in_memory::{Fault, InMemory};
#[cfg(feature = "http")]
pub(crate) use self::news::AnyNews;
#[cfg(feature = "http")]
pub use self::news::{Announcement, Life, News, Position, SharedNews, Table};

use std::error;
use std::fmt;
use std::future::Future;
use std::sync::Arc;
use std::time::Duration;

use crate::version::{Version, VersionFloor};

/// A store of records that several processes share, with leases: the right to
/// fill a key, which an invalidation takes away.
///
/// The rules that make a late load harmless:
/// - [`fill`](Self::fill) stores only if the key still has that very lease; a
///   lease that is missing, for whatever reason, refuses;
/// - an invalidation, an insert and a clear take the leases of what they reach;
/// - each lease is a new random token, so that none is ever mistaken for another;
/// - a record is never shown once it was invalidated, whatever the server did
///   meanwhile: lost its memory, or got an old one back.
///
/// The cache adds time limits, a breaker, and what it owes for invalidations that
/// were not acknowledged. So an operation here may take its time and may fail. A
/// store of one's own is checked by the suite of the `conformance` feature.
///
/// # Cancel safety
///
/// Every operation may be dropped at any point, and may take effect then, later,
/// or not at all. The leases make a late `fill` harmless; the other operations
/// only ever take away.
pub trait SharedStore: Send + Sync + 'static {
    /// Names the cache that this handle of the store is for. Called once, before
    /// anything else; caches of different names share nothing.
    fn bind(&mut self, cache: &str);

    /// How many parts it has; at least 1. Each is cleared by itself.
    fn partitions(&self) -> usize {
        1
    }

    /// The part that `key` is in.
    fn partition(&self, _key: &[u8]) -> usize {
        0
    }

    /// What fails as one: the server that a partition is on, by number. It may
    /// change at any time. The cache stops asking one domain without stopping to
    /// ask the others.
    fn domain(&self, _partition: usize) -> usize {
        0
    }

    /// What is stored, a result for each of `keys`, in their order. They are of one
    /// domain.
    fn read(
        &self,
        keys: &[&[u8]],
    ) -> impl Future<Output = Result<Vec<Reading>, SharedError>> + Send;

    /// Asks for leases of keys of one domain; a result for each, in their order.
    fn acquire(
        &self,
        asks: &[Ask<'_>],
    ) -> impl Future<Output = Result<Vec<Acquired>, SharedError>> + Send;

    /// Stores what was loaded under leases, and gives those back; a result for
    /// each, in their order. They are of one domain.
    fn fill(
        &self,
        fills: &[Fill<'_>],
    ) -> impl Future<Output = Result<Vec<Filled>, SharedError>> + Send;

    /// Gives leases back unused. They are of one domain.
    fn release(
        &self,
        leases: &[(&[u8], &Lease)],
    ) -> impl Future<Output = Result<(), SharedError>> + Send;

    /// Drops the record and the lease of `key`, and raises its floor if one is
    /// given. `Ok` means that it is done, for every process.
    fn invalidate(
        &self,
        key: &[u8],
        floor: Option<&Floor>,
    ) -> impl Future<Output = Result<(), SharedError>> + Send;

    /// Invalidates `key` and leases it to the caller, in one step. With a floor it
    /// changes nothing, and returns nothing, if a newer version is known.
    fn displace(
        &self,
        key: &[u8],
        lease: Duration,
        floor: Option<&Floor>,
    ) -> impl Future<Output = Result<Option<Lease>, SharedError>> + Send;

    /// Drops all records and leases of one partition; with `floors`, it forgets
    /// those as well, and says [`VersionFloor::Unknown`] until it knows again.
    fn clear(
        &self,
        partition: usize,
        floors: bool,
    ) -> impl Future<Output = Result<(), SharedError>> + Send;

    /// Whether a domain that failed works again. It may do what it takes, such as
    /// connect anew.
    fn probe(&self, domain: usize) -> impl Future<Output = Result<(), SharedError>> + Send;
}

/// What tells one record of a key from the next: up to 16 bytes.
#[derive(Clone, Copy, PartialEq, Eq)]
pub struct RecordId {
    bytes: [u8; 16],
    len: u8,
}

impl RecordId {
    /// The first 16 of `bytes`.
    pub fn new(bytes: &[u8]) -> Self {
        let mut id = Self { bytes: [0; 16], len: bytes.len().min(16) as u8 };
        id.bytes[..usize::from(id.len)].copy_from_slice(&bytes[..usize::from(id.len)]);
        id
    }

    /// Its bytes.
    pub fn as_bytes(&self) -> &[u8] {
        &self.bytes[..usize::from(self.len)]
    }
}

impl fmt::Debug for RecordId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "RecordId({:02x?})", self.as_bytes())
    }
}

/// What is stored under a key.
#[derive(Clone, Debug)]
pub enum Reading {
    /// Nothing.
    Missing,
    /// Something that must not be shown.
    Unusable(RecordId, Unusable),
    /// A record.
    Found(Found),
}

/// Why a record must not be shown.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum Unusable {
    /// It was not written by this crate, or by a version of it that is not
    /// understood.
    Foreign,
    /// It is from before a clear, or a flush.
    Cleared,
    /// It was leased from a server, or a life of the server, whose memory may
    /// lack what was invalidated since.
    OtherServer,
}

/// A record, and how old it is.
#[derive(Clone)]
pub struct Found {
    /// What tells it from others under its key.
    pub id: RecordId,
    /// How long ago it was leased, at most: its load began no earlier.
    pub age: Duration,
    bytes: Vec<u8>,
    start: usize,
}

impl Found {
    /// A record whose body is `bytes` from `start` on.
    pub fn new(id: RecordId, age: Duration, bytes: Vec<u8>, start: usize) -> Self {
        Self { id, age, start: start.min(bytes.len()), bytes }
    }

    /// What the cache has stored.
    pub fn body(&self) -> &[u8] {
        &self.bytes[self.start..]
    }
}

impl fmt::Debug for Found {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Found")
            .field("id", &self.id)
            .field("age", &self.age)
            .finish_non_exhaustive()
    }
}

/// A wish for a lease.
#[derive(Clone, Copy, Debug)]
pub struct Ask<'a> {
    /// The key.
    pub key: &'a [u8],
    /// The record that was seen, and that is to be replaced. If there is another by
    /// now, that is the answer.
    pub seen: Option<RecordId>,
    /// How long the lease lasts.
    pub lease: Duration,
    /// How long the floors of this cache last.
    pub floor_ttl: Duration,
}

/// The answer to an [`Ask`].
#[derive(Clone, Debug)]
pub enum Acquired {
    /// There is a record that the asker has not seen.
    Read(Reading),
    /// The key is the asker's to load.
    Leased(Lease, VersionFloor),
    /// Somebody else has the lease.
    Held,
}

/// The right to fill one key.
#[derive(Clone)]
pub struct Lease {
    /// A random number, new for each lease.
    pub token: [u8; 16],
    /// What the store notes beside it: the connection, the generation, the moment.
    pub note: LeaseNote,
}

/// What a store wants to know again when a lease is used.
#[derive(Clone, Default)]
pub struct LeaseNote {
    /// The connection that the lease was asked over.
    pub session: u64,
    /// The generation of its partition.
    pub generation: [u8; 16],
    /// When it was given, in milliseconds on the store's clock.
    pub given: u64,
}

impl fmt::Debug for Lease {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Lease").finish_non_exhaustive()
    }
}

impl fmt::Debug for LeaseNote {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("LeaseNote").finish_non_exhaustive()
    }
}

/// A record to store.
#[derive(Clone, Copy, Debug)]
pub struct Fill<'a> {
    /// The key.
    pub key: &'a [u8],
    /// Its lease.
    pub lease: &'a Lease,
    /// What to store; nothing drops what is there.
    pub record: Option<Record<'a>>,
}

/// What is stored.
#[derive(Clone, Copy)]
pub struct Record<'a> {
    /// The bytes.
    pub body: &'a [u8],
    /// How long they may be kept.
    pub ttl: Duration,
    /// The version of the row.
    pub version: Option<Version>,
}

impl fmt::Debug for Record<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Record").field("ttl", &self.ttl).finish_non_exhaustive()
    }
}

/// What became of a [`Fill`].
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Filled {
    /// It is stored, or what was there is dropped: nothing came in between.
    Stored,
    /// The lease is gone.
    LeaseLost,
    /// The key has a floor, and the version is below it or is not given.
    BelowFloor,
}

/// The lowest version that a key may be filled with.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Floor {
    /// The version.
    pub version: Version,
    /// How long it is remembered.
    pub ttl: Duration,
}

/// Why a shared store did not do what it was asked.
#[derive(Clone, Debug)]
#[non_exhaustive]
pub enum SharedError {
    /// It did not answer within this time. It may have done it, or may do it yet.
    Timeout(Duration),
    /// There is no connection to it.
    Unreachable(Arc<dyn error::Error + Send + Sync>),
    /// It has no room.
    Full(Arc<dyn error::Error + Send + Sync>),
    /// It answered with an error.
    Refused(Arc<dyn error::Error + Send + Sync>),
    /// It was not asked, since it failed shortly before.
    NotAsked,
}

impl fmt::Display for SharedError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Timeout(after) => write!(f, "the shared store did not answer in {after:?}"),
            Self::Unreachable(_) => f.write_str("the shared store cannot be reached"),
            Self::Full(_) => f.write_str("the shared store has no room"),
            Self::Refused(_) => f.write_str("the shared store answered with an error"),
            Self::NotAsked => {
                f.write_str("the shared store failed shortly before, and is not asked yet")
            }
        }
    }
}

impl error::Error for SharedError {
    fn source(&self) -> Option<&(dyn error::Error + 'static)> {
        match self {
            Self::Unreachable(cause) | Self::Full(cause) | Self::Refused(cause) => {
                Some(&**cause)
            }
            Self::Timeout(_) | Self::NotAsked => None,
        }
    }
}
