use std::collections::{HashMap, HashSet};
use std::fmt;
use std::sync::atomic::{AtomicI64, AtomicUsize, Ordering};
use std::sync::{Arc, PoisonError, RwLock};
use std::time::Duration;

use tokio::sync::watch;
use tokio::time::Instant;

use super::ids::{Id, Ids, id};
use crate::store::Revocation;

/// Past this age of the feed tokens are not accepted, by default and at most.
pub(crate) const TOO_OLD: Duration = Duration::from_secs(60);
const SHARDS: usize = 16;
const NEVER: i64 = i64::MIN;

/// Says that tokens are to be accepted although revocations may be unknown.
///
/// Given to [`accept_stale`](crate::IssuerBuilder::accept_stale), it turns the
/// 503 off that protects while the feed is cut: for as long as that lasts, a
/// revoked access token is good until it expires.
#[derive(Clone, Copy, Debug)]
pub struct AcceptStale {
    _private: (),
}

impl AcceptStale {
    /// To be written out where it is wanted.
    pub fn revoked_tokens_are_accepted_while_the_feed_is_down() -> Self {
        Self { _private: () }
    }
}

/// What is revoked, as far as this process knows. Clones share it.
#[derive(Clone)]
pub struct Revocations {
    maps: Arc<Maps>,
}

struct Maps {
    /// Tokens and sessions, until when they would be valid, in seconds.
    ids: [RwLock<HashMap<Id, u32>>; SHARDS],
    /// Users, the least epoch that is good, until when it matters.
    users: RwLock<HashMap<Box<str>, (u64, u32)>>,
    keys: RwLock<HashSet<Box<str>>>,
    /// So that nobody takes a lock where there is nothing to find.
    counts: [AtomicUsize; 3],
    origin: Instant,
    /// Milliseconds since `origin`, below zero for before, up to which all is known.
    known_until: AtomicI64,
    /// In milliseconds; nothing where stale is accepted.
    refuse_after: Option<i64>,
    followed: bool,
    version: watch::Sender<u64>,
}

const IDS: usize = 0;
const USERS: usize = 1;
const KEYS: usize = 2;

impl Revocations {
    pub(crate) fn new(accept_stale: Option<AcceptStale>, limit: Duration) -> Self {
        let limit = limit.min(TOO_OLD).as_millis() as i64;
        Self::with(accept_stale.is_none().then_some(limit), true)
    }

    /// With nothing in it and no feed, to measure what entries cost.
    #[cfg(feature = "test-util")]
    pub fn detached() -> Self {
        Self::none()
    }

    /// Enters one revocation, as the feed does.
    #[cfg(feature = "test-util")]
    pub fn insert(&self, entry: &Revocation) {
        self.apply([entry]);
    }

    /// Nothing is followed, so nothing is ever stale.
    pub(crate) fn none() -> Self {
        Self::with(None, false)
    }

    fn with(refuse_after: Option<i64>, followed: bool) -> Self {
        Self {
            maps: Arc::new(Maps {
                ids: std::array::from_fn(|_| RwLock::default()),
                users: RwLock::default(),
                keys: RwLock::default(),
                counts: Default::default(),
                origin: Instant::now(),
                known_until: AtomicI64::new(NEVER),
                refuse_after,
                followed,
                version: watch::Sender::new(0),
            }),
        }
    }

    /// Entries for tokens, sessions, users and keys.
    pub fn len(&self) -> usize {
        self.maps.counts.iter().map(|count| count.load(Ordering::Relaxed)).sum()
    }

    /// Whether nothing is revoked.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// How long ago the last heartbeat was written that has arrived; nothing
    /// before the first.
    pub fn staleness(&self) -> Option<Duration> {
        let known = self.maps.known_until.load(Ordering::Acquire);
        (known != NEVER)
            .then(|| Duration::from_millis(self.now().saturating_sub(known).unsigned_abs()))
    }

    #[inline]
    pub(crate) fn is_stale(&self) -> bool {
        let Some(limit) = self.maps.refuse_after else { return false };
        if cfg!(broken = "no_staleness") {
            return false;
        }
        let known = self.maps.known_until.load(Ordering::Acquire);
        known == NEVER || self.now() > known + limit
    }

    #[inline]
    pub(crate) fn is_revoked(&self, ids: &Ids, user: Option<(&str, u64)>) -> bool {
        let maps = &*self.maps;
        if maps.counts[IDS].load(Ordering::Acquire) > 0 {
            let found = |id: Option<Id>| {
                id.is_some_and(|id| read(&maps.ids[shard(&id)]).contains_key(&id))
            };
            if found(ids.token) || found(ids.session) {
                return true;
            }
        }
        let Some((user, epoch)) = user else { return false };
        maps.counts[USERS].load(Ordering::Acquire) > 0
            && read(&maps.users).get(user).is_some_and(|(least, _)| epoch < *least)
    }

