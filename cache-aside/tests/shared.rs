//! The second tier, by two caches that share one in memory, as two processes do.
#![allow(clippy::unwrap_used, reason = "a panic is how a test fails")]

mod support;

use std::io;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use cache_aside::shared::{Fault, InMemory};
use cache_aside::{
    Batch, CacheAside, Clock, Codec, Loaded, Lookup, Moka, Version, VersionFloor, conformance,
};
use support::tiers::{Cache, on, read, two, two_with_copies};
use support::{SECOND, Source, once, settle};
use tokio::time::{Instant, advance};

#[tokio::test]
async fn the_store_in_memory_conforms() {
    let store = InMemory::new();
    conformance::shared(|| store.clone()).await;
}

#[tokio::test(start_paused = true)]
async fn what_one_process_loads_or_invalidates_the_other_sees() {
    let tier = InMemory::new();
    let ([one, two], source) = (two(&tier), Source::new(1));
    assert_eq!(read(&one, &source).await, 1);
    source.set(2);
    assert_eq!(read(&two, &source).await, 1);
    assert_eq!(source.loads(), 1);
    two.invalidate(&7).await.unwrap();
    assert_eq!(one.get(&7).await, Lookup::Miss);
    assert_eq!(read(&one, &source).await, 2);
    one.clear().await.unwrap();
    assert_eq!(two.get(&7).await, Lookup::Miss);
    two.insert(&7, 3).await.unwrap();
    assert_eq!(one.get(&7).await, Lookup::Hit(Arc::new(3)));
}

/// Each way in which process two can end what process one is loading.
#[tokio::test(start_paused = true)]
async fn a_late_load_is_not_seen_by_anybody_who_comes_later() {
    for how in ["invalidate", "clear", "insert", "invalidate_at", "flush"] {
        for refresh in [false, true] {
            let tier = InMemory::new();
            let (source, make) = (Source::new(1), || {
                on(&tier).ttl(10 * SECOND).stale_while_revalidate(60 * SECOND).build().unwrap()
            });
            let [one, two] = [make(), make()];
            if refresh {
                assert_eq!(read(&one, &source).await, 1);
                advance(20 * SECOND).await;
            }
            let (mut held, load) = source.held();
            let first = one.clone();
            let reader = tokio::spawn(async move { first.get_or_load(&7, |_| load).await });
            held.began().await;
            source.set(2);
            match how {
                "invalidate" => two.invalidate(&7).await.unwrap(),
                "invalidate_at" => two.invalidate_at(&7, 2_u64).await.unwrap(),
                "clear" => two.clear().await.unwrap(),
                "insert" => two.insert(&7, 2).await.unwrap(),
                _ => {
                    tier.flush();
                    two.invalidate(&7).await.unwrap();
                }
            }
            // It came before: either value will do for it. Who comes now joins nothing.
            let (late, again) = (one.clone(), source.clone());
            let joiner =
                tokio::spawn(async move { late.get_or_load(&7, |_| again.read()).await });
            settle().await;
            held.answer();
            assert_eq!(*reader.await.unwrap().unwrap().unwrap(), 1, "{how}");
            settle().await;
            assert_ne!(two.get(&7).await, Lookup::Hit(Arc::new(1)), "{how} {refresh}");
            assert_eq!(*joiner.await.unwrap().unwrap().unwrap(), 2, "{how} {refresh}");
            for cache in [&one, &two] {
                assert_eq!(read(cache, &source).await, 2, "{how} {refresh}");
            }
        }
    }
}

#[tokio::test(start_paused = true)]
async fn a_late_batch_is_not_seen_by_anybody_who_comes_later() {
    let tier = InMemory::new();
    let ([one, two], source) = (two(&tier), Source::new(1));
    let (mut held, load) = source.held();
    let load = once(async move { load.await.map(|value| [(7, value), (8, value)]) });
    let first = one.clone();
    let reader = tokio::spawn(async move { first.get_many(&[7, 8], |_| load()).await });
    held.began().await;
    source.set(2);
    two.invalidate(&7).await.unwrap();
    let late = one.clone();
    let joiner = tokio::spawn(async move {
        let load = |batch: Batch<u64>| async move {
            Ok::<_, io::Error>(batch.into_iter().map(|key| (key, 2)).collect::<Vec<_>>())
        };
        late.get_many(&[8, 7], load).await
    });
    settle().await;
    held.answer();
    for outcome in reader.await.unwrap() {
        assert_eq!(*outcome.unwrap().unwrap(), 1);
    }
    let joined: Vec<u64> =
        joiner.await.unwrap().into_iter().map(|outcome| *outcome.unwrap().unwrap()).collect();
    assert_eq!(joined, [1, 2], "8 was not invalidated; 7 was loaded again");
    assert_eq!(two.get(&7).await, Lookup::Hit(Arc::new(2)));
    assert_eq!(two.get(&8).await, Lookup::Hit(Arc::new(1)));
}

