//! What a hit in the second tier costs beside the bare `redis` crate, what is left of
//! it when Redis is gone, and that a thousand misses of two processes are one load.
//! `cargo bench -p benches --bench cache_aside_redis`
#![allow(clippy::unwrap_used, reason = "a panic ends a benchmark well enough")]
#![allow(clippy::disallowed_methods, reason = "it measures real time")]

use std::hint::black_box;
use std::io::{self, BufRead, Write};
use std::process::{Child, ChildStdin, Command, Stdio};
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::{Duration, Instant};

use benches::compare;
use cache_aside::{Batch, CacheAside, Loaded, Moka, RedisStore};
use redis::aio::MultiplexedConnection;
use redis::io::tcp::TcpSettings;
use redis::{Client, IntoConnectionInfo};
use testbed::redis::Redis;
use tokio::runtime::Runtime;

const KEYS: u64 = 1_000;
const VALUE: usize = 256;
const PAIRS: usize = 40;

/// Set for the processes that this one starts: where Redis is.
const WORKER: &str = "EARNED_BENCH_WORKER";

type Cache = CacheAside<u64, String>;

fn main() {
    if let Ok(url) = std::env::var(WORKER) {
        return work(&url);
    }
    let runtime = runtime();
    let redis = runtime.block_on(Redis::start()).unwrap();
    hits(&runtime, &redis);
    without(&runtime);
    misses(&redis);
}

/// The client has one thread, so that the server has the other core.
fn runtime() -> Runtime {
    tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap()
}

fn shared(redis: &Redis) -> Cache {
    CacheAside::builder("bench").l2(RedisStore::open(redis.url()).unwrap()).build().unwrap()
}

/// As `RedisStore` connects.
async fn bare(redis: &Redis) -> MultiplexedConnection {
    let info = redis.url().into_connection_info().unwrap();
    let info = info.set_tcp_settings(TcpSettings::default().set_nodelay(true));
    Client::open(info).unwrap().get_multiplexed_async_connection().await.unwrap()
}

fn value(key: u64) -> String {
    format!("{key:0VALUE$}")
}

async fn fill(cache: &Cache, connection: &MultiplexedConnection) {
    for key in 0..KEYS {
        cache.insert(&key, value(key)).await.unwrap();
        let mut set = redis::cmd("SET");
        let set = set.arg(format!("bare:{key}")).arg(value(key));
        let _: () = set.query_async(&mut connection.clone()).await.unwrap();
    }
}

async fn get(mut connection: MultiplexedConnection, key: u64) {
    let mut get = redis::cmd("GET");
    let found: String =
        get.arg(format!("bare:{key}")).query_async(&mut connection).await.unwrap();
    black_box(found);
}

async fn mget(mut connection: MultiplexedConnection, first: u64) {
    let mut mget = redis::cmd("MGET");
    for key in first..first + 20 {
        mget.arg(format!("bare:{}", key % KEYS));
    }
    let found: Vec<String> = mget.query_async(&mut connection).await.unwrap();
    black_box(found);
}

async fn hit(cache: Cache, key: u64) {
    let load = |_| async { Err::<String, _>(io::Error::other("it is a hit")) };
    black_box(cache.get_or_load(&key, load).await.unwrap().unwrap());
}

async fn hit_many(cache: Cache, first: u64) {
    let keys: [u64; 20] = std::array::from_fn(|n| (first + n as u64) % KEYS);
    let load = |_: Batch<u64>| async {
        Err::<Vec<(u64, String)>, _>(io::Error::other("all are hits"))
    };
    for found in black_box(cache.get_many(&keys, load).await) {
        assert!(found.unwrap().is_some());
    }
}

fn hits(runtime: &Runtime, redis: &Redis) {
    println!("Hits in Redis of {VALUE} bytes, one connection, {PAIRS} interleaved pairs:\n");
    println!("{:28} {:>10} {:>10} {:>7} {:>7}", "", "ours /s", "GET /s", "ratio", "A/A");
    let cache = shared(redis);
    runtime.block_on(async {
        let connection = bare(redis).await;
        fill(&cache, &connection).await;
        for (at_once, block) in [(1, 1_000), (64, 10_000)] {
            let (ours, theirs) = ((&cache, hit), (&connection, get));
            pairs(&format!("get_or_load, {at_once} at a time"), at_once, block, ours, theirs)
                .await;
        }
        println!("{:28} (aim: a ratio of 0.85)", "");
        println!("\n20 keys at once:\n");
        println!("{:28} {:>10} {:>10} {:>7} {:>7}", "", "ours /s", "MGET /s", "ratio", "A/A");
        for (at_once, block) in [(1, 500), (16, 2_000)] {
            let (ours, theirs) = ((&cache, hit_many), (&connection, mget));
            pairs(&format!("get_many, {at_once} at a time"), at_once, block, ours, theirs)
                .await;
        }
        println!("{:28} (aim: a ratio of 0.77, 1.3 times as long)", "");
    });
}

