//! RFC 9110, section 14: ranges, from what is stored.

use crate::support::{Bed, Script, Step, cases, get, ok, reply, step};

const TAG: &str =
    "Cache-Control: max-age=60 | ETag: \"a\" | Last-Modified: Sun, 06 Nov 1994 07:49:37 GMT";

fn stored() -> Script {
    Script::new().then(get("").to(ok(TAG, "0123456789")))
}

fn part(range: &str, body: &str, content_range: &str) -> Script {
    let answer = get(&format!("Range: {range}")).status(206).body(body);
    let length = body.len();
    stored().then(
        answer
            .has(&format!("content-range: {content_range}"))
            .has(&format!("content-length: {length}"))
            .has("cache-status: hit")
            .has("etag: \"a\""),
    )
}

fn whole(range: &str) -> Script {
    stored().then(all(range))
}

fn all(range: &str) -> Step {
    get(&format!("Range: {range}")).body("0123456789").lacks("content-range")
}

fn outside(range: &str) -> Script {
    stored().then(
        get(&format!("Range: {range}"))
            .status(416)
            .body("")
            .has("content-range: bytes */10")
            .lacks("etag")
            .lacks("cache-control"),
    )
}

cases! {
    from_to => part("bytes=0-3", "0123", "bytes 0-3/10");
    from_on => part("bytes=7-", "789", "bytes 7-9/10");
    the_last => part("bytes=-2", "89", "bytes 8-9/10");
    more_than_there_is => part("bytes=5-99", "56789", "bytes 5-9/10");
    more_of_the_last_than_there_is => part("bytes=-99", "0123456789", "bytes 0-9/10");
    one_byte => part("bytes=0-0", "0", "bytes 0-0/10");
    a_unit_in_any_case => part("Bytes=0-0", "0", "bytes 0-0/10");
    one_of_two_that_is_there => part("bytes=20-30, 0-1", "01", "bytes 0-1/10");
    past_the_end => outside("bytes=10-");
    none_of_the_last => outside("bytes=-0");
    far_past_the_end => outside("bytes=99999999999999999999999-");
    backwards_is_no_range => whole("bytes=5-2");
    letters_are_no_range => whole("bytes=a-b");
    nothing_is_no_range => whole("bytes=");
    another_unit_is_no_range => whole("lines=0-1");
    overlapping_ranges_are_all => whole("bytes=0-5, 3-8");
    hundreds_of_ranges_are_all => whole(&format!("bytes={}", (0..200).map(|n| format!("{n}-{n}")).collect::<Vec<_>>().join(",")));
    two_lines_are_no_range => whole("bytes=0-1 | Range: bytes=2-3");
    a_range_if_the_tag_is_the_same => stored().then(get("Range: bytes=0-1 | If-Range: \"a\"").status(206).body("01"));
    all_if_the_tag_is_another => stored().then(get("Range: bytes=0-1 | If-Range: \"b\"").status(200).body("0123456789"));
    all_if_the_tag_is_weak => stored().then(get("Range: bytes=0-1 | If-Range: W/\"a\"").status(200).body("0123456789"));
    a_range_if_the_date_is_the_same => stored().then(get("Range: bytes=0-1 | If-Range: Sun, 06 Nov 1994 07:49:37 GMT").status(206).body("01"));
    all_if_the_date_is_another => stored().then(get("Range: bytes=0-1 | If-Range: Sun, 06 Nov 1994 07:49:38 GMT").status(200).body("0123456789"));
    a_condition_comes_before_a_range => stored().then(get("Range: bytes=0-1 | If-None-Match: \"a\"").status(304));
    a_head_has_no_range => stored().then(step("HEAD", "/", "Range: bytes=0-1").status(200).has("content-length: 10"));
    an_error_has_no_range => Script::stored_as(404, "Cache-Control: max-age=60").then(get("Range: bytes=0-0").status(404).body("one"));
    a_range_of_nothing_is_outside => Script::new().then(get("").to(ok(TAG, ""))).then(get("Range: bytes=0-").status(416).has("content-range: bytes */0"));
    a_range_of_what_is_not_stored_goes_through => Script::new()
        .then(get("Range: bytes=0-1").to(reply(206, "Content-Range: bytes 0-1/10", "01")).sees("range: bytes=0-1").status(206).body("01"));
    all_that_comes_for_a_range_is_stored => Script::new()
        .then(get("Range: bytes=0-1").to(ok(TAG, "0123456789")).body("0123456789"))
        .then(get("Range: bytes=0-1").status(206).body("01"));
    a_range_of_what_is_stale_is_validated => stored()
        .then(get("Range: bytes=0-1").after(60).to(reply(304, "", "")).sees("if-none-match: \"a\"").sees_not("range: ").status(206).body("01"));
    a_part_is_stored => first_part().then(get("Range: bytes=0-4").status(206).body("01234").has("content-range: bytes 0-4/10").has("cache-status: hit"));
    a_part_of_a_part_is_in_it => first_part().then(get("Range: bytes=2-3").status(206).body("23").has("content-range: bytes 2-3/10").has("content-length: 2"));
    the_end_of_a_part_is_in_it => Script::new().then(part_of("bytes=-5", "5-9", "56789", "\"a\""))
        .then(get("Range: bytes=-1").status(206).body("9").has("content-range: bytes 9-9/10"))
        .then(get("Range: bytes=6-").status(206).body("6789"));
    a_part_is_not_the_whole => first_part().then(get("").to(ok(TAG, "0123456789")).body("0123456789").has("cache-status: fwd=partial"))
        .then(get("Range: bytes=7-8").status(206).body("78").has("cache-status: hit"));
    another_part_is_asked_for => first_part().then(part_of("bytes=7-9", "7-9", "789", "\"a\"").has("cache-status: fwd=partial"));
    parts_that_meet_are_combined => first_part().then(part_of("bytes=4-7", "4-7", "4567", "\"a\""))
        .then(get("Range: bytes=3-6").status(206).body("3456").has("cache-status: hit"));
    parts_that_are_all_are_the_whole => first_part().then(part_of("bytes=5-9", "5-9", "56789", "\"a\""))
        .then(get("").body("0123456789").has("content-length: 10").lacks("content-range").has("cache-status: hit"));
    parts_that_are_combined_have_the_fields_of_the_last => Script::new()
        .then(get("Range: bytes=0-4").to(reply(206, &format!("{TAG} | Content-Range: bytes 0-4/10 | X-A: 1 | X-B: 1"), "01234")).status(206))
        .then(get("Range: bytes=5-9").to(reply(206, &format!("{TAG} | Content-Range: bytes 5-9/10 | X-A: 2 | X-C: 2"), "56789")).status(206))
        .then(get("").body("0123456789").has("x-a: 2").has("x-b: 1").has("x-c: 2"));
    parts_of_another_tag_are_not_combined => first_part().then(part_of("bytes=5-9", "5-9", "vwxyz", "\"b\""))
        .then(part_of("bytes=0-4", "0-4", "qrstu", "\"b\""))
        .then(get("").body("qrstuvwxyz").has("etag: \"b\""));
    parts_of_a_weak_tag_are_not_combined => Script::new().then(part_of("bytes=0-4", "0-4", "01234", "W/\"a\""))
        .then(part_of("bytes=5-9", "5-9", "56789", "W/\"a\""))
        .then(get("Range: bytes=5-6").status(206).body("56"))
        .then(get("").to(ok("", "0123456789")).body("0123456789"));
    parts_that_do_not_meet_are_not_combined => first_part().then(part_of("bytes=7-9", "7-9", "789", "\"a\""))
        .then(get("").to(ok("", "0123456789")).body("0123456789"));
    a_part_does_not_displace_the_whole => stored()
        .then(get("Range: bytes=0-1 | Cache-Control: no-store | If-Range: \"a\"").status(206).body("01"))
        .then(get("").body("0123456789"));
    a_part_is_validated => first_part().then(get("Range: bytes=1-2").after(60).to(reply(304, "ETag: \"a\"", "")).sees("if-none-match: \"a\"").sees_not("range: ").status(206).body("12").has("content-range: bytes 1-2/10"))
        .then(get("Range: bytes=3-4").status(206).body("34").has("cache-status: hit"));
    a_part_is_not_given_if_the_tag_is_another => first_part()
        .then(get("Range: bytes=0-1 | If-Range: \"b\"").to(ok("Cache-Control: max-age=60 | ETag: \"b\"", "new")).body("new"));
    a_part_that_is_cut_short_is_not_stored => Script::new()
        .then(get("Range: bytes=0-4").to(crate::support::raw("HTTP/1.1 206 X\r\nCache-Control: max-age=60\r\nETag: \"a\"\r\nContent-Range: bytes 0-4/10\r\nTransfer-Encoding: chunked\r\n\r\n3\r\n012\r\n0\r\n\r\n")).status(206))
        .then(part_of("bytes=0-4", "0-4", "01234", "\"a\""));
    a_part_of_an_unknown_length_is_not_stored => Script::new()
        .then(get("Range: bytes=0-2").to(reply(206, &format!("{TAG} | Content-Range: bytes 0-2/*"), "012")).status(206).has("cache-status: detail=status"))
        .then(part_of("bytes=0-2", "0-2", "012", "\"a\""));
    several_parts_are_not_stored => Script::new()
        .then(get("Range: bytes=0-0,2-2").to(reply(206, &format!("{TAG} | Content-Type: multipart/byteranges; boundary=x"), "--x--")).status(206).has("cache-status: detail=status"))
        .then(part_of("bytes=0-2", "0-2", "012", "\"a\""));
    a_part_that_nobody_asked_for_is_not_stored => Script::new()
        .then(get("").to(reply(206, &format!("{TAG} | Content-Range: bytes 0-2/10"), "012")).status(206))
        .then(part_of("bytes=0-2", "0-2", "012", "\"a\""));
    a_head_is_not_answered_from_a_part => first_part()
        .then(step("HEAD", "/", "Range: bytes=0-1").to(crate::support::raw("HTTP/1.1 200 X\r\nContent-Length: 10\r\n\r\n")).has("content-length: 10"));
}

