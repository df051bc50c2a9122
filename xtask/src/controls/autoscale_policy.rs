//! Of `autoscale-policy`.

use super::{Control, Test};

pub(super) const CONTROLS: &[Control] = &[
    Control {
        krate: "autoscale-policy",
        broken: "use_stale",
        protection: "a sample that is too old, or from the future, does not count",
        test: Test::autoscale_policy("core", "properties::never_in_on_stale_samples"),
    },
    Control {
        krate: "autoscale-policy",
        broken: "no_cooldown",
        protection: "cooldowns hold",
        test: Test::autoscale_policy("core", "policies::cooldowns_run_from_the_last_success"),
    },
    Control {
        krate: "autoscale-policy",
        broken: "no_hold_down",
        protection: "a backlog is scaled in to the most that was wanted lately",
        test: Test::autoscale_policy(
            "core",
            "policies::a_backlog_asks_for_workers_from_zero_on",
        ),
    },
    Control {
        krate: "autoscale-policy",
        broken: "in_while_warming",
        protection: "nothing is scaled in while instances warm",
        test: Test::autoscale_policy("core", "properties::never_in_while_warming"),
    },
    Control {
        krate: "autoscale-policy",
        broken: "breach",
        protection: "nothing is scaled in that would have to be scaled out again",
        test: Test::autoscale_policy(
            "core",
            "policies::no_scaling_in_that_would_have_to_be_undone",
        ),
    },
    Control {
        krate: "autoscale-policy",
        broken: "forget_pending",
        protection: "relative steps start from what was asked for",
        test: Test::autoscale_policy(
            "core",
            "faults::relative_steps_start_from_what_was_asked_for",
        ),
    },
    Control {
        krate: "autoscale-policy",
        broken: "clock_goes_back",
        protection: "a clock that goes back is time that stands still",
        test: Test::autoscale_policy(
            "core",
            "faults::a_clock_that_goes_back_is_time_that_stands_still",
        ),
    },
    Control {
        krate: "autoscale-policy",
        broken: "clock_stays_back",
        protection: "a clock that was far ahead for a moment does not stop it for years",
        test: Test::autoscale_policy(
            "core",
            "faults::a_clock_that_stays_back_was_wrong_before",
        ),
    },
    Control {
        krate: "autoscale-policy",
        broken: "stuck_is_capacity",
        protection: "instances that never become ready are no capacity",
        test: Test::autoscale_policy(
            "core",
            "faults::instances_that_never_become_ready_are_no_capacity_and_no_runaway",
        ),
    },
    Control {
        krate: "autoscale-policy",
        broken: "invalid_does_not_block",
        protection: "as in the HPA, a metric that is invalid blocks scaling in",
        test: Test::autoscale_policy("hpa", "several::an_invalid_one_blocks_scaling_in_only"),
    },
    Control {
        krate: "autoscale-policy",
        broken: "turned",
        protection: "as in the HPA, pods without a metric never turn a decision round",
        test: Test::autoscale_policy("hpa", "missing::in_with_missing_pods"),
    },
    Control {
        krate: "autoscale-policy",
        broken: "no_stabilisation",
        protection: "as in the HPA, scaling in is stabilised over its window",
        test: Test::autoscale_policy("hpa", "behavior::by_default_in_to_the_most_of_300_s"),
    },
    Control {
        krate: "autoscale-policy",
        broken: "no_first_recommendation",
        protection: "as in the HPA, what is there at the beginning is the first recommendation",
        test: Test::autoscale_policy(
            "hpa",
            "behavior::the_count_at_the_beginning_is_the_first_recommendation",
        ),
    },
    Control {
        krate: "autoscale-policy",
        broken: "never_steady",
        protection: "load that jumps around a level makes no more changes than an HPA",
        test: Test::autoscale_policy(
            "sim",
            "on_nervous_load_predictive_is_around_the_level_and_changes_little",
        ),
    },
    Control {
        krate: "autoscale-policy",
        broken: "in_flight_leaks",
        protection: "a request that is answered or given up is not in flight",
        test: Test::autoscale_policy("layers", "counts_what_is_under_way"),
    },
    Control {
        krate: "autoscale-policy",
        broken: "recommend_acts",
        protection: "a recommendation begins no cooldown",
        test: Test::autoscale_policy("layers", "a_recommendation_changes_nothing"),
    },
    Control {
        krate: "autoscale-policy",
        broken: "no_connection_close",
        protection: "kept connections are told to close before the instance does",
        test: Test::autoscale_policy(
            "layers",
            "serves_on_while_the_word_spreads_and_refuses_then",
        ),
    },
    Control {
        krate: "autoscale-policy",
        broken: "always_ready",
        protection: "a load balancer hears of the end",
        test: Test::live("autoscale_policy", "drain::no_request_fails_over_fifty_restarts"),
    },
    Control {
        krate: "autoscale-policy",
        broken: "no_propagation",
        protection: "an instance serves on until the load balancer has heard of the end",
        test: Test::live("autoscale_policy", "drain::no_request_fails_over_fifty_restarts"),
    },
    Control {
        krate: "autoscale-policy",
        broken: "no_handover",
        protection: "what crosses the word of the end is served",
        test: Test::autoscale_policy(
            "layers",
            "serves_on_while_the_word_spreads_and_refuses_then",
        ),
    },
    Control {
        krate: "autoscale-policy",
        broken: "endless_body",
        protection: "a body of which there is always more ends at the deadline",
        test: Test::autoscale_policy(
            "endings",
            "a_body_of_which_there_is_always_more_ends_at_the_deadline",
        ),
    },
    Control {
        krate: "autoscale-policy",
        broken: "no_wait",
        protection: "requests under way are waited for",
        test: Test::autoscale_policy(
            "layers",
            "serves_on_while_the_word_spreads_and_refuses_then",
        ),
    },
    Control {
        krate: "autoscale-policy",
        broken: "dry_run_acts",
        protection: "a controller only recommends until it is told to act",
        test: Test::autoscale_policy(
            "controller",
            "it_only_recommends_until_it_is_told_to_act",
        ),
    },
    Control {
        krate: "autoscale-policy",
        broken: "blind",
        protection: "without a list of instances nothing is decided",
        test: Test::autoscale_policy("controller", "without_a_roster_nothing_is_decided"),
    },
    Control {
        krate: "autoscale-policy",
        broken: "silent_sources",
        protection: "a source that could not be asked is told to the policy",
        test: Test::autoscale_policy(
            "controller",
            "a_source_that_is_gone_hides_no_other_and_scales_nothing_in",
        ),
    },
    Control {
        krate: "autoscale-policy",
        broken: "never_in_doubt",
        protection: "a change that nobody waited for is looked at again",
        test: Test::autoscale_policy(
            "controller",
            "a_change_that_nobody_waited_for_is_looked_at_again",
        ),
    },
    Control {
        krate: "autoscale-policy",
        broken: "no_backoff",
        protection: "processes that crash at once are started later and later",
        test: Test::live(
            "autoscale_policy",
            "processes::what_crashes_at_once_is_not_started_all_the_time",
        ),
    },
    Control {
        krate: "autoscale-policy",
        broken: "restart_at_once",
        protection: "a restart one by one waits for the new process",
        test: Test::live(
            "autoscale_policy",
            "processes::a_restart_one_by_one_never_has_one_less",
        ),
    },
    Control {
        krate: "autoscale-policy",
        broken: "no_grace",
        protection: "a process that does not end is killed",
        test: Test::live(
            "autoscale_policy",
            "processes::a_worker_that_does_not_end_is_killed_after_its_grace",
        ),
    },
];
