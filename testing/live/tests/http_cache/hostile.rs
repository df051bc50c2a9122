//! What clients may try, and `Cache-Status`.

use crate::support::{Answer, Bed, Script, cases, get, ok, raw, reply, request, step};

const FRESH: &str = "Cache-Control: max-age=60";

/// A variant of 4 MB.
fn large(letter: &str) -> crate::support::Step {
    let body = letter.repeat(4_000_000);
    get(&format!("Foo: {letter}"))
        .to(ok("Cache-Control: max-age=60 | Vary: Foo", &body))
        .body(&body)
}

/// A request with this field gets an answer of its own, which nobody else gets.
fn unkeyed(field: &str) -> Script {
    Script::new()
        .then(get(field).to(ok(FRESH, "evil")).body("evil"))
        .then(get("").to(ok(FRESH, "one")).body("one"))
        .hits()
        .then(get(field).body("evil"))
}

cases! {
    a_forwarded_host_poisons_nobody => unkeyed("X-Forwarded-Host: evil");
    a_forwarded_scheme_poisons_nobody => unkeyed("X-Forwarded-Proto: ftp");
    a_forwarded_port_poisons_nobody => unkeyed("X-Forwarded-Port: 1");
    a_forwarded_prefix_poisons_nobody => unkeyed("X-Forwarded-Prefix: /evil");
    another_host_field_poisons_nobody => unkeyed("X-Host: evil");
    a_rewritten_url_poisons_nobody => unkeyed("X-Original-URL: /evil");
    another_rewritten_url_poisons_nobody => unkeyed("X-Rewrite-URL: /evil");
    an_overridden_method_poisons_nobody => unkeyed("X-HTTP-Method-Override: POST");
    a_forwarded_field_poisons_nobody => unkeyed("Forwarded: host=evil");
    whom_a_request_was_forwarded_for_does_not_count => Script::new()
        .then(get("Forwarded: for=1.2.3.4 | X-Forwarded-For: 1.2.3.4").to(ok(FRESH, "one")))
        .hits().hits_with("Forwarded: For=\"[::1]:5\"; by=_x");
    what_a_service_looks_at_may_be_keyed => Script::with(|builder| builder.keyed_fields([http::HeaderName::from_static("x-tenant")]))
        .then(get("X-Tenant: 1").to(ok(FRESH, "one")))
        .then(get("X-Tenant: 2").to(ok(FRESH, "two")).body("two"))
        .then(get("X-Tenant: 1").body("one"));
    a_host_may_not_be_taken_off_by_connection => Script::new()
        .then(get("Connection: close, Host").to(ok(FRESH, "one")).sees("host: h"))
        .hits();
    a_416_of_the_origin_poisons_nobody => Script::new()
        .then(get("Range: bytes=9-").to(reply(416, "Cache-Control: max-age=60", "")).status(416).has("cache-status: detail=status"))
        .misses();
    a_431_of_the_origin_poisons_nobody => Script::stored_as(431, FRESH).misses();
    a_change_with_an_upgrade_invalidates => Script::stored(FRESH)
        .then(step("POST", "/", "Upgrade: x | Content-Length: 0").to(ok("", "")))
        .misses();
    variants_make_no_uri_too_large => Script::with(|builder| builder.entry_limit(4 << 20))
        .then(get("").to(ok("Cache-Control: max-age=60 | Vary: Foo", "one")))
        .then(large("a")).then(get("").after(1).body("one")).then(large("b").after(1)).then(get("").after(1).body("one"))
        .then(large("c").after(1)).then(get("").after(1).body("one")).then(large("d").after(1)).then(get("").after(1).body("one"))
        .then(large("e").after(1)).then(get("").body("one").has("cache-status: hit"));
    a_host_that_contradicts_the_uri_is_not_stored => Script::new()
        .then(step("GET", "http://h/", "Host: evil").to(ok(FRESH, "evil")).has("cache-status: fwd=bypass"))
        .misses();
    a_host_for_a_path_poisons_nobody => Script::new()
        .then(step("GET", "h", "").to(ok(FRESH, "evil")).has("cache-status: fwd=bypass; fwd-status=200; detail=target"))
        .misses();
    a_suffix_makes_nothing_public => Script::new()
        .then(step("GET", "/account/x.css", "").to(ok("Cache-Control: private", "mine")))
        .then(step("GET", "/account/x.css", "").to(ok("Cache-Control: private", "yours")).body("yours"));
    a_suffix_makes_nothing_fresh => Script::new()
        .then(step("GET", "/account;x.css", "").to(ok("", "mine")))
        .then(step("GET", "/account;x.css", "").to(ok("", "yours")).body("yours"));
    an_encoded_slash_is_no_slash => Script::new()
        .then(step("GET", "/a%2fb", "").to(ok(FRESH, "one")))
        .then(step("GET", "/a/b", "").to(ok(FRESH, "two")).body("two"));
    dots_are_left_to_the_origin => Script::new()
        .then(step("GET", "/a/../b", "").to(ok(FRESH, "one")).sees("get /a/../b "))
        .then(step("GET", "/b", "").to(ok(FRESH, "two")).body("two"));
    a_cookie_may_not_be_taken_off_by_connection => Script::new()
        .then(get("Connection: close, Cookie | Cookie: a=b").to(ok("Cache-Control: max-age=60 | Vary: Cookie", "without")).sees_not("cookie"))
        .then(get("Cookie: a=b").to(ok("Cache-Control: max-age=60 | Vary: Cookie", "with")).body("with"));
    a_connection_field_takes_no_directive_away => Script::new()
        .then(get("").to(ok("Cache-Control: max-age=60, private | Connection: Cache-Control", "one")).has("cache-control: max-age=60, private"))
        .misses();
    letters_outside_ascii_are_no_directive => Script::stored("Cache-Control: max-age=60, \u{e4}=\u{fc}").hits();
    a_quoted_string_that_does_not_end_hides_nothing_before_it => Script::stored("Cache-Control: max-age=60, no-store, x=\"").misses();
    a_quoted_string_that_does_not_end_hides_nothing_after_it => Script::stored("Cache-Control: max-age=60, x=\"a, no-store").misses();
    a_semicolon_for_a_comma_hides_nothing => Script::stored("Cache-Control: private; max-age=60 | Last-Modified: Sun, 06 Nov 1994 01:00:00 GMT").misses();
    a_range_for_a_miss_does_not_poison => Script::new()
        .then(get("Range: bytes=0-0").to(reply(206, "Cache-Control: max-age=60 | Content-Range: bytes 0-0/3", "o")).status(206))
        .misses();
    a_condition_for_a_miss_does_not_poison => Script::new()
        .then(get("If-None-Match: \"x\"").to(reply(304, "Cache-Control: max-age=60 | ETag: \"x\"", "")).status(304))
        .misses();
    an_error_that_a_client_caused_is_not_kept_without_leave => Script::stored_as(400, "Last-Modified: Sun, 06 Nov 1994 01:00:00 GMT").misses();
    a_416_is_kept_by_nobody => Script::stored("Cache-Control: max-age=60")
        .then(get("Range: bytes=9-").status(416).lacks("cache-control").lacks("age")).hits();
    many_directives_are_read => Script::stored(&format!("Cache-Control: {}max-age=60", "a, ".repeat(5_000))).hits();
    many_commas_are_nothing => Script::stored(&format!("Cache-Control: {}max-age=60", ",".repeat(10_000))).hits();
    many_quotes_end => Script::stored(&format!("Cache-Control: max-age=60, x={}", "\"".repeat(9_999))).hits();
    two_lengths_that_differ_are_refused => Script::new()
        .then(get("").to(raw("HTTP/1.1 200 X\r\nCache-Control: max-age=60\r\nContent-Length: 3\r\nContent-Length: 4\r\n\r\none")).status(0))
        .misses();
    a_length_beside_chunks_is_not_trusted => Script::new()
        .then(get("").to(raw("HTTP/1.1 200 X\r\nCache-Control: max-age=60\r\nContent-Length: 99\r\nTransfer-Encoding: chunked\r\n\r\n3\r\none\r\n0\r\n\r\n")).body("one"))
        .hits();
    what_follows_a_content_is_no_response => Script::new()
        .then(get("").to(raw("HTTP/1.1 200 X\r\nCache-Control: max-age=60\r\nContent-Length: 3\r\n\r\noneHTTP/1.1 200 X\r\nContent-Length: 4\r\n\r\nevil")).body("one"))
        .hits();
    a_204_with_a_content_has_none => Script::new()
        .then(get("").to(raw("HTTP/1.1 204 X\r\nCache-Control: max-age=60\r\n\r\nevil")).status(204).body(""))
        .then(get("").status(204).body(""));
    a_304_with_a_content_has_none => Script::stored("Cache-Control: max-age=60 | ETag: \"a\"")
        .then(get("").after(60).to(raw("HTTP/1.1 304 X\r\n\r\nevil")).body("one"))
        .hits();

    a_hit_says_so => Script::stored(FRESH).then(get("").after(10).has("cache-status: edge; hit; ttl=50"));
    a_miss_says_so => Script::new().then(get("").to(ok(FRESH, "one")).has("cache-status: edge; fwd=uri-miss; fwd-status=200; stored"));
    what_is_not_stored_says_why => Script::new().then(get("").to(ok("Cache-Control: private", "one")).has("cache-status: edge; fwd=uri-miss; fwd-status=200; detail=private"));
    a_variant_that_misses_says_so => Script::stored("Cache-Control: max-age=60 | Vary: Foo")
        .then(get("Foo: 1").to(ok("", "two")).has("cache-status: edge; fwd=vary-miss"));
    a_method_says_so => Script::new().then(step("POST", "/", "Content-Length: 0").to(ok("", "")).has("cache-status: edge; fwd=method; fwd-status=200"));
    other_caches_come_before => Script::stored("Cache-Control: max-age=60 | Cache-Status: Origin; hit")
        .then(get("").has("cache-status: Origin; hit, edge; hit"));
    a_304_says_so_too => Script::stored("Cache-Control: max-age=60 | ETag: \"a\"")
        .then(get("If-None-Match: \"a\"").status(304).has("cache-status: edge; hit"));
}

