//! Invalidations that the shared store has not acknowledged.

use std::collections::{BTreeMap, HashMap};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Mutex, MutexGuard, PoisonError};

use crate::shared::Floor;

/// What is still to be invalidated. Until it is, the store is not asked for it.
#[derive(Debug)]
pub(crate) struct Owed {
    /// Whether there is anything, for the path where there is nothing.
    any: AtomicBool,
    limit: usize,
    partitions: usize,
    debts: Mutex<Debts>,
}

#[derive(Debug, Default)]
struct Debts {
    tickets: u64,
    keys: HashMap<Box<[u8]>, (Ticket, Option<Floor>)>,
    /// With whether their floors must be forgotten too.
    partitions: BTreeMap<usize, (Ticket, bool)>,
}

/// Which of several debts of one key or partition.
type Ticket = u64;

/// Something to be done.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Debt {
    Key(Box<[u8]>, Option<Floor>),
    Partition(usize, bool),
}

impl Owed {
    /// At most `limit` keys of a store with that many partitions.
    pub(crate) fn new(limit: usize, partitions: usize) -> Self {
        Self { any: AtomicBool::new(false), limit, partitions, debts: Mutex::default() }
    }

    /// Whether what the store says of `key` is not to be believed.
    #[inline]
    pub(crate) fn covers(&self, partition: usize, key: &[u8]) -> bool {
        if !self.any.load(Ordering::Acquire) {
            return false;
        }
        let debts = self.debts();
        debts.partitions.contains_key(&partition) || debts.keys.contains_key(key)
    }

    #[inline]
    pub(crate) fn is_empty(&self) -> bool {
        !self.any.load(Ordering::Acquire)
    }

    /// Keys and partitions that are owed.
    pub(crate) fn len(&self) -> usize {
        let debts = self.debts();
        debts.keys.len() + debts.partitions.len()
    }

    /// True if it was one too many, and everything is owed now.
    pub(crate) fn add_key(&self, key: &[u8], floor: Option<Floor>) -> bool {
        let mut debts = self.debts();
        self.any.store(true, Ordering::Release);
        let ticket = debts.ticket();
        if let Some((held, floors)) = debts.keys.get_mut(key) {
            *held = ticket;
            *floors = match (*floors, floor) {
                (Some(a), Some(b)) if a.version > b.version => Some(a),
                (a, b) => b.or(a),
            };
            return false;
        }
        if debts.keys.len() < self.limit {
            debts.keys.insert(key.into(), (ticket, floor));
            return false;
        }
        // Floors that are not kept must be unknown to all.
        debts.keys.clear();
        debts.partitions = (0..self.partitions).map(|p| (p, (ticket, true))).collect();
        true
    }

    pub(crate) fn add_partition(&self, partition: usize) {
        let mut debts = self.debts();
        self.any.store(true, Ordering::Release);
        let ticket = debts.ticket();
        let debt = debts.partitions.entry(partition).or_insert((ticket, false));
        debt.0 = ticket;
    }

    /// All that is owed, each with its ticket.
    pub(crate) fn list(&self) -> Vec<(Ticket, Debt)> {
        let debts = self.debts();
        let partitions = debts.partitions.iter().map(|(partition, (ticket, floors))| {
            (*ticket, Debt::Partition(*partition, *floors))
        });
        let keys = debts
            .keys
            .iter()
            .map(|(key, (ticket, floor))| (*ticket, Debt::Key(key.clone(), *floor)));
        partitions.chain(keys).collect()
    }

    /// Forgets a debt that was paid, unless it was incurred again meanwhile: the
    /// payment may have come before what that is for.
    pub(crate) fn paid(&self, ticket: Ticket, debt: &Debt) {
        let mut debts = self.debts();
        match debt {
            Debt::Key(key, _) => {
                if debts.keys.get(key).is_some_and(|(held, _)| *held == ticket) {
                    debts.keys.remove(key);
                }
            }
            Debt::Partition(partition, _) => {
                if debts.partitions.get(partition).is_some_and(|(held, _)| *held == ticket) {
                    debts.partitions.remove(partition);
                }
            }
        }
        if debts.keys.is_empty() && debts.partitions.is_empty() {
            self.any.store(false, Ordering::Release);
        }
    }

    fn debts(&self) -> MutexGuard<'_, Debts> {
        self.debts.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Debts {
    fn ticket(&mut self) -> Ticket {
        self.tickets += 1;
        self.tickets
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;
    use crate::version::Version;

    fn floor(version: u64) -> Option<Floor> {
        Some(Floor { version: Version::from(version), ttl: Duration::from_secs(1) })
    }

    #[test]
    fn a_debt_covers_its_key_until_it_is_paid() {
        let owed = Owed::new(10, 4);
        assert!(!owed.covers(0, b"a"));
        owed.add_key(b"a", None);
        assert!(owed.covers(0, b"a") && !owed.covers(0, b"b"));
        let [(ticket, debt)] = &owed.list()[..] else { panic!("one debt") };
        owed.paid(*ticket, debt);
        assert!(owed.is_empty() && !owed.covers(0, b"a"));
    }

    #[test]
    fn a_debt_incurred_again_is_not_paid_by_what_came_before() {
        let owed = Owed::new(10, 4);
        owed.add_key(b"a", None);
        owed.add_partition(2);
        let before = owed.list();
        owed.add_key(b"a", None);
        owed.add_partition(2);
        for (ticket, debt) in &before {
            owed.paid(*ticket, debt);
        }
        assert!(owed.covers(0, b"a") && owed.covers(2, b"x"));
        assert_eq!(owed.len(), 2);
    }

    #[test]
    fn the_highest_floor_of_a_key_is_owed() {
        let owed = Owed::new(10, 4);
        for version in [2, 3, 1] {
            owed.add_key(b"a", floor(version));
        }
        owed.add_key(b"a", None);
        let [(_, debt)] = &owed.list()[..] else { panic!("one debt") };
        assert_eq!(*debt, Debt::Key((*b"a").into(), floor(3)));
    }

    #[test]
    fn too_many_keys_are_all_keys() {
        let owed = Owed::new(2, 3);
        assert!(!owed.add_key(b"a", None) && !owed.add_key(b"b", None));
        assert!(!owed.add_key(b"a", None), "it is there already");
        assert!(owed.add_key(b"c", None));
        assert_eq!(owed.len(), 3);
        for partition in 0..3 {
            assert!(owed.covers(partition, b"z"));
        }
        for (ticket, debt) in owed.list() {
            assert!(matches!(debt, Debt::Partition(_, true)));
            owed.paid(ticket, &debt);
        }
        assert!(owed.is_empty());
    }
}
