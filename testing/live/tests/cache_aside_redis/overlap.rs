//! A load that a write overtakes, in two processes: what it brings is in Redis at no
//! moment, and in no process afterwards.

use std::io;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use cache_aside::{CacheAside, LoadCause, Loaded, Lookup, Moka, RedisStore};
use testbed::eventually;
use testbed::redis::{Redis, RedisCluster};
use tokio::task::JoinHandle;

use crate::rows::{Held, Rows};
use crate::scene::{Cache, Scene, lasting};

const DEADLINE: Duration = Duration::from_secs(20);
const L1_TTL: Duration = Duration::from_millis(1);

/// A cache whose values are aged and renewed when the tests want it.
fn cache(store: RedisStore, copies: bool, way: Way) -> Cache {
    let builder = CacheAside::builder("row")
        .l2(store)
        .l2_timeout(Duration::from_secs(5))
        .jitter(0.0)
        .stale_while_revalidate(Duration::from_secs(60));
    let builder = if way == Way::Early { builder.early_refresh(1e9) } else { builder };
    let builder = if copies { builder.l1(Moka::entries(100)).l1_ttl(L1_TTL) } else { builder };
    builder.build().unwrap()
}

/// How a load begins.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Way {
    Miss,
    Many,
    Warm,
    Reserve,
    Revalidate,
    RevalidateMany,
    Early,
}

impl Way {
    const ALL: [Self; 7] = [
        Self::Miss,
        Self::Many,
        Self::Warm,
        Self::Reserve,
        Self::Revalidate,
        Self::RevalidateMany,
        Self::Early,
    ];

    /// A load of `key` under way in `cache`, which has read its row.
    async fn begin(self, cache: &Cache, rows: &Arc<Rows>, key: u64) -> (Held, JoinHandle<()>) {
        let (mut held, load) = rows.held(key);
        let cause = match self {
            Self::Miss | Self::Many | Self::Warm | Self::Reserve => LoadCause::Miss,
            Self::Revalidate | Self::RevalidateMany => LoadCause::Revalidate,
            Self::Early => LoadCause::Early,
        };
        if cause != LoadCause::Miss {
            let old = rows.version(key);
            let first = cache.get_or_load(&key, |_| async move {
                // What has cost nothing is not renewed early.
                tokio::time::sleep(Duration::from_millis(3)).await;
                let old = Loaded::value(old).version(old);
                let aged = cause == LoadCause::Revalidate;
                Ok::<_, io::Error>(if aged { old.ttl(Duration::from_millis(5)) } else { old })
            });
            first.await.unwrap();
        }
        let load = Arc::new(Mutex::new(Some(load)));
        let left = Arc::clone(&load);
        let is_left = move || left.lock().unwrap().is_some();
        let take = move || load.lock().unwrap().take().expect("it is loaded once");
        let cache = cache.clone();
        let task = match self {
            Self::Reserve => {
                let reservation = cache.reserve(&key).await;
                tokio::spawn(async move {
                    let version = take().await.unwrap();
                    let late = Loaded::value(version).version(version);
                    assert!(!reservation.insert(late).await, "it was overtaken");
                })
            }
            // Of a value that is aged, some read begins to renew it.
            Self::Miss | Self::Revalidate | Self::Early => tokio::spawn(async move {
                while is_left() {
                    let read = cache.get_or_load(&key, |cx| {
                        assert_eq!(cx.cause(), cause);
                        let load = take();
                        async move { load.await.map(|n| Loaded::value(n).version(n)) }
                    });
                    read.await.unwrap();
                }
            }),
            Self::Many | Self::RevalidateMany => tokio::spawn(async move {
                let keys = [key];
                while is_left() {
                    let read = cache.get_many(&keys, |batch| {
                        assert_eq!(batch.cause(), cause);
                        let load = take();
                        async move { load.await.map(|n| [(key, Loaded::value(n).version(n))]) }
                    });
                    read.await.remove(0).unwrap();
                }
            }),
            Self::Warm => tokio::spawn(async move {
                let load = |_| {
                    let load = take();
                    async move { load.await.map(|n| [(key, Loaded::value(n).version(n))]) }
                };
                assert_eq!(cache.warm([key], load).run().await.present, 1);
            }),
        };
        held.began().await;
        (held, task)
    }
}

/// What a writer calls when it has committed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Change {
    Invalidate,
    InvalidateAt,
    Clear,
    Insert,
    InsertAt,
}

impl Change {
    const ALL: [Self; 5] =
        [Self::Invalidate, Self::InvalidateAt, Self::Clear, Self::Insert, Self::InsertAt];

    async fn tell(self, cache: &Cache, key: u64, version: u64) {
        match self {
            Self::Invalidate => cache.invalidate(&key).await.unwrap(),
            Self::InvalidateAt => cache.invalidate_at(&key, version).await.unwrap(),
            Self::Clear => cache.clear().await.unwrap(),
            Self::Insert => cache.insert(&key, version).await.unwrap(),
            Self::InsertAt => assert!(cache.insert_at(&key, version, version).await.unwrap()),
        }
    }

    /// What Redis has afterwards, if nobody reads.
    fn leaves(self, version: u64) -> Lookup<u64> {
        match self {
            Self::Invalidate | Self::InvalidateAt | Self::Clear => Lookup::Miss,
            Self::Insert | Self::InsertAt => Lookup::Hit(Arc::new(version)),
        }
    }
}

