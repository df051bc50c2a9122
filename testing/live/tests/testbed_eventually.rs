//! Waiting for a condition.

use std::future::pending;
use std::panic::AssertUnwindSafe;
use std::time::Duration;

use testbed::{eventually, eventually_ok, eventually_some};

const DEADLINE: Duration = Duration::from_secs(20);
const SHORT: Duration = Duration::from_millis(60);

/// What a future of `wait` panics with.
async fn panic_of<F: Future>(wait: F) -> String
where
    F::Output: std::fmt::Debug,
{
    let mut wait = Box::pin(wait);
    let caught = std::future::poll_fn(|cx| {
        match std::panic::catch_unwind(AssertUnwindSafe(|| wait.as_mut().poll(cx))) {
            Ok(poll) => poll.map(Ok),
            Err(panic) => std::task::Poll::Ready(Err(panic)),
        }
    });
    let panic = caught.await.expect_err("the deadline passes");
    *panic.downcast::<String>().expect("the message is formatted")
}

#[tokio::test]
async fn it_ends_as_soon_as_the_condition_holds() {
    let mut polls = 0;
    eventually(DEADLINE, async || {
        polls += 1;
        polls == 3
    })
    .await;
    assert_eq!(polls, 3);
    assert_eq!(eventually_some(DEADLINE, || async { Some("value") }).await, "value");
    assert_eq!(eventually_ok(DEADLINE, || async { Ok::<_, ()>(7) }).await, 7);
}

#[tokio::test]
async fn a_deadline_that_passes_says_where_and_what_was_seen() {
    let message = panic_of(eventually(SHORT, async || false)).await;
    assert!(message.contains("60ms") && message.contains(file!()), "{message}");
    assert!(message.contains("it was false"), "{message}");

    let message = panic_of(eventually_some(SHORT, async || None::<()>)).await;
    assert!(message.contains("it was None"), "{message}");

    let message = panic_of(eventually_ok(SHORT, async || Err::<(), _>("the reason"))).await;
    assert!(message.contains("the reason"), "{message}");
}

#[tokio::test]
async fn a_condition_that_hangs_does_not_hang_the_test() {
    let message = panic_of(eventually(SHORT, async || pending().await)).await;
    assert!(message.contains("hung"), "{message}");
}
