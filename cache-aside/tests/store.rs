//! Every store against the suite, and what the cache does with odd values.
#![allow(clippy::unwrap_used, reason = "a panic is how a test fails")]

mod support;

use std::collections::HashMap;
use std::io;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, OnceLock, mpsc};

#[cfg(feature = "quick")]
use cache_aside::Quick;
use cache_aside::{CacheAside, Entry, Loaded, Lookup, Moka, Store, conformance};

#[test]
fn moka_conforms() {
    conformance::store(Moka::entries);
}

#[test]
fn moka_by_bytes_conforms() {
    conformance::store(|entries| {
        Moka::bytes(entries as u64 * 200, entries, |_, text: &String| text.capacity())
    });
}

#[cfg(feature = "quick")]
#[test]
fn quick_conforms() {
    conformance::store(Quick::entries);
}

#[cfg(feature = "quick")]
#[test]
fn quick_by_bytes_conforms() {
    conformance::store(|entries| {
        Quick::bytes(entries as u64 * 200, entries, |_, text: &String| text.capacity())
    });
}

#[test]
fn a_store_of_ones_own_conforms() {
    conformance::store(|capacity| Own {
        capacity,
        entries: Mutex::default(),
        fault: Fault::None,
    });
}

/// The suite is not one that anything passes.
#[test]
fn the_suite_finds_faults() {
    for fault in [Fault::KeepsOld, Fault::IgnoresRemove, Fault::IgnoresClear, Fault::Unbounded]
    {
        let suite = || {
            conformance::store(|capacity| Own { capacity, entries: Mutex::default(), fault });
        };
        assert!(std::panic::catch_unwind(suite).is_err(), "{fault:?} passed");
    }
}

#[derive(Clone, Copy, Debug, PartialEq)]
enum Fault {
    None,
    KeepsOld,
    IgnoresRemove,
    IgnoresClear,
    Unbounded,
}

/// A map that starts anew when it is full.
struct Own {
    capacity: usize,
    entries: Mutex<HashMap<u64, Entry<String>>>,
    fault: Fault,
}

impl Store<u64, String> for Own {
    fn get(&self, key: &u64) -> Option<Entry<String>> {
        self.entries.lock().unwrap().get(key).cloned()
    }

    fn insert(&self, key: u64, entry: Entry<String>) {
        let mut entries = self.entries.lock().unwrap();
        if entries.len() >= self.capacity && self.fault != Fault::Unbounded {
            entries.clear();
        }
        if self.fault == Fault::KeepsOld {
            entries.entry(key).or_insert(entry);
        } else {
            entries.insert(key, entry);
        }
    }

    fn remove(&self, key: &u64) {
        if self.fault != Fault::IgnoresRemove {
            self.entries.lock().unwrap().remove(key);
        }
    }

    fn clear(&self) {
        if self.fault != Fault::IgnoresClear {
            self.entries.lock().unwrap().clear();
        }
    }

    fn capacity(&self) -> usize {
        self.capacity
    }
}

/// Served to those who asked, not kept, and nobody else pays for it.
async fn heavy_value(store: impl Store<Vec<u8>, Vec<u8>>) {
    let cache: CacheAside<Vec<u8>, Vec<u8>> =
        CacheAside::builder("test").l1(store).build().unwrap();
    let small = |_| async { Ok::<_, io::Error>(vec![1]) };
    let heavy = |_| async { Ok::<_, io::Error>(vec![2; 1 << 20]) };
    cache.get_or_load(&b"small".to_vec(), small).await.unwrap();
    for _ in 0..3 {
        let value = cache.get_or_load(&b"heavy".to_vec(), heavy).await.unwrap();
        assert_eq!(value.map(|value| value.len()), Some(1 << 20));
    }
    let kept = cache.get(&b"small".to_vec()).await;
    assert_eq!(kept, Lookup::Hit(Arc::new(vec![1])));
    // The older value under its key goes with it.
    for _ in 0..1_000 {
        cache.insert(&b"small".to_vec(), vec![2; 1 << 20]).await.unwrap();
        let kept = cache.get(&b"small".to_vec()).await;
        assert_ne!(kept, Lookup::Hit(Arc::new(vec![1])));
    }
}

#[tokio::test]
async fn a_value_heavier_than_the_store_is_served() {
    heavy_value(Moka::bytes(100_000, 100, |_, value: &Vec<u8>| value.len())).await;
    #[cfg(feature = "quick")]
    heavy_value(Quick::bytes(100_000, 100, |_, value: &Vec<u8>| value.len())).await;
}

/// A map whose calls, and the drops of what it forgets, use the cache.
#[derive(Default)]
struct Nosy {
    entries: Mutex<HashMap<u64, Entry<Last>>>,
    cache: Arc<OnceLock<CacheAside<u64, Last>>>,
}

impl Nosy {
    fn ask(&self) {
        if let Some(cache) = self.cache.get() {
            // Explaining looks in the store, too.
            static DEPTH: AtomicUsize = AtomicUsize::new(0);
            if DEPTH.fetch_add(1, Ordering::SeqCst) == 0 {
                let explained = tokio_test::task::spawn(cache.explain(&7)).poll();
                assert!(explained.is_ready());
            }
            DEPTH.fetch_sub(1, Ordering::SeqCst);
        }
    }
}

