//! Pools that are used up, servers that fall silent, and handles that are kept.

use std::num::NonZeroUsize;
use std::time::{Duration, Instant};

use futures_util::future::join_all;
use shard_router::{Error, Router, Scatter, Shard, asc};
use testbed::link::Link;

use crate::bed::{Bed, DEADLINE, count_of, fill, order, user_on};

const LATER: Duration = Duration::from_secs(600);

/// Over a link.
async fn linked(bed: &Bed, recheck: Duration) -> (Link, Router) {
    bed.router().await;
    let link = Link::to(bed.servers[0].addr()).unwrap();
    let topology = bed.topology().shard("a", bed.servers[0].url_at(link.addr())).unwrap();
    let router = Router::builder(topology)
        .connect_timeout(Duration::from_millis(300))
        .query_timeout(Duration::from_millis(400))
        .pool_timeout(Duration::from_secs(5))
        .recheck(recheck)
        .pool_size(8)
        .build()
        .unwrap();
    (link, router)
}

/// That all connections are in use says nothing against the shard: it is neither called
/// unreachable nor left alone.
#[tokio::test]
async fn a_busy_pool_is_no_shard_that_is_down() {
    let bed = Bed::databases(1).await;
    let router = bed
        .builder()
        .pool_size(1)
        .connect_timeout(Duration::from_millis(50))
        .pool_timeout(Duration::from_millis(400))
        .recheck(Duration::ZERO)
        .build()
        .unwrap();
    router.install().await.unwrap();
    let held = router.with(&1_i64, |shard| async move { shard.begin().await }).await.unwrap();
    for _ in 0..4 {
        let error = count_of(&router, 1).await.unwrap_err();
        assert!(matches!(error, Error::PoolTimeout { size: 1, .. }), "{error}");
    }
    assert_eq!(router.stats().breaker_opens, 0);
    held.rollback().await.unwrap();
    assert_eq!(count_of(&router, 1).await.unwrap(), 0);
}

/// A server that answers with errors answers.
#[tokio::test]
async fn errors_of_statements_close_the_breaker() {
    let bed = Bed::servers(1).await;
    let (link, router) = linked(&bed, LATER).await;
    count_of(&router, 1).await.unwrap();
    link.cut();
    while router.stats().breaker_opens == 0 {
        count_of(&router, 1).await.unwrap_err();
    }
    link.heal();
    // Nobody asks what the shard stores, so that only these close it.
    let wrong = async || {
        let asking = |shard: Shard| async move { shard.query("SELECT 1 / 0", &[]).await };
        router.with(&1_i64, asking).await.unwrap_err()
    };
    testbed::eventually(DEADLINE, async || wrong().await.code().is_some()).await;
    for _ in 0..20 {
        let error = wrong().await;
        assert!(error.code().is_some(), "{error}");
    }
}

/// What was idle when the server fell silent says nothing for it.
#[tokio::test]
async fn transactions_and_scatters_open_the_breaker_too() {
    let bed = Bed::servers(1).await;
    let (link, router) = linked(&bed, LATER).await;
    // Many idle connections.
    let begin = |shard: Shard| async move { shard.begin().await };
    let held = join_all((0..8).map(async |_| router.with(&1_i64, begin).await.unwrap())).await;
    for tx in held {
        tx.commit().await.unwrap();
    }
    link.blackhole();
    for _ in 0..3 {
        let begun = tokio::time::timeout(DEADLINE, router.with(&1_i64, begin)).await.unwrap();
        begun.unwrap_err();
    }
    assert_eq!(router.stats().breaker_opens, 1);
    link.heal();
    testbed::eventually(DEADLINE, async || count_of(&router, 1).await.is_ok()).await;

    link.blackhole();
    for _ in 0..3 {
        let scatter = router.scatter(Scatter::require_all()).query("SELECT 1", &[]);
        scatter.await.unwrap_err();
    }
    assert_eq!(router.stats().breaker_opens, 2);
}

