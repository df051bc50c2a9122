//! RFC 9111, sections 4, 4.2.4 and 5.2; RFC 5861: when what is stored is the answer.

use crate::support::{Script, cases, get, ok, reply, step};

const FRESH: &str = "Cache-Control: max-age=60";
const TAG: &str = "Cache-Control: max-age=60 | ETag: \"a\"";

/// Stored with these directives and a tag, and stale.
fn stale(directives: &str) -> Script {
    Script::stored(&format!("Cache-Control: max-age=60{directives} | ETag: \"a\""))
        .then(get("").after(59).body("one"))
        .then(get("Cache-Control: only-if-cached, min-fresh=5").status(504))
}

/// Past its lifetime by so many seconds, and the origin is gone.
fn disconnected(directives: &str, late: u64) -> Script {
    Script::stored(&format!("Cache-Control: max-age=60{directives} | ETag: \"a\"")).then(
        get("")
            .after(60 + late)
            .unanswered()
            .body("one")
            .has("cache-status: fwd=stale; ttl=")
            .has("cache-status: detail=stale-on-error"),
    )
}

fn not_disconnected(directives: &str, late: u64) -> Script {
    Script::stored(&format!("Cache-Control: max-age=60{directives} | ETag: \"a\""))
        .then(get("").after(60 + late).unanswered().status(0))
}

/// A second past its lifetime, and nothing stale may be served.
fn gateway_timeout(directives: &str) -> Script {
    Script::stored(&format!("Cache-Control: max-age=60{directives} | ETag: \"a\""))
        .then(get("").after(61).unanswered().status(504).has("cache-status: fwd=stale"))
}

/// The origin says 503 a second past its lifetime.
fn on_error(directives: &str, asked: &str) -> Script {
    Script::stored(&format!("Cache-Control: max-age=60{directives}")).then(
        get(asked)
            .after(61)
            .to(reply(503, "", "error"))
            .body("one")
            .has("cache-status: fwd=stale; fwd-status=503; ttl=-1")
            .has("age: 61"),
    )
}

fn not_on_error(directives: &str, asked: &str) -> Script {
    Script::stored(&format!("Cache-Control: max-age=60{directives}"))
        .then(get(asked).after(61).to(reply(503, "", "error")).status(503).body("error"))
}

