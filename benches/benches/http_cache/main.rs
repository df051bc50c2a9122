//! What a hit of the shared HTTP cache costs as a tower layer, beside the service without it and
//! beside the layers that a user would pick instead; what an entry costs in memory; and what a
//! thousand misses at once cost the origin. `cargo bench -p benches --bench http_cache`
#![allow(clippy::unwrap_used, reason = "a panic ends a benchmark well enough")]

mod inner;

use std::cell::RefCell;
use std::fmt::Debug;
use std::hint::black_box;
use std::pin::pin;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::task::{Context, Poll, Waker};
use std::time::Duration;

use axum::body::Body as AxumBody;
use benches::{
    Comparison, Counting, allocations, answer_count_request, compare_blocks, instructions_over,
    live_bytes,
};
use bytes::Bytes;
use cache_aside::http::HttpCacheLayer;
use http::{HeaderValue, Request, Response, StatusCode, Version};
use http_body::Body;
use http_body_util::Full;
use http_cache::{MokaCacheBuilder, MokaManager};
use tokio::runtime::{Builder, Runtime};
use tokio::task::JoinSet;
use tower_http_cache::prelude::{CacheLayer, InMemoryBackend};
use tower_layer::Layer;
use tower_service::Service;

use self::inner::{Inner, OfAxum, Slow};

#[global_allocator]
static ALLOCATOR: Counting = Counting;

/// URIs that are stored.
const URIS: usize = 1_000;
/// Operations in a block.
const BLOCK: usize = 5_000;
const ENTRIES: usize = 100_000;
const AT_ONCE: usize = 1_000;

const PEERS: [&str; 4] =
    ["http-cache-tower", "http-cache-tower-server", "tower-http-cache", "axum-response-cache"];

fn main() {
    let runtime = Builder::new_current_thread().enable_all().build().unwrap();
    // The metrics are on, as in a service.
    metrics_exporter_prometheus::PrometheusBuilder::new().install_recorder().unwrap();
    if answer_count_request(operation) {
        return;
    }

    println!(
        "A hit of 1 KiB with 9 fields, and the request, thread CPU time, medians of 60 interleaved\n\
         pairs of blocks of {BLOCK}; beside the same service without a layer:\n"
    );
    head("without");
    for name in ["hit", "304", "range", "vary"] {
        line(name, "no layer");
    }
    println!("\nThe same hit, beside that of peers, called as their documents recommend:\n");
    head("peer's");
    for peer in PEERS {
        line("hit", peer);
    }

    println!("\nAllocations of one hit, those for the request left out:\n");
    for name in ["no layer", "hit", "304", "range", "vary"].iter().chain(&PEERS) {
        let (operation, alone) = (operation(name), operation("request"));
        let count = |operation: &dyn Fn(usize)| {
            (0..2_000).for_each(operation);
            allocations(|| (0..10_000).for_each(operation)) as f64 / 10_000.0
        };
        println!("{name:26} {:>6.2}", count(&operation) - count(&alone));
    }

    memory(&runtime);
    misses(&runtime);
}

fn head(other: &str) {
    println!(
        "{:26} {:>9} {:>11} {:>9} {:>7} {:>7} {:>15}",
        "",
        "ours ns",
        format!("{other} ns"),
        "more ns",
        "ratio",
        "A/A",
        "instructions"
    );
}

fn line(ours: &str, other: &str) {
    let Comparison { subject, baseline, more, ratio, a_to_a } =
        compare_blocks(BLOCK, operation(ours), operation(other));
    let count = |name| instructions_over(name, BLOCK);
    let instructions = match (count(ours), count(other)) {
        (Some(ours), Some(other)) => format!("{ours:.0} / {other:.0}"),
        _ => "no valgrind".to_owned(),
    };
    let name = if other == "no layer" { ours } else { other };
    println!(
        "{name:26} {subject:>9.0} {baseline:>11.0} {more:>9.0} {ratio:>7.2} {a_to_a:>7.3} {instructions:>15}"
    );
}

/// What a browser sends, with what a case adds.
fn requests<B>(more: &[(&'static str, &'static str)], body: impl Fn() -> B) -> Vec<Request<B>> {
    let fields = [
        ("host", "shop.example"),
        (
            "user-agent",
            "Mozilla/5.0 (X11; Linux x86_64; rv:140.0) Gecko/20100101 Firefox/140.0",
        ),
        ("accept", "text/html,application/xhtml+xml,*/*;q=0.8"),
        ("accept-language", "en-US,en;q=0.5"),
        ("accept-encoding", "gzip, deflate, br"),
    ];
    let one = |n| {
        let mut request = Request::new(body());
        *request.uri_mut() = format!("http://shop.example/products/{n}").parse().unwrap();
        *request.version_mut() = Version::HTTP_11;
        for (name, value) in fields.iter().chain(more) {
            request.headers_mut().append(*name, HeaderValue::from_static(value));
        }
        request
    };
    (0..URIS).map(one).collect()
}

