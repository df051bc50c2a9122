//! Everything that a Redis does to its users, one thing at a time, with reads and
//! invalidations going on. No read may fail because of it, show what it must not,
//! or take longer than the source and the stated waits; and the caches come back by
//! themselves.
//!
//! `TORTURE_SECONDS` says how long each fault lasts (by default as short as shows
//! something), `TORTURE_FAULT` which ones are tried: those with that in their name.

use std::fmt::Write as _;
use std::io::{BufRead, BufReader, Write as _};
use std::process::{Command, Stdio};
use std::sync::Arc;
use std::time::Duration;

use cache_aside::{Lookup, RedisStore};
use testbed::link::{Direction, Link};
use testbed::redis::{Redis, RedisCluster};
use tokio::sync::Semaphore;
use tokio::task::JoinSet;
use tokio::time::{Instant, sleep};

use crate::history::Moment;
use crate::scene::{
    L2_TIMEOUT, LEASE_WAIT, LOAD_TIMEOUT, QUIET, SLACK, Scene, lasting, slowest,
};

const CACHES: usize = 4;

/// Those that a fault of the network strikes: one with copies and one without.
const STRUCK: [usize; 2] = [0, 1];

/// The row that the killed process was loading.
const HELD: u64 = QUIET + 1;

/// How many faults are tried at a time.
const AT_ONCE: usize = 3;

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Fault {
    Killed,
    Stopped,
    Flushed,
    ClientsKilled,
    RestartedEmpty,
    RestartedFromSnapshot,
    FullNoEviction,
    FullEvicting,
    Slow,
    SlowerThanTheTimeout,
    Blackholed,
    AnswersLost,
    QuestionsLost,
    DownAtStart,
    HolderKilled,
    NodeGone,
}

impl Fault {
    const ALL: [Self; 16] = [
        Self::NodeGone,
        Self::Stopped,
        Self::Killed,
        Self::Flushed,
        Self::ClientsKilled,
        Self::RestartedEmpty,
        Self::RestartedFromSnapshot,
        Self::FullNoEviction,
        Self::FullEvicting,
        Self::Slow,
        Self::SlowerThanTheTimeout,
        Self::Blackholed,
        Self::AnswersLost,
        Self::QuestionsLost,
        Self::DownAtStart,
        Self::HolderKilled,
    ];

    fn name(self) -> &'static str {
        match self {
            Self::Killed => "killed, and started again",
            Self::Stopped => "stopped (SIGSTOP)",
            Self::Flushed => "FLUSHALL, again and again",
            Self::ClientsKilled => "CLIENT KILL, again and again",
            Self::RestartedEmpty => "restarted empty",
            Self::RestartedFromSnapshot => "restarted from an old snapshot",
            Self::FullNoEviction => "full, noeviction",
            Self::FullEvicting => "full, allkeys-lru",
            Self::Slow => "slow, within the timeout",
            Self::SlowerThanTheTimeout => "slower than the timeout",
            Self::Blackholed => "blackholed for some",
            Self::AnswersLost => "half-open: answers lost for some",
            Self::QuestionsLost => "half-open: questions lost for some",
            Self::DownAtStart => "down at start-up",
            Self::HolderKilled => "lease holder killed in its load",
            Self::NodeGone => "a node of the Cluster gone",
        }
    }

    /// The caches that cannot reach Redis meanwhile. Redis answers the others, and their
    /// bounds stay.
    fn cuts_off(self) -> &'static [usize] {
        match self {
            Self::Flushed
            | Self::FullNoEviction
            | Self::FullEvicting
            | Self::Slow
            | Self::HolderKilled => &[],
            Self::SlowerThanTheTimeout
            | Self::Blackholed
            | Self::AnswersLost
            | Self::QuestionsLost => &STRUCK,
            Self::Killed
            | Self::Stopped
            | Self::ClientsKilled
            | Self::RestartedEmpty
            | Self::RestartedFromSnapshot
            | Self::DownAtStart
            | Self::NodeGone => &[0, 1, 2, 3],
        }
    }

    /// How many rows are on all of its servers, most probably.
    fn rows(self) -> usize {
        if self == Self::NodeGone { 8 } else { 1 }
    }

    /// How long it may take until Redis is used again, once it can be.
    fn recovers_within(self) -> Duration {
        match self {
            // As long as the lease of who is gone.
            Self::HolderKilled => LOAD_TIMEOUT + 2 * L2_TIMEOUT + LEASE_WAIT + SLACK,
            // A node that comes back refuses its clients for 2 s.
            Self::NodeGone => Duration::from_secs(6),
            // Between two probes lies a second at most, and one may have to time out.
            _ => Duration::from_secs(3),
        }
    }
}

/// The servers of one scene, and each cache's way to them.
struct Stage {
    redis: Option<Redis>,
    cluster: Option<RedisCluster>,
    links: Vec<Link>,
}

