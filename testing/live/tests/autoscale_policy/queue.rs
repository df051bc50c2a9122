//! Queues in a real Redis.

use std::time::Duration;

use autoscale_policy::{Figure, RedisQueue, RedisQueueError, Source, conformance};
use testbed::redis::Redis;

async fn told(source: &mut RedisQueue) -> f64 {
    match source.read().await.unwrap() {
        Some(Figure::Fleet(depth)) => depth,
        other => panic!("{other:?}"),
    }
}

async fn run(redis: &Redis, words: &[&str]) {
    let client = redis::Client::open(redis.url()).unwrap();
    let mut connection = client.get_multiplexed_async_connection().await.unwrap();
    let mut command = redis::cmd(words[0]);
    command.arg(&words[1..]);
    command.exec_async(&mut connection).await.unwrap();
}

#[tokio::test]
async fn a_queue_in_redis_conforms() {
    let redis = Redis::start().await.unwrap();
    run(&redis, &["LPUSH", "jobs", "a", "b"]).await;
    let mut queue = RedisQueue::list(&redis.url(), "jobs").unwrap();
    let (silence, restore) =
        (async || redis.kill().await.unwrap(), async || redis.restart().await.unwrap());
    conformance::source(&mut queue, silence, restore).await;
}

#[tokio::test]
async fn each_kind_of_queue_is_counted() {
    let redis = Redis::start().await.unwrap();
    let mut list = RedisQueue::list(&redis.url(), "jobs").unwrap();
    assert_eq!(told(&mut list).await, 0.0, "one that is empty does not exist");
    run(&redis, &["LPUSH", "jobs", "a", "b", "c"]).await;
    assert_eq!(told(&mut list).await, 3.0);

    let mut later = RedisQueue::sorted_set(&redis.url(), "later").unwrap();
    run(&redis, &["ZADD", "later", "1", "a", "2", "b"]).await;
    assert_eq!(told(&mut later).await, 2.0);
    let error = RedisQueue::list(&redis.url(), "later").unwrap().read().await.unwrap_err();
    assert!(error.to_string().contains("wrong kind of value"), "{error}");
}

#[tokio::test]
async fn of_a_stream_what_waits_and_what_is_unacknowledged_counts() {
    let redis = Redis::start().await.unwrap();
    let mut mails =
        RedisQueue::stream(&redis.url(), "mails", "senders").unwrap().named("mails");
    assert_eq!(mails.metric(), "mails");
    let error = mails.read().await.unwrap_err();
    assert!(matches!(error, RedisQueueError::NoGroup { .. }), "{error}");
    run(&redis, &["XGROUP", "CREATE", "mails", "others", "$", "MKSTREAM"]).await;
    let error = mails.read().await.unwrap_err().to_string();
    assert!(error.contains("XGROUP CREATE mails senders"), "{error}");

    run(&redis, &["XGROUP", "CREATE", "mails", "senders", "0"]).await;
    assert_eq!(told(&mut mails).await, 0.0);
    for id in ["1-1", "1-2", "1-3", "1-4", "1-5"] {
        run(&redis, &["XADD", "mails", id, "to", "someone"]).await;
    }
    assert_eq!(told(&mut mails).await, 5.0);
    let group = ["XREADGROUP", "GROUP", "senders", "me", "COUNT", "2", "STREAMS", "mails", ">"];
    run(&redis, &group).await;
    assert_eq!(told(&mut mails).await, 5.0, "two were given out, and are not done");
    run(&redis, &["XACK", "mails", "senders", "1-1", "1-2"]).await;
    assert_eq!(told(&mut mails).await, 3.0);

    run(&redis, &["XDEL", "mails", "1-4"]).await;
    let error = mails.read().await.unwrap_err();
    assert!(matches!(error, RedisQueueError::UnknownLag { .. }), "{error}");
}

#[tokio::test]
async fn no_password_is_shown() {
    let url = "redis://user:a-secret@127.0.0.1:1/";
    let mut queue = RedisQueue::list(url, "jobs").unwrap().timeout(Duration::from_millis(200));
    let error = queue.read().await.unwrap_err();
    for shown in [format!("{queue:?}"), format!("{error:?} {error}")] {
        assert!(!shown.contains("a-secret"), "{shown}");
    }
}
