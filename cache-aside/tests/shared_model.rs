//! Any order of loads, writes, faults and time, of two processes that share a tier,
//! against one rule: a read never returns a version older than the last one whose
//! invalidation was over when it began.
#![allow(clippy::unwrap_used, reason = "a panic is how a test fails")]

mod support;

use std::io;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use cache_aside::shared::{Fault, InMemory};
use cache_aside::{Batch, CacheAside, Clock, Loaded, Lookup, Moka};
use proptest::prelude::*;
use support::{SECOND, settle};
use tokio::sync::oneshot;
use tokio::task::JoinSet;

const KEYS: usize = 2;
const PROCESSES: usize = 2;

#[derive(Clone, Debug)]
enum Step {
    /// Asks for a key, with a loader that reads at once and then hangs.
    Read(usize, usize),
    /// The same for all keys at once.
    ReadMany(usize),
    /// The same as a row that was read by other means, to be inserted later.
    Reserve(usize, usize),
    /// Lets the n-th load (or reserved insert) that hangs go on, or fail.
    Release(usize, bool),
    /// Commits a version, then invalidates.
    Write(usize, usize),
    /// The same, given up after the first poll.
    WriteCancelled(usize, usize),
    /// Commits a version, then inserts it.
    Insert(usize, usize),
    /// The same, saying its version.
    InsertAt(usize, usize),
    /// Commits a version of every key, then clears.
    Clear(usize),
    /// The tier forgets everything.
    Flush,
    Fault(Option<Fault>),
    Advance(u64),
}

fn step(faults: bool) -> impl Strategy<Value = Step> {
    let (process, key) = (0..PROCESSES, 0..KEYS);
    let at = (process.clone(), key);
    let fault = if faults {
        prop_oneof![
            2 => Just(None),
            1 => Just(Some(Fault::Down)),
            1 => Just(Some(Fault::Hangs)),
            1 => Just(Some(Fault::LosesAnswers)),
            1 => Just(Some(Fault::Full)),
        ]
        .boxed()
    } else {
        prop_oneof![Just(None), Just(Some(Fault::Full))].boxed()
    };
    prop_oneof![
        4 => at.clone().prop_map(|(p, k)| Step::Read(p, k)),
        1 => process.clone().prop_map(Step::ReadMany),
        1 => at.clone().prop_map(|(p, k)| Step::Reserve(p, k)),
        6 => (0_usize..8, prop::bool::weighted(0.8)).prop_map(|(n, ok)| Step::Release(n, ok)),
        3 => at.clone().prop_map(|(p, k)| Step::Write(p, k)),
        1 => at.clone().prop_map(|(p, k)| Step::WriteCancelled(p, k)),
        1 => at.clone().prop_map(|(p, k)| Step::Insert(p, k)),
        1 => at.prop_map(|(p, k)| Step::InsertAt(p, k)),
        1 => process.prop_map(Step::Clear),
        1 => Just(Step::Flush),
        1 => fault.prop_map(Step::Fault),
        2 => (0_u64..15).prop_map(Step::Advance),
    ]
}

/// What the two processes have between them.
#[derive(Clone, Copy, Debug, PartialEq)]
enum Tiers {
    /// The shared one alone, which always works: the rule holds between processes.
    Shared,
    /// The shared one alone, which fails: the rule holds within a process.
    Failing,
    /// Copies as well: the rule holds within a process.
    Both,
}

type Database = Arc<Mutex<[u64; KEYS]>>;

struct World {
    tiers: Tiers,
    tier: InMemory,
    caches: [CacheAside<u64, u64>; PROCESSES],
    database: Database,
    /// For each process, the versions whose invalidation is over.
    floors: [[u64; KEYS]; PROCESSES],
    held: Arc<Mutex<Vec<oneshot::Sender<bool>>>>,
    reads: JoinSet<()>,
}

impl World {
    fn new(tiers: Tiers) -> Self {
        let tier = InMemory::new();
        let caches = std::array::from_fn(|_| {
            let mut builder = CacheAside::builder("model")
                .l2(tier.clone())
                .clock(Clock::tokio())
                .ttl(10 * SECOND)
                .stale_while_revalidate(10 * SECOND)
                .stale_if_error(30 * SECOND)
                .early_refresh(1.0)
                .max_unacknowledged(1)
                .load_timeout(1_000_000 * SECOND);
            if tiers == Tiers::Both {
                builder = builder.l1(Moka::entries(100)).l1_ttl(2 * SECOND);
            }
            builder.build().unwrap()
        });
        Self {
            tiers,
            tier,
            caches,
            database: Database::default(),
            floors: Default::default(),
            held: Arc::default(),
            reads: JoinSet::new(),
        }
    }

    /// Reads the rows, then hangs.
    fn load(&self) -> impl Fn(Vec<usize>) -> Rows + Clone + Send + Sync + use<> {
        let (database, held) = (self.database.clone(), self.held.clone());
        move |keys| {
            let (database, held) = (database.clone(), held.clone());
            Box::pin(async move {
                let rows = *database.lock().unwrap();
                let (release, released) = oneshot::channel();
                held.lock().unwrap().push(release);
                let ok = released.await.unwrap_or(true);
                let found = keys.into_iter().map(|key| (key as u64, row(rows[key]))).collect();
                if ok { Ok(found) } else { Err(io::Error::other("down")) }
            })
        }
    }

