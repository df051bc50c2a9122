//! What could not be told yet.

use std::collections::HashMap;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Mutex, MutexGuard, PoisonError};

use super::event::Event;

/// Events that the others do not know of. Until they do, this server does not ask for what
/// servers share: it may be what was purged.
#[derive(Debug)]
pub(super) struct Owed {
    any: AtomicBool,
    limit: usize,
    events: Mutex<(u64, HashMap<Event, u64>)>,
}

impl Owed {
    pub(super) fn new(limit: usize) -> Self {
        Self { any: AtomicBool::new(false), limit, events: Mutex::default() }
    }

    pub(super) fn is_empty(&self) -> bool {
        !self.any.load(Ordering::Acquire)
    }

    /// One too many, and all is owed.
    pub(super) fn add(&self, event: Event) {
        let mut events = self.lock();
        self.any.store(true, Ordering::Release);
        let (tickets, events) = &mut *events;
        *tickets += 1;
        if events.len() >= self.limit && !events.contains_key(&event) {
            events.clear();
            events.insert(Event::All, *tickets);
        } else {
            events.insert(event, *tickets);
        }
    }

    pub(super) fn len(&self) -> usize {
        self.lock().1.len()
    }

    pub(super) fn list(&self) -> Vec<(Event, u64)> {
        self.lock().1.iter().map(|(event, ticket)| (event.clone(), *ticket)).collect()
    }

    /// Forgets what was told, unless it came again meanwhile.
    pub(super) fn paid(&self, event: &Event, ticket: u64) {
        let mut events = self.lock();
        if events.1.get(event) == Some(&ticket) {
            events.1.remove(event);
        }
        if events.1.is_empty() {
            self.any.store(false, Ordering::Release);
        }
    }

    fn lock(&self) -> MutexGuard<'_, (u64, HashMap<Event, u64>)> {
        self.events.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_comes_again_is_owed_again_and_too_many_are_all() {
        let owed = Owed::new(2);
        owed.add(Event::Purged(1));
        let before = owed.list();
        owed.add(Event::Purged(1));
        owed.paid(&before[0].0, before[0].1);
        assert!(!owed.is_empty(), "it may have been told before");
        owed.add(Event::Purged(2));
        owed.add(Event::Purged(2));
        assert_eq!(owed.list().len(), 2);
        owed.add(Event::Uri("a".into()));
        let all = owed.list();
        assert_eq!(all.len(), 1);
        assert_eq!(all[0].0, Event::All);
        owed.paid(&all[0].0, all[0].1);
        assert!(owed.is_empty());
    }
}
