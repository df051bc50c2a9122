//! A load that overlaps an invalidation: its value is never seen by a read that
//! starts after the invalidation, on any path.
#![allow(clippy::unwrap_used, reason = "a panic is how a test fails")]

mod support;

use std::collections::HashMap;
use std::future::Future;
use std::sync::mpsc;
use std::sync::{Arc, Mutex};

use cache_aside::{CacheAside, CacheAsideLayer, Entry, Lookup, State, Store};
use support::{SECOND, Source, apart, builder, once, settle};
use tower::{Layer, Service, ServiceExt};

async fn read(cache: &CacheAside<u64, u64>, source: &Source) -> u64 {
    *cache.get_or_load(&7, |_| source.read()).await.unwrap().unwrap()
}

/// Runs `load` with the old value in hand, writes the new one and invalidates,
/// lets the load end, and reads. `between` reads before the load ends, too.
async fn overlap<T>(
    cache: &CacheAside<u64, u64>,
    source: &Source,
    load: impl Future<Output = T> + Send + 'static,
    mut held: support::Held,
    between: bool,
) where
    T: Send + 'static,
{
    let load = tokio::spawn(load);
    held.began().await;
    source.set(2);
    cache.invalidate(&7).await.unwrap();
    if between {
        // In a time of its own, so that joining the old load shows as a hang.
        let fresh = tokio::time::timeout(SECOND, read(cache, source)).await;
        assert_eq!(fresh.expect("joined a load from before the invalidation"), 2);
    }
    held.answer();
    load.await.unwrap();
    settle().await;
    assert_ne!(cache.get(&7).await, Lookup::Hit(Arc::new(1)), "the late value is visible");
    assert_eq!(read(cache, source).await, 2, "the late value is visible");
}

#[tokio::test(start_paused = true)]
async fn through_get_or_load() {
    for between in [false, true] {
        let (cache, source) = (builder().build().unwrap(), Source::new(1));
        let (held, load) = source.held();
        let reader = cache.clone();
        let old = async move { reader.get_or_load(&7, |_| load).await };
        overlap(&cache, &source, old, held, between).await;
    }
}

#[tokio::test(start_paused = true)]
async fn through_get_many() {
    for between in [false, true] {
        let cache = apart(|| builder().build().unwrap()).await;
        let source = Source::new(1);
        let (held, load) = source.held();
        let reader = cache.clone();
        let old = async move {
            let load = once(async move { load.await.map(|value| [(7, value), (8, value)]) });
            reader.get_many(&[7, 8], |_| load()).await
        };
        overlap(&cache, &source, old, held, between).await;
        // The other key of the batch was not invalidated, so it was kept.
        assert_eq!(cache.get(&8).await, Lookup::Hit(Arc::new(1)));
    }
}

#[tokio::test(start_paused = true)]
async fn through_warm() {
    let (cache, source) = (builder().build().unwrap(), Source::new(1));
    let (held, load) = source.held();
    let (warmer, load) = (cache.clone(), Mutex::new(Some(load)));
    let old = async move {
        let loader = |_| {
            let load = load.lock().unwrap().take().expect("one batch");
            async move { load.await.map(|value| [(7, value)]) }
        };
        warmer.warm([7], loader).run().await
    };
    overlap(&cache, &source, old, held, true).await;
}

#[tokio::test(start_paused = true)]
async fn through_the_layer() {
    for between in [false, true] {
        let (cache, source) = (builder().build().unwrap(), Source::new(1));
        let (held, load) = source.held();
        let load = Arc::new(Mutex::new(Some(load)));
        let inner =
            tower::service_fn(move |_: u64| load.lock().unwrap().take().expect("one load"));
        let layered = CacheAsideLayer::new(cache.clone(), |n: &u64| Some(*n)).layer(inner);
        overlap(&cache, &source, layered.oneshot(7), held, between).await;
    }
}

/// The layer's own reads go past the late value, too.
#[tokio::test(start_paused = true)]
async fn seen_through_the_layer() {
    let (cache, source) = (builder().build().unwrap(), Source::new(1));
    let inner = {
        let source = source.clone();
        tower::service_fn(move |_: u64| source.read())
    };
    let mut layered = CacheAsideLayer::new(cache.clone(), |n: &u64| Some(*n)).layer(inner);
    let (mut held, load) = source.held();
    let reader = cache.clone();
    let old = tokio::spawn(async move { reader.get_or_load(&7, |_| load).await });
    held.began().await;
    source.set(2);
    cache.invalidate(&7).await.unwrap();
    held.answer();
    old.await.unwrap().unwrap();
    assert_eq!(layered.call(7).await.unwrap(), Some(Arc::new(2)));
}

#[tokio::test(start_paused = true)]
async fn through_background_refresh() {
    let cache = builder().ttl(60 * SECOND).stale_while_revalidate(30 * SECOND).build().unwrap();
    for between in [false, true] {
        let source = Source::new(1);
        cache.invalidate(&7).await.unwrap();
        assert_eq!(read(&cache, &source).await, 1);
        tokio::time::advance(61 * SECOND).await;
        let (held, load) = source.held();
        let reader = cache.clone();
        let old = async move {
            // Served stale at once; the load goes on behind it.
            assert_eq!(reader.get_or_load(&7, |_| load).await.unwrap(), Some(Arc::new(1)));
        };
        overlap(&cache, &source, old, held, between).await;
    }
}