/// Prints the medians of both rates, of their ratio, and of that of the second to
/// itself.
async fn pairs<A: Clone + Send + 'static, B: Clone + Send + 'static, F, G>(
    name: &str,
    at_once: u64,
    block: u64,
    (subject, ours): (&A, impl Fn(A, u64) -> F + Copy + Send + 'static),
    (baseline, theirs): (&B, impl Fn(B, u64) -> G + Copy + Send + 'static),
) where
    F: Future<Output = ()> + Send + 'static,
    G: Future<Output = ()> + Send + 'static,
{
    let (mut ones, mut others, mut ratios, mut selves) = (vec![], vec![], vec![], vec![]);
    rate(at_once, block, subject, ours).await;
    rate(at_once, block, baseline, theirs).await;
    for pair in 0..PAIRS {
        let (one, other, again);
        if pair % 2 == 0 {
            one = rate(at_once, block, subject, ours).await;
            other = rate(at_once, block, baseline, theirs).await;
            again = rate(at_once, block, baseline, theirs).await;
        } else {
            again = rate(at_once, block, baseline, theirs).await;
            other = rate(at_once, block, baseline, theirs).await;
            one = rate(at_once, block, subject, ours).await;
        }
        ones.push(one);
        others.push(other);
        ratios.push(one / other);
        selves.push(again / other);
    }
    let [one, other, ratio, a_to_a] = [ones, others, ratios, selves].map(median);
    println!("{name:28} {one:>10.0} {other:>10.0} {ratio:>7.2} {a_to_a:>7.3}");
}

/// Operations in a second, `at_once` of them under way at any time.
async fn rate<S: Clone + Send + 'static, F>(
    at_once: u64,
    block: u64,
    subject: &S,
    operation: impl Fn(S, u64) -> F + Copy + Send + 'static,
) -> f64
where
    F: Future<Output = ()> + Send + 'static,
{
    let began = Instant::now();
    let mut running = tokio::task::JoinSet::new();
    for n in 0..at_once {
        let subject = subject.clone();
        running.spawn(async move {
            for key in (n..block).step_by(at_once as usize) {
                operation(subject.clone(), key % KEYS).await;
            }
        });
    }
    running.join_all().await;
    block as f64 / began.elapsed().as_secs_f64()
}

fn median(mut values: Vec<f64>) -> f64 {
    values.sort_by(f64::total_cmp);
    values[values.len() / 2]
}

/// A read that has to load, with the breaker open, beside one without a second tier.
fn without(runtime: &Runtime) {
    let _entered = runtime.enter();
    // Nobody listens there.
    let gone = RedisStore::open("redis://127.0.0.1:1/").unwrap();
    let open: Cache = CacheAside::builder("gone").l2(gone).build().unwrap();
    let none: Cache = CacheAside::builder("none").l1(Moka::entries(100)).build().unwrap();
    let read = |cache: &Cache, key: usize| {
        let load =
            |_| async { Ok::<_, io::Error>(Loaded::value(String::new()).do_not_store()) };
        runtime.block_on(cache.get_or_load(&(key as u64), load)).unwrap();
    };
    for key in 0..20 {
        read(&open, key);
    }
    assert!(runtime.block_on(open.explain(&0)).bypassed, "the breaker is open");
    let found = compare(|n| read(&open, n), |n| read(&none, n));
    println!(
        "\nA read that loads, with the breaker open: {:.0} ns, without a second tier {:.0} ns, \
         {:.0} ns more (aim: 2,000 more; A/A {:.3})",
        found.subject, found.baseline, found.more, found.a_to_a
    );
}

/// Of two processes, on one key, while a load takes 100 ms.
fn misses(redis: &Redis) {
    let mut workers = [(); 2].map(|()| Worker::start(&redis.url()));
    let mut loads = Vec::new();
    for round in 0..20_u64 {
        for worker in &mut workers {
            writeln!(worker.orders, "{round}").unwrap();
        }
        loads.push(workers.iter_mut().map(Worker::answer).sum::<usize>());
    }
    println!("\n1,000 misses on one key over two processes, 20 rounds: loads {loads:?}");
    assert_eq!(loads, [1; 20], "each round is one load");
}

struct Worker {
    child: Child,
    orders: ChildStdin,
    answers: io::BufReader<std::process::ChildStdout>,
}

impl Worker {
    fn start(url: &str) -> Self {
        let mut child = Command::new(std::env::current_exe().unwrap())
            .env(WORKER, url)
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()
            .unwrap();
        let (orders, answers) = (child.stdin.take().unwrap(), child.stdout.take().unwrap());
        Self { child, orders, answers: io::BufReader::new(answers) }
    }

    fn answer(&mut self) -> usize {
        let mut line = String::new();
        self.answers.read_line(&mut line).unwrap();
        line.trim().parse().unwrap()
    }
}

impl Drop for Worker {
    fn drop(&mut self) {
        // It may have ended by itself.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// Reads keys from its input, misses each 500 times at once, and answers with how many
/// loads that were.
fn work(url: &str) {
    let runtime = runtime();
    let cache: Cache = {
        let _entered = runtime.enter();
        CacheAside::builder("bench").l2(RedisStore::open(url).unwrap()).build().unwrap()
    };
    for key in io::stdin().lines() {
        let key: u64 = KEYS + key.unwrap().parse::<u64>().unwrap();
        let loads = Arc::new(AtomicUsize::new(0));
        runtime.block_on(async {
            let mut readers = tokio::task::JoinSet::new();
            for _ in 0..500 {
                let (cache, loads) = (cache.clone(), loads.clone());
                readers.spawn(async move {
                    let load = |_| async move {
                        loads.fetch_add(1, Ordering::SeqCst);
                        tokio::time::sleep(Duration::from_millis(100)).await;
                        Ok::<_, io::Error>("loaded".to_owned())
                    };
                    cache.get_or_load(&key, load).await.unwrap();
                });
            }
            readers.join_all().await;
        });
        println!("{}", loads.load(Ordering::SeqCst));
        io::stdout().flush().unwrap();
    }
}
