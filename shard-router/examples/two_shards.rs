//! Orders on two shards, each a PostgreSQL of its own: one user's, a report over all, and
//! what a shard that is down does to either.
//! `cargo run -p shard-router --example two_shards` (needs PostgreSQL's programs)

use std::num::NonZeroUsize;

use shard_router::{Error, KeyType, Router, Scatter, SlotMap, Topology, asc, desc};
use testbed::postgres::Postgres;

#[tokio::main]
async fn main() -> Result<(), Box<dyn std::error::Error>> {
    let (a, b) = (Postgres::start().await?, Postgres::start().await?);
    for server in [&a, &b] {
        let table = "CREATE TABLE orders (id bigint PRIMARY KEY, user_id bigint NOT NULL, \
            total bigint NOT NULL)";
        server.client().await?.batch_execute(table).await?;
    }
    let topology = Topology::new(SlotMap::even(["a", "b"])?, [KeyType::Int])?
        .shard("a", a.url())?
        .shard("b", b.url())?
        .table("orders", ["user_id"])?;
    let router = Router::builder(topology).build()?;
    router.install().await?;

    for id in 0..1000_i64 {
        let (user, total) = (id % 100, id * 7919 % 1000);
        router
            .with(&user, |shard| async move {
                let sql = "INSERT INTO orders VALUES ($1, $2, $3)";
                shard.execute(sql, &[&id, &user, &total]).await
            })
            .await?;
    }
    for (shard, requests) in router.requests() {
        println!("{requests} orders were written to {shard}");
    }

    let user = 42_i64;
    let orders = router
        .with(&user, |shard| async move {
            let sql = "SELECT id FROM orders WHERE user_id = $1";
            Ok::<_, Error>((shard.name().clone(), shard.query(sql, &[&user]).await?))
        })
        .await?;
    println!("user {user} has {} orders, all on {}", orders.1.len(), orders.0);
    assert_eq!(orders.1.len(), 10);

    let all = "SELECT id, total FROM orders";
    let largest = router
        .scatter(Scatter::require_all())
        .query(all, &[])
        .order_by([desc("total"), asc("id")])
        .limit(3)
        .await?;
    for row in &largest {
        println!("order {} of {}", row.get::<_, i64>(0), row.get::<_, i64>(1));
    }
    let totals: Vec<i64> = largest.iter().map(|row| row.get(1)).collect();
    assert_eq!(totals, [999, 998, 997]);

    b.kill().await?;
    let whole = router.scatter(Scatter::require_all()).query(all, &[]).count().await;
    println!("without b: {}", whole.expect_err("a shard is missing"));
    let partial = Scatter::allow_missing(NonZeroUsize::MIN);
    let (rows, missing) = router.scatter(partial).query(all, &[]).count().await?.into_parts();
    println!("{rows} orders, without those on {}", missing[0].shard);
    assert!(rows < 1000);
    Ok(())
}
