//! What a second tier that fails must not do to those who read and write.
#![allow(clippy::unwrap_used, reason = "a panic is how a test fails")]

mod support;

use std::io;
use std::sync::Arc;
use std::task::Poll;
use std::time::Duration;

use cache_aside::shared::{Fault, InMemory};
use cache_aside::{CacheAside, CacheBuilder, Clock, Codec, Lookup, Moka};
use support::{SECOND, Source, settle};
use tokio::time::{Instant, advance};

type Cache = CacheAside<u64, u64>;

fn on(tier: &InMemory) -> CacheBuilder<u64, u64> {
    CacheAside::builder("test").l2(tier.clone()).clock(Clock::tokio()).jitter(0.0)
}

async fn read(cache: &Cache, source: &Source) -> u64 {
    *cache.get_or_load(&7, |_| source.read()).await.unwrap().unwrap()
}

#[tokio::test(start_paused = true)]
async fn a_load_from_while_the_breaker_was_open_is_not_joined_after_it_has_closed() {
    let tier = InMemory::new();
    let [one, two] = [(); 2].map(|()| on(&tier).build().unwrap());
    let source = Source::new(1);
    tier.set_fault(Some(Fault::Down));
    for _ in 0..10 {
        read(&one, &source).await;
    }
    let (mut held, load) = source.held();
    let first = one.clone();
    let reader = tokio::spawn(async move { first.get_or_load(&7, |_| load).await });
    held.began().await;
    tier.set_fault(None);
    tokio::time::sleep(3 * SECOND).await;
    assert!(!one.explain(&7).await.bypassed, "it is asked again");
    source.set(2);
    two.invalidate(&7).await.unwrap();
    let (late, again) = (one.clone(), source.clone());
    let joiner = tokio::spawn(async move { late.get_or_load(&7, |_| again.read()).await });
    settle().await;
    held.answer();
    reader.await.unwrap().unwrap();
    assert_eq!(*joiner.await.unwrap().unwrap().unwrap(), 2);
}

#[tokio::test(start_paused = true)]
async fn a_copy_is_no_older_than_its_time_however_slow_the_load() {
    for fault in [Fault::Full, Fault::Down] {
        let tier = InMemory::new();
        let make = || on(&tier).l1(Moka::entries(10)).l1_ttl(5 * SECOND).build().unwrap();
        let [one, two] = [make(), make()];
        let source = Source::new(1);
        tier.set_fault(Some(fault));
        let (mut held, load) = source.held();
        let first = one.clone();
        let reader = tokio::spawn(async move { first.get_or_load(&7, |_| load).await });
        held.began().await;
        source.set(2);
        let acknowledged = two.invalidate(&7).await.is_ok();
        assert_eq!(acknowledged, fault == Fault::Full);
        advance(9 * SECOND).await;
        held.answer();
        reader.await.unwrap().unwrap();
        settle().await;
        assert_eq!(read(&one, &source).await, 2, "{fault:?}: invalidated 9 s ago");
    }
}

#[tokio::test(start_paused = true)]
async fn who_waits_for_a_load_that_fails_has_the_copy_too() {
    let tier = InMemory::new();
    let one = on(&tier).l1(Moka::entries(10)).l1_ttl(5 * SECOND).build().unwrap();
    let source = Source::new(1);
    assert_eq!(read(&one, &source).await, 1);
    advance(6 * SECOND).await;
    tier.set_fault(Some(Fault::Down));
    let (mut held, load) = source.held();
    let first = one.clone();
    let leader = tokio::spawn(async move { first.get_or_load(&7, |_| load).await });
    held.began().await;
    let (joins, again) = (one.clone(), source.clone());
    let joiner = tokio::spawn(async move { joins.get_or_load(&7, |_| again.read()).await });
    let joins = one.clone();
    let many = tokio::spawn(async move {
        let load = |_| async { Ok::<Vec<(u64, u64)>, _>(vec![]) as Result<_, io::Error> };
        joins.get_many(&[7], load).await.pop().unwrap()
    });
    settle().await;
    held.fail();
    assert_eq!(*leader.await.unwrap().unwrap().unwrap(), 1);
    assert_eq!(*joiner.await.unwrap().unwrap().unwrap(), 1);
    assert_eq!(*many.await.unwrap().unwrap().unwrap(), 1);
}

