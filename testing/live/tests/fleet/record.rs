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
    /// From when on the cluster takes writes again.
    pub(crate) promoted: SystemTime,
}

/// Commits are dated a moment before they are in the log, so two of them may be dated the
/// other way round.
const DATED: Duration = Duration::from_millis(50);

impl Tail {
    /// Whether something that was acknowledged at `acked` may be gone for who looks until
    /// `looked`.
    fn may_have_lost(&self, acked: SystemTime, looked: SystemTime) -> bool {
        acked + DATED >= self.kept_until && acked <= self.promoted && looked >= self.killed
    }
}

/// All tails.
#[derive(Clone, Debug, Default)]
pub(crate) struct Tails(pub(crate) Vec<Tail>);

impl Tails {
    pub(crate) fn loosen(
        &self,
        cluster: Cluster,
        acked: SystemTime,
        looked: SystemTime,
    ) -> bool {
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
    /// Acknowledged at that time, or nobody knows.
    Written {
        value: String,
        acked: Option<SystemTime>,
    },
    Read {
        value: String,
        ended: SystemTime,
    },
}

impl Register {
    /// It holds `value` from before.
    pub(crate) fn new(name: impl Into<String>, cluster: Cluster, value: String) -> Self {
        let acked = Some(SystemTime::UNIX_EPOCH);
        let events = vec![Event::Written { value, acked }];
        Self { name: name.into(), cluster, events }
    }

    /// Each value is written once.
    pub(crate) fn written(&mut self, value: String, acked: Option<SystemTime>) {
        self.events.push(Event::Written { value, acked });
    }

    pub(crate) fn read(&mut self, value: String, ended: SystemTime) {
        self.events.push(Event::Read { value, ended });
    }

