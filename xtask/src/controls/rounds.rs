//! Builds and runs the tests of controls.
//!
//! Building is most of the work, and one crate's is mostly one thing after the other. So a
//! round takes one control of each crate and builds them at once; its tests run while the next
//! round is built.

use std::collections::HashSet;
use std::fs::{self, File};
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::sync::Arc;
use std::time::Duration;

use serde_json::Value;
use testbed::Folder;
use testbed::guard::{ExitSignal, spawn_guarded};
use tokio::sync::Semaphore;
use tokio::task::JoinSet;

use super::compiler::{folder, variable, wrapper};
use super::{Control, Ending};
use crate::command::cargo;

/// A test that does not end in this time has failed.
const TEST_LIMIT: Duration = Duration::from_secs(300);
const BUILD_LIMIT: Duration = Duration::from_secs(1_800);

/// Tests that run at once, beside a build: most of them wait most of the time.
const AT_ONCE: usize = 2;

/// Crates of which none uses another.
const APART: [&str; 5] =
    ["autoscale-policy", "cache-aside", "jwt-refresh", "rw-split", "shard-router"];

/// Tests of `live` that start programs of this workspace, which the next build exchanges, or
/// that use more than one crate.
const ALONE: [&str; 7] = [
    "autoscale_policy::",
    "confirmations::",
    "fleet::",
    "front::",
    "rw_split::cached::",
    "shard_router::cli::",
    "storefront::",
];

/// Whether what a control takes out is there.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(super) enum Protection {
    In,
    Out,
}

