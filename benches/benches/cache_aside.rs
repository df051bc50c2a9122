//! What a hit costs on top of the raw store, and that a thousand misses are one
//! load. `cargo bench -p benches --bench cache_aside`
#![allow(clippy::unwrap_used, reason = "a panic ends a benchmark well enough")]

use std::collections::HashMap;
use std::convert::Infallible;
use std::hint::black_box;
use std::pin::pin;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, RwLock};
use std::task::{Context, Poll, Waker};
use std::time::Duration;

use benches::{
    Comparison, Counting, allocations, answer_count_request, compare, instructions_per_op,
    scaling,
};
use cache_aside::{CacheAside, CacheAsideLayer, Cached, Entry, Moka, Quick, Store};
use tower::util::ServiceFn;
use tower_layer::Layer;
use tower_service::Service;

#[global_allocator]
static ALLOCATOR: Counting = Counting;

const KEYS: usize = 1_000;
const CAPACITY: usize = 10_000;
const TTL: Duration = Duration::from_secs(300);

fn main() {
    // The metrics are on, as in a service.
    metrics_exporter_prometheus::PrometheusBuilder::new().install_recorder().unwrap();
    if answer_count_request(operation) {
        return;
    }

    println!("A hit, thread CPU time, medians of 60 interleaved pairs of blocks of 20,000:\n");
    println!(
        "{:26} {:>9} {:>9} {:>9} {:>7} {:>7} {:>13}",
        "", "ours ns", "raw ns", "more ns", "ratio", "A/A", "instructions"
    );
    for (name, raw, bound) in [
        ("moka handle", "moka raw", 60.0),
        ("moka layer", "moka raw", 85.0),
        ("quick handle", "quick raw", 60.0),
        ("quick layer", "quick raw", 85.0),
    ] {
        hit(name, raw, Some(bound));
    }
    println!("\nPeers, called as their documents recommend, beside the same raw stores:\n");
    hit("moka future try_get_with", "moka raw", None);
    hit("quick get_or_insert_async", "quick raw", None);

    println!(
        "\nA miss whose load is ready at once, so what is around a load, beside peers' misses:\n"
    );
    hit("moka miss", "moka future miss", None);
    hit("quick miss", "quick async miss", None);

    println!("\nAllocations in 100,000 hits:\n");
    for name in [
        "moka raw",
        "moka handle",
        "moka layer",
        "quick handle",
        "quick layer",
        "stub handle",
        "stub layer",
    ] {
        let operation = operation(name);
        (0..10_000).for_each(&operation);
        let count = allocations(|| (0..100_000).for_each(&operation));
        println!("{name:26} {count:>9}");
        if !name.starts_with("moka") {
            assert_eq!(count, 0, "a hit allocates: {name}");
        }
    }

    println!(
        "\nTwo threads on disjoint keys, gain over one (2 is ideal), 60 interleaved pairs:\n"
    );
    println!("{:26} {:>9} {:>9} {:>7}", "", "ours", "raw", "ratio");
    let (moka, raw) = (handle(Moka::entries(CAPACITY)), raw_moka());
    let (ours, theirs, ratio) = scaling(
        |thread, n| read(&moka, disjoint(thread, n)),
        |thread, n| drop(black_box(raw.get(&disjoint(thread, n)))),
    );
    println!("{:26} {ours:>9.2} {theirs:>9.2} {ratio:>7.2}", "moka handle");
    let (quick, raw) = (handle(Quick::entries(CAPACITY)), raw_quick());
    let (ours, theirs, ratio) = scaling(
        |thread, n| read(&quick, disjoint(thread, n)),
        |thread, n| drop(black_box(raw.get(&disjoint(thread, n)))),
    );
    println!("{:26} {ours:>9.2} {theirs:>9.2} {ratio:>7.2}", "quick handle");

    println!("\n1,000 concurrent misses on one key: {} load", misses());
}