    async fn run(&mut self, step: Step) {
        match step {
            Step::Read(process, key) => {
                let (cache, floor) = (self.caches[process].clone(), self.floors[process][key]);
                let load = self.load();
                self.reads.spawn(async move {
                    let load = |_| async move {
                        load(vec![key]).await.map(|rows| rows.into_iter().next().unwrap().1)
                    };
                    if let Ok(version) = cache.get_or_load(&(key as u64), load).await {
                        let version = *version.unwrap();
                        assert!(version >= floor, "read {version}, floor {floor}");
                    }
                });
            }
            Step::ReadMany(process) => {
                let (cache, floors) = (self.caches[process].clone(), self.floors[process]);
                let load = self.load();
                self.reads.spawn(async move {
                    let load = |batch: Batch<u64>| {
                        load(batch.into_iter().map(|k| k as usize).collect())
                    };
                    let outcomes = cache.get_many(&[0, 1], load).await;
                    for (outcome, floor) in outcomes.into_iter().zip(floors) {
                        if let Ok(version) = outcome {
                            let version = *version.unwrap();
                            assert!(version >= floor, "read {version}, floor {floor}");
                        }
                    }
                });
            }
            Step::Reserve(process, key) => {
                let reservation = self.caches[process].reserve(&(key as u64)).await;
                let version = self.database.lock().unwrap()[key];
                let (release, released) = oneshot::channel();
                self.held.lock().unwrap().push(release);
                self.reads.spawn(async move {
                    if released.await.unwrap_or(true) {
                        reservation.insert(row(version)).await;
                    }
                });
            }
            Step::Release(n, ok) => {
                let mut held = self.held.lock().unwrap();
                if !held.is_empty() {
                    let n = n % held.len();
                    let _ = held.remove(n).send(ok);
                }
            }
            Step::Write(process, key) => {
                let version = self.commit(key);
                let told = self.caches[process].invalidate(&(key as u64)).await.is_ok();
                self.raise(process, key, version, told);
            }
            Step::WriteCancelled(process, key) => {
                let version = self.commit(key);
                let cache = self.caches[process].clone();
                let key_id = key as u64;
                let mut invalidation = tokio_test::task::spawn(cache.invalidate(&key_id));
                let told = matches!(invalidation.poll(), std::task::Poll::Ready(Ok(())));
                drop(invalidation);
                self.raise(process, key, version, told);
            }
            Step::Insert(process, key) => {
                let version = self.commit(key);
                let cache = &self.caches[process];
                let told = cache.insert(&(key as u64), row(version)).await.is_ok();
                self.raise(process, key, version, told);
            }
            Step::InsertAt(process, key) => {
                let version = self.commit(key);
                let inserted =
                    self.caches[process].insert_at(&(key as u64), version, version).await;
                self.raise(process, key, version, inserted.is_ok());
            }
            Step::Clear(process) => {
                let versions: [u64; KEYS] = std::array::from_fn(|key| self.commit(key));
                let told = self.caches[process].clear().await.is_ok();
                for (key, version) in versions.into_iter().enumerate() {
                    self.raise(process, key, version, told);
                }
            }
            Step::Flush => self.tier.flush(),
            Step::Fault(fault) => self.tier.set_fault(fault),
            Step::Advance(seconds) => tokio::time::advance(seconds as u32 * SECOND).await,
        }
        settle().await;
        for (process, cache) in self.caches.iter().enumerate() {
            for key in 0..KEYS {
                let floor = self.floors[process][key];
                if let Lookup::Hit(version) = cache.get(&(key as u64)).await {
                    assert!(*version >= floor, "found {version}, floor {floor}");
                }
            }
        }
    }

    fn commit(&self, key: usize) -> u64 {
        let mut database = self.database.lock().unwrap();
        database[key] += 1;
        database[key]
    }

    /// Whoever wrote sees it from now on; the other process only by way of a tier that
    /// has acknowledged it.
    fn raise(&mut self, process: usize, key: usize, version: u64, told: bool) {
        self.floors[process][key] = version;
        if told && self.tiers == Tiers::Shared {
            self.floors.iter_mut().for_each(|floors| floors[key] = version);
        }
    }
}

type Rows =
    std::pin::Pin<Box<dyn Future<Output = Result<Vec<(u64, Loaded<u64>)>, io::Error>> + Send>>;

fn row(version: u64) -> Loaded<u64> {
    Loaded::value(version).version(version)
}

fn check(tiers: Tiers, steps: Vec<Step>) {
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .start_paused(true)
        .build()
        .unwrap();
    runtime.block_on(async {
        let mut world = World::new(tiers);
        for step in steps {
            world.run(step).await;
        }
        // What still hangs answers; a dropped end counts as that. Who waits for another
        // process's lease needs time as well.
        while !world.reads.is_empty() {
            world.held.lock().unwrap().clear();
            tokio::time::sleep(Duration::from_millis(100)).await;
            while let Some(read) = world.reads.try_join_next() {
                read.unwrap();
            }
        }
    });
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 300, ..ProptestConfig::default() })]

    #[test]
    fn between_processes_no_read_is_older_than_what_was_invalidated(
        steps in proptest::collection::vec(step(false), 1..60)
    ) {
        check(Tiers::Shared, steps);
    }

    #[test]
    fn a_process_sees_its_own_writes_whatever_the_tier_does(
        steps in proptest::collection::vec(step(true), 1..60)
    ) {
        check(Tiers::Failing, steps);
    }

    #[test]
    fn a_process_with_copies_sees_its_own_writes_whatever_the_tier_does(
        steps in proptest::collection::vec(step(true), 1..60)
    ) {
        check(Tiers::Both, steps);
    }
}
