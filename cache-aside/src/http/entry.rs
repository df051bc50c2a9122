//! Responses as they are stored.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, SystemTime};

use http::StatusCode;
use http::header::{CONTENT_LENGTH, DATE};

use super::age::parsed;
use super::block::Block;
use super::conditional::EntityTag;
use super::content::Content;
use super::marks::Moment;
use super::range::Part;
use super::reuse::Terms;
use super::update::updated;
use super::vary::Selection;
use crate::clock::{Tick, nanos};

/// All of a stored response but its content.
#[derive(Debug)]
pub(super) struct Head {
    pub(super) status: StatusCode,
    pub(super) fields: Block,
    pub(super) terms: Terms,
    pub(super) selection: Selection,
    /// Which part of its content it has, if that is not all.
    pub(super) part: Option<Part>,
    /// How old it was when it came.
    pub(super) initial_age: Duration,
    pub(super) received: Tick,
    pub(super) received_at: SystemTime,
    /// What it may be purged by.
    pub(super) marks: Box<[u64]>,
    /// Moments before it was asked for: of purges, and of purges that only make stale.
    pub(super) since: Moment,
    pub(super) fresh_since: Moment,
    /// The same moments by what all servers count, where there are several.
    pub(super) shared: Shared,
    pub(super) used: AtomicU64,
}

/// Moments by the count of announcements: what it was before a response was asked for.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Shared {
    pub(super) since: Place,
    pub(super) fresh_since: Place,
}

/// A count, and in the high bits in which life of the log, by this process's own number.
pub(super) type Place = u64;

impl Head {
    /// RFC 9111, section 4.2.3.
    pub(super) fn age(&self, now: Tick) -> Duration {
        self.initial_age + Duration::from_nanos(now.saturating_sub(self.received))
    }

    pub(super) fn touch(&self, now: Tick) {
        self.used.store(now, Ordering::Relaxed);
    }

    /// What its `Date` says, which everything that is stored has.
    fn dated(&self) -> SystemTime {
        self.fields.first(&DATE).and_then(parsed).unwrap_or(self.received_at)
    }

    fn size(&self) -> usize {
        size_of::<Self>() + self.fields.size() + self.selection.size() + self.marks.len() * 8
    }
}

#[derive(Clone, Debug)]
pub(super) struct Stored {
    pub(super) head: Arc<Head>,
    pub(super) content: Content,
}

impl Stored {
    /// How long it is of use from now on. `keep` is for how long it is kept after its lifetime
    /// so that it can be validated, or stand in for an origin that is gone.
    pub(super) fn useful_for(&self, now: Tick, keep: Duration) -> Duration {
        let terms = &self.head.terms;
        let whole = terms.lifetime.saturating_add(keep.max(terms.stale_windows()));
        whole.saturating_sub(self.head.age(now))
    }

    /// What is stored for the same requests, and this, which came after it, as one: where both
    /// are parts with the same strong validator (RFC 9111, section 3.4). None if this is to
    /// give way: that one is whole, and of the same validator.
    pub(super) fn combined(self, old: &Self) -> Option<Self> {
        let Some(new_part) = self.head.part else { return Some(self) };
        let (fields, old_fields) = (self.head.fields.to_map(), old.head.fields.to_map());
        let same = match (EntityTag::of(&fields), EntityTag::of(&old_fields)) {
            (Some(new), Some(old)) => new.matches_strongly(old),
            _ => false,
        };
        if !same {
            return Some(self);
        }
        // What is there is whole.
        let old_part = old.head.part?;
        let Some(part) = new_part.with(old_part) else { return Some(self) };
        let content = self.content.over(new_part.span, &old.content, old_part.span);
        let mut fields = updated(&old_fields, &fields);
        let whole = part.is_whole();
        if whole {
            fields.insert(CONTENT_LENGTH, part.total.into());
        }
        let Head { terms, initial_age, received, received_at, .. } = *self.head;
        let head = Head {
            status: if whole { StatusCode::OK } else { self.head.status },
            fields: Block::new(&fields),
            terms,
            selection: self.head.selection.clone(),
            part: (!whole).then_some(part),
            initial_age,
            received,
            received_at,
            marks: self.head.marks.iter().chain(&old.head.marks).copied().collect(),
            since: self.head.since.min(old.head.since),
            fresh_since: self.head.fresh_since.min(old.head.fresh_since),
            shared: Shared {
                since: self.head.shared.since.min(old.head.shared.since),
                fresh_since: self.head.shared.fresh_since.min(old.head.shared.fresh_since),
            },
            used: AtomicU64::new(received),
        };
        Some(Self { head: Arc::new(head), content })
    }

    fn size(&self) -> usize {
        self.head.size() + self.content.size()
    }
}

/// What is stored under one URI: the oldest first, by its `Date`.
#[derive(Clone, Debug, Default)]
pub(super) struct Variants {
    pub(super) list: Box<[Stored]>,
}

impl Variants {
    pub(super) fn size(&self) -> usize {
        self.list.iter().map(|stored| size_of::<Stored>() + stored.size()).sum()
    }

