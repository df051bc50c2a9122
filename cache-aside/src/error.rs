use std::sync::Arc;
use std::time::Duration;
use std::{error, fmt};

use crate::shared::SharedError;

pub(crate) type BoxError = Box<dyn error::Error + Send + Sync>;

/// Why a value could not be had. Every caller that waited for one load gets a
/// clone of one error.
///
/// `Display` says what happened; the loader's own error is the
/// [`source`](std::error::Error::source), so print the whole chain. To go on by
/// its kind:
///
/// ```
/// # use cache_aside::Error;
/// # #[derive(Debug)] struct DbError;
/// # impl std::fmt::Display for DbError {
/// #     fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result { f.write_str("db") }
/// # }
/// # impl std::error::Error for DbError {}
/// fn status(error: &Error) -> u16 {
///     match error.load_error::<DbError>() {
///         Some(_) => 503,
///         None if error.is_timeout() => 504,
///         None => 500,
///     }
/// }
/// # assert_eq!(status(&Error::NoRuntime), 500);
/// ```
#[derive(Clone, Debug)]
#[non_exhaustive]
pub enum Error {
    /// The loader, or the inner service, failed with this cause.
    Load(Arc<dyn error::Error + Send + Sync>),
    /// The load was given up at this deadline, set by
    /// [`load_timeout`](crate::CacheBuilder::load_timeout).
    Timeout(Duration),
    /// The loader panicked, or the store did when it was to keep the value; the
    /// panic's message is in the log of the process.
    Panicked,
    /// The runtime that ran the load, or was to run it, was shut down before the
    /// load ended.
    Aborted,
    /// There was no Tokio runtime to load on: neither the caller's nor one
    /// where the cache was built.
    NoRuntime,
    /// The second tier did not acknowledge an invalidation or an insert: other
    /// processes may serve what was there before until its time is over. This one does
    /// not; it goes on trying in the background.
    Unacknowledged(SharedError),
}

impl Error {
    /// Whether the source may have seen the request.
    pub fn may_have_reached_source(&self) -> bool {
        !matches!(self, Self::NoRuntime | Self::Unacknowledged(_))
    }

    /// Whether an invalidation may not have reached other processes yet.
    pub fn is_unacknowledged(&self) -> bool {
        matches!(self, Self::Unacknowledged(_))
    }

    /// Whether the source was too slow, rather than wrong.
    pub fn is_timeout(&self) -> bool {
        matches!(self, Self::Timeout(_))
    }

    /// The loader's own error, if it is an `E`.
    pub fn load_error<E: error::Error + 'static>(&self) -> Option<&E> {
        match self {
            Self::Load(cause) => cause.downcast_ref(),
            _ => None,
        }
    }
}

impl fmt::Display for Error {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Load(_) => f.write_str("the load failed"),
            Self::Timeout(after) => write!(f, "the load was given up after {after:?}"),
            Self::Panicked => f.write_str("the load panicked"),
            Self::Aborted => {
                f.write_str("the runtime of the load was shut down before the load ended")
            }
            Self::Unacknowledged(_) => {
                f.write_str("the second tier did not acknowledge the invalidation")
            }
            Self::NoRuntime => f.write_str(
                "no Tokio runtime to load on: call from within one, or build the cache in one",
            ),
        }
    }
}

impl error::Error for Error {
    fn source(&self) -> Option<&(dyn error::Error + 'static)> {
        match self {
            Self::Load(cause) => Some(&**cause),
            Self::Unacknowledged(cause) => Some(cause),
            _ => None,
        }
    }
}

/// A setting that was refused by [`build`](crate::CacheBuilder::build).
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct BuildError {
    setting: &'static str,
    reason: String,
}

impl BuildError {
    pub(crate) fn new(setting: &'static str, reason: impl Into<String>) -> Self {
        Self { setting, reason: reason.into() }
    }

    /// The name of the builder's method that took the value.
    pub fn setting(&self) -> &'static str {
        self.setting
    }
}

impl fmt::Display for BuildError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "`{}`: {}", self.setting, self.reason)
    }
}

impl error::Error for BuildError {}
