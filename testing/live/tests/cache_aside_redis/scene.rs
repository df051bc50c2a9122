//! Several caches that share nothing but a Redis, as processes would, with readers
//! and writers at work on all of them.

use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use cache_aside::{CacheAside, Loaded, Lookup, Moka, RedisStore};
use fastrand::Rng;
use tokio::task::JoinSet;
use tokio::time::sleep;

use crate::history::{Moment, Promise, Read, Stale, Write, judge};
use crate::rows::{ORIGIN, Rows};

pub(crate) type Cache = CacheAside<u64, u64>;

/// Rows that every cache writes.
pub(crate) const SHARED: u64 = 12;
/// Those whose writers always name their versions, and may so put in what they have
/// committed. An invalidation that names none does not hold a late one of them back.
const VERSIONED: std::ops::Range<u64> = 8..SHARED;
/// A row that is read and never written.
pub(crate) const QUIET: u64 = 32;

pub(crate) const L2_TIMEOUT: Duration = Duration::from_millis(200);
pub(crate) const LEASE_WAIT: Duration = Duration::from_millis(200);
pub(crate) const L1_TTL: Duration = Duration::from_millis(40);
pub(crate) const LOAD_TIMEOUT: Duration = Duration::from_secs(1);
const TTL: Duration = Duration::from_secs(1);
const REVALIDATE: Duration = Duration::from_millis(300);
/// How late two cores that are busy with other tests may be.
pub(crate) const SLACK: Duration = Duration::from_millis(300);

/// No read takes longer. The tier may let it wait once to read, once for a lease and
/// once to fill, and for another process's load.
pub(crate) fn slowest() -> Duration {
    ORIGIN + 3 * L2_TIMEOUT + LEASE_WAIT + SLACK
}

/// How long something goes on: as long as `TORTURE_SECONDS` says, or `usually`.
pub(crate) fn lasting(usually: Duration) -> Duration {
    std::env::var("TORTURE_SECONDS").map_or(usually, |seconds| {
        Duration::from_secs_f64(seconds.parse().expect("TORTURE_SECONDS is a number"))
    })
}

/// A cache as one process has it. With `copies` it keeps some in memory as well.
pub(crate) fn cache(store: RedisStore, copies: bool) -> Cache {
    let builder = CacheAside::builder("row")
        .l2(store)
        .ttl(TTL)
        .stale_while_revalidate(REVALIDATE)
        .early_refresh(1.0)
        .load_timeout(LOAD_TIMEOUT)
        .l2_timeout(L2_TIMEOUT)
        .lease_wait(LEASE_WAIT);
    let builder =
        if copies { builder.l1(Moka::entries(1_000)).l1_ttl(L1_TTL) } else { builder };
    builder.build().unwrap()
}

/// Everything that a reader or writer needs.
pub(crate) struct Scene {
    pub(crate) caches: Vec<Cache>,
    pub(crate) rows: Arc<Rows>,
    origin: Instant,
    over: AtomicBool,
    reads: Mutex<Vec<Read>>,
    writes: Mutex<Vec<Write>>,
    /// Reads that failed, and why.
    failed: Mutex<Vec<String>>,
    slowest: AtomicU64,
    fresh: AtomicU64,
}

/// What is left of a run.
pub(crate) struct Outcome {
    pub(crate) reads: usize,
    pub(crate) writes: usize,
    pub(crate) unacknowledged: usize,
    pub(crate) failed: Vec<String>,
    pub(crate) stale: Vec<Stale>,
    pub(crate) slowest: Duration,
}

impl Scene {
    /// The cache at each odd place keeps copies.
    pub(crate) fn new(stores: impl IntoIterator<Item = RedisStore>) -> Arc<Self> {
        let stores = stores.into_iter().enumerate();
        let caches: Vec<_> = stores.map(|(n, store)| cache(store, n % 2 == 1)).collect();
        Arc::new(Self {
            rows: Rows::new(SHARED + caches.len() as u64),
            caches,
            origin: Instant::now(),
            over: AtomicBool::new(false),
            reads: Mutex::default(),
            writes: Mutex::default(),
            failed: Mutex::default(),
            slowest: AtomicU64::new(0),
            fresh: AtomicU64::new(1 << 32),
        })
    }

