//! Telling the shared store what is over, and remembering what it was not told.

use std::sync::Arc;

use super::Tier;
use super::join::join_all;
use super::owed::Debt;
use crate::shared::{Floor, Lease, SharedError};
use crate::version::Version;

impl<V: Send + Sync + 'static> Tier<V> {
    /// Invalidates `key` for all processes. Until that is acknowledged, this one does
    /// not ask the tier for it.
    ///
    /// # Cancel safety
    ///
    /// Dropped before its end, it is owed, and is done in the background.
    pub(crate) async fn invalidate(
        self: &Arc<Self>,
        key: &[u8],
        version: Option<Version>,
    ) -> Result<(), SharedError> {
        let floor = self.floor(version);
        let debt = Incurred { tier: self, debt: Some(Debt::Key(key.into(), floor)) };
        self.ask(self.domain(key), self.store.invalidate(key, floor.as_ref())).await?;
        debt.paid();
        Ok(())
    }

    /// [`invalidate`](Self::invalidate), and leases the key to the caller; nothing if
    /// a newer version is known.
    ///
    /// # Cancel safety
    ///
    /// As for `invalidate`.
    pub(crate) async fn displace(
        self: &Arc<Self>,
        key: &[u8],
        version: Option<Version>,
    ) -> Result<Option<Lease>, SharedError> {
        let floor = self.floor(version);
        let debt = Incurred { tier: self, debt: Some(Debt::Key(key.into(), floor)) };
        let displace = self.store.displace(key, self.settings.lease, floor.as_ref());
        let lease = match self.ask(self.domain(key), displace).await {
            // There is no room for a lease; there is always room to take away.
            Err(SharedError::Full(cause)) => {
                self.ask(self.domain(key), self.store.invalidate(key, floor.as_ref())).await?;
                debt.paid();
                return Err(SharedError::Full(cause));
            }
            answer => answer?,
        };
        debt.paid();
        Ok(lease)
    }

    fn floor(&self, version: Option<Version>) -> Option<Floor> {
        version.map(|version| Floor { version, ttl: self.settings.floor_ttl })
    }

    /// Invalidates all keys. Partitions that did not acknowledge are owed.
    pub(crate) async fn clear(self: &Arc<Self>) -> Result<(), SharedError> {
        let partitions = 0..self.store.partitions();
        let asked = partitions.map(|partition| async move {
            let debt = Incurred { tier: self, debt: Some(Debt::Partition(partition, false)) };
            let domain = self.store.domain(partition);
            self.ask(domain, self.store.clear(partition, false)).await?;
            debt.paid();
            Ok(())
        });
        join_all(asked).await.into_iter().collect()
    }

    fn owe(self: &Arc<Self>, debt: &Debt) {
        match debt {
            Debt::Key(key, floor) => {
                if self.owed.add_key(key, *floor) {
                    tracing::warn!(
                        cache = %self.cache,
                        "too many invalidations are not acknowledged: going on without the \
                         shared store until it is cleared"
                    );
                }
            }
            Debt::Partition(partition, _) => self.owed.add_partition(*partition),
        }
        self.metrics.unacknowledged();
        self.metrics.owed(self.owed.len());
        self.recover();
    }
}

/// An invalidation that is owed if it is dropped before it is paid.
struct Incurred<'a, V: Send + Sync + 'static> {
    tier: &'a Arc<Tier<V>>,
    debt: Option<Debt>,
}

impl<V: Send + Sync + 'static> Incurred<'_, V> {
    fn paid(mut self) {
        self.debt = None;
    }
}

impl<V: Send + Sync + 'static> Drop for Incurred<'_, V> {
    fn drop(&mut self) {
        if let Some(debt) = &self.debt
            && !cfg!(broken = "no_debts")
        {
            self.tier.owe(debt);
        }
    }
}
