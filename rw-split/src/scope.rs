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
/// Of what was seen there is a token that expires before long.
const EXPIRES: u8 = 8;
/// Somebody has worked in it, since the request came.
const USED: u8 = 16;

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
    /// The same session on clusters that have a name: positions of one say nothing of
    /// another.
    parts: Mutex<Vec<(Arc<str>, ConsistencyScope)>>,
}

/// What an answer has to carry of one cluster.
#[derive(Clone, Debug)]
pub(crate) struct Left {
    pub(crate) floors: Floors,
    pub(crate) wrote: bool,
    /// A read has changed what the session has seen, or its token expires.
    pub(crate) seen: bool,
}

impl ConsistencyScope {
    /// A session that continues `token`.
    pub fn new(token: ConsistencyToken) -> Self {
        Self::with(token, None)
    }

    pub(crate) fn with(token: ConsistencyToken, level: Option<Level>) -> Self {
        let scope = Self::part(token.floors, level, 0);
        let part = |(name, floors)| (name, Self::part(floors, level, 0));
        *scope.parts() = token.others.into_iter().map(part).collect();
        scope
    }

    fn part(floors: Floors, level: Option<Level>, flags: u8) -> Self {
        let (floors, flags) = (Mutex::new(floors), AtomicU8::new(flags));
        Self { inner: Arc::new(Inner { floors, flags, level, ..Inner::default() }) }
    }

    /// A session that continues `token`, and reads at `level` whatever the
    /// router's is.
    pub fn at_level(token: ConsistencyToken, level: Level) -> Self {
        Self::with(token, Some(level))
    }

    /// The same session, as far as it is about `cluster`.
    pub(crate) fn on(&self, cluster: &Arc<str>) -> Self {
        if cluster.is_empty() || cfg!(broken = "one_floor") {
            return self.clone();
        }
        let mut parts = self.parts();
        if let Some((_, part)) = parts.iter().find(|(name, _)| name == cluster) {
            part.inner.flags.fetch_or(USED, Ordering::AcqRel);
            return part.clone();
        }
        let sealed = self.inner.flags.load(Ordering::Acquire) & SEALED;
        let part = Self::part(Floors::default(), self.inner.level, sealed | USED);
        parts.push((Arc::clone(cluster), part.clone()));
        part
    }

    fn parts(&self) -> MutexGuard<'_, Vec<(Arc<str>, Self)>> {
        self.inner.parts.lock().unwrap_or_else(PoisonError::into_inner)
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
        let floors = self.floors().clone();
        let parts = self.parts();
        let others = parts.iter().map(|(name, part)| (Arc::clone(name), part.floors().clone()));
        ConsistencyToken { floors, others: others.collect() }
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

    /// What was seen on `cluster` is to be carried on soon, even if nothing changes.
    pub(crate) fn expires(&self, cluster: &Arc<str>) {
        let part = self.on(cluster);
        // Only who goes on working there has it carried on.
        let used = if cluster.is_empty() { USED } else { 0 };
        part.inner.flags.store(EXPIRES | used, Ordering::Release);
    }

    /// The head of the answer is made.
    pub(crate) fn seal(&self) -> Left {
        let flags = self.inner.flags.fetch_or(SEALED, Ordering::AcqRel);
        let renew = flags & (EXPIRES | USED) == EXPIRES | USED;
        Left {
            floors: self.floors().clone(),
            wrote: flags & WROTE != 0,
            seen: flags & SEEN != 0 || renew,
        }
    }

    /// [`seal`](Self::seal), of the clusters that have a name.
    pub(crate) fn seal_others(&self) -> Vec<(Arc<str>, Left)> {
        let parts = self.parts();
        parts.iter().map(|(name, part)| (Arc::clone(name), part.seal())).collect()
    }
}

pub(crate) type Scoped<F> = tokio::task::futures::TaskLocalFuture<ConsistencyScope, F>;
