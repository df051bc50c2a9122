//! Every test there is.

use std::process::Command;

use testbed::locate::Need;

use crate::command::{root, step, target};
use crate::{budget, controls, rfc, servers};

/// The features of each published crate, to be built one by one.
const FEATURES: &[(&str, &[&str])] = &[
    (
        "autoscale-policy",
        &[
            "serde",
            "toml",
            "schedule",
            "layer",
            "drain",
            "cpu",
            "metrics",
            "controller",
            "processes",
            "exec",
            "redis",
            "conformance",
            "sim",
        ],
    ),
    (
        "cache-aside",
        &[
            "moka",
            "quick",
            "redis",
            "postcard",
            "json",
            "zstd",
            "http",
            "metrics",
            "conformance",
            "test-util",
        ],
    ),
    (
        "jwt-refresh",
        &[
            "memory",
            "redis",
            "postgres",
            "remote-jwks",
            "axum",
            "metrics",
            "conformance",
            "test-util",
        ],
    ),
    ("rw-split", &["metrics", "test-util"]),
    (
        "shard-router",
        &[
            "postgres",
            "toml",
            "cli",
            "serde",
            "ring",
            "crc16",
            "siphash",
            "xxh3",
            "uuid",
            "metrics",
            "conformance",
            "test-util",
        ],
    ),
];

/// Examples that check themselves and end by themselves.
const EXAMPLES: &[(&str, &[&str])] = &[
    ("autoscale-policy", &["by_hand", "against_the_hpa", "drain_under_load"]),
    ("cache-aside", &["typed_loader", "tower_layer", "stale_while_down", "stale_set"]),
    ("jwt-refresh", &["issue_and_verify", "login_axum", "login_hyper", "remote_verifier"]),
    ("rw-split", &["route", "two_minutes", "axum_cookie", "job_queue"]),
    ("shard-router", &["placement", "two_shards", "tower_service"]),
];

/// Crates that are fuzzed in the long test.
const FUZZED: [&str; 2] = ["cache-aside", "jwt-refresh"];

pub(crate) fn run(yes: bool) -> Result<(), String> {
    servers::provide(&[Need::Postgres, Need::Redis, Need::PgBouncer], yes)?;
    step(&["test", "--workspace", "--all-features"])?;
    for (krate, features) in FEATURES {
        let lib = ["clippy", "--quiet", "--package", krate, "--lib", "--no-default-features"];
        let deny = ["--", "-D", "warnings"];
        step(&[&lib[..], &deny].concat())?;
        for feature in *features {
            step(&[&lib[..], &["--features", feature], &deny].concat())?;
        }
    }
    // All at once: by itself, each package would have its dependencies built with other
    // features.
    step(&["build", "--workspace", "--all-features", "--examples"])?;
    for (krate, examples) in EXAMPLES {
        for example in *examples {
            run_example(krate, example)?;
        }
    }
    // Each is a workspace of its own, which the long test builds with the lock file that is there.
    for krate in FUZZED {
        let manifest = format!("{krate}/fuzz/Cargo.toml");
        step(&["tree", "--locked", "--depth", "0", "--manifest-path", &manifest])?;
    }
    rfc::run()?;
    budget::check()?;
    controls::run_after_all_tests()
}

fn run_example(krate: &str, name: &str) -> Result<(), String> {
    println!("\n== the example {name} of {krate}");
    let program = target().join("debug/examples").join(name);
    let status = Command::new(&program).current_dir(root()).status();
    let status = status.map_err(|error| format!("{}: {error}", program.display()))?;
    if status.success() {
        Ok(())
    } else {
        Err(format!("the example {name} ended with {status}"))
    }
}
