//! Of the test bed.

use super::{Control, Test};

pub(super) const CONTROLS: &[Control] = &[Control {
    krate: "testbed",
    broken: "unguarded",
    protection: "a server ends with the process that started it",
    test: Test::live("testbed_cleanup", "a_killed_process_leaves_nothing"),
}];