fn full() -> Full<Bytes> {
    Full::default()
}

/// One operation of that name; valgrind starts this program for each.
fn operation(name: &str) -> Box<dyn Fn(usize)> {
    let inner = Inner::new(1 << 10);
    let asked = Arc::clone(&inner.asked);
    let operation: Box<dyn Fn(usize)> = match name {
        "request" => {
            let requests = requests(&[], full);
            Box::new(move |n| drop(black_box(copied(&requests[n % URIS], full))))
        }
        "no layer" => through(inner, &[], full, StatusCode::OK),
        "hit" => through(ours().layer(inner), &[], full, StatusCode::OK),
        "vary" => through(ours().layer(inner.varying()), &[], full, StatusCode::OK),
        "304" => {
            let condition = [("if-none-match", "\"5f2b-61c8e0\"")];
            through(ours().layer(inner), &condition, full, StatusCode::NOT_MODIFIED)
        }
        "range" => {
            let range = [("range", "bytes=100-299")];
            through(ours().layer(inner), &range, full, StatusCode::PARTIAL_CONTENT)
        }
        "http-cache-tower" => {
            let layer = http_cache_tower::HttpCacheLayer::new(manager());
            through(layer.layer(inner), &[], full, StatusCode::OK)
        }
        "http-cache-tower-server" => {
            let layer = http_cache_tower_server::ServerCacheLayer::new(manager());
            through(layer.layer(inner), &[], full, StatusCode::OK)
        }
        "tower-http-cache" => through(tower_http().layer(inner), &[], full, StatusCode::OK),
        "axum-response-cache" => {
            through(of_axum().layer(OfAxum(inner)), &[], AxumBody::empty, StatusCode::OK)
        }
        _ => unreachable!("there is no operation {name}"),
    };
    let before = asked.load(Ordering::Relaxed);
    (0..URIS).for_each(&operation);
    let misses = asked.load(Ordering::Relaxed) - before;
    assert_eq!(misses, if name == "no layer" { URIS } else { 0 }, "{name}: these are no hits");
    operation
}

fn ours() -> HttpCacheLayer {
    HttpCacheLayer::in_memory(1 << 30)
}

fn manager() -> MokaManager {
    MokaManager::new(MokaCacheBuilder::new(1_000_000).build())
}

fn tower_http() -> CacheLayer<InMemoryBackend> {
    CacheLayer::builder(InMemoryBackend::new(1_000_000))
        .ttl(Duration::from_secs(86_400))
        .build()
}

type AxumLayer = axum_response_cache::CacheLayer<
    cached::TtlCache<axum_response_cache::BasicKey, axum_response_cache::CachedResponse>,
    axum_response_cache::BasicKeyer,
>;

fn of_axum() -> AxumLayer {
    axum_response_cache::CacheLayer::with_lifespan(Duration::from_secs(86_400))
}

/// Requests for each URI through a service, when all are stored.
fn through<S, B, R>(
    service: S,
    more: &[(&'static str, &'static str)],
    body: fn() -> B,
    expected: StatusCode,
) -> Box<dyn Fn(usize)>
where
    S: Service<Request<B>, Response = Response<R>> + 'static,
    S::Error: Debug,
    B: 'static,
    R: Body,
    R::Error: Debug,
{
    let service = RefCell::new(service);
    let runtime = Builder::new_current_thread().enable_all().build().unwrap();
    for request in requests(&[], body) {
        // Called within it, so that its tasks run there.
        runtime.block_on(async {
            let answer = service.borrow_mut().call(request);
            drain_slowly(answer.await.unwrap()).await;
        });
    }
    // Some store in the background.
    runtime.block_on(async { tokio::time::sleep(Duration::from_millis(500)).await });
    let requests = requests(more, body);
    Box::new(move |n| {
        let request = copied(&requests[n % URIS], body);
        let answer = service.borrow_mut().call(request);
        let answer = now(answer).unwrap();
        assert_eq!(answer.status(), expected);
        drain(black_box(answer));
    })
}

fn copied<B>(request: &Request<B>, body: fn() -> B) -> Request<B> {
    let mut copy = Request::new(body());
    *copy.uri_mut() = request.uri().clone();
    *copy.headers_mut() = request.headers().clone();
    copy
}

/// Reads a content that is there.
fn drain<R: Body>(answer: Response<R>)
where
    R::Error: Debug,
{
    let mut body = pin!(answer.into_body());
    let mut context = Context::from_waker(Waker::noop());
    loop {
        match body.as_mut().poll_frame(&mut context) {
            Poll::Ready(Some(frame)) => drop(black_box(frame.unwrap())),
            Poll::Ready(None) => return,
            Poll::Pending => unreachable!("what is stored is there"),
        }
    }
}