#[test]
fn recovery_survives_the_runtime_that_it_began_on() {
    let runtime =
        || tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    let tier = InMemory::new();
    let cache: Cache = CacheAside::builder("test").l2(tier.clone()).build().unwrap();
    let source = Source::new(1);
    tier.set_fault(Some(Fault::Down));
    let first = runtime();
    first.block_on(async {
        for _ in 0..10 {
            read(&cache, &source).await;
        }
    });
    drop(first);
    tier.set_fault(None);
    runtime().block_on(async {
        for _ in 0..50 {
            read(&cache, &source).await;
            tokio::time::sleep(Duration::from_millis(50)).await;
        }
        assert!(!cache.explain(&7).await.bypassed, "it works again");
    });
}

#[test]
fn what_is_owed_from_outside_a_runtime_is_paid_once_there_is_one() {
    let tier = InMemory::new();
    let one: Cache = CacheAside::builder("test").l2(tier.clone()).build().unwrap();
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    let source = Source::new(1);
    runtime.block_on(read(&one, &source));
    assert!(matches!(tokio_test::task::spawn(one.invalidate(&7)).poll(), Poll::Ready(Err(_))));
    runtime.block_on(async {
        for _ in 0..50 {
            read(&one, &source).await;
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
        assert!(!one.explain(&7).await.bypassed, "it is paid");
    });
}

struct Panics {
    encodes: bool,
}

type Boxed = Box<dyn std::error::Error + Send + Sync>;

impl Codec<u64> for Panics {
    fn id(&self) -> u8 {
        99
    }

    fn encode(&self, _: &u64, bytes: &mut Vec<u8>) -> Result<(), Boxed> {
        bytes.push(1);
        assert!(self.encodes, "as the test wants");
        Ok(())
    }

    fn decode(&self, _: &[u8]) -> Result<u64, Boxed> {
        panic!("as the test wants")
    }
}

#[tokio::test(start_paused = true)]
async fn a_codec_that_panics_fails_no_read() {
    for encodes in [false, true] {
        let cache: Cache = CacheAside::builder("test")
            .l2_with_codec(InMemory::new(), Panics { encodes })
            .clock(Clock::tokio())
            .build()
            .unwrap();
        let source = Source::new(1);
        for loads in 1..4 {
            let began = Instant::now();
            assert_eq!(read(&cache, &source).await, 1);
            assert_eq!(began.elapsed(), Duration::ZERO, "no lease is left behind");
            assert_eq!(source.loads(), loads);
        }
    }
}

#[tokio::test(start_paused = true)]
async fn callers_less_patient_than_the_tier_get_to_the_source() {
    let tier = InMemory::new();
    let (cache, source) = (on(&tier).build().unwrap(), Source::new(1));
    tier.set_fault(Some(Fault::Hangs));
    let mut answered = 0;
    for _ in 0..50 {
        let limit = Duration::from_millis(100);
        answered +=
            usize::from(tokio::time::timeout(limit, read(&cache, &source)).await.is_ok());
    }
    assert!(answered >= 40, "{answered} of 50");
}

#[tokio::test(start_paused = true)]
async fn a_clear_takes_the_leases() {
    let tier = InMemory::new();
    let [one, two] = [(); 2].map(|()| on(&tier).build().unwrap());
    let source = Source::new(1);
    let (mut held, load) = source.held();
    let reader = tokio::spawn(async move { one.get_or_load(&7, |_| load).await });
    held.began().await;
    two.clear().await.unwrap();
    let began = Instant::now();
    read(&two, &source).await;
    assert_eq!(began.elapsed(), Duration::ZERO);
    assert_eq!(two.get(&7).await, Lookup::Hit(Arc::new(1)));
    held.answer();
    reader.await.unwrap().unwrap();
}
