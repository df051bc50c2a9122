//! Many keys at once.
#![allow(clippy::unwrap_used, reason = "a panic is how a test fails")]

mod support;

use std::io;
use std::sync::Arc;
use std::sync::Mutex;

use cache_aside::{Batch, CacheAside, Error, Loaded, Lookup, Progress};
use support::{SECOND, Source, builder, once, settle};
use tokio::time::advance;

/// Squares the keys of a batch, and notes the batch.
async fn squares(
    cache: &CacheAside<u64, u64>,
    keys: &[u64],
    batches: &Mutex<Vec<Vec<u64>>>,
) -> Vec<Result<Option<Arc<u64>>, Error>> {
    let load = |batch: Batch<u64>| {
        batches.lock().unwrap().push(batch.to_vec());
        async move {
            Ok::<_, io::Error>(batch.into_iter().map(|n| (n, n * n)).rev().collect::<Vec<_>>())
        }
    };
    cache.get_many(keys, load).await
}

fn values(outcomes: Vec<Result<Option<Arc<u64>>, Error>>) -> Vec<Option<u64>> {
    outcomes.into_iter().map(|outcome| outcome.unwrap().map(|value| *value)).collect()
}

#[tokio::test(start_paused = true)]
async fn one_load_brings_what_is_missing_in_the_order_of_the_keys() {
    let (cache, batches) = (builder().build().unwrap(), Mutex::default());
    cache.insert(&3, 99).await.unwrap();
    let outcomes = squares(&cache, &[5, 3, 4, 5, 5], &batches).await;
    assert_eq!(values(outcomes), [Some(25), Some(99), Some(16), Some(25), Some(25)]);
    assert_eq!(values(squares(&cache, &[4, 5], &batches).await), [Some(16), Some(25)]);
    assert_eq!(values(squares(&cache, &[], &batches).await), []);
    assert_eq!(*batches.lock().unwrap(), [[5, 4]]);
}

#[tokio::test(start_paused = true)]
async fn what_is_not_returned_is_absent_and_what_was_not_asked_is_ignored() {
    let cache = builder().negative_ttl(5 * SECOND).build().unwrap();
    let load = |_| async { Ok::<_, io::Error>([(1, Some(1)), (2, None), (4, Some(4))]) };
    assert_eq!(values(cache.get_many(&[1, 2, 3], load).await), [Some(1), None, None]);
    assert_eq!(cache.get(&2).await, Lookup::Absent);
    assert_eq!(cache.get(&3).await, Lookup::Absent);
    assert_eq!(cache.get(&4).await, Lookup::Miss);
}

#[tokio::test(start_paused = true)]
async fn a_failed_load_fails_its_own_keys_only() {
    let (cache, source) = (builder().build().unwrap(), Source::new(1));
    cache.insert(&1, 11).await.unwrap();
    // 2 is being loaded by somebody else.
    let (mut held, load) = source.held();
    let other = cache.clone();
    let other = tokio::spawn(async move { other.get_or_load(&2, |_| load).await });
    held.began().await;

    let asked = Arc::new(Mutex::new(Vec::new()));
    let many = {
        let (cache, asked) = (cache.clone(), asked.clone());
        tokio::spawn(async move {
            let load = |batch: Batch<u64>| {
                asked.lock().unwrap().extend(batch);
                async { Err::<[(u64, u64); 0], _>(io::Error::other("down")) }
            };
            cache.get_many(&[1, 2, 3, 4], load).await
        })
    };
    settle().await;
    held.answer();
    let outcomes = many.await.unwrap();
    other.await.unwrap().unwrap();
    assert_eq!(outcomes[0].as_ref().unwrap(), &Some(Arc::new(11)));
    assert_eq!(outcomes[1].as_ref().unwrap(), &Some(Arc::new(1)));
    let [Err(Error::Load(a)), Err(Error::Load(b))] = &outcomes[2..] else {
        panic!("{outcomes:?}")
    };
    assert!(Arc::ptr_eq(a, b));
    assert_eq!(*asked.lock().unwrap(), [3, 4]);
}

#[tokio::test(start_paused = true)]
async fn stale_keys_are_renewed_by_the_same_load_and_not_waited_for() {
    let cache = builder().ttl(60 * SECOND).stale_while_revalidate(30 * SECOND).build().unwrap();
    let batches = Mutex::default();
    cache.insert(&1, 0).await.unwrap();
    advance(61 * SECOND).await;
    cache.insert(&2, 0).await.unwrap();
    let outcomes = squares(&cache, &[1, 2, 3], &batches).await;
    assert_eq!(values(outcomes), [Some(0), Some(0), Some(9)]);
    settle().await;
    assert_eq!(
        values(squares(&cache, &[1, 2, 3], &batches).await),
        [Some(1), Some(0), Some(9)]
    );
    assert_eq!(*batches.lock().unwrap(), [[1, 3]]);

    // Nothing is missing: nobody waits.
    advance(61 * SECOND).await;
    let hanging = |_| std::future::pending::<Result<[(u64, u64); 1], io::Error>>();
    assert_eq!(values(cache.get_many(&[1, 3], hanging).await), [Some(1), Some(9)]);
}

#[tokio::test(start_paused = true)]
async fn a_cancelled_batch_is_stored_and_strands_nobody() {
    let (cache, source) = (builder().build().unwrap(), Source::new(1));
    let (mut held, load) = source.held();
    let load = once(async move { load.await.map(|value| [(7, value)]) });
    let first = cache.clone();
    let leader = tokio::spawn(async move { first.get_many(&[7], |_| load()).await });
    held.began().await;
    let (second, reader) = (cache.clone(), source.clone());
    let waiter = tokio::spawn(async move { second.get_or_load(&7, |_| reader.read()).await });
    settle().await;
    leader.abort();
    held.answer();
    assert_eq!(waiter.await.unwrap().unwrap(), Some(Arc::new(1)));
    assert_eq!(source.loads(), 1);
}

#[tokio::test(start_paused = true)]
async fn a_warm_up_counts_and_goes_on_after_a_failure() {
    let cache = builder().build().unwrap();
    cache.insert(&0, 0).await.unwrap();
    let (mut steps, most) = (Vec::new(), Mutex::new((0_usize, 0_usize)));
    let most = Arc::new(most);
    let loader = |batch: Batch<u64>| {
        let most = most.clone();
        async move {
            {
                let mut most = most.lock().unwrap();
                most.0 += 1;
                most.1 = most.1.max(most.0);
            }
            tokio::time::sleep(SECOND).await;
            most.lock().unwrap().0 -= 1;
            if batch.contains(&25) {
                return Err("25 is broken");
            }
            Ok(batch
                .into_iter()
                .filter(|n| n % 10 != 9)
                .map(|n| (n, Loaded::value(n)))
                .collect::<Vec<_>>())
        }
    };
    let report = cache
        .warm(0..100, loader)
        .batch(10)
        .concurrency(3)
        .progress(|step: Progress| steps.push((step.done, step.total)))
        .run()
        .await;
    assert_eq!((report.present, report.absent, report.failed), (81, 9, 10));
    assert_eq!(report.error.unwrap().to_string(), "the load failed");
    assert_eq!(steps.len(), 10);
    assert_eq!(steps[9], (100, Some(100)));
    assert_eq!(most.lock().unwrap().1, 3);
}
