//! `http-cache-proxy` with `http-cache-tower` in place of this workspace's cache: the same
//! server, client and settings, and less done around the cache. `cargo xtask bench-http` starts
//! it.
#![allow(clippy::print_stdout)]

use std::convert::Infallible;
use std::error::Error;
use std::net::SocketAddr;
use std::time::Duration;

use clap::Parser;
use http::header::{HOST, HeaderValue};
use http::uri::{Authority, Scheme};
use http::{Request, Response, StatusCode, Uri, Version};
use http_cache::{MokaCacheBuilder, MokaManager};
use http_cache_tower::{HttpCacheBody, HttpCacheLayer};
use hyper::body::Incoming;
use hyper::service::service_fn;
use hyper_util::client::legacy::Client;
use hyper_util::client::legacy::connect::HttpConnector;
use hyper_util::rt::{TokioExecutor, TokioIo, TokioTimer};
use hyper_util::server::conn::auto;
use tokio::net::TcpListener;
use tokio::runtime::Builder;
use tower::{Layer, Service};

#[derive(Debug, Parser)]
struct Cli {
    /// The origin server, http://HOST:PORT.
    #[arg(long)]
    origin: Uri,
    /// Where to listen; port 0 takes a free one. Prints the URL as the first line.
    #[arg(long, default_value = "127.0.0.1:0")]
    listen: SocketAddr,
    /// How many answers are stored.
    #[arg(long, default_value_t = 200_000)]
    entries: u64,
}

fn main() -> Result<(), Box<dyn Error>> {
    let cli = Cli::parse();
    Builder::new_current_thread().enable_all().build()?.block_on(serve(cli))
}

async fn serve(cli: Cli) -> Result<(), Box<dyn Error>> {
    let authority = cli.origin.authority().cloned().ok_or("the origin has no host")?;
    let host = HeaderValue::from_str(authority.as_str())?;
    let mut connector = HttpConnector::new();
    connector.set_nodelay(true);
    let client: Client<_, Incoming> = Client::builder(TokioExecutor::new())
        .pool_timer(TokioTimer::new())
        .pool_idle_timeout(Duration::from_secs(30))
        .build(connector);
    let entries = MokaCacheBuilder::new(cli.entries).build();
    let cache = HttpCacheLayer::new(MokaManager::new(entries)).layer(client);

    let mut server = auto::Builder::new(TokioExecutor::new());
    server.http1().timer(TokioTimer::new()).header_read_timeout(Duration::from_secs(10));
    server.http2().timer(TokioTimer::new());

    let listener = TcpListener::bind(cli.listen).await?;
    println!("http://{}", listener.local_addr()?);
    loop {
        let (stream, _) = listener.accept().await?;
        stream.set_nodelay(true)?;
        let (cache, authority, host) = (cache.clone(), authority.clone(), host.clone());
        let service = service_fn(move |mut request: Request<Incoming>| {
            let mut cache = cache.clone();
            request.headers_mut().insert(HOST, host.clone());
            *request.uri_mut() = at(&authority, request.uri());
            async move {
                let answer = cache.call(request).await.map(|mut answer| {
                    *answer.version_mut() = Version::HTTP_11;
                    answer
                });
                Ok::<_, Infallible>(answer.unwrap_or_else(|_| bad_gateway()))
            }
        });
        let connection = server.serve_connection(TokioIo::new(stream), service).into_owned();
        tokio::spawn(async move {
            // A client that goes is no event.
            let _ = connection.await;
        });
    }
}

fn at(authority: &Authority, uri: &Uri) -> Uri {
    let path = uri.path_and_query().map_or("/", |path| path.as_str());
    let uri = Uri::builder().scheme(Scheme::HTTP).authority(authority.clone());
    uri.path_and_query(path).build().expect("a scheme, an authority and a path are a URI")
}

fn bad_gateway() -> Response<HttpCacheBody<Incoming>> {
    let mut answer = Response::new(HttpCacheBody::Buffered(Vec::new()));
    *answer.status_mut() = StatusCode::BAD_GATEWAY;
    answer
}
