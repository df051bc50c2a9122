//! What routing costs on top of a bare connection, and how many reads replicas
//! take. `cargo bench -p benches --bench rw_split`; of its parts `classify`, `cost`
//! and `shares`, one alone: `-- cost`
#![allow(clippy::unwrap_used, reason = "a panic ends a benchmark well enough")]
#![allow(clippy::disallowed_methods, reason = "wall time is what is measured here")]

use std::collections::BTreeMap;
use std::convert::Infallible;
use std::hint::black_box;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use benches::{Counting, allocations, answer_count_request, compare, instructions_per_op};
use http::header::{COOKIE, SET_COOKIE};
use http::{HeaderValue, Request, Response};
use nix::sched::{CpuSet, sched_setaffinity};
use nix::time::{ClockId, clock_gettime};
use nix::unistd::Pid;
use rw_split::{ConsistencyLayer, ConsistencyScope, Level, RwSplit, ServerConfig, TokenKeys};
use testbed::postgres::{Client, Postgres, Replica};
use tokio::runtime;
use tokio_postgres::Statement;
use tower::{Layer, ServiceExt, service_fn};

#[global_allocator]
static ALLOCATOR: Counting = Counting;

/// What a service sends all day.
const STATEMENTS: [&str; 6] = [
    "SELECT id, name, email, created_at FROM users WHERE id = $1",
    "SELECT \"users\".* FROM \"users\" WHERE \"users\".\"id\" = $1 LIMIT 1",
    "SELECT count(*) FROM orders WHERE user_id = $1 AND status <> 'done'",
    "SELECT o.id, o.total, u.name FROM orders o JOIN users u ON u.id = o.user_id WHERE o.id = $1",
    "SELECT id, title, price FROM products WHERE id = ANY($1) ORDER BY id",
    "SELECT coalesce(sum(total), 0) FROM orders WHERE user_id = $1",
];
const READ: &str = "SELECT id, n FROM t WHERE id = $1";
const WRITE: &str = "UPDATE t SET n = n + 1 WHERE id = $1";
/// Pairs of blocks.
const PAIRS: usize = 60;

fn main() {
    if answer_count_request(|name| Box::new(uncached_of(name))) {
        return;
    }
    one_core();
    let runtime = runtime::Builder::new_current_thread().enable_all().build().unwrap();
    let bed = runtime.block_on(Bed::new());
    let words: Vec<String> = std::env::args().skip(1).filter(|w| !w.starts_with('-')).collect();
    let asked = |part: &str| words.is_empty() || words.iter().any(|word| word == part);
    if asked("classify") {
        classify(&runtime, &bed);
    }
    if asked("cost") {
        runtime.block_on(costs(&bed));
    }
    if asked("shares") {
        let workers =
            runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build();
        workers.unwrap().block_on(shares(&bed));
    }
}

/// For this process and the servers that it starts. On several, an answer costs half
/// as much or twice as much by where the system has put each connection's process,
/// for as long as that stays there, which hides what is measured.
fn one_core() {
    let mut cores = CpuSet::new();
    cores.set(0).unwrap();
    sched_setaffinity(Pid::from_raw(0), &cores).unwrap();
}

async fn costs(bed: &Bed) {
    println!(
        "\nOver the loopback to a server on the same machine, one caller; medians of {PAIRS} \
         ratios of interleaved blocks, a bare connection's prepared statement beside it:\n"
    );
    println!(
        "{:22} {:>8} {:>8} {:>6} {:>6} {:>8} {:>8} {:>6} {:>6}",
        "", "p50 us", "bare", "ratio", "A/A", "CPU us", "bare", "ratio", "A/A"
    );
    bed.routed("routed read", READ, true, 300, "(aim: p50 1.05, CPU 1.10)").await;
    bed.routed("write, in memory", WRITE, false, 200, "(the commit itself costs nothing)")
        .await;
    // The testbed's data is in memory. A commit that waits 1 ms is one on a disk.
    let client = bed.primary.client().await.unwrap();
    for setting in ["fsync = on", "commit_siblings = 0", "commit_delay = 1000"] {
        client.batch_execute(&format!("ALTER SYSTEM SET {setting}")).await.unwrap();
    }
    client.batch_execute("SELECT pg_reload_conf()").await.unwrap();
    bed.routed("write, 1 ms commits", WRITE, false, 50, "(aim: p50 1.10)").await;
    client.batch_execute("ALTER SYSTEM RESET ALL").await.unwrap();
    client.batch_execute("SELECT pg_reload_conf()").await.unwrap();
}

