//! Routing, session by session.

use std::time::Duration;

use futures_util::StreamExt;
use rw_split::{ConsistencyScope, Error, Level, Reason, ServerConfig, TxOptions};
use testbed::eventually;
use testbed::link::Link;

use super::bed::{Bed, DEADLINE, get, session, set};

#[tokio::test]
async fn reads_are_on_replicas_and_writes_on_the_primary() {
    let bed = Bed::new(2).await;
    let db = bed.db().await;
    session()
        .enter(async {
            for n in 0..20 {
                get(&db, n % 10).await;
            }
            set(&db, 1, 5).await;
        })
        .await;
    let stats = db.stats();
    assert_eq!((stats.on_replicas, stats.reads_on_primary, stats.writes), (20, 0, 1));
}

#[tokio::test]
async fn a_write_is_read_back_while_replay_is_paused() {
    let bed = Bed::new(2).await;
    let db = bed.db().await;
    for replica in &bed.replicas {
        replica.pause_replay().await.unwrap();
    }
    let one = session();
    one.enter(async {
        for n in 1..50 {
            set(&db, 1, n).await;
            assert_eq!(get(&db, 1).await, n);
        }
    })
    .await;
    // Another session has not written, and stays on a replica.
    let before = db.stats();
    assert_eq!(session().enter(get(&db, 1)).await, 0);
    assert_eq!(db.stats().on_replicas, before.on_replicas + 1);
    // One that continues the first has the floor.
    let token = one.token();
    assert_eq!(db.with_token(token, get(&db, 1)).await, 49);
    assert_eq!(db.stats().on_replicas, before.on_replicas + 1);
    // Code outside of sessions sees what the process wrote.
    assert_eq!(get(&db, 1).await, 49);
    assert_eq!(db.stats().unscoped_reads, 1);

    for replica in &bed.replicas {
        replica.resume_replay().await.unwrap();
    }
    let before = db.stats().on_replicas;
    eventually(DEADLINE, async || {
        assert_eq!(one.enter(get(&db, 1)).await, 49);
        db.stats().on_replicas > before
    })
    .await;
}

#[tokio::test]
async fn a_session_does_not_go_back_when_its_replica_dies() {
    let bed = Bed::new(2).await;
    // What is remembered of the primary is old.
    let second = Duration::from_secs(1);
    let db =
        bed.builder().poll_interval(9 * second).patience(9 * second).build().await.unwrap();
    let writer = bed.client().await;
    bed.replicas[1].pause_replay().await.unwrap();
    writer.batch_execute("UPDATE t SET n = 7 WHERE id = 1").await.unwrap();
    bed.replicas[0].caught_up(DEADLINE).await.unwrap();
    // A session that has seen the 7 on the replica in step.
    let one = loop {
        let one = session();
        if one.enter(get(&db, 1)).await == 7 {
            break one;
        }
    };
    bed.replicas[0].kill().await.unwrap();
    for _ in 0..20 {
        assert_eq!(one.enter(get(&db, 1)).await, 7);
    }
    assert!(db.stats().moves >= 1);
    assert!(db.stats().reads_on_primary >= 1);
}

#[tokio::test]
async fn a_read_waits_for_a_replica_that_is_about_to_have_it() {
    let bed = Bed::new(1).await;
    let db = bed.builder().max_wait(Duration::from_millis(500)).build().await.unwrap();
    let one = session();
    one.enter(async {
        for n in 0..20 {
            set(&db, 1, n).await;
            assert_eq!(get(&db, 1).await, n);
        }
    })
    .await;
    let stats = db.stats();
    assert!(stats.waits > 0, "{stats:?}");
    assert!(stats.on_replicas >= 18, "{stats:?}");
}

