//! What placement and routing cost. `cargo bench -p benches --bench shard_router`; of its parts
//! `route`, `query`, `scatter` and `memory`, one alone: `-- route`
#![allow(clippy::unwrap_used, reason = "a panic ends a benchmark well enough")]
#![allow(clippy::disallowed_methods, reason = "wall time is what is measured here")]

use std::hint::black_box;
use std::time::{Duration, Instant};

use benches::{Counting, allocations, answer_count_request, compare, instructions_per_op};
use maglev::ConsistentHasher;
use nix::sched::{CpuSet, sched_getaffinity, sched_setaffinity};
use nix::time::{ClockId, clock_gettime};
use nix::unistd::Pid;
use shard_router::{Error, KeyType, Router, Scatter, SlotHash, SlotMap, Topology, asc};
use testbed::link::Link;
use testbed::postgres::{Client, Postgres};
use tokio::runtime;
use tokio_postgres::Statement;

#[global_allocator]
static ALLOCATOR: Counting = Counting;

const SHARDS: usize = 128;
const READ: &str = "SELECT id, n FROM t WHERE id = $1";
/// Pairs of blocks.
const PAIRS: usize = 60;

/// A name, and what does a block of it.
type Subject = (&'static str, Box<dyn Fn(usize)>);

fn main() {
    if answer_count_request(operation) {
        return;
    }
    let words: Vec<String> = std::env::args().skip(1).filter(|w| !w.starts_with('-')).collect();
    let asked = |part: &str| words.is_empty() || words.iter().any(|word| word == part);
    let runtime = runtime::Builder::new_current_thread().enable_all().build().unwrap();
    if asked("route") {
        route();
    }
    if asked("query") {
        runtime.block_on(query());
    }
    if asked("scatter") {
        runtime.block_on(scatter());
    }
    if asked("memory") {
        runtime.block_on(memory());
    }
}

fn names() -> Vec<String> {
    (0..SHARDS).map(|number| format!("shard-{number}")).collect()
}

/// Texts of 24 bytes.
fn texts() -> Vec<String> {
    (0..1024_u64)
        .map(|n| format!("user:{:019}", n.wrapping_mul(0x9E37_79B9_7F4A_7C15) >> 4))
        .collect()
}

fn operation(name: &str) -> Box<dyn Fn(usize)> {
    let texts = texts();
    let map = SlotMap::even(names()).unwrap();
    let xxh3 = map.clone().with_hash(SlotHash::Xxh3);
    match name {
        "i64" => Box::new(move |n| {
            black_box(map.owner_index(map.slot(&black_box(n as i64))));
        }),
        "text" => Box::new(move |n| {
            black_box(map.owner_index(map.slot(texts[n % 1024].as_str())));
        }),
        "i64, xxh3" => Box::new(move |n| {
            black_box(xxh3.owner_index(xxh3.slot(&black_box(n as i64))));
        }),
        _ => Box::new(move |n| {
            black_box(xxh3.owner_index(xxh3.slot(texts[n % 1024].as_str())));
        }),
    }
}

/// A whole block of an operation, so that only blocks are called through a pointer.
fn each(work: impl Fn(usize) + 'static) -> Box<dyn Fn(usize)> {
    Box::new(move |length| (0..length).for_each(|n| work(black_box(n))))
}

/// Nanoseconds of one operation: the best of 60 blocks, interleaved with those of the others.
/// Blocks take about a millisecond each, whatever is in them.
fn best(subjects: &[Subject]) -> Vec<f64> {
    const TRIAL: usize = 1_000;
    let took = |work: &dyn Fn(usize), length: usize| {
        let before = cpu();
        work(length);
        (cpu() - before) * 1e3 / length as f64
    };
    let length = |(_, work): &Subject| (1e6 / took(work, TRIAL)) as usize;
    let lengths: Vec<usize> = subjects.iter().map(length).collect();
    let mut best = vec![f64::INFINITY; subjects.len()];
    for _ in 0..PAIRS {
        for (((_, work), best), length) in subjects.iter().zip(&mut best).zip(&lengths) {
            *best = best.min(took(work, *length));
        }
    }
    best
}

fn route() {
    let names = names();
    let texts = texts();
    let map = SlotMap::even(names.clone()).unwrap();
    let (one, other, keys) = (map.clone(), map, texts.clone());
    let mut subjects: Vec<Subject> = vec![
        (
            "slots, i64",
            each(move |n| {
                black_box(one.owner_index(one.slot(&(n as i64))));
            }),
        ),
        (
            "slots, text",
            each(move |n| {
                black_box(other.owner_index(other.slot(keys[n % 1024].as_str())));
            }),
        ),
        ("slots + xxh3, i64", each(operation("i64, xxh3"))),
        ("slots + xxh3, text", each(operation("text, xxh3"))),
    ];
    let mut ring = hashring::HashRing::new();
    ring.batch_add(names.clone());
    let (one, keys) = (ring.clone(), texts.clone());
    subjects.push((
        "hashring, i64",
        each(move |n| {
            black_box(one.get(&(n as i64)));
        }),
    ));
    subjects.push((
        "hashring, text",
        each(move |n| {
            black_box(ring.get(&keys[n % 1024]));
        }),
    ));
    let (jump, keys) = (jumphash::JumpHasher::new_with_keys(1, 2), texts.clone());
    let other = jumphash::JumpHasher::new_with_keys(1, 2);
    let shards = SHARDS as u32;
    subjects.push((
        "jumphash, i64",
        each(move |n| {
            black_box(jump.slot(&(n as i64), shards));
        }),
    ));
    subjects.push((
        "jumphash, text",
        each(move |n| {
            black_box(other.slot(&keys[n % 1024], shards));
        }),
    ));
    let (table, keys) = (maglev::Maglev::new(names.clone()), texts.clone());
    let other = maglev::Maglev::new(names.clone());
    subjects.push((
        "maglev, i64",
        each(move |n| {
            black_box(table.get(&(n as i64)));
        }),
    ));
    subjects.push((
        "maglev, text",
        each(move |n| {
            black_box(other.get(&keys[n % 1024]));
        }),
    ));
    // Its nodes are borrowed texts.
    let leaked: Vec<&'static str> = names.into_iter().map(|name| &*name.leak()).collect();
    let nodes = || {
        let mut nodes = rendezvous_hash::RendezvousNodes::default();
        for name in &leaked {
            nodes.insert(*name);
        }
        nodes
    };
    let (one, other, keys) = (nodes(), nodes(), texts);
    subjects.push((
        "rendezvous_hash, i64",
        each(move |n| {
            black_box(one.calc_candidates(&(n as i64)).next());
        }),
    ));
    subjects.push((
        "rendezvous_hash, text",
        each(move |n| {
            black_box(other.calc_candidates(&keys[n % 1024]).next());
        }),
    ));
    println!(
        "A key's shard of {SHARDS}, thread CPU time, best of {PAIRS} interleaved blocks:\n"
    );
    for ((name, _), nanos) in subjects.iter().zip(best(&subjects)) {
        let aim = match *name {
            "slots, i64" => "  (aim: 2)",
            "slots, text" => "  (aim: 8.5)",
            _ => "",
        };
        println!("{name:24} {nanos:>9.2} ns{aim}");
    }
    for name in ["i64", "text"] {
        if let Some(instructions) = instructions_per_op(name) {
            println!("slots, {name:17} {instructions:>9.1} instructions");
        }
        let work = operation(name);
        let count = allocations(|| (0..100_000).for_each(&work));
        assert_eq!(count, 0, "routing allocates");
    }
    println!("allocations in 200,000 routes: 0");
    let aa = compare(operation("i64"), operation("i64"));
    println!("A/A of slots, i64: {:.3}", aa.ratio);
}

async fn router_of(servers: &[(&str, String)]) -> Router {
    let map = SlotMap::even(servers.iter().map(|(name, _)| *name)).unwrap();
    let topology = Topology::new(map, [KeyType::Int]).unwrap();
    let topology = servers
        .iter()
        .fold(topology, |topology, (name, url)| topology.shard(name, url).unwrap());
    let router = Router::builder(topology).build().unwrap();
    router.install().await.unwrap();
    router
}

/// Microseconds: the median latency, and the thread's CPU time by operation.
#[derive(Clone, Copy)]
struct Block {
    p50: f64,
    cpu: f64,
}

async fn measure(work: impl AsyncFn(i64)) -> Block {
    const BLOCK: i64 = 300;
    let before = cpu();
    let mut times = Vec::new();
    for n in 0..BLOCK {
        let began = Instant::now();
        work(n).await;
        times.push(began.elapsed().as_secs_f64() * 1e6);
    }
    Block { p50: median(times), cpu: (cpu() - before) / BLOCK as f64 }
}

/// A query through `with`, and a bare connection's prepared statement against the same server,
/// all of them on one core: on several, an answer costs half as much or twice as much by where
/// the system has put each connection's process, which hides what is measured.
async fn query() {
    let everywhere = sched_getaffinity(Pid::from_raw(0)).unwrap();
    let mut one = CpuSet::new();
    one.set(0).unwrap();
    sched_setaffinity(Pid::from_raw(0), &one).unwrap();
    let server = Postgres::start().await.unwrap();
    let client = server.client().await.unwrap();
    let table = "CREATE TABLE t (id bigint PRIMARY KEY, n bigint); \
        INSERT INTO t SELECT id, 0 FROM generate_series(0, 999) AS id";
    client.batch_execute(table).await.unwrap();
    let router = router_of(&[("a", server.url())]).await;
    let bare = Bare::new(&server).await;
    // For the A/A ratio: a connection of its own, as ours has.
    let twin = Bare::new(&server).await;
    let ours = async || {
        measure(async |n: i64| {
            let rows =
                router.with(&n, |shard| async move { shard.query(READ, &[&n]).await }).await;
            black_box(rows.unwrap());
        })
        .await
    };
    let theirs = async || measure(async |n| bare.run(n).await).await;
    let twins = async || measure(async |n| twin.run(n).await).await;
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
    sched_setaffinity(Pid::from_raw(0), &everywhere).unwrap();
    let of =
        |figure: fn(&(Block, Block, Block)) -> f64| median(blocks.iter().map(figure).collect());
    println!(
        "\nA query through `with`, and a bare connection's prepared statement:\n\
         p50 {:.1} us, {:.1} us: {:.3}, A/A {:.3}  (aim: 1.05)\n\
         CPU {:.2} us, {:.2} us: {:.3}, A/A {:.3}  (aim: 1.10)",
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

/// A connection and its prepared statement.
struct Bare {
    client: Client,
    statement: Statement,
}

impl Bare {
    async fn new(server: &Postgres) -> Self {
        let client = Client::connect(&server.url()).await.unwrap();
        let statement = client.prepare(READ).await.unwrap();
        Self { client, statement }
    }

    async fn run(&self, n: i64) {
        black_box(self.client.query(&self.statement, &[&n]).await.unwrap());
    }
}

/// Four shards with latencies of their own: what one of them takes alone, the slowest, and what
/// the scatter takes.
async fn scatter() {
    let mut servers = Vec::new();
    for _ in 0..4 {
        servers.push(Postgres::start().await.unwrap());
    }
    let links: Vec<_> = servers.iter().map(|server| Link::to(server.addr()).unwrap()).collect();
    let urls: Vec<_> = ["a", "b", "c", "d"]
        .into_iter()
        .zip(servers.iter().zip(&links))
        .map(|(name, (server, link))| (name, server.url_at(link.addr())))
        .collect();
    let router = router_of(&urls).await;
    println!("\nA scatter over 4 shards, and its slowest shard alone:");
    for delays in [[0, 0, 0, 0], [1, 2, 3, 5], [10, 10, 10, 20]] {
        for (link, millis) in links.iter().zip(delays) {
            link.delay(Duration::from_millis(millis));
        }
        let slowest = Client::connect(&urls[3].1).await.unwrap();
        let statement = slowest.prepare("SELECT 1").await.unwrap();
        let (mut all, mut alone, mut ratios) = (vec![], vec![], vec![]);
        for round in 0..40 {
            let began = Instant::now();
            let scatter = router.scatter(Scatter::require_all()).query("SELECT 1", &[]);
            black_box(scatter.await.unwrap());
            let whole = began.elapsed().as_secs_f64() * 1e3;
            let began = Instant::now();
            black_box(slowest.query(&statement, &[]).await.unwrap());
            let one = began.elapsed().as_secs_f64() * 1e3;
            // The first ones connect and prepare.
            if round >= 5 {
                all.push(whole);
                alone.push(one);
                ratios.push(whole / one);
            }
        }
        println!(
            "delays {delays:?} ms each way: {:.2} ms, {:.2} ms: {:.3}  (aim: 1.3)",
            median(all),
            median(alone),
            median(ratios)
        );
    }
}

/// Rows of four shards in order, as they come.
async fn memory() {
    let builder = ["a", "b", "c", "d"]
        .into_iter()
        .fold(Postgres::builder(), |builder, name| builder.database(name));
    let server = builder.start().await.unwrap();
    let urls: Vec<_> =
        ["a", "b", "c", "d"].into_iter().map(|name| (name, server.url_of(name))).collect();
    for (shard, (_, url)) in urls.iter().enumerate() {
        let client = Client::connect(url).await.unwrap();
        let table = format!(
            "CREATE TABLE t (id bigint PRIMARY KEY, text text); INSERT INTO t \
             SELECT id * 4 + {shard}, md5(id::text) FROM generate_series(0, 249999) AS id"
        );
        client.batch_execute(&table).await.unwrap();
    }
    let router = router_of(&urls).await;
    let ask = async |most: u64| {
        let scatter = router.scatter(Scatter::require_all()).query("SELECT * FROM t", &[]);
        let mut stream = scatter.order_by([asc("id")]).limit(most).stream().await.unwrap();
        let mut next = 0;
        while let Some(row) = stream.next().await {
            assert_eq!(row?.get::<_, i64>(0), next);
            next += 1;
        }
        Ok::<_, Error>(next)
    };
    ask(1000).await.unwrap();
    let idle = peak_reset();
    let began = Instant::now();
    assert_eq!(ask(u64::from(u32::MAX)).await.unwrap(), 1_000_000);
    let took = began.elapsed();
    let more = (status("VmHWM:") - idle) / 1024.0;
    println!(
        "\nOrdered merge of 4 x 250,000 rows: {:.1} MiB over idle (aim: 16), {:.2} s",
        more,
        took.as_secs_f64()
    );
    assert!(more <= 16.0, "the merge keeps rows");
}

/// Sets the peak back to what is resident now, and tells that, in KiB.
fn peak_reset() -> f64 {
    std::fs::write("/proc/self/clear_refs", "5").unwrap();
    status("VmRSS:")
}

fn status(name: &str) -> f64 {
    let text = std::fs::read_to_string("/proc/self/status").unwrap();
    let line = text.lines().find(|line| line.starts_with(name)).unwrap();
    line.split_whitespace().nth(1).unwrap().parse().unwrap()
}

fn cpu() -> f64 {
    let time = clock_gettime(ClockId::CLOCK_THREAD_CPUTIME_ID).unwrap();
    time.tv_sec() as f64 * 1e6 + time.tv_nsec() as f64 / 1e3
}

fn median(mut values: Vec<f64>) -> f64 {
    values.sort_by(f64::total_cmp);
    values[values.len() / 2]
}