fn hit(name: &str, raw: &str, bound: Option<f64>) {
    let (subject, baseline) = (operation(name), operation(raw));
    let Comparison { subject: ours, baseline: theirs, more, ratio, a_to_a } =
        compare(subject, baseline);
    let count = |name| instructions_per_op(name);
    let instructions = match (count(name), count(raw)) {
        (Some(ours), Some(raw)) => format!("{ours:.0} / {raw:.0}"),
        _ => "no valgrind".to_owned(),
    };
    let aim = bound.map(|bound| format!("  (aim: {bound:.0} more)")).unwrap_or_default();
    println!(
        "{name:26} {ours:>9.1} {theirs:>9.1} {more:>9.1} {ratio:>7.2} {a_to_a:>7.3} {instructions:>13}{aim}"
    );
}

/// One hit on the subject of that name; the number picks the key.
fn operation(name: &str) -> Box<dyn Fn(usize)> {
    match name {
        "moka raw" => {
            let raw = raw_moka();
            Box::new(move |n| drop(black_box(raw.get(&key(n)))))
        }
        "quick raw" => {
            let raw = raw_quick();
            Box::new(move |n| drop(black_box(raw.get(&key(n)))))
        }
        "moka handle" => through_handle(Moka::entries(CAPACITY)),
        "quick handle" => through_handle(Quick::entries(CAPACITY)),
        "stub handle" => through_handle(Stub::default()),
        "moka layer" => through_layer(Moka::entries(CAPACITY)),
        "quick layer" => through_layer(Quick::entries(CAPACITY)),
        "stub layer" => through_layer(Stub::default()),
        "moka future try_get_with" => {
            let cache = moka::future::Cache::builder()
                .max_capacity(CAPACITY as u64)
                .time_to_live(TTL)
                .build();
            for n in 0..KEYS {
                now(cache.insert(n as u64, Arc::new(n as u64)));
            }
            Box::new(move |n| {
                let key = key(n);
                let load = async move { Ok::<_, Infallible>(Arc::new(key)) };
                drop(black_box(now(cache.try_get_with(key, load))));
            })
        }
        "quick get_or_insert_async" => {
            let cache = raw_quick();
            Box::new(move |n| {
                let key = key(n);
                let load = async move { Ok::<_, Infallible>(Arc::new(key)) };
                drop(black_box(now(cache.get_or_insert_async(&key, load))));
            })
        }
        "moka miss" => misses_through_handle(Moka::entries(CAPACITY)),
        "quick miss" => misses_through_handle(Quick::entries(CAPACITY)),
        "moka future miss" => {
            let cache = moka::future::Cache::builder()
                .max_capacity(CAPACITY as u64)
                .time_to_live(TTL)
                .build();
            missing(move |key| {
                let cache = cache.clone();
                async move {
                    let load = async move { Ok::<_, Infallible>(Arc::new(key)) };
                    drop(black_box(cache.try_get_with(key, load).await));
                }
            })
        }
        "quick async miss" => {
            let cache = Arc::new(raw_quick());
            missing(move |key| {
                let cache = Arc::clone(&cache);
                async move {
                    let load = async move { Ok::<_, Infallible>(Arc::new(key)) };
                    drop(black_box(cache.get_or_insert_async(&key, load).await));
                }
            })
        }
        _ => panic!("no subject is called {name}"),
    }
}

fn misses_through_handle(store: impl Store<u64, u64>) -> Box<dyn Fn(usize)> {
    let cache = handle(store);
    missing(move |key| {
        let cache = cache.clone();
        async move {
            let load = |_| async move { Ok::<_, Infallible>(key) };
            drop(black_box(cache.get_or_load(&key, load).await));
        }
    })
}

/// Reads a key that was never read before, on a runtime.
fn missing<F: Future<Output = ()>>(read: impl Fn(u64) -> F + 'static) -> Box<dyn Fn(usize)> {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    let next = std::cell::Cell::new(KEYS as u64);
    Box::new(move |_| {
        next.set(next.get() + 1);
        runtime.block_on(read(next.get()));
    })
}

fn through_handle(store: impl Store<u64, u64>) -> Box<dyn Fn(usize)> {
    let cache = handle(store);
    Box::new(move |n| read(&cache, key(n)))
}

