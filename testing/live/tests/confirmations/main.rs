//! Confirmations of orders, while whoever takes part in them dies, freezes, or forgets.

#![allow(clippy::unwrap_used, reason = "the helpers of tests are tests")]

mod bed;
mod failures;
mod queue;
mod storm;
mod workers;

use std::sync::Arc;

use serde_json::json;
use testbed::eventually;
use testbed::guard::ExitSignal;

use crate::bed::{Bed, SOON, user_on};

/// What was placed is confirmed, whatever else there is; the mail service is sent it once.
#[tokio::test(flavor = "multi_thread")]
async fn every_order_is_confirmed_once() {
    let bed = Bed::new().await;
    let pool = bed.pool("pool", &["--min", "2", "--max", "2"]).await;
    let shops = [bed.shop("one").await, bed.shop("two").await];
    for user in 1..=40 {
        shops[user as usize % 2].order(user).await;
    }
    let order = shops[0].order(7).await;
    assert_eq!(shops[0].try_order(1, 9_999).await.unwrap().0, 404, "which is no order");
    assert_eq!(shops[0].try_order(9_999, 1).await.unwrap().0, 404);
    bed.all_is_confirmed().await;
    bed.all_is_sent(1..=1).await;
    let message = &bed.mail.sent()[&order].message;
    let expected = json!({ "order_id": order, "user_id": 7, "product_id": 8, "quantity": 1,
                           "placed_at": message["placed_at"] });
    assert_eq!(*message, expected);
    assert!(message["placed_at"].as_str().unwrap().ends_with('Z'));
    // What workers say comes a moment later.
    eventually(SOON, async || pool.figure("confirmed_total").await == 41.0).await;
    for (name, figure) in [("waiting", 0.0), ("oldest_seconds", 0.0), ("shard_up", 2.0)] {
        assert_eq!(pool.figure(name).await, figure, "{name}");
    }
    pool.running.is_unharmed();
    pool.running.stop().await;
}

/// The same without shards.
#[tokio::test(flavor = "multi_thread")]
async fn a_shop_without_shards_confirms_its_orders_too() {
    let bed = Bed::without_shards().await;
    let (shop, pool) = (bed.shop("shop").await, bed.pool("pool", &[]).await);
    shop.orders(1..=10).await;
    assert_eq!(shop.try_order(1, 9_999).await.unwrap().0, 404);
    bed.all_is_confirmed().await;
    bed.all_is_sent(1..=1).await;
    assert_eq!(bed.placed().await.len(), 10);
    pool.running.is_unharmed();
    pool.running.stop().await;
}

/// An order that its shop has left half way is written once more; if it was told, that is that.
#[tokio::test(flavor = "multi_thread")]
async fn an_order_that_is_placed_again_is_not_told_again() {
    let bed = Bed::new().await;
    let (shop, _pool) = (bed.shop("shop").await, bed.pool("pool", &[]).await);
    let user = user_on(0);
    let order = shop.order(user).await;
    bed.all_is_confirmed().await;
    let main = bed.main.client().await.unwrap();
    let again = "INSERT INTO storefront.unsettled_orders
                 VALUES ($1, $2, $3, 1, now() - interval '1 hour')";
    main.execute(again, &[&order, &user, &(1 + user % 50)]).await.unwrap();
    let unsettled = "SELECT count(*) FROM storefront.unsettled_orders";
    eventually(SOON, async || {
        main.query_one(unsettled, &[]).await.unwrap().get::<_, i64>(0) == 0
    })
    .await;
    assert_eq!(bed.outbox("true").await, 0);
    bed.all_is_confirmed().await;
    bed.all_is_sent(1..=1).await;
}

/// A shop that dies at any moment leaves both or neither: here, while nobody can write to the
/// outbox.
#[tokio::test(flavor = "multi_thread")]
async fn an_order_and_what_is_to_be_told_of_it_are_one() {
    let bed = Bed::new().await;
    let shop = Arc::new(bed.shop("first").await);
    let user = user_on(0);
    shop.order(user).await;
    let mut shard = bed.shards[0].client().await.unwrap();
    let other = bed.shards[0].client().await.unwrap();
    let lock = shard.transaction().await.unwrap();
    lock.batch_execute("LOCK TABLE storefront.outbox IN SHARE MODE").await.unwrap();
    let client = tokio::spawn({
        let shop = Arc::clone(&shop);
        async move { shop.try_order(user, 1).await }
    });
    let waiting = "SELECT count(*) FROM pg_stat_activity
                   WHERE wait_event_type = 'Lock' AND query LIKE '%storefront.outbox%'";
    eventually(SOON, async || {
        other.query_one(waiting, &[]).await.unwrap().get::<_, i64>(0) == 1
    })
    .await;
    shop.running.process.signal(ExitSignal::Kill).unwrap();
    let ended = "SELECT pg_terminate_backend(pid) FROM pg_stat_activity
                 WHERE wait_event_type = 'Lock' AND query LIKE '%storefront.outbox%'";
    other.query(ended, &[]).await.unwrap();
    lock.rollback().await.unwrap();
    let answer = client.await.unwrap();
    assert!(answer.is_none(), "{answer:?}");

    let (shop, pool) = (bed.shop("second").await, bed.pool("pool", &[]).await);
    shop.order(user).await;
    bed.all_is_confirmed().await;
    bed.all_is_sent(1..=1).await;
    pool.running.is_unharmed();
}
