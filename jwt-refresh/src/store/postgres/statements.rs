//! The statements: each is one step, by itself one transaction.
//!
//! `rotate` says in SQL what `refresh::policy` says in Rust; the conformance suite
//! holds the two against each other.

use tokio_postgres::types::Type;
use tokio_postgres::{Client, Error, Statement};

/// Prepared when a connection is made.
pub(super) struct Statements {
    pub(super) create: Statement,
    pub(super) describe: Statement,
    pub(super) rotate: Statement,
    pub(super) revoke_session: Statement,
    pub(super) revoke_user: Statement,
    pub(super) revoke_others: Statement,
    pub(super) revoke_token: Statement,
    pub(super) kill_key: Statement,
    pub(super) sessions: Statement,
    pub(super) feed_from: Statement,
    pub(super) feed_since: Statement,
    pub(super) killed: Statement,
    pub(super) heartbeat: Statement,
    pub(super) sweep: Statement,
}

impl Statements {
    pub(super) async fn prepare(client: &Client) -> Result<Self, Error> {
        const BYTES: Type = Type::BYTEA;
        const TEXT: Type = Type::TEXT;
        const BIG: Type = Type::INT8;
        let prepare = |sql, types: &'static [Type]| client.prepare_typed(sql, types);
        Ok(Self {
            create: prepare(CREATE, &[BYTES, TEXT, TEXT, TEXT, TEXT, TEXT, BYTES, BIG, BIG])
                .await?,
            describe: prepare(DESCRIBE, &[BYTES]).await?,
            rotate: client
                .prepare_typed(
                    &rotate(),
                    &[BYTES, BIG, BYTES, BYTES, BYTES, BYTES, BYTES, BIG, BIG, BIG, BIG, BIG],
                )
                .await?,
            revoke_session: prepare(REVOKE_SESSION, &[BYTES, BIG]).await?,
            revoke_user: prepare(REVOKE_USER, &[TEXT, BIG]).await?,
            revoke_others: prepare(REVOKE_OTHERS, &[TEXT, BYTES, BIG]).await?,
            revoke_token: prepare(REVOKE_TOKEN, &[TEXT, BIG]).await?,
            kill_key: prepare(KILL_KEY, &[TEXT]).await?,
            sessions: prepare(SESSIONS, &[TEXT]).await?,
            feed_from: prepare(FEED_FROM, &[BIG]).await?,
            feed_since: prepare(FEED_SINCE, &[TEXT]).await?,
            killed: prepare("SELECT kid FROM jwt_refresh.killed", &[]).await?,
            heartbeat: prepare(HEARTBEAT, &[BIG]).await?,
            sweep: prepare(SWEEP, &[]).await?,
        })
    }
}

/// `FOR SHARE`: a `logout_all` under way is waited for, and one that comes later
/// waits for this.
const CREATE: &str = "
WITH added AS (
    INSERT INTO jwt_refresh.users (user_id) VALUES ($2)
    ON CONFLICT (user_id) DO UPDATE SET epoch = jwt_refresh.users.epoch
    RETURNING epoch
), clock AS MATERIALIZED (
    SELECT epoch, jwt_refresh.now_ms() AS now FROM added
)
INSERT INTO jwt_refresh.sessions
    (id, user_id, client, scope, claims, device, current, user_epoch, created_at,
     absolute_at, idle_at)
SELECT $1, $2, $3, $4, $5, $6, $7, epoch, now, now + $8, now + least($8, $9) FROM clock
RETURNING created_at, absolute_at, user_epoch";

const DESCRIBE: &str = "
SELECT user_id, client, scope, claims, device FROM jwt_refresh.sessions WHERE id = $1";