    /// The list with `new` in place of what was there for the same requests. Of more than
    /// `most`, or more than so many bytes, those that were not used for the longest time go: no
    /// client makes a URI too large to be kept by asking for variants. How many went so.
    pub(super) fn with(
        &self,
        new: Stored,
        most: usize,
        bytes: u64,
        still_good: impl Fn(&Stored) -> bool,
    ) -> (Self, u64) {
        let others = self.list.iter();
        let mut list: Vec<Stored> = others
            .filter(|old| old.head.selection != new.head.selection && still_good(old))
            .cloned()
            .collect();
        let used = |stored: &Stored| stored.head.used.load(Ordering::Relaxed);
        let mut size = new.size() + list.iter().map(Stored::size).sum::<usize>();
        let mut gone = 0;
        while list.len() >= most.max(1) || size as u64 > bytes {
            let Some(oldest) = (0..list.len()).min_by_key(|at| used(&list[*at])) else { break };
            size -= list.remove(oldest).size();
            gone += 1;
        }
        let dated = new.head.dated();
        let older = list.iter().rposition(|old| old.head.dated() <= dated);
        list.insert(older.map_or(0, |at| at + 1), new);
        (Self { list: list.into() }, gone)
    }

    pub(super) fn without(&self, gone: &Stored) -> Self {
        let others = self.list.iter().filter(|other| !Arc::ptr_eq(&other.head, &gone.head));
        Self { list: others.cloned().collect() }
    }

    pub(super) fn useful_for(&self, now: Tick, keep: Duration) -> Duration {
        self.list.iter().map(|stored| stored.useful_for(now, keep)).max().unwrap_or_default()
    }
}

/// The wall clock: for what is dated by others.
#[derive(Clone, Debug)]
pub(super) enum Wall {
    System,
    /// It was that time at that tick.
    #[cfg(feature = "test-util")]
    Fixed(SystemTime, Tick),
}

impl Wall {
    #[cfg_attr(not(feature = "test-util"), allow(unused_variables))]
    pub(super) fn at(&self, now: Tick) -> SystemTime {
        match self {
            #[allow(
                clippy::disallowed_methods,
                reason = "this is the wall clock that is injected"
            )]
            Self::System => SystemTime::now(),
            #[cfg(feature = "test-util")]
            Self::Fixed(time, tick) => *time + Duration::from_nanos(now.saturating_sub(*tick)),
        }
    }
}

/// A tick that lies so far ahead.
pub(super) fn after(now: Tick, span: Duration) -> Tick {
    now.saturating_add(nanos(span))
}

#[cfg(test)]
mod tests {
    use http::{HeaderMap, HeaderValue};

    use super::*;

    fn stored(for_a: &'static str, used: u64) -> Stored {
        let mut request = HeaderMap::new();
        request.insert("a", HeaderValue::from_static(for_a));
        let mut headers = HeaderMap::new();
        headers.insert("vary", HeaderValue::from_static("a"));
        let selection = Selection::of(&headers, &request, &[]).unwrap();
        let terms = Terms { lifetime: Duration::from_secs(10), ..Terms::default() };
        let head = Head {
            status: StatusCode::OK,
            fields: Block::new(&headers),
            terms,
            selection,
            part: None,
            initial_age: Duration::from_secs(4),
            received: 1_000_000_000,
            received_at: SystemTime::UNIX_EPOCH,
            marks: Box::new([]),
            since: 0,
            fresh_since: 0,
            shared: Shared::default(),
            used: AtomicU64::new(used),
        };
        Stored { head: Arc::new(head), content: Content::new(&[]) }
    }

    #[test]
    fn a_variant_takes_the_place_of_its_like_and_of_the_least_used() {
        let all = |variants: &Variants| {
            variants
                .list
                .iter()
                .map(|stored| stored.head.used.load(Ordering::Relaxed))
                .collect::<Vec<_>>()
        };
        let none = Variants::default();
        let (one, _) = none.with(stored("x", 5), 2, u64::MAX, |_| true);
        let (two, gone) = one.with(stored("y", 3), 2, u64::MAX, |_| true);
        assert_eq!((all(&two), gone), (vec![5, 3], 0));
        let with = |new, most, bytes, good: bool| {
            let (variants, gone) = two.with(new, most, bytes, |_| good);
            (all(&variants), gone)
        };
        assert_eq!(with(stored("x", 9), 2, u64::MAX, true), (vec![3, 9], 0));
        assert_eq!(with(stored("z", 9), 2, u64::MAX, true), (vec![5, 9], 1));
        assert_eq!(with(stored("z", 9), 9, u64::MAX, false), (vec![9], 0));
        let small = two.list[0].size() as u64;
        assert_eq!(with(stored("z", 9), 9, 2 * small, true), (vec![5, 9], 1));
        assert_eq!(with(stored("z", 9), 9, 0, true), (vec![9], 2), "what is new stays");
        assert_eq!(all(&two.without(&two.list[0])), [3]);
        assert!(two.size() > 2 * size_of::<Head>());
    }

    #[test]
    fn it_ages_from_what_it_was_when_it_came() {
        let stored = stored("x", 0);
        assert_eq!(stored.head.age(3_000_000_000), Duration::from_secs(6));
        assert_eq!(
            stored.useful_for(3_000_000_000, Duration::from_secs(5)),
            Duration::from_secs(9)
        );
        assert_eq!(stored.useful_for(u64::MAX, Duration::ZERO), Duration::ZERO);
    }
}
