//! `http-cache-proxy` as a process, between raw clients and a raw origin.

#![allow(clippy::unwrap_used, reason = "the helpers of tests are tests")]
#![allow(clippy::disallowed_methods, reason = "wall time is what is measured here")]

mod attacks;
mod origin;

use std::fs::{self, File};
use std::net::SocketAddr;
use std::path::PathBuf;
use std::process::{Command, Stdio};
use std::sync::{Arc, OnceLock};
use std::time::{Duration, Instant};

use testbed::guard::{ExitSignal, Process, spawn_guarded};
use testbed::redis::Redis;
use testbed::{Folder, eventually, eventually_some};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio::sync::{Barrier, Notify};
use tokio::task::JoinSet;
use tokio::time::timeout;

use crate::origin::{Origin, Part};

const SOON: Duration = Duration::from_secs(30);

fn program() -> &'static PathBuf {
    static PROGRAM: OnceLock<PathBuf> = OnceLock::new();
    PROGRAM.get_or_init(|| live::program("http-cache-proxy", &[]))
}

struct Proxy {
    addr: SocketAddr,
    admin: SocketAddr,
    process: Process,
    _folder: Folder,
}

impl Proxy {
    async fn start(origin: &Origin, options: &[&str]) -> Self {
        let folder = Folder::new("proxy").await.unwrap();
        let out = folder.path().join("out");
        let mut command = Command::new(program());
        command
            .args(["--listen", "127.0.0.1:0", "--admin", "127.0.0.1:0"])
            .args(["--origin", &format!("http://{}", origin.addr)])
            .args(options)
            .env_remove("HTTP_CACHE_REDIS")
            .current_dir("/")
            .stdin(Stdio::null())
            .stdout(File::create(&out).unwrap());
        let process = spawn_guarded(command, ExitSignal::Terminate).await.unwrap();
        let (addr, admin) = eventually_some(SOON, async || {
            assert_eq!(process.exit_status(), None, "the proxy did not start");
            let said = fs::read_to_string(&out).ok()?;
            let (url, admin) = said.strip_suffix('\n')?.split_once('\n')?;
            let addr = |url: &str| url.strip_prefix("http://")?.parse().ok();
            Some((addr(url)?, addr(admin)?))
        })
        .await;
        Self { addr, admin, process, _folder: folder }
    }

    /// Asks on a connection of its own.
    async fn get(&self, path: &str) -> Answer {
        self.get_with(path, "").await
    }

    async fn get_with(&self, path: &str, fields: &str) -> Answer {
        let request = format!(
            "GET {path} HTTP/1.1\r\nhost: a.example\r\nconnection: close\r\n{fields}\r\n"
        );
        Answer::of(&self.says_to(request.as_bytes()).await)
    }

    /// Sends bytes, and reads until the connection ends, in whichever way.
    async fn says_to(&self, request: &[u8]) -> Vec<u8> {
        let mut stream = TcpStream::connect(self.addr).await.unwrap();
        // A connection may be cut while it is written to.
        let _ = stream.write_all(request).await;
        let mut bytes = Vec::new();
        let _ = timeout(SOON, stream.read_to_end(&mut bytes)).await.expect("it ends");
        bytes
    }

    async fn purge(&self, query: &str) {
        let answer = self.asks_to_purge(query).await;
        assert!(answer.starts_with("HTTP/1.1 200"), "{answer}");
    }

    async fn asks_to_purge(&self, query: &str) -> String {
        let mut stream = TcpStream::connect(self.admin).await.unwrap();
        let request =
            format!("POST /purge?{query} HTTP/1.1\r\nhost: a\r\nconnection: close\r\n\r\n");
        stream.write_all(request.as_bytes()).await.unwrap();
        let mut bytes = Vec::new();
        stream.read_to_end(&mut bytes).await.unwrap();
        String::from_utf8(bytes).unwrap()
    }

    /// What it holds in memory, in bytes.
    fn resident(&self) -> u64 {
        let pid = self.process.pid();
        let status = fs::read_to_string(format!("/proc/{pid}/status")).unwrap();
        let line = status.lines().find_map(|line| line.strip_prefix("VmHWM:")).unwrap();
        line.trim().strip_suffix(" kB").unwrap().trim().parse::<u64>().unwrap() << 10
    }
}

#[derive(Debug)]
struct Answer {
    status: u16,
    /// In lower case.
    head: String,
    body: String,
}

impl Answer {
    fn of(bytes: &[u8]) -> Self {
        let text = String::from_utf8(bytes.to_vec()).unwrap();
        let (head, body) = text.split_once("\r\n\r\n").unwrap();
        let status = head.split(' ').nth(1).unwrap().parse().unwrap();
        Self { status, head: head.to_ascii_lowercase(), body: body.to_owned() }
    }

