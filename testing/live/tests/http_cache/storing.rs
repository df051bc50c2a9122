//! RFC 9111, section 3: what is stored.

use crate::support::{Script, cases, get, ok, reply, step};

const FRESH: &str = "Cache-Control: max-age=60";

cases! {
    a_fresh_response_is_reused => Script::stored(FRESH).hits().hits();
    a_status_that_is_not_cacheable_is_stored_if_it_is_fresh => Script::stored_as(201, FRESH)
        .then(get("").status(201).body("one"));
    an_unknown_status_is_stored_if_it_is_fresh => Script::stored_as(599, FRESH)
        .then(get("").status(599).body("one"));
    an_unknown_redirection_is_stored_if_it_is_fresh => Script::stored_as(399, FRESH)
        .then(get("").status(399).body("one"));
    a_not_found_is_stored => Script::stored_as(404, FRESH).then(get("").status(404).body("one"));
    a_redirection_is_stored => Script::stored_as(302, "Cache-Control: max-age=60 | Location: /x")
        .then(get("").status(302).has("location: /x"));
    a_server_error_is_stored_if_it_is_fresh => Script::stored_as(503, FRESH)
        .then(get("").status(503).body("one"));
    no_content_is_stored => Script::stored_as(204, FRESH).then(get("").status(204).body(""));
    a_partial_response_is_no_whole_one => Script::new()
        .then(get("Range: bytes=0-2").to(reply(206, "Cache-Control: max-age=60 | Content-Range: bytes 0-2/9", "abc")).status(206).body("abc").has("cache-status: stored"))
        .misses();
    a_304_without_anything_stored_goes_to_the_client => Script::stored(FRESH)
        .then(step("GET", "/x", "If-None-Match: \"a\"").to(reply(304, "ETag: \"a\"", "")).status(304));
    no_store_is_not_stored => Script::stored("Cache-Control: max-age=60, no-store").misses();
    no_store_is_not_stored_in_any_case => Script::stored("Cache-Control: max-age=60, No-StORe").misses();
    no_store_in_a_second_line_is_not_stored => Script::stored("Cache-Control: max-age=60 | Cache-Control: no-store").misses();
    no_store_with_a_value_is_not_stored => Script::stored("Cache-Control: max-age=60, no-store = 1").misses();
    no_store_within_quotes_is_nothing => Script::stored("Cache-Control: x=\"no-store\", max-age=60").hits();
    private_is_not_stored => Script::stored("Cache-Control: max-age=60, private").misses();
    private_of_a_field_is_stored_without_it => Script::new()
        .then(get("").to(ok("Cache-Control: max-age=60, private=\"X-A\" | X-A: 1 | X-B: 2", "one")).has("x-a: 1"))
        .then(get("").lacks("x-a").has("x-b: 2"));
    no_cache_of_a_field_is_reused_without_it => Script::new()
        .then(get("").to(ok("Cache-Control: max-age=60, no-cache=\"Set-Cookie\" | Set-Cookie: a=b", "one")).has("set-cookie: a=b"))
        .then(get("").lacks("set-cookie").body("one"));
    a_request_with_no_store_is_not_stored => Script::new()
        .then(get("Cache-Control: no-store").to(ok(FRESH, "one")).body("one"))
        .misses();
    a_request_with_no_store_may_be_answered_from_the_store => Script::stored(FRESH)
        .hits_with("Cache-Control: no-store");
    a_request_with_no_store_takes_nothing_out => Script::stored("Cache-Control: no-cache | ETag: \"a\"")
        .then(get("Cache-Control: no-store").to(reply(304, "ETag: \"a\"", "")).body("one"))
        .validates("if-none-match: \"a\"");
    must_understand_takes_the_place_of_no_store => Script::stored("Cache-Control: max-age=60, must-understand, no-store").hits();
    must_understand_with_an_unknown_status_is_not_stored => Script::stored_as(599, "Cache-Control: max-age=60, must-understand").misses();
    a_request_with_authorization_is_not_stored => Script::new()
        .then(get("Authorization: Basic x").to(ok(FRESH, "one")).has("cache-status: detail=authorization"))
        .misses();
    a_request_with_authorization_is_stored_if_public => Script::new()
        .then(get("Authorization: Basic x").to(ok("Cache-Control: max-age=60, public", "one")))
        .hits().hits_with("Authorization: Basic y");
    a_request_with_authorization_is_stored_with_s_maxage => Script::new()
        .then(get("Authorization: Basic x").to(ok("Cache-Control: s-maxage=60", "one")))
        .hits();
    a_request_with_authorization_is_stored_with_must_revalidate => Script::new()
        .then(get("Authorization: Basic x").to(ok("Cache-Control: max-age=60, must-revalidate", "one")))
        .hits();
    a_request_with_authorization_is_not_stored_with_proxy_revalidate => Script::new()
        .then(get("Authorization: Basic x").to(ok("Cache-Control: max-age=60, proxy-revalidate", "one")))
        .misses();
    what_is_stored_may_answer_a_request_with_authorization => Script::stored(FRESH)
        .hits_with("Authorization: Basic x");
    a_cookie_that_is_explicitly_fresh_is_stored => Script::stored("Cache-Control: max-age=60 | Set-Cookie: a=b").hits();
    a_cookie_that_is_guessed_to_be_fresh_is_not => Script::stored("Last-Modified: Sun, 06 Nov 1994 01:00:00 GMT | Set-Cookie: a=b").misses();
    a_cookie_may_be_refused => Script::with(|builder| builder.no_cookies())
        .first("Cache-Control: max-age=60 | Set-Cookie: a=b").misses();
    what_says_nothing_is_not_stored => Script::stored("").misses();
    what_has_a_validator_only_is_validated => Script::stored("ETag: \"a\"").validates("if-none-match: \"a\"");
    what_is_too_large_is_served_and_not_stored => Script::with(|builder| builder.entry_limit(2))
        .then(get("").to(ok(FRESH, "one")).body("one").has("cache-status: detail=too-large"))
        .misses();
    a_chunked_content_is_stored => Script::new()
        .then(get("").to(crate::support::chunked(FRESH, &["o", "n", "e"])).body("one"))
        .hits();
    a_chunked_content_that_is_too_large_is_served_and_not_stored => Script::with(|builder| builder.entry_limit(4))
        .then(get("").to(crate::support::chunked(FRESH, &["abc", "def", "ghi"])).body("abcdefghi"))
        .misses();
    hop_by_hop_fields_are_not_stored => Script::stored("Cache-Control: max-age=60 | Connection: X-A | X-A: 1 | Keep-Alive: timeout=1 | Proxy-Authenticate: Basic | X-B: 2")
        .then(get("").lacks("x-a").lacks("keep-alive").lacks("proxy-authenticate").has("x-b: 2"));
    hop_by_hop_fields_do_not_go_through => Script::new()
        .then(get("").to(ok("Connection: X-A | X-A: 1 | X-B: 2", "one")).lacks("x-a").has("x-b: 2"));
    hop_by_hop_fields_of_requests_do_not_go_through => Script::new()
        .then(get("Connection: close, X-A | X-A: 1 | TE: gzip | X-B: 2").to(ok("", "one")).sees("x-b: 2").sees_not("x-a: ").sees_not("te: "));
    unknown_fields_are_stored => Script::stored("Cache-Control: max-age=60 | X-Unknown: a | X-Unknown: b")
        .then(get("").has("x-unknown: a, b"));
    trailers_are_discarded => Script::new()
        .then(get("").to(crate::support::raw("HTTP/1.1 200 OK\r\nCache-Control: max-age=60\r\nTrailer: X-Sum\r\nTransfer-Encoding: chunked\r\n\r\n3\r\none\r\n0\r\nX-Sum: 1\r\n\r\n")).body("one").lacks("trailer").lacks("x-sum"))
        .then(get("").body("one").lacks("trailer").lacks("x-sum"));
    directives_are_sent_on => Script::new()
        .then(get("Cache-Control: no-transform, x=y").to(ok("Cache-Control: max-age=60, no-transform, x=y", "one")).sees("cache-control: no-transform, x=y").has("cache-control: max-age=60, no-transform, x=y"))
        .then(get("").has("cache-control: max-age=60, no-transform, x=y").body("one"));
    a_date_is_added_where_there_is_none => Script::stored(FRESH)
        .then(get("").after(10).has("date: Sun, 06 Nov 1994 08:49:37 GMT"));
    a_date_is_not_rewritten => Script::stored("Cache-Control: max-age=60 | Date: Sun, 06 Nov 1994 08:49:30 GMT")
        .then(get("").after(10).has("date: Sun, 06 Nov 1994 08:49:30 GMT"));
    a_content_that_lies_about_its_length_is_not_stored => Script::new()
        .then(get("").to(crate::support::raw("HTTP/1.1 200 OK\r\nCache-Control: max-age=60\r\nContent-Length: 10\r\n\r\none")))
        .misses();
    a_chunked_content_that_is_cut_short_is_not_stored => Script::new()
        .then(get("").to(crate::support::raw("HTTP/1.1 200 OK\r\nCache-Control: max-age=60\r\nTransfer-Encoding: chunked\r\n\r\n3\r\none\r\n")))
        .misses();
    a_content_that_ends_with_the_connection_is_stored => Script::new()
        .then(get("").to(crate::support::raw("HTTP/1.1 200 OK\r\nCache-Control: max-age=60\r\n\r\none")).body("one"))
        .hits();
    interim_responses_are_not_stored => Script::new()
        .then(get("").to(crate::support::raw("HTTP/1.1 103 Early Hints\r\nCache-Control: max-age=60\r\nLink: </x>\r\n\r\nHTTP/1.1 200 OK\r\nCache-Control: max-age=60\r\nContent-Length: 3\r\n\r\none")).body("one").lacks("link"))
        .hits();
    other_methods_are_not_stored => Script::new()
        .then(step("OPTIONS", "/", "").to(ok(FRESH, "one")).has("cache-status: edge; fwd=method"))
        .misses();
    a_post_is_not_stored => Script::new()
        .then(step("POST", "/", "Content-Length: 0").to(ok(FRESH, "one")))
        .misses();
    a_post_whose_content_location_is_its_target_is_stored => Script::new()
        .then(step("POST", "/", "Content-Length: 0").to(ok("Cache-Control: max-age=60 | Content-Location: /", "one")).body("one").has("cache-status: stored"))
        .hits();
    a_post_whose_content_location_is_elsewhere_is_not_stored => Script::new()
        .then(step("POST", "/", "Content-Length: 0").to(ok("Cache-Control: max-age=60 | Content-Location: /x", "one")))
        .misses();
    a_post_with_two_content_locations_is_not_stored => Script::new()
        .then(step("POST", "/", "Content-Length: 0").to(ok("Cache-Control: max-age=60 | Content-Location: / | Content-Location: /x", "one")))
        .misses();
    a_post_without_freshness_is_not_stored => Script::new()
        .then(step("POST", "/", "Content-Length: 0").to(ok("ETag: \"a\" | Content-Location: /", "one")))
        .misses();
    a_get_with_a_content_is_not_stored => Script::new()
        .then(get("Content-Length: 0").to(ok("Cache-Control: max-age=60", "one")))
        .hits();
}
