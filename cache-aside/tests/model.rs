//! Any order of loads, writes and time against one rule: a read never returns a
//! version older than the last one whose invalidation was over when it began.
#![allow(clippy::unwrap_used, reason = "a panic is how a test fails")]

mod support;

use std::collections::HashMap;
use std::io;
use std::sync::{Arc, Mutex};

use cache_aside::{Batch, CacheAside, Clock, Lookup, Moka};
use proptest::prelude::*;
use support::{SECOND, apart, once, settle};
use tokio::sync::oneshot;
use tokio::task::JoinSet;

const KEYS: usize = 2;

#[derive(Clone, Debug)]
enum Step {
    /// Asks for a key, with a loader that reads at once and then hangs.
    Read(usize),
    /// The same for all keys at once.
    ReadMany,
    /// The same as a list that was read by other means, to be inserted later.
    Reserve(usize),
    /// Lets the n-th load (or reserved insert) that hangs go on, or fail.
    Release(usize, bool),
    /// Commits a version, then invalidates.
    Write(usize),
    /// Commits a version, then inserts it.
    Insert(usize),
    /// Commits a version of every key, then clears.
    Clear,
    Advance(u64),
}

fn step() -> impl Strategy<Value = Step> {
    let key = 0..KEYS;
    prop_oneof![
        4 => key.clone().prop_map(Step::Read),
        1 => Just(Step::ReadMany),
        1 => key.clone().prop_map(Step::Reserve),
        6 => (0_usize..8, prop::bool::weighted(0.8)).prop_map(|(n, ok)| Step::Release(n, ok)),
        3 => key.clone().prop_map(Step::Write),
        1 => key.prop_map(Step::Insert),
        1 => Just(Step::Clear),
        2 => (0_u64..15).prop_map(Step::Advance),
    ]
}

type Database = Arc<Mutex<[u64; KEYS]>>;

struct World {
    cache: CacheAside<u64, u64>,
    database: Database,
    /// The versions whose invalidation is over.
    floors: [u64; KEYS],
    held: Arc<Mutex<Vec<oneshot::Sender<bool>>>>,
    reads: JoinSet<()>,
    /// Loads under way by key and epoch: never two.
    flying: Arc<Mutex<HashMap<(usize, u64), usize>>>,
    /// What a load found wrong; the cache catches the panics of loads.
    wrong: Arc<Mutex<Option<String>>>,
    epochs: [u64; KEYS],
}

impl World {
    async fn new() -> Self {
        // A shared stripe would make a second load of a key legal.
        let cache = apart(|| {
            CacheAside::builder("model")
                .l1(Moka::entries(100))
                .clock(Clock::tokio())
                .ttl(10 * SECOND)
                .stale_while_revalidate(10 * SECOND)
                .stale_if_error(30 * SECOND)
                .load_timeout(1_000_000 * SECOND)
                .build()
                .unwrap()
        })
        .await;
        Self {
            cache,
            database: Database::default(),
            floors: [0; KEYS],
            held: Arc::default(),
            reads: JoinSet::new(),
            flying: Arc::default(),
            wrong: Arc::default(),
            epochs: [0; KEYS],
        }
    }

    /// Reads the rows, then hangs.
    fn load(
        &self,
        keys: Vec<usize>,
    ) -> impl Future<Output = Result<Vec<(usize, u64)>, io::Error>> + Send + use<> {
        let (database, held) = (self.database.clone(), self.held.clone());
        let (flying, wrong) = (self.flying.clone(), self.wrong.clone());
        let flights: Vec<_> = keys.iter().map(|key| (*key, self.epochs[*key])).collect();
        async move {
            for flight in &flights {
                let mut flying = flying.lock().unwrap();
                let loads = flying.entry(*flight).or_default();
                *loads += 1;
                if *loads > 1 {
                    *wrong.lock().unwrap() = Some(format!("two loads of {flight:?} at once"));
                }
            }
            let rows = *database.lock().unwrap();
            let (release, released) = oneshot::channel();
            held.lock().unwrap().push(release);
            let ok = released.await.unwrap_or(true);
            for flight in &flights {
                *flying.lock().unwrap().get_mut(flight).unwrap() -= 1;
            }
            let found = keys.into_iter().map(|key| (key, rows[key])).collect();
            if ok { Ok(found) } else { Err(io::Error::other("down")) }
        }
    }

