//! The testbed's own PostgreSQL: a primary and its replicas under faults.

#![allow(clippy::disallowed_methods, reason = "wall time is what is measured here")]

use std::time::{Duration, Instant};

use testbed::eventually;
use testbed::postgres::{Client, Postgres};

const DEADLINE: Duration = Duration::from_secs(20);

async fn count(client: &Client) -> i64 {
    client.query_one("SELECT count(*) FROM t", &[]).await.unwrap().get(0)
}

#[tokio::test]
async fn a_primary_and_a_replica_start_soon_and_replicate() {
    // The first start of all makes the template.
    drop(Postgres::start().await.unwrap());

    let start = Instant::now();
    let primary = Postgres::start().await.unwrap();
    let alone = start.elapsed();
    let replica = primary.replica().await.unwrap();
    let both = start.elapsed();
    println!("primary after {alone:?}, with one replica after {both:?}");
    assert!(both < Duration::from_secs(10), "3 s is usual; it took {both:?}");

    let writer = primary.client().await.unwrap();
    writer.batch_execute("CREATE TABLE t (n int); INSERT INTO t VALUES (1)").await.unwrap();
    replica.caught_up(DEADLINE).await.unwrap();
    assert_eq!(count(&replica.client().await.unwrap()).await, 1);
}
