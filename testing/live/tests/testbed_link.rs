//! The testbed's own faulty link, in front of an echo server.

#![allow(clippy::unwrap_used, reason = "the helpers of tests are tests")]
#![allow(clippy::disallowed_methods, reason = "wall time is what is measured here")]

use std::io::ErrorKind;
use std::net::SocketAddr;
use std::time::{Duration, Instant};

use testbed::eventually;
use testbed::link::{Direction, Link};
use testbed::postgres::{Client, Postgres};
use testbed::redis::{self, Redis};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};
use tokio::task::{AbortHandle, JoinSet};
use tokio::time::timeout;

const DEADLINE: Duration = Duration::from_secs(20);
/// What is long for loopback: silence for so long is silence.
const LONG: Duration = Duration::from_millis(200);

struct Echo {
    addr: SocketAddr,
    task: AbortHandle,
}

impl Echo {
    async fn start() -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let addr = listener.local_addr().unwrap();
        let serve = async move {
            let mut connections = JoinSet::new();
            while let Ok((mut stream, _)) = listener.accept().await {
                connections.spawn(async move {
                    let (mut from, mut to) = stream.split();
                    // A reset ends it, as it should.
                    let _ = tokio::io::copy(&mut from, &mut to).await;
                });
            }
        };
        Self { addr, task: tokio::spawn(serve).abort_handle() }
    }
}

impl Drop for Echo {
    fn drop(&mut self) {
        self.task.abort();
    }
}

async fn open() -> (Echo, Link, TcpStream) {
    let echo = Echo::start().await;
    let link = Link::to(echo.addr).unwrap();
    let mut stream = TcpStream::connect(link.addr()).await.unwrap();
    assert_eq!(say(&mut stream, b"hello").await, b"hello");
    (echo, link, stream)
}

async fn say(stream: &mut TcpStream, words: &[u8]) -> Vec<u8> {
    stream.write_all(words).await.unwrap();
    let mut answer = vec![0; words.len()];
    stream.read_exact(&mut answer).await.unwrap();
    answer
}

async fn is_silent(stream: &mut TcpStream) -> bool {
    timeout(LONG, stream.read_u8()).await.is_err()
}

async fn is_reset(stream: &mut TcpStream) -> bool {
    let read = timeout(DEADLINE, stream.read_u8()).await.expect("the peer says something");
    read.is_err_and(|error| error.kind() == ErrorKind::ConnectionReset)
}

#[tokio::test]
async fn a_healthy_link_carries_everything() {
    let (_echo, link, mut stream) = open().await;
    let sent: Vec<u8> = (0..3_000_000_u32).map(|n| (n % 251) as u8).collect();
    let mut received = Vec::new();
    {
        let (mut from, mut to) = stream.split();
        let send = async {
            to.write_all(&sent).await.unwrap();
            to.shutdown().await.unwrap();
        };
        tokio::join!(send, async { from.read_to_end(&mut received).await.unwrap() });
    }
    assert!(sent == received);
    assert_eq!(link.accepted(), 1);
    eventually(DEADLINE, async || link.connections() == 0).await;
}

#[tokio::test]
async fn it_can_lead_to_another_server() {
    let (_echo, link, mut stream) = open().await;
    let redis = Redis::start().await.unwrap();
    link.lead_to(redis.addr());
    let mut new = TcpStream::connect(link.addr()).await.unwrap();
    new.write_all(b"PING\r\n").await.unwrap();
    let mut answer = [0; 7];
    new.read_exact(&mut answer).await.unwrap();
    assert_eq!(&answer, b"+PONG\r\n");
    assert_eq!(say(&mut stream, b"still").await, b"still", "the old one stays");
}

#[tokio::test]
async fn a_delay_is_paid_in_each_direction() {
    let (_echo, link, mut stream) = open().await;
    link.delay(Duration::from_millis(60));
    let start = Instant::now();
    say(&mut stream, b"hello").await;
    let slow = start.elapsed();
    println!("a round trip with a delay of 60 ms took {slow:?}");
    assert!(slow >= Duration::from_millis(120), "{slow:?}");

    // A hundred that are under way together take no longer than one.
    let start = Instant::now();
    say(&mut stream, &[7; 100 * 1024]).await;
    assert!(start.elapsed() < Duration::from_secs(1), "{:?}", start.elapsed());

    link.heal();
    let start = Instant::now();
    say(&mut stream, b"hello").await;
    assert!(start.elapsed() < Duration::from_millis(60), "{:?}", start.elapsed());
}

#[tokio::test]
async fn bytes_under_way_arrive_at_once_when_the_link_heals() {
    let (_echo, link, mut stream) = open().await;
    link.delay(Duration::from_secs(3600));
    stream.write_all(b"hello").await.unwrap();
    assert!(is_silent(&mut stream).await);
    link.heal();
    let mut answer = [0; 5];
    timeout(DEADLINE, stream.read_exact(&mut answer)).await.unwrap().unwrap();
    assert_eq!(&answer, b"hello");
}

#[tokio::test]
async fn jitter_keeps_the_order() {
    let (_echo, link, mut stream) = open().await;
    link.jitter(Duration::from_millis(20), 7);
    let words: Vec<u8> = (0..50).collect();
    let (mut from, mut to) = stream.split();
    let send = async {
        for word in &words {
            to.write_all(&[*word]).await.unwrap();
            tokio::task::yield_now().await;
        }
    };
    let mut heard = vec![0; words.len()];
    tokio::join!(send, async { from.read_exact(&mut heard).await.unwrap() });
    assert_eq!(heard, words);
}