/// The clock is read after the locks are had. The user's row is locked as well:
/// otherwise a rotation that waited for the session could go through after a
/// `logout_all` had been committed.
fn rotate() -> String {
    let share = if cfg!(broken = "postgres_user_unlocked") { "" } else { "FOR SHARE OF u" };
    let update = if cfg!(broken = "postgres_unlocked") { "" } else { "FOR UPDATE OF s" };
    let expired = if cfg!(broken = "postgres_expired") { "false" } else { "true" };
    let reuse = if cfg!(broken = "postgres_reuse") { "false" } else { "true" };
    format!(
        "
WITH found AS MATERIALIZED (
    SELECT s.*, u.epoch FROM jwt_refresh.sessions s JOIN jwt_refresh.users u USING (user_id)
    WHERE s.id = $1 {update} {share}
), clock AS MATERIALIZED (
    SELECT *, jwt_refresh.now_ms() AS now FROM found
), windows AS (
    SELECT *,
        coalesce(now - rotated_at < $8, false) AS in_grace,
        coalesce(retry = $7, false) AS same_retry,
        coalesce(retry = $7 AND now - rotated_at < $9, false) AS in_retry
    FROM clock
), judged AS MATERIALIZED (
    SELECT *, CASE
        WHEN revoked OR user_epoch < epoch THEN 'revoked'
        WHEN {expired} AND now >= least(absolute_at, idle_at) THEN 'expired'
        WHEN $2 > generation THEN 'ahead'
        WHEN $2 = generation THEN CASE
            WHEN current <> $3 THEN 'forked'
            WHEN same_retry THEN 'retry-key'
            WHEN in_grace THEN 'kept'
            ELSE 'rotated' END
        WHEN $2 + 1 = generation THEN CASE
            WHEN previous IS DISTINCT FROM $3 THEN 'forked'
            WHEN NOT (in_grace OR in_retry) THEN 'reuse'
            WHEN replays >= $10 THEN 'too-many'
            ELSE 'replayed' END
        ELSE 'reuse' END AS verdict
    FROM windows
), written AS (
    UPDATE jwt_refresh.sessions s SET
        revoked = v.verdict IN ('forked', 'reuse') AND {reuse},
        replays = CASE v.verdict
            WHEN 'rotated' THEN 0 WHEN 'replayed' THEN v.replays + 1 ELSE v.replays END,
        previous = CASE v.verdict WHEN 'rotated' THEN v.current ELSE v.previous END,
        current = CASE v.verdict WHEN 'rotated' THEN $4 ELSE v.current END,
        generation = CASE v.verdict WHEN 'rotated' THEN v.generation + 1 ELSE v.generation END,
        nonce = CASE v.verdict WHEN 'rotated' THEN $5 ELSE v.nonce END,
        key_id = CASE v.verdict WHEN 'rotated' THEN $6 ELSE v.key_id END,
        retry = CASE v.verdict WHEN 'rotated' THEN $7 ELSE v.retry END,
        rotated_at = CASE v.verdict WHEN 'rotated' THEN v.now ELSE v.rotated_at END,
        idle_at = CASE v.verdict
            WHEN 'rotated' THEN least(v.now + $11, v.absolute_at) ELSE v.idle_at END
    FROM judged v
    WHERE s.id = v.id AND v.verdict IN ('rotated', 'replayed', 'forked', 'reuse')
), published AS (
    INSERT INTO jwt_refresh.feed (at, kind, session, until_at)
    SELECT now, 's', id, now + $12 FROM judged WHERE verdict IN ('forked', 'reuse')
)
SELECT verdict, now, absolute_at, user_epoch, nonce, key_id FROM judged"
    )
}

const REVOKE_SESSION: &str = "
WITH ended AS (
    UPDATE jwt_refresh.sessions SET revoked = true WHERE id = $1 RETURNING id
)
INSERT INTO jwt_refresh.feed (at, kind, session, until_at)
SELECT now, 's', $1, now + $2
FROM (SELECT jwt_refresh.now_ms() AS now, (SELECT count(*) FROM ended)) AS clock
RETURNING session, until_at";

const REVOKE_USER: &str = "
WITH raised AS (
    INSERT INTO jwt_refresh.users (user_id, epoch) VALUES ($1, 1)
    ON CONFLICT (user_id) DO UPDATE SET epoch = jwt_refresh.users.epoch + 1
    RETURNING epoch
), clock AS MATERIALIZED (
    SELECT epoch, jwt_refresh.now_ms() AS now FROM raised
)
INSERT INTO jwt_refresh.feed (at, kind, subject, epoch, until_at)
SELECT now, 'u', $1, epoch, now + $2 FROM clock
RETURNING epoch, until_at";

