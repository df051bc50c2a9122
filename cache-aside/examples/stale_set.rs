//! The race that undoes an invalidation, on bare moka and on this crate.
//!
//! A reader misses and loads the old value; a writer commits the new one and
//! invalidates; the reader stores what it has. From then on a plain cache serves
//! the old value for its whole TTL. Readers and writers here do that for five
//! seconds on each: a read is counted as stale if it returns a version older
//! than the last one whose invalidation was over *before the read began*.
//!
//! `cargo run -p cache-aside --example stale_set` (add a number of seconds)
#![allow(clippy::disallowed_methods)] // it runs for a while and ends

use std::collections::hash_map::DefaultHasher;
use std::error::Error;
use std::hash::{Hash, Hasher};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

use cache_aside::{CacheAside, Moka};
use tokio::task::JoinSet;

const KEYS: u64 = 200;
const READERS: u64 = 32;

/// A database of one version a row. A load takes 1 to 5 ms, and reads its row
/// at the start, as a query does that takes its snapshot first.
#[derive(Default)]
struct Database {
    version: AtomicU64,
    invalidated: AtomicU64,
}

async fn load(rows: Arc<[Database]>, key: u64) -> Result<u64, std::io::Error> {
    let version = rows[key as usize].version.load(Ordering::SeqCst);
    let mut hasher = DefaultHasher::new();
    (key, version).hash(&mut hasher);
    tokio::time::sleep(Duration::from_micros(1_000 + hasher.finish() % 4_000)).await;
    Ok(version)
}

/// What both caches do.
trait Cache: Clone + Send + Sync + 'static {
    fn read(&self, rows: Arc<[Database]>, key: u64) -> impl Future<Output = u64> + Send;
    fn invalidate(&self, key: u64) -> impl Future<Output = ()> + Send;
}

/// As its documents recommend: concurrent misses share one load.
#[derive(Clone)]
struct BareMoka(moka::future::Cache<u64, u64>);

impl Cache for BareMoka {
    async fn read(&self, rows: Arc<[Database]>, key: u64) -> u64 {
        self.0.try_get_with(key, load(rows, key)).await.expect("the database answers")
    }

    async fn invalidate(&self, key: u64) {
        self.0.invalidate(&key).await;
    }
}

impl Cache for CacheAside<u64, u64> {
    async fn read(&self, rows: Arc<[Database]>, key: u64) -> u64 {
        let value = self.get_or_load(&key, |_| load(rows, key)).await;
        *value.expect("the database answers").expect("every row is there")
    }

    async fn invalidate(&self, key: u64) {
        self.invalidate(&key).await.expect("in process it does not fail");
    }
}

struct Count {
    reads: u64,
    stale: u64,
    writes: u64,
}

async fn race(cache: impl Cache, lasting: Duration) -> Count {
    let rows: Arc<[Database]> = (0..KEYS).map(|_| Database::default()).collect();
    let end = Instant::now() + lasting;
    let mut readers = JoinSet::new();
    for reader in 0..READERS {
        let (cache, rows) = (cache.clone(), rows.clone());
        readers.spawn(async move {
            let mut random = fastrand::Rng::with_seed(reader);
            let (mut reads, mut stale) = (0, 0);
            while Instant::now() < end {
                let key = random.u64(..KEYS);
                let invalidated = rows[key as usize].invalidated.load(Ordering::SeqCst);
                let version = cache.read(rows.clone(), key).await;
                reads += 1;
                stale += u64::from(version < invalidated);
                // Hits do not yield by themselves.
                tokio::task::yield_now().await;
            }
            (reads, stale)
        });
    }
    let writer = tokio::spawn({
        let (cache, rows) = (cache.clone(), rows.clone());
        async move {
            let (mut random, mut writes) = (fastrand::Rng::with_seed(99), 0);
            while Instant::now() < end {
                let key = random.u64(..KEYS);
                let row = &rows[key as usize];
                let version = row.version.fetch_add(1, Ordering::SeqCst) + 1; // commit
                cache.invalidate(key).await;
                row.invalidated.store(version, Ordering::SeqCst);
                writes += 1;
                tokio::time::sleep(Duration::from_millis(1)).await;
            }
            writes
        }
    });
    let writes = writer.await.expect("the writer runs to its end");
    let counts = readers.join_all().await;
    let (reads, stale) =
        counts.iter().fold((0, 0), |(r, s), (reads, stale)| (r + reads, s + stale));
    Count { reads, stale, writes }
}

#[tokio::main]
async fn main() -> Result<(), Box<dyn Error>> {
    let seconds: f64 = std::env::args().nth(1).map_or(Ok(5.0), |text| text.parse())?;
    let lasting = Duration::try_from_secs_f64(seconds)?;
    let ttl = Duration::from_secs(300);

    let moka = moka::future::Cache::builder().max_capacity(10_000).time_to_live(ttl).build();
    let bare = race(BareMoka(moka), lasting).await;
    let ours = CacheAside::builder("row").l1(Moka::entries(10_000)).ttl(ttl).build()?;
    let ours = race(ours, lasting).await;

    println!("{:28} {:>10} {:>10} {:>12}", "", "reads", "writes", "stale reads");
    for (name, count) in [("moka, try_get_with", &bare), ("cache-aside on moka", &ours)] {
        println!("{name:28} {:>10} {:>10} {:>12}", count.reads, count.writes, count.stale);
    }
    if ours.stale > 0 || bare.stale == 0 {
        return Err("expected stale reads from the bare store, and none from this crate".into());
    }
    Ok(())
}