/// Those who wait while one looks at a silent shard share what it finds.
#[tokio::test]
async fn many_callers_of_a_silent_shard_wait_once() {
    let bed = Bed::servers(1).await;
    let (link, router) = linked(&bed, Duration::from_millis(100)).await;
    count_of(&router, 1).await.unwrap();
    link.blackhole();
    tokio::time::sleep(Duration::from_millis(120)).await;
    let all = join_all((0..50).map(async |_| count_of(&router, 1).await)).await;
    assert!(all.iter().all(Result::is_err));
    // Each for itself, they would have looked until the breaker opened.
    assert_eq!(router.stats().breaker_opens, 0);
    while router.stats().breaker_opens == 0 {
        count_of(&router, 1).await.unwrap_err();
    }
    // From here on one at a time tries; whoever comes meanwhile is told at once.
    let end = Instant::now() + Duration::from_secs(3);
    let mut slow = 0;
    while Instant::now() < end {
        let callers = (0..10).map(async |_| {
            let began = Instant::now();
            count_of(&router, 1).await.unwrap_err();
            u32::from(began.elapsed() > Duration::from_millis(250))
        });
        let slow_ones: u32 = join_all(callers).await.into_iter().sum();
        assert!(slow_ones <= 1, "{slow_ones} waited");
        slow += slow_ones;
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
    assert!(slow >= 1, "nobody tried");
}

/// A handle that is kept is no way around a new map.
#[tokio::test]
async fn a_kept_handle_looks_again() {
    let bed = Bed::databases(2).await;
    let router = bed.builder().recheck(Duration::from_millis(100)).build().unwrap();
    router.install().await.unwrap();
    let user = user_on(&router, "a");
    let kept = router.with(&user, |shard| async move { Ok::<_, Error>(shard) }).await.unwrap();
    let sql = "INSERT INTO orders (id, user_id) VALUES ($1, $2)";
    kept.execute(sql, &[&1_i64, &user]).await.unwrap();
    let map = router.map();
    let plan = map.plan().pin(map.slot(&user), "b").build().unwrap();
    let new = Router::builder(bed.topology_of(plan.map().clone())).build().unwrap();
    new.install_after_moving_rows().await.unwrap();
    testbed::eventually(Duration::from_secs(2), async || {
        let kept = kept.execute(sql, &[&2_i64, &user]).await;
        matches!(kept, Err(Error::Epoch { .. }))
    })
    .await;
}

/// A statement has its time, and no less: timers are set for connections, and not for statements.
#[tokio::test]
async fn a_statement_on_a_silent_server_ends_in_time() {
    let bed = Bed::servers(1).await;
    let (link, router) = linked(&bed, LATER).await;
    let sleep = async |seconds: f64| {
        let asking = |shard: Shard| async move {
            shard.query("SELECT pg_sleep($1)", &[&seconds]).await.map(drop)
        };
        let began = Instant::now();
        (router.with(&1_i64, asking).await, began.elapsed())
    };
    // The timer of the first would be over in the middle of the others.
    for seconds in [0.2, 0.2, 0.2, 0.0, 0.2] {
        sleep(seconds).await.0.unwrap();
    }
    let (outcome, took) = sleep(30.0).await;
    assert!(matches!(outcome, Err(Error::OutcomeUnknown { .. })), "{outcome:?}");
    assert!((0.4..2.0).contains(&took.as_secs_f64()), "{took:?}");
    let client = bed.client(0).await;
    testbed::eventually(DEADLINE, async || {
        let sql = "SELECT count(*) FROM pg_stat_activity WHERE query LIKE '%pg_sleep%' \
            AND state = 'active' AND pid <> pg_backend_pid()";
        client.query_one(sql, &[]).await.unwrap().get::<_, i64>(0) == 0
    })
    .await;
    sleep(0.0).await.0.unwrap();
    link.blackhole();
    let silent = tokio::time::timeout(DEADLINE, sleep(0.0)).await;
    let (outcome, took) = silent.expect("it ends by itself");
    assert!(matches!(outcome, Err(Error::OutcomeUnknown { .. })), "{outcome:?}");
    assert!((0.4..2.0).contains(&took.as_secs_f64()), "{took:?}");
}

/// Statements of a transaction, and its commit, have a time, too.
#[tokio::test]
async fn a_transaction_on_a_silent_server_ends() {
    let bed = Bed::servers(1).await;
    let (link, router) = linked(&bed, LATER).await;
    let silent = |shard: Shard| async move {
        let tx = shard.begin().await?;
        tx.execute("INSERT INTO orders (id, user_id) VALUES (1, 1)", &[]).await?;
        Ok::<_, Error>(tx)
    };
    let tx = router.with(&1_i64, silent).await.unwrap();
    link.blackhole();
    let asking = tokio::time::timeout(DEADLINE, tx.query("SELECT 1", &[])).await;
    let error = asking.expect("it ends by itself").unwrap_err();
    assert_eq!(error.shard().unwrap().as_str(), "a");
    let committed = tokio::time::timeout(DEADLINE, tx.commit()).await;
    let error = committed.expect("it ends by itself").unwrap_err();
    assert!(matches!(error, Error::TransactionLost { .. }), "{error}");
    link.heal();
    testbed::eventually(DEADLINE, async || count_of(&router, 1).await.is_ok()).await;
    assert_eq!(count_of(&router, 1).await.unwrap(), 0);
}

/// A stream whose shard falls silent says so, and gives its connections back.
#[tokio::test]
async fn a_stream_from_a_silent_server_ends() {
    let bed = Bed::servers(1).await;
    let (link, router) = linked(&bed, LATER).await;
    // Of an index, so that the first row comes at once; more than sockets hold.
    let table = "CREATE TABLE big AS SELECT id, repeat('x', 1000) AS text \
        FROM generate_series(1, 40000) AS id; CREATE INDEX ON big (id); ANALYZE big";
    bed.client(0).await.batch_execute(table).await.unwrap();
    let sql = "SELECT id, text FROM big";
    let ask = router.scatter(Scatter::require_all()).query(sql, &[]);
    let mut stream = ask.order_by([asc("id")]).limit(39_000).stream().await.unwrap();
    stream.next().await.unwrap().unwrap();
    link.blackhole();
    let last = tokio::time::timeout(DEADLINE, async {
        loop {
            match stream.next().await {
                Some(Ok(_)) => {}
                other => return other,
            }
        }
    });
    let error = last.await.expect("it ends by itself").unwrap().unwrap_err();
    assert!(matches!(&error, Error::Late { shard, .. } if shard.as_str() == "a"), "{error}");
    assert!(stream.next().await.is_none());
}

/// Callers without a permit are served in turn.
#[tokio::test]
async fn waiters_are_served_in_turn() {
    let bed = Bed::databases(1).await;
    let router = bed.builder().pool_size(1).build().unwrap();
    router.install().await.unwrap();
    count_of(&router, 1).await.unwrap();
    let (done, mut finished) = tokio::sync::mpsc::unbounded_channel();
    let held = router.with(&1_i64, |shard| async move { shard.begin().await }).await.unwrap();
    let mut tasks = Vec::new();
    for number in 0..20 {
        let (router, done) = (router.clone(), done.clone());
        tasks.push(tokio::spawn(async move {
            count_of(&router, 1).await.unwrap();
            done.send(number).unwrap();
        }));
        tokio::task::yield_now().await;
    }
    held.rollback().await.unwrap();
    for task in tasks {
        task.await.unwrap();
    }
    let mut order = Vec::new();
    while let Ok(number) = finished.try_recv() {
        order.push(number);
    }
    assert_eq!(order, (0..20).collect::<Vec<_>>());
}

/// A batch whose shards cannot all be asked at once, of which one is down, does nothing there
/// before the shard is known to be what it should be.
#[tokio::test]
async fn a_batch_begins_no_work_before_its_shard_was_looked_at() {
    let bed = Bed::databases(3).await;
    let router = bed.builder().parallel(1).build().unwrap();
    router.install().await.unwrap();
    fill(&router, 60).await;
    let b = bed.client(1).await;
    b.batch_execute("UPDATE shard_router.state SET epoch = 2").await.unwrap();
    let again = bed.builder().parallel(1).build().unwrap();
    let begun = std::sync::Mutex::new(Vec::new());
    let users: Vec<i64> = (0..60).collect();
    let outcome = again
        .batch(users.clone(), |shard, users: Vec<i64>| {
            begun.lock().unwrap().push(shard.name().to_string());
            async move {
                let sql = "SELECT id FROM orders WHERE user_id = ANY($1)";
                shard.query(sql, &[&users]).await
            }
        })
        .await;
    assert!(matches!(outcome, Err(Error::Epoch { .. })), "{outcome:?}");
    assert_eq!(*begun.lock().unwrap(), ["a"], "b was refused, and c's turn never came");
    b.batch_execute("UPDATE shard_router.state SET epoch = 1").await.unwrap();
    let rows = again.batch(users, |shard, users: Vec<i64>| async move {
        let sql = "SELECT id FROM orders WHERE user_id = ANY($1)";
        shard.query(sql, &[&users]).await
    });
    assert_eq!(rows.await.unwrap().iter().map(Vec::len).sum::<usize>(), 60);
    let counted: u64 = again.requests().iter().map(|(_, keys)| keys).sum();
    assert_eq!(counted, 120, "keys are counted, not batches");
}

/// Dropped batches and transactions leave no connection in the middle of something.
#[tokio::test]
async fn dropped_batches_and_transactions_leave_nothing_behind() {
    let bed = Bed::databases(2).await;
    let router = bed.builder().pool_size(1).build().unwrap();
    router.install().await.unwrap();
    for step in 0..60_u64 {
        let users: Vec<i64> = (0..20).collect();
        let batch = router.batch(users, |shard, users: Vec<i64>| async move {
            let tx = shard.begin().await?;
            let sql = "INSERT INTO orders (id, user_id) SELECT id, id FROM unnest($1::bigint[]) \
                AS id WHERE pg_sleep(0.0005) IS NOT NULL";
            tx.execute(sql, &[&users]).await?;
            tx.rollback().await
        });
        let _ = tokio::time::timeout(Duration::from_micros(step * 150), batch).await;
    }
    for name in ["a", "b"] {
        let user = user_on(&router, name);
        order(&router, 1000 + user, user, 1).await.unwrap();
        assert_eq!(count_of(&router, user).await.unwrap(), 1);
    }
    assert_eq!(router.stats().pool_timeouts, 0);
    for shard in 0..2 {
        let client = bed.client(shard).await;
        testbed::eventually(DEADLINE, async || {
            let sql = "SELECT count(*) FROM pg_stat_activity WHERE state LIKE 'idle in%'";
            client.query_one(sql, &[]).await.unwrap().get::<_, i64>(0) == 0
        })
        .await;
    }
    let one = Scatter::allow_missing(NonZeroUsize::MIN);
    let rows = router.scatter(one).query("SELECT 1 FROM orders", &[]).count().await.unwrap();
    assert_eq!(rows.complete().unwrap(), 2);
}