#[tokio::test(start_paused = true)]
async fn misses_of_both_processes_are_one_load() {
    let tier = InMemory::new();
    let (caches, source) = (two(&tier), Source::new(1));
    let (mut held, load) = source.held();
    let mut load = Some(load);
    let mut readers = Vec::new();
    for n in 0..100 {
        let (cache, source) = (caches[n % 2].clone(), source.clone());
        let load = load.take();
        readers.push(tokio::spawn(async move {
            let read = match load {
                Some(load) => cache.get_or_load(&7, |_| load).await,
                None => cache.get_or_load(&7, |_| source.read()).await,
            };
            assert_eq!(*read.unwrap().unwrap(), 1);
        }));
    }
    held.began().await;
    advance(SECOND / 5).await;
    settle().await;
    held.answer();
    for reader in readers {
        reader.await.unwrap();
    }
    assert_eq!(source.loads(), 1);
}

#[tokio::test(start_paused = true)]
async fn whoever_waits_too_long_loads_and_does_not_store() {
    let tier = InMemory::new();
    let ([one, two], source) = (two(&tier), Source::new(1));
    let (mut held, load) = source.held();
    let reader = tokio::spawn(async move { one.get_or_load(&7, |_| load).await });
    held.began().await;
    source.set(2);
    let began = Instant::now();
    assert_eq!(read(&two, &source).await, 2);
    let waited = began.elapsed();
    assert!((500..=550).contains(&waited.as_millis()), "{waited:?}");
    assert_eq!(two.get(&7).await, Lookup::Miss);
    held.answer();
    reader.await.unwrap().unwrap();
    assert_eq!(two.get(&7).await, Lookup::Hit(Arc::new(1)), "nobody has invalidated it");
}

#[tokio::test(start_paused = true)]
async fn a_failed_load_gives_its_lease_back() {
    let tier = InMemory::new();
    let ([one, two], source) = (two(&tier), Source::new(1));
    assert!(one.get_or_load(&7, |_| source.fail()).await.is_err());
    let began = Instant::now();
    assert_eq!(read(&two, &source).await, 1);
    assert_eq!(began.elapsed(), Duration::ZERO);
}

#[tokio::test(start_paused = true)]
async fn an_aged_record_is_served_while_one_process_renews_it() {
    let tier = InMemory::new();
    let make = || on(&tier).ttl(10 * SECOND).stale_while_revalidate(60 * SECOND).build();
    let ([one, two], source) = ([make().unwrap(), make().unwrap()], Source::new(1));
    assert_eq!(read(&one, &source).await, 1);
    advance(20 * SECOND).await;
    source.set(2);
    let (mut held, load) = source.held();
    assert_eq!(*one.get_or_load(&7, |_| load).await.unwrap().unwrap(), 1);
    held.began().await;
    for _ in 0..3 {
        assert_eq!(read(&one, &source).await, 1);
        assert_eq!(read(&two, &source).await, 1);
        settle().await;
    }
    held.answer();
    settle().await;
    assert_eq!((read(&one, &source).await, read(&two, &source).await), (2, 2));
    assert_eq!(source.loads(), 2);
    advance(80 * SECOND).await;
    source.set(3);
    assert_eq!(read(&two, &source).await, 3, "past every window");
}

