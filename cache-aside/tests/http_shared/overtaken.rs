//! What a purge overtakes on its way.

use std::sync::Arc;

use cache_aside::http::HttpCacheLayer;
use cache_aside::shared::Fault;

use crate::fleet::{FRESH, Fleet, MILLI, SECOND, uri, version};
use crate::purge;

/// Of what is under a URI, one server may have a variant from before a purge that it has not
/// heard of yet. It does not put that beside what came after the purge.
#[tokio::test(start_paused = true)]
async fn a_variant_from_before_a_purge_is_not_stored_beside_others() {
    for what in ["uri", "all"] {
        let fleet = Fleet::new(3).await;
        fleet.manner("cache-control: max-age=600 | vary: accept-language", MILLI);
        let get = |server, language| {
            let fields = [("accept-language", language)];
            let fleet = &fleet;
            async move { version(&fleet.ask(server, "GET", "/a/b", &fields).await) }
        };
        assert_eq!(get(1, "de").await, 1);
        let new = fleet.change();
        let purge = fleet.servers[0].purge.at_once();
        match what {
            "uri" => purge.uri(&uri("/a/b")).await.unwrap(),
            _ => purge.all().await.unwrap(),
        }
        assert_eq!(get(2, "en").await, new);
        assert_eq!(get(1, "fr").await, new);
        tokio::time::sleep(2 * SECOND).await;
        for server in 0..3 {
            assert_eq!(get(server, "fr").await, new);
            assert_eq!(get(server, "de").await, new, "{what} on {server}");
        }
    }
}

/// A layer that was made where there was no runtime yet, and is used for purging only.
#[test]
fn what_a_server_without_requests_owes_is_told_too() {
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_time()
        .start_paused(true)
        .build()
        .unwrap();
    let fleet = runtime.block_on(Fleet::new(1));
    let layer = HttpCacheLayer::builder(1 << 20).l2(fleet.store.clone()).build().unwrap();
    runtime.block_on(async {
        assert_eq!(fleet.version(0, "/a").await, 1);
        let new = fleet.change();
        fleet.store.set_fault(Some(Fault::Down));
        assert!(layer.purge().uri(&uri("/a")).await.is_err());
        fleet.store.set_fault(None);
        tokio::time::sleep(10 * SECOND).await;
        assert_eq!(fleet.version(0, "/a").await, new);
    });
}

/// The response to a POST may be good for a GET. A purge that came while it was on its way
/// reaches it all the same.
#[tokio::test(start_paused = true)]
async fn a_response_to_a_post_from_before_a_purge_is_not_stored() {
    for what in ["uri", "prefix", "all"] {
        for purger in [0, 1] {
            let fleet = Arc::new(Fleet::new(2).await);
            fleet.manner("cache-control: max-age=600 | content-location: /a/b", 3 * SECOND);
            let post = Arc::clone(&fleet);
            let post =
                tokio::spawn(async move { version(&post.ask(0, "POST", "/a/b", &[]).await) });
            tokio::time::sleep(SECOND).await;
            let new = fleet.change();
            purge(&fleet, purger, what, "/a/b").await.unwrap();
            fleet.manner(FRESH, MILLI);
            assert_eq!(post.await.unwrap(), new - 1);
            for server in 0..2 {
                assert_eq!(fleet.version(server, "/a/b").await, new, "{what} by {purger}");
            }
        }
    }
    // Otherwise it is.
    let fleet = Fleet::new(2).await;
    fleet.manner("cache-control: max-age=600 | content-location: /a/b", MILLI);
    fleet.ask(0, "POST", "/a/b", &[]).await;
    fleet.asked();
    assert_eq!(fleet.version(0, "/a/b").await, 1);
    assert_eq!(fleet.asked(), 0);
}

/// Who learns from the answer to a purge that the log has begun anew asks for nothing from
/// before that.
#[tokio::test(start_paused = true)]
async fn a_purge_that_is_told_in_another_life_holds_here_at_once() {
    for what in ["prefix", "group"] {
        let fleet = Fleet::new(2).await;
        fleet.manner("cache-control: max-age=600 | cache-groups: \"g\"", MILLI);
        fleet.store.flush();
        assert_eq!(fleet.version(1, "/a/b").await, 1);
        let new = fleet.change();
        let purge = fleet.servers[0].purge.at_once();
        match what {
            "prefix" => purge.prefix(&uri("/a")).await.unwrap(),
            _ => purge.group(&uri("/"), "g").await.unwrap(),
        }
        assert_eq!(fleet.version(0, "/a/b").await, new, "{what}");
    }
}
