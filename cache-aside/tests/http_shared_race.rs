//! Reads against purges, on several servers and threads: no read shows what was purged before
//! it began. On the server that purged that is so at once, on others after the bound.
#![cfg(feature = "http")]
#![allow(clippy::unwrap_used, reason = "a panic is how a test fails")]

use std::convert::Infallible;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::Duration;

use bytes::Bytes;
use cache_aside::http::{HttpCacheLayer, Purge};
use cache_aside::shared::{
    Acquired, Announcement, Ask, Fill, Filled, Floor, InMemory, Lease, News, Position, Reading,
    SharedError, SharedNews, SharedStore,
};
use http::{Request, Response, Uri};
use http_body_util::{BodyExt, Empty, Full};
use tower::util::BoxCloneSyncService;
use tower::{Layer, ServiceExt, service_fn};

const SERVERS: usize = 3;
const URIS: usize = 3;
const BOUND: Duration = Duration::from_millis(60);

type Get = Request<Empty<Bytes>>;
type Service = BoxCloneSyncService<Get, u64, Infallible>;

/// An [`InMemory`] that takes its time, by chance, before and after it does something.
#[derive(Clone)]
struct Slow(InMemory);

async fn slowly<T>(done: impl Future<Output = T>) -> T {
    pause().await;
    let answer = done.await;
    pause().await;
    answer
}

async fn pause() {
    if fastrand::bool() {
        tokio::task::yield_now().await;
    } else {
        tokio::time::sleep(Duration::from_micros(fastrand::u64(..2_000))).await;
    }
}

impl SharedStore for Slow {
    fn bind(&mut self, cache: &str) {
        self.0.bind(cache);
    }

    async fn read(&self, keys: &[&[u8]]) -> Result<Vec<Reading>, SharedError> {
        slowly(self.0.read(keys)).await
    }

    async fn acquire(&self, asks: &[Ask<'_>]) -> Result<Vec<Acquired>, SharedError> {
        slowly(self.0.acquire(asks)).await
    }

    async fn fill(&self, fills: &[Fill<'_>]) -> Result<Vec<Filled>, SharedError> {
        slowly(self.0.fill(fills)).await
    }

    async fn release(&self, leases: &[(&[u8], &Lease)]) -> Result<(), SharedError> {
        slowly(self.0.release(leases)).await
    }

    async fn invalidate(&self, key: &[u8], floor: Option<&Floor>) -> Result<(), SharedError> {
        slowly(self.0.invalidate(key, floor)).await
    }

    async fn displace(
        &self,
        key: &[u8],
        lease: Duration,
        floor: Option<&Floor>,
    ) -> Result<Option<Lease>, SharedError> {
        slowly(self.0.displace(key, lease, floor)).await
    }

    async fn clear(&self, partition: usize, floors: bool) -> Result<(), SharedError> {
        slowly(self.0.clear(partition, floors)).await
    }

    async fn probe(&self, domain: usize) -> Result<(), SharedError> {
        slowly(self.0.probe(domain)).await
    }
}

impl SharedNews for Slow {
    async fn announce(&self, what: &Announcement<'_>) -> Result<Position, SharedError> {
        slowly(self.0.announce(what)).await
    }

    async fn news(&self, after: Option<&Position>) -> Result<News, SharedError> {
        slowly(self.0.news(after)).await
    }

    async fn end_life(&self) -> Result<(), SharedError> {
        slowly(self.0.end_life()).await
    }
}

struct World {
    version: AtomicU64,
    /// What reads must show, on each server and of each URI.
    due: [[AtomicU64; URIS]; SERVERS],
    over: AtomicBool,
}

fn uri(n: usize) -> Uri {
    format!("http://h/a/{n}").parse().unwrap()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn no_read_gets_what_any_server_purged_before_it() {
    let store = InMemory::new();
    let world = Arc::new(World {
        version: AtomicU64::new(1),
        due: [const { [const { AtomicU64::new(0) }; URIS] }; SERVERS],
        over: AtomicBool::new(false),
    });
    let servers: Vec<(Service, Purge)> = (0..SERVERS)
        .map(|_| {
            let layer = HttpCacheLayer::builder(1 << 20)
                .l2(Slow(store.clone()))
                .staleness_bound(BOUND)
                .lease_wait(Duration::from_millis(20))
                .build()
                .unwrap();
            let purge = layer.purge();
            let world = Arc::clone(&world);
            let service = layer.layer(service_fn(move |_: Get| {
                let world = Arc::clone(&world);
                async move {
                    let version = world.version.load(Ordering::SeqCst);
                    pause().await;
                    Ok::<_, Infallible>(
                        Response::builder()
                            .header("cache-control", "max-age=600")
                            .header("cache-groups", "\"g\"")
                            .header("vary", "accept-language")
                            .body(Full::<Bytes>::from(version.to_string()))
                            .unwrap(),
                    )
                }
            }));
            let service = service.then(|answer: Result<Response<_>, _>| async move {
                let bytes = answer?.into_body().collect().await.unwrap().to_bytes();
                Ok(std::str::from_utf8(&bytes).unwrap().parse().unwrap())
            });
            (BoxCloneSyncService::new(service), purge)
        })
        .collect();
    let mut tasks = tokio::task::JoinSet::new();
    for n in 0..4 * SERVERS {
        let (server, world) = (n % SERVERS, Arc::clone(&world));
        let service = servers[server].0.clone();
        tasks.spawn(async move {
            let mut reads = 0_u64;
            while !world.over.load(Ordering::Relaxed) {
                let n = fastrand::usize(..URIS);
                let due = world.due[server][n].load(Ordering::SeqCst);
                let language = fastrand::choice(["de", "en", "fr"]).unwrap();
                let request = Request::get(uri(n)).header("accept-language", language);
                let request = request.body(Empty::new()).unwrap();
                let shown = service.clone().oneshot(request).await.unwrap();
                assert!(shown >= due, "{shown} on {server}, where {due} was due");
                reads += 1;
                tokio::task::yield_now().await;
            }
            reads
        });
    }
    for (server, (_, purge)) in servers.iter().enumerate() {
        let (purge, world) = (purge.clone(), Arc::clone(&world));
        tasks.spawn(async move {
            while !world.over.load(Ordering::Relaxed) {
                let n = fastrand::usize(..URIS);
                let version = world.version.fetch_add(1, Ordering::SeqCst) + 1;
                let waits = fastrand::bool();
                let purge = if waits { purge.clone() } else { purge.at_once() };
                let reached = match fastrand::u8(..5) {
                    0 | 1 => purge.uri(&uri(n)).await.map(|()| n..n + 1),
                    2 => purge.prefix(&"http://h/a".parse().unwrap()).await.map(|()| 0..URIS),
                    3 => purge.group(&uri(0), "g").await.map(|()| 0..URIS),
                    _ => purge.all().await.map(|()| 0..URIS),
                };
                for n in reached.unwrap() {
                    for (other, due) in world.due.iter().enumerate() {
                        if waits || other == server {
                            due[n].fetch_max(version, Ordering::SeqCst);
                        }
                    }
                }
                pause().await;
            }
            0
        });
    }
    tokio::time::sleep(Duration::from_secs(3)).await;
    world.over.store(true, Ordering::Relaxed);
    let mut reads = 0;
    while let Some(done) = tasks.join_next().await {
        reads += done.unwrap();
    }
    assert!(reads > 500, "{reads} reads");
}
