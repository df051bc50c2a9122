//! What a session has written and seen, in a form that travels.

mod codec;
mod key;

pub use self::key::{KeyError, TokenKeys};

use std::fmt;
use std::sync::Arc;

use crate::clock::Millis;
use crate::lsn::{Position, later};

/// What a session has written and seen: carried from request to request, and to
/// jobs, so that whoever continues it reads at least that. It is of every cluster
/// ([`cluster`](crate::RwSplitBuilder::cluster)) that the session was on.
///
/// Within a process it is passed as it is ([`RwSplit::with_token`]); between
/// processes as a signed text ([`TokenKeys::sign`], [`TokenKeys::verify`]).
///
/// [`RwSplit::with_token`]: crate::RwSplit::with_token
#[derive(Clone, Default, PartialEq, Eq)]
pub struct ConsistencyToken {
    /// Of the cluster without a name.
    pub(crate) floors: Floors,
    /// Of those that have one.
    pub(crate) others: Vec<(Arc<str>, Floors)>,
}

impl ConsistencyToken {
    /// Whether it asks for nothing.
    pub fn is_empty(&self) -> bool {
        self.parts().all(|(_, floors)| *floors == Floors::default())
    }

    pub(crate) fn of(cluster: &Arc<str>, floors: Floors) -> Self {
        let mut token = Self::default();
        *token.part(cluster) = floors;
        token
    }

    /// The cluster without a name first.
    pub(crate) fn parts(&self) -> impl Iterator<Item = (&str, &Floors)> {
        let others = self.others.iter().map(|(name, floors)| (&**name, floors));
        std::iter::once(("", &self.floors)).chain(others)
    }

    pub(crate) fn part(&mut self, cluster: &Arc<str>) -> &mut Floors {
        if cluster.is_empty() {
            return &mut self.floors;
        }
        let at = self.others.iter().position(|(name, _)| name == cluster);
        let at = at.unwrap_or_else(|| {
            self.others.push((Arc::clone(cluster), Floors::default()));
            self.others.len() - 1
        });
        &mut self.others[at].1
    }

    /// One that asks for what both ask for. Of two replicas to stay on, this one's wins.
    #[must_use]
    pub fn merge(mut self, other: &Self) -> Self {
        for (cluster, floors) in other.parts() {
            self.part(&cluster.into()).merge(floors);
        }
        self
    }
}

impl fmt::Debug for ConsistencyToken {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let at = |position: Option<Position>| {
            position.map(|at| format!("{} of timeline {}", at.lsn, at.timeline))
        };
        let mut shown = f.debug_struct("ConsistencyToken");
        shown.field("written", &at(self.floors.write)).field("seen", &at(self.floors.read));
        for (cluster, floors) in &self.others {
            shown.field(cluster, &(at(floors.write), at(floors.read)));
        }
        shown.finish_non_exhaustive()
    }
}

/// A replica, as a session remembers it: no other server, and not the same one
/// after a restart, may stand in for it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(crate) struct Sticky {
    /// A hash of the server's name.
    pub(crate) server: u32,
    /// When it started, or recovered from a crash, in microseconds since 2000 as
    /// the server tells it.
    pub(crate) started: i64,
}

#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Floors {
    /// Reads must show what was written up to here.
    pub(crate) write: Option<Position>,
    /// Reads must show what was seen up to here, when they leave `sticky`.
    pub(crate) read: Option<Position>,
    pub(crate) sticky: Option<Sticky>,
    /// Until then only the primary is known to have what was written.
    pub(crate) pin_until: Millis,
}

impl Floors {
    pub(crate) fn merge(&mut self, other: &Self) {
        self.write = later(self.write, other.write);
        self.read = later(self.read, other.read);
        self.sticky = self.sticky.or(other.sticky);
        self.pin_until = self.pin_until.max(other.pin_until);
    }

    /// What a write's cookie carries: it says nothing about reads.
    pub(crate) fn written(&self) -> Self {
        Self { write: self.write, pin_until: self.pin_until, ..Self::default() }
    }

    /// What the read cookie carries.
    pub(crate) fn seen(&self) -> Self {
        Self { read: self.read, sticky: self.sticky, ..Self::default() }
    }
}
