//! The HTTP layer on several threads: nobody reads what was purged before they asked.
#![cfg(feature = "http")]
#![allow(clippy::unwrap_used, reason = "a panic is how a test fails")]

use std::convert::Infallible;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, AtomicUsize, Ordering};
use std::time::Duration;

use bytes::Bytes;
use cache_aside::http::HttpCacheLayer;
use http::{Method, Request, Response, Uri};
use http_body_util::{BodyExt, Empty, Full};
use tower::util::BoxCloneSyncService;
use tower::{Layer, ServiceExt, service_fn};

const READERS: usize = 6;
const ROUNDS: u64 = 400;
const PATIENCE: Duration = Duration::from_secs(30);

/// How a writer tells the cache that a page has changed.
#[derive(Clone, Copy, Debug)]
enum Change {
    Uri,
    Prefix,
    Group,
    Post,
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn no_read_gets_what_was_purged_before_it() {
    for change in [Change::Uri, Change::Prefix, Change::Group, Change::Post] {
        for fields in [
            "max-age=60",
            "max-age=60, stale-while-revalidate=60",
            "max-age=0, stale-while-revalidate=60",
        ] {
            race(change, fields).await;
        }
    }
}

async fn race(change: Change, fields: &'static str) {
    let page = Arc::new(AtomicU64::new(0));
    let calls = Arc::new(AtomicUsize::new(0));
    let layer = HttpCacheLayer::in_memory(1 << 20);
    let (read, counted) = (Arc::clone(&page), Arc::clone(&calls));
    let service = BoxCloneSyncService::new(layer.layer(service_fn(
        move |request: Request<Empty<Bytes>>| {
            let (read, counted) = (Arc::clone(&read), Arc::clone(&counted));
            async move {
                counted.fetch_add(1, Ordering::Relaxed);
                if request.method() == Method::POST {
                    read.fetch_add(1, Ordering::SeqCst);
                }
                let version = read.load(Ordering::SeqCst).to_string();
                // It is on its way for a while.
                for _ in 0..fastrand::u8(0..4) {
                    tokio::task::yield_now().await;
                }
                let response = Response::builder()
                    .header("cache-control", fields)
                    .header("etag", format!("\"{version}\""))
                    .header("cache-groups", "\"g\"");
                Ok::<_, Infallible>(response.body(Full::<Bytes>::from(version)).unwrap())
            }
        },
    )));
    let uri = || Uri::from_static("http://h/a/b");
    let (purged, done) = (Arc::new(AtomicU64::new(0)), Arc::new(AtomicBool::new(false)));
    let hits = Arc::new(AtomicUsize::new(0));
    let mut readers = tokio::task::JoinSet::new();
    for _ in 0..READERS {
        let (service, purged, done) = (service.clone(), Arc::clone(&purged), Arc::clone(&done));
        let hits = Arc::clone(&hits);
        readers.spawn(async move {
            while !done.load(Ordering::SeqCst) {
                let floor = purged.load(Ordering::SeqCst);
                let request = Request::get(uri()).body(Empty::new()).unwrap();
                let answer = service.clone().oneshot(request).await.unwrap();
                let status = answer.headers()["cache-status"].to_str().unwrap().to_owned();
                let body = answer.into_body().collect().await.unwrap().to_bytes();
                let version: u64 = std::str::from_utf8(&body).unwrap().parse().unwrap();
                assert!(
                    version >= floor,
                    "{change:?}, {fields}: {version} after {floor} was purged: {status}"
                );
                hits.fetch_add(usize::from(status.contains("; hit")), Ordering::SeqCst);
                tokio::task::yield_now().await;
            }
        });
    }
    // Until something was read from the store, too: on a busy machine the readers may have had
    // no turn between two purges.
    let (began, mut rounds) = (tokio::time::Instant::now(), 0);
    while rounds < ROUNDS || hits.load(Ordering::SeqCst) == 0 {
        rounds += 1;
        assert!(began.elapsed() < PATIENCE, "{change:?}, {fields}: it never hits");
        let version = if matches!(change, Change::Post) {
            page.load(Ordering::SeqCst) + 1
        } else {
            page.fetch_add(1, Ordering::SeqCst) + 1
        };
        match change {
            Change::Uri => layer.purge().uri(&uri()).await.unwrap(),
            Change::Prefix => {
                layer.purge().prefix(&Uri::from_static("http://h/a")).await.unwrap()
            }
            Change::Group => layer.purge().group(&uri(), "g").await.unwrap(),
            Change::Post => {
                let request = Request::post(uri()).body(Empty::new()).unwrap();
                drop(service.clone().oneshot(request).await.unwrap());
            }
        }
        purged.store(version, Ordering::SeqCst);
        for _ in 0..fastrand::u32(0..400) {
            tokio::task::yield_now().await;
        }
    }
    done.store(true, Ordering::SeqCst);
    while let Some(read) =
        tokio::time::timeout(PATIENCE, readers.join_next()).await.expect("nobody is stranded")
    {
        read.unwrap();
    }
    assert!(calls.load(Ordering::Relaxed) > 0);
}