async fn shares(bed: &Bed) {
    println!("\nReads on replicas, 17 sessions each, 10 % writes, 0.3 s of thought, 30 s:\n");
    println!(
        "{:34} {:>6} {:>9} {:>9} {:>9} {:>9}",
        "", "reads", "ours", "2 s pin", "its stale", "cookies"
    );
    bed.shares("both at 100 ms", 0, [100, 100], "(aim: 97 %, cookies 5 %)").await;
    bed.shares("one in step, one at 1 s", 100, [0, 1000], "(aim: 99 %)").await;
    bed.shares("both at 3 s", 200, [3000, 3000], "").await;
}

fn uncached_of(_: &str) -> impl Fn(usize) + use<> {
    |n| {
        black_box(RwSplit::route(black_box(STATEMENTS[n % STATEMENTS.len()])));
    }
}

fn classify(runtime: &runtime::Runtime, bed: &Bed) {
    let db = runtime.block_on(bed.builder().build()).unwrap();
    let uncached = uncached_of("");
    let cached = |n: usize| {
        black_box(db.target(black_box(STATEMENTS[n % STATEMENTS.len()])));
    };
    let result = compare(&uncached, cached);
    println!("Classifying, {} statements in turn, thread CPU time:\n", STATEMENTS.len());
    println!("uncached {:>8.0} ns  (aim: 700)", result.subject);
    println!("cached   {:>8.1} ns  (aim: 50)", result.baseline);
    if let Some(instructions) = instructions_per_op("uncached") {
        println!("uncached {instructions:>8.0} instructions");
    }
    let count = allocations(|| (0..100_000).for_each(cached));
    println!("allocations in 100,000 cached look-ups: {count}");
    assert_eq!(count, 0, "a cached look-up allocates");
}

struct Bed {
    primary: Postgres,
    replicas: [Replica; 2],
}

impl Bed {
    async fn new() -> Self {
        let primary = Postgres::start().await.unwrap();
        let client = primary.client().await.unwrap();
        let tables = ["t", "s"].map(|table| {
            format!(
                "CREATE TABLE {table} (id int PRIMARY KEY, n bigint) WITH (fillfactor = 20); \
                 INSERT INTO {table} SELECT id, 0 FROM generate_series(0, 999) AS id;"
            )
        });
        let tables = &tables.concat();
        client.batch_execute(tables).await.unwrap();
        let replicas = [primary.replica().await.unwrap(), primary.replica().await.unwrap()];
        for replica in &replicas {
            replica.caught_up(Duration::from_secs(10)).await.unwrap();
        }
        Self { primary, replicas }
    }

    fn builder(&self) -> rw_split::RwSplitBuilder {
        let [one, other] = &self.replicas;
        RwSplit::builder()
            .server(ServerConfig::new(self.primary.url()).name("primary"))
            .server(ServerConfig::new(one.url()).name("one"))
            .server(ServerConfig::new(other.url()).name("other"))
    }

