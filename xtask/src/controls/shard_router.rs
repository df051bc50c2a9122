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
        broken: "shown_line",
        protection: "a mistake in a topology is told without its line",
        test: Test::shard_router("topology", "a_mistake_beside_a_password_is_told_without_it"),
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
];
