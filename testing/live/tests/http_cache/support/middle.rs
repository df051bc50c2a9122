use std::io;
use std::net::SocketAddr;
use std::time::{Duration, SystemTime};

use cache_aside::Clock;
use cache_aside::http::{HttpCacheBuilder, HttpCacheLayer, Purge};
use http::{Request, Response};
use http_body_util::BodyExt;
use http_body_util::combinators::BoxBody;
use hyper::body::{Bytes, Incoming};
use hyper_util::rt::TokioIo;
use hyper_util::service::TowerToHyperService;
use testbed::eventually;
use tokio::net::{TcpListener, TcpStream};
use tower::{Layer, service_fn};

use super::wire::{Answer, Origin};

/// Sun, 06 Nov 1994 08:49:37 GMT: when each test begins.
const NOW: Duration = Duration::from_secs(784_111_777);

/// The layer around a client of an origin, in a server.
pub(crate) struct Bed {
    pub(crate) address: SocketAddr,
    pub(crate) origin: Origin,
    pub(crate) clock: Clock,
    pub(crate) purge: Purge,
    layer: HttpCacheLayer,
}

impl Bed {
    pub(crate) async fn start() -> Self {
        Self::with(|builder| builder).await
    }

    pub(crate) async fn with(
        settings: impl FnOnce(HttpCacheBuilder) -> HttpCacheBuilder,
    ) -> Self {
        let origin = Origin::start().await;
        let clock = Clock::by_hand();
        let builder = HttpCacheLayer::builder(64 << 20)
            .name("edge")
            .clock(clock.clone(), SystemTime::UNIX_EPOCH + NOW);
        let layer = settings(builder).build().unwrap();
        let purge = layer.purge();
        let address = origin.address;
        let service = layer.layer(service_fn(move |request: Request<Incoming>| async move {
            forward(address, request.map(BodyExt::boxed)).await
        }));

        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        tokio::spawn(async move {
            loop {
                let (socket, _) = listener.accept().await.unwrap();
                let service = TowerToHyperService::new(service.clone());
                tokio::spawn(async move {
                    // That a connection is cut is for its client to see.
                    let _ = hyper::server::conn::http1::Builder::new()
                        .serve_connection(TokioIo::new(socket), service)
                        .await;
                });
            }
        });
        Self { address, origin, clock, purge, layer }
    }

    /// Until so many requests wait for another's.
    pub(crate) async fn waiting(&self, requests: usize) {
        let waiting = || async { self.layer.waiting() >= requests };
        eventually(Duration::from_secs(10), waiting).await;
    }

    pub(crate) async fn get(&self, path: &str, fields: &str) -> Answer {
        self.ask("GET", path, fields).await
    }

    pub(crate) async fn ask(&self, method: &str, path: &str, fields: &str) -> Answer {
        Answer::to(self.address, &request(method, path, fields)).await
    }
}

pub(crate) fn request(method: &str, path: &str, fields: &str) -> String {
    let host = if fields.to_ascii_lowercase().contains("host: ") && !fields.contains("-Host: ")
    {
        ""
    } else {
        "Host: h\r\n"
    };
    let fields = super::wire::lines(fields);
    let connection = if fields.contains("Connection: ") { "" } else { "Connection: close\r\n" };
    format!("{method} {path} HTTP/1.1\r\n{host}{connection}{fields}\r\n")
}

async fn forward(
    origin: SocketAddr,
    mut request: Request<BoxBody<Bytes, hyper::Error>>,
) -> io::Result<Response<Incoming>> {
    let socket = TcpStream::connect(origin).await?;
    let (mut sender, connection) = hyper::client::conn::http1::handshake(TokioIo::new(socket))
        .await
        .map_err(io::Error::other)?;
    tokio::spawn(connection);
    let path = request.uri().path_and_query().map_or("/", |path| path.as_str()).to_owned();
    *request.uri_mut() = path.parse().map_err(io::Error::other)?;
    sender.send_request(request).await.map_err(io::Error::other)
}
