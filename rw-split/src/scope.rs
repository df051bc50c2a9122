//! A session's floor, where the code that runs for it finds it.

use std::future::Future;
use std::sync::atomic::{AtomicU8, AtomicU32, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use crate::clock::Millis;
use crate::level::Level;
use crate::lsn::{Position, later};
use crate::token::{ConsistencyToken, Floors, Sticky};

tokio::task_local! {
    static SCOPE: ConsistencyScope;
}

const WROTE: u8 = 1;
const SEEN: u8 = 2;
const SEALED: u8 = 4;

/// The session that a request belongs to. [`ConsistencyLayer`] makes one for
/// each request, and puts it into the request's extensions as well.
///
/// Tasks that are spawned do not inherit it: pass [`RwSplit::token`] on, or
/// [`enter`](Self::enter) it there.
///
/// [`ConsistencyLayer`]: crate::ConsistencyLayer
/// [`RwSplit::token`]: crate::RwSplit::token
#[derive(Clone, Debug, Default)]
pub struct ConsistencyScope {
    inner: Arc<Inner>,
}

#[derive(Debug, Default)]
struct Inner {
    floors: Mutex<Floors>,
    flags: AtomicU8,
    /// Tokens that came along and were none; until somebody counts them.
    refused: AtomicU32,
    level: Option<Level>,
}

impl ConsistencyScope {
    /// A session that continues `token`.
    pub fn new(token: ConsistencyToken) -> Self {
        Self::with(token.floors, None)
    }

    pub(crate) fn with(floors: Floors, level: Option<Level>) -> Self {
        let inner = Inner { floors: Mutex::new(floors), level, ..Inner::default() };
        Self { inner: Arc::new(inner) }
    }

    /// A session that continues `token`, and reads at `level` whatever the
    /// router's is.
    pub fn at_level(token: ConsistencyToken, level: Level) -> Self {
        Self::with(token.floors, Some(level))
    }

    /// The session that this code runs for.
    pub fn current() -> Option<Self> {
        SCOPE.try_with(Self::clone).ok()
    }

    /// Runs `work` for this session.
    ///
    /// # Cancel safety
    ///
    /// As far as `work` is.
    pub async fn enter<F: Future>(&self, work: F) -> F::Output {
        self.scoped(work).await
    }

    /// Calls `work` in this session.
    pub(crate) fn within<T>(&self, work: impl FnOnce() -> T) -> T {
        SCOPE.sync_scope(self.clone(), work)
    }

    pub(crate) fn scoped<F: Future>(&self, work: F) -> Scoped<F> {
        SCOPE.scope(self.clone(), work)
    }

    /// What the session has written and seen by now.
    pub fn token(&self) -> ConsistencyToken {
        ConsistencyToken { floors: self.floors().clone() }
    }

    pub(crate) fn level(&self) -> Option<Level> {
        self.inner.level
    }

    pub(crate) fn floors(&self) -> MutexGuard<'_, Floors> {
        self.inner.floors.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// A write is committed at `position`. False if the answer is on its way already.
    pub(crate) fn wrote(&self, position: Position) -> bool {
        let mut floors = self.floors();
        floors.write = later(floors.write, Some(position));
        drop(floors);
        self.mark(WROTE)
    }

    /// A write's position, or whether it happened, is not known.
    pub(crate) fn pin(&self, until: Millis) -> bool {
        let mut floors = self.floors();
        floors.pin_until = floors.pin_until.max(until);
        drop(floors);
        self.mark(WROTE)
    }

    /// The next reads are there; what was seen elsewhere is at or before `read`.
    pub(crate) fn moved_to(&self, sticky: Option<Sticky>, read: Option<Position>) {
        let mut floors = self.floors();
        if floors.sticky == sticky && read.is_none() {
            return;
        }
        floors.sticky = sticky;
        floors.read = later(floors.read, read);
        drop(floors);
        self.mark(SEEN);
    }

    /// Something was seen elsewhere than on the session's replica.
    pub(crate) fn saw(&self, position: Position) {
        let mut floors = self.floors();
        floors.read = later(floors.read, Some(position));
        drop(floors);
        self.mark(SEEN);
    }

    fn mark(&self, flag: u8) -> bool {
        self.inner.flags.fetch_or(flag, Ordering::AcqRel) & SEALED == 0
    }

    pub(crate) fn refuse(&self, tokens: u32) {
        self.inner.refused.fetch_add(tokens, Ordering::Relaxed);
    }

    pub(crate) fn take_refused(&self) -> u32 {
        match self.inner.refused.load(Ordering::Relaxed) {
            0 => 0,
            _ => self.inner.refused.swap(0, Ordering::Relaxed),
        }
    }

    /// The head of the answer is made: whether there was a write, and a read that
    /// changed what the session has seen.
    pub(crate) fn seal(&self) -> (bool, bool) {
        let flags = self.inner.flags.fetch_or(SEALED, Ordering::AcqRel);
        (flags & WROTE != 0, flags & SEEN != 0)
    }
}

pub(crate) type Scoped<F> = tokio::task::futures::TaskLocalFuture<ConsistencyScope, F>;
