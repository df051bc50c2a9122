//! RFC 9111, section 4.1: `Vary`.

use crate::support::{Script, cases, get, ok};

/// Stored for a request with the one, asked for with the other.
fn same(vary: &str, one: &str, other: &str) -> Script {
    Script::new()
        .then(get(one).to(ok(&format!("Cache-Control: max-age=60 | Vary: {vary}"), "one")))
        .hits_with(other)
}

fn apart(vary: &str, one: &str, other: &str) -> Script {
    Script::new()
        .then(get(one).to(ok(&format!("Cache-Control: max-age=60 | Vary: {vary}"), "one")))
        .then(get(other).to(ok("", "two")).body("two").has("cache-status: fwd=vary-miss"))
}

fn variant(fields: &str, body: &str) -> crate::support::Step {
    get(fields).to(ok("Cache-Control: max-age=60 | Vary: Foo", body)).body(body)
}

cases! {
    the_same_value_is_the_same => same("Foo", "Foo: 1", "Foo: 1");
    another_value_is_another => apart("Foo", "Foo: 1", "Foo: 2");
    none_is_another_than_one => apart("Foo", "", "Foo: 1");
    one_is_another_than_none => apart("Foo", "Foo: 1", "");
    an_empty_one_is_another_than_none => apart("Foo", "Foo:", "");
    none_is_the_same_as_none => same("Foo", "", "");
    other_fields_do_not_count => same("Foo", "Foo: 1 | Bar: 1", "Foo: 1 | Bar: 2");
    names_in_any_case => apart("fOO", "Foo: 1", "foo: 2");
    two_fields_both_count => apart("Foo, Bar", "Foo: 1 | Bar: 1", "Foo: 1 | Bar: 2");
    two_fields_that_are_the_same => same("Foo, Bar", "Foo: 1 | Bar: 1", "Bar: 1 | Foo: 1");
    two_lines_of_vary_are_one => apart("Foo | Vary: Bar", "Foo: 1 | Bar: 1", "Foo: 1 | Bar: 2");
    an_empty_vary_is_none => same("", "Foo: 1", "Foo: 2");
    a_star_matches_nothing => Script::stored("Cache-Control: max-age=60 | Vary: *").misses();
    a_star_among_others_matches_nothing => Script::stored("Cache-Control: max-age=60 | Vary: Foo, *").misses();
    a_star_in_a_second_line_matches_nothing => Script::stored("Cache-Control: max-age=60 | Vary: Foo | Vary: *").misses();
    what_is_no_name_matches_nothing => Script::stored("Cache-Control: max-age=60 | Vary: a b").misses();
    many_fields_match_nothing => Script::stored(&format!("Cache-Control: max-age=60 | Vary: {}", (0..40).map(|n| format!("X-{n}")).collect::<Vec<_>>().join(", "))).misses();
    lines_of_a_request_are_one_list => same("Foo", "Foo: 1, 2", "Foo: 1 | Foo: 2");
    the_order_of_a_list_counts => apart("Foo", "Foo: 1, 2", "Foo: 2, 1");
    the_order_of_encodings_does_not_count => same("Accept-Encoding", "Accept-Encoding: gzip, br", "Accept-Encoding: br, gzip");
    the_case_of_encodings_does_not_count => same("Accept-Encoding", "Accept-Encoding: gzip", "Accept-Encoding: GZIP");
    white_space_between_encodings_does_not_count => same("Accept-Encoding", "Accept-Encoding: gzip,br", "Accept-Encoding: gzip ,  br");
    the_weight_of_languages_counts => apart("Accept-Language", "Accept-Language: de, en;q=0.5", "Accept-Language: de, en;q=0.8");
    the_order_of_languages_counts => apart("Accept-Language", "Accept-Language: de, en", "Accept-Language: en, de");
    the_case_of_languages_does_not_count => same("Accept-Language", "Accept-Language: de, en;q=0.5", "Accept-Language: DE ,en;q=0.5");
    the_case_of_other_values_counts => apart("Foo", "Foo: a", "Foo: A");
    several_variants_are_kept => Script::new().then(variant("Foo: 1", "one")).then(variant("Foo: 2", "two"))
        .then(get("Foo: 1").body("one")).then(get("Foo: 2").body("two"));
    variants_are_limited => Script::with(|builder| builder.variants(2))
        .then(variant("Foo: 1", "one")).then(variant("Foo: 2", "two").after(1))
        .then(get("Foo: 1").after(1).body("one"))
        .then(variant("Foo: 3", "three").after(1))
        .then(get("Foo: 1").body("one")).then(get("Foo: 3").body("three"))
        .then(variant("Foo: 2", "again"));
    one_that_says_what_it_was_chosen_by_comes_first => Script::new().then(variant("Foo: 1", "one"))
        .then(get("Foo: 2").to(ok("Cache-Control: max-age=60", "default")))
        .then(get("Foo: 1").body("one")).then(get("Foo: 3").body("default"));
    what_is_validated_is_replaced_whatever_it_is_chosen_by => Script::stored("Cache-Control: max-age=60 | Vary: Foo | ETag: \"a\"")
        .then(get("").after(60).to(ok("Cache-Control: max-age=60", "two")).sees("if-none-match").body("two"))
        .then(get("").body("two").has("cache-status: hit")).then(get("Foo: 1").body("two"));
    what_is_validated_may_be_chosen_otherwise_from_then_on => Script::stored("Cache-Control: max-age=60 | Vary: Foo | ETag: \"a\"")
        .then(get("").after(60).to(crate::support::reply(304, "Vary: Bar", "")).body("one"))
        .then(get("Foo: 1").body("one").has("vary: Bar").has("cache-status: hit"))
        .then(get("Bar: 1").to(ok("", "two")).body("two"));
    the_newest_that_matches_is_taken => Script::new().then(variant("Foo: 1", "one"))
        .then(get("Foo: 2 | Bar: 1").to(ok("Cache-Control: max-age=60 | Vary: Bar", "two")).body("two"))
        .then(get("Foo: 1 | Bar: 1").body("two"))
        .then(get("Foo: 1").body("one"));
    of_those_that_match_the_newest_by_its_date_is_taken => Script::new()
        .then(get("Foo: 1").to(ok("Cache-Control: max-age=60 | Vary: Foo | Date: Sun, 06 Nov 1994 08:49:37 GMT", "newer")))
        .then(get("Foo: 2 | Bar: 1").to(ok("Cache-Control: max-age=60 | Vary: Bar | Date: Sun, 06 Nov 1994 08:49:36 GMT", "older")).body("older"))
        .then(get("Foo: 1 | Bar: 1").body("newer"));
    each_variant_is_validated_by_its_own_tag => Script::new()
        .then(get("Foo: 1").to(ok("Cache-Control: no-cache | Vary: Foo | ETag: \"a\"", "one")))
        .then(get("Foo: 2").to(ok("Cache-Control: no-cache | Vary: Foo | ETag: \"b\"", "two")).sees_not("if-none-match"))
        .then(get("Foo: 1").to(crate::support::reply(304, "", "")).sees("if-none-match: \"a\"").body("one"))
        .then(get("Foo: 2").to(crate::support::reply(304, "", "")).sees("if-none-match: \"b\"").body("two"));
}
