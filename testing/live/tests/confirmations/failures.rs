//! A mail service that fails, for a while or for good, and a shard that is away.

use nix::sys::signal::Signal;
use serde_json::Value;
use testbed::eventually;
use testbed::guard::ExitSignal;

use crate::bed::{Bed, SOON, send, user_on};
use live::mail::Mood;

/// Attempts come soon, and there are many.
const EAGER: [&str; 6] = ["--attempts", "100", "--backoff", "50", "--backoff-max", "400"];

#[tokio::test(flavor = "multi_thread")]
async fn a_mail_service_that_fails_for_a_while_gets_everything_in_the_end() {
    let bed = Bed::new().await;
    let options = [&EAGER[..], &["--min", "2", "--max", "2", "--mail-timeout", "500"]].concat();
    let (shop, pool) = (bed.shop("shop").await, bed.pool("pool", &options).await);
    bed.mail.is(Mood::Answers(503));
    shop.orders(1..=10).await;
    let seen = |times| bed.mail.sent().values().filter(|sent| sent.seen >= times).count();
    for mood in [Mood::Answers(429), Mood::Holds, Mood::Answers(302)] {
        let before = bed.mail.sent().values().map(|sent| sent.seen).max().unwrap_or(0);
        eventually(SOON, async || seen(before + 2) == 10).await;
        assert_eq!(bed.confirmed().await.len(), 0);
        bed.mail.is(mood);
    }
    assert_eq!(bed.outbox("last_error LIKE 'the mail service has %'").await, 10);
    bed.mail.is(Mood::Takes);
    bed.all_is_confirmed().await;
    // Half a second is not much for an answer here.
    bed.all_is_sent(1..=9).await;
    let client = bed.shards[0].client().await.unwrap();
    let least = "SELECT min(attempts) FROM storefront.confirmations";
    assert!(client.query_one(least, &[]).await.unwrap().get::<_, i32>(0) > 4);
    eventually(SOON, async || pool.figure("retried_total").await >= 60.0).await;
    assert_eq!(pool.figure("set_aside_total").await, 0.0);
    pool.running.is_unharmed();
    pool.running.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn what_fails_for_good_is_set_aside_listed_and_tried_again_when_asked() {
    let bed = Bed::new().await;
    let options = ["--attempts", "3", "--backoff", "20"];
    let (shop, pool) = (bed.shop("shop").await, bed.pool("pool", &options).await);
    let set_aside = async || bed.outbox("set_aside_at IS NOT NULL").await;
    bed.mail.is(Mood::Answers(422));
    let refused = shop.order(user_on(0)).await;
    eventually(SOON, async || set_aside().await == 1).await;
    bed.mail.is(Mood::Answers(500));
    let failed = [shop.order(user_on(0)).await, shop.order(user_on(1)).await];
    eventually(SOON, async || set_aside().await == 3).await;
    let seen = |order| bed.mail.sent()[&order].seen;
    assert_eq!((seen(refused), seen(failed[0]), seen(failed[1])), (1, 3, 3));
    eventually(SOON, async || pool.figure("set_aside_total").await == 3.0).await;
    assert_eq!((pool.figure("set_aside").await, pool.figure("waiting").await), (3.0, 0.0));

    let list = bed.start("list", &["confirmations", "list", "--json"]).await;
    assert!(list.process.wait().await.success(), "{}", list.said());
    let printed = list.printed();
    let lines: Vec<Value> =
        printed.lines().map(|line| serde_json::from_str(line).unwrap()).collect();
    assert_eq!(lines.len(), 3);
    for (order, attempts, why) in
        [(refused, 1, "refused it with 422"), (failed[1], 3, "answered 500, at attempt 3")]
    {
        let line = lines.iter().find(|line| line["order_id"] == order).unwrap();
        assert_eq!(line["attempts"], attempts);
        assert!(line["last_error"].as_str().unwrap().ends_with(why), "{line}");
    }
    let text = bed.start("text", &["confirmations", "list"]).await;
    assert!(text.process.wait().await.success(), "{}", text.said());
    assert!(text.printed().contains(&format!("order {refused} of user")), "{}", text.printed());

    // Nobody asks for that by himself.
    bed.mail.is(Mood::Takes);
    let word = refused.to_string();
    let one = bed.start("one", &["confirmations", "retry", &word]).await;
    assert!(one.process.wait().await.success(), "{}", one.said());
    assert_eq!(one.printed(), "1\n");
    eventually(SOON, async || bed.confirmed().await.contains_key(&refused)).await;
    assert_eq!(set_aside().await, 2);
    let again = bed.start("again", &["confirmations", "retry", &word]).await;
    assert_eq!(again.process.wait().await.code(), Some(1));
    assert!(again.said().contains("was not set aside"), "{}", again.said());
    let all = bed.start("all", &["confirmations", "retry", "--all"]).await;
    assert!(all.process.wait().await.success(), "{}", all.said());
    bed.all_is_confirmed().await;
    bed.all_is_sent(1..=1).await;
    pool.running.is_unharmed();
    pool.running.stop().await;
}

/// It is not what the mail service says that ends its workers, but nobody goes on for ever.
#[tokio::test(flavor = "multi_thread")]
async fn a_job_that_takes_its_workers_down_is_set_aside() {
    let bed = Bed::new().await;
    let options = ["--attempts", "2", "--min", "1", "--max", "1", "--mail-timeout", "20000"];
    let (shop, pool) = (bed.shop("shop").await, bed.pool("pool", &options).await);
    bed.mail.is(Mood::Holds);
    let order = shop.order(user_on(0)).await;
    for _ in 0..2 {
        eventually(SOON, async || bed.mail.in_hand() == 1).await;
        send(pool.busy().await, Signal::SIGKILL);
        eventually(SOON, async || bed.mail.in_hand() == 0).await;
        bed.execute("UPDATE storefront.outbox SET claimed_until = now(), push_at = now()")
            .await;
    }
    let why = "set_aside_at IS NOT NULL AND last_error LIKE '2 attempts have ended without %'";
    eventually(SOON, async || bed.outbox(why).await == 1).await;
    assert_eq!((bed.mail.sent()[&order].seen, bed.mail.sent()[&order].taken), (2, 0));
    pool.running.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_shard_that_is_away_delays_its_own_orders_and_no_others() {
    let bed = Bed::new().await;
    let shop = bed.shop("shop").await;
    let (up, down) = (user_on(0), user_on(1));
    for _ in 0..10 {
        shop.order(up).await;
        shop.order(down).await;
    }
    let relay = bed.relay("relay").await;
    eventually(SOON, async || bed.queued().await == 20).await;
    bed.shards[1].kill().await.unwrap();
    relay.running.process.signal(ExitSignal::Kill).unwrap();
    // Jobs of both are in the queue, and a pool is opened without one of the shards.
    let pool = bed.pool("pool", &["--min", "2", "--max", "2"]).await;
    let here = bed.shards[0].client().await.unwrap();
    let confirmed = "SELECT count(*) FROM storefront.confirmations";
    eventually(SOON, async || {
        here.query_one(confirmed, &[]).await.unwrap().get::<_, i64>(0) == 10
    })
    .await;
    assert_eq!(pool.figure("shard_up").await, 1.0);
    shop.order(up).await;
    eventually(SOON, async || {
        here.query_one(confirmed, &[]).await.unwrap().get::<_, i64>(0) == 11
    })
    .await;
    let list = bed.start("list", &["confirmations", "list"]).await;
    assert_eq!(list.process.wait().await.code(), Some(1));
    assert!(list.said().contains("shard orders-2 is missing"), "{}", list.said());

    bed.shards[1].restart().await.unwrap();
    bed.all_is_confirmed().await;
    bed.all_is_sent(1..=1).await;
    assert_eq!(pool.figure("shard_up").await, 2.0);
    assert!(pool.running.said().contains("shard orders-2 answers again"));
    pool.running.is_unharmed();
    pool.running.stop().await;
}

/// The mail service has it, and the shard cannot be told: nobody sends it again for that.
#[tokio::test(flavor = "multi_thread")]
async fn what_was_sent_while_its_shard_is_away_is_taken_down_when_it_is_back() {
    let bed = Bed::new().await;
    let options = ["--min", "1", "--max", "1", "--parallel", "3", "--mail-timeout", "20000"];
    let (shop, pool) = (bed.shop("shop").await, bed.pool("pool", &options).await);
    let (up, down) = (user_on(0), user_on(1));
    bed.mail.is(Mood::Holds);
    for _ in 0..3 {
        shop.order(down).await;
    }
    eventually(SOON, async || bed.mail.in_hand() == 3).await;
    bed.shards[1].kill().await.unwrap();
    bed.mail.is(Mood::Takes);
    bed.mail.lets_go();
    // It has its hands free for others.
    let other = shop.order(up).await;
    eventually(SOON, async || bed.mail.sent().contains_key(&other)).await;
    bed.shards[1].restart().await.unwrap();
    bed.all_is_confirmed().await;
    bed.all_is_sent(1..=1).await;
    pool.running.is_unharmed();
    pool.running.stop().await;
}