async fn drain_slowly<R: Body>(answer: Response<R>)
where
    R::Error: Debug,
{
    let mut body = pin!(answer.into_body());
    while let Some(frame) = std::future::poll_fn(|cx| body.as_mut().poll_frame(cx)).await {
        drop(frame.unwrap());
    }
}

/// The result of a future that is ready at once, as that of every hit is.
fn now<F: Future>(future: F) -> F::Output {
    match pin!(future).poll(&mut Context::from_waker(Waker::noop())) {
        Poll::Ready(output) => output,
        Poll::Pending => unreachable!("a hit waits for nothing"),
    }
}

/// What is allocated for an entry beside the bytes of its answer.
fn memory(runtime: &Runtime) {
    println!(
        "\nMemory of one of {ENTRIES} entries, beside the bytes of its fields and content:\n"
    );
    println!("{:26} {:>9} {:>10} {:>10}", "", "answer, B", "stored, B", "overhead");
    let line = |name: &str, inner: &Inner, bytes: i64| {
        let (answer, each) = (inner.size() as i64, bytes / ENTRIES as i64);
        println!("{name:26} {answer:>9} {each:>10} {:>10}", each - answer);
    };
    for content in [100, 1 << 10] {
        let inner = Inner::new(content).fresh();
        let service = ours().layer(inner.clone());
        let bytes = stored(runtime, service, full);
        line(&format!("ours, {content} B"), &inner, bytes);
    }
    let inner = Inner::new(1 << 10).fresh();
    let service = http_cache_tower::HttpCacheLayer::new(manager()).layer(inner.clone());
    line("http-cache-tower, 1024 B", &inner, stored(runtime, service, full));
    let service = tower_http().layer(inner.clone());
    line("tower-http-cache, 1024 B", &inner, stored(runtime, service, full));
}

fn stored<S, B, R>(runtime: &Runtime, mut service: S, body: fn() -> B) -> i64
where
    S: Service<Request<B>, Response = Response<R>>,
    S::Error: Debug,
    R: Body,
    R::Error: Debug,
{
    let mut ask = |n: usize| {
        let mut request = Request::new(body());
        *request.uri_mut() = format!("http://shop.example/products/{n}").parse().unwrap();
        runtime.block_on(async {
            let answer = service.call(request);
            drain_slowly(answer.await.unwrap()).await;
        });
    };
    // What is there once is not an entry's.
    (0..1_000).for_each(&mut ask);
    live_bytes(|| (1_000..1_000 + ENTRIES).for_each(&mut ask))
}

/// Many ask for what is not there, and takes a while.
fn misses(runtime: &Runtime) {
    println!("\n{AT_ONCE} concurrent misses on a URL that takes 300 ms:\n");
    println!("{:26} {:>16} {:>22}", "", "origin requests", "allocations a request");
    for name in ["ours"].iter().chain(&PEERS) {
        let inner = Inner::new(1 << 10);
        let (asked, slow) = (Arc::clone(&inner.asked), Slow(inner));
        let count = match *name {
            "ours" => at_once(runtime, ours().layer(slow), full),
            "http-cache-tower" => {
                let layer = http_cache_tower::HttpCacheLayer::new(manager());
                at_once(runtime, layer.layer(slow), full)
            }
            "http-cache-tower-server" => {
                let layer = http_cache_tower_server::ServerCacheLayer::new(manager());
                at_once(runtime, layer.layer(slow), full)
            }
            "tower-http-cache" => at_once(runtime, tower_http().layer(slow), full),
            _ => at_once(runtime, of_axum().layer(OfAxum(slow)), AxumBody::empty),
        };
        let asked = asked.load(Ordering::Relaxed);
        println!("{name:26} {asked:>16} {:>22.1}", count as f64 / AT_ONCE as f64);
        if *name == "ours" {
            assert_eq!(asked, 1, "misses are not collapsed");
        }
    }
}

fn at_once<S, B, R>(runtime: &Runtime, service: S, body: fn() -> B) -> u64
where
    S: Service<Request<B>, Response = Response<R>> + Clone + Send + 'static,
    S::Error: Debug + Send,
    S::Future: Send,
    B: Send + 'static,
    R: Body + Send,
    R::Data: Send,
    R::Error: Debug,
{
    let request = requests(&[], body).remove(0);
    allocations(|| {
        runtime.block_on(async {
            let mut clients = JoinSet::new();
            for _ in 0..AT_ONCE {
                let answer = service.clone().call(copied(&request, body));
                clients.spawn(async move { drain_slowly(answer.await.unwrap()).await });
            }
            while let Some(ended) = clients.join_next().await {
                ended.unwrap();
            }
        });
    })
}
