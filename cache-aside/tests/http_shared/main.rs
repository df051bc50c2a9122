//! One HTTP cache of several servers, over a store in memory, on paused time. The same on a
//! real Redis, under faults, is in `testing/live/tests/http_shared`.
#![cfg(feature = "http")]
#![allow(clippy::unwrap_used, reason = "a panic is how a test fails")]

mod fleet;
mod overtaken;

use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;

use cache_aside::conformance;
use cache_aside::http::{HttpCacheBuilder, HttpCacheLayer, PurgeError};
use cache_aside::shared::{Fault, InMemory, SharedNews, SharedStore};
use http::Request;
use http_body_util::Empty;
use tower::ServiceExt;

use crate::fleet::{FRESH, Fleet, MILLI, SECOND, status, uri, version};

#[tokio::test(start_paused = true)]
async fn the_log_in_memory_conforms() {
    let store = InMemory::new();
    conformance::news(|| store.clone()).await;
}

#[tokio::test(start_paused = true)]
async fn what_one_server_has_asked_for_all_have() {
    let fleet = Fleet::new(3).await;
    assert_eq!(fleet.version(0, "/a").await, 1);
    tokio::time::sleep(5 * SECOND).await;
    for server in [1, 2] {
        let answer = fleet.get(server, "/a").await;
        assert_eq!(version(&answer), 1);
        assert_eq!(status(&answer), "cache-aside; hit; ttl=595; detail=shared");
        assert_eq!(answer.headers()["age"], "5");
        // From here on it has it itself.
        let calls = fleet.store.calls();
        assert!(!status(&fleet.get(server, "/a").await).contains("shared"));
        assert_eq!(fleet.store.calls(), calls);
    }
    assert_eq!(fleet.asked(), 1);
    // So does a HEAD, and a range.
    fleet.version(0, "/b").await;
    let head = fleet.ask(1, "HEAD", "/b", &[]).await;
    assert!(status(&head).contains("hit"), "{head:?}");
    let range = fleet.ask(2, "GET", "/b", &[("range", "bytes=0-0")]).await;
    assert_eq!(range.status(), 206);
    assert_eq!(fleet.asked(), 1);
}

#[tokio::test(start_paused = true)]
async fn a_thousand_misses_on_all_servers_are_one_request() {
    let fleet = Fleet::new(4).await;
    fleet.manner(FRESH, 2 * SECOND);
    let asks = (0..1_000).map(|n| {
        let service = fleet.servers[n % 4].service.clone();
        let request = Request::get("http://h/slow").body(Empty::new()).unwrap();
        tokio::spawn(service.oneshot(request))
    });
    for ask in asks.collect::<Vec<_>>() {
        assert_eq!(version(&ask.await.unwrap().unwrap()), 1);
    }
    assert_eq!(fleet.asked(), 1);
}

#[tokio::test(start_paused = true)]
async fn what_is_not_to_be_shared_is_waited_for_once() {
    let fleet = Fleet::new(4).await;
    for (path, fields) in [
        ("/private", "cache-control: private, max-age=9"),
        ("/none", "cache-control: no-store"),
    ] {
        fleet.manner(fields, SECOND);
        let began = tokio::time::Instant::now();
        let asks = (0..40).map(|n| {
            let service = fleet.servers[n % 4].service.clone();
            let request = Request::get(format!("http://h{path}")).body(Empty::new()).unwrap();
            tokio::spawn(service.oneshot(request))
        });
        for ask in asks.collect::<Vec<_>>() {
            ask.await.unwrap().unwrap();
        }
        // Once for the first, and once for all the others.
        assert!(began.elapsed() < 3 * SECOND, "{path}: {:?}", began.elapsed());
        assert_eq!(fleet.asked(), 40, "{path}");
    }
}

#[tokio::test(start_paused = true)]
async fn what_is_too_large_stays_where_it_came() {
    let fleet = Fleet::with(3, |builder| builder.l2_max_bytes(10_000)).await;
    fleet.origin.length.store(20_000, Ordering::SeqCst);
    for server in [0, 1, 2, 0, 1, 2] {
        assert_eq!(fleet.version(server, "/large").await, 1);
    }
    assert_eq!(fleet.asked(), 3);
    fleet.change();
    fleet.servers[0].purge.uri(&uri("/large")).await.unwrap();
    for server in 0..3 {
        assert_eq!(fleet.version(server, "/large").await, 2);
    }
}

