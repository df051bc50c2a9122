//! A server that drains, for the tests of `autoscale-policy`: it prints its port, answers
//! `/readyz` and `/under-way`, takes as many milliseconds for any other path as that says, and ends on
//! SIGTERM, when it prints how many of those it has begun.
//!
//! `draining <propagation in ms> <deadline in ms> [file for its URL]`

#![allow(clippy::unwrap_used, reason = "it is a part of a test")]

use std::convert::Infallible;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use autoscale_policy::{DrainLayer, DrainSettings, Lifecycle, ReadinessService};
use bytes::Bytes;
use http::{Request, Response};
use http_body_util::combinators::BoxBody;
use http_body_util::{BodyExt, Full};
use hyper::body::Incoming;
use hyper_util::rt::{TokioExecutor, TokioIo};
use hyper_util::server::conn::auto::Builder;
use hyper_util::service::TowerToHyperService;
use tokio::net::TcpListener;
use tokio::signal::unix::{SignalKind, signal};
use tokio::task::JoinSet;
use tower::{ServiceBuilder, ServiceExt};

type Body = BoxBody<Bytes, Box<dyn std::error::Error + Send + Sync>>;

static BEGUN: AtomicU64 = AtomicU64::new(0);

async fn work(request: Request<Incoming>) -> Result<Response<Full<Bytes>>, Infallible> {
    BEGUN.fetch_add(1, Ordering::Relaxed);
    let millis = request.uri().path()[1..].parse().unwrap_or(0);
    tokio::time::sleep(Duration::from_millis(millis)).await;
    Ok(Response::new(Full::from("done")))
}

#[tokio::main(flavor = "current_thread")]
async fn main() {
    let mut words = std::env::args().skip(1);
    let mut millis = || Duration::from_millis(words.next().unwrap().parse().unwrap());
    let (propagation, deadline) = (millis(), millis());
    let settings = DrainSettings { propagation, deadline, ..DrainSettings::default() };
    let lifecycle = Lifecycle::new(settings).unwrap();
    let readiness = ReadinessService::new(lifecycle.clone());
    let app = ServiceBuilder::new().layer(DrainLayer::new(lifecycle.clone())).service_fn(work);
    let life = lifecycle.clone();
    let service = tower::service_fn(move |request: Request<Incoming>| {
        let (app, readiness, life) = (app.clone(), readiness.clone(), life.clone());
        async move {
            if request.uri().path() == "/under-way" {
                let count = Full::from(life.under_way().to_string());
                return Ok(Response::new(count.map_err(Into::into).boxed()));
            }
            if request.uri().path() == "/readyz" {
                let answer = readiness.answer();
                return Ok::<_, Infallible>(
                    answer.map(|text| Full::from(text).map_err(Into::into).boxed()),
                );
            }
            let answer = app.oneshot(request).await?;
            Ok(answer.map(|body| -> Body { body.map_err(Into::into).boxed() }))
        }
    });

    let mut terminate = signal(SignalKind::terminate()).unwrap();
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    println!("{}", listener.local_addr().unwrap().port());
    lifecycle.ready();
    if let Some(file) = words.next() {
        let url = format!("http://{}\n", listener.local_addr().unwrap());
        std::fs::write(file, url).unwrap();
    }
    let mut connections = JoinSet::new();
    let drain = {
        let lifecycle = lifecycle.clone();
        async move {
            terminate.recv().await;
            lifecycle.drain().await
        }
    };
    tokio::pin!(drain);
    let closing = lifecycle.closing();
    tokio::pin!(closing);
    // With nothing under way, it is over at the moment that it closes.
    let mut drained = false;
    loop {
        tokio::select! {
            accepted = listener.accept() => {
                let (stream, _) = accepted.unwrap();
                let (service, lifecycle) = (service.clone(), lifecycle.clone());
                connections.spawn(async move {
                    let builder = Builder::new(TokioExecutor::new());
                    let service = TowerToHyperService::new(service);
                    let serving = builder.serve_connection(TokioIo::new(stream), service);
                    tokio::pin!(serving);
                    tokio::select! {
                        // A client that has gone is none of the server's business.
                        _ = serving.as_mut() => return,
                        () = lifecycle.closing() => serving.as_mut().graceful_shutdown(),
                    }
                    let _ = serving.await;
                });
            }
            () = closing.as_mut() => break,
            _ = drain.as_mut() => {
                drained = true;
                break;
            }
        }
    }
    drop(listener);
    if !drained {
        drain.await;
    }
    // What was answered is sent.
    let sent = async { while connections.join_next().await.is_some() {} };
    if tokio::time::timeout(Duration::from_millis(500), sent).await.is_err() {
        eprintln!("a client does not read");
    }
    println!("{}", BEGUN.load(Ordering::Relaxed));
}
