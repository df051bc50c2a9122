//! `cache-aside` over a real PostgreSQL, whose server and whose network fail.

#![allow(clippy::unwrap_used, reason = "the helpers of tests are tests")]
#![allow(clippy::disallowed_methods, reason = "wall time is what is measured here")]

mod history;
mod source;
mod subject;

use std::sync::Arc;
use std::time::{Duration, Instant};

use cache_aside::{Batch, CacheAside, CacheBuilder, Lookup, Moka};
use fastrand::Rng;
use testbed::link::Direction;
use testbed::{eventually, eventually_ok, eventually_some};
use tokio::task::JoinSet;

use crate::history::{DEADLINE, ROWS, Race};
use crate::source::Database;
use crate::subject::{DEADLINE_OF_LOADS, Ours, Plain};

fn builder() -> CacheBuilder<i64, i64> {
    CacheAside::builder("row")
        .l1(Moka::entries(10_000))
        .jitter(0.0)
        .load_timeout(DEADLINE_OF_LOADS)
}

fn ours(database: &Database, builder: CacheBuilder<i64, i64>) -> Ours {
    Ours { cache: builder.build().unwrap(), source: database.source("reader") }
}

/// What goes wrong between the cache and its rows, or with them.
#[derive(Clone, Copy, Debug)]
enum Fault {
    Delays,
    Cut,
    Flaps,
    Blackhole,
    /// Statements arrive and are committed; their answers do not.
    LostAnswers,
    PausedServer,
    KilledServer,
}

impl Fault {
    const ALL: [Self; 7] = [
        Self::Delays,
        Self::Cut,
        Self::Flaps,
        Self::Blackhole,
        Self::LostAnswers,
        Self::PausedServer,
        Self::KilledServer,
    ];

    /// Lasts until reads and writes have met it.
    async fn strike(self, database: &Database, race: &Race<Ours>, seed: u64) {
        let Database { postgres, link } = database;
        let reads_fail = || race.more(|history| &history.failed, 6);
        let writes_hang = || race.more(|history| &history.unknown, 2);
        match self {
            Self::Delays => {
                slow(database, seed);
                race.more(|history| &history.writes, 40).await;
            }
            Self::Cut => {
                link.cut();
                reads_fail().await;
            }
            Self::Flaps => {
                slow(database, seed);
                for _ in 0..8 {
                    race.more(|history| &history.reads, 10).await;
                    link.cut();
                    link.heal();
                    slow(database, seed);
                }
            }
            Self::Blackhole => {
                link.blackhole();
                writes_hang().await;
                reads_fail().await;
            }
            Self::LostAnswers => {
                link.half_open(Direction::ToClient);
                writes_hang().await;
                reads_fail().await;
            }
            Self::PausedServer => {
                postgres.pause_process().unwrap();
                writes_hang().await;
                reads_fail().await;
                postgres.resume_process().unwrap();
            }
            Self::KilledServer => {
                postgres.kill().await.unwrap();
                reads_fail().await;
                postgres.restart().await.unwrap();
            }
        }
        link.heal();
        race.more(|history| &history.writes, 20).await;
    }
}

/// A round trip of 2 to 10 ms: loads and writes overlap.
fn slow(database: &Database, seed: u64) {
    database.link.delay(Duration::from_millis(1));
    database.link.jitter(Duration::from_millis(4), seed);
}

async fn history_under_faults(builder: CacheBuilder<i64, i64>, seed: u64) {
    let database = Database::with_rows(ROWS).await;
    let race = Race::start(&database, ours(&database, builder), seed);
    race.more(|history| &history.writes, 50).await;
    let (mut random, mut faults) = (Rng::with_seed(seed), Fault::ALL);
    for _ in 0..2 {
        random.shuffle(&mut faults);
        for fault in faults {
            let began = Instant::now();
            fault.strike(&database, &race, random.u64(..)).await;
            println!("{fault:?}: {:?}", began.elapsed());
            assert_eq!(race.history.stale(), [""; 0], "at {fault:?} of seed {seed}");
        }
    }
    let history = race.end(&database).await;
    assert_eq!(history.stale(), [""; 0]);
    println!(
        "{:?} reads ({:?} failed), {:?} writes, {:?} of unknown outcome",
        history.reads, history.failed, history.writes, history.unknown
    );
}

