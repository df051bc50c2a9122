//! RFC 9111, section 4.2: how long it is fresh, and how old it is.

use crate::support::{Script, cases, get, ok};

fn aged(fields: &str, hits_until: u64) -> Script {
    Script::stored(fields).hits_after(hits_until - 1).misses_after(1)
}

cases! {
    max_age_is_its_lifetime => aged("Cache-Control: max-age=60", 60);
    max_age_in_any_case => aged("Cache-Control: MaX-aGe=60", 60);
    max_age_in_quotes => aged("Cache-Control: max-age=\"60\"", 60);
    max_age_with_leading_zeros => aged("Cache-Control: max-age=0060", 60);
    max_age_after_unknown_directives => aged("Cache-Control: foo, bar=\"a, max-age=1\", max-age=60", 60);
    max_age_zero_is_stale => Script::stored("Cache-Control: max-age=0").misses();
    max_age_that_is_negative_is_stale => Script::stored("Cache-Control: max-age=-1").misses();
    max_age_that_is_no_number_is_stale => Script::stored("Cache-Control: max-age=abc").misses();
    max_age_that_is_a_fraction_is_stale => Script::stored("Cache-Control: max-age=60.0").misses();
    max_age_with_white_space_is_stale => Script::stored("Cache-Control: max-age = 60").misses();
    max_age_in_single_quotes_is_stale => Script::stored("Cache-Control: max-age='60'").misses();
    max_age_without_a_value_is_stale => Script::stored("Cache-Control: max-age").misses();
    max_age_that_is_huge_is_very_long => Script::stored("Cache-Control: max-age=99999999999").hits_after(86_400);
    max_age_that_overflows_is_very_long => Script::stored("Cache-Control: max-age=999999999999999999999999999").hits_after(86_400);
    max_ages_that_differ_are_stale => Script::stored("Cache-Control: max-age=60, max-age=120").misses();
    max_ages_that_agree_count => Script::stored("Cache-Control: max-age=60 | Cache-Control: max-age=60").hits();
    max_age_overrides_expires => aged("Cache-Control: max-age=60 | Expires: Sun, 06 Nov 1994 09:49:37 GMT", 60);
    max_age_overrides_expires_that_has_passed => Script::stored("Cache-Control: max-age=60 | Expires: Sun, 06 Nov 1994 07:49:37 GMT").hits();
    s_maxage_overrides_max_age => aged("Cache-Control: max-age=10, s-maxage=60", 60);
    s_maxage_may_be_shorter => aged("Cache-Control: max-age=60, s-maxage=10", 10);
    s_maxage_overrides_expires => Script::stored("Cache-Control: s-maxage=60 | Expires: 0").hits();
    s_maxage_that_is_invalid_is_stale => Script::stored("Cache-Control: s-maxage=x, max-age=60").misses();
    expires_is_its_lifetime => aged("Date: Sun, 06 Nov 1994 08:49:37 GMT | Expires: Sun, 06 Nov 1994 08:50:37 GMT", 60);
    expires_without_a_date_is_from_when_it_came => aged("Expires: Sun, 06 Nov 1994 08:50:37 GMT", 60);
    expires_counts_from_the_origins_date => aged("Date: Sun, 06 Nov 1994 08:49:27 GMT | Expires: Sun, 06 Nov 1994 08:50:37 GMT", 60);
    expires_in_the_form_of_rfc_850 => Script::stored("Expires: Sunday, 06-Nov-94 08:50:37 GMT").hits();
    expires_in_the_form_of_asctime => Script::stored("Expires: Sun Nov  6 08:50:37 1994").hits();
    expires_in_other_letters => Script::stored("Expires: sun, 06 nov 1994 08:50:37 gmt").hits();
    expires_that_has_passed_is_stale => Script::stored("Expires: Sun, 06 Nov 1994 08:49:36 GMT").misses();
    expires_zero_is_stale => Script::stored("Expires: 0").misses();
    expires_that_is_nonsense_is_stale => Script::stored("Expires: tomorrow").misses();
    expires_in_another_zone_is_stale => Script::stored("Expires: Sun, 06 Nov 1994 08:50:37 CET").misses();
    expires_twice_is_stale => Script::stored("Expires: Sun, 06 Nov 1994 08:50:37 GMT | Expires: Sun, 06 Nov 1994 08:51:37 GMT").misses();
    a_targeted_field_overrides_cache_control => aged("CDN-Cache-Control: max-age=60 | Cache-Control: max-age=10", 60);
    a_targeted_field_overrides_no_store => Script::stored("CDN-Cache-Control: max-age=60 | Cache-Control: no-store").hits();
    a_targeted_field_overrides_expires => Script::stored("CDN-Cache-Control: max-age=60 | Expires: 0").hits();
    a_targeted_field_may_forbid => Script::stored("CDN-Cache-Control: no-store | Cache-Control: max-age=60").misses();
    a_targeted_field_that_is_invalid_is_ignored => Script::stored("CDN-Cache-Control: max-age=60, &&& | Cache-Control: max-age=0").misses();
    a_targeted_field_that_is_empty_is_ignored => Script::stored("CDN-Cache-Control: | Cache-Control: max-age=60").hits();
    a_targeted_field_with_a_string_for_a_number_is_stale => Script::stored("CDN-Cache-Control: max-age=\"60\" | Cache-Control: max-age=60").misses();
    a_targeted_field_is_case_sensitive => Script::stored("CDN-Cache-Control: MAX-AGE=60 | Cache-Control: max-age=0").misses();
    a_targeted_field_with_parameters_counts => Script::stored("CDN-Cache-Control: max-age=60;a=b").hits();
    the_targeted_fields_may_be_chosen => Script::with(|builder| builder.targeted_fields([http::HeaderName::from_static("mine-cache-control")]))
        .first("Mine-Cache-Control: max-age=60 | CDN-Cache-Control: no-store").hits();

    age_is_sent_on_every_hit => Script::stored("Cache-Control: max-age=60")
        .then(get("").has("age: 0")).then(get("").after(10).has("age: 10")).then(get("").after(5).has("age: 15"));
    age_of_an_upstream_uses_up_freshness => aged("Cache-Control: max-age=60 | Age: 50", 10);
    age_of_an_upstream_counts_in_what_is_sent => Script::stored("Cache-Control: max-age=60 | Age: 50")
        .then(get("").after(5).has("age: 55"));
    age_past_its_lifetime_is_stale => Script::stored("Cache-Control: max-age=60 | Age: 60").misses();
    age_that_is_huge_is_stale => Script::stored("Cache-Control: max-age=60 | Age: 99999999999999999999").misses();
    age_that_is_nonsense_is_ignored => Script::stored("Cache-Control: max-age=60 | Age: abc").hits();
    age_that_is_negative_is_ignored => Script::stored("Cache-Control: max-age=60 | Age: -5").hits();
    age_of_several_is_the_first => Script::stored("Cache-Control: max-age=60 | Age: 5 | Age: 70").hits();
    a_date_in_the_past_is_an_age => Script::stored("Cache-Control: max-age=60 | Date: Sun, 06 Nov 1994 08:49:07 GMT")
        .then(get("").has("age: 30").has("cache-status: ttl=30"));
    a_date_past_its_lifetime_is_stale => Script::stored("Cache-Control: max-age=60 | Date: Sun, 06 Nov 1994 08:48:37 GMT").misses();
    a_date_in_the_future_is_no_age => Script::stored("Cache-Control: max-age=60 | Date: Sun, 06 Nov 2044 08:49:37 GMT")
        .then(get("").has("age: 0"));
    a_date_that_is_nonsense_is_none => Script::stored("Cache-Control: max-age=60 | Date: now").hits();

    a_lifetime_is_guessed_from_last_modified => aged("Last-Modified: Sun, 06 Nov 1994 08:39:37 GMT", 60);
    a_lifetime_is_guessed_at_most_a_day => Script::stored("Last-Modified: Wed, 06 Nov 1974 08:39:37 GMT")
        .hits_after(86_399).then(get("").after(1).to(ok("", "two")).body("two"));
    nothing_is_guessed_of_a_status_that_is_not_cacheable => Script::stored_as(500, "Last-Modified: Sun, 06 Nov 1994 01:00:00 GMT").misses();
    it_is_guessed_of_any_status_that_is_public => Script::stored_as(403, "Cache-Control: public | Last-Modified: Sun, 06 Nov 1994 01:00:00 GMT")
        .then(get("").status(403).body("one"));
    it_is_guessed_of_a_not_found => Script::stored_as(404, "Last-Modified: Sun, 06 Nov 1994 01:00:00 GMT").then(get("").status(404));
    it_is_guessed_of_gone => Script::stored_as(410, "Last-Modified: Sun, 06 Nov 1994 01:00:00 GMT").then(get("").status(410));
    it_is_guessed_of_a_permanent_redirection => Script::stored_as(308, "Last-Modified: Sun, 06 Nov 1994 01:00:00 GMT").then(get("").status(308));
    nothing_is_guessed_if_that_is_off => Script::with(|builder| builder.no_heuristics())
        .first("Last-Modified: Sun, 06 Nov 1994 01:00:00 GMT").then(get("").to(ok("", "two")).body("two"));
    pragma_is_no_directive => Script::stored("Cache-Control: max-age=60 | Pragma: no-cache").hits().hits_with("Pragma: no-cache");
}
