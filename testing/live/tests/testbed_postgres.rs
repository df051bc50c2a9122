//! The testbed's own PostgreSQL: a primary and its replicas under faults.

#![allow(clippy::unwrap_used, reason = "the helpers of tests are tests")]
#![allow(clippy::disallowed_methods, reason = "wall time is what is measured here")]

use std::time::{Duration, Instant};

use testbed::guard::{descendants, is_alive};
use testbed::link::Link;
use testbed::postgres::{Client, Postgres};
use testbed::{Error, eventually, eventually_ok};

const DEADLINE: Duration = Duration::from_secs(20);

async fn primary_with_table() -> (Postgres, Client) {
    let primary = Postgres::start().await.unwrap();
    let client = primary.client().await.unwrap();
    client.batch_execute("CREATE TABLE t (n int)").await.unwrap();
    (primary, client)
}

async fn insert(client: &Client) {
    client.batch_execute("INSERT INTO t VALUES (1)").await.unwrap();
}

async fn count(client: &Client) -> i64 {
    client.query_one("SELECT count(*) FROM t", &[]).await.unwrap().get(0)
}

#[tokio::test]
async fn a_replica_shows_what_the_primary_has_committed() {
    let (primary, writer) = primary_with_table().await;
    let replica = primary.replica().await.unwrap();
    insert(&writer).await;
    replica.caught_up(DEADLINE).await.unwrap();
    let reader = replica.client().await.unwrap();
    assert_eq!(count(&reader).await, 1);
    assert!(reader.batch_execute("INSERT INTO t VALUES (2)").await.is_err());
}

#[tokio::test]
async fn settings_and_databases_are_as_asked() {
    let primary = Postgres::builder()
        .setting("max_connections", "33")
        .setting("application_name", r"it's a \ test")
        .database("other \" one")
        .start()
        .await
        .unwrap();
    let replica = primary.replica().setting("hot_standby_feedback", "on").await.unwrap();
    for (server, feedback) in [(&primary, "off"), (&*replica, "on")] {
        let client = server.client().await.unwrap();
        let show = async |name: &str| -> String {
            client.query_one(&format!("SHOW {name}"), &[]).await.unwrap().get(0)
        };
        assert_eq!(show("max_connections").await, "33");
        assert_eq!(show("application_name").await, r"it's a \ test");
        assert_eq!(show("fsync").await, "off");
        assert_eq!(show("wal_level").await, "logical");
        assert_eq!(show("hot_standby_feedback").await, feedback);
    }
    Client::connect(&primary.url_of("other%20%22%20one")).await.unwrap();
}

#[tokio::test]
async fn a_wrong_setting_fails_with_the_servers_own_words() {
    let error = Postgres::builder().setting("shared_bufers", "1").start().await.unwrap_err();
    assert!(matches!(error, Error::Exited { .. }), "{error:?}");
    assert!(error.to_string().contains("shared_bufers"), "{error}");
}

#[tokio::test]
async fn a_paused_replica_lags_until_it_is_resumed() {
    let (primary, writer) = primary_with_table().await;
    let replica = primary.replica().await.unwrap();
    let reader = replica.client().await.unwrap();

    replica.pause_replay().await.unwrap();
    insert(&writer).await;
    // It has received the row, and does not show it.
    let received = "SELECT pg_last_wal_receive_lsn() > pg_last_wal_replay_lsn()";
    eventually(DEADLINE, async || reader.query_one(received, &[]).await.unwrap().get(0)).await;
    assert_eq!(count(&reader).await, 0);
    let late = replica.caught_up(Duration::from_millis(100)).await.unwrap_err();
    assert!(matches!(late, Error::Late { .. }), "{late:?}");

    replica.resume_replay().await.unwrap();
    replica.caught_up(DEADLINE).await.unwrap();
    assert_eq!(count(&reader).await, 1);
}

#[tokio::test]
async fn a_delayed_replica_lags_by_the_delay() {
    const DELAY: Duration = Duration::from_millis(400);
    let (primary, writer) = primary_with_table().await;
    let replica = primary.replica().await.unwrap();
    let reader = replica.client().await.unwrap();
    replica.caught_up(DEADLINE).await.unwrap();

    replica.delay_replay(DELAY).await.unwrap();
    let start = Instant::now();
    insert(&writer).await;
    assert_eq!(count(&reader).await, 0);
    eventually(DEADLINE, async || count(&reader).await == 1).await;
    let lag = start.elapsed();
    println!("a delay of {DELAY:?} showed as {lag:?}");
    assert!(lag >= DELAY, "{lag:?}");

    replica.delay_replay(Duration::ZERO).await.unwrap();
    insert(&writer).await;
    replica.caught_up(DEADLINE).await.unwrap();
}

