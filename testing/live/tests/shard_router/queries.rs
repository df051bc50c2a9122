//! What `with`, batches and transactions do.

use std::time::Duration;

use shard_router::{Error, Router};

use crate::bed::{Bed, count_of, fill, order, user_on};

#[tokio::test]
async fn rows_are_where_their_keys_are() {
    let bed = Bed::databases(3).await;
    let router = bed.router().await;
    fill(&router, 300).await;
    let mut all = 0;
    for (shard, name) in ["a", "b", "c"].into_iter().enumerate() {
        let client = bed.client(shard).await;
        for row in client.query("SELECT user_id FROM orders", &[]).await.unwrap() {
            let user: i64 = row.get(0);
            assert_eq!(router.shard_of(&user).unwrap().as_str(), name);
            all += 1;
        }
    }
    assert_eq!(all, 300);
    assert_eq!(count_of(&router, 7).await.unwrap(), 1);
    assert_eq!(router.requests().iter().map(|(_, count)| count).sum::<u64>(), 301);
}

/// In spawned tasks, as servers use it.
#[tokio::test]
async fn closures_work_in_spawned_tasks() {
    let bed = Bed::databases(2).await;
    let router = bed.router().await;
    let tasks = (0..40).map(|user: i64| {
        let router = router.clone();
        tokio::spawn(async move {
            router
                .with(&user, |shard| async move {
                    let tx = shard.begin().await?;
                    let sql = "INSERT INTO orders (id, user_id, total) VALUES ($1, $1, 1)";
                    tx.execute(sql, &[&user]).await?;
                    let sql = "SELECT total FROM orders WHERE id = $1";
                    let total: i64 = tx.query_one(sql, &[&user]).await?.get(0);
                    tx.commit().await?;
                    Ok::<_, Error>(total)
                })
                .await
        })
    });
    for task in tasks.collect::<Vec<_>>() {
        assert_eq!(task.await.unwrap().unwrap(), 1);
    }
}

#[tokio::test]
async fn another_shards_key_is_caught() {
    let bed = Bed::databases(2).await;
    let router = bed.router().await;
    let (one, other) = (user_on(&router, "a"), user_on(&router, "b"));
    let error = router
        .with(&one, |shard| async move {
            let tx = shard.begin().await?;
            tx.check(&one)?;
            tx.check(&other)?;
            tx.commit().await
        })
        .await
        .unwrap_err();
    assert!(
        matches!(&error, Error::CrossShard { a, b } if a.as_str() == "a" && b.as_str() == "b")
    );
    assert_eq!(error.to_string().matches("one shard").count(), 1);
    assert_eq!(router.stats().cross_shard, 1);
}

#[tokio::test]
async fn a_key_of_a_wrong_type_goes_nowhere() {
    let bed = Bed::databases(2).await;
    let router = bed.router().await;
    let error = router.with("42", |_| async { Ok::<_, Error>(()) }).await.unwrap_err();
    assert_eq!(error.to_string(), "a key is (bigint), and this is (text)");
    let error = router.with(&(1_i64, 2_i64), |_| async { Ok::<_, Error>(()) }).await;
    assert!(matches!(error, Err(Error::KeyType { .. })));
    let users = vec!["1", "2"];
    let error = router.batch(users, |_, _: Vec<&str>| async { Ok::<_, Error>(()) }).await;
    assert!(matches!(error, Err(Error::KeyType { .. })));
}

#[tokio::test]
async fn a_batch_asks_each_shard_once() {
    let bed = Bed::databases(3).await;
    let router = bed.router().await;
    fill(&router, 100).await;
    let users: Vec<i64> = (0..100).rev().collect();
    let answers = router
        .batch(users, |shard, users: Vec<i64>| async move {
            for user in &users {
                shard.check(user)?;
            }
            let sql = "SELECT user_id FROM orders WHERE user_id = ANY($1)";
            shard.query(sql, &[&users]).await
        })
        .await
        .unwrap();
    assert_eq!(answers.len(), 3);
    let mut found: Vec<i64> = answers.iter().flatten().map(|row| row.get(0)).collect();
    found.sort_unstable();
    assert_eq!(found, (0..100).collect::<Vec<_>>());
    let none = router.batch(Vec::<i64>::new(), |_, _: Vec<i64>| async { Ok::<_, Error>(()) });
    assert!(none.await.unwrap().is_empty());
}

