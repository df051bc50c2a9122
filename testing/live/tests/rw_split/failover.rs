//! Primaries that die, and come back.

use std::time::{Duration, Instant};

use rw_split::{Error, WhenUnreachable};
use testbed::eventually;

use super::bed::{Bed, DEADLINE, get, session, set};

#[tokio::test]
async fn writes_resume_after_a_promotion() {
    let bed = Bed::new(2).await;
    let db = bed.db().await;
    let one = session();
    one.enter(set(&db, 1, 1)).await;
    bed.caught_up().await;
    bed.primary.kill().await.unwrap();
    bed.replicas[0].promote().await.unwrap();
    let promoted = Instant::now();
    eventually(DEADLINE, async || {
        one.enter(db.execute("UPDATE t SET n = 2 WHERE id = 1", &[])).await.is_ok()
    })
    .await;
    println!("writes resumed {:?} after the promotion", promoted.elapsed());
    assert!(promoted.elapsed() < Duration::from_secs(3));
    assert_eq!(one.enter(get(&db, 1)).await, 2);
    assert_eq!(db.stats().failovers, 1);
}

#[tokio::test]
async fn a_replica_of_the_old_primary_is_not_trusted() {
    let bed = Bed::new(2).await;
    let db = bed.db().await;
    let one = session();
    one.enter(set(&db, 1, 1)).await;
    bed.caught_up().await;
    // The old primary stays up and takes writes; c follows it still.
    bed.replicas[0].promote().await.unwrap();
    eventually(DEADLINE, async || db.stats().failovers == 1).await;
    let old = bed.client().await;
    old.batch_execute("UPDATE t SET n = 1000; UPDATE t SET n = n + 1").await.unwrap();
    bed.replicas[1].caught_up(DEADLINE).await.unwrap();

    one.enter(set(&db, 1, 2)).await;
    for _ in 0..50 {
        assert_eq!(one.enter(get(&db, 1)).await, 2);
        // Nor does anybody else see the history that was left.
        assert!(session().enter(get(&db, 1)).await < 1000);
    }
    let stats = db.stats();
    assert_eq!(stats.on_replicas, 0, "{stats:?}");
}

#[tokio::test]
async fn with_the_primary_away_replicas_answer_what_they_have() {
    let bed = Bed::new(1).await;
    let builder = || bed.builder().failover_wait(Duration::from_millis(200));
    let db = builder().build().await.unwrap();
    let stale = builder().when_unreachable(WhenUnreachable::Stale).build().await.unwrap();
    let one = session();
    one.enter(set(&db, 1, 1)).await;
    bed.caught_up().await;
    bed.replicas[0].pause_replay().await.unwrap();
    let two = session();
    two.enter(set(&db, 1, 2)).await;
    bed.primary.kill().await.unwrap();

    // Who asks for no more than the replica has is answered by it.
    eventually(DEADLINE, async || {
        one.enter(db.query_one("SELECT n FROM t WHERE id = 1", &[])).await.is_ok()
    })
    .await;
    let error = two.enter(db.query_one("SELECT n FROM t WHERE id = 1", &[])).await;
    assert!(matches!(error, Err(Error::NoPrimary { .. } | Error::NoServer(_))), "{error:?}");
    assert_eq!(two.enter(get(&stale, 1)).await, 1);
    let error = one.enter(db.execute("UPDATE t SET n = 3", &[])).await.unwrap_err();
    assert!(matches!(error, Error::NoPrimary { .. }) && !error.may_have_happened());

    bed.primary.restart().await.unwrap();
    eventually(DEADLINE, async || {
        one.enter(db.execute("UPDATE t SET n = 4 WHERE id = 1", &[])).await.is_ok()
    })
    .await;
    assert_eq!(one.enter(get(&db, 1)).await, 4);
}
