//! What does not come to mind at first: combinations of methods, conditions, ranges, variants,
//! and of who asks at the same time.

use std::sync::Arc;

use testbed::eventually;
use tokio::sync::Notify;

use crate::support::{Answer, Bed, Script, cases, chunked, get, ok, raw, reply, request, step};

const FRESH: &str = "Cache-Control: max-age=60";
const TAG: &str =
    "Cache-Control: max-age=60 | ETag: \"a\" | Last-Modified: Sun, 06 Nov 1994 07:49:37 GMT";
const DATE: &str = "Sun, 06 Nov 1994 07:49:37 GMT";

fn ten() -> Script {
    Script::new().then(get("").to(ok(TAG, "0123456789")))
}

/// The origin gives the first five of ten bytes.
fn half(asked: &str, tag: &str) -> crate::support::Step {
    let fields = format!("{FRESH} | Vary: Foo | ETag: {tag} | Content-Range: bytes 0-4/10");
    get(&format!("Range: bytes=0-4{asked}")).to(reply(206, &fields, "01234")).status(206)
}

cases! {
    a_range_whose_condition_does_not_end_it => ten()
        .then(get("Range: bytes=0-1 | If-None-Match: \"b\"").status(206).body("01"));
    a_range_with_both_kinds_of_conditions => ten()
        .then(get("Range: bytes=0-1 | If-None-Match: \"b\" | If-Range: \"a\"").status(206).body("01"))
        .then(get("Range: bytes=0-1 | If-None-Match: \"b\" | If-Range: \"b\"").status(200).body("0123456789"))
        .then(get("Range: bytes=0-1 | If-None-Match: \"a\" | If-Range: \"b\"").status(304).body(""));
    a_range_whose_date_ends_it => ten()
        .then(get(&format!("Range: bytes=0-1 | If-Modified-Since: {DATE}")).status(304));
    an_if_range_without_a_range_is_nothing => ten()
        .then(get("If-Range: \"a\"").status(200).body("0123456789"))
        .then(get("If-Range: \"b\"").status(200).body("0123456789"));
    two_if_ranges_are_none_that_holds => ten()
        .then(get("Range: bytes=0-1 | If-Range: \"a\" | If-Range: \"a\"").status(200).body("0123456789"));
    a_range_outside_with_an_if_range_that_fails_is_all => ten()
        .then(get("Range: bytes=99- | If-Range: \"b\"").status(200).body("0123456789"))
        .then(get("Range: bytes=99- | If-Range: \"a\"").status(416));
    a_range_of_a_stale_response_that_stands_in => ten()
        .then(get("Range: bytes=2-3").after(61).unanswered().status(206).body("23").has("cache-status: detail=stale-on-error"));
    a_range_of_what_is_renewed_is_of_the_new => ten()
        .then(get("Range: bytes=2-3").after(61).to(ok("Cache-Control: max-age=60 | ETag: \"b\"", "abcdefghij")).body("abcdefghij"))
        .then(get("Range: bytes=2-3 | If-Range: \"a\"").status(200).body("abcdefghij"))
        .then(get("Range: bytes=2-3").status(206).body("cd"));
    a_range_of_a_post_that_is_stored => Script::new()
        .then(step("POST", "/", "Content-Length: 0").to(ok("Cache-Control: max-age=60 | Content-Location: /", "0123456789")))
        .then(get("Range: bytes=8-").status(206).body("89"));
    a_part_of_another_variant_is_not_given => Script::new()
        .then(half(" | Foo: 1", "\"a\"").body("01234"))
        .then(half(" | Foo: 2", "\"a\"").body("01234"))
        .then(get("Range: bytes=1-2 | Foo: 1").status(206).body("12").has("cache-status: hit"));
    parts_of_two_variants_are_not_combined => Script::new()
        .then(half(" | Foo: 1", "\"a\""))
        .then(get("Range: bytes=5-9 | Foo: 2").to(reply(206, "Cache-Control: max-age=60 | Vary: Foo | ETag: \"a\" | Content-Range: bytes 5-9/10", "vwxyz")).status(206))
        .then(get("Foo: 1").to(ok("", "all")).body("all"))
        .then(get("Foo: 2").to(ok("", "all")).body("all"));
    a_part_with_a_length_that_lies_is_not_stored => Script::new()
        .then(get("Range: bytes=0-4").to(reply(206, &format!("{TAG} | Content-Range: bytes 0-4/10"), "012")).status(206))
        .then(get("Range: bytes=0-4").to(reply(206, &format!("{TAG} | Content-Range: bytes 0-4/10"), "01234")).status(206).body("01234"))
        .then(get("Range: bytes=0-4").status(206).body("01234").has("cache-status: hit"));
    a_part_that_is_none_of_its_whole_is_not_stored => Script::new()
        .then(get("Range: bytes=0-4").to(reply(206, &format!("{TAG} | Content-Range: bytes 5-9/3"), "01234")).status(206).has("cache-status: detail=status"))
        .misses();
    a_part_that_says_two_places_is_not_stored => Script::new()
        .then(get("Range: bytes=0-4").to(reply(206, &format!("{TAG} | Content-Range: bytes 0-4/10 | Content-Range: bytes 5-9/10"), "01234")).status(206).has("cache-status: detail=status"))
        .misses();
    a_part_whose_date_is_no_longer_strong_is_a_part => Script::new()
        .then(get("Range: bytes=0-4").to(reply(206, &format!("Cache-Control: max-age=60 | Last-Modified: {DATE} | Content-Range: bytes 0-4/10"), "01234")).status(206))
        .then(get(&format!("Range: bytes=1-2 | If-Range: {DATE}")).after(60).to(reply(304, &format!("Date: {DATE}"), "")).status(206).body("12").has("content-range: bytes 1-2/10"));
    an_ignored_parameter_hides_no_other => Script::with(|builder| builder.ignored_query(["utm_source"]))
        .then(step("GET", "/?utm_source=x;a=evil", "").to(ok(FRESH, "evil")).body("evil"))
        .then(step("GET", "/?utm_source=x", "").to(ok(FRESH, "one")).body("one"));
    two_tags_validate_nothing => Script::stored("Cache-Control: no-cache | ETag: \"a\" | ETag: \"b\"").misses();
    a_variant_of_bytes_that_are_no_text => Script::new()
        .then(get("Foo: \u{e4}").to(ok("Cache-Control: max-age=60 | Vary: Foo", "one")))
        .hits_with("Foo: \u{e4}")
        .then(get("Foo: \u{eb}").to(ok("", "two")).body("two"));
    a_vary_of_bytes_that_are_no_name => Script::stored("Cache-Control: max-age=60 | Vary: \u{e4}").misses();
    an_expiry_in_the_last_year_there_is => Script::stored("Expires: Fri, 31 Dec 9999 23:59:59 GMT").hits_after(86_400 * 365);
    an_expiry_before_there_was_time_is_stale => Script::stored("Expires: Wed, 31 Dec 1969 23:59:59 GMT").misses();
    an_expiry_on_a_day_that_is_none_is_stale => Script::stored("Expires: Sun, 31 Feb 2044 08:50:37 GMT").misses();
    a_date_of_the_distant_past_is_stale => Script::stored("Cache-Control: max-age=60 | Date: Thu, 01 Jan 1970 00:00:00 GMT").misses();
    two_dates_are_none => Script::stored("Cache-Control: max-age=60 | Date: Sun, 06 Nov 1994 07:49:37 GMT | Date: Sun, 06 Nov 1994 08:49:37 GMT").hits();
    a_long_directive_is_ignored => Script::stored(&format!("Cache-Control: max-age=60, x={}", "y".repeat(200_000))).hits();
    a_get_in_small_letters_is_another_method => Script::stored(FRESH)
        .then(step("get", "/", "").to(ok(FRESH, "two")).body("two").has("cache-status: fwd=method"))
        .misses();
    an_options_with_a_star_is_for_the_origin => Script::stored(FRESH)
        .then(step("OPTIONS", "*", "").to(ok(FRESH, "two")).body("two"))
        .hits();
    a_205_has_no_content_and_is_no_200 => Script::stored_as(205, FRESH).then(get("").status(205));
    a_304_for_who_asked_without_a_condition_is_not_stored => Script::new()
        .then(get("").to(reply(304, "Cache-Control: max-age=60 | ETag: \"a\"", "")).status(304))
        .misses();
    what_is_too_large_by_what_it_says_is_not_stored => Script::new()
        .then(get("").to(raw(format!("HTTP/1.1 200 X\r\n{FRESH}\r\nContent-Length: 9000000000000\r\n\r\none"))))
        .misses();
}

