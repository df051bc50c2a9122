use std::fmt;
use std::ops::Deref;
use std::sync::Arc;

use tokio::time::Instant;
use tokio_postgres::Client;

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