#[tokio::test(start_paused = true)]
async fn through_early_refresh() {
    // With this β, an entry whose load took any time at all is renewed at once.
    let cache = builder().early_refresh(1e12).build().unwrap();
    let source = Source::new(1);
    let slow = source.clone();
    let first = cache.get_or_load(&7, |_| async move {
        tokio::time::sleep(SECOND).await;
        slow.read().await
    });
    assert_eq!(first.await.unwrap(), Some(Arc::new(1)));

    let (mut held, load) = source.held();
    assert_eq!(cache.get_or_load(&7, |_| load).await.unwrap(), Some(Arc::new(1)));
    held.began().await;
    source.set(2);
    cache.invalidate(&7).await.unwrap();
    held.answer();
    settle().await;
    assert_eq!(read(&cache, &source).await, 2);
}

#[tokio::test(start_paused = true)]
async fn clear_overtakes_every_load() {
    let (cache, source) = (builder().build().unwrap(), Source::new(1));
    let (mut held, load) = source.held();
    let reader = cache.clone();
    let old = tokio::spawn(async move { reader.get_or_load(&7, |_| load).await });
    held.began().await;
    source.set(2);
    cache.clear().await.unwrap();
    held.answer();
    old.await.unwrap().unwrap();
    assert_eq!(read(&cache, &source).await, 2);
}

#[tokio::test(start_paused = true)]
async fn a_load_does_not_overwrite_an_insert() {
    let (cache, source) = (builder().build().unwrap(), Source::new(1));
    let (mut held, load) = source.held();
    let reader = cache.clone();
    let old = tokio::spawn(async move { reader.get_or_load(&7, |_| load).await });
    held.began().await;
    source.set(2);
    cache.insert(&7, 2).await.unwrap();
    held.answer();
    old.await.unwrap().unwrap();
    assert_eq!(cache.get(&7).await, Lookup::Hit(Arc::new(2)));
}

/// A list that was read before somebody committed and inserted a newer row.
#[tokio::test(start_paused = true)]
async fn a_reserved_insert_does_not_overwrite_an_insert() {
    let (cache, source) = (builder().build().unwrap(), Source::new(1));
    let reservation = cache.reserve(&7).await;
    let value = source.read().await.unwrap();
    source.set(2);
    cache.insert(&7, 2).await.unwrap();
    assert!(!reservation.insert(value).await);
    assert_eq!(cache.get(&7).await, Lookup::Hit(Arc::new(2)));
}

#[tokio::test(start_paused = true)]
async fn a_reserved_insert_does_not_undo_an_invalidation() {
    let (cache, source) = (builder().build().unwrap(), Source::new(1));
    let reservation = cache.reserve(&7).await;
    let value = source.read().await.unwrap();
    source.set(2);
    cache.invalidate(&7).await.unwrap();
    assert!(!reservation.insert(value).await);
    assert_eq!(read(&cache, &source).await, 2);
    assert!(cache.reserve(&7).await.insert(2).await);
}

/// The copy in hand was read before the invalidation, and the load fails after.
#[tokio::test(start_paused = true)]
async fn an_invalidated_value_never_stands_in_for_an_error() {
    let cache = builder().ttl(60 * SECOND).stale_if_error(600 * SECOND).build().unwrap();
    let source = Source::new(1);
    assert_eq!(read(&cache, &source).await, 1);
    tokio::time::advance(61 * SECOND).await;

    let (mut held, load) = source.held();
    let reader = cache.clone();
    let late = tokio::spawn(async move { reader.get_or_load(&7, |_| load).await });
    held.began().await;
    source.set(2);
    cache.invalidate(&7).await.unwrap();
    held.fail();
    late.await.unwrap().unwrap_err();
    cache.get_or_load(&7, |_| source.fail()).await.unwrap_err();
}

/// The value enters the store after the invalidation has removed what was there:
/// only the stamp, checked on the read, keeps it from being seen.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_fill_that_lands_late_in_the_store_is_not_seen() {
    let (entered, has_entered) = mpsc::channel();
    let (release, released) = mpsc::channel();
    let store =
        LateStore { entries: Mutex::default(), gate: Mutex::new(Some((entered, released))) };
    let cache = CacheAside::builder("test").l1(store).build().unwrap();
    let source = Source::new(1);

    let (reader, load) = (cache.clone(), source.read());
    let old = tokio::spawn(async move { reader.get_or_load(&7, |_| load).await });
    tokio::task::spawn_blocking(move || has_entered.recv().unwrap()).await.unwrap();
    source.set(2);
    cache.invalidate(&7).await.unwrap();
    release.send(()).unwrap();
    assert_eq!(old.await.unwrap().unwrap(), Some(Arc::new(1)));
    assert_eq!(cache.explain(&7).await.state, State::Invalidated);
    assert_eq!(read(&cache, &source).await, 2);
}

type Gate = (mpsc::Sender<()>, mpsc::Receiver<()>);

/// Holds its first insert up.
struct LateStore {
    entries: Mutex<HashMap<u64, Entry<u64>>>,
    gate: Mutex<Option<Gate>>,
}

impl Store<u64, u64> for LateStore {
    fn get(&self, key: &u64) -> Option<Entry<u64>> {
        self.entries.lock().unwrap().get(key).cloned()
    }

    fn insert(&self, key: u64, entry: Entry<u64>) {
        if let Some((entered, released)) = self.gate.lock().unwrap().take() {
            entered.send(()).unwrap();
            released.recv().unwrap();
        }
        self.entries.lock().unwrap().insert(key, entry);
    }

    fn remove(&self, key: &u64) {
        self.entries.lock().unwrap().remove(key);
    }

    fn clear(&self) {
        self.entries.lock().unwrap().clear();
    }

    fn capacity(&self) -> usize {
        1_000
    }
}
