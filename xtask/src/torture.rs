//! Checkers in their long form. In the short one they are tests like others.

use testbed::locate::Need;

use crate::command::cargo;
use crate::servers;

struct Torture {
    krate: &'static str,
    needs: &'static [Need],
    /// Of the package `live`: the test's target, and which of its tests.
    target: &'static str,
    filter: &'static str,
    /// What makes them long.
    variables: &'static [(&'static str, &'static str)],
}

const TORTURES: &[Torture] = &[Torture {
    krate: "rw-split",
    needs: &[Need::Postgres],
    target: "rw_split",
    filter: "checker::",
    variables: &[("EARNED_OPERATIONS", "20000")],
}];

/// Runs those of `krate`; fails if one of them does.
pub(crate) fn run(krate: &str, yes: bool) -> Result<(), String> {
    let chosen: Vec<_> = TORTURES.iter().filter(|torture| torture.krate == krate).collect();
    if chosen.is_empty() {
        let mut names: Vec<_> = TORTURES.iter().map(|torture| torture.krate).collect();
        names.dedup();
        let names = names.join(", ");
        return Err(format!("nothing tortures `{krate}`; there is something for {names}"));
    }
    for Torture { needs, target, filter, variables, .. } in chosen {
        servers::provide(needs, yes)?;
        let mut command = cargo();
        command.args(["test", "--release", "--package", "live", "--test", target, filter]);
        command.args(["--", "--nocapture", "--test-threads=1"]);
        command.envs(variables.iter().copied());
        let status = command.status();
        let status = status.map_err(|error| format!("cargo could not be started: {error}"))?;
        if !status.success() {
            return Err(format!("{krate} did not withstand it: {target} {filter} ({status})"));
        }
    }
    Ok(())
}
