//! Instances end under load, and nobody notices.

use std::net::SocketAddr;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use bytes::Bytes;
use http_body_util::{BodyExt, Empty};
use hyper_util::client::legacy::Client;
use hyper_util::client::legacy::connect::HttpConnector;
use hyper_util::rt::TokioExecutor;
use testbed::eventually;
use testbed::guard::ExitSignal;
use tokio::task::JoinSet;

use crate::balancer::Balancer;
use crate::instance::Instance;

const PROPAGATION: Duration = Duration::from_millis(300);
const DEADLINE: Duration = Duration::from_secs(3);
const RESTARTS: usize = 50;
const PATIENCE: Duration = Duration::from_secs(20);

type Http = Client<HttpConnector, Empty<Bytes>>;

fn client(http2: bool) -> Http {
    Client::builder(TokioExecutor::new()).http2_only(http2).build_http()
}

/// Requests that GOAWAY without an error ends were not processed, and may be sent again on
/// another connection (RFC 9113, sections 6.8 and 8.7): `h2` gives this error to streams
/// above the last one that GOAWAY names, and to requests that wait within it and were
/// never sent. Streams up to the last one have their answer, or another error, and are
/// not sent again. The client leaves that to its caller. That no instance had begun what
/// was sent again is counted, in [`no_request_fails_over_fifty_restarts`].
fn was_not_processed(error: &(dyn std::error::Error + 'static)) -> bool {
    if let Some(error) = error.downcast_ref::<h2::Error>() {
        return error.is_go_away()
            && error.is_remote()
            && error.reason() == Some(h2::Reason::NO_ERROR);
    }
    error.source().is_some_and(was_not_processed)
}

async fn get(client: &Http, addr: SocketAddr, millis: u64) -> Result<(), String> {
    let url: http::Uri = format!("http://{addr}/{millis}").parse().unwrap();
    let answer = loop {
        match client.get(url.clone()).await {
            Ok(answer) => break answer,
            Err(error) if was_not_processed(&error) => {}
            Err(error) => return Err(format!("{error:?}")),
        }
    };
    let status = answer.status();
    let body = answer.into_body().collect().await.map_err(|error| format!("{error:?}"))?;
    if status == 200 && body.to_bytes() == "done" {
        return Ok(());
    }
    Err(status.to_string())
}

/// Clients that never pause, until they are told to stop.
struct Load {
    stop: Arc<AtomicBool>,
    done: Arc<AtomicU64>,
    failed: Arc<Mutex<Vec<String>>>,
    workers: JoinSet<()>,
}

impl Load {
    fn on(addr: SocketAddr) -> Self {
        let mut load = Self {
            stop: Arc::default(),
            done: Arc::default(),
            failed: Arc::default(),
            workers: JoinSet::new(),
        };
        // Four connections that are kept, and two clients of one HTTP/2 connection each.
        let kept = client(false);
        for _ in 0..4 {
            load.worker(kept.clone(), addr);
        }
        for _ in 0..2 {
            let shared = client(true);
            for _ in 0..3 {
                load.worker(shared.clone(), addr);
            }
        }
        load
    }

    fn worker(&mut self, client: Http, addr: SocketAddr) {
        let (stop, done, failed) =
            (Arc::clone(&self.stop), Arc::clone(&self.done), Arc::clone(&self.failed));
        self.workers.spawn(async move {
            while !stop.load(Ordering::Relaxed) {
                match get(&client, addr, fastrand::u64(1..25)).await {
                    Ok(()) => {
                        done.fetch_add(1, Ordering::Relaxed);
                    }
                    Err(error) => failed.lock().unwrap().push(error),
                }
            }
        });
    }

    async fn stop(self) -> (u64, Vec<String>) {
        self.stop.store(true, Ordering::Relaxed);
        self.workers.join_all().await;
        (self.done.load(Ordering::Relaxed), self.failed.lock().unwrap().clone())
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn no_request_fails_over_fifty_restarts() {
    let balancer = Balancer::start().await;
    let start = async || {
        let instance = Instance::start(PROPAGATION, DEADLINE).await;
        balancer.add(instance.addr);
        eventually(PATIENCE, async || balancer.is_ready(instance.addr)).await;
        instance
    };
    let mut instances = vec![start().await, start().await];
    let mut begun = 0;
    let load = Load::on(balancer.addr);
    for restart in 0..RESTARTS {
        let before = load.done.load(Ordering::Relaxed);
        instances.push(start().await);
        let old = instances.remove(0);
        let began = Instant::now();
        let addr = old.addr;
        let ended = old.end().await;
        assert!(ended.status.success(), "restart {restart}: {}", ended.status);
        begun += ended.begun;
        // Nothing that is under way takes longer than 25 ms.
        assert!(began.elapsed() < DEADLINE, "restart {restart}: {:?}", began.elapsed());
        balancer.remove(addr);
        assert!(load.done.load(Ordering::Relaxed) > before, "there was no load");
        let failed = load.failed.lock().unwrap().clone();
        assert!(failed.is_empty(), "restart {restart}: {failed:?}");
    }
    let (done, failed) = load.stop().await;
    assert!(failed.is_empty(), "{} of {done}: {failed:?}", failed.len());
    assert!(done > 1_000, "{done}");
    for instance in instances {
        begun += instance.end().await.begun;
    }
    // Each was begun once: what was sent again had not been.
    assert_eq!(begun, done);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_request_longer_than_the_deadline_has_a_clear_end_and_the_process_too() {
    let deadline = Duration::from_secs(1);
    for http2 in [false, true] {
        let instance = Instance::start(PROPAGATION, deadline).await;
        let client = client(http2);
        let addr = instance.addr;
        get(&client, addr, 1).await.unwrap();
        let short = tokio::spawn({
            let client = client.clone();
            async move { get(&client, addr, 600).await }
        });
        let long = tokio::spawn(async move { get(&client, addr, 60_000).await });
        let ask = self::client(http2);
        let url: http::Uri = format!("http://{addr}/under-way").parse().unwrap();
        eventually(PATIENCE, async || {
            let answer = ask.get(url.clone()).await.unwrap();
            answer.into_body().collect().await.unwrap().to_bytes() == "2"
        })
        .await;
        drop(ask);
        let began = Instant::now();
        // Told twice, it ends as if told once.
        instance.process.signal(ExitSignal::Terminate).unwrap();
        assert!(instance.end().await.status.success());
        let took = began.elapsed();
        assert!((deadline..deadline * 2).contains(&took), "{took:?}");
        assert_eq!(short.await.unwrap(), Ok(()));
        assert_eq!(long.await.unwrap(), Err("503 Service Unavailable".to_owned()));
    }
}
