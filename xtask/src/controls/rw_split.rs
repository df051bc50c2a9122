//! Of `rw-split`.

use super::{Control, Test};

pub(super) const CONTROLS: &[Control] = &[
    Control {
        krate: "rw-split",
        broken: "random_routing",
        protection: "a read goes only to a replica that has what the session needs",
        test: Test::live("rw_split", "checker::scenarios::under_a_delay_of_1_s"),
    },
    Control {
        krate: "rw-split",
        broken: "pin_window",
        protection: "positions are tracked, instead of a pin of 2 s while replicas are 3 s behind",
        test: Test::live(
            "rw_split",
            "checker::scenarios::under_a_delay_of_3_s_and_longer_thought",
        ),
    },
    Control {
        krate: "rw-split",
        broken: "one_floor",
        protection: "a session has a floor for each cluster that it is on",
        test: Test::live("rw_split", "clusters::a_session_reads_its_writes_on_two_clusters"),
    },
    Control {
        krate: "rw-split",
        broken: "one_floor",
        protection: "a user's session has a floor for each database and shard of a shop",
        test: Test::live(
            "storefront",
            "clusters::users_read_their_writes_on_every_cluster_and_process",
        ),
    },
    Control {
        krate: "rw-split",
        broken: "current_lsn",
        protection: "the insert position is captured, not the written one",
        test: Test::live("rw_split", "basics::an_asynchronous_commit_is_read_back"),
    },
    Control {
        krate: "rw-split",
        broken: "flush_lsn",
        protection: "the insert position is captured, not the flushed one",
        test: Test::live("rw_split", "basics::an_asynchronous_commit_is_read_back"),
    },
    Control {
        krate: "rw-split",
        broken: "lsn_by_setting",
        protection: "the insert position is captured whatever synchronous_commit says by then",
        test: Test::live(
            "rw_split",
            "basics::a_commit_that_was_made_asynchronous_by_its_transaction_is_read_back",
        ),
    },
    Control {
        krate: "rw-split",
        broken: "capture_first",
        protection: "the position is captured behind the commit",
        test: Test::live("rw_split", "basics::a_write_is_read_back_while_replay_is_paused"),
    },
    Control {
        krate: "rw-split",
        broken: "unprepared_write",
        protection: "a write is prepared before its capture is sent behind it",
        test: Test::live("rw_split", "basics::a_write_is_read_back_while_replay_is_paused"),
    },
    Control {
        krate: "rw-split",
        broken: "no_normalise",
        protection: "a position behind a page's header is put back",
        test: Test::live(
            "rw_split",
            "basics::a_floor_behind_a_header_is_reached_on_an_idle_primary",
        ),
    },
    Control {
        krate: "rw-split",
        broken: "cached_clamp",
        protection: "a token ahead of the known position is judged by the primary itself",
        test: Test::live("rw_split", "checker::scenarios::under_a_delay_of_1_s"),
    },
    Control {
        krate: "rw-split",
        broken: "cached_read_floor",
        protection: "who leaves a replica takes along a position asked at that moment",
        test: Test::live(
            "rw_split",
            "basics::a_session_does_not_go_back_when_its_replica_dies",
        ),
    },
    Control {
        krate: "rw-split",
        broken: "one_cookie",
        protection: "processes set write cookies of their own",
        test: Test::live("rw_split", "checker::scenarios::racing_answers_keep_both_writes"),
    },
    Control {
        krate: "rw-split",
        broken: "bare_lsn",
        protection: "a replica is trusted only on the new timeline",
        test: Test::live("rw_split", "checker::scenarios::under_a_split"),
    },
    Control {
        krate: "rw-split",
        broken: "no_version_floor",
        protection: "a cache's load is given the position that was invalidated",
        test: Test::live(
            "rw_split",
            "cached::a_load_of_another_process_is_not_older_than_the_invalidation",
        ),
    },
    Control {
        krate: "rw-split",
        broken: "no_version_floor",
        protection: "the same while loads and writes overlap",
        test: Test::live(
            "rw_split",
            "cached::no_read_that_begins_after_an_invalidation_is_older",
        ),
    },
    Control {
        krate: "rw-split",
        broken: "postmaster_start",
        protection: "a replica that recovers from a crash under its postmaster is another one",
        test: Test::live(
            "rw_split",
            "hardening::a_replica_whose_process_was_killed_is_another_one",
        ),
    },
    Control {
        krate: "rw-split",
        broken: "last_answer",
        protection: "a transaction is not committed beside a statement that failed",
        test: Test::live(
            "rw_split",
            "hardening::a_transaction_with_a_failed_statement_beside_others_is_not_committed",
        ),
    },
    Control {
        krate: "rw-split",
        broken: "unread_writes",
        protection: "`currval` and locks of a session are refused within writes",
        test: Test::live(
            "rw_split",
            "hardening::the_state_of_a_session_is_refused_in_writes_too",
        ),
    },
    Control {
        krate: "rw-split",
        broken: "silent_failure",
        protection: "what a failed write has told of the primary is read back",
        test: Test::live("rw_split", "hardening::what_a_failed_write_has_told_is_read_back"),
    },
];
