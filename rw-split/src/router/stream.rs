use std::fmt;
use std::future::Future;
use std::pin::Pin;
use std::task::{Context, Poll, ready};

use futures_util::Stream;
use tokio_postgres::Row;

use super::op::Answer;
use super::{Done, Writing};
use crate::error::Error;
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
    },
    /// The last row has come: where was it committed?
    Ending(Pin<Box<dyn Future<Output = Result<(), Error>> + Send>>),
    Over,
}

impl RowStream {
    pub(super) fn new(done: Done) -> Self {
        let (answer, mut lease, writing) = done.into_parts();
        let Answer::Stream(rows, first) = answer else {
            unreachable!("a stream was asked for")
        };
        // Until the end the connection is nobody else's.
        lease.ask();
        Self { state: State::Rows { first, rows, lease, writing } }
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
                            let State::Rows { lease, writing, .. } = over else { continue };
                            match end {
                                Some(Err(error)) => {
                                    let error = failed(error, lease, writing);
                                    return Poll::Ready(Some(Err(error)));
                                }
                                _ => {
                                    self.state = State::Ending(Box::pin(end_of(lease, writing)))
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

fn failed(error: tokio_postgres::Error, mut lease: Lease, writing: Option<Writing>) -> Error {
    if error.code().is_some() {
        lease.done();
    }
    match writing {
        Some(writing) if error.code().is_none() => writing.unknown(Some(error)),
        Some(writing) => {
            writing.nothing_happened();
            Error::Sql(error)
        }
        None => Error::Sql(error),
    }
}

async fn end_of(mut lease: Lease, writing: Option<Writing>) -> Result<(), Error> {
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
