//! Nothing of one caller's session is left for the next, and a commit says what happened.

use std::time::Duration;

use shard_router::{Error, Router, Scatter, Shard, asc};

use crate::bed::{Bed, DEADLINE, count_of, order};

/// All callers have one connection.
async fn one(bed: &Bed) -> Router {
    let router = bed.builder().pool_size(1).scatters(1).build().unwrap();
    router.install().await.unwrap();
    router
}

async fn text(router: &Router, sql: &'static str) -> Result<String, Error> {
    let asking = |shard: Shard| async move { Ok(shard.query_one(sql, &[]).await?.get(0)) };
    router.with(&1_i64, asking).await
}

/// In a transaction that nobody ends, the next callers' writes would be lost.
#[tokio::test]
async fn a_statement_cannot_begin_a_transaction_for_the_next_caller() {
    let bed = Bed::databases(1).await;
    let router = one(&bed).await;
    for sql in ["BEGIN", " /* a */ start transaction", "-- b\ncommit", "SET work_mem = '1MB'"] {
        let begin = |shard: Shard| async move { shard.execute(sql, &[]).await };
        let error = router.with(&1_i64, begin).await.unwrap_err();
        assert!(matches!(error, Error::SessionState { .. }), "{sql}: {error}");
    }
    order(&router, 1, 1, 1).await.unwrap();
    let client = bed.client(0).await;
    let rows: i64 = client.query_one("SELECT count(*) FROM orders", &[]).await.unwrap().get(0);
    assert_eq!(rows, 1, "another connection sees it");
}

#[tokio::test]
async fn nothing_of_a_session_is_left_to_the_next_caller() {
    let bed = Bed::databases(1).await;
    let router = one(&bed).await;
    let asks = "SELECT concat_ws(' ', current_setting('work_mem'), \
        (SELECT count(*) FROM pg_locks WHERE locktype = 'advisory'), \
        (SELECT count(*) FROM pg_listening_channels()), to_regclass('pg_temp.mine')::text)";
    let clean = text(&router, asks).await.unwrap();
    for sql in [
        "SET work_mem = '1MB'",
        "SELECT set_config('work_mem', '1MB', false)",
        "SELECT pg_advisory_lock(7)",
        "SELECT count(pg_try_advisory_lock_shared(7))",
        "LISTEN news",
        "CREATE TEMP TABLE mine (id int)",
        "SELECT 1 AS id INTO TEMPORARY mine",
    ] {
        // By itself it is refused; in a transaction it holds until that ends.
        let alone = |shard: Shard| async move { shard.query(sql, &[]).await };
        let error = router.with(&1_i64, alone).await.unwrap_err();
        assert!(matches!(error, Error::SessionState { .. }), "{sql}: {error}");
        assert_eq!(text(&router, asks).await.unwrap(), clean, "{sql}");
        for batch in [false, true] {
            let inside = |shard: Shard| async move {
                let tx = shard.begin().await?;
                if batch {
                    tx.batch_execute(&format!("SELECT 1; {sql}")).await?;
                } else {
                    tx.execute(sql, &[]).await?;
                }
                tx.commit().await
            };
            router.with(&1_i64, inside).await.unwrap();
            testbed::eventually(DEADLINE, async || text(&router, asks).await.unwrap() == clean)
                .await;
        }
    }
    let scatter = router.scatter(Scatter::require_all());
    let error = scatter.query("SELECT set_config('work_mem', '1MB', false)", &[]).await;
    assert!(matches!(error, Err(Error::Question { .. })), "{error:?}");
    assert_eq!(text(&router, asks).await.unwrap(), clean);
}

/// What ends with the transaction costs no connection.
#[tokio::test]
async fn settings_of_a_transaction_keep_its_connection() {
    let bed = Bed::databases(1).await;
    let router = one(&bed).await;
    let pid = "SELECT pg_backend_pid()::text";
    let before = text(&router, pid).await.unwrap();
    let inside = |shard: Shard| async move {
        let tx = shard.begin().await?;
        tx.batch_execute("SET LOCAL work_mem = '1MB'; SAVEPOINT s; ROLLBACK TO s").await?;
        tx.execute("SELECT set_config('app.user', $1, true)", &[&"a; COMMIT"]).await?;
        tx.batch_execute("RELEASE s; SET CONSTRAINTS ALL DEFERRED").await?;
        tx.commit().await
    };
    router.with(&1_i64, inside).await.unwrap();
    assert_eq!(text(&router, pid).await.unwrap(), before);
}

/// Of whatever has ended or failed behind the transaction's back, a commit is no success.
#[tokio::test]
async fn a_commit_of_what_was_rolled_back_is_an_error() {
    let bed = Bed::databases(1).await;
    let router = one(&bed).await;
    for end in ["ROLLBACK", "COMMIT", "SELECT 1; END", "ABORT; BEGIN"] {
        let ended = |shard: Shard| async move {
            let tx = shard.begin().await?;
            tx.execute("INSERT INTO orders (id, user_id) VALUES (1, 1)", &[]).await?;
            tx.batch_execute(end).await?;
            tx.commit().await
        };
        let error = router.with(&1_i64, ended).await.unwrap_err();
        assert!(matches!(error, Error::SessionState { .. }), "{end}: {error}");
    }
    // A statement that nobody waited for fails, and nobody has heard of it.
    let unheard = |shard: Shard| async move {
        let tx = shard.begin().await?;
        tx.execute("INSERT INTO orders (id, user_id) VALUES (1, 1)", &[]).await?;
        let failing = tx.query("SELECT 1 / (pg_sleep(0.2)::text = 'x')::int", &[]);
        assert!(tokio::time::timeout(Duration::from_millis(50), failing).await.is_err());
        tx.commit().await
    };
    let error = router.with(&1_i64, unheard).await.unwrap_err();
    assert!(matches!(error, Error::TransactionAborted { .. }), "{error}");
    assert_eq!(count_of(&router, 1).await.unwrap(), 0);
}

