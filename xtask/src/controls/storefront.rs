//! Of the storefront.

use super::{Control, Test};

pub(super) const CONTROLS: &[Control] = &[
    Control {
        krate: "storefront",
        broken: "no_detached_write",
        protection: "a write does not end with the client that sent it",
        test: Test {
            package: "storefront",
            target: ["--bin", "storefront"],
            name: "write::tests::a_client_that_hangs_up_does_not_stop_the_write",
        },
    },
    Control {
        krate: "storefront",
        broken: "no_detached_write",
        protection: "a client that hangs up leaves no old page, on a real server",
        test: Test::live("storefront", "a_client_that_hangs_up_leaves_no_old_page"),
    },
];
