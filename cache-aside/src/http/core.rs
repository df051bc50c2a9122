//! What all services of one layer share: the engine that stores, the purges, the flights.

use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, SystemTime};

use http::{Extensions, HeaderMap, HeaderName, Uri};
use tokio::sync::{OwnedSemaphorePermit, Semaphore};

use super::conditional::if_range_holds;
use super::directives::RequestDirectives;
use super::entry::{Head, Place, Stored, Variants, Wall, after};
use super::fleet::{Event, Fleet};
use super::flights::Flights;
use super::lifetime::Heuristic;
use super::marks::{Mark, Marks, Moment};
use super::reuse::{Failure, Standing, Verdict, reuse, stands_in};
use super::status::Status;
use super::target::{Keys, Target};
use super::vary::{Keyed, Values};
use crate::clock::Tick;
use crate::engine::Engine;
use crate::epoch::Stamp;
use crate::loaded::Loaded;
use crate::metrics::HttpMetrics;
use crate::shared::SharedError;

/// For how long nobody waits for others where the last answer was for one only.
const UNSHARED: Duration = Duration::from_secs(60);
const UNSHARED_SLOTS: usize = 1 << 12;
const WRITERS: usize = 64;

pub(super) type OriginalUri = dyn Fn(&Extensions) -> Option<Uri> + Send + Sync;

pub(super) struct Settings {
    pub(super) name: Box<str>,
    pub(super) keys: Keys,
    pub(super) original_uri: Option<Arc<OriginalUri>>,
    pub(super) keyed: Keyed,
    pub(super) targets: Vec<HeaderName>,
    pub(super) honours_requests: bool,
    pub(super) heuristic: Option<Heuristic>,
    pub(super) entry_limit: u64,
    pub(super) variants: usize,
    /// Bytes of all that is stored under one URI.
    pub(super) uri_limit: u64,
    pub(super) disconnected: Duration,
    pub(super) keep_stale: Duration,
    pub(super) patience: Duration,
    /// How many requests to the origin go on that nobody waits for.
    pub(super) unattended: usize,
    pub(super) shows_key: bool,
    pub(super) stores_cookies: bool,
}

pub(super) struct Core {
    pub(super) settings: Settings,
    pub(super) engine: Arc<Engine<Arc<str>, Variants>>,
    pub(super) wall: Wall,
    pub(super) purged: Marks,
    pub(super) outdated: Marks,
    pub(super) flights: Arc<Flights>,
    pub(super) metrics: HttpMetrics,
    unattended: Arc<Semaphore>,
    /// The other servers, where there are any.
    pub(super) fleet: Option<Arc<Fleet>>,
    unshared: Box<[AtomicU64]>,
    writers: [Mutex<()>; WRITERS],
}

/// How things stood before a request was sent: what it brings is from after that.
#[derive(Clone, Copy, Debug)]
pub(super) struct Before {
    pub(super) stamp: Stamp,
    pub(super) since: Moment,
    pub(super) fresh_since: Moment,
    /// The moment by what all servers count.
    pub(super) shared: Place,
}

/// What there is for a request.
#[derive(Debug)]
pub(super) enum Found {
    Nothing,
    /// A part, and not the one that is asked for.
    Part,
    /// For other requests. The values that tell this one apart from them.
    Others(Values),
    This(Stored, Standing),
}

impl Core {
    pub(super) fn new(
        settings: Settings,
        engine: Arc<Engine<Arc<str>, Variants>>,
        wall: Wall,
        fleet: Option<Arc<Fleet>>,
    ) -> Self {
        Self {
            metrics: HttpMetrics::new(&settings.name),
            unattended: Arc::new(Semaphore::new(settings.unattended)),
            fleet,
            settings,
            engine,
            wall,
            purged: Marks::new(),
            outdated: Marks::new(),
            flights: Arc::new(Flights::new()),
            unshared: (0..UNSHARED_SLOTS).map(|_| AtomicU64::new(0)).collect(),
            writers: [const { Mutex::new(()) }; WRITERS],
        }
    }

    pub(super) fn name(&self) -> &str {
        &self.settings.name
    }

