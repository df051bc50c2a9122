//! Settings that make no sense are refused, with the reason.
#![allow(clippy::unwrap_used, reason = "a panic is how a test fails")]

use std::time::Duration;

use cache_aside::shared::InMemory;
use cache_aside::{BuildError, CacheAside, CacheBuilder, Moka};

fn build(
    set: impl FnOnce(CacheBuilder<u64, u64>) -> CacheBuilder<u64, u64>,
) -> Option<BuildError> {
    set(CacheAside::builder("test").l1(Moka::entries(10))).build().err()
}

fn seconds(n: u64) -> Duration {
    Duration::from_secs(n)
}

#[track_caller]
fn refused(error: Option<BuildError>, setting: &str, reason: &str) {
    let error = error.expect("it was built");
    assert_eq!(error.setting(), setting);
    assert!(error.to_string().contains(reason), "{error}");
}

#[test]
fn defaults_and_extremes_are_accepted() {
    assert_eq!(build(|b| b), None);
    assert_eq!(build(|b| b.jitter(0.0).ttl(Duration::from_nanos(1))), None);
    assert_eq!(build(|b| b.jitter(0.999).early_refresh(0.1)), None);
    assert_eq!(
        build(|b| b.stale_while_revalidate(seconds(5)).stale_if_error(seconds(6))),
        None
    );
}

#[test]
fn a_cache_needs_a_store_and_a_name() {
    let none = CacheAside::<u64, u64>::builder("test").build().err();
    refused(none, "l1", "Moka::entries");
    let empty = CacheAside::<u64, u64>::builder("test").l1(Moka::entries(0)).build().err();
    refused(empty, "l1", "room for no entries");
    for name in ["", "a{b", "a\n"] {
        let error = CacheAside::<u64, u64>::builder(name).l1(Moka::entries(10)).build().err();
        refused(error, "builder", "control characters");
    }
}

#[test]
fn durations_of_nothing_or_forever_are_refused() {
    refused(build(|b| b.ttl(Duration::ZERO)), "ttl", "zero");
    refused(build(|b| b.negative_ttl(Duration::ZERO)), "negative_ttl", "zero");
    refused(build(|b| b.load_timeout(Duration::ZERO)), "load_timeout", "zero");
    refused(build(|b| b.ttl(Duration::MAX)), "ttl", "a hundred years");
    refused(build(|b| b.stale_if_error(Duration::MAX)), "stale_if_error", "a hundred years");
    refused(build(|b| b.load_timeout(Duration::MAX)), "load_timeout", "a hundred years");
}

#[test]
fn shares_and_factors_have_a_range() {
    for jitter in [-0.1, 1.0, 2.0, f64::NAN, f64::INFINITY] {
        refused(build(|b| b.jitter(jitter)), "jitter", "is not a share");
    }
    for beta in [-1.0, 0.0, f64::NAN, f64::INFINITY] {
        refused(build(|b| b.early_refresh(beta)), "early_refresh", "above 0 and finite");
    }
}

#[test]
fn settings_that_contradict_each_other_are_refused() {
    let error = build(|b| b.stale_while_revalidate(seconds(60)).stale_if_error(seconds(30)));
    refused(error, "stale_if_error", "30s is within stale_while_revalidate (60s)");
    let error = build(|b| b.ttl(seconds(5)).error_ttl(seconds(6)));
    refused(error, "error_ttl", "6s is longer than the TTL of values (5s)");
}

#[test]
fn two_tiers_need_a_word_on_copies() {
    let both =
        || CacheAside::<u64, u64>::builder("test").l1(Moka::entries(10)).l2(InMemory::new());
    refused(both().build().err(), "l1_ttl", "how long you accept that");
    refused(both().l1_ttl(Duration::ZERO).build().err(), "l1_ttl", "zero");
    assert!(both().l1_ttl(seconds(1)).build().is_ok());
    refused(build(|b| b.l1_ttl(seconds(1))), "l1_ttl", "both `l1` and `l2`");
    let alone = || CacheAside::<u64, u64>::builder("test").l2(InMemory::new());
    refused(alone().l1_ttl(seconds(1)).build().err(), "l1_ttl", "both `l1` and `l2`");
    assert!(alone().build().is_ok());
    refused(alone().l2_timeout(Duration::ZERO).build().err(), "l2_timeout", "zero");
    refused(alone().floor_ttl(Duration::ZERO).build().err(), "floor_ttl", "zero");
    refused(alone().lease_wait(Duration::MAX).build().err(), "lease_wait", "a hundred years");
}

#[cfg(feature = "redis")]
#[test]
fn addresses_of_redis_are_checked_before_they_are_used() {
    use cache_aside::RedisStore;

    assert!(RedisStore::open("redis://127.0.0.1:1/3").is_ok());
    refused(RedisStore::open("postgres://localhost").err(), "l2", "address of Redis");
    refused(RedisStore::cluster::<[&str; 0]>([]).err(), "l2", "at least one node");
    let open = || RedisStore::open("redis://user:hunter2@127.0.0.1/").unwrap();
    for prefix in ["", "a{b", "}"] {
        refused(open().prefix(prefix).err(), "prefix", "braces");
    }
    for partitions in [0, 16_385] {
        refused(open().partitions(partitions).err(), "partitions", "1 to 16,384");
    }
    let shown = format!("{:?}", open());
    assert!(!shown.contains("hunter2"), "{shown}");
    let error = RedisStore::open("redis://user:hunter2@127.0.0.1:port/").unwrap_err();
    assert!(!format!("{error} {error:?}").contains("hunter2"), "{error}");
}