#[tokio::test]
async fn an_old_client_is_answered_in_its_own_way() {
    let bed = Bed::start().await;
    bed.origin.will(chunked(FRESH, &["o", "n", "e"]));
    let old = "GET / HTTP/1.0\r\nHost: h\r\n\r\n";
    for _ in 0..2 {
        let answer = Answer::to(bed.address, old).await;
        assert_eq!((answer.status, &*answer.body), (200, "one"));
        assert_eq!(answer.field("transfer-encoding"), None);
    }
    assert_eq!(bed.origin.requests().len(), 1);
    bed.origin.will(ok(FRESH, "none"));
    let nameless = Answer::to(bed.address, "GET / HTTP/1.0\r\n\r\n").await;
    assert!(nameless.field("cache-status").unwrap().contains("fwd=bypass"), "{nameless:?}");
    assert_eq!(bed.get("/", "").await.body, "one");
}

#[tokio::test]
async fn a_content_in_chunks_of_a_get_is_for_the_origin() {
    let bed = Bed::start().await;
    bed.origin.will(ok(FRESH, "evil"));
    let fat = request("GET", "/", "Transfer-Encoding: chunked") + "0\r\n\r\n";
    let answer = Answer::to(bed.address, &fat).await;
    assert!(answer.field("cache-status").unwrap().contains("detail=content"), "{answer:?}");
    bed.origin.will(ok(FRESH, "one"));
    assert_eq!(bed.get("/", "").await.body, "one");
}

