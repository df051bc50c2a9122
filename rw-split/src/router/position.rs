//! Positions for a cache before the database: what was written is invalidated at one,
//! and loads ask for it.

use tokio::time::{Instant, timeout_at};

use super::RwSplit;
use crate::error::Error;
use crate::position::WalPosition;
use crate::token::{ConsistencyToken, Floors};

/// # Positions
///
/// A cache is filled from replicas, which lag: what it loads right after an
/// invalidation may be older than what was invalidated. So the writer says where it
/// wrote, the cache keeps that, and a load asks for at least as much. A load is often
/// a task of its own, which no session reaches:
///
/// ```no_run
/// # use rw_split::{ConsistencyToken, Error, RwSplit};
/// # trait Cache { async fn invalidate_at(&self, key: i64, version: [u8; 16]); }
/// # async fn write(db: RwSplit, cache: impl Cache, id: i64, name: &str) -> Result<(), Error> {
/// // The writer:
/// db.execute("UPDATE users SET name = $1 WHERE id = $2", &[&name, &id]).await?;
/// let at = match db.written_at() {
///     Some(at) => at,
///     None => db.position_now().await?,
/// };
/// cache.invalidate_at(id, at.into()).await;
/// # Ok(())
/// # }
/// # async fn load(db: RwSplit, floor: Option<[u8; 16]>, id: i64) -> Result<(), Error> {
/// // The loader, in whatever process, with what the cache has kept:
/// let token = floor.map_or_else(ConsistencyToken::default, |at| db.token_at(at.into()));
/// let sql = "SELECT name FROM users WHERE id = $1";
/// let row = db.with_token(token, db.query_opt(sql, &[&id])).await?;
/// # Ok(())
/// # }
/// ```
impl RwSplit {
    /// A position at or behind the last write of the session that this code runs for;
    /// outside of any session, of this process. Nothing if it wrote nothing, or if
    /// that write's position or outcome is not known: ask
    /// [`position_now`](Self::position_now) then.
    pub fn written_at(&self) -> Option<WalPosition> {
        let core = self.core();
        let scope = core.scope().unwrap_or_else(|| core.process.clone());
        let floors = scope.floors().clone();
        // A pin stands for a write whose position is not in the floors.
        let known = floors.pin_until <= core.settings.clock.now();
        floors.write.filter(|_| known).map(WalPosition::from)
    }

    /// A position at or behind all that is committed when this is called: the primary is
    /// asked. Who calls at the same time shares a question.
    ///
    /// # Errors
    ///
    /// [`Error::NoPrimary`].
    ///
    /// # Cancel safety
    ///
    /// Cancel safe.
    pub async fn position_now(&self) -> Result<WalPosition, Error> {
        let core = self.core();
        let began = Instant::now();
        let deadline = began + core.settings.failover_wait;
        loop {
            if let Some(position) = core.ask().await {
                return Ok(position.into());
            }
            let now = Instant::now();
            if now >= deadline {
                return Err(Error::NoPrimary { waited: now.duration_since(began) });
            }
            let soon = deadline.min(now + core.polling.every);
            // In time or not, the primary is asked once more.
            let _ = timeout_at(soon, core.cluster.changed.notified()).await;
        }
    }

    /// A token that asks for what was written up to `at`, for
    /// [`with_token`](Self::with_token). While no server has been seen yet, it asks for
    /// the primary.
    pub fn token_at(&self, at: WalPosition) -> ConsistencyToken {
        let core = self.core();
        let floors = match core.cluster.view().known() {
            Some(known) => Floors { write: Some(at.of(known.system)), ..Floors::default() },
            None => {
                let settings = &core.settings;
                let pin_until = settings.clock.now().after(settings.unknown_pin);
                Floors { pin_until, ..Floors::default() }
            }
        };
        ConsistencyToken::of(&core.settings.cluster, floors)
    }
}