#[tokio::test]
async fn transactions_streams_and_errors() {
    let bed = Bed::new(1).await;
    let db = bed.db().await;
    let scope = session();
    scope
        .enter(async {
            // In a spawned task, to show that it can be.
            let (db2, token) = (db.clone(), db.token());
            let token = tokio::spawn(async move {
                let scope = ConsistencyScope::new(token);
                scope
                    .enter(db2.transaction(async |tx| {
                        tx.execute("UPDATE t SET n = n + 1 WHERE id = 2", &[]).await?;
                        let row = tx.query_one("SELECT n FROM t WHERE id = 2", &[]).await?;
                        assert_eq!(row.get::<_, i64>(0), 1);
                        Ok::<_, Error>(())
                    }))
                    .await
                    .unwrap();
                scope.token()
            })
            .await
            .unwrap();
            assert_eq!(db.with_token(token, get(&db, 2)).await, 1);

            // A statement's error that is passed over rolls back, and says so.
            let swallowed: Result<(), Error> = db
                .transaction(async |tx| {
                    tx.execute("UPDATE t SET n = 99 WHERE id = 2", &[]).await?;
                    let _ = tx.execute("INSERT INTO t VALUES (2, 0)", &[]).await;
                    Ok(())
                })
                .await;
            assert!(matches!(swallowed, Err(Error::TransactionAborted)), "{swallowed:?}");
            assert_eq!(get(&db, 2).await, 1);

            let mut rows = db
                .query_raw("UPDATE t SET n = 3 WHERE id < 5 RETURNING id", &[])
                .await
                .unwrap();
            let mut count = 0;
            while let Some(row) = rows.next().await {
                row.unwrap();
                count += 1;
            }
            assert_eq!((count, get(&db, 4).await), (5, 3));

            let sum = db
                .read_only(async |tx| {
                    let row = tx.query_one("SELECT sum(n)::bigint FROM t", &[]).await?;
                    Ok::<i64, Error>(row.get(0))
                })
                .await
                .unwrap();
            assert_eq!(sum, 15);

            let refused = db.execute("SET work_mem = '1MB'", &[]).await.unwrap_err();
            assert!(matches!(refused, Error::NeedsConnection(Reason::SessionState)));
            let wrong = db.query("SELECT nothing FROM t", &[]).await.unwrap_err();
            assert_eq!(wrong.code().unwrap().code(), "42703");
            let count = db.query_one("SELECT n FROM t", &[]).await.unwrap_err();
            assert!(matches!(count, Error::RowCount { found: 10 }));
        })
        .await;
}

#[tokio::test]
async fn a_transaction_is_replayed_after_a_serialization_failure() {
    let bed = Bed::new(0).await;
    let db = bed.db().await;
    let options =
        TxOptions::new().isolation(rw_split::IsolationLevel::Serializable).replays(50);
    let add = || async {
        db.transaction_with(options, async |tx| {
            let n: i64 = tx.query_one("SELECT n FROM t WHERE id = 1", &[]).await?.get(0);
            tokio::task::yield_now().await;
            tx.execute("UPDATE t SET n = $1 WHERE id = 1", &[&(n + 1)]).await?;
            Ok::<_, Error>(())
        })
        .await
    };
    let all = futures_util::future::join_all((0..8).map(|_| add())).await;
    assert!(all.iter().all(Result::is_ok), "{all:?}");
    assert_eq!(get(&db, 1).await, 8);
    assert!(db.stats().retries > 0);
}

#[tokio::test]
async fn a_dropped_query_leaves_no_connection_busy() {
    let bed = Bed::new(0).await;
    let db = bed.builder().pool_size(1).build().await.unwrap();
    let sleep = db.execute("SELECT pg_sleep(20)", &[]);
    assert!(tokio::time::timeout(Duration::from_millis(100), sleep).await.is_err());
    let next = tokio::time::timeout(Duration::from_secs(5), get(&db, 1)).await;
    assert_eq!(next.unwrap(), 0);
    // The server was asked to stop it.
    let client = bed.client().await;
    eventually(DEADLINE, async || {
        let sql = "SELECT count(*) FROM pg_stat_activity WHERE state = 'active' \
            AND query LIKE 'SELECT pg_sleep%'";
        client.query_one(sql, &[]).await.unwrap().get::<_, i64>(0) == 0
    })
    .await;
    // A dropped write may have happened: the session reads from the primary.
    let scope = session();
    scope
        .enter(async {
            let write = db.execute("UPDATE t SET n = 1 WHERE pg_sleep(20) IS NULL", &[]);
            assert!(tokio::time::timeout(Duration::from_millis(100), write).await.is_err());
        })
        .await;
    assert_eq!(db.stats().unknown_outcomes, 1);
    let before = db.stats().reads_on_primary;
    scope.enter(get(&db, 1)).await;
    assert_eq!(db.stats().reads_on_primary, before + 1);
}

#[tokio::test]
async fn waiters_for_a_connection_are_served_in_turn() {
    let bed = Bed::new(0).await;
    let db = bed.builder().pool_size(25).build().await.unwrap();
    let counts: Vec<_> = (0..120)
        .map(|_| {
            let db = db.clone();
            tokio::spawn(async move {
                let end = tokio::time::Instant::now() + Duration::from_secs(2);
                let mut count = 0;
                while tokio::time::Instant::now() < end {
                    get(&db, 1).await;
                    count += 1;
                }
                count
            })
        })
        .collect();
    let counts: Vec<u32> =
        futures_util::future::join_all(counts).await.into_iter().map(Result::unwrap).collect();
    let (least, most) = (counts.iter().min().unwrap(), counts.iter().max().unwrap());
    println!("120 callers over 25 connections: {least} to {most} queries each");
    assert!(*least > 0 && *most <= 3 * *least, "{least} to {most}");

    let small = bed
        .builder()
        .pool_size(1)
        .pool_timeout(Duration::from_millis(200))
        .build()
        .await
        .unwrap();
    let hold = small.primary_connection().await.unwrap();
    let error = small.execute("UPDATE t SET n = 1", &[]).await.unwrap_err();
    assert!(error.to_string().contains("all 1 connections to a were in use"), "{error}");
    drop(hold);
    set(&small, 1, 1).await;
}