#[tokio::test]
async fn a_cut_stream_brings_nothing_until_it_is_mended() {
    let (primary, writer) = primary_with_table().await;
    let replica = primary.replica().await.unwrap();
    replica.caught_up(DEADLINE).await.unwrap();

    replica.cut_stream().await.unwrap();
    insert(&writer).await;
    let streams = "SELECT count(*) FROM pg_stat_replication";
    eventually(DEADLINE, async || {
        writer.query_one(streams, &[]).await.unwrap().get::<_, i64>(0) == 0
    })
    .await;
    assert_eq!(count(&replica.client().await.unwrap()).await, 0);

    replica.mend_stream().await.unwrap();
    replica.caught_up(DEADLINE).await.unwrap();
    assert_eq!(count(&replica.client().await.unwrap()).await, 1);
}

#[tokio::test]
async fn a_replica_takes_over_from_a_killed_primary() {
    let (primary, writer) = primary_with_table().await;
    let replica = primary.replica().await.unwrap();
    insert(&writer).await;
    replica.caught_up(DEADLINE).await.unwrap();

    primary.kill().await.unwrap();
    let start = Instant::now();
    replica.promote().await.unwrap();
    println!("promoted after {:?}", start.elapsed());
    let client = replica.client().await.unwrap();
    insert(&client).await;
    assert_eq!(count(&client).await, 2);

    // It is a primary like any other now.
    let next = replica.replica().await.unwrap();
    next.caught_up(DEADLINE).await.unwrap();
    assert_eq!(count(&next.client().await.unwrap()).await, 2);
}

#[tokio::test]
async fn a_killed_server_is_gone_whole_and_comes_back_with_its_commits() {
    let (primary, client) = primary_with_table().await;
    insert(&client).await;
    let postmaster = primary.pid().unwrap();
    let backends = descendants(postmaster);
    assert!(!backends.is_empty());

    primary.kill().await.unwrap();
    assert!(!is_alive(postmaster));
    assert!(!backends.into_iter().any(is_alive));
    assert!(client.simple_query("SELECT 1").await.is_err());
    assert!(matches!(primary.kill().await, Err(Error::NotRunning { .. })));

    let port = primary.port();
    primary.restart().await.unwrap();
    assert_eq!(primary.port(), port);
    assert_eq!(count(&primary.client().await.unwrap()).await, 1);

    primary.stop().await.unwrap();
    assert_eq!(primary.pid(), None);
    primary.restart().await.unwrap();
    assert_eq!(count(&primary.client().await.unwrap()).await, 1);
}

#[tokio::test]
async fn a_killed_replica_follows_again_after_its_restart() {
    let (primary, writer) = primary_with_table().await;
    let replica = primary.replica().await.unwrap();
    replica.kill().await.unwrap();
    insert(&writer).await;
    replica.restart().await.unwrap();
    replica.caught_up(DEADLINE).await.unwrap();
    assert_eq!(count(&replica.client().await.unwrap()).await, 1);
}

#[tokio::test]
async fn a_paused_process_answers_nothing_until_it_is_resumed() {
    let (primary, client) = primary_with_table().await;
    primary.pause_process().unwrap();
    let asked = tokio::time::timeout(Duration::from_millis(200), count(&client)).await;
    assert!(asked.is_err(), "a stopped server has answered");
    let connecting = tokio::time::timeout(Duration::from_millis(200), primary.client()).await;
    assert!(connecting.is_err(), "a stopped server has let somebody in");

    primary.resume_process().unwrap();
    assert_eq!(count(&client).await, 0);
    primary.client().await.unwrap();

    // A stopped server can be stopped for good.
    primary.pause_process().unwrap();
    primary.stop().await.unwrap();
}

#[tokio::test]
async fn a_replica_streams_through_a_link_that_fails() {
    let (primary, writer) = primary_with_table().await;
    let link = Link::to(primary.addr()).unwrap();
    let replica = primary.replica().through(link.addr()).await.unwrap();
    replica.caught_up(DEADLINE).await.unwrap();

    link.cut();
    insert(&writer).await;
    assert!(replica.caught_up(Duration::from_millis(100)).await.is_err());
    link.heal();
    eventually_ok(DEADLINE, async || replica.caught_up(DEADLINE).await).await;
    assert_eq!(count(&replica.client().await.unwrap()).await, 1);
}

#[tokio::test]
async fn a_dropped_server_leaves_nothing() {
    let (primary, _client) = primary_with_table().await;
    let replica = primary.replica().await.unwrap();
    let folders = [primary.data(), replica.data()];
    let pids: Vec<u32> = [primary.pid(), replica.pid()]
        .into_iter()
        .flatten()
        .flat_map(|pid| descendants(pid).into_iter().chain([pid]))
        .collect();
    assert!(pids.iter().all(|pid| is_alive(*pid)) && folders.iter().all(|f| f.exists()));

    // Also one that is stopped.
    primary.pause_process().unwrap();
    drop((primary, replica));
    eventually(DEADLINE, async || {
        !pids.iter().any(|pid| is_alive(*pid)) && !folders.iter().any(|f| f.exists())
    })
    .await;
}
