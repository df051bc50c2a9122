//! Takes each protection out, one at a time, and shows that a test notices.

mod cache_aside;
mod jwt_refresh;
mod rw_split;
mod shard_router;
mod storefront;
mod test_bed;

use std::fs::File;
use std::io::Write;
use std::path::PathBuf;
use std::process::{Command, Stdio};
use std::time::Duration;
use std::{fmt, fs};

use testbed::Folder;
use testbed::guard::{ExitSignal, spawn_guarded};
use testbed::locate::Need;

use crate::command::{cargo, runtime, target};
use crate::servers;

/// A test that does not end in this time has failed.
const LIMIT: Duration = Duration::from_secs(300);

/// One protection.
struct Control {
    krate: &'static str,
    /// The value of `--cfg broken` that takes it out.
    broken: &'static str,
    protection: &'static str,
    test: Test,
}

/// The test that must fail.
struct Test {
    package: &'static str,
    /// What cargo is to run of it: `["--test", "overlap"]`.
    target: [&'static str; 2],
    name: &'static str,
}

impl Test {
    /// One in `cache-aside/tests`.
    const fn cache_aside(file: &'static str, name: &'static str) -> Self {
        Self { package: "cache-aside", target: ["--test", file], name }
    }

    /// One in `jwt-refresh/tests`.
    const fn jwt_refresh(file: &'static str, name: &'static str) -> Self {
        Self { package: "jwt-refresh", target: ["--test", file], name }
    }

    /// One in `jwt-refresh/src`.
    const fn in_jwt_refresh(name: &'static str) -> Self {
        Self { package: "jwt-refresh", target: ["--lib", name], name }
    }

    /// One in `shard-router/tests`.
    const fn shard_router(file: &'static str, name: &'static str) -> Self {
        Self { package: "shard-router", target: ["--test", file], name }
    }

    /// One over real servers.
    const fn live(file: &'static str, name: &'static str) -> Self {
        Self { package: "live", target: ["--test", file], name }
    }
}

impl fmt::Display for Test {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { package, target: [_, target], name } = self;
        if package == target || target == name {
            write!(f, "{package}::{name}")
        } else {
            write!(f, "{package}/{target}::{name}")
        }
    }
}

const CONTROLS: &[&[Control]] = &[
    cache_aside::CONTROLS,
    jwt_refresh::CONTROLS,
    rw_split::CONTROLS,
    shard_router::CONTROLS,
    storefront::CONTROLS,
    test_bed::CONTROLS,
];

fn all() -> impl Iterator<Item = &'static Control> {
    CONTROLS.iter().copied().flatten()
}

/// How one test ended.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Ending {
    Passed,
    Failed,
    Hung,
}

/// Runs the controls of `only`, or of all crates.
pub(crate) fn run(only: Option<&str>) -> Result<(), String> {
    let chosen: Vec<_> =
        all().filter(|control| only.is_none_or(|name| name == control.krate)).collect();
    if chosen.is_empty() {
        let mut names: Vec<_> = all().map(|control| control.krate).collect();
        names.dedup();
        return Err(format!(
            "there are no controls for `{}`; there are for {}",
            only.unwrap_or_default(),
            names.join(", ")
        ));
    }

    if chosen.iter().any(|control| control.test.package == "live") {
        servers::provide(&[Need::Postgres, Need::Redis], false)?;
    }

    println!("protection -> the test that fails without it");
    let mut bad = 0;
    for control in chosen {
        print!("{}: {} -> {} ... ", control.krate, control.protection, control.test);
        flush();
        // With the protection in, the test must pass, or its failure shows nothing.
        let verdict = match (ending(control, None)?, ending(control, Some(control.broken))?) {
            (Ending::Passed, Ending::Failed) => "fails",
            (Ending::Passed, Ending::Hung) => "hangs",
            (Ending::Passed, Ending::Passed) => {
                bad += 1;
                "PASSES: the protection is not tested"
            }
            _ => {
                bad += 1;
                "FAILS WITH THE PROTECTION IN"
            }
        };
        println!("{verdict}");
    }
    if bad > 0 {
        return Err(format!("{bad} controls do not hold"));
    }
    Ok(())
}

/// Builds the control's test, broken or whole, and runs it.
fn ending(control: &Control, broken: Option<&str>) -> Result<Ending, String> {
    let Test { package, target, name } = control.test;
    let mut command = cargo();
    command
        .args(["test", "--quiet", "--package", package, "--all-features"])
        .args(target)
        .args(["--", "--exact", name])
        .env("CARGO_TARGET_DIR", folder())
        .env("RUSTC_WORKSPACE_WRAPPER", wrapper(broken)?)
        .env("RUST_BACKTRACE", "0");
    let (status, output) = runtime()?.block_on(bounded(command))?;
    let Some(success) = status else { return Ok(Ending::Hung) };
    // A build that fails, or a test that is not there, is no failing test.
    let ran = output.contains("running 1 test");
    match (ran, success) {
        (true, true) => Ok(Ending::Passed),
        (true, false) => Ok(Ending::Failed),
        (false, _) => Err(format!("`{}` did not run:\n{output}", control.test)),
    }
}

/// A compiler for this workspace's crates only, so that what they depend on is
/// built once for all variants. Cargo tells builds apart by its path.
fn wrapper(broken: Option<&str>) -> Result<PathBuf, String> {
    let path = folder().join(format!("rustc-{}", broken.unwrap_or("whole")));
    let cfg = broken.map(|broken| format!(" --cfg 'broken=\"{broken}\"'")).unwrap_or_default();
    let script = format!("#!/bin/sh\nexec \"$@\"{cfg}\n");
    let written = || {
        fs::create_dir_all(folder())?;
        if fs::read_to_string(&path).is_ok_and(|old| old == script) {
            return Ok(());
        }
        fs::write(&path, &script)?;
        #[cfg(unix)]
        fs::set_permissions(&path, std::os::unix::fs::PermissionsExt::from_mode(0o755))?;
        Ok(())
    };
    let written: std::io::Result<()> = written();
    written.map_err(|error| format!("{} could not be written: {error}", path.display()))?;
    Ok(path)
}

fn folder() -> PathBuf {
    target().join("controls")
}

/// Whether the command succeeded, or nothing if it had to be killed, and what it
/// printed. Whatever it has started ends with it.
async fn bounded(mut command: Command) -> Result<(Option<bool>, String), String> {
    let text = |error: testbed::Error| error.to_string();
    let folder = Folder::new("control").await.map_err(text)?;
    let path = folder.path().join("output");
    let printed = |error| format!("{}: {error}", path.display());
    let output = File::create(&path).map_err(printed)?;
    let errors = output.try_clone().map_err(printed)?;
    command.stdin(Stdio::null()).stdout(output).stderr(errors);
    let process = spawn_guarded(command, ExitSignal::Kill).await.map_err(text)?;
    let status = tokio::time::timeout(LIMIT, process.wait()).await.ok();
    if status.is_none() {
        process.kill().await;
    }
    let output = fs::read(&path).map_err(printed)?;
    let output = String::from_utf8_lossy(&output).into_owned();
    Ok((status.map(|status| status.success()), output))
}

fn flush() {
    // A closed terminal is no reason to stop.
    let _ = std::io::stdout().flush();
}
