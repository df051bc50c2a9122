use std::collections::{HashMap, HashSet, VecDeque};
use std::fmt;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use tokio::sync::Notify;

use super::{
    Created, Cursor, Described, Feed, NewSession, Revocation, Revoke, Rotate, Rotation,
    Session, SessionId, SessionRef, Store, TokenHash,
};
use crate::clock::{Clock, WallClock};
use crate::error::BoxError;
use crate::refresh::policy::{self, Row, Verdict};

/// A store in this process: for one process, and for tests. Clones share it.
///
/// Everything is gone with the process. Two processes with a store each know
/// nothing of each other's sessions and revocations.
#[derive(Clone)]
pub struct MemoryStore {
    shared: Arc<Shared>,
}

struct Shared {
    state: Mutex<State>,
    changed: Notify,
    clock: Clock,
}

#[derive(Default)]
struct State {
    sessions: HashMap<SessionId, Kept>,
    by_user: HashMap<String, HashSet<SessionId>>,
    epochs: HashMap<String, u64>,
    killed: Vec<String>,
    feed: VecDeque<(u64, u64, Revocation)>,
    next: u64,
    swept_ms: u64,
}

struct Kept {
    new: NewSession,
    epoch: u64,
    revoked: bool,
    generation: u32,
    current: TokenHash,
    previous: Option<TokenHash>,
    nonce: [u8; 32],
    key_id: [u8; 4],
    retry: Option<TokenHash>,
    rotated_ms: Option<u64>,
    replays: u32,
    created_ms: u64,
    absolute_ms: u64,
    idle_ms: u64,
}

impl MemoryStore {
    /// An empty store on the system's clock.
    #[must_use]
    pub fn new() -> Self {
        Self::with(Clock::system())
    }

    /// An empty store on this clock.
    pub fn with_clock(clock: impl WallClock) -> Self {
        Self::with(Clock::new(clock))
    }

    fn with(clock: Clock) -> Self {
        let shared = Shared { state: Mutex::default(), changed: Notify::new(), clock };
        Self { shared: Arc::new(shared) }
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.shared.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// One step on one reading of the clock.
    fn step<T>(&self, step: impl FnOnce(&mut State, u64) -> T) -> T {
        let mut state = self.state();
        // Within the lock, so that the steps' times are in their order.
        let now = self.shared.clock.now_ms();
        let before = state.next;
        let answer = step(&mut state, now);
        let published = state.next != before;
        drop(state);
        if published {
            self.shared.changed.notify_waiters();
        }
        answer
    }
}

impl Default for MemoryStore {
    fn default() -> Self {
        Self::new()
    }
}

impl State {
    fn epoch(&self, user: &str) -> u64 {
        self.epochs.get(user).copied().unwrap_or(0)
    }

    fn publish(&mut self, now: u64, entry: Revocation) -> Revocation {
        self.feed.push_back((self.next, now, entry.clone()));
        self.next += 1;
        entry
    }

    fn revoke_session(&mut self, id: SessionId, now: u64, publish: Duration) -> Revocation {
        if let Some(kept) = self.sessions.get_mut(&id) {
            kept.revoked = true;
        }
        self.publish(now, Revocation::Session { session: id, until_ms: now + millis(publish) })
    }

    fn sweep(&mut self, now: u64) {
        if now < self.swept_ms + 60_000 {
            return;
        }
        self.swept_ms = now;
        let (sessions, by_user) = (&mut self.sessions, &mut self.by_user);
        // A day longer, so that "expired" is what a late client hears.
        sessions.retain(|id, kept| {
            let stays = now < kept.absolute_ms + 86_400_000;
            if !stays && let Some(ids) = by_user.get_mut(&kept.new.user) {
                ids.remove(id);
            }
            stays
        });
        by_user.retain(|_, ids| !ids.is_empty());
        let expired = |entry: &Revocation| match entry {
            Revocation::Session { until_ms, .. }
            | Revocation::Token { until_ms, .. }
            | Revocation::User { until_ms, .. } => *until_ms < now,
            Revocation::Key { .. } => true,
        };
        while self.feed.front().is_some_and(|(_, _, entry)| expired(entry)) {
            self.feed.pop_front();
        }
    }
}

impl Kept {
    fn row(&self, epoch: u64) -> Row {
        Row {
            active: !self.revoked && self.epoch >= epoch,
            generation: self.generation,
            current: self.current,
            previous: self.previous,
            retry: self.retry,
            rotated_ms: self.rotated_ms,
            replays: self.replays,
            absolute_ms: self.absolute_ms,
            idle_ms: self.idle_ms,
        }
    }