const REVOKE_OTHERS: &str = "
WITH wanted AS MATERIALIZED (
    SELECT id FROM jwt_refresh.sessions WHERE user_id = $1 AND id <> $2 ORDER BY id FOR UPDATE
), ended AS (
    UPDATE jwt_refresh.sessions s SET revoked = true FROM wanted w WHERE s.id = w.id
    RETURNING s.id
)
INSERT INTO jwt_refresh.feed (at, kind, session, until_at)
SELECT jwt_refresh.now_ms(), 's', id, jwt_refresh.now_ms() + $3 FROM ended
RETURNING session, until_at";

const REVOKE_TOKEN: &str = "
INSERT INTO jwt_refresh.feed (at, kind, subject, until_at)
SELECT now, 'j', $1, now + $2 FROM (SELECT jwt_refresh.now_ms() AS now) AS clock
RETURNING until_at";

const KILL_KEY: &str = "
WITH dead AS (
    INSERT INTO jwt_refresh.killed (kid) VALUES ($1) ON CONFLICT DO NOTHING
)
INSERT INTO jwt_refresh.feed (at, kind, subject) VALUES (jwt_refresh.now_ms(), 'k', $1)";

const SESSIONS: &str = "
SELECT s.id, s.client, s.device, s.created_at, coalesce(s.rotated_at, s.created_at),
    least(s.absolute_at, s.idle_at)
FROM jwt_refresh.sessions s JOIN jwt_refresh.users u USING (user_id)
WHERE s.user_id = $1 AND NOT s.revoked AND s.user_epoch >= u.epoch
    AND jwt_refresh.now_ms() < least(s.absolute_at, s.idle_at)
ORDER BY s.created_at";

/// One row more than there are entries: the last has the state of the feed.
///
/// The timeline is told with the number of the transaction: a promoted server that has lost the
/// last transactions gives their numbers to others.
const FEED_FROM: &str = "
WITH clock AS MATERIALIZED (SELECT jwt_refresh.now_ms() AS now)
SELECT f.kind, f.session, f.subject, f.epoch, f.until_at,
    f.xid >= pg_snapshot_xmin(pg_current_snapshot()), NULL::text, NULL::bigint, NULL::bigint
FROM jwt_refresh.feed f, clock WHERE f.at >= clock.now - $1
UNION ALL
SELECT NULL, NULL, NULL, NULL, NULL, NULL,
    CASE WHEN pg_is_in_recovery() THEN '-'
        ELSE substr(pg_walfile_name(pg_current_wal_insert_lsn()), 1, 8) END
    || '/' || pg_snapshot_xmin(pg_current_snapshot())::text, clock.now, h.at
FROM jwt_refresh.heartbeat h, clock";

const FEED_SINCE: &str = "
SELECT f.kind, f.session, f.subject, f.epoch, f.until_at,
    f.xid >= pg_snapshot_xmin(pg_current_snapshot()), NULL::text, NULL::bigint, NULL::bigint
FROM jwt_refresh.feed f WHERE f.xid >= ($1::text)::xid8
UNION ALL
SELECT NULL, NULL, NULL, NULL, NULL, NULL,
    CASE WHEN pg_is_in_recovery() THEN '-'
        ELSE substr(pg_walfile_name(pg_current_wal_insert_lsn()), 1, 8) END
    || '/' || pg_snapshot_xmin(pg_current_snapshot())::text, jwt_refresh.now_ms(), h.at
FROM jwt_refresh.heartbeat h";

const HEARTBEAT: &str = "
UPDATE jwt_refresh.heartbeat SET at = jwt_refresh.now_ms()
WHERE at <= jwt_refresh.now_ms() - $1 OR at > jwt_refresh.now_ms()";

/// Entries stay for two hours: longer than any access token with its leeway.
const SWEEP: &str = "
WITH entries AS (
    DELETE FROM jwt_refresh.feed WHERE at < jwt_refresh.now_ms() - 7200000
)
DELETE FROM jwt_refresh.sessions WHERE id IN (
    SELECT id FROM jwt_refresh.sessions
    WHERE absolute_at < jwt_refresh.now_ms() - 86400000 LIMIT 1000 FOR UPDATE SKIP LOCKED)";
