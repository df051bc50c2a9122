//! Waits until the process is asked to stop.

use std::io;

use tokio::signal::unix::{SignalKind, signal};

/// Returns a future that ends at SIGTERM or Ctrl-C. Both are watched from this call on.
///
/// # Errors
///
/// When the handlers cannot be installed.
pub(crate) fn asked_to_stop() -> io::Result<impl Future<Output = ()>> {
    let mut terminate = signal(SignalKind::terminate())?;
    let mut interrupt = signal(SignalKind::interrupt())?;
    Ok(async move {
        tokio::select! {
            _ = terminate.recv() => {}
            _ = interrupt.recv() => {}
        }
    })
}
