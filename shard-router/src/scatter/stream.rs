use std::fmt;
use std::future::{Future, poll_fn};
use std::pin::Pin;
use std::task::{Context, Poll, ready};
use std::time::Duration;

use futures_util::future::BoxFuture;
use futures_util::stream::{FuturesUnordered, Stream, StreamExt};
use tokio::sync::OwnedSemaphorePermit;
use tokio::time::Sleep;
use tokio_postgres::{Row, RowStream};

use super::ask::{Coming, Gathered};
use super::merge::{Merge, SteppedBack};
use super::order::Order;
use crate::error::Error;
use crate::map::ShardName;
use crate::source::{BoxConnection, SourceError};

/// Rows of all shards in order, as they come; made by
/// [`ScatterQuery::stream`](super::ScatterQuery::stream).
///
/// It has a connection to each shard until it ends or is dropped, and counts as one of the
/// [`scatters`](crate::RouterBuilder::scatters) that may run at a time.
///
/// # Cancel safety
///
/// Dropped before its end, its connections are closed, and the servers asked to cancel. Its
/// [`next`](Self::next) may be dropped and called again.
#[must_use = "streams do nothing unless polled"]
pub struct MergedRows {
    sources: Vec<Source>,
    merge: Merge<Row>,
    order: Order,
    /// The sources of which the next row is to be had.
    wanted: Vec<usize>,
    /// The next row, of which the one behind it on its shard is not known yet.
    taken: Option<Row>,
    left: u64,
    skip: u64,
    over: bool,
    /// How long one row may take.
    patience: Duration,
    sleep: Option<Pin<Box<Sleep>>>,
    /// Connections on their way back.
    ending: FuturesUnordered<BoxFuture<'static, ()>>,
    permit: Option<OwnedSemaphorePermit>,
}

struct Source {
    shard: ShardName,
    open: Option<(Pin<Box<RowStream>>, BoxConnection)>,
}

impl MergedRows {
    pub(super) fn new(
        gathered: Gathered<Coming>,
        order: Order,
        limit: u64,
        offset: u64,
        patience: Duration,
    ) -> Self {
        let Gathered { view, answers, permit, .. } = gathered;
        let sources: Vec<_> = answers
            .into_iter()
            .map(|(index, answer)| Source {
                shard: view.members[index].node.name.clone(),
                open: Some((answer.rows.rows, answer.rows.connection)),
            })
            .collect();
        Self {
            merge: Merge::new(sources.len()),
            wanted: (0..sources.len()).collect(),
            taken: None,
            sources,
            order,
            left: limit,
            skip: offset,
            over: false,
            patience,
            sleep: None,
            ending: FuturesUnordered::new(),
            permit: Some(permit),
        }
    }

    /// The next row.
    ///
    /// # Errors
    ///
    /// If a shard's rows end too early, are out of order, or the next one takes longer than
    /// [`query_timeout`](crate::RouterBuilder::query_timeout); nothing comes after that.
    ///
    /// # Cancel safety
    ///
    /// Cancel safe.
    pub async fn next(&mut self) -> Option<Result<Row, Error>> {
        poll_fn(|cx| Pin::new(&mut *self).poll_next(cx)).await
    }

    /// One row, counting neither offset nor limit; nothing when all have ended.
    fn poll_row(&mut self, cx: &mut Context<'_>) -> Poll<Result<Option<Row>, Error>> {
        // At the start the first row of each, then the one behind the row that is next.
        while let Some(source) = self.wanted.last().copied() {
            let Source { shard, open } = &mut self.sources[source];
            if let Some((rows, _)) = open {
                let Poll::Ready(next) = rows.as_mut().poll_next(cx) else {
                    let (shard, after) = (shard.clone(), self.patience);
                    ready!(late(&mut self.sleep, after, cx));
                    return Poll::Ready(Err(Error::Late { shard, after }));
                };
                self.sleep = None;
                match next {
                    Some(Ok(row)) => {
                        let last = self.taken.as_ref();
                        let compare = |a: &Row, b: &Row| self.order.compare(a, b);
                        let put = self.merge.put(source, row, last, compare);
                        if let Err(SteppedBack { .. }) = put {
                            return Poll::Ready(Err(Error::OutOfOrder {
                                shard: shard.clone(),
                            }));
                        }
                    }
                    Some(Err(error)) => {
                        let error = Error::of(shard, SourceError::Sql(error));
                        return Poll::Ready(Err(error));
                    }
                    None => {
                        if let Some((_, connection)) = open.take() {
                            self.ending.push(Box::pin(end(connection)));
                        }
                    }
                }
            }
            self.wanted.pop();
        }
        if let Some(row) = self.taken.take() {
            return Poll::Ready(Ok(Some(row)));
        }
        let Some((source, row)) = self.merge.take() else { return Poll::Ready(Ok(None)) };
        if self.left == 1 && self.skip == 0 {
            return Poll::Ready(Ok(Some(row)));
        }
        self.taken = Some(row);
        self.wanted.push(source);
        self.poll_row(cx)
    }
}

/// Ready when a row has been waited for too long.
fn late(
    sleep: &mut Option<Pin<Box<Sleep>>>,
    after: Duration,
    cx: &mut Context<'_>,
) -> Poll<()> {
    if cfg!(broken = "patient_stream") {
        return Poll::Pending;
    }
    sleep.get_or_insert_with(|| Box::pin(tokio::time::sleep(after))).as_mut().poll(cx)
}

/// Ends the transaction, which has only read: if that fails, the connection is closed.
async fn end(connection: BoxConnection) {
    if connection.client().batch_execute("COMMIT").await.is_ok() {
        connection.idle();
    }
}

impl Stream for MergedRows {
    type Item = Result<Row, Error>;

    fn poll_next(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Self::Item>> {
        let this = &mut *self;
        while !this.over && this.left > 0 {
            match ready!(this.poll_row(cx)) {
                Ok(Some(_)) if this.skip > 0 => this.skip -= 1,
                Ok(Some(row)) => {
                    this.left -= 1;
                    return Poll::Ready(Some(Ok(row)));
                }
                Ok(None) => this.over = true,
                Err(error) => {
                    this.over = true;
                    this.sources.clear();
                    return Poll::Ready(Some(Err(error)));
                }
            }
        }
        this.over = true;
        // What has not ended is closed in the middle.
        this.sources.clear();
        while ready!(this.ending.poll_next_unpin(cx)).is_some() {}
        this.permit = None;
        Poll::Ready(None)
    }
}

impl fmt::Debug for MergedRows {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("MergedRows").field("left", &self.left).finish_non_exhaustive()
    }
}
