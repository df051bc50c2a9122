use std::collections::HashMap;
use std::fmt;
use std::io;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use tokio::time::Instant;

use super::{
    Acquired, Ask, Fill, Filled, Floor, Found, Lease, LeaseNote, Reading, RecordId,
    SharedError, SharedStore, Unusable,
};
#[cfg(feature = "http")]
use super::{Announcement, Life, News, Position, SharedNews, Table};
use crate::version::{Version, VersionFloor};

/// A [`SharedStore`] in this process, for tests: caches that are built on clones
/// of one are like processes that share a Redis.
///
/// It follows every rule of the real one, on Tokio's clock, which tests can pause,
/// and fails on demand.
#[derive(Clone, Debug, Default)]
pub struct InMemory {
    cache: String,
    shared: Arc<Mutex<State>>,
}

#[derive(Default)]
struct State {
    caches: HashMap<String, Keys>,
    fault: Option<Fault>,
    calls: u64,
    tokens: u128,
    /// What was announced before is not told any more.
    #[cfg(feature = "http")]
    oldest_news: u64,
}

#[derive(Default)]
struct Keys {
    records: HashMap<Vec<u8>, Stored>,
    /// Tokens, until when they hold, and since when.
    leases: HashMap<Vec<u8>, ([u8; 16], Instant, Instant)>,
    floors: HashMap<Vec<u8>, (Version, Instant)>,
    /// Floors from before are lost.
    floors_since: Option<Instant>,
    generation: u128,
    #[cfg(feature = "http")]
    log: Log,
}

/// What was announced.
#[cfg(feature = "http")]
#[derive(Default)]
struct Log {
    /// None before the first question, and after a flush.
    life: Option<[u8; 16]>,
    messages: Vec<Vec<u8>>,
    purged: HashMap<u16, u64>,
    outdated: HashMap<u16, u64>,
}

struct Stored {
    id: [u8; 16],
    generation: u128,
    given: Instant,
    until: Instant,
    version: Option<Version>,
    body: Vec<u8>,
}

/// How an [`InMemory`] fails.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum Fault {
    /// Every operation fails at once.
    Down,
    /// No operation ends, and none takes effect.
    Hangs,
    /// Every operation takes effect, and its answer is lost.
    LosesAnswers,
    /// What would store something fails.
    Full,
}

impl InMemory {
    /// An empty store.
    pub fn new() -> Self {
        Self::default()
    }

    /// Fails from now on, or no longer.
    pub fn set_fault(&self, fault: Option<Fault>) {
        self.state().fault = fault;
    }

    /// Forgets everything, leases and floors included, like `FLUSHALL`.
    pub fn flush(&self) {
        self.state().caches.clear();
    }

    /// Tells no more of the first `count` announcements, as if its log had been cut.
    #[cfg(feature = "http")]
    pub fn cut_news(&self, count: u64) {
        self.state().oldest_news = count;
    }

    /// How many operations there were.
    pub fn calls(&self) -> u64 {
        self.state().calls
    }

    fn state(&self) -> MutexGuard<'_, State> {
        // It is whole between any two operations.
        self.shared.lock().unwrap_or_else(PoisonError::into_inner)
    }

    async fn answer<T>(
        &self,
        stores: bool,
        run: impl FnOnce(&mut Keys, &mut dyn FnMut() -> [u8; 16]) -> T,
    ) -> Result<T, SharedError> {
        let fault = {
            let mut state = self.state();
            state.calls += 1;
            state.fault
        };
        match fault {
            Some(Fault::Down) => {
                return Err(SharedError::Unreachable(Arc::new(io::Error::from(
                    io::ErrorKind::ConnectionRefused,
                ))));
            }
            Some(Fault::Hangs) => return std::future::pending().await,
            Some(Fault::Full) if stores => {
                return Err(SharedError::Full(Arc::new(io::Error::from(
                    io::ErrorKind::StorageFull,
                ))));
            }
            _ => {}
        }
        let answer = {
            let mut state = self.state();
            let State { caches, tokens, .. } = &mut *state;
            let mut token = || {
                *tokens += 1;
                tokens.to_be_bytes()
            };
            run(caches.entry(self.cache.clone()).or_default(), &mut token)
        };
        if fault == Some(Fault::LosesAnswers) {
            return std::future::pending().await;
        }
        Ok(answer)
    }
}

