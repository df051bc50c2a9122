//! Writes that finish what they began.

use crate::error::Error;

/// Runs `write` to its end, even when the client hangs up and the handler is dropped:
/// a commit must not be left without its invalidation.
///
/// The task lives as long as the write; nobody holds it, so nobody can stop it half way.
pub(crate) async fn to_its_end<T: Send + 'static>(
    write: impl Future<Output = Result<T, Error>> + Send + 'static,
) -> Result<T, Error> {
    match tokio::spawn(write).await {
        Ok(outcome) => outcome,
        // It panicked, which the panic hook has reported, or the runtime is going down.
        Err(_) => Err(Error::internal()),
    }
}