    /// Two readers and a writer for each cache, until [`end`](Self::end).
    pub(crate) fn play(self: &Arc<Self>, seed: u64) -> JoinSet<()> {
        let mut players = JoinSet::new();
        for cache in 0..self.caches.len() {
            let random = |n| Rng::with_seed(seed * 1_000 + 10 * cache as u64 + n);
            for n in 0..2 {
                players.spawn(Arc::clone(self).read_on(cache, random(n)));
            }
            players.spawn(Arc::clone(self).write_on(cache, random(2)));
        }
        players
    }

    pub(crate) fn now(&self) -> Moment {
        self.origin.elapsed()
    }

    fn goes_on(&self) -> bool {
        !self.over.load(Ordering::SeqCst)
    }

    async fn read_on(self: Arc<Self>, cache: usize, mut random: Rng) {
        let rows = SHARED + self.caches.len() as u64;
        while self.goes_on() {
            let key = random.u64(0..rows);
            match random.u8(..8) {
                0 => self.look(cache, key).await,
                1 | 2 => self.read_many(cache, [key, (key + 1) % rows, QUIET]).await,
                3 => self.reserve(cache, key).await,
                _ => self.read(cache, key).await,
            }
            sleep(Duration::from_micros(random.u64(..4_000))).await;
        }
    }

    pub(crate) async fn read(&self, cache: usize, key: u64) {
        let (began, rows) = (self.now(), Arc::clone(&self.rows));
        let outcome = self.caches[cache].get_or_load(&key, |cx| async move {
            let version = rows.load(*cx.key()).await?;
            Ok::<_, std::io::Error>(Loaded::value(version).version(version))
        });
        match outcome.await {
            Ok(value) => self.note(cache, key, began, value.as_deref().copied()),
            Err(error) => self.fail(cache, began, &error),
        }
        self.took(began);
    }

    async fn read_many<const N: usize>(&self, cache: usize, keys: [u64; N]) {
        let (began, rows) = (self.now(), Arc::clone(&self.rows));
        let outcomes = self.caches[cache].get_many(&keys, |batch| {
            let rows = Arc::clone(&rows);
            async move {
                let found = rows.load_many(batch.into_keys()).await?;
                Ok::<_, std::io::Error>(
                    found
                        .into_iter()
                        .map(|(key, version)| (key, Loaded::value(version).version(version))),
                )
            }
        });
        for (key, outcome) in keys.into_iter().zip(outcomes.await) {
            match outcome {
                Ok(value) => self.note(cache, key, began, value.as_deref().copied()),
                Err(error) => self.fail(cache, began, &error),
            }
        }
        self.took(began);
    }

    /// What a list does with the rows that it has read by itself.
    async fn reserve(&self, cache: usize, key: u64) {
        let began = self.now();
        let reservation = self.caches[cache].reserve(&key).await;
        let version = Arc::clone(&self.rows).load(key).await.unwrap();
        reservation.insert(Loaded::value(version).version(version)).await;
        self.took(began);
    }

    async fn look(&self, cache: usize, key: u64) {
        let began = self.now();
        match self.caches[cache].get(&key).await {
            Lookup::Hit(version) => self.note(cache, key, began, Some(*version)),
            Lookup::Absent => self.note(cache, key, began, None),
            Lookup::Miss => {}
        }
        self.took(began);
    }

    /// A row that is gone counts as older than all.
    fn note(&self, cache: usize, key: u64, began: Moment, version: Option<u64>) {
        let version = version.unwrap_or_default();
        self.reads.lock().unwrap().push(Read { cache, key, began, version });
    }

    fn fail(&self, cache: usize, began: Moment, error: &dyn std::error::Error) {
        self.failed.lock().unwrap().push(format!("cache {cache} at {began:?}: {error}"));
    }

    fn took(&self, began: Moment) {
        let took = (self.now() - began).as_micros() as u64;
        self.slowest.fetch_max(took, Ordering::SeqCst);
    }

