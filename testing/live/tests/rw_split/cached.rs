//! A cache that two processes share, filled from a replica that lags: no load brings what is
//! older than what was invalidated, although no session reaches it.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicI64, AtomicU64, Ordering};
use std::time::Duration;

use cache_aside::{CacheAside, LoadContext, Loaded, RedisStore, VersionFloor};
use rw_split::{Error, RwSplit, WalPosition};
use testbed::eventually;
use testbed::redis::Redis;
use tokio::task::JoinSet;

use super::bed::{Bed, DEADLINE, session, set};

/// How long the cache remembers positions, and does not know after its start whether it has
/// lost some.
const FLOORS: Duration = Duration::from_secs(3);

/// What one process has.
#[derive(Clone)]
struct Process {
    db: RwSplit,
    cache: CacheAside<i32, i64>,
    counts: Arc<Counts>,
}

/// Its loads, by what they were asked for.
#[derive(Default)]
struct Counts {
    any: AtomicU64,
    at_least: AtomicU64,
    unknown: AtomicU64,
}

impl Counts {
    fn loads(&self) -> u64 {
        [&self.any, &self.at_least, &self.unknown]
            .map(|count| count.load(Ordering::SeqCst))
            .iter()
            .sum()
    }
}

impl Process {
    async fn new(bed: &Bed, redis: &Redis) -> Self {
        let store = RedisStore::open(redis.url()).unwrap();
        let cache = CacheAside::builder("row").l2(store).floor_ttl(FLOORS).build().unwrap();
        Self { db: bed.db().await, cache, counts: Arc::default() }
    }

    async fn write(&self, id: i32, n: i64) {
        set(&self.db, id, n).await;
        let at = self.db.written_at().expect("it was answered");
        self.cache.invalidate_at(&id, <[u8; 16]>::from(at)).await.unwrap();
    }

    async fn read(&self, id: i32) -> i64 {
        let (db, counts) = (self.db.clone(), Arc::clone(&self.counts));
        let found = self.cache.get_or_load(&id, |cx| load(db, counts, cx)).await;
        *found.unwrap().expect("the row is there")
    }
}

/// As an application writes it.
async fn load(
    db: RwSplit,
    counts: Arc<Counts>,
    cx: LoadContext<i32>,
) -> Result<Loaded<i64>, Error> {
    let (count, at) = match cx.version_floor() {
        VersionFloor::None => (&counts.any, None),
        VersionFloor::AtLeast(version) => {
            (&counts.at_least, Some(WalPosition::from(*version.as_bytes())))
        }
        VersionFloor::Unknown => (&counts.unknown, Some(db.position_now().await?)),
    };
    count.fetch_add(1, Ordering::SeqCst);
    let token = at
        .filter(|_| !cfg!(broken = "no_version_floor"))
        .map(|at| db.token_at(at))
        .unwrap_or_default();
    let sql = "SELECT n FROM t WHERE id = $1";
    let row = db.with_token(token, db.query_one(sql, &[cx.key()])).await?;
    let value = Loaded::value(row.get::<_, i64>(0));
    Ok(match at {
        Some(at) => value.version(<[u8; 16]>::from(at)),
        None => value,
    })
}

/// Two processes, whose cache knows all of its floors.
async fn processes(bed: &Bed, redis: &Redis) -> [Process; 2] {
    let [one, two] = [Process::new(bed, redis).await, Process::new(bed, redis).await];
    eventually(DEADLINE, async || {
        one.cache.invalidate(&9).await.unwrap();
        one.read(9).await;
        one.counts.any.load(Ordering::SeqCst) > 0
    })
    .await;
    [one, two]
}

