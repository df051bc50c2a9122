//! Taking over what a control table says.

use std::sync::{Arc, PoisonError, Weak};
use std::time::Duration;

use tokio::sync::Notify;
use tokio::task::JoinHandle;
use tokio::time::{sleep, timeout};
use tracing::warn;

use super::{Core, Router};
use crate::source::Connected;
use crate::topology::control::{CHANNEL, ControlError, ControlTable, read};

/// A table that is not read for so long is read without news: a notification may be lost with
/// its connection.
const EVERY: Duration = Duration::from_secs(5);
const PATIENCE: Duration = Duration::from_secs(5);
const PAUSE: Duration = Duration::from_millis(500);

/// The task; dropped = ended.
#[derive(Debug)]
pub(super) struct Watcher(JoinHandle<()>);

impl Drop for Watcher {
    fn drop(&mut self) {
        self.0.abort();
    }
}

impl Router {
    /// Takes over each new topology of a control table: at once when it is published, and
    /// every 5 s without news. It is one task, which ends with the last clone of the router.
    /// A topology that is refused is counted each time, and logged once.
    ///
    /// While the table cannot be read, the router goes on with what it has; shards whose epoch
    /// has changed refuse it.
    pub fn watch(&self, control: ControlTable) {
        let core = Arc::downgrade(&self.core);
        let nudge = Arc::clone(&self.core.nudge);
        let task = tokio::spawn(async move {
            let mut told = Told::default();
            while let Err(error) = follow(&control, &core, &nudge, &mut told).await {
                told.tell(&error);
                sleep(PAUSE).await;
            }
        });
        let mut watcher = self.core.watcher.lock().unwrap_or_else(PoisonError::into_inner);
        *watcher = Some(Watcher(task));
    }
}

/// What was logged last: the same is not logged again.
#[derive(Default)]
struct Told(Option<String>);

impl Told {
    fn tell(&mut self, error: &impl std::error::Error) {
        let text = error.to_string();
        if self.0.as_ref() != Some(&text) {
            warn!(%error, "the control table is of no use");
            self.0 = Some(text);
        }
    }

    fn fine(&mut self) {
        self.0 = None;
    }
}

/// Ends with an error if the connection does, or without one if the router is gone.
async fn follow(
    control: &ControlTable,
    core: &Weak<Core>,
    nudge: &Arc<Notify>,
    told: &mut Told,
) -> Result<(), ControlError> {
    let listening = async {
        let connected = control.connect.listen(&control.config.0, Arc::clone(nudge)).await?;
        connected.client.batch_execute(&format!("LISTEN {CHANNEL}")).await?;
        Ok::<_, ControlError>(connected)
    };
    let late = || ControlError::Late(PATIENCE);
    let Connected { client, driver: _driver } =
        timeout(PATIENCE, listening).await.map_err(|_| late())??;
    loop {
        // After LISTEN, so that what is published from here on is heard.
        let topology = timeout(PATIENCE, read(&client)).await.map_err(|_| late())?;
        let Some(core) = core.upgrade() else { return Ok(()) };
        match topology {
            Ok(topology) if topology.map().epoch() > core.view().topology.map().epoch() => {
                match core.apply(topology) {
                    Ok(()) => told.fine(),
                    Err(error) => {
                        core.metrics.reload_failures();
                        told.tell(&error);
                    }
                }
            }
            Ok(_) => told.fine(),
            // The connection is as good as before, and news of a better one come by it.
            Err(error @ (ControlError::Topology(_) | ControlError::Empty))
                if !cfg!(broken = "watch_churn") =>
            {
                core.metrics.reload_failures();
                told.tell(&error);
            }
            Err(error) => {
                core.metrics.reload_failures();
                return Err(error);
            }
        }
        drop(core);
        // Either is a reason to read again.
        let _ = timeout(EVERY, nudge.notified()).await;
    }
}
