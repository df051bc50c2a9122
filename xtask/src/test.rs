//! Every test there is.

use crate::command::step;
use crate::controls;

/// The features of each published crate, to be built one by one.
const FEATURES: &[(&str, &[&str])] =
    &[("cache-aside", &["moka", "quick", "metrics", "conformance", "test-util"])];

pub(crate) fn run() -> Result<(), String> {
    step(&["test", "--workspace", "--all-features"])?;
    for (krate, features) in FEATURES {
        let lib = ["clippy", "--quiet", "--package", krate, "--lib", "--no-default-features"];
        let deny = ["--", "-D", "warnings"];
        step(&[&lib[..], &deny].concat())?;
        for feature in *features {
            step(&[&lib[..], &["--features", feature], &deny].concat())?;
        }
    }
    controls::run(None)
}
