//! Takes requests in, and brings them to the cache in one form.

use std::convert::Infallible;
use std::io;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use cache_aside::http::{Body, HttpCache, HttpCacheLayer};
use http::header::{
    CONTENT_TYPE, EXPECT, FORWARDED, HOST, HeaderName, HeaderValue, MAX_FORWARDS, UPGRADE,
};
use http::uri::Authority;
use http::{HeaderMap, Method, Request, Response, StatusCode, Version};
use http_body_util::{Either, Full};
use hyper::body::Incoming;
use hyper::service::service_fn;
use hyper_util::rt::{TokioExecutor, TokioIo, TokioTimer};
use hyper_util::server::conn::auto;
use hyper_util::server::graceful::GracefulShutdown;
use tokio::net::{TcpListener, TcpStream};
use tokio::signal::unix::{SignalKind, signal};
use tokio::time::{sleep, timeout};
use tower::{Layer, Service};
use tracing::warn;

use crate::address::{Address, at};
use crate::origin::{Origin, OriginError};
use crate::patient::Patient;

/// How long requests in flight may take once the proxy was asked to stop.
const DRAIN: Duration = Duration::from_secs(10);

type Answer = Either<Body<Patient<Incoming>>, Full<Bytes>>;

const FORWARDED_FOR: HeaderName = HeaderName::from_static("x-forwarded-for");
static LEFT_OUT: [HeaderName; 6] = [
    FORWARDED,
    HeaderName::from_static("x-forwarded-host"),
    FORWARDED_FOR,
    HeaderName::from_static("x-forwarded-proto"),
    UPGRADE,
    EXPECT,
];

/// The cache before the origin, for requests as clients send them.
#[derive(Debug)]
pub(crate) struct Edge {
    cache: HttpCache<Origin>,
    origin: Address,
    preserve_host: bool,
}

impl Edge {
    pub(crate) fn new(
        cache: HttpCacheLayer,
        origin: Origin,
        address: Address,
        preserve_host: bool,
    ) -> Self {
        Self { cache: cache.layer(origin), origin: address, preserve_host }
    }

    async fn answer(
        &self,
        mut request: Request<Incoming>,
        client: HeaderValue,
    ) -> Response<Answer> {
        if matches!(*request.method(), Method::CONNECT | Method::TRACE) {
            // No tunnel, and nothing of what the origin was sent.
            return said(StatusCode::NOT_IMPLEMENTED, "this proxy does not do that");
        }
        match may_go_on(&mut request) {
            Ok(true) => {}
            Ok(false) => return said(StatusCode::OK, "this is as far as it was to go"),
            Err(status) => return said(status, "Max-Forwards is no number"),
        }
        if let Err(status) = self.addressed(&mut request) {
            return said(status, "the host is missing, or wrong, or there are two");
        }
        tidy(request.headers_mut(), client);
        match (&self.cache).call(request).await {
            Ok(mut answer) => {
                // Between this proxy and its client, whatever the origin speaks.
                *answer.version_mut() = Version::HTTP_11;
                answer.map(Either::Left)
            }
            Err(OriginError::Late(_)) => {
                said(StatusCode::GATEWAY_TIMEOUT, "the origin has not answered in time")
            }
            Err(OriginError::Failed(_) | OriginError::Switched) => {
                said(StatusCode::BAD_GATEWAY, "the origin cannot be reached, or broke off")
            }
        }
    }

    /// One host, in the URI and the field: the origin's, or the one that the client asks for.
    fn addressed(&self, request: &mut Request<Incoming>) -> Result<(), StatusCode> {
        if request.uri().scheme().is_none() && request.uri().authority().is_some() {
            // A host for a path: that is for CONNECT (RFC 9112, section 3.2.3).
            return Err(StatusCode::BAD_REQUEST);
        }
        let uri = if self.preserve_host {
            let authority = asked(request)?;
            let host = HeaderValue::from_str(authority.as_str());
            request.headers_mut().insert(HOST, host.expect("an authority is plain"));
            at(&authority, request.uri().path_and_query())
        } else {
            request.headers_mut().insert(HOST, self.origin.host.clone());
            self.origin.uri(request.uri().path_and_query())
        };
        *request.uri_mut() = uri;
        Ok(())
    }
}

