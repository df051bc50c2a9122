use std::sync::{Arc, PoisonError, RwLock};

use quick_cache::sync::Cache;

use super::{Catalogue, Class, Reason, Route, scan};

/// Longer texts are not kept: they are rarely the same twice.
const LONGEST: usize = 16 * 1024;

/// Classifies texts, and remembers some thousands of them.
#[derive(Debug)]
pub(crate) struct Classifier {
    /// Replaced together with the catalogue that its entries rest on.
    current: RwLock<Arc<Current>>,
    entries: usize,
}

#[derive(Debug)]
struct Current {
    catalogue: Catalogue,
    cache: Cache<Box<str>, Class, quick_cache::UnitWeighter, foldhash::fast::RandomState>,
}

impl Current {
    fn new(catalogue: Catalogue, entries: usize) -> Arc<Self> {
        let cache = Cache::with(
            entries,
            entries as u64,
            quick_cache::UnitWeighter,
            foldhash::fast::RandomState::default(),
            quick_cache::sync::DefaultLifecycle::default(),
        );
        Arc::new(Self { catalogue, cache })
    }
}

impl Classifier {
    pub(crate) fn new(entries: usize) -> Self {
        Self { current: RwLock::new(Current::new(Catalogue::default(), entries)), entries }
    }

    fn current(&self) -> std::sync::RwLockReadGuard<'_, Arc<Current>> {
        self.current.read().unwrap_or_else(PoisonError::into_inner)
    }

    pub(crate) fn classify(&self, text: &str) -> Class {
        let current = self.current();
        if let Some(class) = current.cache.get(text) {
            return class;
        }
        let class = scan::scan(text, &current.catalogue).class;
        if text.len() <= LONGEST {
            current.cache.insert(text.into(), class);
        }
        class
    }

    /// A server refused it as a write: it is one from now on.
    pub(crate) fn unlearn(&self, text: &str) {
        if text.len() <= LONGEST {
            self.current().cache.insert(text.into(), Class::new(Reason::UnknownFunction));
        }
    }

    pub(crate) fn explain(&self, text: &str) -> Route {
        Route::of(text, &self.current().catalogue)
    }

    pub(crate) fn learn(&self, catalogue: Catalogue) {
        if self.current().catalogue == catalogue {
            return;
        }
        let fresh = Current::new(catalogue, self.entries);
        *self.current.write().unwrap_or_else(PoisonError::into_inner) = fresh;
    }
}
