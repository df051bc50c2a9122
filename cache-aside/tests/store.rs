//! Every store against the suite, and what the cache does with odd values.
#![allow(clippy::unwrap_used, reason = "a panic is how a test fails")]

mod support;

use std::collections::HashMap;
use std::io;
use std::sync::{Arc, Mutex};

#[cfg(feature = "quick")]
use cache_aside::Quick;
use cache_aside::{CacheAside, Entry, Lookup, Moka, Store, conformance};

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
}

#[tokio::test]
async fn a_value_heavier_than_the_store_is_served() {
    heavy_value(Moka::bytes(100_000, 100, |_, value: &Vec<u8>| value.len())).await;
    #[cfg(feature = "quick")]
    heavy_value(Quick::bytes(100_000, 100, |_, value: &Vec<u8>| value.len())).await;
}

#[tokio::test]
async fn a_key_may_hold_every_byte() {
    let cache: CacheAside<Vec<u8>, usize> =
        CacheAside::builder("test").l1(Moka::entries(1_000)).build().unwrap();
    let every: Vec<u8> = (0..=255).collect();
    let keys: Vec<Vec<u8>> = (0..=every.len()).map(|n| every[..n].to_vec()).collect();
    for key in &keys {
        cache.insert(key, key.len()).await;
    }
    for key in &keys {
        assert_eq!(cache.get(key).await, Lookup::Hit(Arc::new(key.len())));
        assert!(!cache.explain(key).key.contains(char::is_control));
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
    let cache: CacheAside<u64, u64> =
        CacheAside::builder("test").l1(Moka::entries(0)).build().unwrap();
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