#[tokio::test]
async fn a_position_is_told_only_where_it_is_known() {
    let bed = Bed::new(0).await;
    let db = bed.builder().failover_wait(Duration::from_millis(300)).build().await.unwrap();
    let work = async {
        assert_eq!(db.written_at(), None, "nothing was written");
        let before = db.position_now().await.unwrap();
        set(&db, 1, 1).await;
        let at = db.written_at().expect("it was answered");
        assert!(before < at && at <= db.position_now().await.unwrap());

        // A write that is given up may be committed later, wherever that is.
        let slow = "UPDATE t SET n = 2 WHERE id = 1 AND pg_sleep(5) IS NULL";
        let given_up = tokio::time::timeout(Duration::from_millis(200), db.execute(slow, &[]));
        assert!(given_up.await.is_err());
        assert_eq!(db.written_at(), None, "its outcome is not known");
    };
    session().enter(work).await;

    bed.primary.kill().await.unwrap();
    let refused = db.position_now().await.unwrap_err();
    assert!(matches!(refused, Error::NoPrimary { .. }) && refused.is_transient(), "{refused}");
}

#[tokio::test]
async fn a_load_of_another_process_is_not_older_than_the_invalidation() {
    let (bed, redis) = (Bed::new(1).await, Redis::start().await.unwrap());
    let [one, two] = processes(&bed, &redis).await;
    bed.replicas[0].pause_replay().await.unwrap();
    for n in 1..=20 {
        one.write(1, n).await;
        assert_eq!(two.read(1).await, n);
        // It said its version, so it is kept, for both.
        let loads = two.counts.loads() + one.counts.loads();
        assert_eq!((one.read(1).await, two.read(1).await), (n, n));
        assert_eq!(two.counts.loads() + one.counts.loads(), loads);
    }
    assert_eq!(two.counts.at_least.load(Ordering::SeqCst), 20);
    // What nobody has changed comes from the replica, as far behind as it is.
    let before = two.db.stats().on_replicas;
    assert_eq!(two.read(2).await, 0);
    assert_eq!(two.db.stats().on_replicas, before + 1);
}

/// Where floors may be lost, as after a flush, the primary says what is new enough.
#[tokio::test]
async fn a_load_is_fresh_although_the_floors_are_lost() {
    let (bed, redis) = (Bed::new(1).await, Redis::start().await.unwrap());
    let [one, two] = [Process::new(&bed, &redis).await, Process::new(&bed, &redis).await];
    bed.replicas[0].pause_replay().await.unwrap();
    for n in 1..=5 {
        one.write(1, n).await;
        redis.command(&["FLUSHALL"]).await.unwrap();
        assert_eq!(two.read(1).await, n);
    }
    assert_eq!(two.counts.unknown.load(Ordering::SeqCst), 5);
}

/// The same while loads and writes overlap, and the replica is always a little behind.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn no_read_that_begins_after_an_invalidation_is_older() {
    const WRITES: i64 = 300;

    let (bed, redis) = (Bed::new(1).await, Redis::start().await.unwrap());
    let [one, two] = processes(&bed, &redis).await;
    bed.replicas[0].delay_replay(Duration::from_millis(100)).await.unwrap();
    let answered = Arc::new(AtomicI64::new(0));
    let over = Arc::new(AtomicBool::new(false));
    let mut readers = JoinSet::new();
    for process in [&one, &two, &two, &two] {
        let (process, answered, over) = (process.clone(), answered.clone(), over.clone());
        readers.spawn(async move {
            let mut reads = 0_u64;
            while !over.load(Ordering::SeqCst) {
                let floor = answered.load(Ordering::SeqCst);
                let shown = process.read(1).await;
                assert!(shown >= floor, "{shown} was read after {floor} was invalidated");
                reads += 1;
            }
            reads
        });
    }
    for n in 1..=WRITES {
        one.write(1, n).await;
        answered.store(n, Ordering::SeqCst);
    }
    over.store(true, Ordering::SeqCst);
    let reads: u64 = readers.join_all().await.iter().sum();
    println!("{reads} reads beside {WRITES} writes, {} loads", two.counts.loads());
    assert!(two.counts.at_least.load(Ordering::SeqCst) > 20);
}