impl Stage {
    async fn set(fault: Fault) -> (Self, Arc<Scene>) {
        if fault == Fault::NodeGone {
            let cluster = RedisCluster::start().await.unwrap();
            let store = |_| RedisStore::cluster(cluster.urls()).unwrap();
            let scene = Scene::new((0..CACHES).map(store));
            return (Self { redis: None, cluster: Some(cluster), links: Vec::new() }, scene);
        }
        let redis = Redis::start().await.unwrap();
        let links: Vec<_> = (0..CACHES).map(|_| Link::to(redis.addr()).unwrap()).collect();
        if fault == Fault::DownAtStart {
            redis.kill().await.unwrap();
        }
        let store = |link: &Link| RedisStore::open(redis.url_at(link.addr())).unwrap();
        let scene = Scene::new(links.iter().map(store));
        (Self { redis: Some(redis), cluster: None, links }, scene)
    }

    fn redis(&self) -> &Redis {
        self.redis.as_ref().expect("all but one fault are those of one server")
    }

    async fn command(&self, words: &[&str]) {
        self.redis().command(words).await.unwrap();
    }

    /// Lasts as long as the fault does, and mends it.
    async fn strike(&self, fault: Fault, lasts: Duration) {
        let again = |every: u64| {
            let (every, until) = (Duration::from_millis(every), Instant::now() + lasts);
            std::iter::from_fn(move || (Instant::now() < until).then(|| sleep(every)))
        };
        let struck = || STRUCK.iter().map(|n| &self.links[*n]);
        match fault {
            Fault::Killed => {
                self.redis().kill().await.unwrap();
                sleep(lasts).await;
                self.redis().restart().await.unwrap();
            }
            Fault::Stopped => {
                self.redis().pause_process().unwrap();
                sleep(lasts.max(Duration::from_secs(3))).await;
                self.redis().resume_process().unwrap();
            }
            Fault::Flushed => {
                for pause in again(50) {
                    pause.await;
                    self.command(&["FLUSHALL"]).await;
                }
            }
            Fault::ClientsKilled => {
                for pause in again(50) {
                    pause.await;
                    self.command(&["CLIENT", "KILL", "TYPE", "normal"]).await;
                }
            }
            Fault::RestartedEmpty => {
                for pause in again(500) {
                    self.redis().restart_empty().await.unwrap();
                    pause.await;
                }
            }
            Fault::RestartedFromSnapshot => {
                self.redis().save().await.unwrap();
                for pause in again(500) {
                    // Time for invalidations that the snapshot lacks.
                    pause.await;
                    self.redis().restart_from_snapshot().await.unwrap();
                }
            }
            Fault::FullNoEviction => {
                self.command(&["CONFIG", "SET", "maxmemory", "1"]).await;
                sleep(lasts).await;
                self.command(&["CONFIG", "SET", "maxmemory", "0"]).await;
            }
            Fault::FullEvicting => self.evict(again(1)).await,
            Fault::Slow => {
                for (n, link) in self.links.iter().enumerate() {
                    link.delay(L2_TIMEOUT / 10);
                    link.jitter(L2_TIMEOUT / 10, n as u64);
                }
                sleep(lasts).await;
                self.links.iter().for_each(Link::heal);
            }
            Fault::SlowerThanTheTimeout => {
                struck().for_each(|link| link.delay(L2_TIMEOUT));
                sleep(lasts).await;
                struck().for_each(Link::heal);
            }
            Fault::Blackholed => {
                struck().for_each(Link::blackhole);
                sleep(lasts).await;
                struck().for_each(Link::heal);
            }
            Fault::AnswersLost | Fault::QuestionsLost => {
                let dropped = match fault {
                    Fault::AnswersLost => Direction::ToClient,
                    _ => Direction::ToServer,
                };
                struck().for_each(|link| link.half_open(dropped));
                sleep(lasts).await;
                struck().for_each(Link::heal);
            }
            Fault::DownAtStart => {
                sleep(lasts).await;
                self.redis().restart().await.unwrap();
            }
            Fault::HolderKilled => {
                let url = self.redis().url();
                tokio::task::spawn_blocking(move || kill_a_holder(&url)).await.unwrap();
            }
            Fault::NodeGone => {
                let node = &self.cluster.as_ref().expect("it has a cluster").nodes()[1];
                node.kill().await.unwrap();
                sleep(lasts).await;
                node.restart().await.unwrap();
            }
        }
    }

    /// Little room, and somebody else who needs all of it.
    async fn evict(&self, again: impl Iterator<Item = impl Future<Output = ()>>) {
        let used = self.redis().info("used_memory").await.unwrap();
        let used: u64 = used.and_then(|used| used.parse().ok()).expect("INFO says a number");
        let most = (used + 200_000).to_string();
        self.command(&["CONFIG", "SET", "maxmemory-policy", "allkeys-lru"]).await;
        self.command(&["CONFIG", "SET", "maxmemory", &most]).await;
        let mut client = self.redis().client().await.unwrap();
        let filler = "x".repeat(4_000);
        for (n, pause) in again.enumerate() {
            pause.await;
            // What does not fit is refused: that is the point.
            let _ = client.command(&["SET", &format!("filler{n}"), &filler]).await;
        }
        let evicted = self.redis().info("evicted_keys").await.unwrap();
        assert_ne!(evicted.as_deref(), Some("0"));
        self.command(&["CONFIG", "SET", "maxmemory", "0"]).await;
        self.command(&["CONFIG", "SET", "maxmemory-policy", "noeviction"]).await;
    }
}