/// Purges of every kind reach every server, wherever what they reach is: in each server, in
/// the store, or on its way.
#[tokio::test(start_paused = true)]
async fn a_purge_holds_on_every_server() {
    for what in ["uri", "prefix", "group", "all", "POST", "PUT"] {
        let mut fleet = Fleet::new(3).await;
        fleet.manner("cache-control: max-age=600 | cache-groups: \"g\"", MILLI);
        for server in 0..3 {
            assert_eq!(fleet.version(server, "/a/b").await, 1);
        }
        let new = fleet.change();
        purge(&fleet, 0, what, "/a/b").await.unwrap();
        for server in 0..3 {
            assert_eq!(fleet.version(server, "/a/b").await, new, "{what} on {server}");
        }
        let late = fleet.server(|builder| builder);
        fleet.servers.push(late);
        assert_eq!(fleet.version(3, "/a/b").await, new, "{what} on one that comes late");
        // What it does not reach, it does not.
        if what != "all" {
            fleet.manner(FRESH, MILLI);
            fleet.version(1, "/c").await;
            fleet.asked();
            purge(&fleet, 0, what, "/a/b").await.unwrap();
            fleet.version(2, "/c").await;
            assert_eq!(fleet.asked(), usize::from(what == "POST" || what == "PUT"), "{what}");
        }
    }
}

async fn purge(fleet: &Fleet, server: usize, what: &str, path: &str) -> Result<(), PurgeError> {
    let purge = &fleet.servers[server].purge;
    match what {
        "uri" => purge.uri(&uri(path)).await,
        "prefix" => purge.prefix(&uri("/a")).await,
        "group" => purge.group(&uri("/"), "g").await,
        "all" => purge.all().await,
        method => {
            fleet.ask(server, method, path, &[]).await;
            // It does not wait for other servers to hear.
            tokio::time::sleep(SECOND + MILLI).await;
            Ok(())
        }
    }
}

#[tokio::test(start_paused = true)]
async fn a_soft_purge_makes_stale_on_every_server() {
    let mut fleet = Fleet::new(2).await;
    fleet.version(0, "/a/b").await;
    fleet.version(1, "/a/b").await;
    fleet.version(0, "/a/c").await;
    let purge = fleet.servers[0].purge.soft();
    purge.prefix(&uri("/a")).await.unwrap();
    let late = fleet.server(|builder| builder);
    fleet.servers.push(late);
    fleet.asked();
    for (server, path, asks) in
        [(1, "/a/b", 1), (1, "/a/b", 0), (0, "/a/b", 0), (2, "/a/b", 0), (2, "/a/c", 1)]
    {
        assert_eq!(fleet.version(server, path).await, 1);
        assert_eq!(fleet.asked(), asks, "{path} on {server}");
    }
    assert_eq!(fleet.origin.conditional.load(Ordering::SeqCst), 2, "it was validated");
}

#[tokio::test(start_paused = true)]
async fn a_response_from_before_a_purge_is_stored_nowhere() {
    for what in ["uri", "prefix", "group", "all", "POST"] {
        let fleet = Arc::new(Fleet::new(3).await);
        fleet.manner("cache-control: max-age=600 | cache-groups: \"g\"", 3 * SECOND);
        let late = Arc::clone(&fleet);
        let late = tokio::spawn(async move { late.version(1, "/a/b").await });
        tokio::time::sleep(SECOND).await;
        let new = fleet.change();
        fleet.manner("cache-control: max-age=600 | cache-groups: \"g\"", MILLI);
        purge(&fleet, 0, what, "/a/b").await.unwrap();
        assert_eq!(late.await.unwrap(), new - 1);
        for server in [2, 0, 1] {
            assert_eq!(fleet.version(server, "/a/b").await, new, "{what} on {server}");
        }
    }
}

#[tokio::test(start_paused = true)]
async fn without_news_nothing_is_served_unasked() {
    let fleet = Fleet::new(2).await;
    fleet.version(0, "/a").await;
    fleet.version(1, "/a").await;
    fleet.store.set_fault(Some(Fault::Down));
    fleet.asked();
    assert_eq!(fleet.version(1, "/a").await, 1);
    assert_eq!(fleet.asked(), 0, "within the bound");
    let new = fleet.change();
    assert_eq!(
        fleet.servers[0].purge.uri(&uri("/a")).await.unwrap_err(),
        PurgeError::Unacknowledged
    );
    tokio::time::sleep(SECOND).await;
    assert_eq!(fleet.version(1, "/a").await, new);
    fleet.asked();
    // It is asked whether what is there is good, and that is not sent again.
    assert_eq!(fleet.version(1, "/a").await, new);
    assert_eq!(fleet.origin.conditional.load(Ordering::SeqCst), 1);
    // Many are one request still.
    fleet.manner(FRESH, SECOND);
    fleet.asked();
    let asks = (0..100).map(|_| {
        let request = Request::get("http://h/b").body(Empty::new()).unwrap();
        tokio::spawn(fleet.servers[0].service.clone().oneshot(request))
    });
    for ask in asks.collect::<Vec<_>>() {
        ask.await.unwrap().unwrap();
    }
    assert_eq!(fleet.asked(), 1);
}

