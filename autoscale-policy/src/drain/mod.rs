//! From ready to gone without a failed request.

mod body;
mod future;
mod layer;
mod readiness;
mod service;

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use http::StatusCode;
use tokio::sync::{Notify, watch};
use tokio::time::{Instant, sleep_until, timeout_at};

pub use self::body::{DrainBody, DrainBodyError};
pub use self::future::DrainFuture;
pub use self::layer::DrainLayer;
pub use self::readiness::ReadinessService;
pub use self::service::DrainService;

/// What an instance tells the load balancer.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Readiness {
    /// Not able to serve yet.
    Starting,
    /// Able, and fills caches before it has to.
    Warming,
    /// Send requests.
    Ready,
    /// Send no more.
    Draining,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Stage {
    Starting,
    Warming,
    Ready,
    /// Not ready, and still serving: load balancers have not all heard of it.
    Propagating,
    /// Connections close. What arrives before their clients have heard of it is served.
    Closing,
    /// No new work.
    Refusing,
    /// The deadline has passed.
    Cut,
}

/// How an instance ends.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct DrainSettings {
    /// For how long it serves on after it is not ready: as long as a load balancer takes
    /// to hear of it. 5 s.
    pub propagation: Duration,
    /// For how long after that requests are served that arrive on connections which are
    /// told to close: as long as word of it takes. 1 s.
    pub handover: Duration,
    /// When it must be over, from the beginning on; below the platform's grace period.
    /// 25 s.
    pub deadline: Duration,
    /// What the readiness service answers while it is not ready; 503.
    pub not_ready: StatusCode,
}

impl Default for DrainSettings {
    fn default() -> Self {
        Self {
            propagation: Duration::from_secs(5),
            handover: Duration::from_secs(1),
            deadline: Duration::from_secs(25),
            not_ready: StatusCode::SERVICE_UNAVAILABLE,
        }
    }
}

/// Settings of a drain that contradict each other.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum DrainError {
    /// No platform waits for so long.
    DeadlineTooLong {
        /// The deadline.
        deadline: Duration,
    },
    /// Nothing is left of the deadline after the propagation.
    DeadlineTooShort {
        /// The propagation.
        propagation: Duration,
        /// The deadline.
        deadline: Duration,
    },
    /// A load balancer takes that status for ready.
    ReadyStatus(StatusCode),
}

impl std::fmt::Display for DrainError {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::DeadlineTooShort { propagation, deadline } => write!(
                f,
                "drain.deadline = {deadline:?}: is not above drain.propagation ({propagation:?}), so every request under way would be cut off"
            ),
            Self::DeadlineTooLong { deadline } => write!(
                f,
                "drain.deadline = {deadline:?}: no platform waits for so long; at most a day"
            ),
            Self::ReadyStatus(status) => write!(
                f,
                "drain.not-ready = {status}: a load balancer takes it for ready; use a status from 400 on"
            ),
        }
    }
}

impl std::error::Error for DrainError {}

/// How a drain ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Drained {
    /// Requests that were cut off at the deadline.
    pub cut_off: u64,
}

/// Where this instance is in its life; clones share it.
///
/// Begins at [`Readiness::Starting`]. [`DrainLayer`] goes around the service,
/// [`ReadinessService`] answers the load balancer, and on SIGTERM the program awaits
/// [`drain`](Self::drain):
///
/// 1. Not ready at once; requests are served on, HTTP/1 answers with `Connection: close`.
/// 2. After `propagation`, [`closing`](Self::closing) completes: stop accepting, and tell
///    every connection to shut down gracefully (GOAWAY, for HTTP/2). For `handover`, what
///    arrives before its client has heard of that is served; then requests are refused
///    with 503.
/// 3. Requests under way, their bodies included, have until `deadline`, which is one for
///    all and counts from the beginning. Then they are answered 503, and their bodies end
///    with an error.
///
/// `drain` completes when no request is under way. Then wait for the connections to end:
/// what was answered may not be sent yet.
#[derive(Clone, Debug)]
pub struct Lifecycle {
    shared: Arc<Shared>,
}

#[derive(Debug)]
pub(crate) struct Shared {
    settings: DrainSettings,
    stage: watch::Sender<Stage>,
    under_way: AtomicU64,
    idle: Notify,
    /// When the drain began.
    began: std::sync::OnceLock<Instant>,
}

impl Lifecycle {
    /// An instance that starts.
    ///
    /// # Errors
    ///
    /// Settings that contradict each other.
    pub fn new(settings: DrainSettings) -> Result<Self, DrainError> {
        let DrainSettings { propagation, deadline, not_ready, .. } = settings;
        if deadline <= propagation {
            return Err(DrainError::DeadlineTooShort { propagation, deadline });
        }
        if deadline > Duration::from_secs(86_400) {
            return Err(DrainError::DeadlineTooLong { deadline });
        }
        if !(not_ready.is_client_error() || not_ready.is_server_error()) {
            return Err(DrainError::ReadyStatus(not_ready));
        }
        let shared = Shared {
            settings,
            stage: watch::Sender::new(Stage::Starting),
            under_way: AtomicU64::new(0),
            idle: Notify::new(),
            began: std::sync::OnceLock::new(),
        };
        Ok(Self { shared: Arc::new(shared) })
    }