    pub(crate) fn judge(&self, tails: &Tails, wrong: &mut Vec<Violation>) {
        for (at, event) in self.events.iter().enumerate() {
            let Event::Read { value, ended } = event else { continue };
            let is_firm = |acked: &Option<SystemTime>| {
                acked.is_some_and(|acked| !tails.loosen(self.cluster, acked, *ended))
            };
            let mut may_be = BTreeSet::new();
            for before in &self.events[..at] {
                let Event::Written { value, acked } = before else { continue };
                if is_firm(acked) {
                    // What was loose before may still come late, over this one.
                    may_be.retain(|(_, firm)| !firm);
                    may_be.insert((value, true));
                } else {
                    may_be.insert((value, false));
                }
            }
            if !may_be.iter().any(|(possible, _)| *possible == value) {
                let written = self.events[..at].iter().rev().find_map(|event| match event {
                    Event::Written { value, acked: Some(at) } => {
                        Some(format!("`{value}` was written by {}", clock(*at)))
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
    acked: Option<(i64, SystemTime)>,
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
    pub(crate) fn placed(&mut self, mark: Mark, acked: Option<(i64, SystemTime)>) {
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
                            last.map(|(_, at)| clock(at)).unwrap_or_default(),
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
    pub(crate) logged_out: SystemTime,
    pub(crate) began: SystemTime,
    pub(crate) ended: SystemTime,
    pub(crate) accepted: bool,
}

impl UseAfterLogout {
    pub(crate) fn judge(&self, tails: &Tails, wrong: &mut Vec<Violation>) {
        let late = self.began >= self.logged_out + REVOKED;
        let lost = tails.loosen(Cluster::Shop, self.logged_out, self.ended);
        if self.accepted && late && !lost {
            let after = self.began.duration_since(self.logged_out).unwrap_or_default();
            wrong.push(Violation(format!("a token was accepted {after:?} after its logout")));
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
    written: Vec<(i64, Option<SystemTime>)>,
    read: Vec<(i64, SystemTime, SystemTime)>,
}

impl Product {
    pub(crate) fn new(id: i64) -> Self {
        Self { id, ..Self::default() }
    }

    pub(crate) fn written(&mut self, version: i64, acked: Option<SystemTime>) {
        self.written.push((version, acked));
    }

    /// The version that was written last, and when that was acknowledged.
    pub(crate) fn last(&self) -> (i64, Option<SystemTime>) {
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
                let known = acked + COPIES <= began;
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
mod tests {
    use super::*;

    fn at(seconds: f64) -> SystemTime {
        SystemTime::UNIX_EPOCH + Duration::from_secs_f64(1_000.0 + seconds)
    }

    /// Killed at 5, promoted at 6, and what was committed after 4 is gone.
    fn tails() -> Tails {
        let tail =
            |cluster| Tail { cluster, kept_until: at(4.0), killed: at(5.0), promoted: at(6.0) };
        Tails(vec![tail(Cluster::Shop), tail(Cluster::Orders(0))])
    }

    fn wrong(judge: impl FnOnce(&mut Vec<Violation>)) -> usize {
        let mut wrong = Vec::new();
        judge(&mut wrong);
        wrong.len()
    }

    fn text(value: &str) -> String {
        value.to_owned()
    }

    #[test]
    fn a_read_shows_the_last_firm_write_or_a_loose_one() {
        let mut name = Register::new("name", Cluster::Shop, text("a"));
        name.read(text("a"), at(0.0));
        name.written(text("b"), Some(at(1.0)));
        name.read(text("b"), at(1.5));
        name.written(text("c"), None);
        name.read(text("b"), at(2.0));
        name.read(text("c"), at(2.1));
        name.written(text("d"), Some(at(3.0)));
        name.read(text("d"), at(3.1));
        // It comes late, over the other.
        name.read(text("c"), at(3.2));
        assert_eq!(wrong(|wrong| name.judge(&Tails::default(), wrong)), 0);
        name.read(text("b"), at(3.3));
        name.read(text("a"), at(3.4));
        name.read(text("x"), at(3.5));
        assert_eq!(wrong(|wrong| name.judge(&Tails::default(), wrong)), 3);
    }

    #[test]
    fn only_the_tail_may_be_lost_and_only_after_the_kill() {
        let mut name = Register::new("name", Cluster::Shop, text("a"));
        name.written(text("kept"), Some(at(3.9)));
        name.written(text("tail"), Some(at(4.5)));
        name.read(text("tail"), at(4.6));
        name.read(text("kept"), at(5.5));
        assert_eq!(wrong(|wrong| name.judge(&tails(), wrong)), 0);
        assert_eq!(wrong(|wrong| name.judge(&Tails::default(), wrong)), 1);
        name.read(text("a"), at(5.6));
        assert_eq!(wrong(|wrong| name.judge(&tails(), wrong)), 1);

        let mut early = Register::new("name", Cluster::Shop, text("a"));
        early.written(text("tail"), Some(at(4.5)));
        early.read(text("a"), at(4.6));
        assert_eq!(wrong(|wrong| early.judge(&tails(), wrong)), 1);

        let mut elsewhere = Register::new("name", Cluster::Orders(1), text("a"));
        elsewhere.written(text("b"), Some(at(4.5)));
        elsewhere.read(text("a"), at(5.5));
        assert_eq!(wrong(|wrong| elsewhere.judge(&tails(), wrong)), 1);
    }

    fn mark(quantity: i64) -> Mark {
        Mark { product: 1, quantity }
    }

    #[test]
    fn an_order_is_there_once_and_is_nobody_elses() {
        let mut orders = Orders::new(7, Cluster::Orders(0));
        orders.placed(mark(1), Some((101, at(1.0))));
        orders.placed(mark(2), None);
        orders.listed(vec![(101, mark(1))], at(2.0));
        orders.listed(vec![(101, mark(1)), (102, mark(2))], at(2.0));
        orders.counted(1, at(2.0));
        orders.counted(2, at(2.0));
        assert_eq!(wrong(|wrong| orders.judge(&Tails::default(), wrong)), 0);
        let shown = |rows: &[(i64, Mark)]| {
            wrong(|wrong| orders.judge_rows(rows, at(9.0), &Tails::default(), wrong))
        };
        assert_eq!(shown(&[(102, mark(2))]), 1, "lost");
        assert_eq!(shown(&[(101, mark(1)), (103, mark(1))]), 1, "doubled");
        assert_eq!(shown(&[(101, mark(1)), (102, mark(2)), (103, mark(2))]), 1, "doubled");
        assert_eq!(shown(&[(101, mark(1)), (104, mark(9))]), 1, "somebody else's");

        orders.counted(0, at(2.0));
        orders.counted(3, at(2.0));
        assert_eq!(wrong(|wrong| orders.judge(&Tails::default(), wrong)), 2);
    }

    #[test]
    fn an_order_may_be_gone_with_the_tail_of_its_shard() {
        let mut orders = Orders::new(7, Cluster::Orders(0));
        orders.placed(mark(1), Some((101, at(4.5))));
        let tail = tails();
        assert_eq!(wrong(|wrong| orders.judge_rows(&[], at(9.0), &tail, wrong)), 0);
        assert_eq!(orders.lost(&[]), 1);
        orders.placed(mark(2), Some((102, at(6.5))));
        assert_eq!(wrong(|wrong| orders.judge_rows(&[], at(9.0), &tail, wrong)), 1);
    }

    #[test]
    fn a_token_may_be_accepted_for_a_second_after_its_logout() {
        let used = |logged_out, began, accepted| {
            let (logged_out, began) = (at(logged_out), at(began));
            let one = UseAfterLogout { logged_out, began, ended: began, accepted };
            wrong(|wrong| one.judge(&tails(), wrong))
        };
        assert_eq!(used(1.0, 1.9, true), 0);
        assert_eq!(used(1.0, 2.0, true), 1);
        assert_eq!(used(1.0, 2.0, false), 0);
        assert_eq!(used(4.5, 7.0, true), 0, "the logout is lost");
        assert_eq!(used(3.0, 7.0, true), 1);
    }

    #[test]
    fn a_product_may_be_a_copy_for_a_second() {
        let mut product = Product::new(1);
        product.written(1, Some(at(1.0)));
        product.written(2, Some(at(2.0)));
        product.read(1, at(3.0), at(3.0));
        product.read(2, at(3.2), at(3.2));
        assert_eq!(wrong(|wrong| product.judge(&Tails::default(), wrong)), 0);
        product.read(1, at(3.2), at(3.2));
        product.read(0, at(2.2), at(2.2));
        product.read(3, at(3.2), at(3.2));
        assert_eq!(wrong(|wrong| product.judge(&Tails::default(), wrong)), 3);
    }
}