impl Store<u64, Last> for Nosy {
    fn get(&self, key: &u64) -> Option<Entry<Last>> {
        self.ask();
        self.entries.lock().unwrap().get(key).cloned()
    }

    fn insert(&self, key: u64, entry: Entry<Last>) {
        self.ask();
        let old = self.entries.lock().unwrap().insert(key, entry);
        drop(old);
    }

    fn remove(&self, key: &u64) {
        self.ask();
        let old = self.entries.lock().unwrap().remove(key);
        drop(old);
    }

    fn clear(&self) {
        self.ask();
        let old = std::mem::take(&mut *self.entries.lock().unwrap());
        drop(old);
    }

    fn capacity(&self) -> usize {
        100
    }
}

/// Uses the cache when it is dropped.
struct Last(Arc<OnceLock<CacheAside<u64, Self>>>);

impl Drop for Last {
    fn drop(&mut self) {
        if let Some(cache) = self.0.get() {
            assert!(tokio_test::task::spawn(cache.reserve(&7)).poll().is_ready());
        }
    }
}

/// No lock of the cache is held while the store runs or a value is dropped.
#[test]
fn a_store_and_the_drop_of_a_value_may_use_the_cache() {
    let (done, is_done) = mpsc::channel();
    std::thread::spawn(move || {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build();
        runtime.unwrap().block_on(async {
            let store = Nosy::default();
            let handle = Arc::clone(&store.cache);
            let cache = CacheAside::builder("test").l1(store).build().unwrap();
            assert!(handle.set(cache.clone()).is_ok());
            let value = || Last(Arc::clone(&handle));
            for _ in 0..3 {
                cache.insert(&7, value()).await.unwrap();
                let unkept = Loaded::value(value()).do_not_store();
                cache.insert(&7, unkept).await.unwrap();
                let value = value();
                let load = |_| async { Ok::<_, io::Error>(value) };
                assert!(cache.get_or_load(&7, load).await.unwrap().is_some());
            }
            cache.invalidate(&7).await.unwrap();
            cache.clear().await.unwrap();
        });
        done.send(()).unwrap();
    });
    let limit = std::time::Duration::from_secs(30);
    assert!(is_done.recv_timeout(limit).is_ok(), "it waits for itself");
}

#[tokio::test]
async fn a_key_may_hold_every_byte() {
    let cache: CacheAside<Vec<u8>, usize> =
        CacheAside::builder("test").l1(Moka::entries(1_000)).build().unwrap();
    let every: Vec<u8> = (0..=255).collect();
    let keys: Vec<Vec<u8>> = (0..=every.len()).map(|n| every[..n].to_vec()).collect();
    for key in &keys {
        cache.insert(key, key.len()).await.unwrap();
    }
    for key in &keys {
        assert_eq!(cache.get(key).await, Lookup::Hit(Arc::new(key.len())));
        assert!(!cache.explain(key).await.key.contains(char::is_control));
    }
    cache.invalidate(&keys[1]).await.unwrap();
    assert_eq!(cache.get(&keys[1]).await, Lookup::Miss);
    let mut others = 0;
    for key in &keys {
        others += u32::from(cache.get(key).await != Lookup::Miss);
    }
    // Its stripe is one of a thousand.
    assert!(others > 200, "{others} of 256 are left");
}

#[tokio::test]
async fn a_store_that_keeps_nothing_still_joins_loads() {
    let cache: CacheAside<u64, u64> = CacheAside::builder("test").l1(Nothing).build().unwrap();
    let source = support::Source::new(1);
    for _ in 0..3 {
        let (a, b) = tokio::join!(
            cache.get_or_load(&7, |_| source.read()),
            cache.get_or_load(&7, |_| source.read())
        );
        assert_eq!((a.unwrap(), b.unwrap()), (Some(Arc::new(1)), Some(Arc::new(1))));
    }
    assert!(source.loads() >= 3);
}

/// Has room, it says, and forgets everything at once.
struct Nothing;

impl Store<u64, u64> for Nothing {
    fn get(&self, _: &u64) -> Option<Entry<u64>> {
        None
    }

    fn insert(&self, _: u64, _: Entry<u64>) {}

    fn remove(&self, _: &u64) {}

    fn clear(&self) {}

    fn capacity(&self) -> usize {
        1
    }
}

/// Refuses values from 100 on, and keeps what it had.
struct Stubborn(Moka<u64, u64>);

impl Store<u64, u64> for Stubborn {
    fn get(&self, key: &u64) -> Option<Entry<u64>> {
        self.0.get(key)
    }

    fn insert(&self, key: u64, entry: Entry<u64>) {
        if entry.value().is_none_or(|value| **value < 100) {
            self.0.insert(key, entry);
        }
    }

    fn remove(&self, key: &u64) {
        self.0.remove(key);
    }

    fn clear(&self) {
        self.0.clear();
    }

    fn capacity(&self) -> usize {
        self.0.capacity()
    }
}

#[tokio::test]
async fn an_insert_that_the_store_refuses_ends_the_old_value() {
    let cache: CacheAside<u64, u64> =
        CacheAside::builder("test").l1(Stubborn(Moka::entries(10))).build().unwrap();
    cache.insert(&7, 1).await.unwrap();
    assert_eq!(cache.get(&7).await, Lookup::Hit(Arc::new(1)));
    cache.insert(&7, 100).await.unwrap();
    assert_eq!(cache.get(&7).await, Lookup::Miss);
}
