//! Schema changes on all shards.

use std::time::Duration;

use shard_router::{
    Column, Error, KeyType, Migration, Migrator, Progress, SchemaError, slot_sql,
};

use crate::bed::Bed;

fn schema_error(error: Error) -> SchemaError {
    match error {
        Error::Schema(error) => *error,
        other => panic!("{other}"),
    }
}

#[tokio::test]
async fn a_failure_on_the_second_of_three_is_shown_and_a_second_run_goes_on() {
    let bed = Bed::databases(3).await;
    let router = bed.router().await;
    let changes = [
        Migration::expand(
            "0001_note",
            "ALTER TABLE orders ADD more text; \
            CREATE TABLE log (id bigint)",
        ),
        Migration::expand("0002_index", "CREATE INDEX more_index ON orders (more)"),
    ];
    // On the second, the name is taken.
    let b = bed.client(1).await;
    b.batch_execute("CREATE TABLE log (other int)").await.unwrap();
    let seen = std::sync::Mutex::new(Vec::new());
    let run = async || {
        let migrator = Migrator::new(&router).canary("c").on_progress(|applied| {
            seen.lock()
                .unwrap()
                .push((applied.migration.name().to_owned(), applied.shard.to_string()));
        });
        migrator.run(&changes).await
    };
    let error = schema_error(run().await.unwrap_err());
    let SchemaError::Failed { migration, shard, done, .. } = &error else { panic!("{error}") };
    assert_eq!((migration.as_str(), shard.as_str()), ("0001_note", "b"));
    let done: Vec<_> = done.iter().map(ToString::to_string).collect();
    assert_eq!(done, ["c", "a"], "the canary first");
    // The change is in a transaction: of what has failed, nothing is left.
    assert!(b.query("SELECT more FROM orders", &[]).await.is_err());
    let state = Migrator::new(&router).canary("c").state(&changes).await.unwrap();
    let progress: Vec<_> = state[0].shards.iter().map(|(_, progress)| *progress).collect();
    assert_eq!(progress, [Progress::Done, Progress::Done, Progress::Pending]);
    assert!(state[1].shards.iter().all(|(_, progress)| *progress == Progress::Pending));

    b.batch_execute("DROP TABLE log").await.unwrap();
    run().await.unwrap();
    let ran: Vec<_> = seen.lock().unwrap().iter().map(|(_, shard)| shard.clone()).collect();
    assert_eq!(ran, ["c", "a", "b", "c", "a", "b"], "nothing was run twice");
    run().await.unwrap();
    assert_eq!(seen.lock().unwrap().len(), 6);
}

#[tokio::test]
async fn shards_that_end_with_different_schemas_are_named() {
    let bed = Bed::databases(2).await;
    let router = bed.router().await;
    // A constraint of this name is a shard's own.
    let user = Column { name: "user_id", key_type: KeyType::Int };
    for (shard, slots) in [(0, "slot < 8192"), (1, "slot >= 8192")] {
        let slots = slots.replace("slot", &slot_sql(&[user]));
        let own =
            format!("ALTER TABLE orders ADD CONSTRAINT shard_router_slots CHECK ({slots})");
        bed.client(shard).await.batch_execute(&own).await.unwrap();
    }
    Migrator::new(&router).run(&[]).await.unwrap();
    bed.client(1).await.batch_execute("CREATE INDEX by_hand ON orders (total)").await.unwrap();
    let error = schema_error(Migrator::new(&router).run(&[]).await.unwrap_err());
    let SchemaError::Differ { a, b, differences } = error else { panic!("{error}") };
    assert_eq!((a.as_str(), b.as_str()), ("a", "b"));
    assert!(differences[0].contains("by_hand"), "{differences:?}");
}