    #[inline]
    pub(crate) fn is_dead_key(&self, kid: &str) -> bool {
        self.maps.counts[KEYS].load(Ordering::Acquire) > 0
            && read(&self.maps.keys).contains(kid)
    }

    /// Enters what was revoked. It only ever adds.
    pub(crate) fn apply<'a>(&self, entries: impl IntoIterator<Item = &'a Revocation>) {
        let mut any = false;
        for entry in entries {
            any |= self.enter(entry);
        }
        if any {
            self.maps.version.send_modify(|version| *version += 1);
        }
    }

    fn enter(&self, entry: &Revocation) -> bool {
        let maps = &*self.maps;
        match entry {
            Revocation::Session { session, until_ms } => {
                self.enter_id(*session.bytes(), *until_ms)
            }
            Revocation::Token { token_id, until_ms } => self.enter_id(id(token_id), *until_ms),
            Revocation::User { user, epoch, until_ms } => {
                let mut users = write(&maps.users);
                let entry = users.entry(user.as_str().into()).or_insert((0, 0));
                let before = *entry;
                *entry = (entry.0.max(*epoch), entry.1.max(seconds(*until_ms)));
                let changed = *entry != before;
                maps.counts[USERS].store(users.len(), Ordering::Release);
                changed
            }
            Revocation::Key { kid } => {
                let mut keys = write(&maps.keys);
                let added = keys.insert(kid.as_str().into());
                maps.counts[KEYS].store(keys.len(), Ordering::Release);
                added
            }
        }
    }

    fn enter_id(&self, id: Id, until_ms: u64) -> bool {
        let until = seconds(until_ms);
        let mut map = write(&self.maps.ids[shard(&id)]);
        match map.insert(id, until) {
            None => {
                self.maps.counts[IDS].fetch_add(1, Ordering::Release);
                true
            }
            Some(before) => {
                if before > until {
                    map.insert(id, before);
                }
                false
            }
        }
    }

    /// Forgets what has expired at `now_ms` by itself. Killed keys stay.
    pub(crate) fn forget_expired(&self, now_ms: u64) {
        let now = seconds(now_ms);
        for shard in &self.maps.ids {
            let mut map = write(shard);
            let before = map.len();
            map.retain(|_, until| *until >= now);
            self.maps.counts[IDS].fetch_sub(before - map.len(), Ordering::AcqRel);
            if map.capacity() > 64 && map.len() < map.capacity() / 4 {
                map.shrink_to_fit();
            }
        }
        let mut users = write(&self.maps.users);
        users.retain(|_, (_, until)| *until >= now);
        self.maps.counts[USERS].store(users.len(), Ordering::Release);
    }

    /// All that was revoked until `age` before `asked` is entered.
    pub(crate) fn known_until(&self, asked: Instant, age: Duration) {
        let at = asked.saturating_duration_since(self.maps.origin);
        let age = i64::try_from(age.as_millis()).unwrap_or(i64::MAX / 2);
        let known = (at.as_millis() as i64).saturating_sub(age).max(NEVER + 1);
        self.maps.known_until.fetch_max(known, Ordering::AcqRel);
    }

    pub(crate) fn changes(&self) -> watch::Receiver<u64> {
        self.maps.version.subscribe()
    }

    fn now(&self) -> i64 {
        self.maps.origin.elapsed().as_millis() as i64
    }
}

#[inline]
fn shard(id: &Id) -> usize {
    // Ids are random.
    usize::from(id[0]) % SHARDS
}

/// Rounded up; past 2106 it stays there.
fn seconds(ms: u64) -> u32 {
    u32::try_from(ms.div_ceil(1_000)).unwrap_or(u32::MAX)
}

fn read<T>(lock: &RwLock<T>) -> std::sync::RwLockReadGuard<'_, T> {
    lock.read().unwrap_or_else(PoisonError::into_inner)
}

fn write<T>(lock: &RwLock<T>) -> std::sync::RwLockWriteGuard<'_, T> {
    lock.write().unwrap_or_else(PoisonError::into_inner)
}

impl fmt::Debug for Revocations {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Revocations")
            .field("entries", &self.len())
            .field("followed", &self.maps.followed)
            .field("staleness", &self.staleness())
            .finish()
    }
}