/// The origin is asked for a part, and gives it.
fn part_of(range: &str, content_range: &str, body: &str, tag: &str) -> Step {
    let fields = format!(
        "Cache-Control: max-age=60 | ETag: {tag} | Content-Range: bytes {content_range}/10"
    );
    get(&format!("Range: {range}"))
        .to(reply(206, &fields, body))
        .sees(&format!("range: {range}"))
        .status(206)
        .body(body)
}

fn first_part() -> Script {
    Script::new()
        .then(part_of("bytes=0-4", "0-4", "01234", "\"a\"").has("cache-status: stored"))
}

#[tokio::test]
async fn several_ranges_are_parts_of_one_content() {
    let bed = Bed::start().await;
    bed.origin.will(ok("Cache-Control: max-age=60 | Content-Type: text/plain", "0123456789"));
    bed.get("/", "").await;
    let answer = bed.get("/", "Range: bytes=7-8, 0-1").await;
    assert_eq!(answer.status, 206);
    assert!(answer.whole, "{answer:?}");
    let kind = answer.field("content-type").unwrap();
    let boundary = kind.strip_prefix("multipart/byteranges; boundary=").unwrap();
    let part = |range: &str, body: &str| {
        format!(
            "\r\n--{boundary}\r\nContent-Type: text/plain\r\nContent-Range: bytes {range}/10\r\n\r\n{body}"
        )
    };
    let expected = part("7-8", "78") + &part("0-1", "01") + &format!("\r\n--{boundary}--\r\n");
    assert_eq!(answer.body, expected);
    assert_eq!(answer.field("content-range"), None);
    assert_eq!(bed.origin.requests().len(), 1);
}