async fn history_on_a_slow_link(builder: CacheBuilder<i64, i64>) {
    let database = Database::with_rows(ROWS).await;
    let race = Race::start(&database, ours(&database, builder), 1);
    slow(&database, 1);
    race.more(|history| &history.writes, 300).await;
    database.link.heal();
    assert_eq!(race.end(&database).await.stale(), [""; 0]);
}

/// The guarantee where writes overlap with loads, with no fault at all: what was
/// loaded before a write is not kept after it.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn no_read_is_stale_on_a_slow_link() {
    history_on_a_slow_link(builder()).await;
}

/// The guarantee where each value has expired when it arrives, so that every read
/// waits for a load: never for one from before a write. Where a flight has no
/// epoch this fails: a control of `cargo xtask controls`.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn no_read_joins_a_load_from_before_a_write() {
    history_on_a_slow_link(builder().ttl(Duration::from_millis(1))).await;
}

/// The guarantee under every fault, for values that live long: whatever stale
/// value came in would stay and be seen.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn no_read_is_stale_under_faults() {
    history_under_faults(builder(), 2).await;
}

/// The guarantee under every fault, for values that expire all the time and are
/// served aged, while they are renewed or because their load fails.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn no_read_is_stale_under_faults_among_aged_values() {
    let aged = builder()
        .ttl(Duration::from_millis(20))
        .early_refresh(1.0)
        .stale_while_revalidate(Duration::from_millis(20))
        .stale_if_error(Duration::from_secs(600));
    history_under_faults(aged, 3).await;
}

/// The check can fail: the same readers and writers find a stale read in a plain
/// cache, mostly within a hundred writes.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_check_finds_stale_reads_in_a_plain_cache() {
    let database = Database::with_rows(ROWS).await;
    let cache = moka::future::Cache::new(10_000);
    let plain = Plain { cache, source: database.source("reader") };
    let race = Race::start(&database, plain, 1);
    slow(&database, 1);
    race.more(|history| &history.writes, 2_000).await;
    let writes = &race.history.writes;
    println!("after {writes:?} writes: {}", race.history.stale().first().unwrap());
}

/// With `stale_if_error`, reads go on while the server is down; a row that was
/// invalidated is an error rather than its old version, in every way to read.
/// After the restart reads show the truth, with nothing else restarted.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn aged_values_stand_in_for_a_server_that_is_down() {
    const INVALIDATED: i64 = 3;
    let database = Database::with_rows(ROWS).await;
    let short = builder().ttl(Duration::from_millis(50));
    let ours = ours(&database, short.stale_if_error(Duration::from_secs(600)));
    let keys: Vec<i64> = (0..ROWS).collect();
    assert!(ours.get_many(&keys).await.is_ok());

    let direct = database.direct();
    assert_eq!(direct.raise(INVALIDATED, false).await.unwrap(), 2);
    ours.cache.invalidate(&INVALIDATED).await.unwrap();
    database.postgres.kill().await.unwrap();
    for key in keys {
        eventually(DEADLINE, async || ours.cache.get(&key).await == Lookup::Miss).await;
        let reads = [ours.get_or_load(key).await, ours.layer(key).await];
        let many = ours.get_many(&[key]).await.map(|seen| seen[0].1);
        for read in reads.into_iter().chain([many]) {
            if key == INVALIDATED {
                assert!(read.is_err(), "{read:?}");
            } else {
                assert_eq!(read.unwrap(), 1);
            }
        }
    }

    database.postgres.restart().await.unwrap();
    let read =
        async |key| eventually_some(DEADLINE, async || ours.get_or_load(key).await.ok()).await;
    assert_eq!(read(INVALIDATED).await, 2);
    for key in 0..ROWS {
        let truth = eventually_ok(DEADLINE, async || direct.raise(key, false).await).await;
        // Nobody has invalidated it: the value has expired.
        eventually(DEADLINE, async || read(key).await == truth).await;
    }
}