#[tokio::test]
async fn a_cut_resets_what_is_open_and_refuses_what_is_new() {
    let (_echo, link, mut stream) = open().await;
    link.cut();
    assert_eq!(link.connections(), 0);
    assert!(is_reset(&mut stream).await);
    let refused = TcpStream::connect(link.addr()).await.unwrap_err();
    assert_eq!(refused.kind(), ErrorKind::ConnectionRefused);

    link.heal();
    let mut stream = TcpStream::connect(link.addr()).await.unwrap();
    assert_eq!(say(&mut stream, b"again").await, b"again");
}

#[tokio::test]
async fn a_blackhole_swallows_without_a_word() {
    let (_echo, link, mut busy) = open().await;
    let mut idle = TcpStream::connect(link.addr()).await.unwrap();
    assert_eq!(say(&mut idle, b"idle").await, b"idle");

    link.blackhole();
    let mut new = TcpStream::connect(link.addr()).await.unwrap();
    for stream in [&mut busy, &mut new] {
        stream.write_all(b"anybody there?").await.unwrap();
        assert!(is_silent(stream).await);
    }
    assert_eq!(link.connections(), 3);

    link.heal();
    assert_eq!(say(&mut idle, b"unharmed").await, b"unharmed");
    // These lost bytes: all they could do is go on damaged.
    assert!(is_reset(&mut busy).await);
    assert!(is_reset(&mut new).await);
}

#[tokio::test]
async fn a_blackhole_hides_that_the_server_went_away() {
    let (echo, link, mut stream) = open().await;
    link.blackhole();
    drop(echo);
    assert!(is_silent(&mut stream).await);
    link.heal();
    assert!(is_reset(&mut stream).await);
}

#[tokio::test]
async fn a_half_open_link_works_in_one_direction() {
    let primary = Postgres::start().await.unwrap();
    let link = Link::to(primary.addr()).unwrap();
    let client = Client::connect(&primary.url_at(link.addr())).await.unwrap();
    client.batch_execute("CREATE TABLE t (n int)").await.unwrap();

    // The statement arrives, its answer does not: the caller cannot know.
    link.half_open(Direction::ToClient);
    let insert = client.batch_execute("INSERT INTO t VALUES (1)");
    assert!(timeout(LONG, insert).await.is_err());
    let direct = primary.client().await.unwrap();
    eventually(DEADLINE, async || {
        direct.query_one("SELECT count(*) FROM t", &[]).await.unwrap().get::<_, i64>(0) == 1
    })
    .await;

    link.heal();
    assert!(client.batch_execute("SELECT 1").await.is_err());
    Client::connect(&primary.url_at(link.addr())).await.unwrap();

    link.half_open(Direction::ToServer);
    assert!(timeout(LONG, Client::connect(&primary.url_at(link.addr()))).await.is_err());
}

#[tokio::test]
async fn redis_is_slow_unreachable_and_half_open_by_its_link() {
    let redis = Redis::start().await.unwrap();
    let link = Link::to(redis.addr()).unwrap();
    let mut client = redis::Client::connect(link.addr()).await.unwrap();

    link.delay(Duration::from_millis(60));
    let start = Instant::now();
    client.command(&["SET", "k", "slow"]).await.unwrap();
    assert!(start.elapsed() >= Duration::from_millis(120), "{:?}", start.elapsed());
    link.heal();

    // Nothing arrives: the value stays.
    link.blackhole();
    let mut new = redis::Client::connect(link.addr()).await.unwrap();
    for client in [&mut client, &mut new] {
        assert!(timeout(LONG, client.command(&["SET", "k", "lost"])).await.is_err());
    }
    assert_eq!(redis.command(&["GET", "k"]).await.unwrap().text(), Some("slow"));
    link.heal();

    // The command arrives, its reply does not: the caller cannot know.
    let mut client = redis::Client::connect(link.addr()).await.unwrap();
    client.command(&["PING"]).await.unwrap();
    link.half_open(Direction::ToClient);
    assert!(timeout(LONG, client.command(&["SET", "k", "unknown"])).await.is_err());
    assert_eq!(redis.command(&["GET", "k"]).await.unwrap().text(), Some("unknown"));
    link.heal();

    link.cut();
    assert!(redis::Client::connect(link.addr()).await.is_err());
    link.heal();
    let mut client = redis::Client::connect(link.addr()).await.unwrap();
    assert_eq!(client.command(&["GET", "k"]).await.unwrap().text(), Some("unknown"));
}

#[tokio::test]
async fn as_many_bytes_are_dropped_as_were_asked_for() {
    let (_echo, link, mut stream) = open().await;
    link.drop_next(Direction::ToServer, 3);
    stream.write_all(b"abcdef").await.unwrap();
    let mut answer = [0; 3];
    stream.read_exact(&mut answer).await.unwrap();
    assert_eq!(&answer, b"def");
    assert_eq!(say(&mut stream, b"whole").await, b"whole");
}

#[tokio::test]
async fn a_dropped_link_closes() {
    let (_echo, link, mut stream) = open().await;
    let addr = link.addr();
    drop(link);
    assert!(timeout(DEADLINE, stream.read_u8()).await.unwrap().is_err());
    eventually(DEADLINE, async || TcpStream::connect(addr).await.is_err()).await;
}

#[test]
fn a_link_outlives_the_runtime_it_was_made_in() {
    let runtime =
        || tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    let (redis, link) = runtime().block_on(async {
        let redis = Redis::start().await.unwrap();
        let link = Link::to(redis.addr()).unwrap();
        (redis, link)
    });
    runtime().block_on(async {
        let mut stream = TcpStream::connect(link.addr()).await.unwrap();
        stream.write_all(b"PING\r\n").await.unwrap();
        let mut answer = [0; 7];
        stream.read_exact(&mut answer).await.unwrap();
        assert_eq!(&answer, b"+PONG\r\n");
    });
    drop(redis);
}
