//! A Redis that comes back with what it had been told to forget.

use std::sync::Arc;
use std::time::Duration;

use cache_aside::{CacheAside, Lookup, Moka, RedisStore};
use testbed::eventually;
use testbed::redis::Redis;

use crate::rows::Rows;
use crate::scene::Cache;

const KEY: u64 = 1;
const PATIENCE: Duration = Duration::from_secs(10);
/// Shorter than any restart.
const L1_TTL: Duration = Duration::from_millis(1);

fn cache(redis: &Redis, copies: bool) -> Cache {
    let builder = CacheAside::builder("row").l2(RedisStore::open(redis.url()).unwrap());
    let builder = builder.l2_timeout(PATIENCE).load_timeout(PATIENCE);
    let builder = if copies { builder.l1(Moka::entries(10)).l1_ttl(L1_TTL) } else { builder };
    builder.build().unwrap()
}

async fn read(cache: &Cache, rows: &Arc<Rows>) -> u64 {
    let rows = Arc::clone(rows);
    *cache.get_or_load(&KEY, |_| rows.load(KEY)).await.unwrap().unwrap()
}

async fn keys(redis: &Redis, kind: char) -> usize {
    let pattern = format!("{{cache-aside:row:*}}{kind}*");
    redis.command(&["KEYS", &pattern]).await.unwrap().items().len()
}

/// Nobody shows the old value, and Redis is used again: by those who knew it before
/// and by a process that has never seen another.
async fn nothing_old_is_shown(redis: &Redis, known: &[Cache], rows: &Arc<Rows>) {
    let new = cache(redis, false);
    assert_eq!(new.get(&KEY).await, Lookup::Miss);
    for cache in known.iter().chain([&new]) {
        assert_ne!(cache.get(&KEY).await, Lookup::Hit(Arc::new(1)));
        assert_eq!(read(cache, rows).await, 2);
    }
    let again = Lookup::Hit(Arc::new(2));
    for cache in known.iter().chain([&new]) {
        eventually(2 * PATIENCE, async || {
            read(cache, rows).await;
            new.get(&KEY).await == again && cache.get(&KEY).await == again
        })
        .await;
    }
}

#[tokio::test]
async fn what_a_snapshot_brings_back_is_not_shown() {
    for copies in [false, true] {
        let redis = Redis::start().await.unwrap();
        let caches = [cache(&redis, copies), cache(&redis, copies)];
        let rows = Rows::new(2);
        assert_eq!(read(&caches[0], &rows).await, 1);
        redis.save().await.unwrap();
        rows.commit(KEY);
        caches[1].invalidate(&KEY).await.unwrap();
        assert_eq!(keys(&redis, 'v').await, 0);

        redis.restart_from_snapshot().await.unwrap();
        assert_eq!(keys(&redis, 'v').await, 1, "the old record is back");
        nothing_old_is_shown(&redis, &caches, &rows).await;
    }
}

#[tokio::test]
async fn a_lease_that_a_snapshot_brings_back_fills_nothing() {
    for copies in [false, true] {
        let redis = Redis::start().await.unwrap();
        let caches = [cache(&redis, copies), cache(&redis, copies)];
        let rows = Rows::new(2);
        let (mut held, load) = rows.held(KEY);
        let reader = caches[0].clone();
        let old = tokio::spawn(async move { reader.get_or_load(&KEY, |_| load).await });
        held.began().await;
        redis.save().await.unwrap();
        rows.commit(KEY);
        caches[1].invalidate(&KEY).await.unwrap();
        assert_eq!(keys(&redis, 'l').await, 0);

        redis.restart_from_snapshot().await.unwrap();
        assert_eq!(keys(&redis, 'l').await, 1, "the lease is back");
        held.answer();
        assert_eq!(old.await.unwrap().unwrap().as_deref(), Some(&1), "it came before");
        assert_eq!(keys(&redis, 'v').await, 0);
        // Nobody gives it back any more.
        redis.command(&["FLUSHALL"]).await.unwrap();
        nothing_old_is_shown(&redis, &caches, &rows).await;
    }
}