/// A load that no answer comes to: one load for all who wait, and they have
/// their answer at its deadline, on a thread that serves others meanwhile.
async fn waiters_are_answered_at_the_deadline(hang: impl AsyncFn(&Database, bool)) {
    const WAITERS: u64 = 300;
    let database = Database::with_rows(ROWS).await;
    let ours = ours(&database, builder());
    assert_eq!(ours.get_or_load(0).await.unwrap(), 1);
    let asked = ours.source.asked();

    hang(&database, true).await;
    let began = Instant::now();
    let mut waiters = JoinSet::new();
    for _ in 0..WAITERS {
        let ours = ours.clone();
        waiters.spawn(async move { ours.get_or_load(1).await });
    }
    let mut hits = 0;
    while !waiters.is_empty() {
        assert_eq!(ours.get_or_load(0).await.unwrap(), 1);
        hits += 1;
        tokio::task::yield_now().await;
        while let Some(answer) = waiters.try_join_next() {
            let error = answer.unwrap().unwrap_err();
            assert!(
                error.downcast_ref().is_some_and(cache_aside::Error::is_timeout),
                "{error}"
            );
        }
    }
    let took = began.elapsed();
    println!("{WAITERS} answers after {took:?}, {hits} hits meanwhile");
    let tolerated = DEADLINE_OF_LOADS..DEADLINE_OF_LOADS * 4;
    assert!(tolerated.contains(&took), "{took:?}");
    assert!(hits > 100, "{hits}");
    assert_eq!(ours.source.asked() - asked, 1);

    hang(&database, false).await;
    eventually(DEADLINE, async || ours.get_or_load(1).await.ok() == Some(1)).await;
}

#[tokio::test]
async fn waiters_on_a_stopped_server_are_answered_at_the_deadline() {
    waiters_are_answered_at_the_deadline(async |database, hangs| {
        let Database { postgres, .. } = database;
        if hangs { postgres.pause_process() } else { postgres.resume_process() }.unwrap();
    })
    .await;
}

#[tokio::test]
async fn waiters_on_a_lost_network_are_answered_at_the_deadline() {
    waiters_are_answered_at_the_deadline(async |database, hangs| {
        if hangs { database.link.blackhole() } else { database.link.heal() }
    })
    .await;
}

/// A warm-up asks once a batch. One that the network ends is counted, and the
/// next asks only for what is missing. What a writer changed meanwhile is not
/// undone, and then the server is no longer needed.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_warm_up_brings_each_row_once() {
    const MANY: usize = 5_000;
    const BATCH: usize = 500;
    let database = Database::with_rows(MANY as i64).await;
    let ours = ours(&database, builder().load_timeout(Duration::from_secs(10)));
    let warm = async |progress: &mut (dyn FnMut(usize) + Send)| {
        let load = |batch: Batch<i64>| Arc::clone(&ours.source).versions(batch.into_keys());
        let warm = ours.cache.warm(0..MANY as i64, load).batch(BATCH).concurrency(2);
        warm.progress(|progressed| progress(progressed.done)).run().await
    };

    let cut = &mut |done| {
        if done == 3 * BATCH {
            database.link.cut();
        }
    };
    let report = warm(cut).await;
    assert_eq!(report.present + report.failed, MANY);
    assert!((3 * BATCH..=4 * BATCH).contains(&report.present), "{report:?}");
    assert!(report.error.is_some());
    assert_eq!(ours.source.asked(), (MANY / BATCH) as u64);

    database.link.heal();
    let missing = report.failed / BATCH;
    let writer = {
        let (direct, cache) = (database.direct(), ours.cache.clone());
        tokio::spawn(async move {
            for key in (0..MANY as i64).step_by(50) {
                direct.raise(key, false).await.unwrap();
                cache.invalidate(&key).await.unwrap();
            }
        })
    };
    let report = warm(&mut |_| {}).await;
    assert_eq!((report.present, report.absent, report.failed), (MANY, 0, 0), "{report:?}");
    // Rows that were invalidated after they had come are asked for again.
    let asked = ours.source.asked() as usize - MANY / BATCH;
    assert!((missing..=MANY / BATCH).contains(&asked), "{asked}, {missing} were missing");
    writer.await.unwrap();
    let keys: Vec<i64> = (0..MANY as i64).collect();
    let seen = ours.get_many(&keys).await.unwrap();
    assert!(seen.iter().all(|(key, version)| *version == 1 + i64::from(key % 50 == 0)));

    database.postgres.kill().await.unwrap();
    assert_eq!(ours.get_many(&keys).await.unwrap(), seen);
}
