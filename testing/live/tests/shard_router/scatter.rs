//! Questions to all shards: none is silently missing, and none is asked by accident.

use std::num::NonZeroUsize;
use std::time::Duration;

use futures_util::future::join_all;
use shard_router::{CoverageError, Error, Router, Scatter, asc};

use crate::bed::{Bed, DEADLINE, NAMES, count_of, fill, user_on};

const ALL: &str = "SELECT id, user_id, total FROM orders";

async fn count(router: &Router) -> Result<u64, Error> {
    router.scatter(Scatter::require_all()).query(ALL, &[]).count().await
}

#[tokio::test]
async fn all_rows_of_all_shards_and_aggregates() {
    let bed = Bed::databases(3).await;
    let router = bed.router().await;
    let ask = || router.scatter(Scatter::require_all()).query(ALL, &[]);
    assert_eq!(ask().count().await.unwrap(), 0);
    assert_eq!(ask().sum("total").await.unwrap(), None);
    assert_eq!(ask().avg("total").await.unwrap(), None);
    assert_eq!(ask().min::<i64>("total").await.unwrap(), None);
    fill(&router, 300).await;
    assert_eq!(ask().await.unwrap().len(), 300);
    assert_eq!(ask().count().await.unwrap(), 300);
    let sum: i64 = (0..300).map(|id| id % 97).sum();
    assert_eq!(ask().sum("total").await.unwrap(), Some(sum));
    let mean = ask().avg("total").await.unwrap().unwrap();
    assert!((mean - sum as f64 / 300.0).abs() < 1e-9);
    assert_eq!(ask().min::<i64>("id").await.unwrap(), Some(0));
    assert_eq!(ask().max::<i64>("id").await.unwrap(), Some(299));
    assert_eq!(ask().max::<f64>("id").await.unwrap(), Some(299.0));
    let text = ask().max::<String>("id").await.unwrap();
    assert_eq!(text.as_deref(), Some("99"), "texts are compared by bytes");
    // Parameters go to each shard.
    let some = router.scatter(Scatter::require_all());
    let some = some.query("SELECT 1 FROM orders WHERE total < $1", &[&10_i64]);
    assert_eq!(some.count().await.unwrap(), (0..300).filter(|id| id % 97 < 10).count() as u64);
}

#[tokio::test]
async fn a_sum_that_does_not_fit_is_an_error() {
    let bed = Bed::databases(2).await;
    let router = bed.router().await;
    for shard in ["a", "b"] {
        let user = user_on(&router, shard);
        crate::bed::order(&router, user, user, i64::MAX).await.unwrap();
    }
    let ask = || router.scatter(Scatter::require_all()).query(ALL, &[]);
    let error = ask().sum("total").await.unwrap_err();
    assert!(error.to_string().contains("use `sum_f64`"), "{error}");
    assert!(ask().sum_f64("total").await.unwrap().unwrap() > 1.8e19);
    let halves = router.scatter(Scatter::require_all()).query("SELECT 0.5 AS x", &[]);
    let error = halves.sum("x").await.unwrap_err();
    assert!(
        matches!(&error, Error::Aggregate { reason } if reason.contains("whole")),
        "{error}"
    );
    let ordered = ask().order_by([asc("id")]).count().await.unwrap_err();
    assert!(matches!(ordered, Error::Question { .. }));
}

/// A scatter is of what shards store, in the snapshot of the rows, and not of what the
/// router's map says.
#[tokio::test]
async fn shards_that_do_not_cover_all_slots_are_an_error() {
    let bed = Bed::databases(3).await;
    let router = bed.router().await;
    fill(&router, 30).await;
    let b = bed.client(1).await;
    b.batch_execute("UPDATE shard_router.owned SET last = last - 10").await.unwrap();
    let error = count(&router).await.unwrap_err();
    let Error::Coverage(CoverageError::Hole { range, slots: 10 }) = error else {
        panic!("{error}")
    };
    assert_eq!(range.len(), 10);
    b.batch_execute("UPDATE shard_router.owned SET last = last + 15").await.unwrap();
    let error = count(&router).await.unwrap_err();
    let Error::Coverage(CoverageError::Overlap { range, a, b: other }) = &error else {
        panic!("{error}")
    };
    assert_eq!((range.len(), a.as_str(), other.as_str()), (5, "b", "c"));
    assert!(error.to_string().contains("counted twice"), "{error}");
    b.batch_execute("UPDATE shard_router.owned SET last = last - 5").await.unwrap();
    assert_eq!(count(&router).await.unwrap(), 30);
    assert_eq!(router.stats().coverage_errors, 2);
}

