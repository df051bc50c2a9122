use std::collections::BTreeMap;
use std::future::Future;
use std::sync::Arc;

use futures_util::StreamExt;
use futures_util::future::Either;
use futures_util::stream::FuturesUnordered;
use tracing::{Instrument, debug_span};

use super::{Router, Shard};
use crate::error::Error;
use crate::key::ShardKey;

/// What has happened of one shard's part.
enum Step<T, E, K> {
    Admitted(usize, Result<Shard, Error>, Vec<K>),
    Done(usize, Result<T, E>),
}

impl Router {
    /// Calls `work` once for each shard that has some of the keys, with these, in the order that
    /// they were in; all shards at once. What an `IN (…)` over many keys needs.
    ///
    /// ```no_run
    /// # async fn example(router: shard_router::Router) -> Result<(), shard_router::Error> {
    /// let users: Vec<i64> = vec![1, 2, 3];
    /// let rows = router
    ///     .batch(users, |shard, users: Vec<i64>| async move {
    ///         shard.query("SELECT total FROM orders WHERE user_id = ANY($1)", &[&users]).await
    ///     })
    ///     .await?;
    /// let all: Vec<_> = rows.into_iter().flatten().collect();
    /// # Ok(())
    /// # }
    /// ```
    ///
    /// The answers are in the order of the map's shards. No keys make no answers.
    ///
    /// # Errors
    ///
    /// The first one; the others' work is dropped then. No work is begun if a key is of a
    /// wrong type, and none on a shard that is not what it should be.
    ///
    /// # Cancel safety
    ///
    /// As [`with`](Self::with).
    pub async fn batch<K, T, E, F, Fut>(
        &self,
        keys: impl IntoIterator<Item = K>,
        mut work: F,
    ) -> Result<Vec<T>, E>
    where
        K: ShardKey,
        F: FnMut(Shard, Vec<K>) -> Fut,
        Fut: Future<Output = Result<T, E>> + Send,
        E: From<Error>,
    {
        self.core.metrics.batches();
        let view = self.view();
        let mut groups: BTreeMap<usize, (crate::slot::Slot, Vec<K>)> = BTreeMap::new();
        for key in keys {
            let slot = view.slot(&key)?;
            let index = view.topology.map().owner_index(slot);
            self.core.metrics.requests();
            view.members[index].node.counts.request();
            view.members[index].node.record(slot, &key);
            groups.entry(index).or_insert_with(|| (slot, Vec::new())).1.push(key);
        }
        let mut answers: Vec<Option<T>> = groups.iter().map(|_| None).collect();
        let mut waiting = groups.into_iter().enumerate();
        let mut running = FuturesUnordered::new();
        let span = |index: usize| debug_span!("shard_router.batch", shard = %view.members[index].node.name);
        let admit = |(place, (index, (slot, keys)))| {
            let admitting = self.admitted(Arc::clone(&view), index, slot);
            let admitted = async move {
                if cfg!(broken = "batch_admission") {
                    let shard = Shard::new(Arc::clone(&self.core), self.view(), index, slot);
                    return Step::Admitted(place, Ok(shard), keys);
                }
                Step::Admitted(place, admitting.await, keys)
            };
            Either::Left(admitted.instrument(span(index)))
        };
        running.extend(waiting.by_ref().take(self.core.settings.parallel).map(admit));
        while let Some(step) = running.next().await {
            match step {
                Step::Admitted(place, shard, keys) => {
                    let shard = shard?;
                    let span = span(shard.index());
                    let working = work(shard, keys);
                    let done = async move { Step::Done(place, working.await) };
                    running.push(Either::Right(done.instrument(span)));
                }
                Step::Done(place, answer) => {
                    answers[place] = Some(answer?);
                    running.extend(waiting.next().map(admit));
                }
            }
        }
        Ok(answers.into_iter().flatten().collect())
    }
}