    /// Says that it warms up. Changes nothing once it is ready or drains.
    pub fn warming(&self) {
        self.advance(Stage::Warming);
    }

    /// Says that it is ready. Changes nothing once it drains.
    pub fn ready(&self) {
        self.advance(Stage::Ready);
    }

    /// What it tells the load balancer.
    #[must_use]
    pub fn readiness(&self) -> Readiness {
        match *self.shared.stage.borrow() {
            Stage::Starting => Readiness::Starting,
            Stage::Warming => Readiness::Warming,
            Stage::Ready => Readiness::Ready,
            Stage::Propagating | Stage::Closing | Stage::Refusing | Stage::Cut => {
                Readiness::Draining
            }
        }
    }

    /// Requests under way, their bodies included.
    #[must_use]
    pub fn under_way(&self) -> u64 {
        self.shared.under_way.load(Ordering::Acquire)
    }

    /// Counts something else as under way until it is dropped: a connection after its
    /// upgrade, a job. It is waited for until the deadline, and then not cut off:
    /// [`closing`](Self::closing) tells it to end, [`cut_off`](Self::cut_off) that it is too
    /// late.
    #[must_use]
    pub fn hold(&self) -> Held {
        Held { _guard: self.shared.enter() }
    }

    /// Completes at the deadline of a drain, where something was under way then.
    ///
    /// # Cancel safety
    ///
    /// Cancel safe.
    pub async fn cut_off(&self) {
        self.shared.reached(Stage::Cut).await;
    }

    /// Completes when connections are to be shut down gracefully, and none accepted.
    ///
    /// # Cancel safety
    ///
    /// Cancel safe.
    pub async fn closing(&self) {
        self.shared.reached(Stage::Closing).await;
    }

    /// Drains: see the type. A second call joins the first, and its deadline.
    ///
    /// # Cancel safety
    ///
    /// Cancel safe: dropped, the drain stands still until it is called again, and its
    /// deadline does not move.
    pub async fn drain(&self) -> Drained {
        let shared = &self.shared;
        let began = *shared.began.get_or_init(Instant::now);
        let DrainSettings { propagation, handover, deadline, .. } = shared.settings;
        self.advance(Stage::Propagating);
        if !cfg!(broken = "no_propagation") {
            sleep_until(began + propagation).await;
        }
        self.advance(Stage::Closing);
        let deadline = began + deadline;
        let refusing = (began + propagation).checked_add(handover).unwrap_or(deadline);
        let refusing = refusing.min(deadline);
        if timeout_at(refusing, shared.done()).await.is_ok() {
            return Drained { cut_off: 0 };
        }
        self.advance(Stage::Refusing);
        if timeout_at(deadline, shared.done()).await.is_ok() {
            return Drained { cut_off: 0 };
        }
        let cut_off = self.under_way();
        self.advance(Stage::Cut);
        Drained { cut_off }
    }

    pub(crate) fn shared(&self) -> &Arc<Shared> {
        &self.shared
    }

    /// Never back.
    fn advance(&self, to: Stage) {
        self.shared.stage.send_if_modified(|stage| {
            let further = to > *stage;
            if further {
                *stage = to;
            }
            further
        });
    }
}

impl Shared {
    pub(crate) fn stage(&self) -> Stage {
        *self.stage.borrow()
    }

    pub(crate) fn not_ready(&self) -> StatusCode {
        self.settings.not_ready
    }

    pub(crate) async fn reached(&self, stage: Stage) {
        let mut changes = self.stage.subscribe();
        // The sender is in `self`.
        let _ = changes.wait_for(|now| *now >= stage).await;
    }

    pub(crate) fn enter(self: &Arc<Self>) -> Guard {
        self.under_way.fetch_add(1, Ordering::AcqRel);
        Guard { shared: Arc::clone(self) }
    }

    async fn done(&self) {
        loop {
            let idle = self.idle.notified();
            tokio::pin!(idle);
            // Listens before it looks, so that no end is missed.
            idle.as_mut().enable();
            if self.under_way.load(Ordering::Acquire) == 0 || cfg!(broken = "no_wait") {
                return;
            }
            idle.await;
        }
    }
}

/// Something that is under way until this is dropped; see [`Lifecycle::hold`].
#[derive(Debug)]
pub struct Held {
    _guard: Guard,
}

/// A request that is under way.
#[derive(Debug)]
pub(crate) struct Guard {
    shared: Arc<Shared>,
}

impl Guard {
    pub(crate) fn shared(&self) -> &Arc<Shared> {
        &self.shared
    }
}

impl Drop for Guard {
    fn drop(&mut self) {
        if self.shared.under_way.fetch_sub(1, Ordering::AcqRel) == 1 {
            self.shared.idle.notify_waiters();
        }
    }
}
