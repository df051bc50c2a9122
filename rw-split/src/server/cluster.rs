//! What is known of all servers together.

use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, RwLock};
use std::time::Duration;

use tokio::sync::Notify;
use tokio::time::Instant;
use tracing::{info, warn};

use super::Server;
use crate::lsn::{Lsn, Position};
use crate::metrics::Metrics;
use crate::policy::Known;
use crate::policy::choose::Candidate;
use crate::policy::elect::{Elected, Observation, Role, elect, is_trusted};
use crate::policy::lag::LagClock;
use crate::token::Sticky;

/// A picture of the cluster; replaced as a whole when something is observed.
#[derive(Debug)]
pub(crate) struct View {
    pub(crate) elected: Option<Elected>,
    /// Whether the elected primary answers.
    pub(crate) primary_reachable: bool,
    /// By server.
    pub(crate) candidates: Box<[Candidate]>,
    system: u64,
    timeline: u32,
    since: Lsn,
    /// Grows with each write's capture, without a new picture.
    insert: Arc<AtomicU64>,
}

impl View {
    /// Nothing where no server has been seen yet.
    pub(crate) fn known(&self) -> Option<Known> {
        let Self { system, timeline, since, .. } = *self;
        let insert = Lsn(self.insert.load(Ordering::Acquire));
        (timeline > 0).then_some(Known { system, timeline, since, insert })
    }

    /// A write's position, or the primary's answer to a question.
    pub(crate) fn learn(&self, position: Position) {
        if (position.system, position.timeline) == (self.system, self.timeline) {
            self.insert.fetch_max(position.lsn.0, Ordering::AcqRel);
        }
    }
}

#[derive(Debug)]
pub(crate) struct Cluster {
    pub(crate) servers: Box<[Arc<Server>]>,
    pub(crate) metrics: Arc<Metrics>,
    view: RwLock<Arc<View>>,
    state: Mutex<State>,
    /// The primary has changed, or come back.
    pub(crate) changed: Notify,
}

#[derive(Debug)]
struct State {
    seen: Box<[Option<Observation>]>,
    reachable: Box<[bool]>,
    elected: Option<Elected>,
    since: Lsn,
    insert: Arc<AtomicU64>,
    clock: LagClock,
}

impl Cluster {
    pub(crate) fn new(servers: Box<[Arc<Server>]>, metrics: Arc<Metrics>) -> Self {
        let count = servers.len();
        let state = State {
            seen: vec![None; count].into(),
            reachable: vec![false; count].into(),
            elected: None,
            since: Lsn(0),
            insert: Arc::default(),
            clock: LagClock::default(),
        };
        let view = RwLock::new(Arc::new(state.view(&servers, Instant::now())));
        Self { servers, metrics, view, state: Mutex::new(state), changed: Notify::new() }
    }

