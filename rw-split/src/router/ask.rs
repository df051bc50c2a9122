//! Asking the primary where it is.

use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use tokio::sync::Mutex;
use tokio::time::timeout;

use crate::lsn::Position;
use crate::policy::elect::Role;
use crate::server::cluster::Cluster;
use crate::server::conn::Conn;

/// One question at a time; those who come while it is under way share the next
/// one. An answer is only good for a question that was asked after its asker came.
#[derive(Debug, Default)]
pub(crate) struct Asker {
    begun: AtomicU64,
    line: Mutex<Line>,
}

#[derive(Debug, Default)]
struct Line {
    /// By the index of the server.
    conn: Option<(usize, Conn)>,
    /// The number of the last question, and its answer.
    last: (u64, Option<Position>),
}

impl Asker {
    /// The primary's position at some moment after this call, if it answers.
    ///
    /// # Cancel safety
    ///
    /// Cancel safe: who waits behind asks again.
    pub(crate) async fn ask(&self, cluster: &Cluster, patience: Duration) -> Option<Position> {
        let ticket = self.begun.load(Ordering::Acquire);
        let mut line = self.line.lock().await;
        if line.last.0 > ticket {
            return line.last.1;
        }
        let number = self.begun.fetch_add(1, Ordering::AcqRel) + 1;
        let taken = line.conn.take();
        let answer = timeout(patience, question(cluster, taken)).await.ok().flatten();
        let position = answer.map(|(index, conn, position)| {
            line.conn = Some((index, conn));
            cluster.view().learn(position);
            position
        });
        cluster.metrics.questions();
        line.last = (number, position);
        position
    }
}

async fn question(
    cluster: &Cluster,
    taken: Option<(usize, Conn)>,
) -> Option<(usize, Conn, Position)> {
    let elected = cluster.view().elected?;
    let usable = taken.filter(|(index, conn)| *index == elected.index && conn.is_reusable());
    if let Some((index, conn)) = usable
        && conn.identity.observation.timeline == elected.timeline
        && let Ok(position) = conn.position().await
    {
        return Some((index, conn, position));
    }
    let conn = cluster.servers[elected.index].pool.open().await.ok()?;
    let seen = conn.identity.observation;
    if seen.role != Role::Primary || seen.timeline != elected.timeline {
        return None;
    }
    let position = conn.position().await.ok()?;
    Some((elected.index, conn, position))
}