    fn said(&self, part: &str) -> bool {
        let mut lines = self.head.lines();
        lines.any(|line| line.starts_with("cache-status:") && line.contains(part))
    }
}

fn says(head: &str, body: &str) -> Part {
    let length = body.len();
    let text = format!("HTTP/1.1 200 OK\r\n{head}\r\ncontent-length: {length}\r\n\r\n{body}");
    Part::Says(text.into_bytes())
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_fresh_is_asked_for_once_and_purged_by_prefix() {
    let origin = Origin::start(vec![says("cache-control: max-age=60", "hello")]).await;
    let proxy = Proxy::start(&origin, &[]).await;
    let first = proxy.get("/a/b").await;
    assert!(first.status == 200 && first.said("fwd=uri-miss"), "{first:?}");
    let second = proxy.get("/a/b").await;
    assert!(second.body == "hello" && second.said("hit"), "{second:?}");
    assert_eq!(origin.heads().len(), 1);
    proxy.purge(&format!("prefix=http://{}/a", origin.addr)).await;
    assert!(proxy.get("/a/b").await.said("fwd=uri-miss"));
}

/// What one has asked for all have, and what is purged at one is purged at all, while there is
/// a Redis; and without it each goes on by itself.
#[tokio::test(flavor = "multi_thread")]
async fn proxies_with_one_redis_are_one_cache() {
    let origin = Origin::start(vec![says("cache-control: max-age=60", "hello")]).await;
    let redis = Redis::start().await.unwrap();
    let options = ["--redis", &redis.url()];
    let (one, two) =
        tokio::join!(Proxy::start(&origin, &options), Proxy::start(&origin, &options));
    assert!(one.get("/a/b").await.said("fwd=uri-miss"));
    eventually(SOON, async || two.get("/a/b").await.said("hit")).await;
    assert_eq!(origin.heads().len(), 1);
    one.purge(&format!("prefix=http://{}/a", origin.addr)).await;
    assert!(two.get("/a/b").await.said("fwd="));
    assert_eq!(origin.heads().len(), 2);

    redis.kill().await.unwrap();
    let purged = two.asks_to_purge(&format!("prefix=http://{}/a", origin.addr)).await;
    assert!(purged.starts_with("HTTP/1.1 503"), "{purged}");
    assert!(two.get("/a/b").await.said("fwd=uri-miss"), "it holds where it was asked for");
    assert_eq!(one.get("/a/c").await.body, "hello");
}

#[tokio::test(flavor = "multi_thread")]
async fn the_origin_gets_its_own_host_and_nothing_of_the_clients_way() {
    let origin = Origin::start(vec![says(
        "cache-control: max-age=60\r\nx-hop: 1\r\nconnection: x-hop",
        "hello",
    )])
    .await;
    let proxy = Proxy::start(&origin, &[]).await;
    let fields = "x-forwarded-host: evil.example\r\nx-forwarded-for: 10.0.0.1\r\n\
                  x-mine: 1\r\nkeep-alive: 3\r\nte: gzip\r\nupgrade: h2c\r\n";
    let answer = proxy.get_with("/", fields).await;
    assert!(!answer.head.contains("x-hop"), "{answer:?}");
    let [head] = &origin.heads()[..] else { panic!("one request") };
    assert!(head.contains(&format!("\r\nhost: {}\r\n", origin.addr)), "{head}");
    assert!(head.contains("\r\nx-forwarded-for: 127.0.0.1\r\n"), "{head}");
    assert!(head.contains("\r\nvia: 1.1 http-cache-proxy\r\n"), "{head}");
    assert!(head.contains("\r\nx-mine: 1\r\n"), "{head}");
    for gone in ["evil", "10.0.0.1", "keep-alive", "upgrade", "gzip"] {
        assert!(!head.contains(gone), "{gone}: {head}");
    }
    // Nor does another host make another answer of it.
    assert!(proxy.get_with("/", "x-other: 1\r\n").await.said("hit"));
}

#[tokio::test(flavor = "multi_thread")]
async fn an_origin_that_dies_in_the_middle_costs_that_answer_and_no_other() {
    let half =
        b"HTTP/1.1 200 OK\r\ncache-control: max-age=60\r\ncontent-length: 100\r\n\r\nhalf";
    let origin = Origin::start(vec![Part::Says(half.to_vec()), Part::Hangs]).await;
    let proxy = Proxy::start(&origin, &[]).await;
    for asked in 1..=2 {
        // Nothing may have been written yet when the connection is cut.
        let request = b"GET / HTTP/1.1\r\nhost: a.example\r\nconnection: close\r\n\r\n";
        let answer = String::from_utf8(proxy.says_to(request).await).unwrap();
        let body = answer.split_once("\r\n\r\n").map_or("", |(_, body)| body);
        assert!("half".starts_with(body), "it has broken off: {answer:?}");
        assert_eq!(origin.heads().len(), asked, "and is not stored");
    }
    assert_eq!(proxy.process.exit_status(), None);
}

#[tokio::test(flavor = "multi_thread")]
async fn what_was_stored_stands_in_for_an_origin_that_is_gone() {
    let origin =
        Origin::start(vec![says("cache-control: max-age=0\r\netag: \"1\"", "old")]).await;
    let strict =
        Origin::start(vec![says("cache-control: max-age=0, must-revalidate", "old")]).await;
    let proxy = Proxy::start(&origin, &[]).await;
    let other = Proxy::start(&strict, &[]).await;
    for proxy in [&proxy, &other] {
        assert_eq!(proxy.get("/").await.body, "old");
    }
    origin.dies().await;
    strict.dies().await;
    let stale = proxy.get("/").await;
    assert_eq!((stale.status, stale.body.as_str()), (200, "old"));
    assert!(stale.said("fwd=stale"), "{stale:?}");
    assert!(matches!(other.get("/").await.status, 502 | 504));
    assert_eq!(proxy.get("/never").await.status, 502);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_gigabyte_streams_through_in_bounded_memory() {
    let head = format!(
        "HTTP/1.1 200 OK\r\ncache-control: max-age=60\r\ncontent-length: {}\r\n\r\n",
        1_u64 << 30
    );
    let origin =
        Origin::start(vec![Part::Says(head.into_bytes()), Part::Megabytes(1_024)]).await;
    let proxy = Proxy::start(&origin, &["--memory", "16"]).await;
    let mut stream = TcpStream::connect(proxy.addr).await.unwrap();
    let request = b"GET /big HTTP/1.1\r\nhost: a\r\nconnection: close\r\n\r\n";
    stream.write_all(request).await.unwrap();
    let (mut buffer, mut read) = (vec![0; 1 << 20], 0);
    loop {
        match timeout(SOON, stream.read(&mut buffer)).await.unwrap().unwrap() {
            0 => break,
            count => read += count as u64,
        }
    }
    assert!(read > 1 << 30, "{read}");
    let most = proxy.resident();
    println!("at most {} MiB", most >> 20);
    assert!(most < 96 << 20, "{most}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_thousand_misses_ask_once_and_all_read_what_has_come() {
    const ASKING: usize = 1_000;
    let go_on = Arc::new(Notify::new());
    let head =
        "HTTP/1.1 200 OK\r\ncache-control: max-age=60\r\ncontent-length: 10\r\n\r\nfirst";
    let origin = Origin::start(vec![
        Part::Says(head.into()),
        Part::Waits(Arc::clone(&go_on)),
        Part::Says(b"later".to_vec()),
    ])
    .await;
    let proxy = Proxy::start(&origin, &[]).await;
    let all_have_the_first = Arc::new(Barrier::new(ASKING + 1));
    let mut asking = JoinSet::new();
    for _ in 0..ASKING {
        let (addr, barrier) = (proxy.addr, Arc::clone(&all_have_the_first));
        asking.spawn(async move {
            let mut stream = TcpStream::connect(addr).await.unwrap();
            let request = b"GET /slow HTTP/1.1\r\nhost: a\r\nconnection: close\r\n\r\n";
            stream.write_all(request).await.unwrap();
            let mut bytes = Vec::new();
            while !bytes.ends_with(b"first") {
                bytes.push(stream.read_u8().await.unwrap());
            }
            barrier.wait().await;
            stream.read_to_end(&mut bytes).await.unwrap();
            assert!(bytes.ends_with(b"firstlater"));
        });
    }
    // The origin has not gone on, and everybody has what it has sent.
    let began = Instant::now();
    timeout(SOON, all_have_the_first.wait()).await.expect("the first bytes reach all");
    println!("the first bytes have reached all after {:?}", began.elapsed());
    go_on.notify_one();
    timeout(SOON, asking.join_all()).await.unwrap();
    assert_eq!(origin.heads().len(), 1);
}

#[tokio::test(flavor = "multi_thread")]
async fn asked_to_stop_it_answers_what_it_has_taken() {
    let go_on = Arc::new(Notify::new());
    let origin = Origin::start(vec![
        Part::Waits(Arc::clone(&go_on)),
        says("cache-control: no-store", "hello"),
    ])
    .await;
    let proxy = Proxy::start(&origin, &[]).await;
    let asked = async {
        let answer = proxy.get("/").await;
        assert_eq!(answer.body, "hello");
    };
    let stopped = async {
        eventually_some(SOON, async || origin.heads().first().cloned()).await;
        proxy.process.signal(ExitSignal::Terminate).unwrap();
        go_on.notify_one();
        let status = eventually_some(SOON, async || proxy.process.exit_status()).await;
        assert!(status.success(), "{status}");
    };
    tokio::join!(asked, stopped);
}