#[tokio::test]
async fn a_content_of_a_get_poisons_nobody() {
    let bed = Bed::start().await;
    bed.origin.will(ok(FRESH, "evil"));
    let fat = request("GET", "/", "Content-Length: 4") + "evil";
    let answer = Answer::to(bed.address, &fat).await;
    assert!(
        answer
            .field("cache-status")
            .unwrap()
            .contains("fwd=bypass; fwd-status=200; detail=content")
    );
    bed.origin.will(ok(FRESH, "one"));
    assert_eq!(bed.get("/", "").await.body, "one");
    assert_eq!(Answer::to(bed.address, &fat).await.status, 0, "it is for the origin");
}

#[tokio::test]
async fn an_upgrade_is_left_alone() {
    let bed = Bed::start().await;
    bed.origin.will(raw("HTTP/1.1 101 X\r\nConnection: Upgrade\r\nUpgrade: echo\r\n\r\n"));
    let answer = bed.get("/", "Connection: Upgrade | Upgrade: echo").await;
    assert_eq!(answer.status, 101, "{answer:?}");
    assert_eq!(answer.field("upgrade").as_deref(), Some("echo"));
    let sent = bed.origin.requests()[0].to_ascii_lowercase();
    assert!(sent.contains("upgrade: echo"), "{sent}");
}
