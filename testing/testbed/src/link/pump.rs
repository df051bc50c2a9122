use std::future::pending;
use std::sync::PoisonError;
use std::sync::atomic::Ordering;

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::tcp::{ReadHalf, WriteHalf};
use tokio::sync::{mpsc, watch};
use tokio::time::{Instant, sleep_until};

use super::Direction;
use super::rules::{Rules, Shared};

/// The connection must be reset.
pub(super) struct Reset;

const PIECE: usize = 16 * 1024;
const UNDER_WAY: usize = 1024;

/// What was read, and when.
struct Piece {
    what: What,
    at: Instant,
    luck: f64,
}

enum What {
    Bytes(Vec<u8>),
    End,
    Reset,
}

/// Carries one direction until its end.
pub(super) async fn pump(
    from: ReadHalf<'_>,
    to: WriteHalf<'_>,
    direction: Direction,
    shared: &Shared,
    rules: watch::Receiver<Rules>,
) -> Result<(), Reset> {
    let (queue, pieces) = mpsc::channel(UNDER_WAY);
    let read = read(from, queue, direction, shared);
    let deliver = deliver(to, pieces, direction, rules);
    tokio::try_join!(read, deliver).map(drop)
}

async fn read(
    mut from: ReadHalf<'_>,
    queue: mpsc::Sender<Piece>,
    direction: Direction,
    shared: &Shared,
) -> Result<(), Reset> {
    let mut buffer = vec![0; PIECE];
    loop {
        let what = match from.read(&mut buffer).await {
            Ok(0) => What::End,
            Ok(read) => {
                let dropped = take(shared, direction, read);
                What::Bytes(buffer[dropped..read].to_vec())
            }
            Err(_) => What::Reset,
        };
        let last = !matches!(what, What::Bytes(_));
        let luck = shared.jitter.lock().unwrap_or_else(PoisonError::into_inner).f64();
        if queue.send(Piece { what, at: Instant::now(), luck }).await.is_err() || last {
            return Ok(());
        }
    }
}

/// How many of `read` bytes are to be dropped.
fn take(shared: &Shared, direction: Direction, read: usize) -> usize {
    let mut dropped = 0;
    let _ =
        shared.to_drop(direction).fetch_update(Ordering::SeqCst, Ordering::SeqCst, |left| {
            dropped = left.min(read as u64);
            Some(left - dropped)
        });
    dropped as usize
}

async fn deliver(
    mut to: WriteHalf<'_>,
    mut pieces: mpsc::Receiver<Piece>,
    direction: Direction,
    mut rules: watch::Receiver<Rules>,
) -> Result<(), Reset> {
    let mut lost = false;
    let mut ended = false;
    loop {
        let piece = tokio::select! {
            piece = next(&mut pieces, ended) => piece,
            () = healed(&mut rules, direction), if lost => return Err(Reset),
        };
        let Some(Piece { what, at, luck }) = piece else { return Ok(()) };
        until_due(&mut rules, at, luck).await;
        if rules.borrow().swallow(direction) {
            lost = true;
            // A lost end leaves the connection open, as a lost packet does.
            ended = !matches!(what, What::Bytes(_));
            continue;
        }
        if lost {
            return Err(Reset);
        }
        match what {
            What::Bytes(bytes) => to.write_all(&bytes).await.map_err(|_| Reset)?,
            What::End => return to.shutdown().await.map_err(|_| Reset),
            What::Reset => return Err(Reset),
        }
    }
}

/// The next piece; never, once the end was lost.
async fn next(pieces: &mut mpsc::Receiver<Piece>, ended: bool) -> Option<Piece> {
    if ended { pending().await } else { pieces.recv().await }
}

/// Waits until a piece is due under the rules as they are then. Pieces stay in
/// order because each waits for the one before it.
async fn until_due(rules: &mut watch::Receiver<Rules>, at: Instant, luck: f64) {
    loop {
        let due = at + rules.borrow_and_update().latency(luck);
        tokio::select! {
            biased;
            Ok(()) = rules.changed() => {}
            () = sleep_until(due) => return,
        }
    }
}

async fn healed(rules: &mut watch::Receiver<Rules>, direction: Direction) {
    if rules.wait_for(|rules| !rules.swallow(direction)).await.is_err() {
        // The handle is gone, and this task soon.
        pending::<()>().await;
    }
}
