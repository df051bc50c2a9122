//! What an attack on the crate has found: each was a violation once.

use std::pin::pin;
use std::time::{Duration, Instant};

use futures_util::StreamExt;
use rw_split::{
    ConsistencyScope, ConsistencyToken, Error, Level, Reason, RwSplit, ServerConfig,
};
use testbed::eventually;
use testbed::link::Link;

use super::bed::{Bed, DEADLINE, get, session, set};

/// A process of the replica is killed (as by the kernel, short of memory): its
/// postmaster stays, and begins all over from the last restart point. What it has
/// replayed is less than before, under the same start time.
#[tokio::test]
async fn a_replica_whose_process_was_killed_is_another_one() {
    let bed = Bed::new(1).await;
    let db = bed.db().await;
    let replica = &bed.replicas[0];
    let pid = "SELECT pg_backend_pid()";
    let victim = replica.client().await.unwrap();
    let victim_pid: i32 = victim.query_one(pid, &[]).await.unwrap().get(0);
    let one = session();
    one.enter(set(&db, 1, 7)).await;
    bed.caught_up().await;
    let before = db.stats().on_replicas;
    eventually(DEADLINE, async || {
        assert_eq!(one.enter(get(&db, 1)).await, 7);
        db.stats().on_replicas > before
    })
    .await;
    // One that has only seen it, there.
    let two = session();
    assert_eq!(two.enter(get(&db, 1)).await, 7);

    // From here on commits are applied late: also those that are applied again.
    let hour = "ALTER SYSTEM SET recovery_min_apply_delay = '1h'";
    victim.batch_execute(hour).await.unwrap();
    victim.batch_execute("SELECT pg_reload_conf()").await.unwrap();
    let started = "SELECT pg_postmaster_start_time()::text";
    let life: String = victim.query_one(started, &[]).await.unwrap().get(0);
    std::process::Command::new("kill").args(["-9", &victim_pid.to_string()]).status().unwrap();
    let shown = "SELECT n FROM t WHERE id = 1";
    eventually(DEADLINE, async || {
        let Ok(client) = replica.client().await else { return false };
        let Ok(row) = client.query_one(shown, &[]).await else { return false };
        let Ok(now) = client.query_one(started, &[]).await else { return false };
        assert_eq!(now.get::<_, String>(0), life, "the postmaster has stayed");
        row.get::<_, i64>(0) != 7
    })
    .await;
    let end = Instant::now() + Duration::from_millis(500);
    while Instant::now() < end {
        assert_eq!(one.enter(get(&db, 1)).await, 7, "a write is not read back");
        assert_eq!(two.enter(get(&db, 1)).await, 7, "what was seen is gone");
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
}

/// `currval` and its like belong to one connection, wherever they are written.
#[tokio::test]
async fn the_state_of_a_session_is_refused_in_writes_too() {
    let bed = Bed::new(0).await;
    let db = bed.db().await;
    bed.client().await.batch_execute("CREATE SEQUENCE s").await.unwrap();
    for sql in [
        "INSERT INTO t VALUES (100, currval('s'))",
        "INSERT INTO t VALUES (100, lastval())",
        "UPDATE t SET n = 1 WHERE pg_try_advisory_lock(7)",
        "WITH x AS (SELECT 1) INSERT INTO t SELECT 100, pg_catalog.currval('s')",
        "SELECT DISTINCT ON (id) pg_advisory_lock(id) FROM t",
        "SELECT (1) OPERATOR(pg_catalog.+) currval('s')",
        "SELECT 1 AS n INTO TEMP t",
        "SELECT 1 AS n INTO pg_temp.t",
        "CREATE TABLE \"pg_temp\".t (n int)",
    ] {
        let refused = db.execute(sql, &[]).await;
        assert!(
            matches!(refused, Err(Error::NeedsConnection(Reason::SessionState))),
            "{sql}: {refused:?}"
        );
    }
}

/// A migration changes what a prepared statement returns.
#[tokio::test]
async fn statements_are_prepared_again_after_a_migration() {
    let bed = Bed::new(1).await;
    let db = bed.builder().pool_size(1).build().await.unwrap();
    let update = "UPDATE t SET n = n + 1 WHERE id = 1 RETURNING *";
    let select = "SELECT * FROM t WHERE id = 1";
    let one = session();
    let in_tx = async || {
        db.transaction(async |tx| tx.query_one(update, &[]).await.map(|row| row.len())).await
    };
    one.enter(async {
        db.query_one(update, &[]).await.unwrap();
        db.query_one(select, &[]).await.unwrap();
        let migrate = bed.client().await;
        migrate.batch_execute("ALTER TABLE t ADD COLUMN one int").await.unwrap();
        assert_eq!(db.query_one(update, &[]).await.unwrap().len(), 3);
        assert_eq!(db.query_one(select, &[]).await.unwrap().len(), 3);
        migrate.batch_execute("ALTER TABLE t ADD COLUMN two int").await.unwrap();
        // It has failed once at most: not for as long as the connection lives.
        let first: Result<usize, Error> = in_tx().await;
        let second = in_tx().await;
        assert_eq!(second.unwrap(), 4, "{first:?}");
        bed.caught_up().await;
        for _ in 0..4 {
            assert_eq!(db.query_one(select, &[]).await.unwrap().len(), 4);
        }
    })
    .await;
    let n: i64 = bed.client().await.query_one(select, &[]).await.unwrap().get(1);
    assert!((3..=4).contains(&n), "{n}");
}

#[tokio::test]
async fn a_text_that_cannot_be_sent_is_refused_at_once() {
    let bed = Bed::new(1).await;
    let db = bed.db().await;
    for sql in ["UPDATE t SET n = 1 WHERE 'a\0b' = 'a'", "SELECT 1 \0", "SELECT 'a\0b'"] {
        let began = Instant::now();
        let error = db.query(sql, &[]).await.unwrap_err();
        assert!(matches!(error, Error::Sql(_)), "{error:?}");
        let error = db.simple_query(sql).await.unwrap_err();
        assert!(matches!(error, Error::Sql(_)), "{error:?}");
        assert!(began.elapsed() < Duration::from_secs(1), "{:?}", began.elapsed());
    }
    assert_eq!((db.stats().retries, db.stats().unknown_outcomes), (0, 0));
    let value = db.query("SELECT $1::text", &[&"a\0b"]).await.unwrap_err();
    assert_eq!(value.code().unwrap().code(), "22021");
}

/// Rows come while the transaction around them is open.
#[tokio::test]
async fn a_long_stream_from_a_shared_address_comes_to_its_end() {
    let bed = Bed::new(1).await;
    let db = RwSplit::builder()
        .server(ServerConfig::new(bed.primary.url()).name("a"))
        .server(ServerConfig::new(bed.replicas[0].url()).name("b").shared_address())
        .pool_size(1)
        .build()
        .await
        .unwrap();
    for _ in 0..2 {
        let one = session();
        let count = one.enter(async {
            let sql = "SELECT repeat('x', 1000) FROM generate_series(1, 20000)";
            let rows = db.query_raw(sql, &[]).await.unwrap();
            rows.map(Result::unwrap).count().await
        });
        let count = tokio::time::timeout(Duration::from_secs(10), count).await;
        assert_eq!(count.expect("the stream does not hang"), 20_000);
    }
    assert_eq!(db.stats().on_replicas, 2);
}

#[tokio::test]
async fn a_pin_window_of_a_session_is_kept() {
    let bed = Bed::new(1).await;
    let db = bed.db().await;
    bed.replicas[0].pause_replay().await.unwrap();
    let window = Level::PinWindow(Duration::from_secs(5));
    let one = ConsistencyScope::at_level(ConsistencyToken::default(), window);
    one.enter(async {
        set(&db, 1, 3).await;
        assert_eq!(get(&db, 1).await, 3);
    })
    .await;
    let pinned = db.at_level(window);
    session()
        .enter(async {
            set(&pinned, 1, 4).await;
            assert_eq!(get(&pinned, 1).await, 4);
        })
        .await;
}

/// An error that says what the primary has is something seen there: who was told
/// that a row exists finds it.
#[tokio::test]
async fn what_a_failed_write_has_told_is_read_back() {
    let bed = Bed::new(1).await;
    let db = bed.db().await;
    bed.replicas[0].pause_replay().await.unwrap();
    let other = bed.client().await;
    for (id, in_transaction) in [(101_i32, false), (102, true)] {
        let sql = "INSERT INTO t VALUES ($1, 1)";
        other.execute(sql, &[&id]).await.unwrap();
        session()
            .enter(async {
                let told = if in_transaction {
                    db.transaction(async |tx| tx.execute(sql, &[&id]).await).await
                } else {
                    db.execute(sql, &[&id]).await
                };
                assert_eq!(told.unwrap_err().code().unwrap().code(), "23505");
                assert_eq!(get(&db, id).await, 1);
            })
            .await;
    }
    // What was committed in front of the error is there.
    session()
        .enter(async {
            let sql = "BEGIN; UPDATE t SET n = 9 WHERE id = 1; COMMIT; SELECT 1 / 0";
            assert!(db.simple_query(sql).await.is_err());
            assert_eq!(get(&db, 1).await, 9);
        })
        .await;
}

/// What a read-only transaction has shown was seen, however it ends.
#[tokio::test]
async fn what_a_read_only_transaction_has_shown_is_seen() {
    let bed = Bed::new(1).await;
    let db = bed.db().await;
    bed.replicas[0].pause_replay().await.unwrap();
    let other = bed.client().await;
    other.batch_execute("UPDATE t SET n = 5 WHERE id = 2").await.unwrap();
    session()
        .enter(async {
            // The session's own write keeps it from the replica.
            set(&db, 1, 1).await;
            let seen: Result<(), Error> = db
                .read_only(async |tx| {
                    let row = tx.query_one("SELECT n FROM t WHERE id = 2", &[]).await?;
                    assert_eq!(row.get::<_, i64>(0), 5);
                    Err(Error::RowCount { found: 0 })
                })
                .await;
            assert!(seen.is_err());
            let token = db.token();
            assert!(format!("{token:?}").contains("seen: Some"), "{token:?}");
        })
        .await;
}

#[tokio::test]
async fn a_read_does_not_hang_on_a_primary_that_is_away() {
    let bed = Bed::new(0).await;
    let link = Link::to(bed.primary.addr()).unwrap();
    let db = RwSplit::builder()
        .server(ServerConfig::new(bed.primary.url_at(link.addr())).name("a"))
        .patience(Duration::from_millis(300))
        .failover_wait(Duration::from_millis(500))
        .build()
        .await
        .unwrap();
    let one = session();
    one.enter(get(&db, 1)).await;
    link.blackhole();
    let read = one.enter(db.query("SELECT n FROM t", &[]));
    let read = tokio::time::timeout(Duration::from_secs(5), read).await;
    let error = read.expect("it does not hang").unwrap_err();
    assert!(error.is_transient(), "{error:?}");
    link.heal();
    eventually(DEADLINE, async || one.enter(db.query("SELECT n FROM t", &[])).await.is_ok())
        .await;
}

/// The answer to the statement that failed is looked at first, and an older one next.
#[tokio::test]
async fn a_transaction_with_a_failed_statement_beside_others_is_not_committed() {
    let bed = Bed::new(0).await;
    let db = bed.db().await;
    let (good, bad) = ("UPDATE t SET n = 99 WHERE id = 2", "SELECT 1 / n FROM t WHERE id = 1");
    for sql in [good, bad, "SELECT 1"] {
        // Prepared from here on, and sent when they are polled.
        db.on_primary().transaction(async |tx| tx.query(sql, &[]).await).await.ok();
    }
    db.execute("UPDATE t SET n = 0 WHERE id = 2", &[]).await.unwrap();
    let done: Result<(), Error> = db
        .transaction(async |tx| {
            let mut good = pin!(tx.execute(good, &[]));
            let mut bad = pin!(tx.query(bad, &[]));
            assert!(futures_util::poll!(good.as_mut()).is_pending());
            assert!(futures_util::poll!(bad.as_mut()).is_pending());
            // Answered behind both.
            assert!(tx.query("SELECT 1", &[]).await.is_err());
            assert!(bad.await.is_err());
            good.await.unwrap();
            Ok(())
        })
        .await;
    assert!(matches!(done, Err(Error::TransactionAborted)), "{done:?}");
    assert_eq!(get(&db, 2).await, 0);
    // A savepoint mends it.
    db.transaction(async |tx| {
        tx.execute("SAVEPOINT s", &[]).await?;
        assert!(tx.query(bad, &[]).await.is_err());
        tx.execute("ROLLBACK TO SAVEPOINT s", &[]).await?;
        tx.execute(good, &[]).await
    })
    .await
    .unwrap();
    assert_eq!(get(&db, 2).await, 99);
}

/// Connections that died in the pool: `BEGIN` has done nothing, and goes again.
#[tokio::test]
async fn a_transaction_begins_on_another_connection_if_its_first_is_dead() {
    let bed = Bed::new(1).await;
    let links = [bed.primary.addr(), bed.replicas[0].addr()].map(|a| Link::to(a).unwrap());
    let db = RwSplit::builder()
        .server(ServerConfig::new(bed.primary.url_at(links[0].addr())).name("a"))
        .server(ServerConfig::new(bed.primary.url_at(links[1].addr())).name("b"))
        .build()
        .await
        .unwrap();
    let one = session();
    for _ in 0..20 {
        one.enter(async {
            set(&db, 1, 1).await;
            get(&db, 1).await;
            get(&db.on_primary(), 1).await;
            for link in &links {
                link.cut();
                link.heal();
            }
            let sum = db.read_only(async |tx| tx.query_one("SELECT sum(n) FROM t", &[]).await);
            sum.await.unwrap();
            let add =
                db.transaction(async |tx| tx.execute("UPDATE t SET n = n + 1", &[]).await);
            add.await.unwrap();
        })
        .await;
    }
}
