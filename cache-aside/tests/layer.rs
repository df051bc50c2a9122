//! The layer against mock services.
#![allow(clippy::unwrap_used, reason = "a panic is how a test fails")]

mod support;

use std::convert::Infallible;
use std::io;
use std::sync::Arc;
use std::task::Poll;

use cache_aside::{CacheAside, CacheAsideLayer, Error, Loaded, Lookup};
use support::{SECOND, Source, builder, settle};
use tokio_test::{assert_pending, assert_ready_ok, task};
use tower::limit::ConcurrencyLimitLayer;
use tower::{Layer, Service, ServiceBuilder, ServiceExt};
use tower_test::{assert_request_eq, mock};

fn cache() -> CacheAside<u64, u64> {
    builder().ttl(60 * SECOND).stale_while_revalidate(30 * SECOND).build().unwrap()
}

#[tokio::test(start_paused = true)]
async fn asks_once_then_answers_from_the_cache() {
    let layer = CacheAsideLayer::new(cache(), |n: &u64| Some(*n));
    let (mut service, mut inner) = mock::spawn_layer::<u64, u64, _>(layer);
    assert_ready_ok!(service.poll_ready());
    let mut first = task::spawn(service.call(7));
    assert_pending!(first.poll());
    settle().await;
    assert_request_eq!(inner, 7).send_response(49);
    assert_eq!(first.await.unwrap(), Some(Arc::new(49)));

    assert_ready_ok!(service.poll_ready());
    assert!(matches!(task::spawn(service.call(7)).poll(), Poll::Ready(Ok(Some(_)))));
    assert_pending!(inner.poll_request());

    // Stale: answered at once, renewed behind.
    tokio::time::advance(61 * SECOND).await;
    assert!(matches!(task::spawn(service.call(7)).poll(), Poll::Ready(Ok(Some(_)))));
    settle().await;
    assert_request_eq!(inner, 7).send_response(50);
    settle().await;
    assert_eq!(service.call(7).await.unwrap(), Some(Arc::new(50)));
}

#[tokio::test(start_paused = true)]
async fn readies_every_service_that_it_calls() {
    // ConcurrencyLimit panics when a clone that was never polled is called.
    let source = Source::new(1);
    let service = ServiceBuilder::new()
        .layer(CacheAsideLayer::new(cache(), |n: &u64| (*n < 100).then_some(*n)))
        .layer(ConcurrencyLimitLayer::new(1))
        .service_fn(move |_: u64| source.read());
    for key in [1, 2, 1, 100, 100] {
        let (a, b) = tokio::join!(service.clone().oneshot(key), service.clone().oneshot(key));
        assert_eq!((a.unwrap(), b.unwrap()), (Some(Arc::new(1)), Some(Arc::new(1))));
    }
    // Renewals, too.
    tokio::time::advance(61 * SECOND).await;
    let (a, b) = tokio::join!(service.clone().oneshot(1), service.clone().oneshot(2));
    assert_eq!((a.unwrap(), b.unwrap()), (Some(Arc::new(1)), Some(Arc::new(1))));
    settle().await;
}

#[tokio::test(start_paused = true)]
async fn a_hit_does_not_queue_behind_a_busy_inner_service() {
    let cache = cache();
    cache.insert(&1, 11).await.unwrap();
    let never = ServiceBuilder::new()
        .layer(ConcurrencyLimitLayer::new(0))
        .service_fn(|_: u64| async { Ok::<u64, Infallible>(0) });
    let mut service = CacheAsideLayer::new(cache, |n: &u64| Some(*n)).layer(never);
    assert_eq!(service.ready().await.unwrap().call(1).await.unwrap(), Some(Arc::new(11)));
    // What must wait for it ends by the deadline.
    let blocked = service.ready().await.unwrap().call(2).await;
    assert!(blocked.unwrap_err().is_timeout());
}

#[tokio::test(start_paused = true)]
async fn a_request_without_a_key_passes_by() {
    let (cache, source) = (cache(), Source::new(1));
    let inner = {
        let source = source.clone();
        tower::service_fn(move |_: u64| source.read())
    };
    let mut service = CacheAsideLayer::new(cache.clone(), |_: &u64| None).layer(inner);
    for loads in 1..=3 {
        assert_eq!(service.call(7).await.unwrap(), Some(Arc::new(1)));
        assert_eq!(source.loads(), loads);
    }
    assert_eq!(cache.get(&7).await, Lookup::Miss);
}

#[tokio::test(start_paused = true)]
async fn passes_the_inner_error_to_all() {
    let source = Source::new(1);
    let inner = {
        let source = source.clone();
        tower::service_fn(move |_: u64| source.fail())
    };
    let service =
        CacheAsideLayer::new(cache(), |n: &u64| (*n < 100).then_some(*n)).layer(inner);
    let (a, b) = tokio::join!(service.clone().oneshot(7), service.clone().oneshot(7));
    for error in [a.unwrap_err(), b.unwrap_err(), service.oneshot(100).await.unwrap_err()] {
        assert_eq!(error.load_error::<io::Error>().unwrap().to_string(), "the source is down");
    }
    assert_eq!(source.loads(), 2);
}

#[tokio::test(start_paused = true)]
async fn an_inner_service_that_cannot_be_ready_is_an_error() {
    let layer = CacheAsideLayer::new(cache(), |n: &u64| Some(*n));
    let (mut service, mut inner) = mock::spawn_layer::<u64, u64, _>(layer);
    inner.send_error("broken");
    assert!(matches!(service.call(7).await, Err(Error::Load(_))));
}

#[tokio::test(start_paused = true)]
async fn a_dropped_response_leaves_the_load_under_way() {
    let (cache, source) = (cache(), Source::new(1));
    let (mut held, load) = source.held();
    let load = Arc::new(std::sync::Mutex::new(Some(load)));
    let inner = tower::service_fn(move |_: u64| load.lock().unwrap().take().expect("one load"));
    let mut service = CacheAsideLayer::new(cache.clone(), |n: &u64| Some(*n)).layer(inner);
    let mut response = task::spawn(service.call(7));
    assert_pending!(response.poll());
    held.began().await;
    drop(response);
    held.answer();
    settle().await;
    assert_eq!(cache.get(&7).await, Lookup::Hit(Arc::new(1)));
}

#[test]
fn types_are_send_sync_and_clone() {
    fn check<T: Clone + Send + Sync>(_: &T) {}
    fn send<T: Send>(_: T) {}
    let cache = cache();
    check(&cache);
    let layer = CacheAsideLayer::new(cache.clone(), |n: &u64| Some(*n));
    check(&layer);
    let mut service = layer.layer(tower::service_fn(|n: u64| async move {
        Ok::<_, Infallible>(Loaded::value(n))
    }));
    check(&service);
    send(service.call(1));
    send(cache.get_or_load(&1, |_| async { Ok::<_, Infallible>(1) }));
    send(cache.get_many(&[1], |_| async { Ok::<_, Infallible>([(1, 1)]) }));
    send(cache.warm([1], |_| async { Ok::<_, Infallible>([(1, 1)]) }).run());
    send(cache.invalidate(&1));
}