#[tokio::test]
async fn a_transaction_that_is_dropped_or_has_failed_leaves_nothing() {
    let bed = Bed::databases(1).await;
    let router = bed.builder().pool_size(1).build().unwrap();
    router.install().await.unwrap();
    let insert = "INSERT INTO orders (id, user_id) VALUES (1, 1)";
    router
        .with(&1_i64, |shard| async move {
            let tx = shard.begin().await?;
            tx.execute(insert, &[]).await?;
            drop(tx);
            Ok::<_, Error>(())
        })
        .await
        .unwrap();
    assert_eq!(count_of(&router, 1).await.unwrap(), 0);
    let error = router
        .with(&1_i64, |shard| async move {
            let tx = shard.begin().await?;
            tx.execute(insert, &[]).await?;
            let refused = tx.execute("SELECT 1 / 0", &[]).await.unwrap_err();
            assert_eq!(refused.code().unwrap().code(), "22012");
            tx.commit().await
        })
        .await
        .unwrap_err();
    assert!(matches!(error, Error::TransactionAborted { .. }), "{error}");
    assert_eq!(count_of(&router, 1).await.unwrap(), 0);
    // With a savepoint, it goes on.
    router
        .with(&1_i64, |shard| async move {
            let tx = shard.begin().await?;
            tx.execute(insert, &[]).await?;
            tx.batch_execute("SAVEPOINT s").await?;
            tx.execute("SELECT 1 / 0", &[]).await.unwrap_err();
            tx.batch_execute("ROLLBACK TO s").await?;
            tx.commit().await
        })
        .await
        .unwrap();
    assert_eq!(count_of(&router, 1).await.unwrap(), 1);
}

/// A query that nobody waits for any more does not hold up the next one.
#[tokio::test]
async fn a_dropped_query_is_cancelled() {
    let bed = Bed::databases(1).await;
    let router = bed.builder().pool_size(1).build().unwrap();
    router.install().await.unwrap();
    count_of(&router, 1).await.unwrap();
    for _ in 0..3 {
        let slow = router
            .with(&1_i64, |shard| async move { shard.query("SELECT pg_sleep(60)", &[]).await });
        let dropped = tokio::time::timeout(Duration::from_millis(50), slow).await;
        assert!(dropped.is_err());
        let next = tokio::time::timeout(Duration::from_secs(5), count_of(&router, 1)).await;
        assert_eq!(next.unwrap().unwrap(), 0);
    }
    let client = bed.client(0).await;
    testbed::eventually(Duration::from_secs(5), async || {
        let sql = "SELECT count(*) FROM pg_stat_activity WHERE query = 'SELECT pg_sleep(60)' \
            AND state = 'active'";
        client.query_one(sql, &[]).await.unwrap().get::<_, i64>(0) == 0
    })
    .await;
}

#[tokio::test]
async fn a_statement_whose_table_has_changed_is_prepared_anew() {
    let bed = Bed::databases(1).await;
    let router = bed.builder().pool_size(1).build().unwrap();
    router.install().await.unwrap();
    order(&router, 1, 1, 1).await.unwrap();
    let all = async |router: &Router| {
        let all = router.with(&1_i64, |shard| async move {
            shard.query("SELECT * FROM orders", &[]).await
        });
        all.await.unwrap()[0].len()
    };
    assert_eq!(all(&router).await, 5);
    let client = bed.client(0).await;
    client.batch_execute("ALTER TABLE orders ADD more int").await.unwrap();
    assert_eq!(all(&router).await, 6);
}

#[tokio::test]
async fn hot_keys_are_reported() {
    let bed = Bed::databases(2).await;
    let router = bed.builder().hot_keys(16).build().unwrap();
    router.install().await.unwrap();
    let hot = user_on(&router, "b");
    for _ in 0..50 {
        count_of(&router, hot).await.unwrap();
    }
    count_of(&router, user_on(&router, "a")).await.unwrap();
    let report = router.hot(1);
    let b = report.iter().find(|report| report.shard.as_str() == "b").unwrap();
    assert_eq!((b.seen, b.keys[0].count), (50, 50));
    assert_eq!(b.keys[0].item, hot.to_string());
    assert!(b.advice().is_some());
}
