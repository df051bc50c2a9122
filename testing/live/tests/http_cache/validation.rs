//! RFC 9111, sections 3.2, 4.3; RFC 9110, section 13: validators and conditions.

use crate::support::{Script, cases, get, ok, reply, step};

const TAG: &str = "Cache-Control: max-age=60 | ETag: \"a\"";
const THEN: &str = "Sun, 06 Nov 1994 07:49:37 GMT";

fn dated() -> Script {
    Script::stored(&format!("Cache-Control: max-age=60 | Last-Modified: {THEN}"))
}

/// A 304 that has this field, after a response that had `old`.
fn updates(name: &str, old: &str, new: &str) -> Script {
    Script::stored(&format!("Cache-Control: max-age=60 | ETag: \"a\" | {name}: {old}"))
        .then(
            get("")
                .after(60)
                .to(reply(304, &format!("ETag: \"a\" | {name}: {new}"), ""))
                .body("one")
                .has(&format!("{name}: {new}")),
        )
        .then(get("").body("one").has(&format!("{name}: {new}")).has("cache-status: hit"))
}

fn conditional(condition: &str, stored: &str) -> Script {
    Script::stored(stored).then(
        get(condition)
            .status(304)
            .body("")
            .has("cache-status: edge; hit")
            .lacks("content-length")
            .lacks("content-type"),
    )
}

fn unconditional(condition: &str, stored: &str) -> Script {
    Script::stored(stored).hits_with(condition)
}