    /// One statement, routed and bare, against the same server.
    async fn routed(&self, name: &str, sql: &str, read: bool, block: usize, aim: &str) {
        let db = RwSplit::builder()
            .server(ServerConfig::new(self.primary.url()).name("primary"))
            .server(ServerConfig::new(self.replicas[0].url()).name("one"));
        let db = db.build().await.unwrap();
        let server = if read { &*self.replicas[0] } else { &self.primary };
        let bare = Bare::new(server, sql).await;
        // For the A/A ratio: a connection of its own, as ours has.
        let twin = Bare::new(server, sql).await;
        let scope = ConsistencyScope::new(rw_split::ConsistencyToken::default());

        let ours = async |n: i32| {
            if read {
                black_box(db.query(sql, &[&n]).await.unwrap());
            } else {
                black_box(db.execute(sql, &[&n]).await.unwrap());
            }
        };
        let ours = async || scope.enter(measure(block, &ours)).await;
        let theirs = async || measure(block, &async |n| bare.run(read, n).await).await;
        let twins = async || measure(block, &async |n| twin.run(read, n).await).await;
        ours().await;
        theirs().await;
        twins().await;
        let mut blocks = Vec::new();
        for pair in 0..PAIRS {
            blocks.push(if pair % 2 == 0 {
                (ours().await, theirs().await, twins().await)
            } else {
                let (again, other) = (twins().await, theirs().await);
                (ours().await, other, again)
            });
        }
        let stats = db.stats();
        if read {
            let all = stats.on_replicas + stats.reads_on_primary;
            assert!(stats.on_replicas * 100 > all * 99, "not on the replica: {stats:?}");
        }
        let of = |figure: fn(&(Block, Block, Block)) -> f64| {
            median(blocks.iter().map(figure).collect())
        };
        println!(
            "{name:22} {:>8.1} {:>8.1} {:>6.3} {:>6.3} {:>8.2} {:>8.2} {:>6.3} {:>6.3}  {aim}",
            of(|(one, _, _)| one.p50),
            of(|(_, other, _)| other.p50),
            of(|(one, other, _)| one.p50 / other.p50),
            of(|(_, other, again)| again.p50 / other.p50),
            of(|(one, _, _)| one.cpu),
            of(|(_, other, _)| other.cpu),
            of(|(one, other, _)| one.cpu / other.cpu),
            of(|(_, other, again)| again.cpu / other.cpu),
        );
    }

    /// Sessions with cookies on two processes, ours and with a pin, at once.
    async fn shares(&self, name: &str, first: i32, delays: [u64; 2], aim: &str) {
        for (replica, delay) in self.replicas.iter().zip(delays) {
            replica.delay_replay(Duration::from_millis(delay)).await.unwrap();
        }
        let traffic = |level| Traffic::new(self, level);
        let ours = traffic(Level::Session).await;
        let pin = traffic(Level::PinWindow(Duration::from_secs(2))).await;
        let sessions = (0..17).flat_map(|number| {
            [
                tokio::spawn(Arc::clone(&ours).session(first + 2 * number)),
                tokio::spawn(Arc::clone(&pin).session(first + 2 * number + 1)),
            ]
        });
        for session in sessions.collect::<Vec<_>>() {
            session.await.unwrap();
        }
        println!(
            "{name:34} {:>6} {:>7.1} % {:>7.1} % {:>9} {:>7.1} %  {aim}",
            ours.reads.load(Ordering::Relaxed),
            ours.share(),
            pin.share(),
            pin.stale.load(Ordering::Relaxed),
            100.0 * ours.cookies.load(Ordering::Relaxed) as f64
                / ours.reads.load(Ordering::Relaxed) as f64,
        );
        assert_eq!(ours.stale.load(Ordering::Relaxed), 0, "a write was not read back");
    }
}

/// A connection and its prepared statement.
struct Bare {
    client: Client,
    statement: Statement,
}

impl Bare {
    async fn new(server: &Postgres, sql: &str) -> Self {
        let client = Client::connect(&server.url()).await.unwrap();
        let statement = client.prepare(sql).await.unwrap();
        Self { client, statement }
    }

    async fn run(&self, read: bool, n: i32) {
        if read {
            black_box(self.client.query(&self.statement, &[&n]).await.unwrap());
        } else {
            black_box(self.client.execute(&self.statement, &[&n]).await.unwrap());
        }
    }
}

/// Microseconds: the median latency, and the thread's CPU time by operation.
#[derive(Clone, Copy)]
struct Block {
    p50: f64,
    cpu: f64,
}

async fn measure(block: usize, work: &impl AsyncFn(i32)) -> Block {
    let before = cpu();
    let mut times = Vec::with_capacity(block);
    for n in 0..block {
        let began = Instant::now();
        work((n % 1000) as i32).await;
        times.push(began.elapsed().as_secs_f64() * 1e6);
    }
    Block { p50: median(times), cpu: (cpu() - before) / block as f64 }
}

