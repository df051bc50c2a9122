//! What is counted.
#![allow(clippy::unwrap_used, reason = "a panic is how a test fails")]
#![cfg(feature = "metrics")]

mod support;

use std::collections::BTreeMap;
use std::io;

use cache_aside::shared::{Fault, InMemory};
use cache_aside::{Batch, CacheAside, Clock, Loaded};
use metrics_util::debugging::{DebugValue, DebuggingRecorder, Snapshotter};
use support::{SECOND, Source, builder, settle};
use tokio::time::advance;

/// Every series that is not zero, by name and labels.
fn series(snapshotter: &Snapshotter) -> BTreeMap<String, u64> {
    let snapshot = snapshotter.snapshot().into_vec();
    let series = snapshot.into_iter().filter_map(|(key, _, description, value)| {
        assert!(description.is_some(), "{key:?} is not described");
        let count = match value {
            DebugValue::Counter(n) => n,
            DebugValue::Histogram(samples) => samples.len() as u64,
            DebugValue::Gauge(n) => n.0 as u64,
        };
        let mut labels = key.key().labels().map(|label| label.value().to_owned());
        assert_eq!(labels.next().as_deref(), Some("test"));
        let name = key.key().name().trim_start_matches("cache_aside_").to_owned();
        let name = labels.fold(name, |name, label| format!("{name} {label}"));
        (count > 0).then_some((name, count))
    });
    series.collect()
}

#[tokio::test(start_paused = true)]
async fn everything_is_counted_once() {
    let recorder = DebuggingRecorder::new();
    let snapshotter = recorder.snapshotter();
    let cache = metrics::with_local_recorder(&recorder, || {
        let builder = builder().ttl(60 * SECOND).negative_ttl(5 * SECOND);
        let builder = builder.stale_while_revalidate(10 * SECOND).stale_if_error(60 * SECOND);
        builder.load_timeout(3 * SECOND).build().unwrap()
    });
    let source = Source::new(1);
    let read = || cache.get_or_load(&7, |_| source.read());

    let (a, b) = tokio::join!(read(), read()); // a miss and a join
    assert_eq!(a.unwrap(), b.unwrap());
    read().await.unwrap(); // a hit
    advance(61 * SECOND).await;
    read().await.unwrap(); // stale, renewed
    settle().await;
    advance(71 * SECOND).await;
    cache.get_or_load(&7, |_| source.fail()).await.unwrap(); // stale on an error
    let hang = || std::future::pending::<Result<u64, io::Error>>();
    cache.get_or_load(&8, |_| hang()).await.unwrap_err();
    let panicking =
        |_| async { if true { panic!("as the test wants") } else { Ok::<u64, io::Error>(1) } };
    cache.get_or_load(&8, panicking).await.unwrap_err();
    let absent = |_| async { Ok::<_, io::Error>(None::<u64>) };
    cache.get_or_load(&9, absent).await.unwrap();
    cache.get_or_load(&9, absent).await.unwrap(); // negative
    cache.get(&10).await; // a miss without a load
    let unkept = |_| async { Ok::<_, io::Error>(Loaded::value(1).do_not_store()) };
    cache.get_or_load(&11, unkept).await.unwrap();
    let (mut held, load) = source.held();
    let reader = cache.clone();
    let late = tokio::spawn(async move { reader.get_or_load(&12, |_| load).await });
    held.began().await;
    cache.invalidate(&12).await.unwrap();
    held.answer();
    late.await.unwrap().unwrap(); // overtaken
    cache.clear().await.unwrap();

    let expected = [
        ("requests_total hit", 1),
        ("requests_total negative", 1),
        ("requests_total stale", 1),
        ("requests_total miss", 8),
        ("requests_total joined", 1),
        ("stale_on_error_total", 1),
        ("loads_total ok", 5),
        ("loads_total error", 1),
        ("loads_total timeout", 1),
        ("loads_total panic", 1),
        ("load_duration_seconds", 8),
        ("renewals_total stale", 1),
        ("fills_total stored", 3),
        ("fills_total not_kept", 1),
        ("fills_total overtaken", 1),
        ("invalidations_total key", 1),
        ("invalidations_total all", 1),
    ];
    let expected = expected.map(|(name, count)| (name.to_owned(), count)).into_iter().collect();
    assert_eq!(series(&snapshotter), expected);
}