#[tokio::test(start_paused = true)]
async fn an_aged_record_stands_in_for_an_error_unless_it_was_invalidated() {
    let tier = InMemory::new();
    let make = || on(&tier).ttl(10 * SECOND).stale_if_error(60 * SECOND).build();
    let ([one, two], source) = ([make().unwrap(), make().unwrap()], Source::new(1));
    assert_eq!(read(&one, &source).await, 1);
    advance(20 * SECOND).await;
    let aged = two.get_or_load(&7, |_| source.fail()).await;
    assert_eq!(*aged.unwrap().unwrap(), 1);
    // Those who wait for a load that fails are served as well.
    let (mut held, load) = source.held();
    let leader = one.clone();
    let leader = tokio::spawn(async move { leader.get_or_load(&7, |_| load).await });
    held.began().await;
    let (joiner, again) = (one.clone(), source.clone());
    let joiner = tokio::spawn(async move { joiner.get_or_load(&7, |_| again.read()).await });
    settle().await;
    held.fail();
    for reader in [leader, joiner] {
        assert_eq!(*reader.await.unwrap().unwrap().unwrap(), 1);
    }
    one.invalidate(&7).await.unwrap();
    assert!(two.get_or_load(&7, |_| source.fail()).await.is_err());
}

#[tokio::test(start_paused = true)]
async fn records_are_renewed_early_by_one_process() {
    let tier = InMemory::new();
    for copies in [false, true] {
        tier.flush();
        let make = || {
            let cache = on(&tier).ttl(100 * SECOND).early_refresh(1e6);
            let both = copies.then(|| Moka::entries(100));
            match both {
                Some(moka) => cache.l1(moka).l1_ttl(100 * SECOND).build().unwrap(),
                None => cache.build().unwrap(),
            }
        };
        let ([one, two], source) = ([make(), make()], Source::new(1));
        // A load that takes a second, with a beta that makes it early at once.
        let slow = source.clone();
        let load = |_| async move {
            tokio::time::sleep(SECOND).await;
            slow.read().await
        };
        assert_eq!(*one.get_or_load(&7, load).await.unwrap().unwrap(), 1);
        source.set(2);
        let (mut held, load) = source.held();
        let live = two.get_or_load(&7, |_| load).await;
        assert_eq!(*live.unwrap().unwrap(), 1, "the live one is served meanwhile");
        held.began().await;
        held.answer();
        settle().await;
        let renewed = two.get(&7).await;
        assert_eq!(renewed, Lookup::Hit(Arc::new(2)), "with copies: {copies}");
        // The other's copy is to be renewed too: it finds that this was done.
        let loads = source.loads();
        if copies {
            assert_eq!(read(&one, &source).await, 1);
            settle().await;
        }
        assert_eq!(one.get(&7).await, two.get(&7).await);
        assert_eq!(source.loads(), loads);
    }
}

#[tokio::test(start_paused = true)]
async fn an_absence_is_shared() {
    let tier = InMemory::new();
    let make = || on(&tier).negative_ttl(5 * SECOND).build().unwrap();
    let [one, two] = [make(), make()];
    let absent = |_| async { Ok::<_, io::Error>(None::<u64>) };
    assert_eq!(one.get_or_load(&7, absent).await.unwrap(), None);
    assert_eq!(two.get(&7).await, Lookup::Absent);
    one.invalidate(&7).await.unwrap();
    assert_eq!(two.get(&7).await, Lookup::Miss);
    assert_eq!(one.get_or_load(&7, absent).await.unwrap(), None);
    advance(5 * SECOND).await;
    assert_eq!(two.get(&7).await, Lookup::Miss);
}

#[tokio::test(start_paused = true)]
async fn a_copy_is_checked_when_its_time_is_over() {
    let tier = InMemory::new();
    let ([one, two], source) = (two_with_copies(&tier), Source::new(1));
    for cache in [&one, &two] {
        assert_eq!(read(cache, &source).await, 1);
    }
    let calls = tier.calls();
    assert_eq!(read(&two, &source).await, 1);
    assert_eq!(tier.calls(), calls, "a copy asks nobody");
    assert_eq!(two.explain(&7).await.tier, Some(cache_aside::TierName::Local));
    source.set(2);
    one.invalidate(&7).await.unwrap();
    assert_eq!(read(&one, &source).await, 2);
    assert_eq!(read(&two, &source).await, 1, "what was accepted by `l1_ttl`");
    advance(5 * SECOND).await;
    assert_eq!(read(&two, &source).await, 2);
    assert_eq!(source.loads(), 2);
}

