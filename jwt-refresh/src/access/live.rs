use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, PoisonError, RwLock};

use crate::keys::KeySet;

/// A key set that may be replaced while it is used.
pub(crate) struct LiveSet {
    set: RwLock<Arc<KeySet>>,
    /// Raised whenever the set is replaced: what was verified with an earlier
    /// one is verified again.
    epoch: AtomicU64,
    /// Whether a cache of verified tokens pays.
    asymmetric: AtomicBool,
}

impl LiveSet {
    pub(crate) fn new(set: KeySet) -> Self {
        let live = Self {
            set: RwLock::default(),
            epoch: AtomicU64::new(0),
            asymmetric: AtomicBool::new(false),
        };
        live.replace(set);
        live
    }

    pub(crate) fn load(&self) -> Arc<KeySet> {
        Arc::clone(&self.set.read().unwrap_or_else(PoisonError::into_inner))
    }

    pub(crate) fn replace(&self, set: KeySet) {
        let asymmetric = set.iter().any(|key| !key.verifying.algorithm().is_symmetric());
        let mut current = self.set.write().unwrap_or_else(PoisonError::into_inner);
        *current = Arc::new(set);
        self.asymmetric.store(asymmetric, Ordering::Release);
        // Within the lock: who reads the new epoch reads the new set.
        self.epoch.fetch_add(1, Ordering::Release);
    }

    #[inline]
    pub(crate) fn epoch(&self) -> u64 {
        self.epoch.load(Ordering::Acquire)
    }

    #[inline]
    pub(crate) fn is_asymmetric(&self) -> bool {
        self.asymmetric.load(Ordering::Acquire)
    }
}
