//! How many crates a user of each published crate pays for.

use std::collections::BTreeSet;

use crate::command::cargo;

/// The crate itself included, and what else is passed to cargo: nothing is its default
/// features.
const BUDGETS: &[(&str, &[&str], usize)] = &[
    ("autoscale-policy", &[], 45),
    ("autoscale-policy", &["--no-default-features"], 5),
    ("cache-aside", &[], 50),
    ("jwt-refresh", &[], 45),
    ("rw-split", &[], 90),
    ("shard-router", &[], 90),
];

/// Fails if a crate has more dependencies than its budget.
pub(crate) fn check() -> Result<(), String> {
    println!();
    for (krate, features, budget) in BUDGETS {
        let tree = ["tree", "--package", krate, "--edges", "normal", "--prefix", "none"];
        let output = cargo().args(tree).args(*features).output();
        let output = output.map_err(|error| format!("cargo could not be started: {error}"))?;
        let text = String::from_utf8_lossy(&output.stdout);
        let crates: BTreeSet<&str> =
            text.lines().map(|line| line.trim_end_matches(" (*)")).collect();
        let with = features.join(" ");
        println!("== {krate} {with} brings {} crates, of {budget} at most", crates.len());
        if !output.status.success() || crates.is_empty() || crates.len() > *budget {
            return Err(format!("{krate} is over its budget of {budget} crates:\n{text}"));
        }
    }
    Ok(())
}
