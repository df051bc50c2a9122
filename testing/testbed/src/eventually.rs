use std::fmt::Debug;
use std::panic::Location;
use std::time::{Duration, Instant};

const POLL: Duration = Duration::from_millis(10);

/// Polls `condition` every 10 ms until it is true.
///
/// ```
/// # #[tokio::main(flavor = "current_thread")]
/// # async fn main() {
/// use std::time::Duration;
///
/// let mut polls = 0;
/// testbed::eventually(Duration::from_secs(5), async || {
///     polls += 1;
///     polls == 3
/// })
/// .await;
/// # }
/// ```
///
/// # Cancel safety
///
/// Cancel safe, as far as `condition` is.
///
/// # Panics
///
/// When `deadline` passes first, also when `condition` itself hangs; the
/// message says where it was called, and how often it polled. The clock of
/// tokio must not be paused.
#[track_caller]
pub fn eventually(
    deadline: Duration,
    mut condition: impl AsyncFnMut() -> bool,
) -> impl Future<Output = ()> {
    poll(deadline, Location::caller(), async move || {
        condition().await.then_some(()).ok_or("it was false")
    })
}

/// Polls `condition` every 10 ms until it returns a value, and returns that.
///
/// # Cancel safety
///
/// As [`eventually`].
///
/// # Panics
///
/// As [`eventually`].
#[track_caller]
pub fn eventually_some<T>(
    deadline: Duration,
    mut condition: impl AsyncFnMut() -> Option<T>,
) -> impl Future<Output = T> {
    poll(deadline, Location::caller(), async move || condition().await.ok_or("it was None"))
}

/// Polls `attempt` every 10 ms until it succeeds, and returns its value.
///
/// # Cancel safety
///
/// As [`eventually`].
///
/// # Panics
///
/// As [`eventually`]; the message has the last error.
#[track_caller]
pub fn eventually_ok<T, E: Debug>(
    deadline: Duration,
    attempt: impl AsyncFnMut() -> Result<T, E>,
) -> impl Future<Output = T> {
    poll(deadline, Location::caller(), attempt)
}

async fn poll<T, E: Debug>(
    deadline: Duration,
    caller: &Location<'_>,
    mut attempt: impl AsyncFnMut() -> Result<T, E>,
) -> T {
    let start = Instant::now();
    let left = || deadline.saturating_sub(start.elapsed());
    let mut last = None;
    let mut polls = 0_u64;
    loop {
        match tokio::time::timeout(left(), attempt()).await {
            Ok(Ok(value)) => return value,
            Ok(Err(error)) => last = Some(error),
            Err(_) if last.is_none() => {
                panic!("not within {deadline:?} at {caller}: it hung at its first poll")
            }
            Err(_) => {}
        }
        polls += 1;
        // A timeout of zero still polls once: the deadline is checked here.
        if left().is_zero() {
            let last = last.expect("a poll without an answer has panicked above");
            panic!("not within {deadline:?} at {caller}: the last of {polls} polls: {last:?}");
        }
        tokio::time::sleep(POLL.min(left())).await;
    }
}
