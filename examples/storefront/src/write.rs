//! Writes that finish what they began.

use rw_split::ConsistencyScope;

use crate::error::Error;
use crate::unheard::Unheard;

/// Runs `write` to its end, even when the client hangs up and the handler is dropped:
/// a commit must not be left without its invalidation.
///
/// The task lives as long as the write; nobody holds it, so nobody can stop it half way. It
/// is of the handler's session, which a task does not inherit: the answer's cookies say what
/// was written, and what the shared cache has not heard of.
pub(crate) async fn to_its_end<T: Send + 'static>(
    write: impl Future<Output = Result<T, Error>> + Send + 'static,
) -> Result<T, Error> {
    if cfg!(broken = "no_detached_write") {
        return write.await;
    }
    let session = ConsistencyScope::current().filter(|_| !cfg!(broken = "no_session_in_task"));
    let write = Unheard::current().unwrap_or_default().enter(write);
    let task = match session {
        Some(session) => tokio::spawn(async move { session.enter(write).await }),
        None => tokio::spawn(write),
    };
    match task.await {
        Ok(outcome) => outcome,
        // It panicked, which the panic hook has reported, or the runtime is going down.
        Err(_) => Err(Error::internal()),
    }
}

#[cfg(test)]
mod tests {
    use tokio::sync::oneshot;
    use tokio_test::{assert_pending, task};

    use super::*;

    #[tokio::test]
    async fn a_client_that_hangs_up_does_not_stop_the_write() {
        let (committed, commit) = oneshot::channel();
        let (invalidated, invalidation) = oneshot::channel();
        let mut handler = task::spawn(to_its_end(async move {
            commit.await.unwrap();
            invalidated.send(()).unwrap();
            Ok(())
        }));
        assert_pending!(handler.poll());
        drop(handler);
        committed.send(()).unwrap();
        invalidation.await.unwrap();
    }

    #[tokio::test]
    async fn a_write_that_panics_is_an_answer() {
        let answer = to_its_end::<()>(async { panic!("of the test") }).await;
        assert_eq!(answer, Err(Error::internal()));
    }
}
