//! What clients were told, and what they may be shown after that. Pure: what happened goes in,
//! what was wrong comes out.
//!
//! A write that was acknowledged is *firm*: it is there from then on. One whose answer never
//! came is *loose*: it may be there or not, now or later. When a primary is killed and its
//! replica promoted, what was acknowledged and had not reached the replica is the *lost tail*:
//! from the kill on it is loose as well, and is counted.

use std::collections::{BTreeMap, BTreeSet};
use std::time::{Duration, SystemTime};

/// Servers that a promotion changes as one.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Cluster {
    /// Products, users, logins, sessions.
    Shop,
    /// The shard of that number.
    Orders(usize),
}

/// What a promotion after a kill may have lost.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Tail {
    pub(crate) cluster: Cluster,
    /// When the last commit was made that the promoted server has.
    pub(crate) kept_until: SystemTime,
    pub(crate) killed: SystemTime,
}

/// A request that was acknowledged, from its beginning to its answer.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Acked {
    pub(crate) began: SystemTime,
    pub(crate) ended: SystemTime,
}

/// How long after its client has given up something may still be done: as long as a worker may
/// be busy with it that nobody waits for.
const LATE: Duration = Duration::from_secs(15);

/// Commits are dated a moment before they are in the log, so two of them may be dated the
/// other way round.
const DATED: Duration = Duration::from_millis(50);

impl Tail {
    /// Whether what was acknowledged may be gone for who looks until `looked`. What began after
    /// the kill was not done by who was killed, however late the answer to what began before.
    fn may_have_lost(&self, acked: Acked, looked: SystemTime) -> bool {
        let Acked { began, ended } = acked;
        ended + DATED >= self.kept_until && began <= self.killed && looked >= self.killed
    }
}

/// All tails.
#[derive(Clone, Debug, Default)]
pub(crate) struct Tails(pub(crate) Vec<Tail>);

impl Tails {
    pub(crate) fn loosen(&self, cluster: Cluster, acked: Acked, looked: SystemTime) -> bool {
        self.0.iter().any(|tail| tail.cluster == cluster && tail.may_have_lost(acked, looked))
    }
}

/// Something that must not have happened.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Violation(pub(crate) String);

/// As logs tell the time.
pub(crate) fn clock(at: SystemTime) -> String {
    let since = at.duration_since(SystemTime::UNIX_EPOCH).unwrap_or_default();
    let (day, millis) = (since.as_secs() % 86_400, since.subsec_millis());
    format!("{:02}:{:02}:{:02}.{millis:03}", day / 3_600, day / 60 % 60, day % 60)
}

/// One thing that one client writes and reads, one after the other.
#[derive(Debug)]
pub(crate) struct Register {
    name: String,
    cluster: Cluster,
    events: Vec<Event>,
}

#[derive(Debug)]
enum Event {
    /// Acknowledged, or nobody knows, and its client gave up at that time.
    Written {
        value: String,
        outcome: Result<Acked, SystemTime>,
    },
    Read {
        value: String,
        ended: SystemTime,
    },
}

/// Why a value may be shown.
#[derive(Clone, Copy, Debug)]
enum May {
    Be,
    /// It was acknowledged, and may be gone: what is written later is over it.
    BeLost,
    /// It may come later, until then.
    Come(SystemTime),
}

impl Register {
    /// It holds `value` from before.
    pub(crate) fn new(name: impl Into<String>, cluster: Cluster, value: String) -> Self {
        let before = SystemTime::UNIX_EPOCH;
        let outcome = Ok(Acked { began: before, ended: before });
        let events = vec![Event::Written { value, outcome }];
        Self { name: name.into(), cluster, events }
    }

    /// Each value is written once: when it was acknowledged, or else given up.
    pub(crate) fn written(&mut self, value: String, outcome: Result<Acked, SystemTime>) {
        self.events.push(Event::Written { value, outcome });
    }

    pub(crate) fn read(&mut self, value: String, ended: SystemTime) {
        self.events.push(Event::Read { value, ended });
    }

    pub(crate) fn judge(&self, tails: &Tails, wrong: &mut Vec<Violation>) {
        for (at, event) in self.events.iter().enumerate() {
            let Event::Read { value, ended } = event else { continue };
            let mut may_be: Vec<(&String, May)> = Vec::new();
            for before in &self.events[..at] {
                let Event::Written { value, outcome } = before else { continue };
                match outcome {
                    Ok(acked) if !tails.loosen(self.cluster, *acked, *ended) => {
                        // What nobody was told of may still come late, over this one.
                        may_be.retain(
                            |(_, may)| matches!(may, May::Come(late) if acked.began < *late),
                        );
                        may_be.push((value, May::Be));
                    }
                    Ok(_) => may_be.push((value, May::BeLost)),
                    Err(given_up) => may_be.push((value, May::Come(*given_up + LATE))),
                }
            }
            if !may_be.iter().any(|(possible, _)| *possible == value) {
                let written = self.events[..at].iter().rev().find_map(|event| match event {
                    Event::Written { value, outcome: Ok(acked) } => {
                        Some(format!("`{value}` was written by {}", clock(acked.ended)))
                    }
                    _ => None,
                });
                wrong.push(Violation(format!(
                    "{}: `{value}` was read by {}, and {}",
                    self.name,
                    clock(*ended),
                    written.unwrap_or_default(),
                )));
            }
        }
    }
}