#[tokio::test(start_paused = true)]
async fn a_panic_of_the_closure_is_a_load_that_ended() {
    let recorder = DebuggingRecorder::new();
    let snapshotter = recorder.snapshotter();
    let cache = metrics::with_local_recorder(&recorder, || builder().build().unwrap());
    let broken =
        |_| -> std::future::Ready<Result<u64, io::Error>> { panic!("as the test wants") };
    cache.get_or_load(&7, broken).await.unwrap_err();
    assert_eq!(series(&snapshotter).get("loads_total panic"), Some(&1));
}

#[tokio::test(start_paused = true)]
async fn a_batch_that_renews_says_why() {
    let recorder = DebuggingRecorder::new();
    let snapshotter = recorder.snapshotter();
    let cache = metrics::with_local_recorder(&recorder, || {
        let builder = builder().ttl(60 * SECOND).early_refresh(1e12);
        builder.stale_while_revalidate(10 * SECOND).build().unwrap()
    });
    let rows = |batch: Batch<u64>| async move {
        tokio::time::sleep(SECOND).await;
        Ok::<_, io::Error>(batch.into_iter().map(|key| (key, key)).collect::<Vec<_>>())
    };
    cache.get_many(&[7], rows).await;
    cache.get_many(&[7], rows).await;
    assert_eq!(series(&snapshotter).get("renewals_total early"), Some(&1));
    assert_eq!(series(&snapshotter).get("renewals_total stale"), None);

    tokio::time::sleep(2 * SECOND).await; // the renewal has ended
    advance(61 * SECOND).await;
    cache.get_many(&[7], rows).await;
    assert_eq!(series(&snapshotter).get("renewals_total stale"), Some(&1));
}

#[tokio::test(start_paused = true)]
async fn an_absence_that_is_renewed_early_is_an_absence() {
    let recorder = DebuggingRecorder::new();
    let snapshotter = recorder.snapshotter();
    let cache = metrics::with_local_recorder(&recorder, || {
        builder().negative_ttl(5 * SECOND).early_refresh(1e12).build().unwrap()
    });
    let absent = |_| async {
        tokio::time::sleep(SECOND).await;
        Ok::<_, io::Error>(None::<u64>)
    };
    cache.get_or_load(&7, absent).await.unwrap();
    cache.get_or_load(&7, absent).await.unwrap();
    let series = series(&snapshotter);
    assert_eq!(series.get("renewals_total early"), Some(&1));
    assert_eq!(series.get("requests_total negative"), Some(&1));
}

#[tokio::test(start_paused = true)]
async fn the_second_tier_is_counted() {
    let recorder = DebuggingRecorder::new();
    let snapshotter = recorder.snapshotter();
    let tier = InMemory::new();
    let [one, two] = metrics::with_local_recorder(&recorder, || {
        [(); 2].map(|()| {
            let cache = CacheAside::<u64, u64>::builder("test").l2(tier.clone());
            cache.clock(Clock::tokio()).build().unwrap()
        })
    });
    let source = Source::new(1);
    one.get_or_load(&7, |_| source.read()).await.unwrap(); // a miss, stored
    two.get_or_load(&7, |_| source.read()).await.unwrap(); // a hit
    two.clear().await.unwrap();
    one.get_or_load(&7, |_| source.read()).await.unwrap(); // cleared, stored
    let (mut held, load) = source.held();
    let loader = one.clone();
    let late = tokio::spawn(async move { loader.get_or_load(&8, |_| load).await });
    held.began().await;
    two.invalidate(&8).await.unwrap();
    held.answer();
    late.await.unwrap().unwrap(); // a miss whose lease is lost
    tier.set_fault(Some(Fault::Down));
    assert!(one.invalidate(&7).await.is_err());
    for _ in 0..4 {
        two.get_or_load(&9, |_| source.read()).await.unwrap(); // errors
    }
    one.get_or_load(&7, |_| source.read()).await.unwrap(); // it is owed: bypassed

    let got = series(&snapshotter);
    for (name, count) in [
        ("requests_total shared", 1),
        ("shared_reads_total hit", 1),
        ("shared_reads_total cleared", 1),
        ("shared_reads_total error", 4),
        ("shared_reads_total bypass", 1),
        ("shared_fills_total stored", 2),
        ("shared_fills_total lease_lost", 1),
        ("shared_errors_total unreachable", 5),
        ("shared_unacknowledged_total", 1),
        ("shared_owed_invalidations", 1),
    ] {
        assert_eq!(got.get(name), Some(&count), "{name}: {got:#?}");
    }
    tier.set_fault(None);
    tokio::time::sleep(5 * SECOND).await;
    assert_eq!(series(&snapshotter).get("shared_owed_invalidations"), None);
}