/// How each test ends; `told` hears it as soon as it has.
pub(super) async fn endings(
    chosen: &[&'static Control],
    protection: Protection,
    told: impl Fn(&Control, Ending),
) -> Result<Vec<(&'static Control, Ending)>, String> {
    let (mut ended, mut number) = (Vec::new(), 0);
    let mut running: JoinSet<Ran> = JoinSet::new();
    let room = Arc::new(Semaphore::new(AT_ONCE));
    for round in rounds(chosen) {
        let alone = round.iter().any(|control| is_alone(control));
        while alone && !running.is_empty() {
            take(&mut running, &told, &mut ended).await?;
        }
        for (control, program) in build(&round, protection).await? {
            if alone {
                let ending = run(control, &program, protection).await?;
                told(control, ending);
                ended.push((control, ending));
            } else {
                number += 1;
                let (kept, room) = (program.kept(number)?, Arc::clone(&room));
                running.spawn(async move {
                    let _one = room.acquire_owned().await.expect("it is never closed");
                    let ending = run(control, &kept, protection).await;
                    // Disk is all that it costs if it stays.
                    let _ = fs::remove_file(&kept.path);
                    Ok((control, ending?))
                });
            }
        }
        // What waits is not to become more and more.
        while running.len() > 2 * AT_ONCE {
            take(&mut running, &told, &mut ended).await?;
        }
    }
    while !running.is_empty() {
        take(&mut running, &told, &mut ended).await?;
    }
    Ok(ended)
}

type Ran = Result<(&'static Control, Ending), String>;

async fn take(
    running: &mut JoinSet<Ran>,
    told: &impl Fn(&Control, Ending),
    ended: &mut Vec<(&'static Control, Ending)>,
) -> Result<(), String> {
    let Some(ran) = running.join_next().await else { return Ok(()) };
    let (control, ending) = ran.map_err(|error| error.to_string())??;
    told(control, ending);
    ended.push((control, ending));
    Ok(())
}

/// Those that can be built at once, in the order of the tables.
fn rounds(chosen: &[&'static Control]) -> Vec<Vec<&'static Control>> {
    let mut left: Vec<_> = chosen.to_vec();
    let mut rounds = Vec::new();
    while let Some(first) = left.first().copied() {
        if is_alone(first) {
            left.remove(0);
            rounds.push(vec![first]);
            continue;
        }
        let mut crates = HashSet::new();
        let (round, rest) = left
            .into_iter()
            .partition(|control| !is_alone(control) && crates.insert(control.krate));
        rounds.push(round);
        left = rest;
    }
    rounds
}

fn is_alone(control: &Control) -> bool {
    let test = &control.test;
    let [kind, file] = test.target;
    let name = format!("{file}::{}", test.name);
    kind != "--test"
        || !APART.contains(&control.krate)
        || (test.package == "live" && ALONE.iter().any(|alone| name.starts_with(alone)))
}

/// A test program, and the folder that it runs in.
#[derive(Clone, Debug)]
struct Program {
    path: PathBuf,
    folder: PathBuf,
}

impl Program {
    /// A copy, for the next build exchanges it.
    fn kept(&self, number: usize) -> Result<Self, String> {
        let path = folder().join(format!("test-{number}"));
        let copied = fs::copy(&self.path, &path);
        copied.map_err(|error| format!("{}: {error}", path.display()))?;
        Ok(Self { path, folder: self.folder.clone() })
    }
}

/// Builds the tests of a round.
async fn build(
    round: &[&'static Control],
    protection: Protection,
) -> Result<Vec<(&'static Control, Program)>, String> {
    let mut build = cargo();
    // As the tests are built without a control, so that what they depend on is there
    // already: with one package only, its features would be others.
    build.args(["test", "--quiet", "--workspace", "--all-features"]);
    for control in round {
        build.args(control.test.target);
    }
    build.args(["--no-run", "--message-format=json-render-diagnostics"]);
    for control in round {
        without(control, protection, &mut build)?;
    }
    let (_, output) = bounded(build, BUILD_LIMIT).await?;
    let program = |control: &&'static Control| {
        let program = built(&output, control.test.package, control.test.target);
        let program = program.map(|program| (*control, program));
        program.ok_or_else(|| format!("`{}` was not built:\n{output}", control.test))
    };
    round.iter().map(program).collect()
}

/// Tells the compiler what to take out.
fn without(
    control: &Control,
    protection: Protection,
    command: &mut Command,
) -> Result<(), String> {
    // For programs that the test builds itself, too.
    command.env("RUSTC_WORKSPACE_WRAPPER", wrapper()?).env("RUST_BACKTRACE", "0");
    if protection == Protection::Out {
        command.env(variable(control.krate), control.broken);
        if is_alone(control) {
            // What is taken out is in the crate, or in how the test uses it.
            command.env(variable(control.test.package), control.broken);
        }
    }
    Ok(())
}

/// By itself, and not by cargo, which would look at the whole workspace again.
async fn run(
    control: &Control,
    program: &Program,
    protection: Protection,
) -> Result<Ending, String> {
    let mut test = Command::new(&program.path);
    test.args(["--exact", control.test.name]).current_dir(&program.folder);
    without(control, protection, &mut test)?;
    let (status, output) = bounded(test, TEST_LIMIT).await?;
    let Some(success) = status else { return Ok(Ending::Hung) };
    // A test that is not there is no failing test.
    let ran = output.contains("running 1 test");
    match (ran, success) {
        (true, true) => Ok(Ending::Passed),
        (true, false) => Ok(Ending::Failed),
        (false, _) => Err(format!("`{}` did not run:\n{output}", control.test)),
    }
}

/// The test program of `package` among what cargo says that it has built. Folders are called
/// as packages.
fn built(said: &str, package: &str, [kind, name]: [&str; 2]) -> Option<Program> {
    said.lines().find_map(|line| {
        let artifact: Value = serde_json::from_str(line).ok()?;
        let is_test = artifact["profile"]["test"].as_bool()?;
        let path = artifact["executable"].as_str().filter(|_| is_test)?;
        let folder = Path::new(artifact["manifest_path"].as_str()?).parent()?;
        let is_it = kind != "--test" || artifact["target"]["name"] == name;
        (is_it && folder.file_name()? == package)
            .then(|| Program { path: path.into(), folder: folder.into() })
    })
}

/// Whether the command succeeded, or nothing if it had to be killed, and what it
/// printed. Whatever it has started ends with it.
async fn bounded(
    mut command: Command,
    limit: Duration,
) -> Result<(Option<bool>, String), String> {
    let text = |error: testbed::Error| error.to_string();
    let folder = Folder::new("control").await.map_err(text)?;
    let path = folder.path().join("output");
    let printed = |error| format!("{}: {error}", path.display());
    let output = File::create(&path).map_err(printed)?;
    let errors = output.try_clone().map_err(printed)?;
    command.stdin(Stdio::null()).stdout(output).stderr(errors);
    let process = spawn_guarded(command, ExitSignal::Kill).await.map_err(text)?;
    let status = tokio::time::timeout(limit, process.wait()).await.ok();
    if status.is_none() {
        process.kill().await;
    }
    let output = fs::read(&path).map_err(printed)?;
    let output = String::from_utf8_lossy(&output).into_owned();
    Ok((status.map(|status| status.success()), output))
}

#[cfg(test)]
mod tests {
    use super::super::all;
    use super::*;

    #[test]
    fn every_control_has_its_round_and_no_round_breaks_a_crate_twice() {
        let chosen: Vec<_> = all().collect();
        let rounds = rounds(&chosen);
        assert_eq!(rounds.iter().map(Vec::len).sum::<usize>(), chosen.len());
        assert!(rounds.len() < chosen.len());
        for round in rounds {
            let crates: HashSet<_> = round.iter().map(|control| control.krate).collect();
            assert_eq!(crates.len(), round.len());
            assert!(round.len() == 1 || !round.iter().any(|control| is_alone(control)));
        }
    }
}
