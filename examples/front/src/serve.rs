//! Connections in, requests to the proxy.

use std::convert::Infallible;
use std::io;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use autoscale_policy::{DrainLayer, InFlight, Lifecycle};
use bytes::Bytes;
use cache_aside::http::HttpCacheLayer;
use http::{Request, Response};
use http_body::Body;
use http_body_util::BodyExt;
use http_body_util::combinators::UnsyncBoxBody;
use hyper::body::Incoming;
use hyper_util::rt::{TokioExecutor, TokioIo, TokioTimer};
use hyper_util::server::conn::auto;
use hyper_util::server::graceful::GracefulShutdown;
use hyper_util::service::TowerToHyperService;
use tokio::net::{TcpListener, TcpStream};
use tokio::time::{sleep, timeout};
use tower::util::Either;
use tower::{BoxError, Layer, ServiceExt, service_fn};
use tracing::warn;

use crate::admin::Admin;
use crate::proxy::{Answer, Proxy};

/// How long the last answers may take to be sent.
const LAST: Duration = Duration::from_secs(5);

/// Passes requests on until the lifecycle closes connections, and then until these have
/// ended.
pub(crate) async fn front(
    listener: TcpListener,
    proxy: Arc<Proxy>,
    cache: Option<HttpCacheLayer>,
    load: InFlight,
    lifecycle: Lifecycle,
) -> io::Result<()> {
    let connections = GracefulShutdown::new();
    let server = server();
    lifecycle.ready();
    let closing = lifecycle.closing();
    tokio::pin!(closing);
    loop {
        let (stream, peer) = tokio::select! {
            accepted = accept(&listener) => accepted,
            () = &mut closing => break,
        };
        let (proxy, load) = (Arc::clone(&proxy), load.clone());
        let pass_on = move |request: Request<Incoming>| {
            let (proxy, ticket) = (Arc::clone(&proxy), load.enter());
            async move {
                let answer = proxy.answer(request, peer).await;
                Ok::<_, Infallible>(answer.map(|body| body.counted(ticket)))
            }
        };
        let workers = service_fn(pass_on);
        // What is answered from the cache is no load of a worker's.
        let answers = match &cache {
            Some(cache) => Either::Left(cache.layer(workers).map_response(boxed)),
            None => Either::Right(workers.map_response(boxed)),
        };
        let service = DrainLayer::new(lifecycle.clone()).layer(answers);
        let connection = server
            .serve_connection(TokioIo::new(stream), TowerToHyperService::new(service))
            .into_owned();
        let connection = connections.watch(connection);
        // A connection owns itself: its client ends it, or the drain.
        tokio::spawn(async move {
            // A client that goes is no event.
            let _ = connection.await;
        });
    }
    drop(listener);
    if timeout(LAST + lifecycle_deadline(), connections.shutdown()).await.is_err() {
        warn!("connections were still open");
    }
    Ok(())
}

fn boxed<B>(answer: Response<B>) -> Response<UnsyncBoxBody<Bytes, io::Error>>
where
    B: Body<Data = Bytes, Error: Into<BoxError>> + Send + 'static,
{
    answer.map(|body| body.map_err(io::Error::other).boxed_unsync())
}

/// The drain's own deadline cuts requests off before.
fn lifecycle_deadline() -> Duration {
    autoscale_policy::DrainSettings::default().deadline
}

/// Answers the operator for as long as it is polled.
pub(crate) async fn admin(listener: TcpListener, admin: Arc<Admin>) {
    let server = server();
    loop {
        let (stream, _) = accept(&listener).await;
        let admin = Arc::clone(&admin);
        let answer = move |request: Request<Incoming>| {
            let answer: Response<Answer> = admin.answer(&request);
            async move { Ok::<_, Infallible>(answer) }
        };
        let service = TowerToHyperService::new(service_fn(answer));
        let connection = server.serve_connection(TokioIo::new(stream), service).into_owned();
        tokio::spawn(async move {
            // The operator may go at any time.
            let _ = connection.await;
        });
    }
}

fn server() -> auto::Builder<TokioExecutor> {
    let mut server = auto::Builder::new(TokioExecutor::new());
    server.http1().timer(TokioTimer::new()).header_read_timeout(Duration::from_secs(10));
    server.http2().timer(TokioTimer::new());
    server
}

async fn accept(listener: &TcpListener) -> (TcpStream, SocketAddr) {
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