/// Who has logged in waits with others, and gets what is for all; what is for him nobody gets.
#[tokio::test]
async fn users_and_strangers_may_wait_for_the_same() {
    for (first, second) in [("Authorization: Basic x", ""), ("", "Authorization: Basic x")] {
        for (says, shared) in [("max-age=60", first.is_empty()), ("max-age=60, public", true)] {
            let bed = Bed::start().await;
            let gate = Arc::new(Notify::new());
            bed.origin.will(ok(&format!("Cache-Control: {says}"), "first").after(&gate));
            let first = request("GET", "/", first);
            let (address, asks) = (bed.address, first);
            let early = tokio::spawn(async move { Answer::to(address, &asks).await });
            bed.origin.asked(1).await;
            let asks = request("GET", "/", second);
            let late = tokio::spawn(async move { Answer::to(address, &asks).await });
            bed.waiting(1).await;
            bed.origin.will(ok("Cache-Control: private", "second"));
            gate.notify_one();
            assert_eq!(early.await.unwrap().body, "first");
            let expected = if shared { "first" } else { "second" };
            assert_eq!(late.await.unwrap().body, expected, "{says}");
        }
    }
}

/// HEAD, GET, conditional and partial requests while one response comes.
#[tokio::test]
async fn all_kinds_of_requests_may_meet_one_response() {
    let bed = Bed::start().await;
    let gate = Arc::new(Notify::new());
    let head =
        format!("HTTP/1.1 200 X\r\n{FRESH}\r\nETag: \"a\"\r\nContent-Length: 10\r\n\r\n01234");
    bed.origin.will(raw(head).gate(&gate).then("56789"));
    let address = bed.address;
    let ask = |method: &str, fields: &str| {
        let asks = request(method, "/", fields);
        tokio::spawn(async move { Answer::to(address, &asks).await })
    };
    let first = ask("GET", "");
    bed.origin.asked(1).await;
    let (second, same) = (ask("GET", ""), ask("GET", "If-None-Match: \"a\""));
    let other = ask("GET", "If-None-Match: \"b\"");
    assert_eq!(same.await.unwrap().status, 304, "it needs no content");
    bed.origin.will(raw("HTTP/1.1 200 X\r\nETag: \"a\"\r\nContent-Length: 10\r\n\r\n"));
    assert_eq!(ask("HEAD", "").await.unwrap().field("content-length").as_deref(), Some("10"));
    bed.origin.will(reply(206, "ETag: \"a\" | Content-Range: bytes 0-1/10", "01"));
    assert_eq!(ask("GET", "Range: bytes=0-1").await.unwrap().body, "01");
    gate.notify_one();
    for whole in [first, second, other] {
        let answer = whole.await.unwrap();
        assert_eq!((answer.status, &*answer.body), (200, "0123456789"));
    }
    assert_eq!(bed.origin.requests().len(), 3);
    let stored = || async { bed.get("/", "Cache-Control: only-if-cached").await.status == 200 };
    eventually(std::time::Duration::from_secs(10), stored).await;
    assert_eq!(bed.get("/", "Range: bytes=8-").await.body, "89");
}

/// Every client of a content goes at another byte of it, and it is whole for who comes next.
#[tokio::test]
async fn clients_that_go_take_nothing_from_what_is_stored() {
    use tokio::io::AsyncReadExt;

    let bed = Bed::start().await;
    let gate = Arc::new(Notify::new());
    let body = "0123456789".repeat(1_000);
    let head = format!("HTTP/1.1 200 X\r\n{FRESH}\r\nContent-Length: {}\r\n\r\n", body.len());
    bed.origin.will(raw(head).then(&body[..5_000]).gate(&gate).then(&body[5_000..]));
    for read in [0, 1, 50, 150, 200, 1_000, 4_999] {
        let mut socket = Answer::send(bed.address, &request("GET", "/", "")).await;
        let mut part = vec![0; read];
        socket.read_exact(&mut part).await.unwrap();
    }
    gate.notify_one();
    let answer = bed.get("/", "").await;
    assert!(answer.whole && answer.body == body);
    assert_eq!(bed.origin.requests().len(), 1);
}
