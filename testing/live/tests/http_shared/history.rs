//! Reads on all servers, purges on any, and faults, all at once. The origin's versions only
//! grow, so a read that begins when a purge was acknowledged shows at least what was there
//! when that began.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use testbed::link::Link;
use testbed::redis::Redis;
use tokio::task::JoinSet;
use tokio::time::{Instant, sleep};

use crate::fleet::{Fleet, ask_for, uri, version};

const URIS: usize = 6;
const BOUND: Duration = Duration::from_millis(200);

struct History {
    fleet: Fleet,
    /// For each URI the version that reads must show.
    acknowledged: [AtomicU64; URIS],
    until: Instant,
}

fn path(n: usize) -> String {
    format!("/a{}/{n}", n % 2)
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn no_read_shows_what_was_purged_before_it() {
    let redis = Redis::start().await.unwrap();
    let links: Vec<_> = (0..3).map(|_| Link::to(redis.addr()).unwrap()).collect();
    let urls: Vec<_> = links.iter().map(|link| redis.url_at(link.addr())).collect();
    let fleet = Fleet::with(&urls, |builder| {
        builder.staleness_bound(BOUND).lease_wait(Duration::from_millis(100))
    })
    .await;
    fleet.warm("/warm").await;
    fleet.fields("cache-control: max-age=600 | cache-groups: \"g\" | vary: accept-language");
    let lasts = std::env::var("TORTURE_SECONDS").ok().and_then(|text| text.parse().ok());
    let lasts = Duration::from_secs(lasts.unwrap_or(8));
    let history = Arc::new(History {
        fleet,
        acknowledged: [const { AtomicU64::new(0) }; URIS],
        until: Instant::now() + lasts,
    });
    let mut tasks = JoinSet::new();
    for n in 0..12 {
        tasks.spawn(read(Arc::clone(&history), n % 3, n as u64));
    }
    for n in 0..3 {
        tasks.spawn(write(Arc::clone(&history), n));
    }
    tasks.spawn(disturb(Arc::clone(&history), redis, links));
    let (mut reads, mut purges) = (0, 0);
    while let Some(done) = tasks.join_next().await {
        let (read, purged) = done.unwrap();
        reads += read;
        purges += purged;
    }
    let asked = history.fleet.asked();
    println!("{reads} reads, {purges} purges acknowledged, {asked} requests to the origin");
    assert!(reads > 500 && purges > 10, "{reads} reads, {purges} purges");
}

async fn read(history: Arc<History>, server: usize, seed: u64) -> (usize, usize) {
    let mut random = fastrand::Rng::with_seed(seed);
    let mut reads = 0;
    while Instant::now() < history.until {
        let n = random.usize(..URIS);
        let least = history.acknowledged[n].load(Ordering::SeqCst);
        let service = history.fleet.servers[server].service.clone();
        let language = ["de", "en", "fr"][random.usize(..3)];
        let answer = ask_for(service, &path(n), language).await;
        let shown = version(&answer);
        assert!(shown >= least, "{shown} on {server}, where {least} was due: {answer:?}");
        reads += 1;
        sleep(Duration::from_millis(random.u64(..4))).await;
    }
    (reads, 0)
}

async fn write(history: Arc<History>, server: usize) -> (usize, usize) {
    let mut random = fastrand::Rng::with_seed(server as u64);
    let mut purges = 0;
    while Instant::now() < history.until {
        let n = random.usize(..URIS);
        let version = history.fleet.change();
        let purge = &history.fleet.servers[server].purge;
        let (reached, purged) = match random.u8(..8) {
            0..4 => (vec![n], purge.uri(&uri(&path(n))).await),
            4..6 => {
                let reached = (0..URIS).filter(|other| other % 2 == n % 2).collect();
                (reached, purge.prefix(&uri(&format!("/a{}", n % 2))).await)
            }
            6 => ((0..URIS).collect(), purge.group(&uri("/"), "g").await),
            _ => ((0..URIS).collect(), purge.all().await),
        };
        // One that was not acknowledged promises nothing yet.
        if purged.is_ok() {
            purges += 1;
            for n in reached {
                history.acknowledged[n].fetch_max(version, Ordering::SeqCst);
            }
        }
        sleep(Duration::from_millis(random.u64(..30))).await;
    }
    (0, purges)
}

async fn disturb(history: Arc<History>, redis: Redis, links: Vec<Link>) -> (usize, usize) {
    let mut random = fastrand::Rng::with_seed(7);
    let pause = |random: &mut fastrand::Rng| sleep(Duration::from_millis(random.u64(50..400)));
    while Instant::now() < history.until {
        let link = &links[random.usize(..links.len())];
        match random.u8(..9) {
            0 => link.cut(),
            1 => link.blackhole(),
            2 => link.half_open(testbed::link::Direction::ToClient),
            3 => drop(redis.command(&["FLUSHALL"]).await),
            4 => redis.pause_process().unwrap(),
            5 => redis.restart_empty().await.unwrap(),
            6 => {
                redis.save().await.unwrap();
                pause(&mut random).await;
                redis.restart_from_snapshot().await.unwrap();
            }
            _ => {}
        }
        pause(&mut random).await;
        redis.resume_process().unwrap();
        link.heal();
        sleep(Duration::from_millis(300)).await;
    }
    (0, 0)
}
