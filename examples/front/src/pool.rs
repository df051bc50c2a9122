//! The workers that requests may go to.

use std::net::SocketAddr;
use std::sync::atomic::{AtomicU32, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use tokio::sync::watch;
use tokio::time::{Instant, timeout_at};

use crate::outlier::{self, Record, Verdict};
use crate::pick::{Candidate, Strategy, Turns};

/// One worker.
#[derive(Debug)]
pub(crate) struct Worker {
    pub(crate) id: u64,
    pub(crate) address: SocketAddr,
    pub(crate) weight: u32,
    in_flight: AtomicU32,
    served: AtomicU64,
    record: Mutex<Record>,
}

impl Worker {
    /// Requests that it has answered.
    pub(crate) fn served(&self) -> u64 {
        self.served.load(Ordering::Relaxed)
    }

    pub(crate) fn in_flight(&self) -> u32 {
        self.in_flight.load(Ordering::Relaxed)
    }

    pub(crate) fn ejected(&self, now: Instant) -> bool {
        self.record().ejected(now)
    }

    fn record(&self) -> MutexGuard<'_, Record> {
        self.record.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Before a worker is tried again that has just failed.
const PAUSE: Duration = Duration::from_millis(100);

type Workers = Arc<[Arc<Worker>]>;

/// All workers that are ready, and who is next.
#[derive(Debug)]
pub(crate) struct Pool {
    workers: watch::Sender<Workers>,
    strategy: Strategy,
    turns: Turns,
    outlier: outlier::Settings,
    ejections: AtomicU64,
}

impl Pool {
    pub(crate) fn new(strategy: Strategy, outlier: outlier::Settings) -> Self {
        Self {
            workers: watch::Sender::new(Arc::default()),
            strategy,
            turns: Turns::default(),
            outlier,
            ejections: AtomicU64::new(0),
        }
    }

    /// From now on requests go to these: number, address and weight. Of one that was there
    /// before, all is remembered.
    pub(crate) fn set(&self, ready: impl IntoIterator<Item = (u64, SocketAddr, u32)>) {
        self.workers.send_modify(|workers| {
            let known = |id, address| {
                workers.iter().find(|worker| worker.id == id && worker.address == address)
            };
            *workers = ready
                .into_iter()
                .map(|(id, address, weight)| match known(id, address) {
                    Some(worker) => Arc::clone(worker),
                    None => Arc::new(Worker {
                        id,
                        address,
                        weight: weight.max(1),
                        in_flight: AtomicU32::new(0),
                        served: AtomicU64::new(0),
                        record: Mutex::default(),
                    }),
                })
                .collect();
        });
    }

    pub(crate) fn workers(&self) -> Workers {
        self.workers.borrow().clone()
    }

    pub(crate) fn ejections(&self) -> u64 {
        self.ejections.load(Ordering::Relaxed)
    }

    /// A worker for a request with this key that was with `tried` before. One of these comes
    /// again only if there is no other, and after a pause; where there is no worker at all
    /// it waits for one, until `deadline`.
    pub(crate) async fn take(
        &self,
        key: Option<u64>,
        tried: &[u64],
        deadline: Instant,
    ) -> Option<Taken> {
        let mut changes = self.workers.subscribe();
        let mut paused = false;
        loop {
            let workers = changes.borrow_and_update().clone();
            let again: &[u64] = if paused { &[] } else { tried };
            if let Some(worker) = self.choose(&workers, key, again) {
                worker.in_flight.fetch_add(1, Ordering::Relaxed);
                return Some(Taken(worker));
            }
            if Instant::now() >= deadline || cfg!(broken = "no_wait") {
                return None;
            }
            let until = if workers.is_empty() { deadline } else { Instant::now() + PAUSE };
            let changed = timeout_at(until.min(deadline), changes.changed()).await;
            paused = changed.is_err() && !workers.is_empty();
        }
    }

    fn choose(
        &self,
        workers: &Workers,
        key: Option<u64>,
        tried: &[u64],
    ) -> Option<Arc<Worker>> {
        let now = Instant::now();
        let fresh = |worker: &Worker| !tried.contains(&worker.id);
        // Better one that fails at times than none.
        self.among(workers, key, |worker| fresh(worker) && !worker.ejected(now))
            .or_else(|| self.among(workers, key, fresh))
    }

    fn among(
        &self,
        workers: &Workers,
        key: Option<u64>,
        fits: impl Fn(&Worker) -> bool,
    ) -> Option<Arc<Worker>> {
        let fitting: Vec<_> = workers.iter().filter(|worker| fits(worker)).collect();
        let candidate = |worker: &&Arc<Worker>| Candidate {
            id: worker.id,
            in_flight: worker.in_flight(),
            weight: worker.weight,
        };
        let candidates: Vec<_> = fitting.iter().map(candidate).collect();
        let mut draw = fastrand::Rng::new();
        let at = self.strategy.pick(&candidates, key, &self.turns, &mut draw)?;
        Some(Arc::clone(fitting[at]))
    }

    /// Takes into account how a request ended.
    pub(crate) fn ended(&self, worker: &Worker, verdict: Verdict) {
        let now = Instant::now();
        // Only failures are worth a look at the others.
        let (all, others_out) = match verdict {
            Verdict::Fine => {
                worker.served.fetch_add(1, Ordering::Relaxed);
                (0, 0)
            }
            _ => {
                let workers = self.workers();
                let out = |other: &&Arc<Worker>| other.id != worker.id && other.ejected(now);
                (workers.len(), workers.iter().filter(out).count())
            }
        };
        if worker.record().ended(verdict, now, others_out, all, &self.outlier) {
            self.ejections.fetch_add(1, Ordering::Relaxed);
            tracing::warn!(worker = worker.id, "left out for a while: it fails");
        }
    }
}

/// A worker that is busy with one request more until this is dropped.
#[derive(Debug)]
pub(crate) struct Taken(Arc<Worker>);

impl std::ops::Deref for Taken {
    type Target = Worker;

    fn deref(&self) -> &Worker {
        &self.0
    }
}

impl Drop for Taken {
    fn drop(&mut self) {
        self.0.in_flight.fetch_sub(1, Ordering::Relaxed);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn address(port: u16) -> SocketAddr {
        SocketAddr::from(([127, 0, 0, 1], port))
    }

    fn pool(ids: &[u64]) -> Pool {
        let pool = Pool::new(Strategy::LeastConnections, outlier::Settings::default());
        pool.set(ids.iter().map(|id| (*id, address(*id as u16), 1)));
        pool
    }

    fn soon() -> Instant {
        Instant::now() + Duration::from_secs(1)
    }

    #[tokio::test(start_paused = true)]
    async fn what_is_taken_counts_until_it_is_dropped() {
        let pool = pool(&[1, 2]);
        let one = pool.take(None, &[], soon()).await.unwrap();
        let other = pool.take(None, &[], soon()).await.unwrap();
        assert_ne!(one.id, other.id);
        let id = one.id;
        drop(one);
        assert_eq!(pool.take(None, &[], soon()).await.unwrap().id, id);
    }

    #[tokio::test(start_paused = true)]
    async fn one_that_was_tried_comes_again_only_if_there_is_no_other() {
        let pool = pool(&[1, 2]);
        let held: Vec<_> =
            [pool.take(None, &[1], soon()).await, pool.take(None, &[1], soon()).await]
                .into_iter()
                .map(Option::unwrap)
                .collect();
        assert!(held.iter().all(|taken| taken.id == 2));
        let began = Instant::now();
        assert_eq!(pool.take(None, &[1, 2], soon()).await.unwrap().id, 1);
        assert_eq!(began.elapsed(), PAUSE);
    }

    #[tokio::test(start_paused = true)]
    async fn with_no_worker_it_waits_for_one() {
        let pool = pool(&[]);
        let began = Instant::now();
        assert!(pool.take(None, &[], soon()).await.is_none());
        assert_eq!(began.elapsed(), Duration::from_secs(1));
        let (taken, ()) = tokio::join!(pool.take(None, &[], soon()), async {
            tokio::time::sleep(Duration::from_millis(300)).await;
            pool.set([(7, address(7), 1)]);
        });
        assert_eq!(taken.unwrap().id, 7);
    }

    #[tokio::test(start_paused = true)]
    async fn one_that_is_left_out_is_used_only_if_there_is_no_other() {
        let pool = pool(&[1, 2]);
        let worker = Arc::clone(&pool.workers()[0]);
        pool.ended(&worker, Verdict::Unreachable);
        assert_eq!(pool.ejections(), 1);
        let _busy = [pool.take(None, &[], soon()).await, pool.take(None, &[], soon()).await];
        assert_eq!(pool.take(None, &[], soon()).await.unwrap().id, 2, "busy as it is");
        pool.set([(1, address(1), 1)]);
        assert_eq!(pool.take(None, &[], soon()).await.unwrap().id, 1);
    }

    #[tokio::test(start_paused = true)]
    async fn a_worker_is_remembered_for_as_long_as_it_is_there() {
        let pool = pool(&[1, 2]);
        let _one = pool.take(None, &[2], soon()).await;
        pool.set([(1, address(1), 1), (3, address(3), 1)]);
        let loads: Vec<_> = pool.workers().iter().map(|w| (w.id, w.in_flight())).collect();
        assert_eq!(loads, [(1, 1), (3, 0)]);
    }
}
