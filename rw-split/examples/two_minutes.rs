//! A primary and two replicas that lag by a second: a user saves a name and
//! looks at the page. Without the crate the page is stale; with it, never.
//! `cargo run -p rw-split --example two_minutes` (needs PostgreSQL's programs)

use std::time::Duration;

use rw_split::{ConsistencyScope, ConsistencyToken, RwSplit};
use testbed::postgres::Postgres;

#[tokio::main]
async fn main() -> Result<(), Box<dyn std::error::Error>> {
    let primary = Postgres::start().await?;
    let writer = primary.client().await?;
    writer
        .batch_execute(
            "CREATE TABLE users (id int PRIMARY KEY, visits int NOT NULL); \
            INSERT INTO users VALUES (1, 0)",
        )
        .await?;
    let replicas = [primary.replica().await?, primary.replica().await?];
    for replica in &replicas {
        replica.caught_up(Duration::from_secs(10)).await?;
        replica.delay_replay(Duration::from_secs(1)).await?;
    }
    println!("a primary, and two replicas that lag by 1 s\n");

    // By hand: writes to the primary, reads from the replicas in turn.
    let readers = [replicas[0].client().await?, replicas[1].client().await?];
    let mut stale = 0;
    for visit in 1..=100_usize {
        writer.execute("UPDATE users SET visits = visits + 1 WHERE id = 1", &[]).await?;
        let row =
            readers[visit % 2].query_one("SELECT visits FROM users WHERE id = 1", &[]).await?;
        stale += u32::from(usize::try_from(row.get::<_, i32>(0))? < visit);
    }
    println!(
        "round robin over the replicas: {stale} of 100 reads do not show the write before"
    );
    assert!(stale > 0, "the replicas do not lag");

    let [one, other] = &replicas;
    let db = RwSplit::builder()
        .server(primary.url())
        .server(one.url())
        .server(other.url())
        .build()
        .await?;
    let user = ConsistencyScope::new(ConsistencyToken::default());
    let stale = user
        .enter(async {
            let mut stale = 0;
            for visit in 101..=200 {
                db.execute("UPDATE users SET visits = visits + 1 WHERE id = 1", &[]).await?;
                let row = db.query_one("SELECT visits FROM users WHERE id = 1", &[]).await?;
                stale += u32::from(row.get::<_, i32>(0) < visit);
            }
            Ok::<_, rw_split::Error>(stale)
        })
        .await?;
    println!("rw-split:                      {stale} of 100");
    assert_eq!(stale, 0);

    // Others, who have written nothing, are served by the replicas all the while.
    let before = db.stats().on_replicas;
    for _ in 0..100 {
        let visitor = ConsistencyScope::new(ConsistencyToken::default());
        visitor.enter(db.query_one("SELECT visits FROM users WHERE id = 1", &[])).await?;
    }
    println!("visitors' reads on replicas:   {} of 100", db.stats().on_replicas - before);
    assert_eq!(db.stats().on_replicas - before, 100);
    Ok(())
}
