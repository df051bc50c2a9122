use std::time::Duration;

use tokio::runtime::Handle;
use tokio::task::AbortHandle;
use tokio::time::{Instant, sleep, timeout};

use super::maps::Revocations;
use crate::error::BuildError;
use crate::metrics;
use crate::store::{BoxStore, Store};

/// How long one read waits for news, at most.
const WAIT: Duration = Duration::from_secs(1);
/// How long one read may take on top.
const PATIENCE: Duration = Duration::from_secs(4);
const FIRST_PAUSE: Duration = Duration::from_millis(20);
const LONGEST_PAUSE: Duration = Duration::from_secs(1);
/// Between two sweeps of what has expired.
const SWEEP_MS: u64 = 30_000;

/// The tasks that read the feed and, for an issuer, write heartbeats. They end
/// when this is dropped.
pub(crate) struct Follow {
    tasks: Vec<AbortHandle>,
}

impl Follow {
    pub(crate) fn start(
        store: BoxStore,
        revocations: Revocations,
        window: Duration,
        limit: Duration,
        heartbeats: bool,
    ) -> Result<Self, BuildError> {
        let runtime = Handle::try_current().map_err(|_| {
            BuildError::new("build", "the revocation feed needs a Tokio runtime: build in one")
        })?;
        let mut tasks = Vec::new();
        if heartbeats {
            tasks.push(runtime.spawn(beat(store.clone(), limit / 12)).abort_handle());
        }
        tasks.push(runtime.spawn(read(store, revocations, window, limit)).abort_handle());
        Ok(Self { tasks })
    }
}

impl Drop for Follow {
    fn drop(&mut self) {
        self.tasks.iter().for_each(AbortHandle::abort);
    }
}

/// `every` is 5 s by default.
async fn beat(store: BoxStore, every: Duration) {
    loop {
        // A failure shows as staleness where it matters: at the readers.
        if let Ok(Err(error)) = timeout(PATIENCE, store.heartbeat(every)).await {
            tracing::debug!(%error, "no heartbeat could be written");
        }
        sleep(every / 2).await;
    }
}

async fn read(store: BoxStore, revocations: Revocations, window: Duration, limit: Duration) {
    let wait = WAIT.min(limit / 6);
    let mut cursor = None;
    let mut started_over = Instant::now();
    let mut pause = FIRST_PAUSE;
    let mut failing = false;
    let mut swept_ms = 0;
    let gauge = metrics::Feed::new();
    loop {
        let asked = Instant::now();
        let answer =
            timeout(wait + PATIENCE, store.revocations(cursor.as_ref(), window, wait)).await;
        match answer {
            Ok(Ok(feed)) => {
                if !cfg!(broken = "no_feed") {
                    revocations.apply(&feed.entries);
                }
                // The answer was made after it was asked for, so this is never
                // too young, whatever the two clocks show.
                let age = Duration::from_millis(feed.now_ms.saturating_sub(feed.heartbeat_ms));
                revocations.known_until(asked, age);
                if feed.now_ms >= swept_ms + SWEEP_MS {
                    revocations.forget_expired(feed.now_ms);
                    swept_ms = feed.now_ms;
                }
                cursor = Some(feed.cursor);
                // No heartbeat for long: nobody writes, or what is written comes
                // before the cursor, as after a failover to a server whose clock
                // is behind. From the start again, nothing is missed.
                if age > limit / 5 && started_over.elapsed() > limit / 6 {
                    (cursor, started_over) = (None, Instant::now());
                }
                if failing {
                    tracing::info!("the revocation feed is read again");
                }
                (failing, pause) = (false, FIRST_PAUSE);
            }
            failed => {
                if !failing {
                    let error = match failed {
                        Ok(Err(error)) => error.to_string(),
                        _ => "no answer in time".to_owned(),
                    };
                    tracing::warn!(error, "the revocation feed cannot be read");
                }
                failing = true;
                gauge.failed();
                sleep(pause).await;
                pause = (pause * 2).min(LONGEST_PAUSE);
            }
        }
        gauge.state(revocations.staleness(), revocations.len());
    }
}
