//! What one server has purged no server shows.

use std::time::Duration;

use testbed::eventually;
use testbed::redis::Redis;

use crate::fleet::{BOUND, Fleet, GROUPED, Server, ask, uri, version};

const KINDS: [&str; 7] = ["uri", "prefix", "group", "all", "POST", "PUT", "DELETE"];

pub(crate) async fn purge(fleet: &Fleet, server: usize, what: &str) -> bool {
    let Server { purge, service } = &fleet.servers[server];
    match what {
        "uri" => purge.uri(&uri("/a/b")).await.is_ok(),
        "prefix" => purge.prefix(&uri("/a")).await.is_ok(),
        "group" => purge.group(&uri("/"), "g").await.is_ok(),
        "all" => purge.all().await.is_ok(),
        method => {
            ask(service.clone(), method, "/a/b").await;
            // It does not wait for others to hear.
            tokio::time::sleep(BOUND).await;
            true
        }
    }
}

#[tokio::test]
async fn a_purge_by_one_holds_on_all() {
    let redis = Redis::start().await.unwrap();
    let mut fleet = Fleet::new(&vec![redis.url(); 3]).await;
    for what in KINDS {
        fleet.warm("/a/b").await;
        let new = fleet.change();
        assert!(purge(&fleet, 1, what).await, "{what}");
        for server in 0..fleet.servers.len() {
            assert_eq!(fleet.version(server, "/a/b").await, new, "{what} on {server}");
        }
        // Also on one that was not there.
        fleet.add(&redis.url(), |builder| builder.staleness_bound(BOUND));
        let late = fleet.servers.len() - 1;
        assert_eq!(fleet.version(late, "/a/b").await, new, "{what} on a late one");
    }
}

#[tokio::test]
async fn groups_that_a_response_invalidates_are_invalid_on_all() {
    let redis = Redis::start().await.unwrap();
    let fleet = Fleet::new(&vec![redis.url(); 3]).await;
    fleet.warm("/a").await;
    fleet.fields("cache-control: max-age=600");
    fleet.warm("/b").await;
    let new = fleet.change();
    fleet.fields("cache-group-invalidation: \"g\"");
    ask(fleet.servers[2].service.clone(), "POST", "/elsewhere").await;
    fleet.fields(GROUPED);
    tokio::time::sleep(BOUND).await;
    for server in 0..3 {
        assert_eq!(fleet.version(server, "/a").await, new);
        assert_eq!(fleet.version(server, "/b").await, new - 1, "it is in no group");
    }
}

#[tokio::test]
async fn a_soft_purge_by_one_makes_stale_on_all() {
    let redis = Redis::start().await.unwrap();
    let mut fleet = Fleet::new(&vec![redis.url(); 3]).await;
    for what in ["uri", "prefix", "group"] {
        fleet.warm("/a/b").await;
        let purge = fleet.servers[0].purge.soft();
        match what {
            "uri" => purge.uri(&uri("/a/b")).await.unwrap(),
            "prefix" => purge.prefix(&uri("/a")).await.unwrap(),
            _ => purge.group(&uri("/"), "g").await.unwrap(),
        }
        fleet.add(&redis.url(), |builder| builder.staleness_bound(BOUND));
        fleet.asked();
        for server in 0..fleet.servers.len() {
            let answer = fleet.get(server, "/a/b").await;
            assert_eq!(version(&answer), 1);
            // The first has it validated; the others learn of that, or have theirs validated.
            let status = answer.headers()["cache-status"].to_str().unwrap();
            let fine = status.contains("fwd-status=304") || status.contains("shared");
            assert!(fine, "{what} on {server}: {status}");
        }
        assert_eq!(fleet.asked(), 1, "{what}");
    }
}

#[tokio::test]
async fn what_was_asked_for_before_a_purge_is_stored_nowhere() {
    let redis = Redis::start().await.unwrap();
    let fleet = Fleet::new(&vec![redis.url(); 3]).await;
    for what in KINDS {
        purge(&fleet, 0, "all").await;
        fleet.asked();
        let gate = fleet.hold();
        let late = tokio::spawn(ask(fleet.servers[1].service.clone(), "GET", "/a/b"));
        fleet.is_asked(1).await;
        fleet.go_on();
        let new = fleet.change();
        assert!(purge(&fleet, 0, what).await);
        gate.add_permits(1);
        assert_eq!(version(&late.await.unwrap()), new - 1);
        for server in [2, 0, 1] {
            assert_eq!(fleet.version(server, "/a/b").await, new, "{what} on {server}");
        }
    }
}

/// Redis hints at news, so that the bound is only for when it cannot.
#[tokio::test]
async fn news_come_long_before_the_bound() {
    let redis = Redis::start().await.unwrap();
    let fleet = Fleet::with(&vec![redis.url(); 3], |builder| {
        builder.staleness_bound(Duration::from_secs(600))
    })
    .await;
    for what in ["uri", "prefix", "group", "all"] {
        fleet.warm("/a/b").await;
        let new = fleet.change();
        let purge = fleet.servers[0].purge.at_once();
        match what {
            "uri" => purge.uri(&uri("/a/b")).await.unwrap(),
            "prefix" => purge.prefix(&uri("/a")).await.unwrap(),
            "group" => purge.group(&uri("/"), "g").await.unwrap(),
            _ => purge.all().await.unwrap(),
        }
        assert_eq!(fleet.version(0, "/a/b").await, new, "{what}: at once where it was purged");
        let heard = || async {
            fleet.version(1, "/a/b").await == new && fleet.version(2, "/a/b").await == new
        };
        eventually(Duration::from_secs(20), heard).await;
    }
}