/// Another process begins to load a row, and is killed before it ends.
fn kill_a_holder(url: &str) {
    let mut holder = Command::new(env!("CARGO_BIN_EXE_lease_holder"))
        .args([url, &HELD.to_string()])
        .stdout(Stdio::piped())
        .spawn()
        .unwrap();
    let mut output = BufReader::new(holder.stdout.take().unwrap());
    let mut line = String::new();
    output.read_line(&mut line).unwrap();
    assert_eq!(line, "loading\n");
    holder.kill().unwrap();
    holder.wait().unwrap();
}

/// Reads on all caches at once of the row whose lease nobody gives back, until each of
/// them finds it.
async fn wait_for_the_lease(scene: &Arc<Scene>) {
    let readers = (0..CACHES).map(|cache| {
        let scene = Arc::clone(scene);
        async move {
            while !matches!(scene.caches[cache].get(&HELD).await, Lookup::Hit(_)) {
                scene.read(cache, HELD).await;
            }
        }
    });
    readers.collect::<JoinSet<_>>().join_all().await;
}

/// A line of the table.
struct Line {
    text: String,
    violations: Vec<String>,
}

async fn run(fault: Fault, lasts: Duration) -> Line {
    let (stage, scene) = Stage::set(fault).await;
    let players = scene.play(fault as u64);
    if fault != Fault::DownAtStart {
        assert!(
            scene.recovers(fault.rows(), slowest() * 4).await.is_some(),
            "{fault:?}: it works at first"
        );
        sleep(lasts / 2).await;
    }
    let struck = scene.now();
    stage.strike(fault, lasts).await;
    let deadline = fault.recovers_within();
    let recovered = if fault == Fault::HolderKilled {
        let began = Instant::now();
        let free = tokio::time::timeout(deadline, wait_for_the_lease(&scene)).await;
        free.ok().map(|()| began.elapsed())
    } else {
        scene.recovers(fault.rows(), deadline).await
    };
    let well = scene.now() + SLACK;
    sleep(lasts / 2).await;

    let mut cut_off: Vec<Vec<(Moment, Moment)>> = vec![Vec::new(); CACHES];
    for cache in fault.cuts_off() {
        cut_off[*cache].push((struck, well));
    }
    let outcome = scene.end(players, &cut_off).await;
    let mut violations = Vec::new();
    violations.extend(outcome.failed.iter().take(3).map(|error| format!("failed: {error}")));
    violations.extend(outcome.stale.iter().take(3).map(|stale| format!("stale: {stale}")));
    if outcome.slowest > slowest() {
        violations.push(format!("a read took {:?}, not {:?}", outcome.slowest, slowest()));
    }
    if !fault.cuts_off().is_empty() && outcome.unacknowledged == 0 {
        violations.push("it has struck nobody".to_owned());
    }
    if recovered.is_none() {
        violations.push(format!("it did not recover within {deadline:?}"));
    }
    let text = format!(
        "{:<36}{:>8}{:>8}{:>9}{:>7}{:>7}{:>11}{:>11}",
        fault.name(),
        outcome.reads,
        outcome.writes,
        outcome.unacknowledged,
        outcome.failed.len(),
        outcome.stale.len(),
        format!("{} ms", outcome.slowest.as_millis()),
        recovered.map_or_else(|| "never".into(), |took| format!("{} ms", took.as_millis())),
    );
    let violations = violations.into_iter().map(|v| format!("{}: {v}", fault.name()));
    Line { text, violations: violations.collect() }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn faults() {
    let lasts = lasting(Duration::from_millis(1_500));
    let only = std::env::var("TORTURE_FAULT").unwrap_or_default();
    let turns = Arc::new(Semaphore::new(AT_ONCE));
    let mut lines: Vec<_> = Vec::new();
    for fault in Fault::ALL.into_iter().filter(|f| format!("{f:?}").contains(&only)) {
        let turns = Arc::clone(&turns);
        lines.push(tokio::spawn(async move {
            let _turn = turns.acquire().await.expect("it is never closed");
            run(fault, lasts).await
        }));
    }
    let mut table = format!(
        "\n{:<36}{:>8}{:>8}{:>9}{:>7}{:>7}{:>11}{:>11}\n",
        "fault of Redis",
        "reads",
        "writes",
        "unacked",
        "failed",
        "stale",
        "slowest",
        "recovery"
    );
    let mut violations = Vec::new();
    for line in lines {
        let line = line.await.unwrap();
        writeln!(table, "{}", line.text).unwrap();
        violations.extend(line.violations);
    }
    writeln!(table, "slowest: at most {:?}", slowest()).unwrap();
    // Past the capture of tests: it is what the run is for.
    std::io::stdout().write_all(table.as_bytes()).unwrap();
    assert!(violations.is_empty(), "{}", violations.join("\n"));
}