#[tokio::test]
async fn changes_that_take_away_wait_to_be_asked_for() {
    let bed = Bed::databases(2).await;
    let router = bed.router().await;
    let change = [Migration::contract("0001_drop", "ALTER TABLE orders DROP note")];
    let error = schema_error(Migrator::new(&router).run(&change).await.unwrap_err());
    assert!(matches!(error, SchemaError::Contract { .. }), "{error}");
    Migrator::new(&router).contract().run(&change).await.unwrap();
    let edited = [Migration::contract("0001_drop", "ALTER TABLE orders DROP total")];
    let error = schema_error(Migrator::new(&router).run(&edited).await.unwrap_err());
    assert!(matches!(error, SchemaError::Changed { .. }), "{error}");
    let twice = [Migration::expand("x", "SELECT 1"), Migration::expand("x", "SELECT 2")];
    let error = schema_error(Migrator::new(&router).run(&twice).await.unwrap_err());
    assert!(matches!(error, SchemaError::Invalid { .. }), "{error}");
}

/// Two at a time would run a change twice.
#[tokio::test]
async fn one_runs_at_a_time() {
    let bed = Bed::databases(2).await;
    let router = bed.router().await;
    let slow = [Migration::expand("slow", "SELECT pg_sleep(0.5); CREATE TABLE slow (id int)")];
    let running = {
        let (router, slow) = (router.clone(), slow.clone());
        tokio::spawn(async move { Migrator::new(&router).run(&slow).await })
    };
    let client = bed.client(0).await;
    testbed::eventually(Duration::from_secs(10), async || {
        let sql = "SELECT count(*) FROM pg_locks WHERE locktype = 'advisory'";
        client.query_one(sql, &[]).await.unwrap().get::<_, i64>(0) >= 1
    })
    .await;
    let error = schema_error(Migrator::new(&router).run(&slow).await.unwrap_err());
    assert!(matches!(error, SchemaError::Locked { .. }), "{error}");
    running.await.unwrap().unwrap();
    Migrator::new(&router).run(&slow).await.unwrap();
}

/// A change that waits for a lock would make everybody else wait behind it.
#[tokio::test]
async fn a_change_gives_up_on_a_lock() {
    let bed = Bed::databases(1).await;
    let router = bed.router().await;
    let mut holder = bed.client(0).await;
    let held = holder.transaction().await.unwrap();
    held.batch_execute("LOCK TABLE orders").await.unwrap();
    let change = [Migration::expand("x", "ALTER TABLE orders ADD x int")];
    let migrator = Migrator::new(&router).lock_timeout(Duration::from_millis(50));
    let error = schema_error(migrator.run(&change).await.unwrap_err());
    let SchemaError::Failed { source, .. } = &error else { panic!("{error}") };
    assert_eq!(source.code().unwrap().code(), "55P03");
    held.rollback().await.unwrap();
    migrator.run(&change).await.unwrap();
}

#[tokio::test]
async fn a_change_without_a_transaction_is_run_again_after_an_interruption() {
    let bed = Bed::databases(2).await;
    let router = bed.router().await;
    let sql = "CREATE UNIQUE INDEX CONCURRENTLY IF NOT EXISTS one_total ON orders (total)";
    let change = [Migration::expand("index", sql).without_transaction()];
    let b = bed.client(1).await;
    let twice = "INSERT INTO orders (id, user_id, total) VALUES (1, 1, 7), (2, 1, 7)";
    b.batch_execute(twice).await.unwrap();
    let error = schema_error(Migrator::new(&router).run(&change).await.unwrap_err());
    assert!(matches!(&error, SchemaError::Failed { shard, .. } if shard.as_str() == "b"));
    let state = Migrator::new(&router).state(&change).await.unwrap();
    assert_eq!(state[0].shards[1].1, Progress::Interrupted);
    // PostgreSQL leaves an index behind that is invalid, and the comparison says so.
    b.batch_execute("DELETE FROM orders").await.unwrap();
    let error = schema_error(Migrator::new(&router).run(&change).await.unwrap_err());
    assert!(matches!(error, SchemaError::Differ { .. }), "{error}");
    b.batch_execute("REINDEX INDEX one_total").await.unwrap();
    Migrator::new(&router).run(&change).await.unwrap();
}

