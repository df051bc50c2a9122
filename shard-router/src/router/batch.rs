use std::collections::BTreeMap;
use std::future::Future;
use std::sync::Arc;

use futures_util::StreamExt;
use futures_util::stream::FuturesUnordered;
use tokio::sync::Semaphore;
use tracing::{Instrument, debug_span};

use super::{Router, Shard};
use crate::error::Error;
use crate::key::ShardKey;

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
    /// wrong type.
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
            view.members[index].node.record(slot, &key);
            groups.entry(index).or_insert_with(|| (slot, Vec::new())).1.push(key);
        }
        let permits = Arc::new(Semaphore::new(self.core.settings.parallel));
        let mut running = FuturesUnordered::new();
        let mut answers: Vec<Option<T>> = Vec::new();
        for (place, (index, (slot, keys))) in groups.into_iter().enumerate() {
            answers.push(None);
            self.core.metrics.requests();
            view.members[index].node.counts.request();
            let span =
                debug_span!("shard_router.batch", shard = %view.members[index].node.name);
            let shard = Shard::new(Arc::clone(&self.core), Arc::clone(&view), index, slot);
            // The futures are made here, and wait for their turn before they do anything.
            let working = work(shard, keys);
            let admitting = self.admitted(Arc::clone(&view), index, slot);
            let permits = Arc::clone(&permits);
            running.push(
                async move {
                    let _permit = permits.acquire_owned().await;
                    admitting.await?;
                    Ok::<_, E>((place, working.await?))
                }
                .instrument(span),
            );
        }
        while let Some(done) = running.next().await {
            let (place, answer) = done?;
            answers[place] = Some(answer);
        }
        Ok(answers.into_iter().flatten().collect())
    }
}