/// Whether a request may go one further, which is counted (RFC 9110, section 7.6.2).
fn may_go_on<B>(request: &mut Request<B>) -> Result<bool, StatusCode> {
    if *request.method() != Method::OPTIONS {
        return Ok(true);
    }
    let Some(left) = request.headers().get(MAX_FORWARDS) else { return Ok(true) };
    let left = left.to_str().ok().and_then(|left| left.parse::<u64>().ok());
    let left = left.ok_or(StatusCode::BAD_REQUEST)?;
    if left > 0 {
        request.headers_mut().insert(MAX_FORWARDS, (left - 1).into());
    }
    Ok(left > 0)
}

/// The host that a client asks for (RFC 9112, section 3.2): that of the URI before that of the
/// field.
fn asked(request: &Request<Incoming>) -> Result<Authority, StatusCode> {
    let mut fields = request.headers().get_all(HOST).iter();
    let field = fields.next();
    if fields.next().is_some() {
        return Err(StatusCode::BAD_REQUEST);
    }
    let authority = match request.uri().authority() {
        Some(authority) => authority.clone(),
        None => {
            let host = field.and_then(|host| host.to_str().ok());
            host.and_then(|host| host.parse().ok()).ok_or(StatusCode::BAD_REQUEST)?
        }
    };
    let plain = !authority.as_str().contains('@') && !authority.host().is_empty();
    if plain { Ok(authority) } else { Err(StatusCode::BAD_REQUEST) }
}

/// Leaves out what a client says of the way that it has come, which nobody before us has
/// checked, and what this proxy does not do: upgrades. The client is told to go on, as it may
/// expect, by hyper, as soon as the content is read.
fn tidy(headers: &mut HeaderMap, client: HeaderValue) {
    // Most have none of them, which is seen sooner than each is looked for.
    if headers.keys().any(|name| LEFT_OUT.contains(name)) {
        for name in &LEFT_OUT {
            headers.remove(name);
        }
    }
    headers.insert(FORWARDED_FOR, client);
}

fn said(status: StatusCode, text: &'static str) -> Response<Answer> {
    let mut answer = Response::new(Either::Right(Full::from(format!("{text}\n"))));
    *answer.status_mut() = status;
    let plain = HeaderValue::from_static("text/plain; charset=utf-8");
    answer.headers_mut().insert(CONTENT_TYPE, plain);
    answer
}

/// Serves until `stop`, and then what is in flight.
pub(crate) async fn serve(listener: TcpListener, edge: Edge, stop: impl Future<Output = ()>) {
    let edge = Arc::new(edge);
    let connections = GracefulShutdown::new();
    let server = server();
    tokio::pin!(stop);
    loop {
        let (stream, peer) = tokio::select! {
            accepted = accept(&listener) => accepted,
            () = &mut stop => break,
        };
        let edge = Arc::clone(&edge);
        let client = HeaderValue::from_str(&peer.ip().to_string());
        let client = client.expect("an address is plain");
        let service = service_fn(move |request| {
            let (edge, client) = (Arc::clone(&edge), client.clone());
            async move { Ok::<_, Infallible>(edge.answer(request, client).await) }
        });
        let connection = server.serve_connection(TokioIo::new(stream), service).into_owned();
        let connection = connections.watch(connection);
        // A connection owns itself: its client ends it, or the drain.
        tokio::spawn(async move {
            // A client that goes is no event.
            let _ = connection.await;
        });
    }
    drop(listener);
    if timeout(DRAIN, connections.shutdown()).await.is_err() {
        warn!("requests were still in flight after {DRAIN:?}");
    }
}

pub(crate) fn server() -> auto::Builder<TokioExecutor> {
    let mut server = auto::Builder::new(TokioExecutor::new());
    server.http1().timer(TokioTimer::new()).header_read_timeout(Duration::from_secs(10));
    server.http2().timer(TokioTimer::new());
    server
}

pub(crate) async fn accept(listener: &TcpListener) -> (TcpStream, SocketAddr) {
    loop {
        match listener.accept().await {
            Ok((stream, peer)) => {
                // Where it cannot be set, answers are later, and no less right.
                let _ = stream.set_nodelay(true);
                return (stream, peer);
            }
            Err(error) => {
                // Too many files are open, most likely: some will close.
                warn!("a connection was not accepted: {error}");
                sleep(Duration::from_millis(50)).await;
            }
        }
    }
}

/// When SIGTERM or Ctrl-C has come.
pub(crate) fn asked_to_stop() -> io::Result<impl Future<Output = ()>> {
    let mut terminate = signal(SignalKind::terminate())?;
    let mut interrupt = signal(SignalKind::interrupt())?;
    Ok(async move {
        tokio::select! {
            _ = terminate.recv() => {}
            _ = interrupt.recv() => {}
        }
    })
}
