//! Of the front.

use super::{Control, Test};

pub(super) const CONTROLS: &[Control] = &[
    Control {
        krate: "front",
        broken: "no_retry",
        protection: "what may be repeated goes to another worker",
        test: Test::live(
            "front",
            "a_worker_that_is_killed_costs_no_request_that_may_be_repeated",
        ),
    },
    Control {
        krate: "front",
        broken: "repeat_all",
        protection: "what may not be repeated is not",
        test: Test::live("front", "what_may_not_be_repeated_is_not"),
    },
    Control {
        krate: "front",
        broken: "repeat_late",
        protection: "a change that takes long is not asked of a second worker",
        test: Test::live("front", "a_change_that_takes_long_is_not_asked_of_a_second_worker"),
    },
    Control {
        krate: "front",
        broken: "no_wait",
        protection: "a moment without any worker is waited for",
        test: Test::live("front", "a_moment_without_any_worker_is_waited_for"),
    },
    Control {
        krate: "front",
        broken: "leave_all_out",
        protection: "not more than half of the workers are left out",
        test: Test::in_front("outlier::tests::not_more_than_half_of_them_are_left_out"),
    },
];
