//! TTLs, stale windows, early refresh and negative entries, on paused time.
#![allow(clippy::unwrap_used, reason = "a panic is how a test fails")]

mod support;

use std::io;
use std::sync::Arc;

use cache_aside::{CacheAside, Clock, Loaded, Lookup, Moka, State};
use support::{SECOND, Source, builder, settle};
use tokio::time::{advance, sleep};

async fn read(cache: &CacheAside<u64, u64>, source: &Source) -> u64 {
    *cache.get_or_load(&7, |_| source.read()).await.unwrap().unwrap()
}

#[tokio::test(start_paused = true)]
async fn a_value_lives_for_its_ttl() {
    let (cache, source) = (builder().ttl(60 * SECOND).build().unwrap(), Source::new(1));
    read(&cache, &source).await;
    advance(59 * SECOND).await;
    read(&cache, &source).await;
    assert_eq!(source.loads(), 1);
    advance(SECOND).await;
    assert_eq!(cache.get(&7).await, Lookup::Miss);
    read(&cache, &source).await;
    assert_eq!(source.loads(), 2);
}

/// What was written while a load ran may not be in its value.
#[tokio::test(start_paused = true)]
async fn a_ttl_counts_from_the_start_of_the_load() {
    let (cache, source) = (builder().ttl(60 * SECOND).build().unwrap(), Source::new(1));
    let slow = source.read();
    let load = cache.get_or_load(&7, |_| async move {
        sleep(5 * SECOND).await;
        slow.await
    });
    load.await.unwrap();
    assert_eq!(cache.explain(&7).await.fresh_for, Some(55 * SECOND));
}

#[tokio::test(start_paused = true)]
async fn a_loader_can_set_the_ttl() {
    let (cache, source) = (builder().ttl(60 * SECOND).build().unwrap(), Source::new(1));
    let load = |n| async move { Ok::<_, io::Error>(Loaded::value(1).ttl(n * SECOND)) };
    cache.get_or_load(&7, |_| load(3)).await.unwrap();
    advance(3 * SECOND).await;
    assert_eq!(cache.get(&7).await, Lookup::Miss);
    cache.get_or_load(&7, |_| load(0)).await.unwrap();
    assert_eq!(cache.get(&7).await, Lookup::Miss);
    assert_eq!(read(&cache, &source).await, 1);
}

#[tokio::test(start_paused = true)]
async fn jitter_spreads_expiry_and_never_extends_it() {
    let cache: CacheAside<u64, u64> = CacheAside::builder("test")
        .l1(Moka::entries(10_000))
        .clock(Clock::tokio())
        .ttl(100 * SECOND)
        .jitter(0.5)
        .build()
        .unwrap();
    for key in 0..1_000 {
        cache.insert(&key, key).await.unwrap();
    }
    let mut lives = Vec::new();
    for key in 0..1_000 {
        lives.push(cache.explain(&key).await.fresh_for.unwrap());
    }
    assert!(lives.iter().all(|life| (50 * SECOND..=100 * SECOND).contains(life)));
    let early = lives.iter().filter(|life| **life < 75 * SECOND).count();
    assert!((350..650).contains(&early), "{early} of 1,000 in the lower half");
}

#[tokio::test(start_paused = true)]
async fn stale_is_served_while_one_load_renews_it() {
    let cache = builder().ttl(60 * SECOND).stale_while_revalidate(30 * SECOND).build().unwrap();
    let source = Source::new(1);
    read(&cache, &source).await;
    source.set(2);
    advance(61 * SECOND).await;
    assert_eq!(cache.get(&7).await, Lookup::Hit(Arc::new(1)));
    let (mut held, load) = source.held();
    assert_eq!(cache.get_or_load(&7, |_| load).await.unwrap(), Some(Arc::new(1)));
    held.began().await;
    for _ in 0..20 {
        assert_eq!(read(&cache, &source).await, 1);
    }
    settle().await;
    assert_eq!(source.loads(), 2, "more than one load renews it");
    held.answer();
    settle().await;
    assert_eq!(read(&cache, &source).await, 2);

    advance(90 * SECOND).await; // past the window: everybody waits
    source.set(3);
    assert_eq!(read(&cache, &source).await, 3);
}

