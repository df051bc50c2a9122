//! Finding out that a shared store works again, and paying what is owed to it.

use std::sync::atomic::Ordering;
use std::sync::{Arc, PoisonError, Weak};
use std::time::Duration;

use tokio::runtime::Handle;
use tokio::time::Instant;

use super::Tier;
use super::owed::Debt;
use crate::shared::SharedError;

const FIRST: Duration = Duration::from_millis(50);
const LONGEST: Duration = Duration::from_secs(1);

/// What fails again this soon after it worked goes on being asked seldom.
const CALM: Duration = Duration::from_secs(10);

/// A probe may have to connect.
const PROBE: Duration = Duration::from_secs(3);

impl<V: Send + Sync + 'static> Tier<V> {
    /// Starts the task that ends when every breaker is closed and nothing is owed, or
    /// when the cache is gone.
    pub(super) fn recover(self: &Arc<Self>) {
        let runtime = Handle::try_current().ok().or_else(|| self.runtime.clone());
        // Without one, the next who finds the tier silent in a runtime starts it.
        let Some(runtime) = runtime else { return };
        if !self.recovering.swap(true, Ordering::AcqRel) {
            let pause = self.last_recovery().filter(|at| at.elapsed() < CALM);
            let pause = pause.map_or(FIRST, |_| LONGEST);
            let running = Running { tier: Arc::downgrade(self), ended: false };
            runtime.spawn(recovery(running, pause));
        }
    }

    /// Whether all is well.
    async fn try_to_recover(self: &Arc<Self>) -> bool {
        for (domain, breaker) in self.breakers.iter().enumerate() {
            if breaker.is_open() && self.probe(domain).await.is_ok() {
                breaker.close();
                self.metrics.closed();
                tracing::info!(cache = %self.cache, domain, "the shared store works again");
            }
        }
        for (ticket, debt) in self.owed.list() {
            if self.pay(&debt).await.is_ok() {
                self.owed.paid(ticket, &debt);
                self.metrics.owed(self.owed.len());
            }
        }
        self.is_well()
    }

    /// The first probe may have to connect. The second must be as fast as a read: a store
    /// that is too slow is as good as down.
    async fn probe(&self, domain: usize) -> Result<(), SharedError> {
        for limit in [PROBE, self.settings.timeout] {
            let probe = tokio::time::timeout(limit, self.store.probe(domain)).await;
            probe.unwrap_or(Err(SharedError::Timeout(limit)))?;
        }
        Ok(())
    }

    async fn pay(self: &Arc<Self>, debt: &Debt) -> Result<(), SharedError> {
        match debt {
            Debt::Key(key, floor) => {
                self.ask(self.domain(key), self.store.invalidate(key, floor.as_ref())).await
            }
            Debt::Partition(partition, floors) => {
                let domain = self.store.domain(*partition);
                self.ask(domain, self.store.clear(*partition, *floors)).await
            }
        }
    }

    fn last_recovery(&self) -> Option<Instant> {
        *self.recovered.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn note_recovery(&self) {
        *self.recovered.lock().unwrap_or_else(PoisonError::into_inner) = Some(Instant::now());
    }

    fn is_well(&self) -> bool {
        self.owed.is_empty() && !self.breakers.iter().any(super::Breaker::is_open)
    }
}

/// The one task. If its runtime is shut down, another one is to begin.
struct Running<V: Send + Sync + 'static> {
    tier: Weak<Tier<V>>,
    ended: bool,
}

impl<V: Send + Sync + 'static> Drop for Running<V> {
    fn drop(&mut self) {
        if !self.ended
            && let Some(tier) = self.tier.upgrade()
        {
            tier.recovering.swap(false, Ordering::AcqRel);
        }
    }
}

async fn recovery<V: Send + Sync + 'static>(mut running: Running<V>, mut pause: Duration) {
    loop {
        // By chance, so that the instances of a service do not come in step.
        tokio::time::sleep(pause.mul_f64(0.5 + fastrand::f64() / 2.0)).await;
        let Some(tier) = running.tier.upgrade() else { return };
        if tier.try_to_recover().await {
            tier.note_recovery();
            // A swap: it has to see what was owed by those who found the task still there.
            tier.recovering.swap(false, Ordering::AcqRel);
            if tier.is_well() || tier.recovering.swap(true, Ordering::AcqRel) {
                running.ended = true;
                return;
            }
            pause = FIRST;
        }
        pause = (pause * 2).min(LONGEST);
    }
}
