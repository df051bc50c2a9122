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
    /// A topology that is refused is counted, and logged.
    ///
    /// While the table cannot be read, the router goes on with what it has; shards whose epoch
    /// has changed refuse it.
    pub fn watch(&self, control: ControlTable) {
        let core = Arc::downgrade(&self.core);
        let nudge = Arc::clone(&self.core.nudge);
        let task = tokio::spawn(async move {
            let mut answered = true;
            while let Err(error) = follow(&control, &core, &nudge).await {
                if answered {
                    warn!(%error, "the control table cannot be read");
                }
                answered = matches!(error, ControlError::Topology(_) | ControlError::Empty);
                sleep(PAUSE).await;
            }
        });
        let mut watcher = self.core.watcher.lock().unwrap_or_else(PoisonError::into_inner);
        *watcher = Some(Watcher(task));
    }
}

/// Ends with an error if the connection does, or without one if the router is gone.
async fn follow(
    control: &ControlTable,
    core: &Weak<Core>,
    nudge: &Arc<Notify>,
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
                if let Err(error) = core.apply(topology) {
                    core.metrics.reload_failures();
                    warn!(%error, "a published topology was refused");
                }
            }
            Ok(_) => {}
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