#[tokio::test(start_paused = true)]
async fn what_was_not_told_is_told_when_it_can_be() {
    for what in ["uri", "prefix", "group", "all", "POST"] {
        let fleet = Fleet::new(2).await;
        fleet.manner("cache-control: max-age=600 | cache-groups: \"g\"", MILLI);
        fleet.version(0, "/a/b").await;
        fleet.version(1, "/a/b").await;
        let new = fleet.change();
        fleet.store.set_fault(Some(Fault::Down));
        let _ = purge(&fleet, 0, what, "/a/b").await;
        assert_eq!(fleet.version(0, "/a/b").await, new, "{what}");
        fleet.store.set_fault(None);
        // Before it was told, the server that purged does not take it back from the store.
        assert_eq!(fleet.version(0, "/a/b").await, new, "{what}");
        tokio::time::sleep(10 * SECOND).await;
        for server in 0..2 {
            assert_eq!(fleet.version(server, "/a/b").await, new, "{what} on {server}");
        }
    }
}

#[tokio::test(start_paused = true)]
async fn a_store_that_has_lost_its_memory_brings_nothing_back() {
    let mut fleet = Fleet::new(2).await;
    fleet.version(0, "/a/b").await;
    fleet.version(1, "/a/b").await;
    let new = fleet.change();
    fleet.servers[0].purge.prefix(&uri("/a")).await.unwrap();
    fleet.store.flush();
    fleet.version(0, "/a/c").await;
    tokio::time::sleep(2 * SECOND).await;
    let late = fleet.server(|builder| builder);
    fleet.servers.push(late);
    for server in 0..3 {
        assert_eq!(fleet.version(server, "/a/b").await, new);
        assert_eq!(fleet.version(server, "/a/c").await, new);
    }
}

/// What was asked for in one life of the log, and stored in the next, is from before the
/// purges of that one.
#[tokio::test(start_paused = true)]
async fn moments_of_another_life_are_none() {
    let mut fleet = Fleet::new(2).await;
    for _ in 0..5 {
        fleet.servers[0].purge.prefix(&uri("/x")).await.unwrap();
    }
    fleet.store.flush();
    // Its servers do not know yet, and ask under a lease of the new life.
    assert_eq!(fleet.version(0, "/a/b").await, 1);
    let new = fleet.change();
    fleet.servers[1].purge.prefix(&uri("/a")).await.unwrap();
    let late = fleet.server(|builder| builder);
    fleet.servers.push(late);
    for server in 0..3 {
        assert_eq!(fleet.version(server, "/a/b").await, new, "on {server}");
    }
}

#[tokio::test(start_paused = true)]
async fn a_gap_in_the_news_ends_what_is_there() {
    let fleet = Fleet::new(2).await;
    fleet.version(0, "/a").await;
    fleet.version(1, "/a").await;
    let new = fleet.change();
    fleet.store.cut_news(u64::MAX);
    fleet.servers[0].purge.uri(&uri("/a")).await.unwrap();
    fleet.store.cut_news(0);
    for server in 0..2 {
        assert_eq!(fleet.version(server, "/a").await, new);
    }
}

#[tokio::test(start_paused = true)]
async fn without_room_a_purge_takes_all() {
    let fleet = Fleet::new(2).await;
    fleet.version(0, "/a/b").await;
    fleet.version(1, "/a/b").await;
    let new = fleet.change();
    fleet.store.set_fault(Some(Fault::Full));
    fleet.servers[0].purge.prefix(&uri("/a")).await.unwrap();
    for server in 0..2 {
        assert_eq!(fleet.version(server, "/a/b").await, new);
    }
    fleet.store.set_fault(None);
    tokio::time::sleep(2 * SECOND).await;
    for server in 0..2 {
        assert_eq!(fleet.version(server, "/a/b").await, new);
    }
}

#[tokio::test(start_paused = true)]
async fn a_store_that_hangs_holds_nobody_up_for_long() {
    let fleet = Fleet::new(2).await;
    fleet.store.set_fault(Some(Fault::Hangs));
    let began = tokio::time::Instant::now();
    for n in 0..20 {
        assert_eq!(fleet.version(0, &format!("/{n}")).await, 1);
    }
    assert!(began.elapsed() < 4 * SECOND, "{:?}", began.elapsed());
    assert_eq!(fleet.asked(), 20);
}

