//! A request writes and leaves the rest to a job. The job's reads are on a
//! replica only if that has the write, since the token goes along with the job.
//! `cargo run -p rw-split --example job_queue` (needs PostgreSQL's programs)

use std::time::Duration;

use rw_split::{ConsistencyScope, ConsistencyToken, RwSplit, TokenKeys};
use testbed::postgres::Postgres;
use tokio::sync::mpsc;

/// As it would be in a queue between processes: text.
struct Job {
    order: i32,
    token: String,
}

#[tokio::main]
async fn main() -> Result<(), Box<dyn std::error::Error>> {
    let primary = Postgres::start().await?;
    let setup = "CREATE TABLE orders (id int PRIMARY KEY, total int NOT NULL)";
    primary.client().await?.batch_execute(setup).await?;
    let replica = primary.replica().await?;
    replica.caught_up(Duration::from_secs(10)).await?;
    // The replica is behind, so that a job without the token would find nothing.
    replica.pause_replay().await?;

    let db = RwSplit::builder().server(primary.url()).server(replica.url()).build().await?;
    let keys = TokenKeys::new(&std::array::from_fn::<u8, 32, _>(|_| fastrand::u8(..)))?;
    let (queue, mut jobs) = mpsc::channel::<Job>(10);

    let worker = tokio::spawn({
        let (db, keys) = (db.clone(), keys.clone());
        async move {
            let mut found = 0;
            while let Some(Job { order, token }) = jobs.recv().await {
                // A token that is too old, or none, asks for nothing.
                let token = keys.verify(&token).unwrap_or_default();
                let sql = "SELECT total FROM orders WHERE id = $1";
                let row = db.with_token(token, db.query_opt(sql, &[&order])).await?;
                println!(
                    "job for order {order}: {:?}",
                    row.as_ref().map(|r| r.get::<_, i32>(0))
                );
                found += u32::from(row.is_some());
            }
            Ok::<_, rw_split::Error>(found)
        }
    });

    for order in 1..=3 {
        let session = ConsistencyScope::new(ConsistencyToken::default());
        let token = session
            .enter(async {
                let sql = "INSERT INTO orders VALUES ($1, $2)";
                db.execute(sql, &[&order, &(order * 10)]).await?;
                Ok::<_, rw_split::Error>(db.token())
            })
            .await?;
        let token = keys.sign(&token, Duration::from_secs(3600));
        queue.send(Job { order, token }).await?;
    }
    drop(queue);
    assert_eq!(worker.await??, 3);
    Ok(())
}
