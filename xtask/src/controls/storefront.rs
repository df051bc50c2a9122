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
        broken: "outbox_after_commit",
        protection: "an order and what is to be told of it are committed together",
        test: Test::live("confirmations", "an_order_and_what_is_to_be_told_of_it_are_one"),
    },
    Control {
        krate: "storefront",
        broken: "told_again",
        protection: "an order that is written once more is not told once more",
        test: Test::live("confirmations", "an_order_that_is_placed_again_is_not_told_again"),
    },
    Control {
        krate: "storefront",
        broken: "push_once",
        protection: "an order is put into the queue until it is confirmed",
        test: Test::live("confirmations", "queue::what_redis_has_lost_is_put_there_again"),
    },
    Control {
        krate: "storefront",
        broken: "no_claim",
        protection: "a confirmation is one worker's at a time",
        test: Test::live(
            "confirmations",
            "queue::a_queue_that_goes_back_in_time_has_nothing_sent_twice",
        ),
    },
    Control {
        krate: "storefront",
        broken: "record_twice",
        protection: "an order is taken down as confirmed once, by whose turn it is",
        test: Test::live("confirmations", "workers::whose_turn_is_over_takes_nothing_down"),
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
    Control {
        krate: "storefront",
        broken: "unheard_forgotten",
        protection: "who has changed something that Redis did not hear of is sent past the caches",
        test: Test::live(
            "storefront",
            "shared::a_change_that_redis_has_not_heard_of_is_seen_by_who_has_made_it",
        ),
    },
    Control {
        krate: "storefront",
        broken: "page_of_a_copy",
        protection: "a page that a cache is to keep is not made of a worker's older copy",
        test: Test::live(
            "storefront",
            "pages::a_change_is_in_every_page_that_is_asked_for_after_it",
        ),
    },
];
