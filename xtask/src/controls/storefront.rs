//! Of the storefront.

use super::{Control, Test};

pub(super) const CONTROLS: &[Control] = &[
    Control {
        krate: "storefront",
        broken: "no_detached_write",
        protection: "a write does not end with the client that sent it",
        test: Test::in_storefront(
            "write::tests::a_client_that_hangs_up_does_not_stop_the_write",
        ),
    },
    Control {
        krate: "storefront",
        broken: "no_detached_write",
        protection: "a client that hangs up leaves no old page, on a real server",
        test: Test::live("storefront", "a_client_that_hangs_up_leaves_no_old_page"),
    },
    Control {
        krate: "storefront",
        broken: "no_session_in_task",
        protection: "a write in a task of its own is its session's",
        test: Test::live(
            "storefront",
            "replicas::a_user_reads_what_the_user_wrote_on_every_process",
        ),
    },
    Control {
        krate: "storefront",
        broken: "no_version_floor",
        protection: "a load of the cache reads where the last change is",
        test: Test::live(
            "storefront",
            "replicas::what_is_cached_for_all_is_not_older_than_its_last_change",
        ),
    },
    Control {
        krate: "storefront",
        broken: "no_shard_floor",
        protection: "a cached summary of orders has the floor of their shard",
        test: Test::live(
            "storefront",
            "clusters::a_cached_profile_is_not_older_than_what_its_user_wrote",
        ),
    },
    Control {
        krate: "storefront",
        broken: "no_slot_check",
        protection: "a shard refuses orders of another shard's users",
        test: Test::live("storefront", "shards::a_shard_refuses_what_belongs_on_the_other"),
    },
    Control {
        krate: "storefront",
        broken: "no_stock_first",
        protection: "an order is committed only when its stock was taken",
        test: Test::live(
            "storefront",
            "shards::an_order_is_committed_when_its_stock_was_taken",
        ),
    },
    Control {
        krate: "storefront",
        broken: "no_settling",
        protection: "an order whose stock was taken is placed, whoever dies",
        test: Test::live(
            "storefront",
            "shards::an_order_that_was_accepted_is_placed_once_whoever_dies",
        ),
    },
    Control {
        krate: "storefront",
        broken: "no_owner",
        protection: "users read and change what is theirs",
        test: Test::in_storefront("login::tests::only_the_right_tokens_come_through"),
    },
    Control {
        krate: "storefront",
        broken: "no_decoy",
        protection: "an unknown user's password takes as long to check as another's",
        test: Test::in_storefront("login::passwords::tests::nobody_takes_as_long_as_somebody"),
    },
    Control {
        krate: "storefront",
        broken: "no_login_limit",
        protection: "a password is not guessed without end",
        test: Test::in_storefront("login::tests::who_tries_too_often_is_told_to_wait"),
    },
];