cases! {
    no_cache_is_validated_each_time => Script::stored("Cache-Control: no-cache | ETag: \"a\"")
        .validates("if-none-match: \"a\"").validates("if-none-match: \"a\"");
    no_cache_with_max_age_is_validated => Script::stored("Cache-Control: max-age=60, no-cache | ETag: \"a\"")
        .validates("if-none-match: \"a\"");
    no_cache_in_any_case_is_validated => Script::stored("Cache-Control: max-age=60, No-CaChE | ETag: \"a\"")
        .validates("if-none-match: \"a\"");
    no_cache_is_not_given_stale_to_who_takes_it => Script::stored("Cache-Control: no-cache | ETag: \"a\"")
        .then(get("Cache-Control: max-stale").to(reply(304, "", "")).body("one"));
    another_path_is_another => Script::stored(FRESH).then(step("GET", "/x", "").to(ok("", "two")).body("two"));
    another_query_is_another => Script::stored(FRESH).then(step("GET", "/?x", "").to(ok("", "two")).body("two"));
    another_host_is_another => Script::stored(FRESH).then(get("Host: other").to(ok("", "two")).body("two"));
    a_host_in_any_case_is_the_same => Script::stored(FRESH).hits_with("Host: H");
    the_usual_port_is_the_same => Script::stored(FRESH).hits_with("Host: h:80");
    another_port_is_another => Script::stored(FRESH).misses_with("Host: h:81");
    an_absolute_uri_is_the_same => Script::stored(FRESH)
        .then(step("GET", "http://h/", "").body("one").has("cache-status: hit"));
    a_query_may_be_put_in_order => Script::with(|builder| builder.sorted_query())
        .then(step("GET", "/?a=1&b=2", "").to(ok(FRESH, "one")))
        .then(step("GET", "/?b=2&a=1", "").body("one"));
    a_query_is_kept_in_order => Script::new()
        .then(step("GET", "/?a=1&b=2", "").to(ok(FRESH, "one")))
        .then(step("GET", "/?b=2&a=1", "").to(ok(FRESH, "two")).body("two"));
    parameters_may_be_ignored => Script::with(|builder| builder.ignored_query(["utm_source"]))
        .then(step("GET", "/?a=1&utm_source=x", "").to(ok(FRESH, "one")))
        .then(step("GET", "/?a=1", "").body("one"));
    the_key_may_be_shown => Script::with(|builder| builder.show_key())
        .first(FRESH).then(get("").has("cache-status: key=\"http://h/\""));
    the_scheme_is_in_the_key => Script::with(|builder| builder.show_key().scheme(&http::uri::Scheme::HTTPS))
        .first(FRESH).then(get("").has("cache-status: key=\"https://h/\""));

    a_request_with_no_cache_goes_to_the_origin => Script::stored(TAG)
        .then(get("Cache-Control: no-cache").to(reply(304, "", "")).sees("if-none-match: \"a\"").body("one").has("cache-status: fwd=request"));
    a_request_with_max_age_zero_goes_to_the_origin => Script::stored(TAG)
        .then(get("Cache-Control: max-age=0").after(1).to(reply(304, "", "")).body("one").has("cache-status: fwd=request"));
    a_request_with_max_age_takes_what_is_younger => Script::stored(TAG)
        .then(get("Cache-Control: max-age=10").after(10).body("one"))
        .then(get("Cache-Control: max-age=10").after(1).to(reply(304, "", "")).body("one"));
    a_request_with_max_age_counts_an_upstreams_age => Script::stored("Cache-Control: max-age=60 | Age: 30")
        .misses_with("Cache-Control: max-age=20");
    a_request_with_min_fresh_takes_what_is_fresh_long_enough => Script::stored(TAG)
        .then(get("Cache-Control: min-fresh=50").after(10).body("one"))
        .then(get("Cache-Control: min-fresh=50").after(1).to(reply(304, "", "")).body("one"));
    a_request_with_max_stale_takes_what_is_stale => Script::stored(TAG)
        .then(get("Cache-Control: max-stale=10").after(70).body("one").has("cache-status: hit; ttl=-10"))
        .then(get("Cache-Control: max-stale=10").after(1).to(reply(304, "", "")).body("one"));
    a_request_with_max_stale_without_a_limit_takes_any => Script::stored(TAG)
        .then(get("Cache-Control: max-stale").after(3_600).body("one"));
    a_request_with_max_stale_takes_nothing_that_must_be_revalidated => Script::stored("Cache-Control: max-age=60, must-revalidate | ETag: \"a\"")
        .then(get("Cache-Control: max-stale").after(61).to(reply(304, "", "")).body("one"));
    a_request_with_max_stale_takes_nothing_with_s_maxage => Script::stored("Cache-Control: s-maxage=60 | ETag: \"a\"")
        .then(get("Cache-Control: max-stale").after(61).to(reply(304, "", "")).body("one"));
    a_request_with_max_stale_takes_nothing_with_proxy_revalidate => Script::stored("Cache-Control: max-age=60, proxy-revalidate | ETag: \"a\"")
        .then(get("Cache-Control: max-stale").after(61).to(reply(304, "", "")).body("one"));
    only_if_cached_is_answered_from_the_store => Script::stored(FRESH).hits_with("Cache-Control: only-if-cached");
    only_if_cached_is_504_without => Script::new()
        .then(get("Cache-Control: only-if-cached").status(504).has("cache-status: detail=only-if-cached"));
    only_if_cached_is_504_if_it_is_stale => Script::stored(FRESH)
        .then(get("Cache-Control: only-if-cached").after(60).status(504));
    requests_may_be_ignored => Script::with(|builder| builder.ignore_request_directives())
        .first(FRESH).hits_with("Cache-Control: no-cache").hits_with("Cache-Control: max-age=0")
        .hits_with("Cache-Control: only-if-cached").hits_with("Cache-Control: min-fresh=99");
    requests_that_are_ignored_are_stored_with_no_store => Script::with(|builder| builder.ignore_request_directives())
        .then(get("Cache-Control: no-store").to(ok(FRESH, "one"))).hits();
    unknown_directives_are_ignored => Script::stored("Cache-Control: max-age=60, x, y=\"z\"").hits_with("Cache-Control: x, y=z");

    a_stale_response_is_not_fresh_enough => stale("");
    it_stands_in_for_an_origin_that_is_gone => disconnected("", 1);
    it_stands_in_for_at_most_a_day => disconnected("", 86_399);
    it_does_not_stand_in_after_a_day => not_disconnected("", 86_400);
    it_does_not_stand_in_if_it_must_be_revalidated => gateway_timeout(", must-revalidate");
    it_does_not_stand_in_if_proxies_must_revalidate => gateway_timeout(", proxy-revalidate");
    it_does_not_stand_in_with_s_maxage => gateway_timeout(", s-maxage=60");
    it_does_not_stand_in_with_no_cache => gateway_timeout(", no-cache");
    it_does_not_stand_in_if_that_is_off => Script::with(|builder| builder.stale_on_disconnect(std::time::Duration::ZERO))
        .first(TAG).then(get("").after(61).unanswered().status(0));
    it_stands_in_longer_if_the_origin_said_so => disconnected(", stale-if-error=200000", 100_000);
    it_stands_in_for_an_error_if_the_origin_said_so => on_error(", stale-if-error=60", "");
    it_stands_in_for_an_error_if_the_client_said_so => on_error("", "Cache-Control: stale-if-error=60");
    it_does_not_stand_in_for_an_error_by_itself => not_on_error("", "");
    it_does_not_stand_in_for_an_error_past_its_window => not_on_error(", stale-if-error=1", "");
    it_does_not_stand_in_for_an_error_if_it_must_be_revalidated => not_on_error(", must-revalidate, stale-if-error=60", "");
    it_does_not_stand_in_for_an_error_for_who_wants_no_cache => not_on_error(", stale-if-error=60", "Cache-Control: no-cache");
    it_does_not_stand_in_for_a_client_error => Script::stored("Cache-Control: max-age=60, stale-if-error=60")
        .then(get("").after(61).to(reply(404, "", "gone")).status(404).body("gone"));
    an_origin_that_flaps_is_heard_when_it_is_there => Script::stored("Cache-Control: max-age=60, stale-if-error=600 | ETag: \"a\"")
        .then(get("").after(61).to(reply(503, "", "error")).body("one"))
        .then(get("").to(reply(304, "", "")).body("one").has("age: 0"))
        .then(get("").after(61).unanswered().body("one"))
        .then(get("").to(ok("Cache-Control: max-age=60", "two")).body("two"))
        .then(get("").body("two").has("cache-status: hit"));
    an_error_leaves_what_is_stored => Script::stored("Cache-Control: max-age=60 | ETag: \"a\"")
        .then(get("").after(61).to(reply(503, "", "error")).status(503))
        .then(get("").to(reply(304, "", "")).sees("if-none-match").body("one"));

    a_stale_response_is_served_while_it_is_revalidated => Script::stored("Cache-Control: max-age=60, stale-while-revalidate=60 | ETag: \"a\"")
        .then(get("").after(70).to(reply(304, "", "")).sees("if-none-match: \"a\"").body("one").has("cache-status: hit; ttl=-10").has("age: 70"));
    past_its_window_it_is_revalidated_first => Script::stored("Cache-Control: max-age=60, stale-while-revalidate=60 | ETag: \"a\"")
        .then(get("").after(120).to(reply(304, "", "")).body("one").has("cache-status: fwd=stale"));
    while_it_is_revalidated_nothing_that_must_be_is_served => Script::stored("Cache-Control: max-age=60, stale-while-revalidate=60, must-revalidate | ETag: \"a\"")
        .then(get("").after(70).to(reply(304, "", "")).has("cache-status: fwd=stale"));
    a_targeted_field_permits_stale_where_s_maxage_would_not => Script::stored("CDN-Cache-Control: max-age=60, stale-while-revalidate=60 | Cache-Control: s-maxage=5 | ETag: \"a\"")
        .then(get("").after(70).to(reply(304, "", "")).has("cache-status: hit"));
    a_head_is_served_stale_and_a_get_revalidates => Script::stored("Cache-Control: max-age=60, stale-while-revalidate=60 | ETag: \"a\"")
        .then(step("HEAD", "/", "").after(70).to(reply(304, "", "")).sees("get / ").has("cache-status: hit; ttl=-10"));
}
