//! Primaries that die, and come back.

use std::collections::HashMap;
use std::ops::RangeInclusive;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use rw_split::{Error, ServerConfig, WhenUnreachable};
use testbed::eventually;
use testbed::link::Link;

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

/// Connections are cut in the middle of writes, again and again: what is
/// acknowledged is there once, what has failed is not there, and what may have
/// happened says so.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn no_write_is_sent_twice() {
    let bed = Bed::new(0).await;
    let client = bed.client().await;
    client.batch_execute("CREATE TABLE log (id bigint NOT NULL)").await.unwrap();
    let link = Link::to(bed.primary.addr()).unwrap();
    let db = rw_split::RwSplit::builder()
        .server(ServerConfig::new(bed.primary.url_at(link.addr())).name("a"))
        .build()
        .await
        .unwrap();
    let over = Arc::new(AtomicBool::new(false));
    let writers: Vec<_> = (0..8_i64)
        .map(|writer| {
            let (db, over) = (db.clone(), Arc::clone(&over));
            tokio::spawn(async move {
                let mut outcomes = Vec::new();
                for n in 0.. {
                    if over.load(Ordering::Relaxed) {
                        return outcomes;
                    }
                    let id = writer * 1_000_000 + n;
                    let sql = "INSERT INTO log VALUES ($1)";
                    let expected = match db.execute(sql, &[&id]).await {
                        Ok(_) => 1..=1,
                        Err(error) if error.may_have_happened() => 0..=1,
                        Err(_) => 0..=0,
                    };
                    outcomes.push((id, expected));
                }
                unreachable!("a range without end")
            })
        })
        .collect();
    for _ in 0..20 {
        tokio::time::sleep(Duration::from_millis(150)).await;
        link.cut();
        link.heal();
    }
    over.store(true, Ordering::Relaxed);
    let mut outcomes = Vec::new();
    for writer in writers {
        outcomes.extend(writer.await.unwrap());
    }
    let rows = client.query("SELECT id, count(*) FROM log GROUP BY id", &[]).await.unwrap();
    let counts: HashMap<i64, i64> = rows.iter().map(|row| (row.get(0), row.get(1))).collect();
    let count = |of: fn(&RangeInclusive<i64>) -> bool| {
        outcomes.iter().filter(|(_, expected)| of(expected)).count()
    };
    println!(
        "{} writes: {} acknowledged, {} may have happened, {} failed",
        outcomes.len(),
        count(|expected| *expected == (1..=1)),
        count(|expected| *expected == (0..=1)),
        count(|expected| *expected == (0..=0)),
    );
    assert!(count(|expected| *expected == (0..=1)) > 0, "no connection was cut in a write");
    for (id, expected) in &outcomes {
        let found = counts.get(id).copied().unwrap_or(0);
        assert!(expected.contains(&found), "{id}: {found} times, expected {expected:?}");
    }
}

/// A role that may not see `pg_stat_wal_receiver` has the control file's word
/// for what a replica follows: late, and never wrong.
#[tokio::test]
async fn a_role_without_rights_trusts_replicas_later() {
    let bed = Bed::new(2).await;
    let client = bed.client().await;
    client.batch_execute("CREATE ROLE app LOGIN; GRANT ALL ON t TO app").await.unwrap();
    bed.caught_up().await;
    let as_app = |url: String| url.replace("postgres://postgres@", "postgres://app@");
    let servers = [bed.primary.url(), bed.replicas[0].url(), bed.replicas[1].url()];
    let db = servers
        .into_iter()
        .fold(rw_split::RwSplit::builder(), |db, url| db.server(as_app(url)))
        .build()
        .await
        .unwrap();
    let one = session();
    one.enter(get(&db, 1)).await;
    assert_eq!(db.stats().on_replicas, 1);
    bed.caught_up().await;
    bed.primary.kill().await.unwrap();
    bed.replicas[0].promote().await.unwrap();
    eventually(DEADLINE, async || db.stats().failovers == 1).await;
    one.enter(set(&db, 1, 2)).await;

    let follower = bed.replicas[1].client().await.unwrap();
    let to = format!("host=127.0.0.1 port={} user=postgres", bed.replicas[0].port());
    let alter = format!("ALTER SYSTEM SET primary_conninfo = '{to}'");
    follower.batch_execute(&alter).await.unwrap();
    follower.batch_execute("SELECT pg_reload_conf()").await.unwrap();
    let shown = "SELECT n = 2 FROM t WHERE id = 1";
    eventually(DEADLINE, async || follower.query_one(shown, &[]).await.unwrap().get(0)).await;
    let before = db.stats().on_replicas;
    one.enter(get(&db, 1)).await;
    assert_eq!(db.stats().on_replicas, before);
    // The restart point that would come by itself within minutes.
    let promoted = bed.replicas[0].client().await.unwrap();
    eventually(DEADLINE, async || {
        promoted.batch_execute("CHECKPOINT").await.unwrap();
        follower.batch_execute("CHECKPOINT").await.unwrap();
        assert_eq!(one.enter(get(&db, 1)).await, 2);
        db.stats().on_replicas > before
    })
    .await;
}