#[tokio::test(start_paused = true)]
async fn one_that_never_answers_is_waited_for_only_so_long() {
    let fleet = Arc::new(Fleet::new(2).await);
    fleet.manner(FRESH, 1_000 * SECOND);
    let held = Arc::clone(&fleet);
    let held = tokio::spawn(async move { held.version(0, "/a").await });
    tokio::time::sleep(SECOND).await;
    fleet.manner(FRESH, MILLI);
    let began = tokio::time::Instant::now();
    assert_eq!(fleet.version(1, "/a").await, 1);
    assert!(began.elapsed() < 6 * SECOND, "{:?}", began.elapsed());
    // It keeps that itself.
    fleet.asked();
    assert_eq!(fleet.version(1, "/a").await, 1);
    assert_eq!(fleet.asked(), 0);
    held.abort();
}

#[tokio::test(start_paused = true)]
async fn variants_are_shared_beside_each_other() {
    let fleet = Fleet::new(3).await;
    fleet.manner("cache-control: max-age=600 | vary: accept-language", MILLI);
    for (server, language) in [(0, "de"), (1, "en"), (2, "fr")] {
        fleet.ask(server, "GET", "/a", &[("accept-language", language)]).await;
    }
    assert_eq!(fleet.asked(), 3);
    tokio::time::sleep(SECOND).await;
    for server in 0..3 {
        for language in ["de", "en", "fr"] {
            let fields = [("accept-language", language)];
            let answer = fleet.ask(server, "GET", "/a", &fields).await;
            assert!(status(&answer).contains("hit"), "{language} on {server}: {answer:?}");
        }
    }
    assert_eq!(fleet.asked(), 0);
}

#[tokio::test(start_paused = true)]
async fn one_server_renews_for_all() {
    let fleet = Fleet::new(3).await;
    fleet.manner("cache-control: max-age=10, stale-while-revalidate=60", 100 * MILLI);
    for server in 0..3 {
        fleet.version(server, "/a").await;
    }
    tokio::time::sleep(11 * SECOND).await;
    fleet.asked();
    for server in 0..3 {
        assert_eq!(fleet.version(server, "/a").await, 1);
    }
    tokio::time::sleep(SECOND).await;
    for server in 0..3 {
        assert!(status(&fleet.get(server, "/a").await).contains("hit"));
    }
    tokio::time::sleep(SECOND).await;
    for server in 0..3 {
        assert_eq!(fleet.get(server, "/a").await.headers()["age"], "2");
    }
    assert_eq!(fleet.asked(), 1);
}

#[tokio::test(start_paused = true)]
async fn a_server_that_is_dropped_follows_no_longer() {
    let mut fleet = Fleet::new(1).await;
    fleet.servers.clear();
    tokio::time::sleep(SECOND).await;
    let calls = fleet.store.calls();
    tokio::time::sleep(10 * SECOND).await;
    assert_eq!(fleet.store.calls(), calls);
}

#[test]
fn settings_that_make_no_sense_are_refused() {
    type Set = fn(HttpCacheBuilder) -> HttpCacheBuilder;
    let refused: [(&str, Set); 6] = [
        ("staleness_bound", |builder| builder.staleness_bound(SECOND)),
        ("staleness_bound", |builder| builder.l2(InMemory::new()).staleness_bound(MILLI)),
        ("staleness_bound", |builder| {
            builder.l2(InMemory::new()).staleness_bound(Duration::MAX)
        }),
        ("l2_timeout", |builder| builder.l2(InMemory::new()).l2_timeout(Duration::ZERO)),
        ("l2_timeout", |builder| builder.l2(InMemory::new()).l2_timeout(Duration::MAX)),
        ("lease_wait", |builder| builder.l2(InMemory::new()).lease_wait(Duration::MAX)),
    ];
    for (setting, set) in refused {
        let error = set(HttpCacheLayer::builder(1 << 20)).build().unwrap_err();
        assert!(error.to_string().contains(setting), "{setting}: {error}");
    }
    assert!(HttpCacheLayer::builder(1 << 20).l2(InMemory::new()).build().is_ok());
}

/// The log has begun a new life, and who purges is the first to learn of it.
#[tokio::test(start_paused = true)]
async fn a_purge_in_a_life_that_is_news_holds_at_once_where_it_was_made() {
    let fleet = Fleet::new(2).await;
    fleet.version(0, "/a/b").await;
    fleet.version(1, "/a/b").await;
    let mut log = fleet.store.clone();
    log.bind("cache-aside");
    log.end_life().await.unwrap();
    let new = fleet.change();
    fleet.servers[0].purge.at_once().prefix(&uri("/a")).await.unwrap();
    assert_eq!(fleet.version(0, "/a/b").await, new);
}
