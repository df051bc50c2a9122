//! The tower service, without a server.
#![allow(clippy::unwrap_used, reason = "a panic is how a test fails")]
#![cfg(feature = "postgres")]

use std::convert::Infallible;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use shard_router::{
    Error, KeyType, Router, ServiceError, ShardName, ShardService, SlotMap, Topology,
};
use tower::limit::ConcurrencyLimitLayer;
use tower::{Layer, Service, ServiceExt, service_fn};

fn router() -> Router {
    let topology = Topology::new(SlotMap::even(["a", "b"]).unwrap(), [KeyType::Int]).unwrap();
    let topology = topology.shard("a", "host=x").unwrap().shard("b", "host=x").unwrap();
    Router::builder(topology).build().unwrap()
}

fn user_on(router: &Router, shard: &str) -> i64 {
    (0..).find(|user: &i64| router.shard_of(user).unwrap().as_str() == shard).unwrap()
}

/// The limit panics if a clone is called that nobody has readied. A shard that is full holds up
/// its own requests, and no others.
#[tokio::test(start_paused = true)]
async fn a_busy_shard_holds_up_only_itself() {
    let router = router();
    let made = Arc::new(AtomicUsize::new(0));
    let count = Arc::clone(&made);
    let mut service = ShardService::new(
        router.clone(),
        |user: &i64| *user,
        move |shard: &ShardName| {
            count.fetch_add(1, Ordering::Relaxed);
            let slow = shard.as_str() == "a";
            ConcurrencyLimitLayer::new(1).layer(service_fn(move |user: i64| async move {
                if slow {
                    tokio::time::sleep(Duration::from_secs(60)).await;
                }
                Ok::<_, Infallible>(user)
            }))
        },
    );
    let (slow, fast) = (user_on(&router, "a"), user_on(&router, "b"));
    let first = tokio::spawn(service.ready().await.unwrap().call(slow));
    let second = tokio::spawn(service.ready().await.unwrap().call(slow));
    tokio::task::yield_now().await;
    let began = tokio::time::Instant::now();
    for _ in 0..10 {
        let answer = service.ready().await.unwrap().call(fast).await;
        assert_eq!(answer.unwrap(), fast);
    }
    assert_eq!(began.elapsed(), Duration::ZERO);
    assert_eq!(first.await.unwrap().unwrap(), slow);
    assert_eq!(second.await.unwrap().unwrap(), slow);
    assert_eq!(began.elapsed(), Duration::from_secs(120), "the second waited for the first");
    assert_eq!(made.load(Ordering::Relaxed), 2, "a service for each shard");
}

#[tokio::test]
async fn a_request_without_a_shard_is_an_error() {
    let key = |text: &String| text.clone();
    let service = ShardService::new(router(), key, |_: &ShardName| {
        service_fn(|text: String| async move { Ok::<_, Infallible>(text) })
    });
    let error = service.oneshot("x".to_owned()).await.unwrap_err();
    assert!(matches!(error, ServiceError::Placement(Error::KeyType { .. })), "{error}");
}
