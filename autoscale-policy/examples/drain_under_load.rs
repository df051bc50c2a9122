//! A hyper server that is drained while a client keeps asking: no request fails.
//!
//! `cargo run -p autoscale-policy --features drain --example drain_under_load`

use std::convert::Infallible;
use std::net::SocketAddr;
use std::time::Duration;

use autoscale_policy::{
    DrainLayer, DrainSettings, InFlight, InFlightLayer, Lifecycle, Readiness,
};
use bytes::Bytes;
use http::{Request, Response};
use http_body_util::{Empty, Full};
use hyper::body::Incoming;
use hyper_util::rt::TokioIo;
use hyper_util::service::TowerToHyperService;
use tokio::net::{TcpListener, TcpStream};
use tokio::task::JoinSet;
use tower::ServiceBuilder;

async fn work(_: Request<Incoming>) -> Result<Response<Full<Bytes>>, Infallible> {
    tokio::time::sleep(Duration::from_millis(5)).await;
    Ok(Response::new(Full::from("done")))
}

async fn serve(listener: TcpListener, lifecycle: Lifecycle, load: InFlight) {
    let app = ServiceBuilder::new()
        .layer(DrainLayer::new(lifecycle.clone()))
        .layer(InFlightLayer::new(load))
        .service_fn(work);
    let mut connections = JoinSet::new();
    loop {
        let stream = tokio::select! {
            accepted = listener.accept() => accepted,
            () = lifecycle.closing() => break,
        };
        let Ok((stream, _)) = stream else { continue };
        let (service, lifecycle) = (TowerToHyperService::new(app.clone()), lifecycle.clone());
        connections.spawn(async move {
            let serving = hyper::server::conn::http1::Builder::new()
                .serve_connection(TokioIo::new(stream), service);
            tokio::pin!(serving);
            tokio::select! {
                _ = serving.as_mut() => return,
                () = lifecycle.closing() => serving.as_mut().graceful_shutdown(),
            }
            if let Err(error) = serving.await {
                eprintln!("a connection has failed: {error}");
            }
        });
    }
    connections.join_all().await;
}

/// Asks on one connection until it is told to close it.
async fn ask(addr: SocketAddr) -> Result<u32, Box<dyn std::error::Error + Send + Sync>> {
    let stream = TcpStream::connect(addr).await?;
    let (mut sender, connection) =
        hyper::client::conn::http1::handshake(TokioIo::new(stream)).await?;
    let connection = tokio::spawn(connection);
    let mut answers = 0;
    loop {
        sender.ready().await?;
        let request = Request::get("/").header("host", "a").body(Empty::<Bytes>::new())?;
        let answer = sender.send_request(request).await?;
        if answer.status() != 200 {
            return Err(format!("{}", answer.status()).into());
        }
        answers += 1;
        let last = answer.headers().get("connection").is_some_and(|value| value == "close");
        drop(answer);
        if last {
            break;
        }
    }
    drop(sender);
    connection.await??;
    Ok(answers)
}

#[tokio::main]
async fn main() -> Result<(), Box<dyn std::error::Error + Send + Sync>> {
    let lifecycle = Lifecycle::new(DrainSettings {
        propagation: Duration::from_millis(200),
        deadline: Duration::from_secs(5),
        ..DrainSettings::default()
    })?;
    let load = InFlight::new();
    let mut meter = load.meter();
    let listener = TcpListener::bind("127.0.0.1:0").await?;
    let addr = listener.local_addr()?;
    let server = tokio::spawn(serve(listener, lifecycle.clone(), load));
    lifecycle.ready();

    let clients: Vec<_> = (0..8).map(|_| tokio::spawn(ask(addr))).collect();
    tokio::time::sleep(Duration::from_millis(300)).await;
    let measured = meter.measure();
    println!(
        "{:.1} requests in flight on average, {:.0} a second, {:.1?} each",
        measured.in_flight,
        measured.arrivals,
        measured.latency.unwrap_or_default()
    );

    // In a server this follows SIGTERM.
    let drained = lifecycle.drain().await;
    assert_eq!((drained.cut_off, lifecycle.readiness()), (0, Readiness::Draining));
    server.await?;
    let mut answers = 0;
    for client in clients {
        answers += client.await??;
    }
    println!("{answers} requests answered, 0 failed, 0 cut off");
    Ok(())
}
