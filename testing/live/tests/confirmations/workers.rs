//! Workers that are killed, stopped, left alone, asked to stop, and as many as are needed.

use std::time::Duration;

use nix::sys::signal::Signal;
use testbed::eventually;
use testbed::guard::ExitSignal;

use crate::bed::{Bed, SOON, is_gone, send, user_on};
use live::mail::Mood;

/// A lease that a test can wait for, on a busy machine, too.
const SHORT: [&str; 4] = ["--lease", "7000", "--mail-timeout", "6000"];

#[tokio::test(flavor = "multi_thread")]
async fn a_worker_that_is_killed_in_the_middle_of_a_job_loses_nothing() {
    let bed = Bed::new().await;
    let options = [&SHORT[..], &["--min", "1", "--max", "1"]].concat();
    let (shop, pool) = (bed.shop("shop").await, bed.pool("pool", &options).await);
    pool.ready(1).await;
    for round in 1..=2 {
        bed.mail.is(Mood::Holds);
        shop.orders(1..=4).await;
        eventually(SOON, async || bed.mail.in_hand() > 0).await;
        let victim = pool.busy().await;
        send(victim, Signal::SIGKILL);
        bed.mail.is(Mood::Takes);
        bed.all_is_confirmed().await;
        assert!(pool.figure("worker_crashes_total").await >= f64::from(round));
    }
    // What was held when its sender died was never taken.
    bed.all_is_sent(1..=1).await;
    pool.running.is_unharmed();
    pool.running.stop().await;
}

/// It wakes up with an answer in its hand, and somebody else has confirmed the order by then.
#[tokio::test(flavor = "multi_thread")]
async fn a_worker_that_was_stopped_past_its_lease_takes_nothing_down() {
    let bed = Bed::new().await;
    let options = [&SHORT[..], &["--min", "2", "--max", "2", "--parallel", "1"]].concat();
    let (shop, pool) = (bed.shop("shop").await, bed.pool("pool", &options).await);
    pool.ready(2).await;
    bed.mail.is(Mood::Holds);
    let order = shop.order(user_on(0)).await;
    let stopped = pool.busy().await;
    send(stopped, Signal::SIGSTOP);
    // The one that is stopped gets its answer, and does not know it yet.
    bed.mail.is(Mood::Takes);
    bed.mail.lets_go();
    bed.all_is_confirmed().await;
    send(stopped, Signal::SIGCONT);
    // Each tells of its own.
    eventually(SOON, async || {
        (pool.figure("late_total").await, pool.figure("confirmed_total").await) == (1.0, 1.0)
    })
    .await;
    bed.all_is_confirmed().await;
    // Nobody can know that the other one has sent it. The key tells the mail service.
    assert_eq!(bed.mail.sent()[&order].taken, 2);
    pool.running.is_unharmed();
    pool.running.stop().await;
}

/// The same without a clock: its turn is over while the mail service still holds what it sent.
#[tokio::test(flavor = "multi_thread")]
async fn whose_turn_is_over_takes_nothing_down() {
    let bed = Bed::new().await;
    let options = ["--min", "2", "--max", "2", "--parallel", "1", "--mail-timeout", "20000"];
    let (shop, pool) = (bed.shop("shop").await, bed.pool("pool", &options).await);
    pool.ready(2).await;
    bed.mail.is(Mood::Holds);
    let order = shop.order(user_on(1)).await;
    eventually(SOON, async || bed.mail.in_hand() == 1).await;
    bed.mail.is(Mood::Takes);
    let over = "UPDATE storefront.outbox SET claimed_until = now(), push_at = now()";
    bed.execute(over).await;
    bed.all_is_confirmed().await;
    bed.mail.lets_go();
    let written =
        async || pool.figure("late_total").await + pool.figure("confirmed_total").await == 2.0;
    eventually(SOON, written).await;
    assert_eq!(pool.figure("late_total").await, 1.0);
    bed.all_is_confirmed().await;
    assert_eq!(bed.mail.sent()[&order].taken, 2);
    pool.running.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn workers_that_are_left_alone_finish_what_they_have_in_hand_and_go() {
    let bed = Bed::new().await;
    let options = ["--min", "2", "--max", "2", "--mail-timeout", "20000"];
    let (shop, pool) = (bed.shop("shop").await, bed.pool("first", &options).await);
    let workers = pool.ready(2).await;
    bed.mail.is(Mood::Holds);
    shop.orders(1..=6).await;
    eventually(SOON, async || bed.mail.in_hand() == 6).await;
    pool.running.process.signal(ExitSignal::Kill).unwrap();
    shop.orders(7..=12).await;
    bed.mail.is(Mood::Takes);
    bed.mail.lets_go();
    for worker in workers {
        is_gone(worker).await;
    }
    assert_eq!(bed.confirmed().await.len(), 6);

    let pool = bed.pool("second", &options).await;
    bed.all_is_confirmed().await;
    bed.all_is_sent(1..=1).await;
    assert_eq!(bed.placed().await.len(), 12);
    pool.running.is_unharmed();
    pool.running.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn asked_to_stop_workers_finish_what_they_have_in_hand() {
    let bed = Bed::new().await;
    let options = ["--min", "1", "--max", "1", "--mail-timeout", "20000"];
    let (shop, pool) = (bed.shop("shop").await, bed.pool("first", &options).await);
    let workers = pool.ready(1).await;
    bed.mail.is(Mood::Holds);
    shop.orders(1..=4).await;
    eventually(SOON, async || bed.mail.in_hand() == 4).await;
    pool.running.process.signal(ExitSignal::Terminate).unwrap();
    eventually(SOON, async || pool.running.said().contains("asked to stop")).await;
    shop.orders(5..=6).await;
    bed.mail.is(Mood::Takes);
    bed.mail.lets_go();
    pool.running.stop().await;
    is_gone(workers[0]).await;
    assert_eq!(bed.confirmed().await.len(), 4);

    let pool = bed.pool("second", &options).await;
    bed.all_is_confirmed().await;
    bed.all_is_sent(1..=1).await;
    pool.running.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn workers_come_with_a_burst_and_go_after_it() {
    let bed = Bed::new().await;
    let shop = bed.shop("shop").await;
    bed.mail.is(Mood::TakesAfter(Duration::from_millis(30)));
    let options = ["--min", "1", "--max", "3", "--parallel", "1", "--decide-every", "200"];
    let rate = ["--rate", "20", "--drain-within", "1", "--hold-down", "2"];
    for _ in 0..2 {
        shop.orders(1..=100).await;
    }
    let pool = bed.pool("pool", &[&options[..], &rate].concat()).await;
    pool.ready(3).await;
    bed.all_is_confirmed().await;
    pool.ready(1).await;
    bed.all_is_sent(1..=1).await;
    let said = pool.running.said();
    assert!(said.contains("OUT 1 -> ") && said.contains("IN 3 -> "), "{said}");
    assert!(said.contains("queue-depth"), "{said}");
    assert_eq!(pool.figure("worker_crashes_total").await, 0.0);
    pool.running.is_unharmed();
    pool.running.stop().await;
}
