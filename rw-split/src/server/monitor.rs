//! One task per server that asks it, again and again, what it is and where.

use std::sync::atomic::Ordering;
use std::sync::{Arc, Weak};
use std::time::Duration;

use tokio::task::JoinHandle;
use tokio::time::{Instant, sleep, timeout};
use tokio_postgres::Statement;
use tracing::{debug, warn};

use super::cluster::Cluster;
use super::conn::{Conn, Identity, PROBE};
use super::pool::AcquireError;

#[derive(Clone, Copy, Debug)]
pub(crate) struct Polling {
    /// Between two questions.
    pub(crate) every: Duration,
    /// Between two questions while somebody waits for the server to replay.
    pub(crate) eager: Duration,
    /// A server that has not answered in this time is away.
    pub(crate) patience: Duration,
}

/// Dropped, the task ends.
#[derive(Debug)]
pub(crate) struct Monitor(JoinHandle<()>);

impl Monitor {
    pub(crate) fn start(cluster: &Arc<Cluster>, index: usize, polling: Polling) -> Self {
        Self(tokio::spawn(watch(Arc::downgrade(cluster), index, polling)))
    }
}

impl Drop for Monitor {
    fn drop(&mut self) {
        self.0.abort();
    }
}

/// A connection of the monitor's own: a pool that is in use must not look like a
/// server that is away.
struct Line {
    conn: Conn,
    /// Behind a shared address it is not: another server may answer each time.
    probe: Option<Statement>,
}

impl Line {
    async fn ask(&self) -> Result<Identity, tokio_postgres::Error> {
        match &self.probe {
            Some(probe) => Identity::read(&self.conn.client.query_one(probe, &[]).await?),
            None => self.conn.identity_now().await,
        }
    }
}

async fn watch(cluster: Weak<Cluster>, index: usize, polling: Polling) {
    let (mut line, mut told) = (None, false);
    loop {
        let Some(cluster) = cluster.upgrade() else { return };
        let server = Arc::clone(&cluster.servers[index]);
        let asked = timeout(polling.patience, ask(&cluster, index, &mut line, &mut told)).await;
        let said = match asked {
            Ok(Some(identity)) => Some(identity.observation),
            Ok(None) | Err(_) => {
                line = None;
                None
            }
        };
        let now = Instant::now();
        cluster.observe(index, said, now);
        server.pool.prune(now);
        drop(cluster);

        let waited_for = server.waiters.load(Ordering::Acquire) > 0;
        let pause = if waited_for { polling.eager } else { polling.every };
        // Whoever begins to wait, or finds something odd, has it ask at once.
        let _ = timeout(pause, server.nudge.notified()).await;
        if said.is_none() {
            // Refused connections come back at once; this is not to be a busy loop.
            sleep(polling.eager).await;
        }
    }
}

/// Why a connection is refused is `told` once, until one is not.
async fn ask(
    cluster: &Cluster,
    index: usize,
    line: &mut Option<Line>,
    told: &mut bool,
) -> Option<Identity> {
    let server = &cluster.servers[index];
    if line.is_none() {
        let conn = match server.pool.open().await {
            Ok(conn) => conn,
            Err(error) => {
                if let AcquireError::Connect(Some(error)) = &error {
                    if std::mem::replace(told, true) {
                        debug!(server = %server.name, ?error, "connecting");
                    } else {
                        warn!(server = %server.name, ?error, "a server cannot be connected to");
                    }
                }
                return None;
            }
        };
        *told = false;
        let probe = match server.shared {
            true => None,
            false => Some(conn.client.prepare(PROBE).await.ok()?),
        };
        *line = Some(Line { conn, probe });
    }
    let line = line.as_ref()?;
    match line.ask().await {
        Ok(identity) => Some(identity),
        Err(error) => {
            debug!(server = %server.name, %error, "asking");
            // Promotion in the midst of the question: ask again, at once.
            line.ask().await.ok()
        }
    }
}
