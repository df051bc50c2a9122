//! Where sessions are kept: the port, and its adapters.

mod boxed;
#[cfg(feature = "memory")]
mod memory;
mod messages;
#[cfg(feature = "postgres")]
mod postgres;
#[cfg(feature = "redis")]
mod redis;

pub use self::boxed::BoxStore;
#[cfg(feature = "memory")]
pub use self::memory::MemoryStore;
pub use self::messages::{
    Created, Cursor, Described, Feed, NewSession, Proposal, Revocation, Revoke, Rotate,
    Rotation, Session, SessionId, SessionRef, TokenHash,
};
#[cfg(feature = "postgres")]
pub use self::postgres::{PostgresStore, Tls};
#[cfg(feature = "redis")]
pub use self::redis::{RedisSettings, RedisStore};

use std::time::Duration;

use crate::error::BoxError;

/// Keeps sessions, one row each, and the feed of revocations.
///
/// Every method is one atomic step on the *store's* clock. There is no `get` and
/// no `put`, so a check that is overtaken before its write cannot be written.
/// What is kept are hashes: nothing in the store lets anybody in.
///
/// A store of one's own is checked by the suite of the `conformance` feature.
///
/// # Cancel safety
///
/// Each method may be dropped at any await; whether its write went through is
/// then open, as after an error. A retry finds out: that is what replays are for.
pub trait Store: Send + Sync + 'static {
    /// The part of the store that holds this user's sessions; one for all unless
    /// the store is spread. It never changes for a user.
    fn bucket(&self, user: &str) -> u16 {
        let _ = user;
        0
    }

    /// Enters a new session, at the user's epoch.
    ///
    /// # Errors
    ///
    /// When the store cannot be reached, or has a session of this id.
    fn create(
        &self,
        new: &NewSession,
    ) -> impl Future<Output = Result<Created, BoxError>> + Send;

    /// What a session is about; changes nothing.
    ///
    /// # Errors
    ///
    /// When the store cannot be reached.
    fn describe(
        &self,
        session: SessionRef,
    ) -> impl Future<Output = Result<Option<Described>, BoxError>> + Send;

    /// Judges a presented token and acts on it, in one step; the table of
    /// outcomes is in the crate's README. Where the outcome is a revocation, that
    /// is published in the same step.
    ///
    /// # Errors
    ///
    /// When the store cannot be reached; the rotation may have happened.
    fn rotate(
        &self,
        request: &Rotate,
    ) -> impl Future<Output = Result<Rotation, BoxError>> + Send;

    /// Revokes, and publishes that to every verifier for `publish_for`, which is
    /// how long access tokens may live. Returns what was published.
    ///
    /// # Errors
    ///
    /// When the store cannot be reached; it may have happened.
    fn revoke(
        &self,
        scope: &Revoke,
        publish_for: Duration,
    ) -> impl Future<Output = Result<Vec<Revocation>, BoxError>> + Send;

    /// The user's sessions that are neither revoked nor expired.
    ///
    /// # Errors
    ///
    /// When the store cannot be reached.
    fn sessions(
        &self,
        user: &str,
    ) -> impl Future<Output = Result<Vec<Session>, BoxError>> + Send;

    /// What was revoked after `since`, or in the last `window` of the store's
    /// time without one, and every killed key whenever that may have been missed.
    /// Waits up to `wait` for something to report. An entry may be reported more
    /// than once, and none is left out.
    ///
    /// # Errors
    ///
    /// When the store cannot be reached.
    fn revocations(
        &self,
        since: Option<&Cursor>,
        window: Duration,
        wait: Duration,
    ) -> impl Future<Output = Result<Feed, BoxError>> + Send;

    /// Writes a heartbeat into every part of the feed that has none of the last
    /// `every`.
    ///
    /// # Errors
    ///
    /// When the store cannot be reached.
    fn heartbeat(&self, every: Duration) -> impl Future<Output = Result<(), BoxError>> + Send;
}
