//! The testbed's own Redis under faults.

#![allow(clippy::unwrap_used, reason = "the helpers of tests are tests")]

use std::time::Duration;

use testbed::guard::is_alive;
use testbed::redis::{Client, Redis, Reply};
use testbed::{Error, eventually};
use tokio::time::timeout;

const DEADLINE: Duration = Duration::from_secs(20);

async fn get(redis: &Redis, key: &str) -> Option<String> {
    redis.command(&["GET", key]).await.unwrap().text().map(String::from)
}

async fn set(redis: &Redis, key: &str, value: &str) {
    assert_eq!(redis.command(&["SET", key, value]).await.unwrap().text(), Some("OK"));
}

#[tokio::test]
async fn it_answers_and_forgets_in_a_crash() {
    let redis = Redis::start().await.unwrap();
    assert_eq!(redis.url(), format!("redis://127.0.0.1:{}/", redis.port()));
    let mut client = redis.client().await.unwrap();
    client.command(&["SET", "k", "v"]).await.unwrap();
    assert_eq!(get(&redis, "k").await.as_deref(), Some("v"));

    let pid = redis.pid().unwrap();
    redis.kill().await.unwrap();
    assert!(!is_alive(pid));
    let broken = client.command(&["PING"]).await;
    assert!(matches!(broken, Err(Error::Io { .. })), "{broken:?}");
    assert!(matches!(redis.kill().await, Err(Error::NotRunning { .. })));
    assert!(matches!(redis.command(&["PING"]).await, Err(Error::NotRunning { .. })));

    redis.restart().await.unwrap();
    assert_eq!(get(&redis, "k").await, None);
}

#[tokio::test]
async fn it_keeps_what_a_setting_makes_it_keep() {
    let redis = Redis::builder()
        .setting("appendonly", "yes")
        .setting("appendfsync", "always")
        .start()
        .await
        .unwrap();
    set(&redis, "k", "v").await;
    redis.kill().await.unwrap();
    redis.restart().await.unwrap();
    assert_eq!(get(&redis, "k").await.as_deref(), Some("v"));
    redis.restart_empty().await.unwrap();
    assert_eq!(get(&redis, "k").await, None);
}

#[tokio::test]
async fn a_snapshot_brings_the_old_value_back() {
    let redis = Redis::builder().setting("dbfilename", "mine.rdb").start().await.unwrap();
    let none = redis.restart_from_snapshot().await.unwrap_err();
    assert!(none.to_string().contains("save()"), "{none:?}");

    set(&redis, "changed", "old").await;
    set(&redis, "deleted", "old").await;
    redis.save().await.unwrap();
    let run = redis.info("run_id").await.unwrap();
    for _ in 0..2 {
        set(&redis, "changed", "new").await;
        redis.command(&["DEL", "deleted"]).await.unwrap();
        redis.restart_from_snapshot().await.unwrap();
        assert_eq!(get(&redis, "changed").await.as_deref(), Some("old"));
        assert_eq!(get(&redis, "deleted").await.as_deref(), Some("old"));
    }
    assert_ne!(redis.info("run_id").await.unwrap(), run, "it has not been started again");

    // In good order or not, what was saved is what comes back.
    set(&redis, "changed", "new").await;
    redis.restart().await.unwrap();
    assert_eq!(get(&redis, "changed").await.as_deref(), Some("old"));
}

#[tokio::test]
async fn it_starts_empty_when_asked() {
    let redis = Redis::start().await.unwrap();
    set(&redis, "k", "v").await;
    redis.save().await.unwrap();
    redis.restart_empty().await.unwrap();
    assert_eq!(redis.command(&["DBSIZE"]).await.unwrap(), Reply::Integer(0));
    redis.kill().await.unwrap();
    redis.restart_empty().await.unwrap();
    assert!(redis.restart_from_snapshot().await.is_err(), "there was no snapshot to remove");
}