    fn created(&self, now_ms: u64) -> Created {
        Created { now_ms, expires_ms: self.absolute_ms, user_epoch: self.epoch }
    }

    fn rotate(&mut self, request: &Rotate, now: u64) {
        self.previous = Some(self.current);
        self.current = request.next.hash;
        self.generation += 1;
        self.nonce = request.next.nonce;
        self.key_id = request.next.key_id;
        self.retry = request.retry;
        self.rotated_ms = Some(now);
        self.replays = 0;
        self.idle_ms = (now + millis(request.idle)).min(self.absolute_ms);
    }
}

impl Store for MemoryStore {
    async fn create(&self, new: &NewSession) -> Result<Created, BoxError> {
        self.step(|state, now| {
            state.sweep(now);
            if state.sessions.contains_key(&new.session.id) {
                return Err("there is a session of this id".into());
            }
            let absolute_ms = now + millis(new.absolute);
            let kept = Kept {
                new: new.clone(),
                epoch: state.epoch(&new.user),
                revoked: false,
                generation: 0,
                current: new.hash,
                previous: None,
                nonce: [0; 32],
                key_id: [0; 4],
                retry: None,
                rotated_ms: None,
                replays: 0,
                created_ms: now,
                absolute_ms,
                idle_ms: (now + millis(new.idle)).min(absolute_ms),
            };
            let created = kept.created(now);
            state.by_user.entry(new.user.clone()).or_default().insert(new.session.id);
            state.sessions.insert(new.session.id, kept);
            Ok(created)
        })
    }

    async fn describe(&self, session: SessionRef) -> Result<Option<Described>, BoxError> {
        let state = self.state();
        Ok(state.sessions.get(&session.id).map(|kept| Described {
            user: kept.new.user.clone(),
            client: kept.new.client.clone(),
            scope: kept.new.scope.clone(),
            grant: kept.new.grant.clone(),
            device: kept.new.device.clone(),
        }))
    }

    async fn rotate(&self, request: &Rotate) -> Result<Rotation, BoxError> {
        Ok(self.step(|state, now| {
            let id = request.session.id;
            let Some(kept) = state.sessions.get(&id) else { return Rotation::Unknown };
            let row = kept.row(state.epoch(&kept.new.user));
            let verdict = policy::judge(&row, request, now);
            let Some(kept) = state.sessions.get_mut(&id) else { return Rotation::Unknown };
            match verdict {
                Verdict::Rotate => {
                    kept.rotate(request, now);
                    Rotation::Rotated(kept.created(now))
                }
                Verdict::Keep => Rotation::Kept(kept.created(now)),
                Verdict::Replay => {
                    kept.replays += 1;
                    let (nonce, key_id) = (kept.nonce, kept.key_id);
                    Rotation::Replayed { at: kept.created(now), nonce, key_id }
                }
                Verdict::Revoked => Rotation::Revoked,
                Verdict::Expired => Rotation::Expired,
                Verdict::TooManyReplays => Rotation::TooManyReplays,
                Verdict::RetryKeyReused => Rotation::RetryKeyReused,
                Verdict::Ahead => Rotation::Ahead,
                Verdict::Forked => {
                    state.revoke_session(id, now, request.publish_for);
                    Rotation::Forked
                }
                Verdict::Reuse => {
                    state.revoke_session(id, now, request.publish_for);
                    Rotation::Reuse
                }
            }
        }))
    }

