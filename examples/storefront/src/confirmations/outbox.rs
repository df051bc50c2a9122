//! The tables `storefront.outbox` and `storefront.confirmations`: what is asked of them, each in
//! one statement, and so all or nothing.
//!
//! A row of the outbox is claimed by a number that nobody has had before, for a while. Whatever
//! is written afterwards is written only if that claim is still the row's: who was away for too
//! long finds it gone.

use std::time::Duration;

use serde::Serialize;
use tokio_postgres::Row;
use tokio_postgres::types::ToSql;

use super::places::{Place, Places};
use crate::db::DbError;

/// Due rows, the longest due first, which are due again after a while. Rows that somebody else
/// is at are left to them; nothing is paged, so none is passed over for good.
const DUE: &str = "
    WITH due AS MATERIALIZED (
        SELECT order_id FROM storefront.outbox
        WHERE set_aside_at IS NULL AND push_at <= now()
        ORDER BY push_at LIMIT $1
        FOR UPDATE SKIP LOCKED
    )
    UPDATE storefront.outbox o SET push_at = now() + $2::float8 * interval '1 second'
    FROM due WHERE o.order_id = due.order_id
    RETURNING o.order_id, o.user_id";

/// Nobody else's, nor too early.
const FREE: &str =
    "next_attempt_at <= now() AND (claimed_until IS NULL OR claimed_until <= now())";

/// What a claim changes. The row is due again when the claim ends.
const CLAIM: &str = "
    UPDATE storefront.outbox
    SET claim = $3, attempts = attempts + 1,
        claimed_until = now() + $4::float8 * interval '1 second',
        push_at = now() + $4::float8 * interval '1 second'
    WHERE order_id = $1 AND user_id = $2 AND set_aside_at IS NULL AND {free}
    RETURNING product_id, quantity, attempts,
              to_char(placed_at AT TIME ZONE 'UTC', 'YYYY-MM-DD\"T\"HH24:MI:SS.US\"Z\"')";

/// From the one table to the other.
const RECORD: &str = "
    WITH told AS (
        DELETE FROM storefront.outbox WHERE order_id = $1 AND claim = $2
        RETURNING order_id, user_id, attempts, placed_at
    )
    INSERT INTO storefront.confirmations (order_id, user_id, attempts, placed_at)
    SELECT order_id, user_id, attempts, placed_at FROM told
    RETURNING order_id";

const RELEASE: &str = "
    UPDATE storefront.outbox
    SET claim = NULL, claimed_until = NULL, last_error = $4,
        next_attempt_at = now() + $3::float8 * interval '1 second',
        push_at = now() + $3::float8 * interval '1 second'
    WHERE order_id = $1 AND claim = $2
    RETURNING order_id";

const SET_ASIDE: &str = "
    UPDATE storefront.outbox
    SET claim = NULL, claimed_until = NULL, last_error = $3, set_aside_at = now()
    WHERE order_id = $1 AND claim = $2
    RETURNING order_id";

const LIST: &str = "
    SELECT order_id, user_id, attempts, last_error,
           to_char(placed_at AT TIME ZONE 'UTC', 'YYYY-MM-DD\"T\"HH24:MI:SS.US\"Z\"'),
           to_char(set_aside_at AT TIME ZONE 'UTC', 'YYYY-MM-DD\"T\"HH24:MI:SS.US\"Z\"')
    FROM storefront.outbox WHERE set_aside_at IS NOT NULL
    ORDER BY set_aside_at, order_id LIMIT $1";

/// As if never tried. All of them, or those that are named.
const RETRY: &str = "
    UPDATE storefront.outbox
    SET set_aside_at = NULL, attempts = 0, next_attempt_at = now(), push_at = now()
    WHERE set_aside_at IS NOT NULL AND ($1::bigint[] IS NULL OR order_id = ANY ($1))
    RETURNING order_id";

const FIGURES: &str = "
    SELECT count(*) FILTER (WHERE set_aside_at IS NULL
                            AND (claimed_until IS NULL OR claimed_until <= now())),
           count(*) FILTER (WHERE set_aside_at IS NULL AND claimed_until > now()),
           count(*) FILTER (WHERE set_aside_at IS NOT NULL),
           coalesce(extract(epoch FROM now() - min(placed_at)
                            FILTER (WHERE set_aside_at IS NULL)), 0)::float8
    FROM storefront.outbox";

/// An order that is to be confirmed, and its user, by whom it is found.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Job {
    pub(super) order: i64,
    pub(super) user: i64,
}

/// One's turn at a job.
#[derive(Clone, Debug)]
pub(super) struct Claim {
    pub(super) job: Job,
    number: i64,
    /// This one included.
    pub(super) attempts: u32,
    pub(super) product: i64,
    pub(super) quantity: i64,
    pub(super) placed_at: String,
}

/// One that was set aside.
#[derive(Debug, Serialize)]
pub(super) struct SetAside {
    pub(super) shard: String,
    pub(super) order_id: i64,
    pub(super) user_id: i64,
    pub(super) attempts: i32,
    pub(super) last_error: Option<String>,
    pub(super) placed_at: String,
    pub(super) set_aside_at: String,
}

/// How many rows there are at a place.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub(super) struct Figures {
    pub(super) waiting: i64,
    pub(super) claimed: i64,
    pub(super) set_aside: i64,
    /// Seconds since the oldest order that is not confirmed, nor set aside; 0 without one.
    pub(super) oldest: f64,
}

/// The two tables, of all places.
#[derive(Clone, Debug)]
pub(super) struct Outbox {
    places: Places,
    claim: String,
}