/// What a shard says that it owns is of the rows' own snapshot: they go while the query waits
/// for their table, after the shard was asked what it owns.
#[tokio::test]
async fn rows_and_coverage_are_of_one_snapshot() {
    let bed = Bed::databases(1).await;
    let router = bed.router().await;
    fill(&router, 100).await;
    assert_eq!(count(&router).await.unwrap(), 100);
    let (holder, watcher) = (bed.client(0).await, bed.client(0).await);
    holder.batch_execute("BEGIN; LOCK TABLE orders").await.unwrap();
    let counting = tokio::spawn({
        let router = router.clone();
        async move { count(&router).await }
    });
    testbed::eventually(DEADLINE, async || {
        let sql = "SELECT count(*) FROM pg_locks WHERE NOT granted";
        watcher.query_one(sql, &[]).await.unwrap().get::<_, i64>(0) == 1
    })
    .await;
    let moved = "DELETE FROM orders; DELETE FROM shard_router.owned; COMMIT";
    holder.batch_execute(moved).await.unwrap();
    assert_eq!(counting.await.unwrap().unwrap(), 100);
    assert!(matches!(count(&router).await, Err(Error::Coverage(CoverageError::Hole { .. }))));
}

/// A shard whose epoch is behind says what was.
#[tokio::test]
async fn a_stale_epoch_is_missing() {
    let bed = Bed::databases(3).await;
    let router = bed.router().await;
    fill(&router, 30).await;
    for shard in [0, 2] {
        let client = bed.client(shard).await;
        client.batch_execute("UPDATE shard_router.state SET epoch = 2").await.unwrap();
    }
    let error = count(&router).await.unwrap_err();
    let Error::Missing { missing } = &error else { panic!("{error}") };
    assert_eq!(missing[0].shard.as_str(), "b");
    assert!(error.to_string().contains("stores epoch 1"), "{error}");
    // Nor does the map of an older epoch say what is missing.
    let one = Scatter::allow_missing(NonZeroUsize::MIN);
    let error = router.scatter(one).query(ALL, &[]).count().await.unwrap_err();
    assert!(matches!(error, Error::Coverage(CoverageError::Hole { .. })), "{error}");
}

/// Copied to their new owner, and not yet removed from the old one.
#[tokio::test]
async fn copied_rows_are_counted_once() {
    let bed = Bed::databases(2).await;
    let router = bed.router().await;
    fill(&router, 100).await;
    let (a, b) = (bed.client(0).await, bed.client(1).await);
    for row in b.query("SELECT id FROM orders", &[]).await.unwrap() {
        let id: i64 = row.get(0);
        let copy = "INSERT INTO orders (id, user_id, total) VALUES ($1::bigint, $1, $1 % 97)";
        a.execute(copy, &[&id]).await.unwrap();
    }
    let ask = || router.scatter(Scatter::require_all()).query(ALL, &[]);
    assert!(ask().count().await.unwrap() > 100);
    assert_eq!(ask().owned_by(["user_id"]).count().await.unwrap(), 100);
    let rows = ask().owned_by(["user_id"]).order_by([asc("id")]).await.unwrap();
    let ids: Vec<i64> = rows.iter().map(|row| row.get(0)).collect();
    assert_eq!(ids, (0..100).collect::<Vec<_>>());
    let error = ask().owned_by(["user_id", "id"]).count().await.unwrap_err();
    assert!(error.to_string().contains("names 2 columns, and a key has 1"), "{error}");
}

#[tokio::test]
async fn what_is_missing_cannot_be_overlooked() {
    let bed = Bed::servers(3).await;
    let router = bed.router().await;
    fill(&router, 60).await;
    bed.servers[1].kill().await.unwrap();
    let error = count(&router).await.unwrap_err();
    assert!(error.to_string().contains(" b (shard b cannot be reached"), "{error}");
    let one = Scatter::allow_missing(NonZeroUsize::MIN);
    let partial = router.scatter(one).query(ALL, &[]).count().await.unwrap();
    let (rows, missing) = partial.into_parts();
    assert!(0 < rows && rows < 60);
    assert_eq!(missing.len(), 1);
    assert_eq!((missing[0].shard.as_str(), missing[0].slots), ("b", 5461));
    let partial = router.scatter(one).query(ALL, &[]).order_by([asc("id")]).await.unwrap();
    assert!(partial.complete().is_err());
    bed.servers[2].kill().await.unwrap();
    let error = router.scatter(one).query(ALL, &[]).count().await.unwrap_err();
    assert!(matches!(&error, Error::Missing { missing } if missing.len() == 2), "{error}");
    for server in [1, 2] {
        bed.servers[server].restart().await.unwrap();
    }
    testbed::eventually(DEADLINE, async || count(&router).await.is_ok_and(|rows| rows == 60))
        .await;
}

