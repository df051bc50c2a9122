//! The front, with real workers that crash, freeze, drain and are replaced while requests
//! pass.

#![allow(clippy::unwrap_used, reason = "the helpers of tests are tests")]
#![allow(clippy::disallowed_methods, reason = "wall time is what is measured here")]

mod bed;
mod load;

use std::time::Duration;

use nix::sys::signal::Signal;
use testbed::eventually;

use crate::bed::{Front, SOON};
use crate::load::Load;

#[tokio::test(flavor = "multi_thread")]
async fn every_strategy_spreads_requests_over_the_workers() {
    for strategy in ["p2c", "round-robin", "weighted", "least-connections", "hash"] {
        let front = bed::start(&["--strategy", strategy, "--hash-by", "x-user"]).await;
        front.ready(2).await;
        let load = Load::new(&front.url, "/1").users(64).run(400).await;
        assert_eq!((load.failed, load.answered), (0, 400), "{strategy}");
        let served = front.served().await;
        assert!(served.len() == 2 && served.iter().all(|n| *n >= 50), "{strategy}: {served:?}");
        front.stop().await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_worker_that_is_killed_costs_no_request_that_may_be_repeated() {
    let front = bed::start(&["--dry-run"]).await;
    front.ready(2).await;
    let load = Load::new(&front.url, "/20").start();
    for _ in 0..5 {
        let [victim, ..] = front.ready(2).await[..] else { panic!() };
        front.signal(victim, Signal::SIGKILL).await;
        front.replaced(victim).await;
    }
    let load = load.stop().await;
    assert_eq!(load.failed, 0, "{load:?}");
    assert!(load.answered > 100, "{load:?}");
    assert!(front.counter("front_crashes_total").await >= 5);
    assert!(front.counter("front_retries_total").await >= 1);
    front.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn what_may_not_be_repeated_is_not() {
    let front = bed::start(&["--dry-run"]).await;
    front.ready(2).await;
    // Each worker has some of them when it is killed.
    let load = tokio::spawn(Load::new(&front.url, "/1000").posts().clients(8).run(8));
    eventually(SOON, async || front.counter("front_in_flight").await == 8).await;
    for victim in front.phase("ready").await {
        front.signal(victim, Signal::SIGKILL).await;
    }
    let load = load.await.unwrap();
    assert_eq!((load.failed, load.answered), (8, 0), "{load:?}");
    assert_eq!(load.why.as_deref(), Some("502 Bad Gateway"));
    assert_eq!(front.counter("front_retries_total").await, 0);
    front.stop().await;
}

/// It may still do it, after the second one has, and over what came in between.
#[tokio::test(flavor = "multi_thread")]
async fn a_change_that_takes_long_is_not_asked_of_a_second_worker() {
    let front = bed::start(&["--dry-run"]).await;
    front.ready(2).await;
    let load = Load::new(&front.url, "/3000").puts().clients(2).run(2).await;
    assert_eq!((load.failed, load.answered), (0, 2), "{load:?}");
    assert_eq!(front.counter("front_retries_total").await, 0);
    front.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_worker_that_freezes_delays_requests_and_fails_none() {
    let front = bed::start(&["--dry-run"]).await;
    front.ready(2).await;
    let load = Load::new(&front.url, "/5").start();
    let [victim, ..] = front.ready(2).await[..] else { panic!() };
    front.signal(victim, Signal::SIGSTOP).await;
    // Out of the list after its next probe.
    eventually(SOON, async || !front.phase("ready").await.contains(&victim)).await;
    front.signal(victim, Signal::SIGCONT).await;
    front.ready(2).await;
    let load = load.stop().await;
    assert_eq!(load.failed, 0, "{load:?}");
    assert!(load.slowest < Duration::from_secs(6), "{load:?}");
    front.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_moment_without_any_worker_is_waited_for() {
    let front = bed::start(&["--dry-run"]).await;
    front.ready(2).await;
    let load = Load::new(&front.url, "/5").start();
    for victim in front.ready(2).await {
        front.signal(victim, Signal::SIGKILL).await;
    }
    eventually(SOON, async || front.counter("front_crashes_total").await == 2).await;
    front.ready(2).await;
    let load = load.stop().await;
    assert_eq!(load.failed, 0, "{load:?}");
    front.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_restart_one_by_one_fails_nothing() {
    let front = bed::start(&["--dry-run"]).await;
    let before = front.ready(2).await;
    let load = Load::new(&front.url, "/20").start();
    front.restart().await;
    let after = front.ready(2).await;
    assert!(after.iter().all(|id| !before.contains(id)), "{before:?} {after:?}");
    let load = load.stop().await;
    assert_eq!(load.failed, 0, "{load:?}");
    assert_eq!(front.counter("front_crashes_total").await, 0);
    front.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn its_operator_can_ask_for_more_workers_and_for_fewer() {
    let front = bed::start(&["--dry-run"]).await;
    front.ready(2).await;
    let load = Load::new(&front.url, "/20").start();
    for count in [4, 2, 3] {
        front.resize(count).await;
        front.ready(count).await;
    }
    let load = load.stop().await;
    assert_eq!(load.failed, 0, "{load:?}");
    assert_eq!(front.counter("front_crashes_total").await, 0);
    front.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn workers_come_with_the_load_and_go_after_it() {
    let policy = r#"
        policy = "predictive"
        signal = { metric = "in-flight", per-instance = 8.0 }
        min = 1
        max = 4
        warm-up = "1s"
        every = "1s"
        hold-down = "3s"
    "#;
    let front = bed::with_policy(policy, &["--every", "200"]).await;
    front.ready(1).await;
    let load = Load::new(&front.url, "/50").clients(24).start();
    eventually(SOON, async || front.phase("ready").await.len() >= 3).await;
    let load = load.stop().await;
    assert_eq!(load.failed, 0, "{load:?}");
    let calm = Load::new(&front.url, "/5").clients(1).start();
    front.ready(1).await;
    let calm = calm.stop().await;
    assert_eq!(calm.failed, 0, "{calm:?}");
    let said = front.said();
    assert!(said.contains("OUT 1 -> ") && said.contains("in-flight"), "{said}");
    front.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn without_a_worker_that_starts_there_is_a_clear_answer() {
    let front = Front::start(&["--grace", "1"], &["sh", "-c", "exit 1"], &[]).await;
    let (status, retry_after) = front.get("/5").await;
    assert_eq!((status, retry_after.as_deref()), (503, Some("1")));
    assert!(front.said().contains("has ended by itself: exit status: 1"), "{}", front.said());
    front.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn asked_to_stop_it_answers_what_it_has_taken() {
    let front = bed::start(&[]).await;
    front.ready(2).await;
    let slow = tokio::spawn(Load::new(&front.url, "/1500").clients(8).run(8));
    eventually(SOON, async || front.counter("front_in_flight").await == 8).await;
    front.stop().await;
    let load = slow.await.unwrap();
    assert_eq!((load.failed, load.answered), (0, 8), "{load:?}");
}