cases! {
    a_tag_validates => Script::stored(TAG)
        .then(get("").after(60).to(reply(304, "ETag: \"a\"", "")).sees("if-none-match: \"a\"").body("one").has("cache-status: fwd=stale; fwd-status=304; ttl=60; stored").has("age: 0"))
        .hits();
    a_weak_tag_validates => Script::stored("Cache-Control: max-age=60 | ETag: W/\"a\"")
        .then(get("").after(60).to(reply(304, "ETag: W/\"a\"", "")).sees("if-none-match: w/\"a\"").body("one"))
        .hits();
    a_date_validates => dated()
        .then(get("").after(60).to(reply(304, "", "")).sees(&format!("if-modified-since: {THEN}")).body("one"))
        .hits();
    both_validators_are_sent => Script::stored(&format!("Cache-Control: max-age=60 | ETag: \"a\" | Last-Modified: {THEN}"))
        .then(get("").after(60).to(reply(304, "", "")).sees("if-none-match: \"a\"").sees("if-modified-since: ").body("one"));
    nothing_is_sent_without_a_validator => Script::stored("Cache-Control: max-age=60")
        .then(get("").after(60).to(ok("", "two")).sees_not("if-").body("two"));
    a_new_response_takes_the_place => Script::stored(TAG)
        .then(get("").after(60).to(ok("Cache-Control: max-age=60 | ETag: \"b\"", "two")).body("two"))
        .then(get("").body("two").has("etag: \"b\""));
    a_new_response_that_is_not_stored_takes_the_old_one_out => Script::stored(TAG)
        .then(get("").after(60).to(ok("Cache-Control: no-store", "two")).body("two"))
        .then(get("").to(ok("", "three")).sees_not("if-none-match").body("three"));
    a_304_of_another_tag_is_not_taken => Script::stored(TAG)
        .then(get("").after(60).to(reply(304, "ETag: \"b\"", "")).status(502).has("cache-status: detail=validated-another"))
        .then(get("").to(ok("", "two")).sees_not("if-none-match").body("two"));
    a_304_without_a_validator_is_taken => Script::stored(TAG)
        .then(get("").after(60).to(reply(304, "X-A: 1", "")).body("one").has("x-a: 1")).hits();
    a_304_may_forbid_storing => Script::stored(TAG)
        .then(get("").after(60).to(reply(304, "Cache-Control: no-store", "")).body("one").has("cache-status: detail=no-store").has("cache-control: no-store").has("age: 0"))
        .misses();
    a_304_for_one_is_sent_with_its_fields => Script::stored(&format!("{TAG} | X-A: 1"))
        .then(get("Authorization: Basic x").after(60).to(reply(304, "ETag: \"a\" | X-A: mine", "")).body("one").has("x-a: mine").has("cache-status: detail=authorization"))
        .then(get("").to(reply(304, "ETag: \"a\"", "")).sees("if-none-match").body("one").has("x-a: 1"));
    a_304_with_a_strong_tag_confirms_a_weak_one => Script::stored("Cache-Control: max-age=60 | ETag: W/\"a\" | X-A: 1")
        .then(get("").after(60).to(reply(304, "ETag: \"a\" | X-A: 2", "")).body("one").has("etag: W/\"a\"").has("x-a: 1").has("cache-status: detail=validated-weakly"))
        .validates("if-none-match: w/\"a\"");
    a_304_with_a_strong_tag_and_the_same_date_updates_a_weak_one => Script::stored(&format!("Cache-Control: max-age=60 | ETag: W/\"a\" | X-A: 1 | Last-Modified: {THEN}"))
        .then(get("").after(60).to(reply(304, &format!("ETag: \"a\" | X-A: 2 | Last-Modified: {THEN}"), "")).body("one").has("etag: W/\"a\"").has("x-a: 2"))
        .hits().then(get("Range: bytes=0-0 | If-Range: \"a\"").body("one"));
    a_304_updates_a_field => updates("X-A", "1", "2");
    a_304_updates_a_date => updates("Date", "Sun, 06 Nov 1994 08:49:37 GMT", "Sun, 06 Nov 1994 08:50:37 GMT");
    a_304_updates_the_type => updates("Content-Type", "text/plain", "text/html");
    a_304_updates_a_lifetime => Script::stored(TAG)
        .then(get("").after(60).to(reply(304, "Cache-Control: max-age=10", "")).body("one").has("cache-status: ttl=10"))
        .hits_after(9).then(get("").after(1).to(reply(304, "", "")).body("one"));
    a_304_keeps_the_length => Script::stored(TAG)
        .then(get("").after(60).to(crate::support::raw("HTTP/1.1 304 X\r\nContent-Length: 99\r\nContent-Encoding: gzip\r\n\r\n")).body("one").has("content-length: 3").lacks("content-encoding"))
        .hits();
    a_304_adds_and_keeps_fields => Script::stored("Cache-Control: max-age=60 | ETag: \"a\" | X-A: 1")
        .then(get("").after(60).to(reply(304, "X-B: 2", "")).has("x-a: 1").has("x-b: 2"))
        .then(get("").has("x-a: 1").has("x-b: 2"));
    a_304_leaves_out_what_is_not_stored => Script::stored(TAG)
        .then(get("").after(60).to(reply(304, "Connection: X-A | X-A: 1 | Proxy-Authenticate: Basic | X-B: 2", "")).has("x-b: 2").lacks("x-a").lacks("proxy-authenticate"))
        .then(get("").has("x-b: 2").lacks("x-a").lacks("proxy-authenticate"));
    a_304_has_an_age_of_its_own => Script::stored("Cache-Control: max-age=60 | ETag: \"a\" | Age: 60")
        .then(get("").to(reply(304, "Age: 10", "")).has("age: 10"))
        .then(get("").has("age: 10").has("cache-status: hit; ttl=50"));

    if_none_match_is_304 => conditional("If-None-Match: \"a\"", TAG);
    if_none_match_of_a_list_is_304 => conditional("If-None-Match: \"x\", \"a\"", TAG);
    if_none_match_of_two_lines_is_304 => conditional("If-None-Match: \"x\" | If-None-Match: \"a\"", TAG);
    if_none_match_is_weak => conditional("If-None-Match: W/\"a\"", TAG);
    if_none_match_of_a_weak_tag_is_304 => conditional("If-None-Match: \"a\"", "Cache-Control: max-age=60 | ETag: W/\"a\"");
    if_none_match_of_a_star_is_304 => conditional("If-None-Match: *", TAG);
    if_none_match_of_another_is_200 => unconditional("If-None-Match: \"b\"", TAG);
    if_none_match_without_quotes_is_200 => unconditional("If-None-Match: a", TAG);
    if_none_match_comes_before_a_date => unconditional(&format!("If-None-Match: \"b\" | If-Modified-Since: {THEN}"), &format!("{TAG} | Last-Modified: {THEN}"));
    if_modified_since_the_same_is_304 => conditional(&format!("If-Modified-Since: {THEN}"), &format!("Cache-Control: max-age=60 | Last-Modified: {THEN}"));
    if_modified_since_later_is_304 => conditional("If-Modified-Since: Sun, 06 Nov 1994 08:00:00 GMT", &format!("Cache-Control: max-age=60 | Last-Modified: {THEN}"));
    if_modified_since_earlier_is_200 => unconditional("If-Modified-Since: Sun, 06 Nov 1994 07:00:00 GMT", &format!("Cache-Control: max-age=60 | Last-Modified: {THEN}"));
    if_modified_since_in_an_old_form_is_304 => conditional("If-Modified-Since: Sunday, 06-Nov-94 07:49:37 GMT", &format!("Cache-Control: max-age=60 | Last-Modified: {THEN}"));
    if_modified_since_nonsense_is_200 => unconditional("If-Modified-Since: yesterday", &format!("Cache-Control: max-age=60 | Last-Modified: {THEN}"));
    if_modified_since_twice_is_200 => unconditional(&format!("If-Modified-Since: {THEN} | If-Modified-Since: {THEN}"), &format!("Cache-Control: max-age=60 | Last-Modified: {THEN}"));
    if_modified_since_goes_by_the_date_without_more => conditional("If-Modified-Since: Sun, 06 Nov 1994 08:49:37 GMT", "Cache-Control: max-age=60");
    a_304_keeps_what_caches_need => Script::stored("Cache-Control: max-age=60 | ETag: \"a\" | Vary: X | Content-Location: /x | Expires: 0 | Content-Type: text/plain")
        .then(get("If-None-Match: \"a\"").status(304).has("etag: \"a\"").has("vary: X").has("content-location: /x").has("expires: 0").has("cache-control: max-age").has("age: 0").lacks("content-type"));
    conditions_on_an_error_are_nothing => Script::stored_as(404, TAG)
        .then(get("If-None-Match: \"a\"").status(404).body("one"));
    conditions_are_judged_when_it_is_stored => Script::new()
        .then(get("If-None-Match: \"a\"").to(ok(TAG, "one")).sees_not("if-none-match").status(304).body(""))
        .hits();
    conditions_are_judged_when_it_is_validated => Script::stored(TAG)
        .then(get("If-None-Match: \"x\", \"a\"").after(60).to(reply(304, "", "")).sees("if-none-match: \"a\"").sees_not("\"x\"").status(304));
    a_client_without_conditions_gets_all_when_it_is_validated => Script::stored(TAG)
        .then(get("If-None-Match: \"b\"").after(60).to(reply(304, "", "")).status(200).body("one"));
    conditions_are_not_judged_on_what_is_not_stored => Script::new()
        .then(get("If-None-Match: \"a\"").to(ok("Cache-Control: no-store | ETag: \"a\"", "one")).status(200).body("one"));
    conditions_go_through_where_nothing_is_stored => Script::new()
        .then(get("").to(ok("Cache-Control: no-store | ETag: \"a\"", "one")))
        .then(get("If-None-Match: \"a\"").to(reply(304, "ETag: \"a\"", "")).sees("if-none-match: \"a\"").status(304));
    if_match_is_for_the_origin => Script::stored(TAG)
        .then(get("If-Match: \"b\"").to(reply(412, "", "")).sees("if-match: \"b\"").status(412).has("cache-status: fwd=bypass"));
    if_unmodified_since_is_for_the_origin => Script::stored(TAG)
        .then(get(&format!("If-Unmodified-Since: {THEN}")).to(reply(412, "", "")).sees("if-unmodified-since").status(412));

    a_head_is_answered_from_a_get => Script::stored(TAG)
        .then(step("HEAD", "/", "").body("").has("content-length: 3").has("etag: \"a\"").has("cache-status: hit"));
    a_head_of_a_chunked_get_has_its_length => Script::new()
        .then(get("").to(crate::support::chunked("Cache-Control: max-age=60", &["abc", "de"])))
        .then(step("HEAD", "/", "").has("content-length: 5"));
    a_head_may_be_304 => Script::stored(TAG)
        .then(step("HEAD", "/", "If-None-Match: \"a\"").status(304));
    a_head_is_forwarded_as_a_head => Script::new()
        .then(step("HEAD", "/", "").to(head("Cache-Control: max-age=60")).sees("head / ").has("cache-status: fwd=uri-miss"))
        .then(get("").to(ok("", "one")).body("one"));
    a_head_updates_what_it_describes => Script::stored("Cache-Control: max-age=60 | ETag: \"a\" | X-A: 1")
        .then(step("HEAD", "/", "").after(60).to(head("ETag: \"a\" | X-A: 2 | Content-Length: 3")))
        .then(get("").body("one").has("x-a: 2").has("cache-status: hit"));
    a_head_of_another_tag_takes_it_out => Script::stored(TAG)
        .then(step("HEAD", "/", "").after(60).to(head("ETag: \"b\" | Content-Length: 3")))
        .then(get("").to(ok("", "two")).sees_not("if-none-match").body("two"));
    a_head_of_another_length_takes_it_out => Script::stored("Cache-Control: max-age=60")
        .then(step("HEAD", "/", "").after(60).to(head("Content-Length: 9")))
        .misses();
    a_head_that_is_gone_takes_it_out => Script::stored("Cache-Control: max-age=60 | ETag: \"a\"")
        .then(step("HEAD", "/", "").after(60).to(crate::support::raw("HTTP/1.1 410 X\r\n\r\n")).status(410))
        .then(get("").to(ok("", "two")).sees_not("if-none-match").body("two"));
    a_head_for_one_leaves_it => Script::stored(TAG)
        .then(step("HEAD", "/", "Authorization: Basic x | Cache-Control: no-cache").to(head("Content-Length: 3 | ETag: \"a\" | X-A: mine")))
        .then(step("HEAD", "/", "Cache-Control: no-cache, no-store").to(head("Content-Length: 3 | ETag: \"a\" | X-A: mine")))
        .then(get("").body("one").has("cache-status: hit").lacks("x-a"));
    a_head_that_fails_leaves_it => Script::stored(TAG)
        .then(step("HEAD", "/", "").after(60).to(crate::support::raw("HTTP/1.1 503 X\r\n\r\n")).status(503))
        .then(get("").to(reply(304, "", "")).sees("if-none-match").body("one"));
}

fn head(fields: &str) -> crate::support::Reply {
    let fields: String = fields.split(" | ").map(|field| format!("{field}\r\n")).collect();
    crate::support::raw(format!("HTTP/1.1 200 X\r\n{fields}\r\n"))
}