/// What makes an order of a user's different from all others of theirs.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct Mark {
    pub(crate) product: i64,
    pub(crate) quantity: i64,
}

/// How many of the last orders a list must hold. It shows 50; some that nobody was told of may
/// be among them.
const SHOWN: usize = 40;

/// The orders of one user.
#[derive(Debug)]
pub(crate) struct Orders {
    pub(crate) user: i64,
    pub(crate) shard: Cluster,
    placed: Vec<Placed>,
    seen: Vec<Seen>,
}

#[derive(Clone, Copy, Debug)]
struct Placed {
    mark: Mark,
    /// Its number and when that was said, or nobody knows.
    acked: Option<(i64, Acked)>,
}

#[derive(Debug)]
enum Seen {
    /// With so many placed before: these.
    List { placed: usize, orders: Vec<(i64, Mark)>, ended: SystemTime },
    /// So many.
    Count { placed: usize, orders: usize, ended: SystemTime },
}

impl Orders {
    pub(crate) fn new(user: i64, shard: Cluster) -> Self {
        Self { user, shard, placed: Vec::new(), seen: Vec::new() }
    }

    pub(crate) fn len(&self) -> usize {
        self.placed.len()
    }

    /// Each mark is ordered once. What was refused was not placed.
    pub(crate) fn placed(&mut self, mark: Mark, acked: Option<(i64, Acked)>) {
        self.placed.push(Placed { mark, acked });
    }

    pub(crate) fn listed(&mut self, orders: Vec<(i64, Mark)>, ended: SystemTime) {
        self.seen.push(Seen::List { placed: self.placed.len(), orders, ended });
    }

    pub(crate) fn counted(&mut self, orders: usize, ended: SystemTime) {
        self.seen.push(Seen::Count { placed: self.placed.len(), orders, ended });
    }

    /// Those that were acknowledged.
    pub(crate) fn acknowledged(&self) -> impl Iterator<Item = (i64, Mark)> {
        self.placed.iter().filter_map(|placed| Some((placed.acked?.0, placed.mark)))
    }

    pub(crate) fn judge(&self, tails: &Tails, wrong: &mut Vec<Violation>) {
        for seen in &self.seen {
            match seen {
                Seen::List { placed, orders, ended } => {
                    let placed = &self.placed[..*placed];
                    let last = &placed[placed.len().saturating_sub(SHOWN)..];
                    self.complete(last, orders, *ended, tails, wrong);
                    self.known(placed, orders, wrong);
                }
                Seen::Count { placed, orders, ended } => {
                    let placed = &self.placed[..*placed];
                    let firm = placed.iter().filter(|one| self.is_firm(one, *ended, tails));
                    let firm = firm.count();
                    if !(firm..=placed.len()).contains(orders) {
                        let last = placed.iter().rev().find_map(|one| one.acked);
                        wrong.push(Violation(format!(
                            "user {}: {orders} orders were counted by {}, and {firm} to {} were \
                             placed, the last by {}",
                            self.user,
                            clock(*ended),
                            placed.len(),
                            last.map(|(_, acked)| clock(acked.ended)).unwrap_or_default(),
                        )));
                    }
                }
            }
        }
    }

    /// Against what is in the database at the end.
    pub(crate) fn judge_rows(
        &self,
        rows: &[(i64, Mark)],
        now: SystemTime,
        tails: &Tails,
        wrong: &mut Vec<Violation>,
    ) {
        self.complete(&self.placed, rows, now, tails, wrong);
        self.known(&self.placed, rows, wrong);
    }

    /// How many acknowledged ones are gone with a tail.
    pub(crate) fn lost(&self, rows: &[(i64, Mark)]) -> usize {
        let there: BTreeSet<_> = rows.iter().map(|(id, _)| *id).collect();
        self.acknowledged().filter(|(id, _)| !there.contains(id)).count()
    }

    /// By how many units the stock may differ from the orders that are there: of each that was
    /// lost on its shard or in the shop, and of those that nobody was told of.
    pub(crate) fn unsure_units(&self, now: SystemTime, tails: &Tails) -> i64 {
        if tails.0.is_empty() {
            return 0;
        }
        let is_sure = |placed: &&Placed| {
            let acked = placed.acked.map(|(_, acked)| acked);
            acked.is_some_and(|acked| {
                [self.shard, Cluster::Shop].iter().all(|of| !tails.loosen(*of, acked, now))
            })
        };
        let unsure = self.placed.iter().filter(|placed| !is_sure(placed));
        unsure.map(|placed| placed.mark.quantity).sum()
    }

