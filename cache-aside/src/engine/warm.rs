//! Filling a cache before it has to serve.

use std::fmt;
use std::future::{Future, poll_fn};
use std::pin::Pin;
use std::task::Poll;

use crate::cache::CacheAside;
use crate::error::Error;
use crate::key::CacheKey;
use crate::loaded::{Batch, Loaded};

/// A warm-up that has its keys and its loader; [`run`](Self::run) does it.
#[must_use = "a warm-up does nothing until it is run"]
pub struct Warm<'a, K, V, I, L> {
    cache: &'a CacheAside<K, V>,
    keys: I,
    loader: L,
    batch: usize,
    concurrency: usize,
    progress: Option<Box<dyn FnMut(Progress) + Send + 'a>>,
}

/// How far a warm-up has come.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct Progress {
    /// Keys that are done, failed ones included.
    pub done: usize,
    /// All keys, if the iterator says how many it has.
    pub total: Option<usize>,
}

/// What a warm-up brought.
#[derive(Clone, Debug, Default)]
#[non_exhaustive]
pub struct WarmReport {
    /// Keys that have a value now: loaded, or cached before.
    pub present: usize,
    /// Keys that the source does not have.
    pub absent: usize,
    /// Keys whose load failed.
    pub failed: usize,
    /// The first error, if any.
    pub error: Option<Error>,
}

impl<'a, K, V, I, L> Warm<'a, K, V, I, L> {
    pub(crate) fn new(cache: &'a CacheAside<K, V>, keys: I, loader: L) -> Self {
        Self { cache, keys, loader, batch: 500, concurrency: 4, progress: None }
    }

    /// Loads this many keys at once, at least 1. The default is 500.
    pub fn batch(mut self, keys: usize) -> Self {
        self.batch = keys.max(1);
        self
    }

    /// Runs this many batches at a time, at least 1. The default is 4.
    pub fn concurrency(mut self, batches: usize) -> Self {
        self.concurrency = batches.max(1);
        self
    }

    /// Calls `progress` after each batch.
    pub fn progress(mut self, progress: impl FnMut(Progress) + Send + 'a) -> Self {
        self.progress = Some(Box::new(progress));
        self
    }
}

impl<K, V, I, L, F, R, W, E> Warm<'_, K, V, I, L>
where
    K: CacheKey,
    V: Send + Sync + 'static,
    I: Iterator<Item = K>,
    L: Fn(Batch<K>) -> F,
    F: Future<Output = Result<R, E>> + Send + 'static,
    R: IntoIterator<Item = (K, W)> + 'static,
    W: Into<Loaded<V>> + 'static,
    E: Into<Box<dyn std::error::Error + Send + Sync>> + 'static,
{
    /// Loads all keys that are not cached yet. A batch that fails is counted,
    /// and the rest goes on.
    ///
    /// # Cancel safety
    ///
    /// Dropping it starts no further batch; those under way end and are stored.
    ///
    /// # Panics
    ///
    /// If it has to wait on a runtime that has no timer (`enable_time`).
    pub async fn run(mut self) -> WarmReport {
        let total = match self.keys.size_hint() {
            (least, Some(most)) if least == most => Some(most),
            _ => None,
        };
        let (mut report, mut done) = (WarmReport::default(), 0);
        let mut running = Vec::new();
        loop {
            while running.len() < self.concurrency {
                let batch: Vec<K> = self.keys.by_ref().take(self.batch).collect();
                if batch.is_empty() {
                    break;
                }
                running.push(Box::pin(load(self.cache, batch, &self.loader)));
            }
            if running.is_empty() {
                return report;
            }
            let batch = next(&mut running).await;
            done += batch.present + batch.absent + batch.failed;
            report.add(batch);
            if let Some(progress) = &mut self.progress {
                progress(Progress { done, total });
            }
        }
    }
}

async fn load<K, V, L, F, R, W, E>(
    cache: &CacheAside<K, V>,
    batch: Vec<K>,
    loader: &L,
) -> WarmReport
where
    K: CacheKey,
    V: Send + Sync + 'static,
    L: Fn(Batch<K>) -> F,
    F: Future<Output = Result<R, E>> + Send + 'static,
    R: IntoIterator<Item = (K, W)> + 'static,
    W: Into<Loaded<V>> + 'static,
    E: Into<Box<dyn std::error::Error + Send + Sync>> + 'static,
{
    let mut report = WarmReport::default();
    for outcome in cache.get_many(&batch, loader).await {
        match outcome {
            Ok(Some(_)) => report.present += 1,
            Ok(None) => report.absent += 1,
            Err(error) => {
                report.failed += 1;
                report.error.get_or_insert(error);
            }
        }
    }
    report
}

/// Takes the first of `running` that is ready.
async fn next<F: Future>(running: &mut Vec<Pin<Box<F>>>) -> F::Output {
    poll_fn(|cx| {
        for n in 0..running.len() {
            if let Poll::Ready(output) = running[n].as_mut().poll(cx) {
                drop(running.swap_remove(n));
                return Poll::Ready(output);
            }
        }
        Poll::Pending
    })
    .await
}

impl WarmReport {
    fn add(&mut self, other: Self) {
        self.present += other.present;
        self.absent += other.absent;
        self.failed += other.failed;
        self.error = self.error.take().or(other.error);
    }
}

impl<K, V, I, L> fmt::Debug for Warm<'_, K, V, I, L> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Warm")
            .field("batch", &self.batch)
            .field("concurrency", &self.concurrency)
            .finish_non_exhaustive()
    }
}