    pub(crate) fn view(&self) -> Arc<View> {
        Arc::clone(&self.view.read().unwrap_or_else(PoisonError::into_inner))
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Takes in what a server has said about itself, or that it did not answer.
    pub(crate) fn observe(&self, index: usize, said: Option<Observation>, now: Instant) {
        let server = &self.servers[index];
        let mut state = self.state();
        let was_reachable = state.reachable[index];
        state.reachable[index] = said.is_some();
        let before = state.elected;
        if let Some(said) = said {
            let old = state.seen[index];
            // Behind a shared address another server may answer each time.
            let old = old.filter(|_| !server.shared);
            let new = old.map_or(said, |old| old.follow(said));
            if old.is_some_and(|old| (old.role, old.started) != (new.role, new.started)) {
                info!(server = %server.name, role = ?new.role, timeline = new.timeline,
                    "a server was restarted, promoted or demoted");
                server.pool.poison();
            }
            state.seen[index] = Some(new);
        } else if was_reachable {
            warn!(server = %server.name, "a server does not answer");
            server.pool.drain();
        }
        if state.elect() {
            let (was, is) = (before.map(|old| old.index), state.elected.map(|new| new.index));
            let name = |index: Option<usize>| index.map(|index| &*self.servers[index].name);
            info!(was = name(was), is = name(is), "the primary has changed");
            if let Some(was) = was {
                self.servers[was].pool.poison();
                self.metrics.failovers();
            }
        }
        if said.is_some() && !was_reachable {
            info!(server = %server.name, "a server answers");
        }
        let is_primary = state.elected.is_some_and(|elected| elected.index == index);
        state.note_insert(index, now);
        let view = state.view(&self.servers, now);
        self.report(index, &state, &view);
        *self.view.write().unwrap_or_else(PoisonError::into_inner) = Arc::new(view);
        let news = state.elected != before || (is_primary && said.is_some() && !was_reachable);
        // Behind the view, so that whoever sees it does not choose the server again.
        server.reachable.store(said.is_some(), Ordering::SeqCst);
        drop(state);
        if said.is_none() && was_reachable {
            server.pool.cut_reads();
            server.down.notify_waiters();
        }
        server.progress.notify_waiters();
        if news {
            self.changed.notify_waiters();
        }
    }

    /// The server that is called the primary has refused a write: it is none.
    pub(crate) fn demoted(&self, index: usize) {
        self.servers[index].pool.poison();
        for server in &self.servers {
            server.nudge.notify_one();
        }
    }

    fn report(&self, index: usize, state: &State, view: &View) {
        let lag_bytes = state.seen[index]
            .as_ref()
            .map_or(0, |seen| state.insert.load(Ordering::Relaxed).saturating_sub(seen.lsn.0));
        let standby = state.seen[index].is_some_and(|seen| seen.role == Role::Standby);
        let lag = if standby { view.candidates[index].lag } else { Duration::ZERO };
        self.metrics.lag(index, if standby { lag_bytes } else { 0 }, lag);
    }
}

impl State {
    /// Whether another server is the primary now, or a newer timeline is.
    fn elect(&mut self) -> bool {
        let reachable: Vec<_> = self
            .seen
            .iter()
            .zip(&self.reachable)
            .map(|(seen, reachable)| seen.filter(|_| *reachable))
            .collect();
        let next = elect(&reachable, self.elected);
        if next == self.elected {
            return false;
        }
        let lsn = next.and_then(|next| self.seen[next.index]).map_or(Lsn(0), |seen| seen.lsn);
        self.elected = next;
        self.since = lsn;
        self.insert = Arc::new(AtomicU64::new(lsn.0));
        self.clock.forget();
        true
    }

    fn note_insert(&mut self, index: usize, now: Instant) {
        let primary = self.elected.is_some_and(|elected| elected.index == index);
        if let Some(seen) =
            self.seen[index].filter(|seen| primary && seen.role == Role::Primary)
        {
            self.insert.fetch_max(seen.lsn.0, Ordering::AcqRel);
        }
        self.clock.saw(now, Lsn(self.insert.load(Ordering::Acquire)));
    }

    /// The history that standbys are measured against: the primary's, or before one
    /// was seen, the newest that a standby follows.
    fn history(&self) -> Option<Elected> {
        self.elected.or_else(|| {
            let standbys = self.seen.iter().flatten();
            let newest = standbys.max_by_key(|seen| seen.timeline)?;
            let Observation { system, timeline, .. } = *newest;
            Some(Elected { index: usize::MAX, system, timeline })
        })
    }

    fn view(&self, servers: &[Arc<Server>], now: Instant) -> View {
        let history = self.history();
        let candidates = servers.iter().enumerate().map(|(index, server)| {
            let seen = self.seen[index];
            let trusted =
                seen.zip(history).is_some_and(|(seen, history)| is_trusted(&seen, history));
            let started = seen.map_or(0, |seen| seen.started);
            let replayed = seen.map_or(Lsn(0), |seen| seen.lsn);
            Candidate {
                usable: trusted && self.reachable[index],
                identity: Sticky { server: server.id, started },
                replayed,
                lag: self.clock.lag(now, replayed),
            }
        });
        View {
            elected: self.elected,
            primary_reachable: self
                .elected
                .is_some_and(|elected| self.reachable[elected.index]),
            candidates: candidates.collect(),
            system: history.map_or(0, |history| history.system),
            timeline: history.map_or(0, |history| history.timeline),
            since: self.since,
            insert: Arc::clone(&self.insert),
        }
    }
}
