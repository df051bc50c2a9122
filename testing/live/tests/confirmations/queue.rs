//! A queue that forgets, goes away, and remembers what is long past.

use testbed::eventually;

use crate::bed::{Bed, SOON, user_on};
use live::mail::Mood;

#[tokio::test(flavor = "multi_thread")]
async fn what_redis_has_lost_is_put_there_again() {
    let bed = Bed::new().await;
    let (shop, relay) = (bed.shop("shop").await, bed.relay("relay").await);
    shop.orders(1..=20).await;
    eventually(SOON, async || bed.queued().await == 20).await;
    assert_eq!(relay.figure("queue_depth").await, 20.0);
    bed.redis.command(&["FLUSHALL"]).await.unwrap();
    eventually(SOON, async || bed.queued().await == 20).await;
    bed.redis.kill().await.unwrap();
    // Nobody who orders is kept waiting for that.
    shop.orders(21..=30).await;
    assert_eq!(relay.figure("waiting").await, 30.0);
    bed.redis.restart_empty().await.unwrap();
    eventually(SOON, async || bed.queued().await == 30).await;
    let worker = bed.worker("worker", &[]).await;
    bed.all_is_confirmed().await;
    bed.all_is_sent(1..=1).await;
    worker.stop().await;
    assert!(worker.printed().contains("\"confirmed\":30"), "{}", worker.printed());
    worker.is_unharmed();
    relay.running.is_unharmed();
}

/// Redis is killed again and again while orders are placed and confirmed.
#[tokio::test(flavor = "multi_thread")]
async fn a_queue_that_is_killed_again_and_again_loses_nothing() {
    let bed = Bed::new().await;
    let options = ["--min", "2", "--max", "2"];
    let (shop, pool) = (bed.shop("shop").await, bed.pool("pool", &options).await);
    for round in 0..3 {
        shop.orders(1..=20).await;
        bed.redis.kill().await.unwrap();
        shop.orders(21..=40).await;
        bed.redis.restart_empty().await.unwrap();
        // So that the next round meets a queue that is used.
        eventually(SOON, async || bed.confirmed().await.len() > 40 * round).await;
    }
    bed.all_is_confirmed().await;
    bed.all_is_sent(1..=1).await;
    assert_eq!(bed.placed().await.len(), 120);
    pool.running.is_unharmed();
    pool.running.stop().await;
}

/// A Redis that says nothing, and keeps its connections.
#[tokio::test(flavor = "multi_thread")]
async fn a_queue_that_freezes_delays_what_it_has_and_loses_nothing() {
    let bed = Bed::new().await;
    let (shop, pool) = (bed.shop("shop").await, bed.pool("pool", &[]).await);
    pool.ready(1).await;
    bed.redis.pause_process().unwrap();
    shop.orders(1..=20).await;
    eventually(SOON, async || pool.running.said().contains("Redis does not answer")).await;
    assert!(pool.figure("waiting").await > 0.0);
    bed.redis.resume_process().unwrap();
    bed.all_is_confirmed().await;
    bed.all_is_sent(1..=1).await;
    assert_eq!(bed.placed().await.len(), 20);
    pool.running.is_unharmed();

    bed.redis.pause_process().unwrap();
    pool.running.stop().await;
    bed.redis.resume_process().unwrap();
}

/// A job that a worker has in hand is in the queue once more, and nobody else's all the same.
#[tokio::test(flavor = "multi_thread")]
async fn a_queue_that_goes_back_in_time_has_nothing_sent_twice() {
    let bed = Bed::new().await;
    let (shop, relay) = (bed.shop("shop").await, bed.relay("relay").await);
    let order = shop.order(user_on(0)).await;
    eventually(SOON, async || bed.queued().await == 1).await;
    bed.redis.save().await.unwrap();
    bed.mail.is(Mood::Holds);
    let patient = ["--mail-timeout", "20000"];
    let workers = [bed.worker("one", &patient).await, bed.worker("two", &patient).await];
    eventually(SOON, async || bed.mail.in_hand() == 1).await;
    bed.redis.restart_from_snapshot().await.unwrap();
    // It was taken, and left, since it is somebody's.
    eventually(SOON, async || bed.queued().await == 0).await;
    assert_eq!(bed.outbox("claimed_until > now()").await, 1);
    bed.mail.lets_go();
    bed.all_is_confirmed().await;
    let sent = &bed.mail.sent()[&order];
    assert_eq!((sent.seen, sent.taken, sent.at_once), (1, 1, 1));
    for worker in workers {
        worker.stop().await;
        worker.is_unharmed();
    }
    relay.running.stop().await;
}

/// However often jobs are pushed, and by how many, the queue has its limit.
#[tokio::test(flavor = "multi_thread")]
async fn a_queue_that_nobody_empties_does_not_grow() {
    let bed = Bed::new().await;
    let shop = bed.shop("shop").await;
    shop.orders(1..=60).await;
    let options = ["--min", "0", "--max", "1", "--rate", "1", "--mail-timeout", "20000"];
    let options = [&options[..], &["--queue-limit", "7"]].concat();
    bed.mail.is(Mood::Holds);
    let relays = [bed.pool("one", &options).await, bed.pool("two", &options).await];
    for _ in 0..5 {
        eventually(SOON, async || {
            let queued = bed.queued().await;
            assert!(queued <= 7, "{queued}");
            queued == 7 && bed.mail.in_hand() > 0
        })
        .await;
        bed.redis.command(&["FLUSHALL"]).await.unwrap();
    }
    bed.mail.is(Mood::Takes);
    bed.mail.lets_go();
    bed.all_is_confirmed().await;
    bed.all_is_sent(1..=1).await;
    for relay in relays {
        relay.running.is_unharmed();
        relay.running.stop().await;
    }
}
