//! One session on two clusters, and connections that go back to their pool.

use rw_split::{ConsistencyScope, PooledConnection, RwSplit, TokenKeys};
use testbed::eventually;

use super::bed::{Bed, DEADLINE, get, session, set};

async fn called(bed: &Bed, name: &str) -> RwSplit {
    bed.builder().cluster(name).build().await.unwrap()
}

/// Its floor on one says nothing on the other, and is not lost there.
#[tokio::test]
async fn a_session_reads_its_writes_on_two_clusters() {
    let beds = [Bed::new(1).await, Bed::new(1).await];
    let (shop, orders) = (called(&beds[0], "shop").await, called(&beds[1], "orders").await);
    for bed in &beds {
        bed.replicas[0].pause_replay().await.unwrap();
    }
    let user = session();
    user.enter(async {
        for n in 1..20 {
            set(&shop, 1, n).await;
            set(&orders, 1, 100 + n).await;
            assert_eq!((get(&shop, 1).await, get(&orders, 1).await), (n, 100 + n));
        }
    })
    .await;
    assert_eq!((shop.stats().clamps, orders.stats().clamps), (0, 0));

    // As a text, to another process.
    let keys = TokenKeys::new(&[7; 32]).unwrap();
    let text = keys.sign(&user.token(), DEADLINE);
    let later = ConsistencyScope::new(keys.verify(&text).unwrap());
    let read = later.enter(async { (get(&shop, 1).await, get(&orders, 1).await) }).await;
    assert_eq!(read, (19, 119));

    // Who has written on neither is served by replicas.
    let before = (shop.stats().on_replicas, orders.stats().on_replicas);
    let read = session().enter(async { (get(&shop, 1).await, get(&orders, 1).await) }).await;
    assert_eq!(read, (0, 0));
    let now = (shop.stats().on_replicas, orders.stats().on_replicas);
    assert_eq!(now, (before.0 + 1, before.1 + 1));
}

#[tokio::test]
async fn a_pooled_connection_goes_back_when_nothing_is_under_way() {
    let bed = Bed::new(1).await;
    let db = bed.builder().pool_size(1).build().await.unwrap();
    bed.replicas[0].pause_replay().await.unwrap();
    let process = async |connection: &PooledConnection| -> i32 {
        connection.query_one("SELECT pg_backend_pid()", &[]).await.unwrap().get(0)
    };
    let user = session();
    let first = user
        .enter(async {
            let connection = db.pooled_connection().await.unwrap();
            connection.busy();
            connection.batch_execute("BEGIN").await.unwrap();
            let sql = "UPDATE t SET n = 7 WHERE id = 1";
            let changed = connection.execute(sql, &[]).await.unwrap();
            assert_eq!(changed, 1);
            connection.batch_execute("COMMIT").await.unwrap();
            connection.written().await.unwrap();
            connection.idle();
            process(&connection).await
        })
        .await;
    // What was written on it is the session's own.
    assert_eq!(user.enter(get(&db, 1)).await, 7);
    let connection = db.pooled_connection().await.unwrap();
    assert_eq!(process(&connection).await, first);

    // Given up in the middle, it is closed, and nobody knows what happened.
    let other = session();
    other
        .enter(async {
            connection.busy();
            connection.batch_execute("BEGIN; UPDATE t SET n = 8 WHERE id = 1").await.unwrap();
            drop(connection);
        })
        .await;
    assert_eq!(db.stats().unknown_outcomes, 1);
    eventually(DEADLINE, async || {
        let next = db.pooled_connection().await.unwrap();
        process(&next).await != first
    })
    .await;
    let before = db.stats().on_replicas;
    assert_eq!(other.enter(get(&db, 1)).await, 7);
    assert_eq!(db.stats().on_replicas, before, "it reads from the primary for a while");
}