    fn is_firm(&self, placed: &Placed, ended: SystemTime, tails: &Tails) -> bool {
        placed.acked.is_some_and(|(_, at)| !tails.loosen(self.shard, at, ended))
    }

    fn complete(
        &self,
        placed: &[Placed],
        shown: &[(i64, Mark)],
        ended: SystemTime,
        tails: &Tails,
        wrong: &mut Vec<Violation>,
    ) {
        for one in placed.iter().filter(|one| self.is_firm(one, ended, tails)) {
            let (id, _) = one.acked.expect("a firm one was acknowledged");
            if !shown.contains(&(id, one.mark)) {
                let mark = one.mark;
                wrong.push(Violation(format!(
                    "user {}: order {id} ({mark:?}) was acknowledged, and is not there",
                    self.user
                )));
            }
        }
    }

    fn known(&self, placed: &[Placed], shown: &[(i64, Mark)], wrong: &mut Vec<Violation>) {
        let ours: BTreeMap<_, _> = placed.iter().map(|one| (one.mark, one.acked)).collect();
        let mut before = BTreeSet::new();
        for (id, mark) in shown {
            match ours.get(mark) {
                None => wrong.push(Violation(format!(
                    "user {}: order {id} ({mark:?}) is nothing that they ordered",
                    self.user
                ))),
                Some(Some((acked, _))) if acked != id => wrong.push(Violation(format!(
                    "user {}: order {acked} ({mark:?}) is there as {id}, too",
                    self.user
                ))),
                Some(_) if !before.insert(*mark) => wrong.push(Violation(format!(
                    "user {}: {mark:?} was ordered once, and is there twice",
                    self.user
                ))),
                Some(_) => {}
            }
        }
    }
}

/// How long an access token may be accepted after its session was ended.
pub(crate) const REVOKED: Duration = Duration::from_secs(1);

/// A use of an access token whose session was ended.
#[derive(Clone, Copy, Debug)]
pub(crate) struct UseAfterLogout {
    pub(crate) logged_out: Acked,
    pub(crate) began: SystemTime,
    pub(crate) ended: SystemTime,
    pub(crate) accepted: bool,
}

impl UseAfterLogout {
    pub(crate) fn judge(&self, tails: &Tails, wrong: &mut Vec<Violation>) {
        let late = self.began >= self.logged_out.ended + REVOKED;
        let lost = tails.loosen(Cluster::Shop, self.logged_out, self.ended);
        if self.accepted && late && !lost {
            let after = self.began.duration_since(self.logged_out.ended).unwrap_or_default();
            wrong.push(Violation(format!(
                "at {}, a token was accepted {after:?} after its logout",
                clock(self.began)
            )));
        }
    }
}

/// How long a product may be shown as it was, after a change was acknowledged: each process has
/// copies for a second.
pub(crate) const COPIES: Duration = Duration::from_millis(1_100);

/// A product whose versions rise.
#[derive(Debug, Default)]
pub(crate) struct Product {
    id: i64,
    written: Vec<(i64, Option<Acked>)>,
    read: Vec<(i64, SystemTime, SystemTime)>,
}

impl Product {
    pub(crate) fn new(id: i64) -> Self {
        Self { id, ..Self::default() }
    }

    pub(crate) fn written(&mut self, version: i64, acked: Option<Acked>) {
        self.written.push((version, acked));
    }

    /// The version that was written last, and when that was acknowledged.
    pub(crate) fn last(&self) -> (i64, Option<Acked>) {
        *self.written.last().expect("something was written")
    }

    pub(crate) fn read(&mut self, version: i64, began: SystemTime, ended: SystemTime) {
        self.read.push((version, began, ended));
    }

    /// The version that was read last.
    pub(crate) fn shown(&self) -> i64 {
        self.read.last().expect("something was read").0
    }

    pub(crate) fn judge(&self, tails: &Tails, wrong: &mut Vec<Violation>) {
        for &(version, began, ended) in &self.read {
            let firm = self.written.iter().filter_map(|(version, acked)| {
                let acked = (*acked)?;
                let known = acked.ended + COPIES <= began;
                (known && !tails.loosen(Cluster::Shop, acked, ended)).then_some(*version)
            });
            let least = firm.max().unwrap_or(0);
            // Nothing is shown that nobody has written.
            let most = self.written.iter().map(|(version, _)| *version).max().unwrap_or(0);
            if !(least..=most).contains(&version) {
                wrong.push(Violation(format!(
                    "product {}: version {version} was shown, and it is {least} to {most}",
                    self.id
                )));
            }
        }
    }
}

#[cfg(test)]
mod tests;