#[tokio::test(start_paused = true)]
async fn a_renewal_that_fails_leaves_the_stale_value() {
    let cache = builder().ttl(60 * SECOND).stale_while_revalidate(30 * SECOND).build().unwrap();
    let source = Source::new(1);
    read(&cache, &source).await;
    advance(61 * SECOND).await;
    for loads in 2..5 {
        assert_eq!(cache.get_or_load(&7, |_| source.fail()).await.unwrap(), Some(Arc::new(1)));
        settle().await;
        assert_eq!(source.loads(), loads);
    }
}

#[tokio::test(start_paused = true)]
async fn a_renewal_not_to_be_stored_ends_the_stale_value() {
    let cache = builder().ttl(60 * SECOND).stale_while_revalidate(30 * SECOND).build().unwrap();
    let source = Source::new(1);
    read(&cache, &source).await;
    advance(61 * SECOND).await;
    let load = |_| async { Ok::<_, io::Error>(Loaded::value(2).do_not_store()) };
    assert_eq!(cache.get_or_load(&7, load).await.unwrap(), Some(Arc::new(1)));
    settle().await;
    assert_eq!(cache.get(&7).await, Lookup::Miss);
}

#[tokio::test(start_paused = true)]
async fn stale_stands_in_for_an_error_up_to_the_cap() {
    let cache = builder().ttl(60 * SECOND).stale_if_error(600 * SECOND).build().unwrap();
    let source = Source::new(1);
    read(&cache, &source).await;
    advance(61 * SECOND).await;
    assert_eq!(cache.explain(&7).await.state, State::StaleIfError);
    assert_eq!(cache.get(&7).await, Lookup::Miss);
    assert_eq!(cache.get_or_load(&7, |_| source.fail()).await.unwrap(), Some(Arc::new(1)));
    let many = cache.get_many(&[7, 8], |_| async { Err::<[(u64, u64); 0], _>("down") }).await;
    assert_eq!(many[0].as_ref().unwrap(), &Some(Arc::new(1)));
    many[1].as_ref().unwrap_err();
    // A source that answers is believed.
    source.set(2);
    assert_eq!(read(&cache, &source).await, 2);

    advance(659 * SECOND).await;
    assert_eq!(cache.get_or_load(&7, |_| source.fail()).await.unwrap(), Some(Arc::new(2)));
    advance(SECOND).await;
    cache.get_or_load(&7, |_| source.fail()).await.unwrap_err();
}

/// It is judged when it is served, not when the load began.
#[tokio::test(start_paused = true)]
async fn stale_does_not_outlive_its_cap_while_a_load_hangs() {
    let cache = builder().ttl(60 * SECOND).stale_if_error(5 * SECOND).build().unwrap();
    let source = Source::new(1);
    read(&cache, &source).await;
    advance(61 * SECOND).await;
    let hanging = |_| std::future::pending::<Result<u64, io::Error>>();
    assert!(cache.get_or_load(&7, hanging).await.unwrap_err().is_timeout());
}

#[tokio::test(start_paused = true)]
async fn costly_entries_are_renewed_before_they_expire() {
    // Once in some three thousand lives chance comes too late, which is no fault.
    fastrand::seed(7);
    let cache = builder().ttl(100 * SECOND).early_refresh(1.0).build().unwrap();
    let source = Source::new(1);
    let slow = || {
        let load = source.read();
        async move {
            sleep(2 * SECOND).await;
            load.await
        }
    };
    let mut served = 0;
    cache.get_or_load(&7, |_| slow()).await.unwrap();
    // Ten reads a second for ten lives: none of them waits.
    for _ in 0..10_000 {
        let before = tokio::time::Instant::now();
        cache.get_or_load(&7, |_| slow()).await.unwrap();
        served += u32::from(before.elapsed().is_zero());
        sleep(SECOND / 10).await;
    }
    assert_eq!(served, 10_000);
    assert!((11..=14).contains(&source.loads()), "{} loads", source.loads());
}

