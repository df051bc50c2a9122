//! The rule of `model.rs` on real threads: versions only grow, and a read never
//! returns one below the highest whose invalidation was over when it began.
#![allow(clippy::unwrap_used, reason = "a panic is how a test fails")]

use std::io;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use cache_aside::{CacheAside, CacheAsideLayer, Moka, Store};
use tower::{Layer, Service};

const KEYS: u64 = 8;
const READERS: u64 = 6;
const WRITERS: u64 = 2;
const ROUNDS: u64 = 20_000;

#[derive(Default)]
struct Row {
    version: AtomicU64,
    invalidated: AtomicU64,
}

type Table = Arc<[Row]>;

async fn load(table: Table, key: u64, pause: bool) -> Result<u64, io::Error> {
    let version = table[key as usize].version.load(Ordering::SeqCst);
    if pause {
        tokio::task::yield_now().await;
    }
    Ok(version)
}

async fn race(store: impl Store<u64, u64>) {
    let cache: CacheAside<u64, u64> = CacheAside::builder("race").l1(store).build().unwrap();
    let table: Table = (0..KEYS).map(|_| Row::default()).collect();
    let mut tasks = tokio::task::JoinSet::new();
    for writer in 0..WRITERS {
        let (cache, table) = (cache.clone(), table.clone());
        tasks.spawn(async move {
            let mut random = fastrand::Rng::with_seed(writer);
            for _ in 0..ROUNDS / 4 {
                let key = random.u64(..KEYS);
                let row = &table[key as usize];
                let version = row.version.fetch_add(1, Ordering::SeqCst) + 1;
                if random.u8(..) == 0 {
                    cache.clear().await.unwrap();
                } else {
                    cache.invalidate(&key).await.unwrap();
                }
                row.invalidated.fetch_max(version, Ordering::SeqCst);
                if random.bool() {
                    tokio::task::yield_now().await;
                }
            }
        });
    }
    for reader in 0..READERS {
        let (cache, table) = (cache.clone(), table.clone());
        tasks.spawn(async move {
            let mut random = fastrand::Rng::with_seed(100 + reader);
            let inner = {
                let table = table.clone();
                tower::service_fn(move |key: u64| load(table.clone(), key, true))
            };
            let mut layered =
                CacheAsideLayer::new(cache.clone(), |key: &u64| Some(*key)).layer(inner);
            for _ in 0..ROUNDS {
                let key = random.u64(..KEYS);
                let floor = |key: u64| table[key as usize].invalidated.load(Ordering::SeqCst);
                let before = floor(key);
                let (pause, table) = (random.bool(), table.clone());
                let version = match random.u8(..4) {
                    0 => layered.call(key).await.unwrap(),
                    1 => {
                        let rows = |batch: Vec<u64>| async move {
                            let mut rows = Vec::new();
                            for key in batch {
                                rows.push((key, load(table.clone(), key, pause).await?));
                            }
                            Ok::<_, io::Error>(rows)
                        };
                        cache.get_many(&[key, (key + 1) % KEYS], rows).await[0].clone().unwrap()
                    }
                    2 => {
                        let reservation = cache.reserve(&key);
                        let version = load(table, key, pause).await.unwrap();
                        reservation.insert(version);
                        Some(Arc::new(version))
                    }
                    _ => cache.get_or_load(&key, |_| load(table, key, pause)).await.unwrap(),
                };
                let version = *version.unwrap();
                assert!(version >= before, "read {version}, {before} was invalidated");
            }
        });
    }
    while let Some(task) = tasks.join_next().await {
        task.unwrap();
    }
    for key in 0..KEYS {
        let last = cache.get_or_load(&key, |_| load(table.clone(), key, false)).await.unwrap();
        assert_eq!(*last.unwrap(), table[key as usize].version.load(Ordering::SeqCst));
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn on_moka() {
    race(Moka::entries(1_000)).await;
}

#[cfg(feature = "quick")]
#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn on_quick() {
    race(cache_aside::Quick::entries(1_000)).await;
}