/// What a change sets for its session holds for no other change, for no comparison, and for
/// nobody who has the connection next.
#[tokio::test]
async fn a_change_does_not_set_the_session_of_the_next() {
    let bed = Bed::databases(2).await;
    let router = bed.builder().pool_size(1).build().unwrap();
    router.install().await.unwrap();
    // As in what pg_dump writes.
    let changes = [
        Migration::expand("0001", "SELECT set_config('search_path', '', false)"),
        Migration::expand("0002", "CREATE INDEX i ON orders (total)"),
    ];
    Migrator::new(&router).run(&changes).await.unwrap();
    for user in 0..4_i64 {
        let path = router.with(&user, |shard| async move {
            let row = shard.query_one("SELECT current_setting('search_path')", &[]).await?;
            Ok::<_, Error>(row.get::<_, String>(0))
        });
        assert!(path.await.unwrap().contains("public"));
    }
}

/// A COMMIT in it would end the transaction that makes it one step with its record.
#[tokio::test]
async fn a_change_with_a_commit_of_its_own_is_refused() {
    let bed = Bed::databases(1).await;
    let router = bed.router().await;
    let change = [Migration::expand("x", "BEGIN; CREATE TABLE x (id int); COMMIT;")];
    let error = schema_error(Migrator::new(&router).run(&change).await.unwrap_err());
    assert!(error.to_string().contains("x has a BEGIN of its own"), "{error}");
    let rows = "SELECT count(*) FROM pg_class WHERE relname = 'x'";
    let found: i64 = bed.client(0).await.query_one(rows, &[]).await.unwrap().get(0);
    assert_eq!(found, 0);
}

/// A run that is dropped in the middle of a change, as when its process is killed, leaves that
/// shard as it was, and a second run goes on.
#[tokio::test]
async fn a_run_that_is_killed_goes_on_in_a_second_one() {
    let bed = Bed::databases(3).await;
    let router = bed.router().await;
    let sql = "CREATE TABLE log (id bigint); SELECT pg_sleep(0.2)";
    let change = [Migration::expand("0001", sql)];
    let run = {
        let (router, change) = (router.clone(), change.clone());
        tokio::spawn(async move { Migrator::new(&router).run(&change).await })
    };
    let b = bed.client(1).await;
    testbed::eventually(Duration::from_secs(10), async || {
        let sql = "SELECT count(*) FROM pg_stat_activity WHERE datname = 'b' AND state = 'active' \
            AND query LIKE '%pg_sleep%' AND pid <> pg_backend_pid()";
        b.query_one(sql, &[]).await.unwrap().get::<_, i64>(0) == 1
    })
    .await;
    run.abort();
    assert!(run.await.unwrap_err().is_cancelled());
    let state = Migrator::new(&router).state(&change).await.unwrap();
    let progress: Vec<_> = state[0].shards.iter().map(|(_, progress)| *progress).collect();
    assert_eq!(progress, [Progress::Done, Progress::Pending, Progress::Pending]);
    // The server ends what was under way in a moment.
    testbed::eventually(Duration::from_secs(10), async || {
        match Migrator::new(&router).run(&change).await.map_err(schema_error) {
            Ok(()) => true,
            Err(SchemaError::Locked { .. }) => false,
            Err(error) => panic!("{error}"),
        }
    })
    .await;
}

/// A run that finds one shard locked lets go of the others.
#[tokio::test]
async fn a_run_that_cannot_begin_leaves_no_lock() {
    let bed = Bed::databases(2).await;
    let router = bed.router().await;
    let b = bed.client(1).await;
    b.batch_execute("SELECT pg_advisory_lock(8386093294336049155)").await.unwrap();
    for _ in 0..10 {
        let error = schema_error(Migrator::new(&router).run(&[]).await.unwrap_err());
        assert!(
            matches!(&error, SchemaError::Locked { shard } if shard.as_str() == "b"),
            "{error}"
        );
    }
    b.batch_execute("SELECT pg_advisory_unlock_all()").await.unwrap();
    Migrator::new(&router).run(&[]).await.unwrap();
}