/// It is no gap that a shard refuses the question: that is an error, whatever may be missing.
#[tokio::test]
async fn a_refused_statement_is_no_gap() {
    let bed = Bed::databases(2).await;
    let router = bed.router().await;
    bed.client(1).await.batch_execute("DROP TABLE orders").await.unwrap();
    let one = Scatter::allow_missing(NonZeroUsize::MIN);
    let error = router.scatter(one).query(ALL, &[]).count().await.unwrap_err();
    assert_eq!(error.shard().unwrap().as_str(), "b");
    assert_eq!(error.code().unwrap().code(), "42P01");
    let write = "INSERT INTO orders (id, user_id) VALUES (1, 1) RETURNING id";
    let error = router.scatter(one).query(write, &[]).await.unwrap_err();
    assert!(error.is_read_only() || error.code().is_some(), "{error}");
    let a = bed.client(0).await;
    let rows: i64 = a.query_one("SELECT count(*) FROM orders", &[]).await.unwrap().get(0);
    assert_eq!(rows, 0);
}

/// Scatters have connections to all shards or to none, so they never wait for each other, nor
/// do requests wait for them.
#[tokio::test]
async fn scatters_do_not_lock_each_other_out() {
    let bed = Bed::databases(4).await;
    let router = bed
        .builder()
        .pool_size(1)
        .scatters(1)
        .pool_timeout(Duration::from_secs(3))
        .build()
        .unwrap();
    router.install().await.unwrap();
    fill(&router, 40).await;
    let many = (0..60).map(async |number| {
        if number % 3 == 0 {
            return count_of(&router, number).await.map(|_| ());
        }
        let sql = "SELECT id, pg_sleep(0.002)::text FROM orders";
        router.scatter(Scatter::require_all()).query(sql, &[]).count().await.map(|_| ())
    });
    for outcome in join_all(many).await {
        outcome.unwrap();
    }
    // A stream that somebody holds keeps other scatters waiting, and no request.
    let mut stream = router
        .scatter(Scatter::require_all())
        .query(ALL, &[])
        .order_by([asc("id")])
        .stream()
        .await
        .unwrap();
    stream.next().await.unwrap().unwrap();
    for user in 0..40 {
        assert_eq!(count_of(&router, user).await.unwrap(), 1);
    }
    let scatter = Scatter::require_all().deadline(Duration::from_millis(100));
    let error = router.scatter(scatter).query(ALL, &[]).count().await.unwrap_err();
    assert!(matches!(error, Error::ScattersBusy { size: 1, .. }), "{error}");
    assert!(error.to_string().contains("raise `scatters`") && error.is_transient(), "{error}");
    drop(stream);
    assert_eq!(count(&router).await.unwrap(), 40);
}

/// Nothing that is dropped, at whatever moment, takes a connection away for good.
#[tokio::test]
async fn dropped_scatters_leave_nothing_behind() {
    let bed = Bed::databases(3).await;
    let router = bed.builder().pool_size(1).scatters(1).build().unwrap();
    router.install().await.unwrap();
    fill(&router, 30).await;
    for micros in (0..60).map(|step| step * 100) {
        let sql = "SELECT id, pg_sleep(0.001)::text FROM orders";
        let scatter = router.scatter(Scatter::require_all()).query(sql, &[]);
        let asking = IntoFuture::into_future(scatter);
        let _ = tokio::time::timeout(Duration::from_micros(micros), asking).await;
        let stream = router
            .scatter(Scatter::require_all())
            .query(ALL, &[])
            .order_by([asc("id")])
            .stream();
        if let Ok(Ok(mut stream)) =
            tokio::time::timeout(Duration::from_micros(micros), stream).await
        {
            for _ in 0..micros % 7 {
                stream.next().await;
            }
        }
    }
    assert_eq!(count(&router).await.unwrap(), 30);
    assert_eq!(router.stats().pool_timeouts, 0);
}