#[cfg(feature = "http")]
#[tokio::test(start_paused = true)]
async fn the_http_layer_counts_each_request_once() {
    use std::convert::Infallible;

    use bytes::Bytes;
    use cache_aside::http::HttpCacheLayer;
    use http::{Request, Response};
    use http_body_util::{BodyExt, Empty, Full};
    use tower::{Layer, ServiceExt, service_fn};

    let recorder = DebuggingRecorder::new();
    let snapshotter = recorder.snapshotter();
    let layer = metrics::with_local_recorder(&recorder, || {
        HttpCacheLayer::builder(1 << 20).name("test").build().unwrap()
    });
    let service = layer.layer(service_fn(|_: Request<Empty<Bytes>>| async {
        tokio::task::yield_now().await;
        let response = Response::builder().header("cache-control", "max-age=60");
        Ok::<_, Infallible>(response.body(Full::<Bytes>::from("one")).unwrap())
    }));
    let ask = |method: &str| {
        let request = Request::builder().method(method).uri("http://h/");
        let answer = service.clone().oneshot(request.body(Empty::new()).unwrap());
        async { drop(answer.await.unwrap().into_body().collect().await.unwrap()) }
    };
    tokio::join!(ask("GET"), ask("GET"));
    ask("GET").await;
    ask("HEAD").await;
    ask("OPTIONS").await;
    ask("POST").await;
    let expected = [
        ("fills_total stored", 1),
        ("invalidations_total key", 1),
        ("requests_total bypass", 2),
        ("requests_total hit", 2),
        ("requests_total joined", 1),
        ("requests_total miss", 1),
    ];
    let expected = expected.map(|(name, count)| (name.to_owned(), count));
    assert_eq!(series(&snapshotter), BTreeMap::from(expected));
}

#[cfg(feature = "http")]
#[tokio::test(start_paused = true)]
async fn what_the_http_cache_lets_go_is_counted() {
    use std::convert::Infallible;
    use std::future::pending;

    use bytes::Bytes;
    use http::{Request, Response};
    use http_body_util::{BodyExt, Empty, Full};
    use tower::{Layer, ServiceExt, service_fn};

    let recorder = DebuggingRecorder::new();
    let snapshotter = recorder.snapshotter();
    let layer = metrics::with_local_recorder(&recorder, || {
        let builder = cache_aside::http::HttpCacheLayer::builder(1 << 20).name("test");
        builder.variants(3).unattended(1).build().unwrap()
    });
    let service = layer.layer(service_fn(|request: Request<Empty<Bytes>>| async move {
        if request.uri().path() == "/endless" {
            pending::<()>().await;
        }
        let says = [("cache-control", "max-age=60"), ("vary", "a")];
        let answer = says.iter().fold(Response::builder(), |all, (n, v)| all.header(*n, *v));
        Ok::<_, Infallible>(answer.body(Full::<Bytes>::from("one")).unwrap())
    }));
    for n in 0..10 {
        let request = Request::get("http://h/").header("a", n).body(Empty::new()).unwrap();
        let answer = service.clone().oneshot(request).await.unwrap();
        answer.into_body().collect().await.unwrap();
    }
    for n in 0..3 {
        let uri = format!("http://h/endless?{n}");
        let request = Request::get(uri).body(Empty::new()).unwrap();
        let asked = tokio::time::timeout(SECOND, service.clone().oneshot(request));
        assert!(asked.await.is_err());
    }
    settle().await;
    let counted = series(&snapshotter);
    assert_eq!(counted["http_variants_evicted_total"], 7, "{counted:?}");
    assert_eq!(counted["http_given_up_total"], 2, "{counted:?}");
}
