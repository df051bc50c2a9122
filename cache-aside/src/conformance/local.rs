use std::sync::Arc;
use std::time::Duration;

use crate::policy::Life;
use crate::store::{Entry, Store};

/// Runs the whole suite on stores made by `make`, which is given the number of
/// entries that they must be able to hold.
///
/// # Panics
///
/// When the store breaks a rule; the message says which.
pub fn store<S: Store<u64, String>>(make: impl Fn(usize) -> S) {
    keeps_what_was_inserted_last(&make(100));
    forgets_what_was_removed(&make(100));
    is_usable_after_a_clear(&make(100));
    shares_values(&make(100));
    stays_bounded(&make(100));
    serves_threads(&make(1_000));
}

/// Made apart from the cache: its dates are of no concern to a store.
fn entry(value: Option<&str>) -> Entry<String> {
    let life = Life::new(0, 0, Duration::from_nanos(1), 0, value.is_none());
    Entry { value: value.map(|text| Arc::new(text.to_owned())), life }
}

fn text<S: Store<u64, String>>(store: &S, key: u64) -> Option<Option<String>> {
    store.get(&key).map(|entry| entry.value().map(|text| text.to_string()))
}

fn keeps_what_was_inserted_last(store: &impl Store<u64, String>) {
    assert!(store.get(&1).is_none(), "an empty store has an entry");
    store.insert(1, entry(Some("old")));
    store.insert(2, entry(Some("other")));
    store.insert(1, entry(Some("new")));
    assert_eq!(text(store, 1), Some(Some("new".into())), "an insert did not replace");
    assert_eq!(text(store, 2), Some(Some("other".into())), "keys are mixed up");
    store.insert(1, entry(None));
    assert_eq!(text(store, 1), Some(None), "a negative entry did not replace a value");
}

fn forgets_what_was_removed(store: &impl Store<u64, String>) {
    store.insert(1, entry(Some("a")));
    store.insert(2, entry(Some("b")));
    store.remove(&1);
    store.remove(&3);
    assert_eq!(text(store, 1), None, "a removed entry is there");
    assert_eq!(text(store, 2), Some(Some("b".into())), "`remove` took another entry");
    store.insert(1, entry(Some("c")));
    assert_eq!(text(store, 1), Some(Some("c".into())), "a removed key cannot come back");
}

fn is_usable_after_a_clear(store: &impl Store<u64, String>) {
    for key in 0..50 {
        store.insert(key, entry(Some("before")));
    }
    store.clear();
    for key in 0..50 {
        assert_eq!(text(store, key), None, "an entry outlived `clear`");
    }
    store.insert(1, entry(Some("after")));
    assert_eq!(text(store, 1), Some(Some("after".into())), "nothing is kept after `clear`");
}

fn shares_values(store: &impl Store<u64, String>) {
    let inserted = entry(Some("shared"));
    store.insert(1, inserted.clone());
    let got = store.get(&1).expect("a store of 100 keeps its only entry");
    let same = inserted.value().zip(got.value()).is_some_and(|(a, b)| Arc::ptr_eq(a, b));
    assert!(same, "the value was copied");
    assert_eq!(got.life, inserted.life, "the entry's dates changed");
}

fn stays_bounded(store: &impl Store<u64, String>) {
    assert!(store.capacity() >= 100, "made for 100 entries, it says {}", store.capacity());
    for key in 0..100_000 {
        store.insert(key, entry(Some("filler")));
    }
    let kept = (0..100_000).filter(|key| store.get(key).is_some()).count();
    assert!(kept <= 1_000, "made for 100 entries, it keeps {kept}");
}

fn serves_threads(store: &impl Store<u64, String>) {
    std::thread::scope(|scope| {
        for thread in 0..4_u64 {
            scope.spawn(move || {
                for round in 0..1_000_u64 {
                    let key = thread * 100 + round % 50;
                    store.insert(key, entry(Some(&key.to_string())));
                    if let Some(Some(text)) = text(store, key) {
                        assert_eq!(text, key.to_string(), "threads get each other's values");
                    }
                    if round % 7 == 0 {
                        store.remove(&key);
                    }
                }
            });
        }
    });
}