#[tokio::test]
async fn a_test_can_forbid_scatters() {
    let bed = Bed::databases(2).await;
    let router = bed.router().await;
    let guard = router.no_scatter();
    let error = count(&router).await.unwrap_err();
    let Error::ScatterForbidden { at } = error else { panic!("{error}") };
    assert!(at.file().ends_with("scatter.rs"));
    // Though the error was swallowed, the test does not pass.
    let dropped = std::panic::catch_unwind(std::panic::AssertUnwindSafe(|| drop(guard)));
    let message = *dropped.unwrap_err().downcast::<String>().unwrap();
    assert!(message.contains("scatter.rs"), "{message}");
    assert_eq!(count(&router).await.unwrap(), 0);
    let guard = router.no_scatter();
    count_of(&router, 1).await.unwrap();
    drop(guard);
}

#[tokio::test]
async fn every_shard_of_the_map_is_asked() {
    let bed = Bed::databases(4).await;
    let router = bed.router().await;
    let rows = router.scatter(Scatter::require_all());
    let rows = rows.query("SELECT current_database()::text AS name", &[]).await.unwrap();
    let mut names: Vec<String> = rows.iter().map(|row| row.get(0)).collect();
    names.sort();
    assert_eq!(names, NAMES);
}

/// What is written is what is asked, whatever is behind it; what would be of each shard by itself
/// is refused.
#[tokio::test]
async fn the_text_of_a_scatter() {
    let bed = Bed::databases(2).await;
    let router = bed.router().await;
    fill(&router, 20).await;
    let ask = |sql: &'static str| router.scatter(Scatter::require_all()).query(sql, &[]);
    for sql in [
        "SELECT id FROM orders;",
        "SELECT id FROM orders; -- all of them",
        "/* all */ SELECT id FROM orders /* ; */ ;;\n",
        "WITH x AS (SELECT id FROM orders) SELECT id FROM x -- end",
        "(SELECT id FROM orders)",
        "SELECT id FROM orders UNION SELECT id FROM orders",
        "SELECT id FROM (SELECT * FROM orders ORDER BY at LIMIT 1000) AS x",
    ] {
        assert_eq!(ask(sql).await.unwrap().len(), 20, "{sql}");
        assert_eq!(ask(sql).count().await.unwrap(), 20, "{sql}");
        let ordered = ask(sql).order_by([asc("id")]).limit(3).await.unwrap();
        assert_eq!(ordered.iter().map(|row| row.get::<_, i64>(0)).sum::<i64>(), 3, "{sql}");
    }
    for (sql, hint) in [
        ("SELECT id FROM orders LIMIT 5", "LIMIT would be of each shard"),
        ("SELECT id FROM orders ORDER BY id", "ORDER BY would be"),
        ("SELECT id FROM orders OFFSET 1", "OFFSET would be"),
        ("SELECT 1; SELECT 2", "this is 2"),
        (" -- nothing", "this is 0"),
        ("COMMIT", "leave out COMMIT"),
        ("SELECT pg_advisory_lock(1)", "leave out pg_advisory_lock"),
    ] {
        let errors = [ask(sql).await.map(drop), ask(sql).count().await.map(drop)];
        for error in errors {
            let Err(Error::Question { reason }) = error else { panic!("{sql}: {error:?}") };
            assert!(reason.contains(hint), "{sql}: {reason}");
        }
    }
    // What would write does not, and says so by the server's word.
    for sql in [
        "SELECT * FROM orders FOR UPDATE",
        "WITH x AS (DELETE FROM orders RETURNING id) SELECT id FROM x",
        "DELETE FROM orders RETURNING id",
        "SELECT nextval('s')",
        "SELECT 1) AS q; DELETE FROM orders; SELECT (1",
    ] {
        bed.client(0).await.batch_execute("CREATE SEQUENCE IF NOT EXISTS s").await.unwrap();
        bed.client(1).await.batch_execute("CREATE SEQUENCE IF NOT EXISTS s").await.unwrap();
        let error = ask(sql).await.unwrap_err();
        assert!(error.code().is_some() || matches!(error, Error::Question { .. }), "{error}");
        assert_eq!(ask(ALL).count().await.unwrap(), 20, "{sql}");
    }
}

