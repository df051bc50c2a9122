//! The testbed's own Redis under faults.

#![allow(clippy::unwrap_used, reason = "the helpers of tests are tests")]

use std::time::Duration;

use testbed::guard::is_alive;
use testbed::redis::Redis;
use testbed::{Error, eventually};
use tokio::io::{AsyncBufReadExt, AsyncWriteExt, BufReader};
use tokio::net::TcpStream;
use tokio::time::timeout;

const DEADLINE: Duration = Duration::from_secs(20);

struct Connection(BufReader<TcpStream>);

impl Connection {
    async fn open(redis: &Redis) -> Self {
        Self(BufReader::new(TcpStream::connect(redis.addr()).await.unwrap()))
    }

    /// The first line of the answer to a command of plain words.
    async fn say(&mut self, command: &str) -> String {
        self.0.write_all(format!("{command}\r\n").as_bytes()).await.unwrap();
        let mut line = String::new();
        self.0.read_line(&mut line).await.unwrap();
        line.trim_end().to_owned()
    }
}

#[tokio::test]
async fn it_answers_and_forgets_in_a_crash() {
    let redis = Redis::start().await.unwrap();
    assert_eq!(redis.url(), format!("redis://127.0.0.1:{}/", redis.port()));
    let mut connection = Connection::open(&redis).await;
    assert_eq!(connection.say("SET k v").await, "+OK");
    assert_eq!(connection.say("EXISTS k").await, ":1");

    let pid = redis.pid().unwrap();
    redis.kill().await.unwrap();
    assert!(!is_alive(pid));
    assert_eq!(connection.say("PING").await, "", "a killed server has answered");
    assert!(matches!(redis.kill().await, Err(Error::NotRunning { .. })));

    redis.restart().await.unwrap();
    assert_eq!(Connection::open(&redis).await.say("EXISTS k").await, ":0");
}

#[tokio::test]
async fn it_keeps_what_a_setting_makes_it_keep() {
    let redis = Redis::builder()
        .setting("appendonly", "yes")
        .setting("appendfsync", "always")
        .start()
        .await
        .unwrap();
    assert_eq!(Connection::open(&redis).await.say("SET k v").await, "+OK");
    redis.kill().await.unwrap();
    redis.restart().await.unwrap();
    assert_eq!(Connection::open(&redis).await.say("EXISTS k").await, ":1");
}

#[tokio::test]
async fn a_paused_process_answers_nothing_until_it_is_resumed() {
    let redis = Redis::start().await.unwrap();
    let mut connection = Connection::open(&redis).await;
    redis.pause_process().unwrap();
    let answer = timeout(Duration::from_millis(200), connection.say("PING")).await;
    assert!(answer.is_err(), "{answer:?}");

    redis.resume_process().unwrap();
    let mut connection = Connection::open(&redis).await;
    assert_eq!(connection.say("PING").await, "+PONG");
}

#[tokio::test]
async fn a_wrong_setting_fails_with_the_servers_own_words() {
    let error = Redis::builder().setting("maxmemry", "1").start().await.unwrap_err();
    assert!(error.to_string().contains("maxmemry"), "{error:?}");
}

#[tokio::test]
async fn a_dropped_server_leaves_nothing() {
    let redis = Redis::start().await.unwrap();
    let (pid, log) = (redis.pid().unwrap(), redis.log());
    assert!(is_alive(pid) && log.exists());
    drop(redis);
    eventually(DEADLINE, async || !is_alive(pid) && !log.exists()).await;
}
