//! An origin, and servers before it that share a store.

use std::convert::Infallible;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};
use std::time::{Duration, SystemTime};

use bytes::Bytes;
use cache_aside::Clock;
use cache_aside::http::{HttpCacheBuilder, HttpCacheLayer, Purge};
use cache_aside::shared::InMemory;
use http::{Request, Response, Uri};
use http_body_util::{BodyExt, Empty, Full};
use tower::util::BoxCloneSyncService;
use tower::{Layer, ServiceExt, service_fn};

pub(crate) const MILLI: Duration = Duration::from_millis(1);
pub(crate) const SECOND: Duration = Duration::from_secs(1);

/// An origin whose content is a version, and servers before it that share `store`.
pub(crate) struct Fleet {
    pub(crate) store: InMemory,
    pub(crate) origin: Arc<Origin>,
    pub(crate) servers: Vec<Server>,
}

pub(crate) struct Origin {
    version: AtomicUsize,
    asked: AtomicUsize,
    /// Fields of its answers, and how long it takes.
    manner: Mutex<(&'static str, Duration)>,
    pub(crate) length: AtomicUsize,
    pub(crate) conditional: AtomicUsize,
}

pub(crate) struct Server {
    pub(crate) service: BoxCloneSyncService<Get, Answer, Infallible>,
    pub(crate) purge: Purge,
}

pub(crate) type Get = Request<Empty<Bytes>>;
pub(crate) type Answer = Response<Bytes>;

pub(crate) const FRESH: &str = "cache-control: max-age=600";

impl Fleet {
    pub(crate) async fn new(servers: usize) -> Self {
        Self::with(servers, |builder| builder).await
    }

    pub(crate) async fn with(
        servers: usize,
        set: impl Fn(HttpCacheBuilder) -> HttpCacheBuilder,
    ) -> Self {
        let origin = Arc::new(Origin {
            version: AtomicUsize::new(1),
            asked: AtomicUsize::new(0),
            manner: Mutex::new((FRESH, MILLI)),
            length: AtomicUsize::new(0),
            conditional: AtomicUsize::new(0),
        });
        let store = InMemory::new();
        let mut fleet = Self { store, origin, servers: Vec::new() };
        for _ in 0..servers {
            let server = fleet.server(&set);
            fleet.servers.push(server);
        }
        tokio::time::sleep(10 * MILLI).await;
        fleet
    }

    pub(crate) fn server(&self, set: impl Fn(HttpCacheBuilder) -> HttpCacheBuilder) -> Server {
        let builder = HttpCacheLayer::builder(16 << 20)
            .clock(Clock::tokio(), SystemTime::UNIX_EPOCH + 10_000 * SECOND)
            .l2(self.store.clone());
        let layer = set(builder).build().unwrap();
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
        Server { service: BoxCloneSyncService::new(service), purge }
    }

    pub(crate) async fn get(&self, server: usize, path: &str) -> Answer {
        self.ask(server, "GET", path, &[]).await
    }

    pub(crate) async fn ask(
        &self,
        server: usize,
        method: &str,
        path: &str,
        fields: &[(&str, &str)],
    ) -> Answer {
        let mut request = Request::builder().method(method).uri(format!("http://h{path}"));
        for (name, value) in fields {
            request = request.header(*name, *value);
        }
        let request = request.body(Empty::new()).unwrap();
        self.servers[server].service.clone().oneshot(request).await.unwrap()
    }

    /// The version that a server shows.
    pub(crate) async fn version(&self, server: usize, path: &str) -> usize {
        version(&self.get(server, path).await)
    }

    pub(crate) fn asked(&self) -> usize {
        self.origin.asked.swap(0, Ordering::SeqCst)
    }

    pub(crate) fn change(&self) -> usize {
        self.origin.version.fetch_add(1, Ordering::SeqCst) + 1
    }

    pub(crate) fn manner(&self, fields: &'static str, takes: Duration) {
        *self.origin.manner.lock().unwrap() = (fields, takes);
    }
}

pub(crate) fn version(answer: &Answer) -> usize {
    let text = String::from_utf8(answer.body().to_vec()).unwrap();
    text.trim_end().parse().unwrap_or_else(|_| panic!("{answer:?}"))
}

pub(crate) fn status(answer: &Answer) -> &str {
    answer.headers()["cache-status"].to_str().unwrap()
}

impl Origin {
    async fn answer(&self, request: &Get) -> Response<Full<Bytes>> {
        self.asked.fetch_add(1, Ordering::SeqCst);
        let version = self.version.load(Ordering::SeqCst);
        let (fields, takes) = *self.manner.lock().unwrap();
        tokio::time::sleep(takes).await;
        let tag = format!("\"{version}\"");
        let mut response = Response::builder().header("etag", &tag);
        for field in fields.split(" | ") {
            let (name, value) = field.split_once(": ").unwrap();
            response = response.header(name, value);
        }
        if request.headers().get("if-none-match").is_some_and(|asked| *asked == *tag) {
            self.conditional.fetch_add(1, Ordering::SeqCst);
            return response.status(304).body(Full::default()).unwrap();
        }
        let length = self.length.load(Ordering::SeqCst);
        response.body(format!("{version:<length$}").into()).unwrap()
    }
}

pub(crate) fn uri(path: &str) -> Uri {
    format!("http://h{path}").parse().unwrap()
}