/// Numbers at their ends, over shards of which some have no row.
#[tokio::test]
async fn aggregates_at_their_ends() {
    let bed = Bed::databases(3).await;
    let router = bed.router().await;
    for shard in 0..3 {
        let sql = "CREATE TABLE n (f double precision, i bigint, n numeric, s smallint)";
        bed.client(shard).await.batch_execute(sql).await.unwrap();
    }
    let ask = || router.scatter(Scatter::require_all()).query("SELECT * FROM n", &[]);
    let put = async |shard: usize, values: &str| {
        let sql = format!("INSERT INTO n VALUES {values}");
        bed.client(shard).await.batch_execute(&sql).await.unwrap();
    };
    put(0, "('NaN', 1, 10, 1), (NULL, NULL, NULL, NULL), ('-Infinity', 2, 20, 2)").await;
    put(1, "('-0', -3, 30, 3)").await;
    assert_eq!(ask().count().await.unwrap(), 4);
    assert!(ask().max::<f64>("f").await.unwrap().unwrap().is_nan(), "NaN is above all");
    assert_eq!(ask().min::<f64>("f").await.unwrap(), Some(f64::NEG_INFINITY));
    assert!(ask().sum_f64("f").await.unwrap().unwrap().is_nan());
    assert_eq!(ask().sum("i").await.unwrap(), Some(0));
    assert_eq!(ask().avg("i").await.unwrap(), Some(0.0));
    assert_eq!(ask().sum("n").await.unwrap(), Some(60));
    assert_eq!(ask().avg("s").await.unwrap(), Some(2.0));
    assert_eq!(ask().min::<i64>("i").await.unwrap(), Some(-3));
    // One server says that it is out of range.
    for shard in 0..3 {
        bed.client(shard).await.batch_execute("DELETE FROM n").await.unwrap();
    }
    put(0, "(1e308, 9223372036854775807, 1, 1)").await;
    put(2, "(1e308, 9223372036854775807, 1, 1)").await;
    let error = ask().sum_f64("f").await.unwrap_err();
    assert!(error.to_string().contains("more than an f64"), "{error}");
    assert!(matches!(ask().avg("f").await, Err(Error::Aggregate { .. })));
    assert!(matches!(ask().sum("i").await, Err(Error::Aggregate { .. })));
    assert_eq!(ask().max::<i64>("i").await.unwrap(), Some(i64::MAX));
    // More than one shard's bigint, and back.
    put(1, "(0, -9223372036854775807, 0, 0)").await;
    assert_eq!(ask().sum("i").await.unwrap(), Some(i64::MAX));
}

/// Settings of a shard's database change how numbers are written, and not what they are.
#[tokio::test]
async fn aggregates_do_not_depend_on_how_a_server_writes_numbers() {
    let bed = Bed::databases(2).await;
    for (shard, name) in NAMES.into_iter().take(2).enumerate() {
        let sql = "CREATE TABLE n (f double precision); INSERT INTO n VALUES (0.1), (0.2)";
        bed.client(shard).await.batch_execute(sql).await.unwrap();
        let set = format!("ALTER DATABASE {name} SET extra_float_digits = -10");
        bed.client(shard).await.batch_execute(&set).await.unwrap();
    }
    let router = bed.router().await;
    let ask =
        || router.scatter(Scatter::require_all()).query("SELECT f + 1e-9 AS f FROM n", &[]);
    let (one, two) = (0.1 + 1e-9, 0.2 + 1e-9);
    assert_eq!(ask().min::<f64>("f").await.unwrap(), Some(one));
    assert_eq!(ask().max::<f64>("f").await.unwrap(), Some(two));
    assert_eq!(ask().sum_f64("f").await.unwrap(), Some((one + two) + (one + two)));
    assert_eq!(ask().avg("f").await.unwrap(), Some(((one + two) + (one + two)) / 4.0));
}

#[tokio::test]
async fn a_deadline_may_be_for_ever() {
    let bed = Bed::databases(1).await;
    let router = bed.builder().query_timeout(Duration::MAX).pool_timeout(Duration::MAX);
    let router = router.connect_timeout(Duration::MAX).build().unwrap();
    router.install().await.unwrap();
    fill(&router, 3).await;
    let scatter = Scatter::require_all().deadline(Duration::MAX);
    assert_eq!(router.scatter(scatter).query(ALL, &[]).count().await.unwrap(), 3);
}