impl Keys {
    fn read(&mut self, key: &[u8]) -> Reading {
        let now = Instant::now();
        let Some(stored) = self.records.get(key).filter(|stored| now < stored.until) else {
            return Reading::Missing;
        };
        let id = RecordId::new(&stored.id);
        if stored.generation != self.generation {
            return Reading::Unusable(id, Unusable::Cleared);
        }
        Reading::Found(Found::new(id, now - stored.given, stored.body.clone(), 0))
    }

    fn acquire(&mut self, ask: &Ask<'_>, token: [u8; 16]) -> Acquired {
        let reading = self.read(ask.key);
        let id = match &reading {
            Reading::Missing => None,
            Reading::Unusable(id, _) => Some(*id),
            Reading::Found(found) => Some(found.id),
        };
        if id.is_some() && id != ask.seen {
            return Acquired::Read(reading);
        }
        let now = Instant::now();
        if self.leases.get(ask.key).is_some_and(|(_, until, _)| now < *until) {
            return Acquired::Held;
        }
        let floor = self.floor(ask.key, ask.floor_ttl);
        Acquired::Leased(self.lease(ask.key, ask.lease, token), floor)
    }

    fn lease(&mut self, key: &[u8], ttl: Duration, token: [u8; 16]) -> Lease {
        let now = Instant::now();
        self.leases.insert(key.to_vec(), (token, now + ttl, now));
        let note =
            LeaseNote { generation: self.generation.to_be_bytes(), ..LeaseNote::default() };
        Lease { token, note }
    }

    fn floor(&mut self, key: &[u8], ttl: Duration) -> VersionFloor {
        let now = Instant::now();
        if now < *self.floors_since.get_or_insert(now) + ttl {
            return VersionFloor::Unknown;
        }
        match self.floors.get(key) {
            Some((version, until)) if now < *until => VersionFloor::AtLeast(*version),
            _ => VersionFloor::None,
        }
    }

    fn fill(&mut self, fill: &Fill<'_>) -> Filled {
        let now = Instant::now();
        let held = self.leases.get(fill.key).filter(|(_, until, _)| now < *until);
        let (token, given) = held.map_or((None, now), |held| (Some(held.0), held.2));
        if token != Some(fill.lease.token) && !cfg!(broken = "no_lease_check") {
            return Filled::LeaseLost;
        }
        self.leases.remove(fill.key);
        if fill.lease.note.generation != self.generation.to_be_bytes() {
            return Filled::LeaseLost;
        }
        let Some(record) = &fill.record else {
            self.records.remove(fill.key);
            return Filled::Stored;
        };
        if let Some((floor, until)) = self.floors.get(fill.key)
            && now < *until
            && record.version.is_none_or(|version| version < *floor)
        {
            return Filled::BelowFloor;
        }
        let stored = Stored {
            id: fill.lease.token,
            generation: self.generation,
            given,
            until: now + record.ttl,
            version: record.version,
            body: record.body.to_vec(),
        };
        self.records.insert(fill.key.to_vec(), stored);
        Filled::Stored
    }

    fn invalidate(&mut self, key: &[u8], floor: Option<&Floor>) {
        self.records.remove(key);
        self.leases.remove(key);
        let Some(floor) = floor else { return };
        let now = Instant::now();
        self.floors_since.get_or_insert(now);
        self.floors.retain(|_, (_, until)| now < *until);
        let version =
            self.floors.get(key).map_or(floor.version, |old| old.0.max(floor.version));
        self.floors.insert(key.to_vec(), (version, now + floor.ttl));
    }

    fn is_newer(&self, key: &[u8], version: Version) -> bool {
        let now = Instant::now();
        self.floors.get(key).is_some_and(|(floor, until)| now < *until && *floor > version)
            || self.records.get(key).is_some_and(|stored| {
                stored.generation == self.generation
                    && now < stored.until
                    && stored.version.is_some_and(|stored| stored > version)
            })
    }
}

