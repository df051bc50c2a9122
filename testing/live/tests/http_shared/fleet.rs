//! Servers that share a Redis, each over connections of its own, before one origin.

use std::convert::Infallible;
use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use bytes::Bytes;
use cache_aside::RedisStore;
use cache_aside::http::{HttpCacheBuilder, HttpCacheLayer, Purge};
use http::{Request, Response, Uri};
use http_body_util::{BodyExt, Empty, Full};
use testbed::eventually;
use tokio::sync::Semaphore;
use tower::util::BoxCloneSyncService;
use tower::{Layer, ServiceExt, service_fn};

/// Of the fleets of these tests.
pub(crate) const BOUND: Duration = Duration::from_millis(600);

pub(crate) const GROUPED: &str = "cache-control: max-age=600 | cache-groups: \"g\"";

type Get = Request<Empty<Bytes>>;
pub(crate) type Answer = Response<Bytes>;
pub(crate) type Service = BoxCloneSyncService<Get, Answer, Infallible>;

pub(crate) struct Fleet {
    pub(crate) origin: Arc<Origin>,
    pub(crate) servers: Vec<Server>,
}

pub(crate) struct Server {
    pub(crate) service: Service,
    pub(crate) purge: Purge,
}

/// Its content is a version, which only grows.
pub(crate) struct Origin {
    pub(crate) version: AtomicU64,
    asked: AtomicUsize,
    fields: Mutex<&'static str>,
    /// How many answers may go out.
    gate: Mutex<Option<Arc<Semaphore>>>,
    pub(crate) length: AtomicUsize,
}

impl Fleet {
    /// Servers that reach Redis at these URLs.
    pub(crate) async fn new(urls: &[String]) -> Self {
        Self::with(urls, |builder| builder.staleness_bound(BOUND)).await
    }

    pub(crate) async fn with(
        urls: &[String],
        set: impl Fn(HttpCacheBuilder) -> HttpCacheBuilder,
    ) -> Self {
        let origin = Arc::new(Origin {
            version: AtomicU64::new(1),
            asked: AtomicUsize::new(0),
            fields: Mutex::new(GROUPED),
            gate: Mutex::new(None),
            length: AtomicUsize::new(0),
        });
        let mut fleet = Self { origin, servers: Vec::new() };
        for url in urls {
            fleet.add(url, &set);
        }
        fleet
    }

    pub(crate) fn add(
        &mut self,
        url: &str,
        set: impl Fn(HttpCacheBuilder) -> HttpCacheBuilder,
    ) {
        self.add_on(RedisStore::open(url).unwrap(), set);
    }

    pub(crate) fn add_on(
        &mut self,
        store: RedisStore,
        set: impl Fn(HttpCacheBuilder) -> HttpCacheBuilder,
    ) {
        let layer = set(HttpCacheLayer::builder(64 << 20).l2(store)).build().unwrap();
        let purge = layer.purge();
        let origin = Arc::clone(&self.origin);
        let service = layer.layer(service_fn(move |request: Get| {
            let origin = Arc::clone(&origin);
            async move { Ok::<_, Infallible>(origin.answer(&request).await) }
        }));
        let service = service.then(|answer: Result<Response<_>, _>| async move {
            let (parts, body) = answer?.into_parts();
            let body = body.collect().await.unwrap().to_bytes();
            Ok(Response::from_parts(parts, body))
        });
        self.servers.push(Server { service: BoxCloneSyncService::new(service), purge });
    }

    pub(crate) async fn get(&self, server: usize, path: &str) -> Answer {
        ask(self.servers[server].service.clone(), "GET", path).await
    }

    pub(crate) async fn version(&self, server: usize, path: &str) -> u64 {
        version(&self.get(server, path).await)
    }

    /// Has every server have it itself.
    pub(crate) async fn warm(&self, path: &str) {
        for server in 0..self.servers.len() {
            let has = || async {
                let status = self.get(server, path).await;
                let status = status.headers()["cache-status"].to_str().unwrap().to_owned();
                status.contains("hit") && !status.contains("shared")
            };
            eventually(Duration::from_secs(20), has).await;
        }
        self.asked();
    }

    /// How often the origin was asked since the last time that this was.
    pub(crate) fn asked(&self) -> usize {
        self.origin.asked.swap(0, Ordering::SeqCst)
    }

    pub(crate) fn change(&self) -> u64 {
        self.origin.version.fetch_add(1, Ordering::SeqCst) + 1
    }

    pub(crate) fn fields(&self, fields: &'static str) {
        *self.origin.fields.lock().unwrap() = fields;
    }

    /// Holds the origin's answers back until there are permits.
    pub(crate) fn hold(&self) -> Arc<Semaphore> {
        let gate = Arc::new(Semaphore::new(0));
        *self.origin.gate.lock().unwrap() = Some(Arc::clone(&gate));
        gate
    }

    /// Does not hold those that come from now on.
    pub(crate) fn go_on(&self) {
        *self.origin.gate.lock().unwrap() = None;
    }

    pub(crate) async fn is_asked(&self, times: usize) {
        let asked = || async { self.origin.asked.load(Ordering::SeqCst) >= times };
        eventually(Duration::from_secs(20), asked).await;
    }
}

pub(crate) async fn ask(service: Service, method: &str, path: &str) -> Answer {
    let request = Request::builder().method(method).uri(uri(path));
    service.oneshot(request.body(Empty::new()).unwrap()).await.unwrap()
}

pub(crate) async fn ask_for(service: Service, path: &str, language: &str) -> Answer {
    let request = Request::get(uri(path)).header("accept-language", language);
    service.oneshot(request.body(Empty::new()).unwrap()).await.unwrap()
}

pub(crate) fn uri(path: &str) -> Uri {
    format!("http://h{path}").parse().unwrap()
}

pub(crate) fn version(answer: &Answer) -> u64 {
    let text = String::from_utf8(answer.body().to_vec()).unwrap();
    text.trim_end().parse().unwrap_or_else(|_| panic!("{answer:?}"))
}

impl Origin {
    async fn answer(&self, request: &Get) -> Response<Full<Bytes>> {
        self.asked.fetch_add(1, Ordering::SeqCst);
        let version = self.version.load(Ordering::SeqCst);
        let fields = *self.fields.lock().unwrap();
        let gate = self.gate.lock().unwrap().clone();
        if let Some(gate) = gate {
            gate.acquire().await.unwrap().forget();
        }
        let tag = format!("\"{version}\"");
        let mut response = Response::builder().header("etag", &tag);
        for field in fields.split(" | ") {
            let (name, value) = field.split_once(": ").unwrap();
            response = response.header(name, value);
        }
        if request.headers().get("if-none-match").is_some_and(|asked| *asked == *tag) {
            return response.status(304).body(Full::default()).unwrap();
        }
        let length = self.length.load(Ordering::SeqCst);
        response.body(format!("{version:<length$}").into()).unwrap()
    }
}