#[tokio::test]
async fn commands_do_what_tests_of_a_cache_need() {
    let redis = Redis::start().await.unwrap();
    let blob: Vec<u8> = (0..3_000_000_u32).map(|n| (n % 256) as u8).collect();
    redis.command(&[b"SET".as_slice(), b"\r\n\0", &blob]).await.unwrap();
    let read = redis.command(&[b"GET".as_slice(), b"\r\n\0"]).await.unwrap();
    assert!(read == Reply::Bytes(blob));
    assert_eq!(redis.command(&["GET", "none"]).await.unwrap(), Reply::Nil);
    let many = redis.command(&["EVAL", "return {1, {'a', redis.error_reply('ERR no')}}", "0"]);
    let nested = [Reply::Bytes(b"a".into()), Reply::Refusal("ERR no".into())];
    let expected = [Reply::Integer(1), Reply::Array(nested.into())];
    assert_eq!(many.await.unwrap().items(), expected);

    let mut other = redis.client().await.unwrap();
    let killed = redis.command(&["CLIENT", "KILL", "TYPE", "normal"]).await.unwrap();
    assert_eq!(killed.integer(), Some(1));
    assert!(matches!(other.command(&["PING"]).await, Err(Error::Io { .. })));

    redis.command(&["FLUSHALL"]).await.unwrap();
    assert_eq!(redis.command(&["DBSIZE"]).await.unwrap().integer(), Some(0));

    redis.command(&["CONFIG", "SET", "maxmemory", "1"]).await.unwrap();
    let full = redis.command(&["SET", "k", "v"]).await.unwrap_err();
    assert!(full.to_string().starts_with("Redis refused SET: OOM"), "{full:?}");
    redis.command(&["CONFIG", "SET", "maxmemory", "0"]).await.unwrap();
    set(&redis, "k", "v").await;
}

#[tokio::test]
async fn users_and_passwords_hold() {
    let redis = Redis::builder().setting("requirepass", "sesame").start().await.unwrap();
    let mut stranger = Client::connect(redis.addr()).await.unwrap();
    let refused = stranger.command(&["GET", "k"]).await.unwrap_err();
    assert!(refused.to_string().contains("NOAUTH"), "{refused:?}");
    let wrong = stranger.command(&["AUTH", "simsalabim"]).await.unwrap_err();
    assert!(!format!("{wrong:?}").contains("simsalabim"), "{wrong:?}");

    let user = ["ACL", "SETUSER", "reader", "on", ">pass", "~k*", "+get", "+ping"];
    redis.command(&user).await.unwrap();
    stranger.command(&["AUTH", "reader", "pass"]).await.unwrap();
    assert_eq!(stranger.command(&["GET", "k"]).await.unwrap(), Reply::Nil);
    let refused = stranger.command(&["SET", "k", "v"]).await.unwrap_err();
    assert!(refused.to_string().contains("NOPERM"), "{refused:?}");
}

#[tokio::test]
async fn a_client_that_was_left_without_a_reply_is_of_no_more_use() {
    let redis =
        Redis::builder().setting("enable-debug-command", "local").start().await.unwrap();
    let mut client = redis.client().await.unwrap();
    let nap = client.command(&["DEBUG", "SLEEP", "0.3"]);
    assert!(timeout(Duration::from_millis(20), nap).await.is_err());
    let error = client.command(&["PING"]).await.unwrap_err();
    assert!(format!("{error:?}").contains("connect again"), "{error:?}");
}

#[tokio::test]
async fn a_paused_process_answers_nothing_until_it_is_resumed() {
    let redis = Redis::start().await.unwrap();
    let mut client = redis.client().await.unwrap();
    redis.pause_process().unwrap();
    let answer = timeout(Duration::from_millis(200), client.command(&["PING"])).await;
    assert!(answer.is_err(), "{answer:?}");

    redis.resume_process().unwrap();
    assert_eq!(redis.command(&["PING"]).await.unwrap().text(), Some("PONG"));
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
