//! The rule of `model.rs` on real threads: versions only grow, and a read never
//! returns one below the highest whose invalidation was over when it began.
#![allow(clippy::unwrap_used, reason = "a panic is how a test fails")]

use std::io;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use cache_aside::{Batch, CacheAside, CacheAsideLayer, CacheBuilder, Error, Moka, Store};
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

fn builder(store: impl Store<u64, u64>) -> CacheBuilder<u64, u64> {
    CacheAside::builder("race").l1(store)
}

/// Entries age while they are read: every window is passed through.
fn aging(store: impl Store<u64, u64>) -> CacheBuilder<u64, u64> {
    let micros = Duration::from_micros;
    builder(store)
        .ttl(micros(200))
        .stale_while_revalidate(micros(200))
        .stale_if_error(micros(1_000))
        .early_refresh(1.0)
        .error_ttl(micros(100))
}

/// Of `broken` loads in 256 nothing comes.
async fn race(builder: CacheBuilder<u64, u64>, broken: u8) {
    let cache = builder.build().unwrap();
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
                let fails = random.u8(..) < broken;
                let load = move |table, key| async move {
                    if fails {
                        return Err(io::Error::other("the source is down"));
                    }
                    load(table, key, pause).await
                };
                let outcome = match random.u8(..4) {
                    0 => layered.call(key).await,
                    1 => {
                        let rows = |batch: Batch<u64>| {
                            let table = table.clone();
                            async move {
                                let mut rows = Vec::new();
                                for key in batch {
                                    rows.push((key, load(table.clone(), key).await?));
                                }
                                Ok::<_, io::Error>(rows)
                            }
                        };
                        cache.get_many(&[key, (key + 1) % KEYS], rows).await[0].clone()
                    }
                    2 => {
                        let reservation = cache.reserve(&key).await;
                        let read = load(table, key).await;
                        if let Ok(version) = read {
                            reservation.insert(version).await;
                        }
                        read.map(|n| Some(Arc::new(n))).map_err(|e| Error::Load(Arc::new(e)))
                    }
                    _ => cache.get_or_load(&key, |_| load(table, key)).await,
                };
                let version = match outcome {
                    Ok(version) => *version.unwrap(),
                    Err(error) if broken > 0 => {
                        assert!(matches!(error, Error::Load(_)), "{error:?}");
                        continue;
                    }
                    Err(error) => panic!("{error:?}"),
                };
                assert!(version >= before, "read {version}, {before} was invalidated");
            }
        });
    }
    while let Some(task) = tasks.join_next().await {
        task.unwrap();
    }
    for key in 0..KEYS {
        let last = cache.get_or_load(&key, |_| load(table.clone(), key, false)).await;
        if broken > 0 && last.is_err() {
            continue; // the error of the last load is still kept
        }
        let version = table[key as usize].version.load(Ordering::SeqCst);
        assert_eq!(*last.unwrap().unwrap(), version);
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn on_moka() {
    race(builder(Moka::entries(1_000)), 0).await;
    race(aging(Moka::entries(1_000)), 64).await;
}

#[cfg(feature = "quick")]
#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn on_quick() {
    race(builder(cache_aside::Quick::entries(1_000)), 0).await;
    race(aging(cache_aside::Quick::entries(1_000)), 64).await;
}
