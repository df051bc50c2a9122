//! One HTTP cache of several servers: what they share, and how they hear of purges.
//!
//! Responses are shared by the engine's second tier, under its leases. What was purged is
//! announced in a log that all follow. A server that has followed it to a position, at a
//! moment, knows of all that was announced before that moment. So what it has itself is
//! served without asking for `bound` after that moment, and what others have stored is judged
//! by tables of the log, which came with it.

mod announce;
mod event;
mod follow;
mod owed;
mod page;
mod replica;
mod seek;
mod share;

pub(super) use self::event::Event;
pub(super) use self::page::Alone;
pub(super) use self::seek::{Permit, Seek, look, seek};

use std::collections::hash_map::RandomState;
use std::fmt;
use std::hash::BuildHasher;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{PoisonError, RwLock, RwLockReadGuard, RwLockWriteGuard};
use std::time::Duration;

use tokio::sync::{Notify, watch};

use self::owed::Owed;
use self::page::{Page, Pages};
use self::replica::Replica;
use super::entry::Place;
use crate::clock::Tick;
use crate::metrics::NewsMetrics;
use crate::shared::{AnyNews, AnyShared, SharedNews};
use crate::tier::{Settings, Tier};

/// What an [`HttpCacheBuilder`](super::HttpCacheBuilder) knows of it.
pub(super) struct Plan {
    pub(super) store: Box<dyn FnOnce(&str) -> Stores + Send + Sync>,
}

/// A store, for records and for news.
pub(super) struct Stores {
    tier: Box<dyn AnyShared>,
    news: Box<dyn AnyNews>,
}

impl Plan {
    pub(super) fn new(mut store: impl SharedNews + Clone) -> Self {
        Self {
            store: Box::new(move |name| {
                store.bind(name);
                Stores { tier: Box::new(store.clone()), news: Box::new(store) }
            }),
        }
    }
}

pub(super) struct Fleet {
    tier: Arc<Tier<Page>>,
    news: Box<dyn AnyNews>,
    /// This server among those who announce.
    id: u64,
    /// How long what is here is served after the last news.
    bound: Duration,
    /// Until when that is.
    trusted: AtomicU64,
    place: AtomicU64,
    replica: RwLock<Replica>,
    owed: Owed,
    /// Ends the pause between two questions for news.
    wake: Notify,
    /// How often it has asked for news, successfully or not.
    asked: watch::Sender<u64>,
    follows: AtomicBool,
    metrics: NewsMetrics,
}

impl Fleet {
    pub(super) fn new(
        name: &str,
        plan: Plan,
        bound: Duration,
        settings: Settings,
    ) -> Arc<Self> {
        let Stores { tier, news } = (plan.store)(name);
        Arc::new(Self {
            owed: Owed::new(settings.owed),
            tier: Tier::new(name, tier, Box::new(Pages), settings),
            news,
            // Two that were the same would not hear each other.
            id: RandomState::new().hash_one(name),
            bound,
            trusted: AtomicU64::new(0),
            place: AtomicU64::new(0),
            replica: RwLock::new(Replica::new()),
            wake: Notify::new(),
            asked: watch::Sender::new(0),
            follows: AtomicBool::new(false),
            metrics: NewsMetrics::new(name),
        })
    }

    /// Until when what is here may be served unasked. To be read before it is looked at.
    #[inline]
    pub(super) fn trusted_until(&self) -> Tick {
        if cfg!(broken = "http_trust") {
            return Tick::MAX;
        }
        self.trusted.load(Ordering::Acquire)
    }

    #[inline]
    pub(super) fn place(&self) -> Place {
        self.place.load(Ordering::Acquire)
    }

    pub(super) fn bound(&self) -> Duration {
        self.bound
    }

    /// Counts a response that was not served for lack of news.
    pub(super) fn count_unsure(&self) {
        self.metrics.unsure();
    }

    /// Whether what servers share may be asked for: it is known what was purged, and so do
    /// the others.
    fn is_usable(&self, now: Tick) -> bool {
        now <= self.trusted_until() && (self.owed.is_empty() || cfg!(broken = "http_owed"))
    }

    fn replica(&self) -> RwLockReadGuard<'_, Replica> {
        self.replica.read().unwrap_or_else(PoisonError::into_inner)
    }

    fn replica_mut(&self) -> RwLockWriteGuard<'_, Replica> {
        self.replica.write().unwrap_or_else(PoisonError::into_inner)
    }
}

impl fmt::Debug for Fleet {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Fleet").field("bound", &self.bound).finish_non_exhaustive()
    }
}
