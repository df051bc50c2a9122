//! What processes tell each other through a shared store.

use std::fmt;
use std::future::Future;
use std::pin::Pin;

use super::{SharedError, SharedStore};

/// A [`SharedStore`] with a log of what was taken away, and tables of when that was: so that
/// a process which keeps copies learns what others have invalidated, and one that reads a
/// record can tell whether something that it has in common with many was purged since.
///
/// The rules that make it safe to rely on:
/// - the log counts what is announced: a [`Position`] is a count in one *life* of it. In one
///   life the count grows by one for each announcement, and what is announced is kept in its
///   tables for as long as that life lasts;
/// - whenever the log, or a table, may have lost something (a flush, an eviction, a restart,
///   a promotion), it begins a new life. Positions of different lives say nothing of each
///   other;
/// - [`news`](Self::news) is gapless, or begins anew.
///
/// # Cancel safety
///
/// As for [`SharedStore`]: what is announced may take effect later, or not at all.
pub trait SharedNews: SharedStore {
    /// Appends to the log, and notes the moment in a table. The position is that of this
    /// announcement. `Ok` means that whoever asks for news from now on learns of it.
    fn announce(
        &self,
        announcement: &Announcement<'_>,
    ) -> impl Future<Output = Result<Position, SharedError>> + Send;

    /// What was announced after a position that is known; without one, or if that cannot be
    /// told any more, where the log is and what is in its tables.
    fn news(
        &self,
        after: Option<&Position>,
    ) -> impl Future<Output = Result<News, SharedError>> + Send;

    /// Ends the life of the log, which takes all of its records away. It works without room.
    fn end_life(&self) -> impl Future<Output = Result<(), SharedError>> + Send;

    /// Ends when the number of hints that something was announced is another than `seen`,
    /// and returns that. It may never end: hints make news faster, and nothing relies on
    /// them.
    fn hinted(&self, _seen: u64) -> impl Future<Output = u64> + Send {
        std::future::pending()
    }
}

/// One life of a log: what tells it from all others.
#[derive(Clone, Copy, PartialEq, Eq)]
pub struct Life(pub [u8; 36]);

impl fmt::Debug for Life {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Life({:02x}{:02x}..)", self.0[0], self.0[1])
    }
}

/// How much was announced in a life of a log.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Position {
    /// The life.
    pub life: Life,
    /// How many announcements; below 2^48.
    pub count: u64,
}

/// Something that others are to know.
#[derive(Clone, Copy, Debug)]
pub struct Announcement<'a> {
    /// What they are told.
    pub message: &'a [u8],
    /// The table, and the place in it, where the moment is noted.
    pub noted: Option<(Table, u16)>,
}

/// A table of moments.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Table {
    /// Of what was purged.
    Purged,
    /// Of what was made stale.
    Outdated,
}

/// What there is to be known.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum News {
    /// What was announced since, in its order, up to `position`.
    Next {
        /// That of the last of them.
        position: Position,
        /// The messages.
        messages: Vec<Vec<u8>>,
    },
    /// Something may have been missed.
    Anew {
        /// Where the log is.
        position: Position,
        /// The places of the table of what was purged that have a moment, and the last of
        /// each.
        purged: Vec<(u16, u64)>,
        /// The same of what was made stale.
        outdated: Vec<(u16, u64)>,
    },
}

type Answer<'a, T> = Pin<Box<dyn Future<Output = T> + Send + 'a>>;

/// [`SharedNews`], with boxed futures.
pub(crate) trait AnyNews: Send + Sync {
    fn announce<'a>(
        &'a self,
        announcement: &'a Announcement<'a>,
    ) -> Answer<'a, Result<Position, SharedError>>;
    fn news<'a>(&'a self, after: Option<&'a Position>)
    -> Answer<'a, Result<News, SharedError>>;
    fn end_life(&self) -> Answer<'_, Result<(), SharedError>>;
    fn hinted(&self, seen: u64) -> Answer<'_, u64>;
}

impl<S: SharedNews> AnyNews for S {
    fn announce<'a>(
        &'a self,
        announcement: &'a Announcement<'a>,
    ) -> Answer<'a, Result<Position, SharedError>> {
        Box::pin(SharedNews::announce(self, announcement))
    }

    fn news<'a>(
        &'a self,
        after: Option<&'a Position>,
    ) -> Answer<'a, Result<News, SharedError>> {
        Box::pin(SharedNews::news(self, after))
    }

    fn end_life(&self) -> Answer<'_, Result<(), SharedError>> {
        Box::pin(SharedNews::end_life(self))
    }

    fn hinted(&self, seen: u64) -> Answer<'_, u64> {
        Box::pin(SharedNews::hinted(self, seen))
    }
}