#[tokio::test]
async fn a_statement_timeout_is_the_servers() {
    let bed = Bed::new(1).await;
    let db = bed.builder().statement_timeout(Duration::from_millis(50)).build().await.unwrap();
    let error = db.query("SELECT pg_sleep(5)", &[]).await.unwrap_err();
    assert_eq!(error.code().unwrap().code(), "57014");
    assert_eq!(db.stats().retries, 0);
}

#[tokio::test]
async fn a_blackholed_replica_holds_nobody_up() {
    let bed = Bed::new(1).await;
    let link = Link::to(bed.replicas[0].addr()).unwrap();
    let db = rw_split::RwSplit::builder()
        .server(ServerConfig::new(bed.primary.url()).name("a"))
        .server(ServerConfig::new(bed.primary.url_at(link.addr())).name("b"))
        .patience(Duration::from_millis(300))
        .build()
        .await
        .unwrap();
    let one = session();
    one.enter(get(&db, 1)).await;
    assert_eq!(db.stats().on_replicas, 1);
    link.blackhole();
    let read = tokio::time::timeout(Duration::from_secs(3), one.enter(get(&db, 1))).await;
    assert_eq!(read.unwrap(), 0);
    assert_eq!(db.stats().reads_on_primary, 1);
    link.heal();
    eventually(DEADLINE, async || {
        session().enter(get(&db, 1)).await;
        db.stats().on_replicas > 1
    })
    .await;
}

#[tokio::test]
async fn eventual_reads_stay_on_replicas_and_explicit_ones_go_to_the_primary() {
    let bed = Bed::new(1).await;
    let db = bed.db().await;
    bed.replicas[0].pause_replay().await.unwrap();
    session()
        .enter(async {
            set(&db, 1, 5).await;
            assert_eq!(get(&db.at_level(Level::Eventual), 1).await, 0);
            assert_eq!(get(&db.on_primary(), 1).await, 5);
        })
        .await;
}

/// The position is then behind a header of the new segment, where no replica
/// gets to until something else is written.
#[tokio::test]
async fn a_floor_behind_a_header_is_reached_on_an_idle_primary() {
    let bed = Bed::new(1).await;
    let db = bed.db().await;
    let one = session();
    one.enter(async {
        set(&db, 1, 1).await;
        let route = rw_split::RwSplit::route("SELECT pg_switch_wal()");
        assert_eq!(route.reason(), Reason::UnknownFunction);
        db.query("SELECT pg_switch_wal()", &[]).await.unwrap();
        let row = db
            .on_primary()
            .query_one("SELECT pg_current_wal_insert_lsn()::text", &[])
            .await
            .unwrap();
        let at: String = row.get(0);
        assert!(at.ends_with("000028"), "the primary is not idle: {at}");
    })
    .await;
    let before = db.stats().on_replicas;
    eventually(Duration::from_secs(5), async || {
        one.enter(get(&db, 1)).await;
        db.stats().on_replicas > before
    })
    .await;
}

/// What the server has written and flushed is behind such a commit for up to
/// some hundred milliseconds.
#[tokio::test]
async fn an_asynchronous_commit_is_read_back() {
    let bed = Bed::new(1).await;
    let role = "ALTER ROLE postgres SET synchronous_commit = off";
    bed.client().await.batch_execute(role).await.unwrap();
    let db = bed.db().await;
    session()
        .enter(async {
            for n in 1..=50 {
                set(&db, 1, n).await;
                assert_eq!(get(&db, 1).await, n);
            }
        })
        .await;
}

/// By the time that the position is asked for, the setting is over.
#[tokio::test]
async fn a_commit_that_was_made_asynchronous_by_its_transaction_is_read_back() {
    let bed = Bed::new(1).await;
    let db = bed.db().await;
    session()
        .enter(async {
            for n in 1..=50_i64 {
                db.transaction(async |tx| {
                    tx.simple_query("SET LOCAL synchronous_commit = off").await?;
                    tx.execute("UPDATE t SET n = $1 WHERE id = 1", &[&n]).await?;
                    Ok::<_, Error>(())
                })
                .await
                .unwrap();
                assert_eq!(get(&db, 1).await, n);
            }
        })
        .await;
}