fn through_layer(store: impl Store<u64, u64>) -> Box<dyn Fn(usize)> {
    type Inner = ServiceFn<fn(u64) -> std::future::Ready<Result<u64, Infallible>>>;
    type KeyOf = fn(&u64) -> Option<u64>;
    let inner: Inner = tower::service_fn(|n| std::future::ready(Ok(n)));
    let layer = CacheAsideLayer::new(handle(store), (|n: &u64| Some(*n)) as KeyOf);
    let service: Cached<Inner, u64, u64, KeyOf> = layer.layer(inner);
    let service = std::cell::RefCell::new(service);
    Box::new(move |n| {
        let mut service = service.borrow_mut();
        drop(black_box(now(service.call(key(n)))));
    })
}

fn handle(store: impl Store<u64, u64>) -> CacheAside<u64, u64> {
    let cache = CacheAside::builder("bench").l1(store).ttl(TTL).build().unwrap();
    for n in 0..KEYS {
        now(cache.insert(&(n as u64), n as u64)).expect("there is no second tier");
    }
    cache
}

fn read(cache: &CacheAside<u64, u64>, key: u64) {
    let load = |_| async move { Ok::<_, Infallible>(key) };
    drop(black_box(now(cache.get_or_load(&key, load))));
}

fn raw_moka() -> moka::sync::Cache<u64, Arc<u64>> {
    let raw = moka::sync::Cache::new(CAPACITY as u64);
    (0..KEYS as u64).for_each(|n| raw.insert(n, Arc::new(n)));
    raw
}

fn raw_quick() -> quick_cache::sync::Cache<u64, Arc<u64>> {
    let raw = quick_cache::sync::Cache::new(CAPACITY);
    (0..KEYS as u64).for_each(|n| raw.insert(n, Arc::new(n)));
    raw
}

/// A step that is prime to the number of keys visits all of them.
fn key(n: usize) -> u64 {
    (n * 617 % KEYS) as u64
}

fn disjoint(thread: usize, n: usize) -> u64 {
    (n * 617 % (KEYS / 2) + thread * KEYS / 2) as u64
}

/// The output of a future that is ready at once, as a hit is.
fn now<F: Future>(future: F) -> F::Output {
    match pin!(future).poll(&mut Context::from_waker(Waker::noop())) {
        Poll::Ready(output) => output,
        Poll::Pending => panic!("a hit does not wait"),
    }
}

fn misses() -> usize {
    let runtime = tokio::runtime::Builder::new_multi_thread().enable_all().build().unwrap();
    let loads = Arc::new(AtomicUsize::new(0));
    runtime.block_on(async {
        let cache: CacheAside<u64, u64> =
            CacheAside::builder("miss").l1(Moka::entries(CAPACITY)).build().unwrap();
        let start = Arc::new(tokio::sync::Barrier::new(1_000));
        let mut callers = tokio::task::JoinSet::new();
        for _ in 0..1_000 {
            let (cache, loads, start) = (cache.clone(), loads.clone(), start.clone());
            callers.spawn(async move {
                start.wait().await;
                let load = |_| async move {
                    loads.fetch_add(1, Ordering::Relaxed);
                    tokio::time::sleep(Duration::from_millis(10)).await;
                    Ok::<_, Infallible>(7)
                };
                assert_eq!(cache.get_or_load(&7, load).await.unwrap(), Some(Arc::new(7)));
            });
        }
        callers.join_all().await;
    });
    let loads = loads.load(Ordering::Relaxed);
    assert_eq!(loads, 1, "concurrent misses were not joined");
    loads
}

/// The least that a store can be.
#[derive(Default)]
struct Stub(RwLock<HashMap<u64, Entry<u64>>>);

impl Store<u64, u64> for Stub {
    fn get(&self, key: &u64) -> Option<Entry<u64>> {
        self.0.read().unwrap().get(key).cloned()
    }

    fn insert(&self, key: u64, entry: Entry<u64>) {
        self.0.write().unwrap().insert(key, entry);
    }

    fn remove(&self, key: &u64) {
        self.0.write().unwrap().remove(key);
    }

    fn clear(&self) {
        self.0.write().unwrap().clear();
    }

    fn capacity(&self) -> usize {
        CAPACITY
    }
}
