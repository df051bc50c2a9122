//! RFC 9111, section 4.4; RFC 9875; purges.

use crate::support::{Bed, Script, Step, cases, ok, reply, step};

const FRESH: &str = "Cache-Control: max-age=60";

/// Two URIs are stored, something is done, and this is left.
fn after(done: Step, one: bool, two: bool) -> Script {
    let store = |path, body| step("GET", path, "").to(ok(FRESH, body)).body(body);
    let look = |path, body, left| {
        let look = step("GET", path, "");
        if left { look.body(body) } else { look.to(ok("", "new")).body("new") }
    };
    Script::new()
        .then(store("/one", "one"))
        .then(store("/two", "two"))
        .then(done)
        .then(look("/one", "one", one))
        .then(look("/two", "two", two))
}

fn method(method: &'static str, status: u16, fields: &str) -> Step {
    step(method, "/one", "Content-Length: 0").to(reply(status, fields, "")).status(status)
}

cases! {
    a_post_invalidates => after(method("POST", 200, ""), false, true);
    a_put_invalidates => after(method("PUT", 201, ""), false, true);
    a_delete_invalidates => after(method("DELETE", 204, ""), false, true);
    a_patch_invalidates => after(method("PATCH", 200, ""), false, true);
    an_unknown_method_invalidates => after(method("M-SEARCH", 200, ""), false, true);
    a_redirection_invalidates => after(method("POST", 303, "Location: http://elsewhere/"), false, true);
    a_client_error_does_not => after(method("POST", 404, ""), true, true);
    a_server_error_does_not => after(method("POST", 500, ""), true, true);
    an_origin_that_hangs_up_does => after(step("POST", "/one", "Content-Length: 0").unanswered().status(0), false, true);
    options_does_not => after(method("OPTIONS", 200, ""), true, true);
    a_location_is_invalidated => after(method("POST", 201, "Location: /two"), false, false);
    a_relative_location_is_invalidated => after(method("POST", 201, "Location: two"), false, false);
    an_absolute_location_is_invalidated => after(method("POST", 201, "Location: http://h/two"), false, false);
    a_location_elsewhere_is_not => after(method("POST", 201, "Location: http://other/two"), false, true);
    a_content_location_is_invalidated => after(method("POST", 200, "Content-Location: /two"), false, false);
    a_content_location_elsewhere_is_not => after(method("POST", 200, "Content-Location: https://h/two"), false, true);
    a_location_of_an_error_is_not => after(method("POST", 500, "Location: /two"), true, true);
    a_location_of_a_get_is_not => after(step("GET", "/three", "").to(reply(302, "Location: /two", "")).status(302), true, true);

    a_group_is_invalidated_by_a_response => Script::new()
        .then(step("GET", "/one", "").to(ok("Cache-Control: max-age=60 | Cache-Groups: \"a\", \"b\"", "one")))
        .then(step("GET", "/two", "").to(ok("Cache-Control: max-age=60 | Cache-Groups: \"b\"", "two")))
        .then(step("POST", "/three", "Content-Length: 0").to(ok("Cache-Group-Invalidation: \"a\"", "")))
        .then(step("GET", "/one", "").to(ok("", "new")).body("new"))
        .then(step("GET", "/two", "").body("two"));
    a_group_is_not_invalidated_by_a_get => Script::new()
        .then(step("GET", "/one", "").to(ok("Cache-Control: max-age=60 | Cache-Groups: \"a\"", "one")))
        .then(step("GET", "/two", "").to(ok("Cache-Group-Invalidation: \"a\"", "two")))
        .then(step("GET", "/one", "").body("one"));
    a_group_is_not_invalidated_by_an_error => Script::new()
        .then(step("GET", "/one", "").to(ok("Cache-Control: max-age=60 | Cache-Groups: \"a\"", "one")))
        .then(step("POST", "/two", "Content-Length: 0").to(reply(500, "Cache-Group-Invalidation: \"a\"", "")).status(500))
        .then(step("GET", "/one", "").body("one"));
    a_group_is_of_its_origin => Script::new()
        .then(step("GET", "/one", "").to(ok("Cache-Control: max-age=60 | Cache-Groups: \"a\"", "one")))
        .then(step("POST", "/two", "Host: other | Content-Length: 0").to(ok("Cache-Group-Invalidation: \"a\"", "")))
        .then(step("GET", "/one", "").body("one"));
    a_group_is_case_sensitive => Script::new()
        .then(step("GET", "/one", "").to(ok("Cache-Control: max-age=60 | Cache-Groups: \"a\"", "one")))
        .then(step("POST", "/two", "Content-Length: 0").to(ok("Cache-Group-Invalidation: \"A\"", "")))
        .then(step("GET", "/one", "").body("one"));
    groups_that_are_no_strings_are_none => Script::new()
        .then(step("GET", "/one", "").to(ok("Cache-Control: max-age=60 | Cache-Groups: a", "one")))
        .then(step("POST", "/two", "Content-Length: 0").to(ok("Cache-Group-Invalidation: \"a\"", "")))
        .then(step("GET", "/one", "").body("one"));
}

