//! Of `shard-router`.

use super::{Control, Test};

pub(super) const CONTROLS: &[Control] = &[
    Control {
        krate: "shard-router",
        broken: "holes",
        protection: "a map in which a slot has no owner is refused",
        test: Test::shard_router("placement", "maps_that_lie_are_refused"),
    },
    Control {
        krate: "shard-router",
        broken: "key_types",
        protection: "a key of another type is refused",
        test: Test::live("shard_router", "queries::a_key_of_a_wrong_type_goes_nowhere"),
    },
    Control {
        krate: "shard-router",
        broken: "cross_shard",
        protection: "a key of another shard is caught in a transaction",
        test: Test::live("shard_router", "queries::another_shards_key_is_caught"),
    },
    Control {
        krate: "shard-router",
        broken: "reuse_busy",
        protection: "a connection in the middle of something is closed, not reused",
        test: Test::live(
            "shard_router",
            "queries::a_transaction_that_is_dropped_or_has_failed_leaves_nothing",
        ),
    },
    Control {
        krate: "shard-router",
        broken: "identity",
        protection: "a server must be the shard that the topology says it is",
        test: Test::live("shard_router", "refusals::exchanged_connection_strings"),
    },
    Control {
        krate: "shard-router",
        broken: "hash_id",
        protection: "a shard must store the hash that its keys are placed by",
        test: Test::live("shard_router", "refusals::another_hash_and_another_key"),
    },
    Control {
        krate: "shard-router",
        broken: "admission",
        protection: "a shard is asked for its epoch before its use, and again later",
        test: Test::live(
            "shard_router",
            "refusals::a_shard_of_another_epoch_is_refused_and_the_others_go_on",
        ),
    },
    Control {
        krate: "shard-router",
        broken: "begin_epoch",
        protection: "a transaction checks epoch and slot in its own first round trip",
        test: Test::live(
            "shard_router",
            "refusals::a_router_with_an_old_map_begins_nothing_on_an_old_owner",
        ),
    },
    Control {
        krate: "shard-router",
        broken: "publish_conflict",
        protection: "only the next epoch can be published",
        test: Test::live(
            "shard_router",
            "control::a_published_topology_is_taken_over_by_all_who_watch",
        ),
    },
    Control {
        krate: "shard-router",
        broken: "coverage",
        protection: "answers must cover every slot exactly once, by what shards store",
        test: Test::live(
            "shard_router",
            "scatter::shards_that_do_not_cover_all_slots_are_an_error",
        ),
    },
    Control {
        krate: "shard-router",
        broken: "mixed_epochs",
        protection: "an answer of an older epoch does not count",
        test: Test::live("shard_router", "scatter::a_stale_epoch_is_missing"),
    },
    Control {
        krate: "shard-router",
        broken: "two_snapshots",
        protection: "coverage is read in the snapshot of the rows",
        test: Test::live("shard_router", "scatter::rows_and_coverage_are_of_one_snapshot"),
    },
    Control {
        krate: "shard-router",
        broken: "owned_by",
        protection: "copied rows are left out by the ownership predicate",
        test: Test::live("shard_router", "scatter::copied_rows_are_counted_once"),
    },
    Control {
        krate: "shard-router",
        broken: "one_queue",
        protection: "scatters have connections of their own, and never wait for each other",
        test: Test::live("shard_router", "scatter::scatters_do_not_lock_each_other_out"),
    },
    Control {
        krate: "shard-router",
        broken: "quiet_scatter",
        protection: "a forbidden scatter fails the test though its error is swallowed",
        test: Test::live("shard_router", "scatter::a_test_can_forbid_scatters"),
    },
    Control {
        krate: "shard-router",
        broken: "any_collation",
        protection: "text is not merged without `.collate_c()`",
        test: Test::live(
            "shard_router",
            "order::what_cannot_be_ordered_is_refused_with_its_reason",
        ),
    },
    Control {
        krate: "shard-router",
        broken: "out_of_order",
        protection: "a shard whose rows step back is an error",
        test: Test::live("shard_router", "order::a_shard_that_steps_back_is_named"),
    },
    Control {
        krate: "shard-router",
        broken: "no_resume",
        protection: "a second run of schema changes goes on where the first has stopped",
        test: Test::live(
            "shard_router",
            "schema::a_failure_on_the_second_of_three_is_shown_and_a_second_run_goes_on",
        ),
    },
    Control {
        krate: "shard-router",
        broken: "no_fingerprint",
        protection: "schemas are compared at the end",
        test: Test::live(
            "shard_router",
            "schema::shards_that_end_with_different_schemas_are_named",
        ),
    },
    Control {
        krate: "shard-router",
        broken: "session_state",
        protection: "a statement that begins a transaction or keeps something in its session is refused by itself",
        test: Test::live(
            "shard_router",
            "sessions::a_statement_cannot_begin_a_transaction_for_the_next_caller",
        ),
    },
    Control {
        krate: "shard-router",
        broken: "blind_commit",
        protection: "a commit of what was rolled back is an error, whoever has heard of the failure",
        test: Test::live(
            "shard_router",
            "sessions::a_commit_of_what_was_rolled_back_is_an_error",
        ),
    },
    Control {
        krate: "shard-router",
        broken: "reuse_broken",
        protection: "a connection that the driver has stopped reading in the middle is not reused",
        test: Test::live("shard_router", "sessions::a_copy_does_not_take_the_connection_along"),
    },
    Control {
        krate: "shard-router",
        broken: "stale_plans",
        protection: "statements that a schema change has made stale are prepared anew everywhere",
        test: Test::live(
            "shard_router",
            "sessions::a_schema_change_is_noticed_by_transactions_and_scatters",
        ),
    },
    Control {
        krate: "shard-router",
        broken: "check_queue",
        protection: "looking at a shard does not wait for those who use it",
        test: Test::live("shard_router", "pressure::a_busy_pool_is_no_shard_that_is_down"),
    },
    Control {
        krate: "shard-router",
        broken: "idle_evidence",
        protection: "an idle connection is no evidence that its server answers",
        test: Test::live(
            "shard_router",
            "pressure::transactions_and_scatters_open_the_breaker_too",
        ),
    },
    Control {
        krate: "shard-router",
        broken: "late_is_fine",
        protection: "scatters that are not answered open the breaker",
        test: Test::live(
            "shard_router",
            "pressure::transactions_and_scatters_open_the_breaker_too",
        ),
    },
    Control {
        krate: "shard-router",
        broken: "each_looks",
        protection: "those who wait for a look at a silent shard share what it finds",
        test: Test::live("shard_router", "pressure::many_callers_of_a_silent_shard_wait_once"),
    },
    Control {
        krate: "shard-router",
        broken: "kept_handle",
        protection: "a handle that is kept asks its shard again",
        test: Test::live("shard_router", "pressure::a_kept_handle_looks_again"),
    },
    Control {
        krate: "shard-router",
        broken: "patient_query",
        protection: "a statement on a silent server ends",
        test: Test::live(
            "shard_router",
            "pressure::a_statement_on_a_silent_server_ends_in_time",
        ),
    },
    Control {
        krate: "shard-router",
        broken: "patient_transaction",
        protection: "a transaction on a silent server ends",
        test: Test::live("shard_router", "pressure::a_transaction_on_a_silent_server_ends"),
    },
    Control {
        krate: "shard-router",
        broken: "patient_stream",
        protection: "a stream from a silent server ends",
        test: Test::live("shard_router", "pressure::a_stream_from_a_silent_server_ends"),
    },
    Control {
        krate: "shard-router",
        broken: "batch_admission",
        protection: "a batch begins no work on a shard that was not looked at",
        test: Test::live(
            "shard_router",
            "pressure::a_batch_begins_no_work_before_its_shard_was_looked_at",
        ),
    },
    Control {
        krate: "shard-router",
        broken: "one_epoch",
        protection: "of two plans of one map, one is installed",
        test: Test::live(
            "shard_router",
            "refusals::two_plans_of_one_map_are_not_both_installed",
        ),
    },
    Control {
        krate: "shard-router",
        broken: "other_owners",
        protection: "a shard must own what the map of its epoch says",
        test: Test::live("shard_router", "refusals::another_map_of_the_same_epoch_is_refused"),
    },
    Control {
        krate: "shard-router",
        broken: "varchar_length",
        protection: "a column that stores another key than it was given is refused",
        test: Test::live("shard_router", "refusals::columns_that_cannot_be_keys"),
    },
    Control {
        krate: "shard-router",
        broken: "watch_churn",
        protection: "a bad topology does not end the listening to better ones",
        test: Test::live("shard_router", "control::a_bad_topology_does_not_end_the_listening"),
    },
    Control {
        krate: "shard-router",
        broken: "scatter_text",
        protection: "a scatter's text is one SELECT without what would be of each shard by itself",
        test: Test::live("shard_router", "scatter::the_text_of_a_scatter"),
    },
    Control {
        krate: "shard-router",
        broken: "own_commit",
        protection: "a schema change has no COMMIT of its own",
        test: Test::live(
            "shard_router",
            "schema::a_change_with_a_commit_of_its_own_is_refused",
        ),
    },
    Control {
        krate: "shard-router",
        broken: "session_of_changes",
        protection: "a schema change sets nothing for the next, nor for who has the connection then",
        test: Test::live(
            "shard_router",
            "schema::a_change_does_not_set_the_session_of_the_next",
        ),
    },
    Control {
        krate: "shard-router",
        broken: "shown_lines",
        protection: "an error of a topology's text shows no line of it",
        test: Test::shard_router("topology", "no_error_shows_a_secret"),
    },
    Control {
        krate: "shard-router",
        broken: "shown_connection",
        protection: "an error of a connection string shows nothing of it",
        test: Test::shard_router("topology", "no_connection_string_is_shown"),
    },
];