    pub(super) fn status<'k>(&self, target: &'k Target) -> Status<'k> {
        let key = self.settings.shows_key.then_some(&*target.key);
        Status { key, ..Status::default() }
    }

    pub(super) fn now(&self) -> Tick {
        self.engine.clock.now()
    }

    pub(super) fn time(&self) -> SystemTime {
        self.wall.at(self.now())
    }

    pub(super) fn hash(&self, target: &Target) -> u64 {
        self.engine.hash(&target.key)
    }

    pub(super) fn asked(&self, request: &HeaderMap) -> RequestDirectives {
        if self.settings.honours_requests {
            RequestDirectives::of(request)
        } else {
            RequestDirectives::default()
        }
    }

    pub(super) fn before(&self, hash: u64) -> Before {
        Before {
            stamp: self.engine.epochs.stamp(hash),
            since: self.purged.now(),
            fresh_since: self.outdated.now(),
            shared: self.fleet.as_ref().map_or(0, |fleet| fleet.place()),
        }
    }

    /// The newest of what is stored for a request.
    pub(super) fn find(
        &self,
        target: &Target,
        hash: u64,
        request: &HeaderMap,
    ) -> (Found, Tick) {
        // First: what is heard of later is seen below.
        let trusted = self.fleet.as_ref().map(|fleet| fleet.trusted_until());
        let (variants, now) = self.engine.kept(&target.key, hash);
        let Some(variants) = variants else { return (Found::Nothing, now) };
        let mut found = self.chosen(&variants, now, request);
        if trusted.is_some_and(|until| now > until)
            && let Found::This(_, standing) = &mut found
        {
            standing.unsure = true;
        }
        (found, now)
    }

    /// The newest of several for a request.
    pub(super) fn chosen(&self, variants: &Variants, now: Tick, request: &HeaderMap) -> Found {
        let (mut other, mut default, mut partial) = (None, None, false);
        for stored in variants.list.iter().rev() {
            let Some(standing) = self.standing(&stored.head, now) else { continue };
            if !self.is_for(&stored.head, request) {
                partial |= stored.head.part.is_some();
                other = other.or(Some(&stored.head));
            } else if stored.head.selection.varies() {
                return Found::This(stored.clone(), standing);
            } else {
                // One that says what it was chosen by comes first (section 4.1).
                default = default.or(Some((stored, standing)));
            }
        }
        match (default, other) {
            (Some((stored, standing)), _) => Found::This(stored.clone(), standing),
            (None, Some(_)) if partial => Found::Part,
            (None, Some(other)) => Found::Others(self.values(other, request)),
            (None, None) => Found::Nothing,
        }
    }

    /// Whether what is here may have been purged elsewhere, for lack of news.
    pub(super) fn is_unsure(&self, now: Tick) -> bool {
        self.fleet.as_ref().is_some_and(|fleet| now > fleet.trusted_until())
    }

    /// Whether one who comes now may join what began then. Without news, only what is no older
    /// than news would be.
    pub(super) fn may_join(&self, began: Tick, now: Tick) -> bool {
        self.fleet
            .as_ref()
            .is_none_or(|fleet| now <= fleet.trusted_until().max(after(began, fleet.bound())))
    }

    /// Whether a response was chosen by what a request says, and has what it asks for.
    pub(super) fn is_for(&self, head: &Head, request: &HeaderMap) -> bool {
        let selected = head.selection.matches(request, self.settings.keyed.of(request));
        selected
            && head.part.is_none_or(|part| {
                part.has(request) && if_range_holds(request, &head.fields.to_map())
            })
    }

    /// What tells a request apart from others, going by a response.
    pub(super) fn values(&self, head: &Head, request: &HeaderMap) -> Values {
        head.selection.values(request, self.settings.keyed.names())
    }

    /// How it stands with a response; none if it was purged.
    pub(super) fn standing(&self, head: &Head, now: Tick) -> Option<Standing> {
        let holds = self.purged.hold(&head.marks, head.since) || cfg!(broken = "http_purged");
        holds.then(|| Standing {
            age: head.age(now),
            outdated: !self.outdated.hold(&head.marks, head.fresh_since),
            unsure: false,
        })
    }

    /// Whether a response that is stored, or is about to be, may be given to another request
    /// as it is.
    pub(super) fn serves(
        &self,
        head: &Head,
        request: &HeaderMap,
        asked: &RequestDirectives,
        now: Tick,
    ) -> bool {
        self.is_for(head, request)
            && self.standing(head, now).is_some_and(|standing| {
                matches!(reuse(&head.terms, standing, asked), Verdict::Fresh | Verdict::Stale)
            })
    }

    /// Whether a stored response may stand in for an origin that has failed.
    pub(super) fn stands_in(
        &self,
        head: &Head,
        asked: &RequestDirectives,
        failure: Failure,
        now: Tick,
    ) -> bool {
        // What may have been purged never stands in.
        !self.is_unsure(now)
            && self.standing(head, now).is_some_and(|standing| {
                stands_in(&head.terms, standing, asked, failure, self.settings.disconnected)
            })
    }

    /// Stores a response that was asked for at a time of that stamp, in place of what the origin
    /// was asked about. False if the URI was purged since.
    pub(super) fn keep(
        &self,
        target: &Target,
        hash: u64,
        stamp: Stamp,
        stored: Stored,
        replaced: Option<&Stored>,
    ) -> bool {
        let stamp =
            if cfg!(broken = "http_stamp") { self.engine.epochs.stamp(hash) } else { stamp };
        let _one_at_a_time = self.writer(hash);
        let (current, now) = self.engine.kept(&target.key, hash);
        if self.standing(&stored.head, now).is_none() && !cfg!(broken = "http_marks") {
            // It would stand in the place of what was asked for after the purge.
            return false;
        }
        let current = current.unwrap_or_default();
        let current = match replaced {
            Some(replaced) => current.without(replaced),
            None => Variants::clone(&current),
        };
        let like = |old: &&Stored| {
            old.head.selection == stored.head.selection
                && self.standing(&old.head, now).is_some()
        };
        let stored = match current.list.iter().find(like) {
            Some(old) => match stored.combined(old) {
                Some(combined) => combined,
                None => return true,
            },
            None => stored,
        };
        let (variants, gone) =
            current.with(stored, self.settings.variants, self.settings.uri_limit, |old| {
                self.standing(&old.head, now).is_some()
                    && !old.useful_for(now, self.settings.keep_stale).is_zero()
            });
        self.metrics.variants_evicted(gone);
        self.put(target, hash, stamp, now, variants)
    }

    /// Leave to go on with a request that nobody waits for; none if too many have it.
    pub(super) fn unattended(&self) -> Option<OwnedSemaphorePermit> {
        let places = if cfg!(broken = "http_unattended") {
            Semaphore::new(1).into()
        } else {
            Arc::clone(&self.unattended)
        };
        let permit = places.try_acquire_owned().ok();
        if permit.is_none() {
            self.metrics.given_up();
        }
        permit
    }

    /// Puts what servers share beside what is here, and gives all that there is: of two for
    /// the same requests that which was not made stale, or came last.
    pub(super) fn merge(
        &self,
        target: &Target,
        hash: u64,
        stamp: Stamp,
        shared: Vec<Stored>,
    ) -> Variants {
        let _one_at_a_time = self.writer(hash);
        let (current, now) = self.engine.kept(&target.key, hash);
        let current = current.unwrap_or_default();
        let rank = |stored: &Stored| {
            let outdated = !self.outdated.hold(&stored.head.marks, stored.head.fresh_since);
            (!outdated, stored.head.received)
        };
        let mut list = shared;
        for old in current.list.iter().filter(|old| self.standing(&old.head, now).is_some()) {
            let like = |new: &&mut Stored| new.head.selection == old.head.selection;
            match list.iter_mut().find(like) {
                Some(new) if rank(old) > rank(new) => *new = old.clone(),
                Some(_) => {}
                None => list.push(old.clone()),
            }
        }
        list.sort_by_key(rank);
        let (most, bytes) = (self.settings.variants, self.settings.uri_limit);
        let (all, gone) =
            list.into_iter().fold((Variants::default(), 0), |(all, gone), stored| {
                let (all, more) = all.with(stored, most, bytes, |_| true);
                (all, gone + more)
            });
        self.metrics.variants_evicted(gone);
        if !all.list.is_empty() {
            self.put(target, hash, stamp, now, all.clone());
        }
        all
    }

    /// Makes an event hold here.
    pub(super) fn apply(&self, event: &Event) {
        match event {
            Event::Uri(key) => self.invalidate(&Arc::from(&**key)),
            Event::Purged(mark) => self.purged.purge(*mark),
            Event::Outdated(mark) => self.outdated.purge(*mark),
            Event::All => {
                self.engine.epochs.bump_all();
                self.engine.store.clear();
            }
        }
    }

    /// Makes it hold here, and on every server. An error: not on the others yet.
    pub(super) async fn announce(self: &Arc<Self>, event: Event) -> Result<(), SharedError> {
        match event {
            Event::All => self.engine.metrics.invalidated_all(),
            Event::Uri(_) => self.engine.metrics.invalidated_key(),
            Event::Purged(_) | Event::Outdated(_) => {}
        }
        match &self.fleet {
            Some(fleet) => {
                // What is owed is told by who follows.
                fleet.follow(self);
                fleet.announce(self, event).await
            }
            None => {
                self.apply(&event);
                Ok(())
            }
        }
    }

    /// How often [`announce`](Self::announce) ends the epoch of a URI.
    pub(super) fn ends_by_announcing(&self) -> Stamp {
        if self.fleet.is_some() { 2 } else { 1 }
    }

    /// That of one URI, by one who cannot wait.
    pub(super) fn invalidate_later(self: &Arc<Self>, target: &Target) {
        self.engine.metrics.invalidated_key();
        let event = Event::Uri((*target.key).into());
        match &self.fleet {
            Some(fleet) => {
                fleet.follow(self);
                fleet.owe(self, event);
            }
            None => self.apply(&event),
        }
    }

    /// Forgets one response.
    pub(super) fn forget(&self, target: &Target, hash: u64, gone: &Stored) {
        let _one_at_a_time = self.writer(hash);
        let stamp = self.engine.epochs.stamp(hash);
        let (Some(current), now) = self.engine.kept(&target.key, hash) else { return };
        let left = current.without(gone);
        if left.list.is_empty() {
            self.engine.store.remove(&target.key);
        } else {
            self.put(target, hash, stamp, now, left);
        }
    }

    fn put(&self, target: &Target, hash: u64, stamp: Stamp, now: Tick, all: Variants) -> bool {
        let ttl = all.useful_for(now, self.settings.keep_stale);
        if ttl.is_zero() {
            return false;
        }
        let loaded = Loaded::value(all).ttl(ttl);
        self.engine.fill(&target.key, hash, stamp, now, &loaded)
    }

    /// Ends the epoch of a URI: nothing that was asked for before is served.
    fn invalidate(&self, key: &Arc<str>) {
        self.engine.epochs.bump(self.engine.hash(key));
        self.engine.store.remove(key);
    }

    /// The marks of a response under a URI: its own, its prefixes', and its groups'.
    pub(super) fn marks(&self, target: &Target, groups: &[Vec<u8>]) -> Box<[u64]> {
        let uri = std::iter::once(self.mark(Mark::Uri(&target.key)));
        let prefixes = target.prefixes().map(|prefix| self.mark(Mark::Prefix(prefix)));
        let groups = groups.iter().map(|group| self.mark(Mark::Group(target.origin(), group)));
        uri.chain(prefixes).chain(groups).collect()
    }

    pub(super) fn mark(&self, mark: Mark<'_>) -> u64 {
        mark.number()
    }

    /// Notes that the last answer was for one only, so that for a while nobody waits for
    /// another's.
    pub(super) fn mark_unshared(&self, hash: u64) {
        let until = after(self.now(), UNSHARED);
        self.slot(hash).store(tagged(until, hash), Ordering::Relaxed);
    }

    pub(super) fn mark_shared(&self, hash: u64) {
        if self.is_unshared(hash, 0) {
            self.slot(hash).store(0, Ordering::Relaxed);
        }
    }

    pub(super) fn is_unshared(&self, hash: u64, now: Tick) -> bool {
        let slot = self.slot(hash).load(Ordering::Relaxed);
        slot & TAG == hash & TAG && slot & !TAG > now & !TAG
    }

    fn slot(&self, hash: u64) -> &AtomicU64 {
        &self.unshared[(hash >> 20) as usize % UNSHARED_SLOTS]
    }

    fn writer(&self, hash: u64) -> std::sync::MutexGuard<'_, ()> {
        let writer = &self.writers[hash as usize % WRITERS];
        // It guards nothing that could be half done.
        writer.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// The low bits of a slot are of the hash, the others of the time: about 16 ms.
const TAG: u64 = (1 << 14) - 1;

fn tagged(until: Tick, hash: u64) -> u64 {
    (until & !TAG) | (hash & TAG)
}