fn cpu() -> f64 {
    let time = clock_gettime(ClockId::CLOCK_THREAD_CPUTIME_ID).unwrap();
    time.tv_sec() as f64 * 1e6 + time.tv_nsec() as f64 / 1e3
}

fn median(mut values: Vec<f64>) -> f64 {
    values.sort_by(f64::total_cmp);
    values[values.len() / 2]
}

struct Traffic {
    apps: [(RwSplit, ConsistencyLayer); 2],
    reads: AtomicU64,
    cookies: AtomicU64,
    stale: AtomicU64,
}

impl Traffic {
    async fn new(bed: &Bed, level: Level) -> Arc<Self> {
        let app = async |slot| {
            let keys = TokenKeys::new(&[7; 32]).unwrap();
            let db = bed.builder().level(level).build().await.unwrap();
            (db, ConsistencyLayer::cookie("rw", keys).unwrap().slot(slot))
        };
        Arc::new(Self {
            apps: [app(0).await, app(1).await],
            reads: AtomicU64::new(0),
            cookies: AtomicU64::new(0),
            stale: AtomicU64::new(0),
        })
    }

    /// Of all reads that replicas have answered.
    fn share(&self) -> f64 {
        let stats = self.apps.each_ref().map(|(db, _)| db.stats());
        let on: u64 = stats.iter().map(|stats| stats.on_replicas).sum();
        let all = on + stats.iter().map(|stats| stats.reads_on_primary).sum::<u64>();
        100.0 * on as f64 / all as f64
    }

    async fn session(self: Arc<Self>, id: i32) {
        let jar = Mutex::new(BTreeMap::new());
        let end = Instant::now() + Duration::from_secs(30);
        let mut written = None;
        while Instant::now() < end {
            tokio::time::sleep(Duration::from_millis(300).mul_f64(2.0 * fastrand::f64())).await;
            if fastrand::f64() < 0.1 {
                let value = written.unwrap_or(0) + 1;
                self.call(Some(value), id, &jar).await;
                written = Some(value);
            } else {
                let (seen, cookies) = self.call(None, id, &jar).await;
                self.reads.fetch_add(1, Ordering::Relaxed);
                self.cookies.fetch_add(u64::from(cookies), Ordering::Relaxed);
                let stale = written.is_some_and(|written| seen < written);
                self.stale.fetch_add(u64::from(stale), Ordering::Relaxed);
            }
        }
    }

    async fn call(
        &self,
        value: Option<i64>,
        id: i32,
        jar: &Mutex<BTreeMap<String, String>>,
    ) -> (i64, bool) {
        let (db, layer) = &self.apps[usize::from(fastrand::f64() < 0.5)];
        let service = service_fn(|_: Request<()>| async {
            let sql = "SELECT n FROM s WHERE id = $1";
            let seen = match value {
                None => db.query_one(sql, &[&id]).await.unwrap().get(0),
                Some(value) => {
                    let sql = "UPDATE s SET n = $2 WHERE id = $1";
                    db.execute(sql, &[&id, &value]).await.unwrap();
                    value
                }
            };
            Ok::<_, Infallible>(Response::new(seen))
        });
        let mut request = Request::new(());
        let cookies: Vec<_> =
            jar.lock().unwrap().iter().map(|(name, value)| format!("{name}={value}")).collect();
        if !cookies.is_empty() {
            let cookies = HeaderValue::from_str(&cookies.join("; ")).unwrap();
            request.headers_mut().insert(COOKIE, cookies);
        }
        let response = layer.layer(service).oneshot(request).await.unwrap();
        let mut set = false;
        for cookie in response.headers().get_all(SET_COOKIE) {
            let pair = cookie.to_str().unwrap().split(';').next().unwrap();
            let (name, value) = pair.split_once('=').unwrap();
            jar.lock().unwrap().insert(name.to_owned(), value.to_owned());
            set = true;
        }
        (response.into_body(), set)
    }
}