impl Outbox {
    pub(super) fn new(places: Places) -> Self {
        let free = if cfg!(broken = "no_claim") { "true" } else { FREE };
        Self { places, claim: CLAIM.replace("{free}", free) }
    }

    /// The turn at a job until `lease` is over, if it is free and there is still something to
    /// do.
    ///
    /// # Errors
    ///
    /// Without an answer; then it may have been given, and ends by itself.
    pub(super) async fn claim(
        &self,
        job: Job,
        lease: Duration,
    ) -> Result<Option<Claim>, DbError> {
        let (number, lease) = (fastrand::i64(..), lease.as_secs_f64());
        let params: [&(dyn ToSql + Sync); 4] = [&job.order, &job.user, &number, &lease];
        let rows = self.places.ask(job.user, &self.claim, &params).await?;
        Ok(rows.first().map(|row| Claim {
            job,
            number,
            product: row.get(0),
            quantity: row.get(1),
            attempts: u32::try_from(row.get::<_, i32>(2)).unwrap_or(u32::MAX),
            placed_at: row.get(3),
        }))
    }

    /// Takes down that it is confirmed. Returns whether the turn was still this one.
    ///
    /// # Errors
    ///
    /// Without an answer. Asked again, it finds the row gone if it has happened.
    pub(super) async fn record(&self, claim: &Claim) -> Result<bool, DbError> {
        if cfg!(broken = "record_twice") {
            return self.record_blindly(claim).await;
        }
        self.write(claim, RECORD, &[&claim.job.order, &claim.number]).await
    }

    /// Two statements, whoever has the turn.
    async fn record_blindly(&self, claim: &Claim) -> Result<bool, DbError> {
        let Job { order, user } = claim.job;
        let insert =
            "INSERT INTO storefront.confirmations (order_id, user_id, attempts, placed_at)
                      VALUES ($1, $2, 1, now()) RETURNING order_id";
        self.places.ask(user, insert, &[&order, &user]).await?;
        let delete = "DELETE FROM storefront.outbox WHERE order_id = $1 RETURNING order_id";
        self.places.ask(user, delete, &[&order]).await.map(|_| true)
    }

    /// Gives the turn back: the next one is after a while.
    ///
    /// # Errors
    ///
    /// Without an answer; then the turn ends by itself.
    pub(super) async fn release(
        &self,
        claim: &Claim,
        after: Duration,
        why: &str,
    ) -> Result<bool, DbError> {
        let (order, after) = (claim.job.order, after.as_secs_f64());
        self.write(claim, RELEASE, &[&order, &claim.number, &after, &why]).await
    }

    /// Sets it aside until somebody has looked.
    ///
    /// # Errors
    ///
    /// As for [`release`](Self::release).
    pub(super) async fn set_aside(&self, claim: &Claim, why: &str) -> Result<bool, DbError> {
        self.write(claim, SET_ASIDE, &[&claim.job.order, &claim.number, &why]).await
    }

    async fn write(
        &self,
        claim: &Claim,
        sql: &str,
        params: &[&(dyn ToSql + Sync)],
    ) -> Result<bool, DbError> {
        let rows = self.places.ask(claim.job.user, sql, params).await?;
        Ok(!rows.is_empty())
    }
}

/// Jobs that are due, `most` at a time; the same are due `again` after that.
///
/// # Errors
///
/// Without an answer; then some may be due later only.
pub(super) async fn due(
    place: &Place,
    most: i64,
    again: Duration,
) -> Result<Vec<Job>, DbError> {
    let again = if cfg!(broken = "push_once") { 1e9 } else { again.as_secs_f64() };
    let rows = place.ask(DUE, &[&most, &again]).await?;
    Ok(rows.iter().map(|row| Job { order: row.get(0), user: row.get(1) }).collect())
}

/// What was set aside, the first ones first.
///
/// # Errors
///
/// Without an answer.
pub(super) async fn list(place: &Place, most: i64) -> Result<Vec<SetAside>, DbError> {
    let set_aside = |row: &Row| SetAside {
        shard: place.name.clone(),
        order_id: row.get(0),
        user_id: row.get(1),
        attempts: row.get(2),
        last_error: row.get(3),
        placed_at: row.get(4),
        set_aside_at: row.get(5),
    };
    Ok(place.ask(LIST, &[&most]).await?.iter().map(set_aside).collect())
}

/// Has another try at what was set aside: at these orders, or at all. Returns which.
///
/// # Errors
///
/// Without an answer.
pub(super) async fn retry(place: &Place, orders: Option<&[i64]>) -> Result<Vec<i64>, DbError> {
    Ok(place.ask(RETRY, &[&orders]).await?.iter().map(|row| row.get(0)).collect())
}

/// How many rows there are.
///
/// # Errors
///
/// Without an answer.
pub(super) async fn figures(place: &Place) -> Result<Figures, DbError> {
    let rows = place.ask(FIGURES, &[]).await?;
    let row = rows.first().expect("counts are a row, also of nothing");
    Ok(Figures {
        waiting: row.get(0),
        claimed: row.get(1),
        set_aside: row.get(2),
        oldest: row.get(3),
    })
}

#[cfg(test)]
mod tests {
    use rw_split::{RwSplit, Target};

    use super::*;

    /// Where a place has replicas, one that was taken for a read would go there.
    #[test]
    fn what_changes_a_row_is_known_to_be_a_write() {
        let claim = CLAIM.replace("{free}", FREE);
        for sql in [DUE, &claim, RECORD, RELEASE, SET_ASIDE, RETRY] {
            assert_eq!(RwSplit::route(sql).target(), Target::Primary, "{sql}");
        }
        for sql in [LIST, FIGURES] {
            assert_eq!(RwSplit::route(sql).target(), Target::Replica, "{sql}");
        }
    }
}