#[tokio::test(start_paused = true)]
async fn a_copy_never_outlives_its_record() {
    let tier = InMemory::new();
    let make = || {
        let both = on(&tier).l1(Moka::entries(100)).l1_ttl(100 * SECOND);
        both.ttl(10 * SECOND).build().unwrap()
    };
    let ([one, two], source) = ([make(), make()], Source::new(1));
    assert_eq!(read(&one, &source).await, 1);
    advance(9 * SECOND).await;
    assert_eq!(read(&two, &source).await, 1);
    assert_eq!(two.explain(&7).await.fresh_for, Some(SECOND));
    advance(SECOND).await;
    source.set(2);
    assert_eq!(read(&two, &source).await, 2);
}

#[tokio::test(start_paused = true)]
async fn another_schema_or_codec_is_a_miss_and_is_written_over() {
    let tier = InMemory::new();
    let old: Cache = on(&tier).schema_version(1).build().unwrap();
    let new: CacheAside<u64, String> = CacheAside::builder("test")
        .l2(tier.clone())
        .schema_version(2)
        .clock(Clock::tokio())
        .build()
        .unwrap();
    let json: Cache = CacheAside::builder("test")
        .l2_with_codec(tier.clone(), cache_aside::Json)
        .schema_version(1)
        .clock(Clock::tokio())
        .build()
        .unwrap();
    let source = Source::new(1);
    assert_eq!(read(&old, &source).await, 1);
    assert_eq!(new.get(&7).await, Lookup::Miss);
    let load = |_| async { Ok::<_, io::Error>("text".to_owned()) };
    assert_eq!(*new.get_or_load(&7, load).await.unwrap().unwrap(), "text");
    assert_eq!(old.get(&7).await, Lookup::Miss);
    assert_eq!(read(&old, &source).await, 1);
    assert_eq!(json.get(&7).await, Lookup::Miss);
}

/// Writes what it cannot read, or nothing.
struct Broken {
    writes: bool,
}

impl Codec<u64> for Broken {
    fn id(&self) -> u8 {
        99
    }

    fn encode(
        &self,
        _: &u64,
        bytes: &mut Vec<u8>,
    ) -> Result<(), Box<dyn std::error::Error + Send + Sync>> {
        bytes.push(1);
        if self.writes { Ok(()) } else { Err("cannot write".into()) }
    }

    fn decode(&self, _: &[u8]) -> Result<u64, Box<dyn std::error::Error + Send + Sync>> {
        Err("cannot read".into())
    }
}

#[tokio::test(start_paused = true)]
async fn what_cannot_be_encoded_or_decoded_is_loaded() {
    for writes in [false, true] {
        let cache: Cache = CacheAside::builder("test")
            .l2_with_codec(InMemory::new(), Broken { writes })
            .clock(Clock::tokio())
            .build()
            .unwrap();
        let source = Source::new(1);
        for loads in 1..4 {
            assert_eq!(read(&cache, &source).await, 1);
            assert_eq!(source.loads(), loads);
        }
    }
}

#[tokio::test(start_paused = true)]
async fn a_value_that_is_too_large_or_not_to_be_stored_takes_the_old_one_away() {
    let tier = InMemory::new();
    let cache: CacheAside<u64, Vec<u8>> =
        CacheAside::builder("test").l2(tier).l2_max_bytes(1_000).build().unwrap();
    for unkept in [Loaded::value(vec![0; 2_000]), Loaded::value(vec![1]).do_not_store()] {
        cache.insert(&7, vec![7]).await.unwrap();
        assert_eq!(cache.get(&7).await, Lookup::Hit(Arc::new(vec![7])));
        cache.insert(&7, unkept).await.unwrap();
        assert_eq!(cache.get(&7).await, Lookup::Miss);
    }
}

async fn floor_told(cache: &Cache, version: Option<u64>) -> VersionFloor {
    let told = Arc::new(Mutex::new(None));
    let note = told.clone();
    let load = |cx: cache_aside::LoadContext<u64>| async move {
        *note.lock().unwrap() = Some(cx.version_floor());
        let loaded = Loaded::value(0);
        Ok::<_, io::Error>(match version {
            Some(version) => loaded.version(version),
            None => loaded,
        })
    };
    cache.get_or_load(&7, load).await.unwrap();
    let told = told.lock().unwrap().take();
    told.expect("it was a miss")
}