impl SharedStore for InMemory {
    fn bind(&mut self, cache: &str) {
        cache.clone_into(&mut self.cache);
    }

    async fn read(&self, keys: &[&[u8]]) -> Result<Vec<Reading>, SharedError> {
        self.answer(false, |all, _| keys.iter().map(|key| all.read(key)).collect()).await
    }

    async fn acquire(&self, asks: &[Ask<'_>]) -> Result<Vec<Acquired>, SharedError> {
        self.answer(true, |all, token| {
            asks.iter().map(|ask| all.acquire(ask, token())).collect()
        })
        .await
    }

    async fn fill(&self, fills: &[Fill<'_>]) -> Result<Vec<Filled>, SharedError> {
        self.answer(true, |all, _| fills.iter().map(|fill| all.fill(fill)).collect()).await
    }

    async fn release(&self, leases: &[(&[u8], &Lease)]) -> Result<(), SharedError> {
        self.answer(false, |all, _| {
            for (key, lease) in leases {
                if all.leases.get(*key).is_some_and(|held| held.0 == lease.token) {
                    all.leases.remove(*key);
                }
            }
        })
        .await
    }

    async fn invalidate(&self, key: &[u8], floor: Option<&Floor>) -> Result<(), SharedError> {
        self.answer(false, |all, _| all.invalidate(key, floor)).await
    }

    async fn displace(
        &self,
        key: &[u8],
        lease: Duration,
        floor: Option<&Floor>,
    ) -> Result<Option<Lease>, SharedError> {
        self.answer(true, |all, token| {
            if floor.is_some_and(|floor| all.is_newer(key, floor.version)) {
                return None;
            }
            all.invalidate(key, floor);
            Some(all.lease(key, lease, token()))
        })
        .await
    }

    async fn clear(&self, _: usize, floors: bool) -> Result<(), SharedError> {
        self.answer(false, |all, token| {
            all.generation = u128::from_be_bytes(token());
            all.leases.clear();
            if floors {
                all.floors.clear();
                all.floors_since = None;
            }
        })
        .await
    }

    async fn probe(&self, _: usize) -> Result<(), SharedError> {
        self.answer(false, |_, _| ()).await
    }
}

#[cfg(feature = "http")]
impl Log {
    fn position(&mut self, candidate: [u8; 16]) -> Position {
        let life = *self.life.get_or_insert(candidate);
        let mut whole = [0; 36];
        whole[..16].copy_from_slice(&life);
        Position { life: Life(whole), count: self.messages.len() as u64 }
    }
}

#[cfg(feature = "http")]
impl SharedNews for InMemory {
    async fn announce(&self, what: &Announcement<'_>) -> Result<Position, SharedError> {
        self.answer(true, |all, token| {
            let log = &mut all.log;
            log.messages.push(what.message.to_vec());
            let position = log.position(token());
            match what.noted {
                Some((Table::Purged, place)) => log.purged.insert(place, position.count),
                Some((Table::Outdated, place)) => log.outdated.insert(place, position.count),
                None => None,
            };
            position
        })
        .await
    }

    async fn news(&self, after: Option<&Position>) -> Result<News, SharedError> {
        let (oldest, after) = (self.state().oldest_news, after.copied());
        self.answer(true, |all, token| {
            let log = &mut all.log;
            let position = log.position(token());
            let gapless = |after: &Position| {
                after.life == position.life && after.count >= oldest.min(position.count)
            };
            match after.filter(gapless) {
                Some(after) => News::Next {
                    position,
                    messages: log.messages[after.count as usize..].to_vec(),
                },
                None => News::Anew {
                    position,
                    purged: log.purged.iter().map(|(at, count)| (*at, *count)).collect(),
                    outdated: log.outdated.iter().map(|(at, count)| (*at, *count)).collect(),
                },
            }
        })
        .await
    }

    async fn end_life(&self) -> Result<(), SharedError> {
        self.answer(false, |all, _| all.log = Log::default()).await
    }
}

impl fmt::Debug for State {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("State").field("fault", &self.fault).finish_non_exhaustive()
    }
}
