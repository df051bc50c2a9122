use std::fmt;
use std::ops::Deref;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use tokio::time::Instant;
use tokio_postgres::{Client, Statement};

use super::{RwSplit, Writing};
use crate::error::Error;
use crate::server::pool::Lease;

/// A primary connection of one's own, for what needs one: `COPY`, `LISTEN`,
/// session settings, advisory locks, migration tools. It derefs to
/// tokio-postgres's `Client`. Dropped, it is closed: nobody inherits its state.
///
/// What is written on it moves the session's floor only at
/// [`written`](Self::written).
pub struct PrimaryConnection {
    lease: Lease,
    db: RwSplit,
}

impl RwSplit {
    /// A primary connection of one's own, out of the pool's number.
    ///
    /// # Errors
    ///
    /// [`Error::NoPrimary`], [`Error::PoolTimeout`].
    pub async fn primary_connection(&self) -> Result<PrimaryConnection, Error> {
        let core = self.core();
        let deadline = Instant::now() + core.settings.failover_wait;
        let (_, lease) = core.primary_lease(deadline).await?;
        lease.discard();
        Ok(PrimaryConnection { lease, db: self.clone() })
    }
}

impl PrimaryConnection {
    /// What was committed on this connection is the session's own from here on.
    ///
    /// # Errors
    ///
    /// [`Error::OutcomeUnknown`] if the server is not the primary any more: what
    /// was written last may be lost. Then, and where the connection is lost, the
    /// session reads from the primary for a while.
    pub async fn written(&self) -> Result<(), Error> {
        let writing = Writing::new(Arc::clone(self.db.core()), self.db.own_level());
        let position = self.lease.position().await;
        writing.settle(&self.lease, Some(position))
    }
}

impl Deref for PrimaryConnection {
    type Target = Client;

    fn deref(&self) -> &Client {
        &self.lease.client
    }
}

impl fmt::Debug for PrimaryConnection {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("PrimaryConnection").finish_non_exhaustive()
    }
}

/// A primary connection that goes back to the pool, for those who drive transactions by
/// themselves: it says nothing about SQL, so its user says when something is under way. It
/// derefs to tokio-postgres's `Client`.
///
/// Dropped while it is [`busy`](Self::busy), it is closed, the server is asked to cancel, and
/// the session reads from the primary for
/// [`unknown_pin`](crate::RwSplitBuilder::unknown_pin): what was under way may have
/// happened. Leave no state of the server's session behind (`SET`, `LISTEN`, temporary
/// tables): whoever has it next would inherit it; for that there is
/// [`primary_connection`](RwSplit::primary_connection).
pub struct PooledConnection {
    lease: Lease,
    db: RwSplit,
    /// From `busy` on: whose outcome it is.
    writing: Mutex<Option<Writing>>,
}

impl RwSplit {
    /// A primary connection of the pool.
    ///
    /// # Errors
    ///
    /// [`Error::NoPrimary`], [`Error::PoolTimeout`].
    ///
    /// # Cancel safety
    ///
    /// Cancel safe.
    pub async fn pooled_connection(&self) -> Result<PooledConnection, Error> {
        let core = self.core();
        let deadline = Instant::now() + core.settings.failover_wait;
        let (_, lease) = core.primary_lease(deadline).await?;
        Ok(PooledConnection { lease, db: self.clone(), writing: Mutex::new(None) })
    }
}

impl PooledConnection {
    /// Something is sent from here on, or a transaction is open. To be called before.
    pub fn busy(&self) {
        self.lease.soil();
        let mut writing = self.writing();
        if writing.is_none() {
            *writing = Some(Writing::new(Arc::clone(self.db.core()), self.db.own_level()));
        }
    }

    /// Nothing is under way, and no transaction is open: all that was sent was answered.
    pub fn idle(&self) {
        self.lease.clean();
        if let Some(writing) = self.writing().take() {
            writing.nothing_happened();
        }
    }

    /// What was committed on this connection is the session's own from here on. To be called
    /// after a commit, before [`idle`](Self::idle).
    ///
    /// # Errors
    ///
    /// [`Error::OutcomeUnknown`] if the server is not the primary any more: what
    /// was written last may be lost. Then, and where the connection is lost, the
    /// session reads from the primary for a while.
    pub async fn written(&self) -> Result<(), Error> {
        let position = self.lease.position().await;
        let writing = self.writing().take();
        let writing = writing
            .unwrap_or_else(|| Writing::new(Arc::clone(self.db.core()), self.db.own_level()));
        writing.settle(&self.lease, Some(position))
    }

    /// The statement for `sql`, which is prepared once on this connection.
    ///
    /// # Errors
    ///
    /// The server's, or the connection's.
    pub async fn statement(&self, sql: &str) -> Result<Statement, tokio_postgres::Error> {
        self.lease.statement(sql).await
    }

    /// What was prepared does not fit the tables any more: forgets it here, and closes the
    /// connections that are idle, which have the same.
    pub fn forget_statements(&self) {
        self.lease.forget_statements();
        self.lease.pool().drain();
    }

    fn writing(&self) -> MutexGuard<'_, Option<Writing>> {
        self.writing.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Deref for PooledConnection {
    type Target = Client;

    fn deref(&self) -> &Client {
        &self.lease.client
    }
}

impl fmt::Debug for PooledConnection {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("PooledConnection").finish_non_exhaustive()
    }
}
