use std::fmt;
use std::future::Future;
use std::pin::Pin;
use std::task::{Context, Poll, ready};

use futures_util::Stream;
use tokio_postgres::Row;

use super::op::Answer;
use super::{Done, Writing};
use crate::error::Error;
use crate::policy::retry::{Asked, Next, next};
use crate::server::pool::Lease;

/// Rows as they come; made by [`RwSplit::query_raw`](crate::RwSplit::query_raw).
///
/// # Cancel safety
///
/// Dropped before its end, its connection is closed and the server asked to
/// cancel. If it was a write (`INSERT … RETURNING`), its outcome is unknown then.
#[must_use = "streams do nothing unless polled"]
pub struct RowStream {
    state: State,
}

enum State {
    Rows {
        first: Option<Row>,
        rows: Pin<Box<tokio_postgres::RowStream>>,
        lease: Lease,
        writing: Option<Writing>,
        in_block: bool,
    },
    /// The last row has come: where was it committed?
    Ending(Pin<Box<dyn Future<Output = Result<(), Error>> + Send>>),
    Over,
}

impl RowStream {
    pub(super) fn new(done: Done) -> Self {
        let Done { answer, mut lease, writing, in_block } = done;
        let Answer::Stream(rows, first) = answer else {
            unreachable!("a stream was asked for")
        };
        // Until the end the connection is nobody else's.
        lease.ask();
        Self { state: State::Rows { first, rows, lease, writing, in_block } }
    }
}

impl Stream for RowStream {
    type Item = Result<Row, Error>;

    fn poll_next(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Self::Item>> {
        loop {
            match &mut self.state {
                State::Rows { first, rows, .. } => {
                    let next = match first.take() {
                        Some(row) => Some(Ok(row)),
                        None => ready!(rows.as_mut().poll_next(cx)),
                    };
                    match next {
                        Some(Ok(row)) => return Poll::Ready(Some(Ok(row))),
                        end => {
                            let over = std::mem::replace(&mut self.state, State::Over);
                            let State::Rows { lease, writing, in_block, .. } = over else {
                                continue;
                            };
                            match end {
                                Some(Err(error)) => {
                                    let error = failed(error, lease, writing, in_block);
                                    return Poll::Ready(Some(Err(error)));
                                }
                                _ => {
                                    let end = end_of(lease, writing, in_block);
                                    self.state = State::Ending(Box::pin(end));
                                }
                            }
                        }
                    }
                }
                State::Ending(end) => {
                    let end = ready!(end.as_mut().poll(cx));
                    self.state = State::Over;
                    return Poll::Ready(end.err().map(Err));
                }
                State::Over => return Poll::Ready(None),
            }
        }
    }
}

fn failed(
    error: tokio_postgres::Error,
    mut lease: Lease,
    writing: Option<Writing>,
    in_block: bool,
) -> Error {
    if error.code().is_some() && !in_block {
        lease.done();
    }
    match writing {
        Some(writing) if next(error.code(), Asked::Write) == Next::Unknown => {
            writing.unknown(Some(error))
        }
        Some(writing) => {
            writing.nothing_happened();
            Error::Sql(error)
        }
        None => Error::Sql(error),
    }
}

async fn end_of(
    mut lease: Lease,
    writing: Option<Writing>,
    in_block: bool,
) -> Result<(), Error> {
    if in_block && lease.client.batch_execute("COMMIT").await.is_err() {
        // All rows have come; the connection is closed.
        return Ok(());
    }
    if let Some(writing) = writing {
        let position = lease.position().await;
        let known = position.is_ok();
        writing.settle(&lease, Some(position))?;
        if !known {
            return Ok(());
        }
    }
    lease.done();
    Ok(())
}

impl fmt::Debug for RowStream {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("RowStream").finish_non_exhaustive()
    }
}
