//! Whether what is read may be old, and how to read at least what was written: as a cache
//! before a primary with replicas needs it.

use rw_split::{RwSplit, WalPosition};

use crate::db::DbError;

/// The servers that one cached thing comes from.
#[derive(Clone, Debug)]
pub(crate) enum Cluster {
    /// Reads go to the server that takes writes: what they show is committed, and the last.
    Current,
    /// Reads may go to replicas, which lag.
    Lagging(RwSplit),
}

impl Cluster {
    /// Whether a read may show less than what is committed.
    pub(crate) fn lags(&self) -> bool {
        matches!(self, Self::Lagging(_))
    }

    /// A position at or behind what was just written; nothing if it is not known whether it
    /// was.
    pub(crate) fn written_at(&self) -> Option<WalPosition> {
        match self {
            Self::Current => None,
            Self::Lagging(db) => db.written_at(),
        }
    }

    /// A position at or behind all that is committed by now.
    ///
    /// # Errors
    ///
    /// When the primary does not answer.
    pub(crate) async fn position_now(&self) -> Result<Option<WalPosition>, DbError> {
        match self {
            Self::Current => Ok(None),
            Self::Lagging(db) => Ok(Some(db.position_now().await?)),
        }
    }

    /// Runs `reads` on servers that have come as far as `position`; on any, without one.
    pub(crate) async fn reading_from<T>(
        &self,
        position: Option<WalPosition>,
        reads: impl Future<Output = T>,
    ) -> T {
        let Self::Lagging(db) = self else { return reads.await };
        let token = position.map(|position| db.token_at(position)).unwrap_or_default();
        db.with_token(token, reads).await
    }
}