    async fn revoke(
        &self,
        scope: &Revoke,
        publish_for: Duration,
    ) -> Result<Vec<Revocation>, BoxError> {
        Ok(self.step(|state, now| match scope {
            Revoke::Session(session) => {
                vec![state.revoke_session(session.id, now, publish_for)]
            }
            Revoke::User(user) => {
                let epoch = state.epochs.entry(user.clone()).or_insert(0);
                *epoch += 1;
                let epoch = *epoch;
                let until_ms = now + millis(publish_for);
                vec![
                    state
                        .publish(now, Revocation::User { user: user.clone(), epoch, until_ms }),
                ]
            }
            Revoke::Others { user, keep } => {
                let ids: Vec<_> =
                    state.by_user.get(user).into_iter().flatten().copied().collect();
                let others = ids.into_iter().filter(|id| id != keep);
                others.map(|id| state.revoke_session(id, now, publish_for)).collect()
            }
            Revoke::Token { token_id } => {
                let (token_id, until_ms) = (token_id.clone(), now + millis(publish_for));
                vec![state.publish(now, Revocation::Token { token_id, until_ms })]
            }
            Revoke::Key { kid } => {
                if !state.killed.contains(kid) {
                    state.killed.push(kid.clone());
                }
                vec![state.publish(now, Revocation::Key { kid: kid.clone() })]
            }
        }))
    }

    async fn sessions(&self, user: &str) -> Result<Vec<Session>, BoxError> {
        Ok(self.step(|state, now| {
            let epoch = state.epoch(user);
            let ids = state.by_user.get(user).into_iter().flatten();
            let kept = ids.filter_map(|id| Some((id, state.sessions.get(id)?)));
            let live = kept.filter(|(_, kept)| {
                kept.row(epoch).active && now < kept.absolute_ms.min(kept.idle_ms)
            });
            live.map(|(id, kept)| Session {
                id: *id,
                client: kept.new.client.clone(),
                device: kept.new.device.clone(),
                created_ms: kept.created_ms,
                last_seen_ms: kept.rotated_ms.unwrap_or(kept.created_ms),
                expires_ms: kept.absolute_ms.min(kept.idle_ms),
            })
            .collect()
        }))
    }

    async fn revocations(
        &self,
        since: Option<&Cursor>,
        window: Duration,
        wait: Duration,
    ) -> Result<Feed, BoxError> {
        let from = since.map(|cursor| cursor.as_str().parse::<u64>()).transpose()?;
        let changed = self.shared.changed.notified();
        let mut changed = std::pin::pin!(changed);
        // Before the look, so that nothing falls between it and the wait.
        changed.as_mut().enable();
        if from.is_some_and(|from| self.state().next == from) {
            let _ = tokio::time::timeout(wait, changed).await;
        }
        Ok(self.step(|state, now| {
            let oldest = now.saturating_sub(millis(window));
            let wanted = state.feed.iter().filter(|(seq, at, _)| match from {
                Some(from) => *seq >= from,
                None => *at >= oldest,
            });
            let mut entries: Vec<_> = wanted.map(|(_, _, entry)| entry.clone()).collect();
            if from.is_none() {
                let killed = state.killed.iter();
                entries.extend(killed.map(|kid| Revocation::Key { kid: kid.clone() }));
            }
            let cursor = Cursor::new(state.next.to_string());
            // In one process the feed cannot lag behind itself.
            Feed { entries, cursor, now_ms: now, heartbeat_ms: now }
        }))
    }

    async fn heartbeat(&self, _: Duration) -> Result<(), BoxError> {
        Ok(())
    }
}

fn millis(duration: Duration) -> u64 {
    u64::try_from(duration.as_millis()).unwrap_or(u64::MAX / 4)
}

impl fmt::Debug for MemoryStore {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("MemoryStore")
    }
}