    async fn write_on(self: Arc<Self>, cache: usize, mut random: Rng) {
        let own = SHARED + cache as u64;
        while self.goes_on() {
            let key = if random.u8(..8) == 0 { own } else { random.u64(0..SHARED) };
            let draw = random.u8(..);
            if draw < 3 {
                self.clear(cache).await;
            } else {
                self.write(cache, key, draw).await;
            }
            // Who has written looks at once: the load of somebody else may be under way.
            self.read(cache, key).await;
            sleep(Duration::from_micros(random.u64(2_000..15_000))).await;
        }
    }

    /// Commits, and then tells the cache in the way that `draw` chooses.
    pub(crate) async fn write(&self, cache: usize, key: u64, draw: u8) {
        let version = self.rows.commit(key);
        let subject = &self.caches[cache];
        let value = Loaded::value(version).version(version);
        let told = match draw % 2 {
            0 if VERSIONED.contains(&key) => {
                subject.insert_at(&key, version, value).await.map(drop)
            }
            1 if VERSIONED.contains(&key) => subject.invalidate_at(&key, version).await,
            // Of a row that has one writer only.
            0 if key >= SHARED => subject.insert(&key, value).await,
            _ => subject.invalidate(&key).await,
        };
        self.wrote(cache, key, version, told.is_ok());
    }

    async fn clear(&self, cache: usize) {
        let rows = 0..SHARED + self.caches.len() as u64;
        let rows = rows.filter(|row| !VERSIONED.contains(row));
        let versions: Vec<_> = rows.map(|row| (row, self.rows.version(row))).collect();
        let told = self.caches[cache].clear().await;
        for (row, version) in versions {
            self.wrote(cache, row, version, told.is_ok());
        }
    }

    fn wrote(&self, cache: usize, key: u64, version: u64, acknowledged: bool) {
        let returned = self.now();
        self.writes.lock().unwrap().push(Write { cache, key, version, returned, acknowledged });
    }

    /// Whether each cache fills Redis, and the next one finds that there, for so many rows
    /// that nobody has asked for: of a Cluster, rows on every node.
    async fn shares(&self, rows: usize) -> bool {
        for (n, filler) in self.caches.iter().enumerate() {
            let reader = &self.caches[(n + 1) % self.caches.len()];
            for _ in 0..rows {
                let key = self.fresh.fetch_add(1, Ordering::SeqCst);
                let filled =
                    filler.get_or_load(&key, |_| async { Ok::<_, std::io::Error>(1) }).await;
                if let Err(error) = filled {
                    self.fail(n, self.now(), &error);
                }
                if !matches!(reader.get(&key).await, Lookup::Hit(_)) {
                    return false;
                }
            }
        }
        true
    }

    /// How long it takes until the caches share so many rows by way of Redis; nothing if
    /// longer than `deadline`.
    pub(crate) async fn recovers(&self, rows: usize, deadline: Duration) -> Option<Duration> {
        let began = Instant::now();
        let shared = async {
            while !self.shares(rows).await {
                sleep(Duration::from_millis(10)).await;
            }
        };
        tokio::time::timeout(deadline, shared).await.ok().map(|()| began.elapsed())
    }

    /// Ends the players and judges what they saw. `cut_off` says when each cache could
    /// not reach Redis.
    pub(crate) async fn end(
        &self,
        mut players: JoinSet<()>,
        cut_off: &[Vec<(Moment, Moment)>],
    ) -> Outcome {
        self.over.store(true, Ordering::SeqCst);
        while let Some(ended) = players.join_next().await {
            ended.unwrap();
        }
        let promises: Vec<_> = cut_off
            .iter()
            .enumerate()
            .map(|(n, cut_off)| Promise {
                copies: if n % 2 == 1 { L1_TTL } else { Duration::ZERO },
                cut_off: cut_off.clone(),
                load: ORIGIN + SLACK,
                hard_ttl: TTL + REVALIDATE,
            })
            .collect();
        let (reads, writes) = (self.reads.lock().unwrap(), self.writes.lock().unwrap());
        Outcome {
            reads: reads.len(),
            writes: writes.len(),
            unacknowledged: writes.iter().filter(|write| !write.acknowledged).count(),
            failed: std::mem::take(&mut self.failed.lock().unwrap()),
            stale: judge(&reads, &writes, &promises),
            slowest: Duration::from_micros(self.slowest.load(Ordering::SeqCst)),
        }
    }
}
