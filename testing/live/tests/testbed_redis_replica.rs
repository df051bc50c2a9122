//! The testbed's own Redis replicas: lag, cuts and failover.

#![allow(clippy::unwrap_used, reason = "the helpers of tests are tests")]
#![allow(clippy::disallowed_methods, reason = "wall time is what is measured here")]

use std::time::{Duration, Instant};

use testbed::Error;
use testbed::redis::{Redis, Replica};

const DEADLINE: Duration = Duration::from_secs(20);

async fn pair() -> (Redis, Replica) {
    let primary = Redis::start().await.unwrap();
    set(&primary, "k", "first").await;
    let replica = primary.replica().await.unwrap();
    (primary, replica)
}

async fn set(redis: &Redis, key: &str, value: &str) {
    redis.command(&["SET", key, value]).await.unwrap();
}

async fn get(redis: &Redis, key: &str) -> Option<String> {
    redis.command(&["GET", key]).await.unwrap().text().map(String::from)
}

#[tokio::test]
async fn a_replica_follows_and_refuses_writes() {
    let (primary, replica) = pair().await;
    assert_eq!(get(&replica, "k").await.as_deref(), Some("first"));
    set(&primary, "k", "second").await;
    replica.caught_up(DEADLINE).await.unwrap();
    assert_eq!(get(&replica, "k").await.as_deref(), Some("second"));
    let refused = replica.command(&["SET", "k", "mine"]).await.unwrap_err();
    assert!(refused.to_string().contains("READONLY"), "{refused:?}");

    replica.kill().await.unwrap();
    set(&primary, "k", "third").await;
    replica.restart().await.unwrap();
    replica.caught_up(DEADLINE).await.unwrap();
    assert_eq!(get(&replica, "k").await.as_deref(), Some("third"));
}

#[tokio::test]
async fn a_delayed_stream_makes_a_replica_lag() {
    let (primary, replica) = pair().await;
    replica.delay_stream(Duration::from_millis(300));
    let start = Instant::now();
    set(&primary, "k", "second").await;
    assert_eq!(get(&replica, "k").await.as_deref(), Some("first"));
    let late = replica.caught_up(Duration::ZERO).await.unwrap_err();
    assert!(matches!(late, Error::Late { .. }), "{late:?}");
    replica.caught_up(DEADLINE).await.unwrap();
    assert!(start.elapsed() >= Duration::from_millis(300), "{:?}", start.elapsed());
    assert_eq!(get(&replica, "k").await.as_deref(), Some("second"));
}

#[tokio::test]
async fn a_cut_replica_answers_with_what_it_has_until_it_is_mended() {
    let (primary, replica) = pair().await;
    replica.cut_stream().await.unwrap();
    set(&primary, "k", "second").await;
    assert_eq!(get(&replica, "k").await.as_deref(), Some("first"));
    assert!(replica.caught_up(Duration::from_millis(50)).await.is_err());

    replica.mend_stream().await.unwrap();
    replica.caught_up(DEADLINE).await.unwrap();
    assert_eq!(get(&replica, "k").await.as_deref(), Some("second"));
}

#[tokio::test]
async fn a_promoted_replica_never_heard_of_what_was_cut_off() {
    let (primary, replica) = pair().await;
    replica.cut_stream().await.unwrap();
    set(&primary, "k", "lost").await;
    primary.kill().await.unwrap();
    assert!(matches!(replica.caught_up(DEADLINE).await, Err(Error::Io { .. })));

    replica.promote().await.unwrap();
    assert_eq!(get(&replica, "k").await.as_deref(), Some("first"));
    set(&replica, "k", "its own").await;
    assert_eq!(replica.info("role").await.unwrap().as_deref(), Some("master"));

    // For good: not the empty old primary's again after a restart.
    primary.restart().await.unwrap();
    replica.save().await.unwrap();
    replica.restart_from_snapshot().await.unwrap();
    assert_eq!(replica.info("role").await.unwrap().as_deref(), Some("master"));
    assert_eq!(get(&replica, "k").await.as_deref(), Some("its own"));
    let next = replica.replica().await.unwrap();
    assert_eq!(get(&next, "k").await.as_deref(), Some("its own"));
}

#[tokio::test]
async fn a_replica_has_its_primarys_settings() {
    let primary = Redis::builder()
        .setting("requirepass", "sesame")
        .setting("hz", "50")
        .start()
        .await
        .unwrap();
    set(&primary, "k", "v").await;
    let replica = primary.replica().setting("replica-priority", "7").await.unwrap();
    replica.caught_up(DEADLINE).await.unwrap();
    assert_eq!(get(&replica, "k").await.as_deref(), Some("v"));
    let settings = replica.command(&["CONFIG", "GET", "hz"]).await.unwrap();
    assert_eq!(settings.items()[1].integer(), Some(50));
    assert_eq!(replica.info("slave_priority").await.unwrap().as_deref(), Some("7"));
}
