use std::time::{Duration, Instant};

use crate::error::Error;

const POLL: Duration = Duration::from_millis(10);
/// A check is given so much, also when the deadline is nearer.
const ONE_CHECK: Duration = Duration::from_secs(1);

/// Polls `check` until it finds what is `awaited`; else it says what it sees,
/// and its errors are seen as well.
pub(super) async fn until<F>(
    awaited: &str,
    deadline: Duration,
    check: impl Fn() -> F,
) -> Result<(), Error>
where
    F: Future<Output = Result<Result<(), String>, Error>>,
{
    let start = Instant::now();
    loop {
        let left = deadline.saturating_sub(start.elapsed()).max(ONE_CHECK);
        let seen = match tokio::time::timeout(left, check()).await {
            Ok(Ok(Ok(()))) => return Ok(()),
            Ok(Ok(Err(seen))) => seen,
            Ok(Err(error)) => format!("{error:?}"),
            Err(_) => "no answer".into(),
        };
        if start.elapsed() >= deadline {
            return Err(Error::Late { awaited: format!("{awaited}; {seen}"), after: deadline });
        }
        tokio::time::sleep(POLL).await;
    }
}
