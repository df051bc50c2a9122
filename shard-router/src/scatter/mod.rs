//! Questions to all shards.

mod aggregate;
mod ask;
mod coverage;
mod merge;
mod order;
mod query;
mod stream;

use std::fmt;
use std::num::NonZeroUsize;
use std::time::Duration;

use crate::error::Missing;

pub use self::aggregate::Aggregable;
pub use self::order::{OrderBy, asc, desc};
pub use self::query::{ScatterFrom, ScatterQuery};
pub use self::stream::MergedRows;

/// How a scatter is asked: how much may be missing, and for how long it may take. There is
/// no default for the first.
///
/// ```
/// use std::num::NonZeroUsize;
/// use std::time::Duration;
/// use shard_router::Scatter;
///
/// let whole = Scatter::require_all().deadline(Duration::from_millis(300));
/// let most = Scatter::allow_missing(NonZeroUsize::MIN); // one shard may be missing
/// ```
#[derive(Clone, Copy, Debug)]
#[must_use]
pub struct Scatter<P> {
    pub(crate) policy: P,
    pub(crate) deadline: Option<Duration>,
}

/// All shards answer, or it is an error.
#[derive(Clone, Copy, Debug)]
pub struct RequireAll;

/// Some shards may be missing; the answer says which.
#[derive(Clone, Copy, Debug)]
pub struct AllowMissing {
    most: NonZeroUsize,
}

impl Scatter<RequireAll> {
    /// All shards answer, or it is an error.
    pub const fn require_all() -> Self {
        Self { policy: RequireAll, deadline: None }
    }
}

impl Scatter<AllowMissing> {
    /// So many shards at most may be missing; the answer is a [`Partial`]. A shard that refuses
    /// the statement is not missing: that is an error.
    pub const fn allow_missing(most: NonZeroUsize) -> Self {
        Self { policy: AllowMissing { most }, deadline: None }
    }
}

impl<P> Scatter<P> {
    /// How long each shard has, from the start; those that have not answered by then are
    /// missing. The default is [`query_timeout`](crate::RouterBuilder::query_timeout).
    pub const fn deadline(mut self, deadline: Duration) -> Self {
        self.deadline = Some(deadline);
        self
    }
}

/// [`RequireAll`] or [`AllowMissing`].
pub trait Policy: sealed::Sealed + Copy + Send + Sync + fmt::Debug + 'static {
    /// What a scatter answers: the value, or a [`Partial`] of it.
    type Output<T>;
}

mod sealed {
    use crate::error::Missing;

    #[allow(unnameable_types, reason = "sealed")]
    pub trait Sealed {
        /// How many shards may be missing.
        fn most(&self) -> usize;

        fn output<T>(value: T, missing: Vec<Missing>) -> <Self as super::Policy>::Output<T>
        where
            Self: super::Policy;
    }
}

impl sealed::Sealed for RequireAll {
    fn most(&self) -> usize {
        0
    }

    fn output<T>(value: T, _: Vec<Missing>) -> T {
        value
    }
}

impl Policy for RequireAll {
    type Output<T> = T;
}

impl sealed::Sealed for AllowMissing {
    fn most(&self) -> usize {
        self.most.get()
    }

    fn output<T>(value: T, missing: Vec<Missing>) -> Partial<T> {
        Partial { value, missing }
    }
}

impl Policy for AllowMissing {
    type Output<T> = Partial<T>;
}

/// An answer from which shards may be missing. There is no way to the value that does not
/// name these, too.
#[derive(Clone, Debug)]
#[must_use = "shards may be missing from it"]
pub struct Partial<T> {
    value: T,
    missing: Vec<Missing>,
}

impl<T> Partial<T> {
    /// The value, and the shards that are missing from it.
    pub fn into_parts(self) -> (T, Vec<Missing>) {
        (self.value, self.missing)
    }

    /// The value if nothing is missing.
    ///
    /// # Errors
    ///
    /// [`Error::Missing`](crate::Error::Missing) otherwise.
    pub fn complete(self) -> Result<T, crate::Error> {
        if self.missing.is_empty() {
            return Ok(self.value);
        }
        Err(crate::Error::Missing { missing: self.missing })
    }

    /// The shards that are missing.
    pub fn missing(&self) -> &[Missing] {
        &self.missing
    }
}
