//! Of `cache-aside`.

use super::{Control, Test};

pub(super) const CONTROLS: &[Control] = &[
    Control {
        krate: "cache-aside",
        broken: "no_stamp",
        protection: "an entry is served only if its stamp is the key's",
        test: Test::cache_aside("overlap", "a_fill_that_lands_late_in_the_store_is_not_seen"),
    },
    Control {
        krate: "cache-aside",
        broken: "no_flight_epoch",
        protection: "a flight is joined only in its own epoch",
        test: Test::cache_aside("overlap", "through_get_or_load"),
    },
    Control {
        krate: "cache-aside",
        broken: "no_global_epoch",
        protection: "clear ends every epoch",
        test: Test::cache_aside("overlap", "clear_overtakes_every_load"),
    },
    Control {
        krate: "cache-aside",
        broken: "no_insert_epoch",
        protection: "an insert overtakes the loads under way",
        test: Test::cache_aside("overlap", "a_load_does_not_overwrite_an_insert"),
    },
    Control {
        krate: "cache-aside",
        broken: "no_reservation",
        protection: "a reserved insert keeps the stamp of its reservation",
        test: Test::cache_aside("overlap", "a_reserved_insert_does_not_undo_an_invalidation"),
    },
    Control {
        krate: "cache-aside",
        broken: "no_stale_check",
        protection: "a stale value is judged anew when it stands in for an error",
        test: Test::cache_aside("overlap", "an_invalidated_value_never_stands_in_for_an_error"),
    },
    Control {
        krate: "cache-aside",
        broken: "no_join",
        protection: "who misses during a load joins it",
        test: Test::cache_aside("loads", "a_thousand_misses_are_one_load"),
    },
    Control {
        krate: "cache-aside",
        broken: "no_second_look",
        protection: "the store is looked at again before a load starts",
        test: Test::cache_aside(
            "loads",
            "a_value_that_came_between_the_look_and_the_load_is_served",
        ),
    },
    Control {
        krate: "cache-aside",
        broken: "no_owned_load",
        protection: "a load does not end with the caller that started it",
        test: Test::cache_aside("loads", "a_cancelled_leader_strands_nobody"),
    },
    Control {
        krate: "cache-aside",
        broken: "no_landing",
        protection: "a leader that is dropped answers those who wait",
        test: Test::cache_aside(
            "loads",
            "waiters_learn_that_the_leaders_runtime_was_shut_down",
        ),
    },
    Control {
        krate: "cache-aside",
        broken: "no_deadline",
        protection: "a load is given up at its deadline",
        test: Test::cache_aside("loads", "a_load_past_its_deadline_is_given_up"),
    },
    Control {
        krate: "cache-aside",
        broken: "http_stamp",
        protection: "an HTTP response is stored under the stamp from before it was asked for",
        test: Test::cache_aside("http", "a_purge_overtakes_a_response_on_its_way"),
    },
    Control {
        krate: "cache-aside",
        broken: "http_marks",
        protection: "an HTTP response from before a purge by prefix displaces none from after it",
        test: Test::cache_aside(
            "http",
            "a_late_response_does_not_take_the_place_of_one_from_after_a_purge",
        ),
    },
    Control {
        krate: "cache-aside",
        broken: "http_purged",
        protection: "an HTTP response is served only if none of its marks was purged since",
        test: Test::cache_aside("http_race", "no_read_gets_what_was_purged_before_it"),
    },
    Control {
        krate: "cache-aside",
        broken: "http_private",
        protection: "a private HTTP response is not given to those who waited for it",
        test: Test::cache_aside("http", "a_private_response_is_for_the_one_who_asked"),
    },
    Control {
        krate: "cache-aside",
        broken: "http_collapse",
        protection: "who misses an HTTP response while it is asked for waits for it",
        test: Test::cache_aside("http", "who_misses_at_the_same_time_waits_for_one_request"),
    },
    Control {
        krate: "cache-aside",
        broken: "http_short",
        protection: "an HTTP response whose content ended early is not stored",
        test: Test::cache_aside("http", "a_content_that_is_shorter_than_it_said_is_not_stored"),
    },
    Control {
        krate: "cache-aside",
        broken: "http_unattended",
        protection: "of the HTTP requests that nobody waits for only so many go on",
        test: Test::cache_aside(
            "http_unattended",
            "of_requests_that_nobody_waits_for_only_some_go_on",
        ),
    },
    Control {
        krate: "cache-aside",
        broken: "no_flight_epoch",
        protection: "a flight is joined only in its own epoch, on a real server",
        test: Test::live("cache_aside", "no_read_joins_a_load_from_before_a_write"),
    },
    Control {
        krate: "cache-aside",
        broken: "no_deadline",
        protection: "a load is given up at its deadline, on a stopped server",
        test: Test::live(
            "cache_aside",
            "waiters_on_a_stopped_server_are_answered_at_the_deadline",
        ),
    },
    Control {
        krate: "cache-aside",
        broken: "no_lease_check",
        protection: "a load fills the second tier only under its lease",
        test: Test::cache_aside("shared_controls", "a_late_load_does_not_fill"),
    },
    Control {
        krate: "cache-aside",
        broken: "no_standing",
        protection: "who waits for a load is not given what another process has overtaken",
        test: Test::cache_aside(
            "shared_controls",
            "nobody_is_given_a_load_that_another_process_has_overtaken",
        ),
    },
    Control {
        krate: "cache-aside",
        broken: "no_debts",
        protection: "an invalidation that was not acknowledged is owed",
        test: Test::cache_aside(
            "shared_controls",
            "what_was_not_acknowledged_is_owed_and_not_shown",
        ),
    },
    Control {
        krate: "cache-aside",
        broken: "one_epoch",
        protection: "an invalidation ends the epoch after the second tier's, too",
        test: Test::cache_aside(
            "shared_controls",
            "a_copy_that_was_taken_during_an_invalidation_is_not_shown",
        ),
    },
    Control {
        krate: "cache-aside",
        broken: "no_lease_check",
        protection: "a load fills Redis only under its lease",
        test: Test::live("cache_aside_redis", "overlap::a_late_load_leaves_nothing_in_redis"),
    },
    Control {
        krate: "cache-aside",
        broken: "counter_lease",
        protection: "a lease is a random token, not a count",
        test: Test::live(
            "cache_aside_redis",
            "overlap::a_late_load_leaves_nothing_after_a_flush",
        ),
    },
    Control {
        krate: "cache-aside",
        broken: "no_server_identity",
        protection: "a record is shown only by the life of the server that leased it",
        test: Test::live(
            "cache_aside_redis",
            "snapshot::what_a_snapshot_brings_back_is_not_shown",
        ),
    },
    Control {
        krate: "cache-aside",
        broken: "no_lease_check",
        protection: "a load fills the fleet's cache only under its lease",
        test: Test::live("fleet", "late::a_load_that_comes_late_is_not_shown"),
    },
    Control {
        krate: "cache-aside",
        broken: "http_life",
        protection: "what was asked for in one life of the log is not judged by another's tables",
        test: Test::cache_aside("http_shared", "moments_of_another_life_are_none"),
    },
    Control {
        krate: "cache-aside",
        broken: "http_clocks",
        protection: "what other servers have stored is judged by when what was purged",
        test: Test::cache_aside("http_shared", "a_purge_holds_on_every_server"),
    },
    Control {
        krate: "cache-aside",
        broken: "http_news",
        protection: "a purge is announced to other servers",
        test: Test::cache_aside("http_shared", "a_purge_holds_on_every_server"),
    },
    Control {
        krate: "cache-aside",
        broken: "http_trust",
        protection: "a server without news serves nothing unasked",
        test: Test::cache_aside("http_shared", "without_news_nothing_is_served_unasked"),
    },
    Control {
        krate: "cache-aside",
        broken: "http_second_bump",
        protection: "a purge holds again when it was announced, for what was read meanwhile",
        test: Test::cache_aside(
            "http_shared_race",
            "no_read_gets_what_any_server_purged_before_it",
        ),
    },
    Control {
        krate: "cache-aside",
        broken: "http_base",
        protection: "what is stored again beside a new variant was read under its lease",
        test: Test::cache_aside(
            "http_shared_race",
            "no_read_gets_what_any_server_purged_before_it",
        ),
    },
    Control {
        krate: "cache-aside",
        broken: "http_base",
        protection: "what only this server has is not stored again for all",
        test: Test::cache_aside(
            "http_shared",
            "overtaken::a_variant_from_before_a_purge_is_not_stored_beside_others",
        ),
    },
    Control {
        krate: "cache-aside",
        broken: "http_new_life",
        protection: "who announces in another life of the log believes its old tables no more",
        test: Test::cache_aside(
            "http_shared",
            "a_purge_in_a_life_that_is_news_holds_at_once_where_it_was_made",
        ),
    },
    Control {
        krate: "cache-aside",
        broken: "http_owed",
        protection: "what other servers could not be told is owed, and nothing shared is read",
        test: Test::cache_aside("http_shared", "what_was_not_told_is_told_when_it_can_be"),
    },
    Control {
        krate: "cache-aside",
        broken: "http_fleet_lease",
        protection: "servers ask the origin under one lease",
        test: Test::cache_aside(
            "http_shared",
            "a_thousand_misses_on_all_servers_are_one_request",
        ),
    },
    Control {
        krate: "cache-aside",
        broken: "http_alone",
        protection: "nobody waits for what another server found to be for one only",
        test: Test::cache_aside("http_shared", "what_is_not_to_be_shared_is_waited_for_once"),
    },
    Control {
        krate: "cache-aside",
        broken: "no_lease_check",
        protection: "a late HTTP response is stored for all servers only under its lease",
        test: Test::cache_aside(
            "http_shared",
            "a_response_from_before_a_purge_is_stored_nowhere",
        ),
    },
    Control {
        krate: "cache-aside",
        broken: "http_tables",
        protection: "a log whose tables were evicted begins a new life",
        test: Test::live(
            "http_shared",
            "faults::what_was_purged_does_not_come_back_with_the_loss_of_a_table",
        ),
    },
    Control {
        krate: "cache-aside",
        broken: "http_trust",
        protection: "a server that is cut off from Redis serves nothing unasked",
        test: Test::live(
            "http_shared",
            "faults::a_server_that_hears_nothing_serves_nothing_unasked",
        ),
    },
    Control {
        krate: "cache-aside",
        broken: "http_clocks",
        protection: "what servers share in Redis is judged by when what was purged",
        test: Test::live("http_shared", "purging::a_purge_by_one_holds_on_all"),
    },
    Control {
        krate: "cache-aside",
        broken: "http_post",
        protection: "the response to a POST from before a purge is not stored after it",
        test: Test::cache_aside(
            "http_shared",
            "overtaken::a_response_to_a_post_from_before_a_purge_is_not_stored",
        ),
    },
];