/// How many scripts the servers have run: a late fill is one of them.
async fn scripts(servers: &[Redis]) -> u64 {
    let mut scripts = 0;
    for server in servers {
        let stats = server.info("cmdstat_evalsha").await.unwrap().unwrap_or_default();
        let calls = stats.split(',').find_map(|stat| stat.strip_prefix("calls="));
        scripts += calls.map_or(0, |calls| calls.parse::<u64>().unwrap());
    }
    scripts
}

async fn late_loads_leave_nothing(
    servers: &[Redis],
    store: impl Fn() -> RedisStore,
    copies: bool,
    ways: &[Way],
) {
    let rows = Rows::new(100);
    let mut key = 0;
    for &way in ways {
        let [one, two] = [(); 2].map(|()| cache(store(), copies, way));
        let watcher = cache(store(), false, Way::Miss);
        for change in Change::ALL {
            key += 1;
            let (held, task) = way.begin(&one, &rows, key).await;
            let version = rows.commit(key);
            change.tell(&two, key, version).await;
            let before = scripts(servers).await;
            held.answer();
            task.await.unwrap();
            eventually(DEADLINE, async || scripts(servers).await > before).await;

            let what = format!("{way:?}, {change:?}");
            assert_eq!(watcher.get(&key).await, change.leaves(version), "{what}");
            if copies {
                // For so long it may show a copy from before.
                tokio::time::sleep(L1_TTL).await;
            }
            assert_eq!(one.get(&key).await, change.leaves(version), "{what}");
            for cache in [&one, &two, &watcher] {
                let rows = Arc::clone(&rows);
                let read = cache.get_or_load(&key, |_| rows.load(key)).await;
                assert_eq!(read.unwrap().as_deref(), Some(&version), "{what}");
            }
        }
    }
}

#[tokio::test]
async fn a_late_load_leaves_nothing_in_redis() {
    let servers = [Redis::start().await.unwrap()];
    let store = || RedisStore::open(servers[0].url()).unwrap();
    late_loads_leave_nothing(&servers, store, false, &Way::ALL).await;
}

#[tokio::test]
async fn a_late_load_leaves_nothing_in_redis_nor_in_copies() {
    let servers = [Redis::start().await.unwrap()];
    let store = || RedisStore::open(servers[0].url()).unwrap();
    late_loads_leave_nothing(&servers, store, true, &Way::ALL).await;
}

#[tokio::test]
async fn a_late_load_leaves_nothing_in_a_cluster() {
    let cluster = RedisCluster::start().await.unwrap();
    let store = || RedisStore::cluster(cluster.urls()).unwrap();
    let ways = [Way::Miss, Way::Many, Way::Revalidate];
    late_loads_leave_nothing(cluster.nodes(), store, false, &ways).await;
}

/// A count of invalidations in place of a random token is right again after a flush.
#[tokio::test]
async fn a_late_load_leaves_nothing_after_a_flush() {
    let servers = [Redis::start().await.unwrap()];
    let store = || RedisStore::open(servers[0].url()).unwrap();
    let [one, two] = [(); 2].map(|()| cache(store(), false, Way::Miss));
    let rows = Rows::new(2);
    let (held, task) = Way::Miss.begin(&one, &rows, 1).await;
    rows.commit(1);
    two.invalidate(&1).await.unwrap();
    servers[0].command(&["FLUSHALL"]).await.unwrap();
    held.answer();
    task.await.unwrap();
    assert_eq!(two.get(&1).await, Lookup::Miss);
}

/// One lease at a time: who comes second waits for the first, or loads and keeps
/// nothing.
#[tokio::test]
async fn only_the_holder_of_the_lease_fills() {
    let redis = Redis::start().await.unwrap();
    let store = || RedisStore::open(redis.url()).unwrap();
    let [one, two] = [(); 2].map(|()| cache(store(), false, Way::Miss));
    let rows = Rows::new(2);
    let (held, task) = Way::Miss.begin(&one, &rows, 1).await;
    rows.commit(1);
    // Nobody has invalidated yet: this is the time between a commit and that.
    let read = two.get_or_load(&1, |_| Arc::clone(&rows).load(1)).await.unwrap();
    assert_eq!(read.as_deref(), Some(&2));
    assert_eq!(two.get(&1).await, Lookup::Miss, "it had no lease");
    two.invalidate(&1).await.unwrap();
    held.answer();
    task.await.unwrap();
    assert_eq!(two.get(&1).await, Lookup::Miss, "the lease is gone");
    assert_eq!(rows.loads(), 2);
}

/// Everything at once, by chance, for some seconds.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn no_read_is_stale_in_a_history_of_four_processes() {
    let redis = Redis::start().await.unwrap();
    let scene = Scene::new((0..4).map(|_| RedisStore::open(redis.url()).unwrap()));
    let players = scene.play(7);
    tokio::time::sleep(lasting(Duration::from_secs(4))).await;
    let outcome = scene.end(players, &vec![Vec::new(); 4]).await;
    assert!(outcome.stale.is_empty(), "{}", outcome.stale[0]);
    assert_eq!(outcome.failed, [""; 0]);
    assert!(outcome.reads > 1_000 && outcome.writes > 100, "{}", outcome.reads);
}