    async fn run(&mut self, step: Step) {
        match step {
            Step::Read(key) => {
                let (cache, floor) = (self.cache.clone(), self.floors[key]);
                let load = self.load(vec![key]);
                self.reads.spawn(async move {
                    let load = |_| async { load.await.map(|rows| rows[0].1) };
                    if let Ok(version) = cache.get_or_load(&(key as u64), load).await {
                        let version = *version.unwrap();
                        assert!(version >= floor, "read {version}, floor {floor}");
                    }
                });
            }
            Step::ReadMany => {
                let (cache, floors) = (self.cache.clone(), self.floors);
                // Which of the keys it is to load it learns when it is called.
                let (first, second) = (once(self.load(vec![0])), once(self.load(vec![1])));
                self.reads.spawn(async move {
                    let load = |batch: Batch<u64>| {
                        let first = batch.contains(&0).then(&first);
                        let second = batch.contains(&1).then(&second);
                        async move {
                            let mut rows = Vec::new();
                            if let Some(first) = first {
                                rows.extend(first.await?.into_iter().map(|(_, v)| (0, v)));
                            }
                            if let Some(second) = second {
                                rows.extend(second.await?.into_iter().map(|(_, v)| (1, v)));
                            }
                            Ok::<_, io::Error>(rows)
                        }
                    };
                    for (n, outcome) in
                        cache.get_many(&[0, 1], load).await.into_iter().enumerate()
                    {
                        if let Ok(version) = outcome {
                            let version = *version.unwrap();
                            assert!(
                                version >= floors[n],
                                "read {version}, floor {}",
                                floors[n]
                            );
                        }
                    }
                });
            }
            Step::Reserve(key) => {
                let reservation = self.cache.reserve(&(key as u64)).await;
                let version = self.database.lock().unwrap()[key];
                let (release, released) = oneshot::channel();
                self.held.lock().unwrap().push(release);
                self.reads.spawn(async move {
                    if released.await.unwrap_or(true) {
                        reservation.insert(version).await;
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
            Step::Write(key) => {
                let version = self.commit(key);
                self.cache.invalidate(&(key as u64)).await.unwrap();
                self.floors[key] = version;
                self.epochs[key] += 1;
            }
            Step::Insert(key) => {
                let version = self.commit(key);
                self.cache.insert(&(key as u64), version).await.unwrap();
                self.floors[key] = version;
                self.epochs[key] += 1;
            }
            Step::Clear => {
                let versions: [u64; KEYS] = std::array::from_fn(|key| self.commit(key));
                self.cache.clear().await.unwrap();
                self.floors = versions;
                self.epochs = self.epochs.map(|epoch| epoch + 1);
            }
            Step::Advance(seconds) => {
                tokio::time::advance(seconds as u32 * SECOND).await;
            }
        }
        settle().await;
        assert_eq!(*self.wrong.lock().unwrap(), None);
        for key in 0..KEYS {
            if let Lookup::Hit(version) = self.cache.get(&(key as u64)).await {
                let floor = self.floors[key];
                assert!(*version >= floor, "found {version}, floor {floor}");
            }
        }
    }

    fn commit(&self, key: usize) -> u64 {
        let mut database = self.database.lock().unwrap();
        database[key] += 1;
        database[key]
    }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 400, ..ProptestConfig::default() })]

    #[test]
    fn no_read_is_older_than_what_was_invalidated(
        steps in proptest::collection::vec(step(), 1..60)
    ) {
        let runtime = tokio::runtime::Builder::new_current_thread()
            .enable_all()
            .start_paused(true)
            .build()
            .unwrap();
        runtime.block_on(async {
            let mut world = World::new().await;
            for step in steps {
                world.run(step).await;
            }
            // What still hangs answers; a dropped end counts as that.
            while !world.reads.is_empty() {
                world.held.lock().unwrap().clear();
                settle().await;
                while let Some(read) = world.reads.try_join_next() {
                    read.unwrap();
                }
            }
        });
    }
}