/// It may be done again, and nobody has to wonder whether it was done.
#[tokio::test]
async fn a_transaction_whose_connection_is_lost_before_its_commit_was_not_done() {
    let bed = Bed::databases(1).await;
    let router = one(&bed).await;
    let killed = |shard: Shard| async move {
        let tx = shard.begin().await?;
        tx.execute("INSERT INTO orders (id, user_id) VALUES (1, 1)", &[]).await?;
        let end = "SELECT pg_terminate_backend(pg_backend_pid())";
        assert_eq!(tx.query(end, &[]).await.unwrap_err().code().unwrap().code(), "57P01");
        // By now it is closed.
        assert!(tx.query("SELECT 1", &[]).await.unwrap_err().code().is_none());
        tx.commit().await
    };
    let error = router.with(&1_i64, killed).await.unwrap_err();
    assert!(matches!(error, Error::TransactionLost { .. }), "{error}");
    assert!(error.is_transient() && !error.may_have_happened());
    assert_eq!(count_of(&router, 1).await.unwrap(), 0);
}

#[tokio::test]
async fn a_panic_in_a_transaction_rolls_back() {
    let bed = Bed::databases(1).await;
    let router = one(&bed).await;
    let task = tokio::spawn({
        let router = router.clone();
        async move {
            let panicking = |shard: Shard| async move {
                let tx = shard.begin().await?;
                tx.execute("INSERT INTO orders (id, user_id) VALUES (1, 1)", &[]).await?;
                assert!(tx.shard().as_str() == "b", "the closure panics");
                tx.commit().await
            };
            router.with(&1_i64, panicking).await
        }
    });
    assert!(task.await.unwrap_err().is_panic());
    assert_eq!(count_of(&router, 1).await.unwrap(), 0);
}

/// Its data would be waited for on the connection that the next caller has.
#[tokio::test]
async fn a_copy_does_not_take_the_connection_along() {
    let bed = Bed::databases(1).await;
    let router = one(&bed).await;
    for sql in ["COPY orders FROM STDIN", "COPY orders TO STDOUT"] {
        let copy = |shard: Shard| async move { shard.query(sql, &[]).await };
        let error = router.with(&1_i64, copy).await.unwrap_err();
        assert_eq!(error.shard().unwrap().as_str(), "a", "{error}");
        let next = tokio::time::timeout(Duration::from_secs(5), count_of(&router, 1)).await;
        assert_eq!(next.unwrap().unwrap(), 0);
    }
}

#[tokio::test]
async fn a_connection_that_the_server_ends_is_not_used_again() {
    let bed = Bed::databases(1).await;
    let router = one(&bed).await;
    let client = bed.client(0).await;
    for _ in 0..20 {
        count_of(&router, 1).await.unwrap();
        let ending = |shard: Shard| async move {
            shard.query("SELECT pg_terminate_backend(pg_backend_pid())", &[]).await
        };
        router.with(&1_i64, ending).await.unwrap_err();
        assert_eq!(count_of(&router, 1).await.unwrap(), 0);
    }
    drop(client);
}

/// A table that has other columns since a statement was prepared costs one answer at most in
/// transactions, and none in scatters.
#[tokio::test]
async fn a_schema_change_is_noticed_by_transactions_and_scatters() {
    let bed = Bed::databases(1).await;
    let router = bed.builder().pool_size(3).scatters(2).build().unwrap();
    router.install().await.unwrap();
    order(&router, 1, 1, 1).await.unwrap();
    let in_transaction = async || {
        let asking = |shard: Shard| async move {
            let tx = shard.begin().await?;
            let rows = tx.query("SELECT * FROM orders", &[]).await?;
            tx.commit().await?;
            Ok::<_, Error>(rows[0].len())
        };
        router.with(&1_i64, asking).await
    };
    let all = || router.scatter(Scatter::require_all()).query("SELECT * FROM orders", &[]);
    // On every connection there is.
    let three =
        async || futures_util::join!(in_transaction(), in_transaction(), in_transaction());
    assert_eq!(three().await.0.unwrap(), 5);
    assert_eq!(all().await.unwrap()[0].len(), 5);
    let client = bed.client(0).await;
    client.batch_execute("ALTER TABLE orders ADD more int").await.unwrap();
    assert_eq!(all().await.unwrap()[0].len(), 6);
    let mut stream = all().order_by([asc("id")]).stream().await.unwrap();
    assert_eq!(stream.next().await.unwrap().unwrap().len(), 6);
    drop(stream);
    let mut failed = 0;
    for _ in 0..6 {
        match in_transaction().await {
            Ok(columns) => assert_eq!(columns, 6),
            Err(error) => {
                assert!(error.is_transient(), "{error}");
                failed += 1;
            }
        }
    }
    assert!(failed <= 1, "{failed}");
}
