//! The testbed's own Redis Cluster: slots, crashes and failover.

#![allow(clippy::unwrap_used, reason = "the helpers of tests are tests")]
#![allow(clippy::disallowed_methods, reason = "wall time is what is measured here")]

use std::time::{Duration, Instant};

use testbed::guard::is_alive;
use testbed::link::Link;
use testbed::redis::{Redis, RedisCluster, slot};
use testbed::{Error, eventually, eventually_ok};

const DEADLINE: Duration = Duration::from_secs(30);

fn same(one: &Redis, other: &Redis) -> bool {
    one.port() == other.port()
}

#[tokio::test]
async fn three_masters_share_the_slots() {
    let start = Instant::now();
    let cluster = RedisCluster::start().await.unwrap();
    println!("a cluster of three masters took {:?}", start.elapsed());
    assert_eq!(cluster.nodes().len(), 3);
    assert_eq!(cluster.urls()[2], cluster.nodes()[2].url());

    let mut owners = Vec::new();
    for n in 0..40 {
        let key = format!("{{tag{n}}}:key");
        let said = cluster.nodes()[0].command(&["CLUSTER", "KEYSLOT", &key]).await.unwrap();
        assert_eq!(said.integer(), Some(slot(&key).into()), "{key}");
        let owner = cluster.owner(&key).await.unwrap();
        owner.command(&["SET", &key, "v"]).await.unwrap();
        owners.push(owner.port());
        // The others know where it is.
        let other = cluster.nodes().iter().find(|node| !same(node, owner)).unwrap();
        let moved = other.command(&["GET", &key]).await.unwrap_err().to_string();
        assert!(moved.ends_with(&format!("MOVED {} {}", slot(&key), owner.addr())), "{moved}");
    }
    owners.sort_unstable();
    owners.dedup();
    assert_eq!(owners.len(), 3, "one master has all keys");
}

#[tokio::test]
async fn a_master_that_was_killed_comes_back_as_itself() {
    let cluster = RedisCluster::start().await.unwrap();
    let owner = cluster.owner("gone").await.unwrap();
    owner.command(&["SET", "gone", "v"]).await.unwrap();
    let mut other = String::from("other");
    while same(cluster.owner(&other).await.unwrap(), owner) {
        other.push('+');
    }
    owner.kill().await.unwrap();

    let error = cluster.settled(Duration::from_millis(100)).await.unwrap_err();
    assert!(error.to_string().contains("not running"), "{error:?}");
    let alive = cluster.owner(&other).await.unwrap();
    assert!(!same(alive, owner));
    // Once the others know, its slots fail and the rest goes on.
    eventually(DEADLINE, async || {
        let nodes = alive.command(&["CLUSTER", "NODES"]).await.unwrap();
        nodes.text().unwrap().contains("master,fail ")
    })
    .await;
    alive.command(&["SET", &other, "v"]).await.unwrap();
    assert!(same(cluster.owner("gone").await.unwrap(), owner));

    let start = Instant::now();
    owner.restart().await.unwrap();
    cluster.settled(DEADLINE).await.unwrap();
    println!("settled {:?} after the restart", start.elapsed());
    assert!(same(cluster.owner("gone").await.unwrap(), owner));
    assert!(owner.command(&["GET", "gone"]).await.unwrap().text().is_none());
    owner.command(&["SET", "gone", "v"]).await.unwrap();

    owner.save().await.unwrap();
    owner.command(&["DEL", "gone"]).await.unwrap();
    owner.restart_from_snapshot().await.unwrap();
    cluster.settled(DEADLINE).await.unwrap();
    assert_eq!(owner.command(&["GET", "gone"]).await.unwrap().text(), Some("v"));
    owner.restart_empty().await.unwrap();
    cluster.settled(DEADLINE).await.unwrap();
    assert_eq!(owner.command(&["DBSIZE"]).await.unwrap().integer(), Some(0));
}

#[tokio::test]
async fn a_replica_takes_over_from_a_master_that_died_or_hangs() {
    let start = Instant::now();
    let cluster = RedisCluster::builder().replicas_per_master(1).start().await.unwrap();
    println!("a cluster of three masters and replicas took {:?}", start.elapsed());
    assert_eq!(cluster.nodes().len(), 6);

    let old = cluster.owner("k").await.unwrap();
    // WAIT is about what came over its own connection.
    let mut client = old.client().await.unwrap();
    client.command(&["SET", "k", "v"]).await.unwrap();
    assert_eq!(client.command(&["WAIT", "1", "10000"]).await.unwrap().integer(), Some(1));
    old.kill().await.unwrap();
    let start = Instant::now();
    eventually(DEADLINE, async || !same(cluster.owner("k").await.unwrap(), old)).await;
    println!("another owner after {:?}", start.elapsed());
    let new = cluster.owner("k").await.unwrap();
    eventually_ok(DEADLINE, async || new.command(&["SET", "k2{k}", "v"]).await).await;
    assert_eq!(new.command(&["GET", "k"]).await.unwrap().text(), Some("v"));
    old.restart().await.unwrap();
    cluster.settled(DEADLINE).await.unwrap();
    assert!(same(cluster.owner("k").await.unwrap(), new));
    assert_eq!(old.info("role").await.unwrap().as_deref(), Some("slave"));

    new.pause_process().unwrap();
    eventually(DEADLINE, async || same(cluster.owner("k").await.unwrap(), old)).await;
    new.resume_process().unwrap();
    cluster.settled(DEADLINE).await.unwrap();
    assert_eq!(old.command(&["GET", "k"]).await.unwrap().text(), Some("v"));
}

#[tokio::test]
async fn clients_are_sent_through_a_link_that_a_node_announces() {
    let cluster = RedisCluster::start().await.unwrap();
    let owner = cluster.owner("k").await.unwrap();
    let link = Link::to(owner.addr()).unwrap();
    cluster.announce(owner, link.addr().port()).await.unwrap();
    cluster.settled(DEADLINE).await.unwrap();
    assert!(same(cluster.owner("k").await.unwrap(), owner));
    for other in cluster.nodes().iter().filter(|node| !same(node, owner)) {
        let moved = other.command(&["GET", "k"]).await.unwrap_err().to_string();
        assert!(moved.ends_with(&link.addr().to_string()), "{moved}");
    }
}

#[tokio::test]
async fn a_wrong_setting_fails_with_the_servers_own_words() {
    let error = RedisCluster::builder().setting("maxmemry", "1").start().await.unwrap_err();
    assert!(error.to_string().contains("maxmemry"), "{error:?}");
}

#[tokio::test]
async fn a_cluster_of_one_is_one() {
    let cluster = RedisCluster::builder().masters(1).start().await.unwrap();
    cluster.owner("k").await.unwrap().command(&["SET", "k", "v"]).await.unwrap();
    cluster.nodes()[0].kill().await.unwrap();
    let error = cluster.owner("k").await.unwrap_err();
    assert!(matches!(error, Error::Late { .. }), "{error:?}");
}

#[tokio::test]
async fn a_dropped_cluster_leaves_nothing() {
    let cluster = RedisCluster::start().await.unwrap();
    let nodes: Vec<_> =
        cluster.nodes().iter().map(|node| (node.pid().unwrap(), node.log())).collect();
    assert!(nodes.iter().all(|(pid, log)| is_alive(*pid) && log.exists()));
    drop(cluster);
    eventually(DEADLINE, async || {
        !nodes.iter().any(|(pid, log)| is_alive(*pid) || log.exists())
    })
    .await;
}