#[tokio::test(start_paused = true)]
async fn loads_are_told_the_version_that_was_invalidated_at() {
    let tier = InMemory::new();
    let [one, two] = two(&tier);
    let alone = || {
        let cache = CacheAside::builder("test").l1(Moka::entries(10)).clock(Clock::tokio());
        cache.build().unwrap()
    };
    for shared in [true, false] {
        // One that has just begun knows of no floors.
        let local = alone();
        let [writer, reader] = if shared { [&one, &two] } else { [&local, &local] };
        assert_eq!(floor_told(reader, None).await, VersionFloor::Unknown, "it has just begun");
        writer.invalidate(&7).await.unwrap();
        advance(61 * SECOND).await;
        assert_eq!(floor_told(reader, None).await, VersionFloor::None);
        for version in [5_u64, 4] {
            writer.invalidate_at(&7, version).await.unwrap();
        }
        let floor = VersionFloor::AtLeast(Version::from(5_u64));
        for old in [None, Some(4)] {
            assert_eq!(floor_told(reader, old).await, floor);
            assert_eq!(reader.get(&7).await, Lookup::Miss, "it is too old to be kept: {old:?}");
        }
        assert_eq!(floor_told(reader, Some(5)).await, floor);
        assert_eq!(reader.get(&7).await, Lookup::Hit(Arc::new(0)));
        assert!(!writer.insert_at(&7, 4_u64, 4).await.unwrap());
        assert_eq!(reader.get(&7).await, Lookup::Hit(Arc::new(0)));
        assert!(writer.insert_at(&7, 6_u64, 6).await.unwrap());
        assert_eq!(reader.get(&7).await, Lookup::Hit(Arc::new(6)));
        assert!(!reader.insert_at(&7, 5_u64, 5).await.unwrap());
        writer.invalidate(&7).await.unwrap();
        advance(61 * SECOND).await;
        assert_eq!(floor_told(reader, None).await, VersionFloor::None);
    }
    tier.set_fault(Some(Fault::Down));
    assert_eq!(floor_told(&two, None).await, VersionFloor::Unknown, "out of reach");
}

#[tokio::test(start_paused = true)]
async fn a_reservation_holds_between_processes() {
    let tier = InMemory::new();
    let [one, two] = two(&tier);
    one.insert(&7, 1).await.unwrap();
    let reservation = one.reserve(&7).await;
    assert_eq!(two.get(&7).await, Lookup::Hit(Arc::new(1)), "the live one stays");
    two.invalidate(&7).await.unwrap();
    assert!(!reservation.insert(2).await);
    let reservation = one.reserve(&7).await;
    assert!(!two.reserve(&7).await.insert(3).await, "one at a time");
    assert!(reservation.insert(4).await);
    assert_eq!(two.get(&7).await, Lookup::Hit(Arc::new(4)));
    // One that is dropped gives its lease back.
    drop(two.reserve(&7).await);
    settle().await;
    assert!(one.reserve(&7).await.insert(5).await);
    tier.set_fault(Some(Fault::Down));
    assert!(!one.reserve(&7).await.insert(6).await, "there is nowhere to keep it");
}

#[tokio::test(start_paused = true)]
async fn many_keys_are_asked_for_at_once() {
    let tier = InMemory::new();
    let ([one, two], keys) = (two_with_copies(&tier), (0..20).collect::<Vec<u64>>());
    let load = |batch: Batch<u64>| async move {
        Ok::<_, io::Error>(batch.into_iter().map(|key| (key, key)).collect::<Vec<_>>())
    };
    one.get_many(&keys[..10], load).await;
    let calls = tier.calls();
    let found = two.get_many(&keys, load).await;
    assert!(found.into_iter().zip(&keys).all(|(found, key)| *found.unwrap().unwrap() == *key));
    assert_eq!(tier.calls() - calls, 3, "one read, one lease, one fill");
    let calls = tier.calls();
    two.get_many(&keys, load).await;
    assert_eq!(tier.calls(), calls, "they are copies now");
    let report = one.warm(0..30, load).batch(7).run().await;
    assert_eq!((report.present, report.failed), (30, 0));
    assert_eq!(two.get(&29).await, Lookup::Hit(Arc::new(29)));
}