/// What is left of these paths after a purge.
async fn left(bed: &Bed, paths: &[&str]) -> Vec<bool> {
    let mut left = Vec::new();
    for path in paths {
        let answer = bed.get(path, "Cache-Control: only-if-cached").await;
        left.push(answer.status == 200);
    }
    left
}

async fn store(bed: &Bed, paths: &[&str], fields: &str) {
    for path in paths {
        bed.origin.will(ok(&format!("{FRESH} | ETag: \"a\"{fields}"), "one"));
        assert_eq!(bed.get(path, "").await.body, "one");
    }
}

const PATHS: [&str; 6] = ["/", "/a", "/a?q", "/a/b", "/a/b/c?q", "/ab"];

#[tokio::test]
async fn a_uri_is_purged_with_its_variants_and_nothing_else() {
    let bed = Bed::start().await;
    store(&bed, &PATHS, "").await;
    bed.purge.uri(&"http://H:80/a".parse().unwrap()).await.unwrap();
    assert_eq!(left(&bed, &PATHS).await, [true, false, true, true, true, true]);
    assert!(bed.purge.uri(&"/a".parse().unwrap()).await.is_err());
}

#[tokio::test]
async fn a_prefix_is_purged_by_segments() {
    let bed = Bed::start().await;
    store(&bed, &PATHS, "").await;
    bed.purge.prefix(&"http://h/a/".parse().unwrap()).await.unwrap();
    assert_eq!(left(&bed, &PATHS).await, [true, false, false, false, false, true]);
    store(&bed, &["/a/b"], "").await;
    assert_eq!(left(&bed, &["/a/b"]).await, [true], "what comes later stays");
    bed.purge.prefix(&"http://other/".parse().unwrap()).await.unwrap();
    assert_eq!(left(&bed, &["/a/b"]).await, [true]);
    bed.purge.prefix(&"http://h/".parse().unwrap()).await.unwrap();
    assert_eq!(left(&bed, &PATHS).await, [false; 6]);
}

#[tokio::test]
async fn a_group_is_purged() {
    let bed = Bed::start().await;
    store(&bed, &["/a"], " | Cache-Groups: \"x\"").await;
    store(&bed, &["/b"], " | Cache-Groups: \"y\"").await;
    bed.purge.group(&"http://h".parse().unwrap(), "x").await.unwrap();
    assert_eq!(left(&bed, &["/a", "/b"]).await, [false, true]);
    bed.purge.all().await.unwrap();
    assert_eq!(left(&bed, &["/a", "/b"]).await, [false, false]);
}

#[tokio::test]
async fn a_soft_purge_makes_stale() {
    let bed = Bed::start().await;
    store(&bed, &["/a", "/b", "/c"], " | Cache-Groups: \"x\"").await;
    let soft = bed.purge.soft();
    for purged in ["uri", "prefix", "group"] {
        let uri = "http://h/a".parse().unwrap();
        match purged {
            "uri" => soft.uri(&uri).await.unwrap(),
            "prefix" => soft.prefix(&uri).await.unwrap(),
            _ => soft.group(&uri, "x").await.unwrap(),
        }
        let others = if purged == "group" { [false; 2] } else { [true; 2] };
        assert_eq!(left(&bed, &["/b", "/c"]).await, others, "{purged}");
        bed.origin.will(reply(304, "", ""));
        let answer = bed.get("/a", "").await;
        assert_eq!((answer.status, &*answer.body), (200, "one"), "{purged}");
        assert!(bed.origin.requests().last().unwrap().contains("if-none-match: \"a\""));
        assert_eq!(left(&bed, &["/a"]).await, [true], "{purged}: it was validated");
    }
}