#[tokio::test(start_paused = true)]
async fn an_absence_is_kept_for_the_negative_ttl() {
    let cache =
        builder().negative_ttl(5 * SECOND).stale_if_error(600 * SECOND).build().unwrap();
    let absent = |_| async { Ok::<_, io::Error>(None::<u64>) };
    let broken = |_| async { Err::<u64, _>(io::Error::other("down")) };
    assert_eq!(cache.get_or_load(&7, absent).await.unwrap(), None);
    assert_eq!(cache.get_or_load(&7, broken).await.unwrap(), None);
    assert_eq!(cache.get(&7).await, Lookup::Absent);
    assert!(cache.explain(&7).await.negative);
    advance(5 * SECOND).await;
    // An absence is not served stale.
    cache.get_or_load(&7, broken).await.unwrap_err();

    // The row is created: its writer invalidates.
    assert_eq!(cache.get_or_load(&7, absent).await.unwrap(), None);
    cache.invalidate(&7).await.unwrap();
    assert_eq!(read(&cache, &Source::new(3)).await, 3);
}

#[tokio::test(start_paused = true)]
async fn an_absence_is_not_kept_by_default() {
    let cache = builder().build().unwrap();
    let absent = |_| async { Ok::<_, io::Error>(None::<u64>) };
    assert_eq!(cache.get_or_load(&7, absent).await.unwrap(), None);
    assert_eq!(cache.get(&7).await, Lookup::Miss);
    // An absence that is news ends the value that was there.
    cache.insert(&7, 1).await.unwrap();
    let short = builder().ttl(SECOND).stale_while_revalidate(9 * SECOND).build().unwrap();
    short.insert(&7, 1).await.unwrap();
    advance(2 * SECOND).await;
    assert_eq!(short.get_or_load(&7, absent).await.unwrap(), Some(Arc::new(1)));
    settle().await;
    assert_eq!(short.get(&7).await, Lookup::Miss);
}

#[tokio::test(start_paused = true)]
async fn an_explanation_says_what_a_read_would_do() {
    let cache: CacheAside<String, u64> = CacheAside::builder("user")
        .l1(Moka::entries(10))
        .clock(Clock::tokio())
        .jitter(0.0)
        .ttl(60 * SECOND)
        .stale_while_revalidate(30 * SECOND)
        .build()
        .unwrap();
    let key = "ada\u{0}".to_owned();
    let says = async |cache: &CacheAside<String, u64>| cache.explain(&key).await.to_string();
    assert_eq!(
        says(&cache).await,
        r#"user "ada\x00\xff\x00\x00": a miss, nothing is cached; never served when older than 90.0s"#
    );
    cache.insert(&key, 1).await.unwrap();
    advance(SECOND).await;
    let said = says(&cache).await;
    assert!(said.contains("a hit, loaded 1.0s ago, fresh for 59.0s"), "{said}");
    advance(60 * SECOND).await;
    let said = says(&cache).await;
    assert!(said.contains("a hit, stale while it is renewed"), "{said}");
    advance(30 * SECOND).await;
    assert_eq!(cache.explain(&key).await.state, State::Expired);
    cache.invalidate(&key).await.unwrap();
    assert_eq!(cache.explain(&key).await.state, State::Missing);
}

#[tokio::test(start_paused = true)]
async fn an_explanation_bounds_the_entry_that_is_there() {
    let cache = builder()
        .ttl(10 * SECOND)
        .negative_ttl(200 * SECOND)
        .stale_if_error(30 * SECOND)
        .build()
        .unwrap();
    assert_eq!(cache.explain(&7).await.bound, 40 * SECOND);
    cache.insert(&7, Loaded::absent()).await.unwrap();
    assert_eq!(cache.explain(&7).await.bound, 200 * SECOND);
    cache.insert(&7, Loaded::value(1).ttl(3_600 * SECOND)).await.unwrap();
    assert_eq!(cache.explain(&7).await.bound, 3_630 * SECOND);
}
