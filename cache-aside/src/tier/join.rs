//! Several servers at once.

use std::future::{Future, poll_fn};
use std::task::Poll;

/// Runs futures at once; there are few of them.
pub(super) async fn join_all<F: Future>(futures: impl Iterator<Item = F>) -> Vec<F::Output> {
    let mut running: Vec<_> = futures.map(|future| (Some(Box::pin(future)), None)).collect();
    // The usual case: one server.
    if let [(one, _)] = &mut running[..] {
        let one = one.take().expect("it was put there");
        return vec![one.await];
    }
    poll_fn(|cx| {
        let mut pending = false;
        for (future, output) in &mut running {
            if let Some(run) = future {
                match run.as_mut().poll(cx) {
                    Poll::Ready(ready) => {
                        *output = Some(ready);
                        *future = None;
                    }
                    Poll::Pending => pending = true,
                }
            }
        }
        if pending { Poll::Pending } else { Poll::Ready(()) }
    })
    .await;
    running.into_iter().map(|(_, output)| output.expect("it has ended")).collect()
}
