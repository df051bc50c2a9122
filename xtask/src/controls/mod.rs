//! Takes each protection out, one at a time, and shows that a test notices.

mod autoscale_policy;
mod cache_aside;
mod front;
mod jwt_refresh;
mod rw_split;
mod shard_router;
mod storefront;
mod test_bed;

use std::fs::File;
use std::io::Write;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::time::Duration;
use std::{fmt, fs};

use serde_json::Value;
use testbed::Folder;
use testbed::guard::{ExitSignal, spawn_guarded};
use testbed::locate::Need;

use crate::command::{cargo, runtime, target};
use crate::servers;

/// A test that does not end in this time has failed.
const TEST_LIMIT: Duration = Duration::from_secs(300);
const BUILD_LIMIT: Duration = Duration::from_secs(1_800);

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
    /// One in `autoscale-policy/tests`.
    const fn autoscale_policy(file: &'static str, name: &'static str) -> Self {
        Self { package: "autoscale-policy", target: ["--test", file], name }
    }

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

    /// One in `examples/front/src`.
    const fn in_front(name: &'static str) -> Self {
        Self { package: "front", target: ["--bin", "front"], name }
    }

    /// One in `examples/storefront/src`.
    const fn in_storefront(name: &'static str) -> Self {
        Self { package: "storefront", target: ["--bin", "storefront"], name }
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
    autoscale_policy::CONTROLS,
    cache_aside::CONTROLS,
    front::CONTROLS,
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

/// Runs the controls of `only`, or of all crates; of these, the one that takes `broken` out,
/// or all. With its protection in, a test must pass, or its failure shows nothing.
pub(crate) fn run(only: Option<&str>, broken: Option<&str>) -> Result<(), String> {
    let mut chosen = chosen(only)?;
    chosen.retain(|control| broken.is_none_or(|name| name == control.broken));
    if chosen.is_empty() {
        return Err(format!("no control takes out `{}`", broken.unwrap_or_default()));
    }
    // All of these first: what is built for one serves the next.
    let whole: Vec<_> =
        chosen.iter().map(|control| ending(control, None)).collect::<Result<_, _>>()?;
    break_each(&chosen, &whole)
}

/// Runs all controls, where every test has just passed.
pub(crate) fn run_after_all_tests() -> Result<(), String> {
    let chosen = chosen(None)?;
    break_each(&chosen, &vec![Ending::Passed; chosen.len()])
}

fn chosen(only: Option<&str>) -> Result<Vec<&'static Control>, String> {
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

    Ok(chosen)
}

/// `whole`: how each test ends with its protection in.
fn break_each(chosen: &[&Control], whole: &[Ending]) -> Result<(), String> {
    println!("protection -> the test that fails without it");
    let mut bad = 0;
    for (control, whole) in chosen.iter().zip(whole) {
        print!("{}: {} -> {} ... ", control.krate, control.protection, control.test);
        flush();
        let verdict = match (whole, ending(control, Some(control.broken))?) {
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
    let wrapper = wrapper()?;
    let broken = |command: &mut Command| {
        // For programs that the test builds itself, too.
        command.env("RUSTC_WORKSPACE_WRAPPER", &wrapper).env("RUST_BACKTRACE", "0");
        if let Some(broken) = broken {
            // What is taken out is in the crate, or in how the test uses it.
            command.env(variable(control.krate), broken).env(variable(package), broken);
        }
    };
    let mut build = cargo();
    // As the tests are built without a control, so that what they depend on is there
    // already: with one package only, its features would be others.
    build.args(["test", "--quiet", "--workspace", "--all-features"]).args(target);
    build.args(["--no-run", "--message-format=json-render-diagnostics"]);
    broken(&mut build);
    let runtime = runtime()?;
    let (_, output) = runtime.block_on(bounded(build, BUILD_LIMIT))?;
    let Some((program, folder)) = built(&output, package) else {
        return Err(format!("`{}` was not built:\n{output}", control.test));
    };
    // By itself, and not by cargo, which would look at the whole workspace again.
    let mut test = Command::new(program);
    test.args(["--exact", name]).current_dir(folder);
    broken(&mut test);
    let (status, output) = runtime.block_on(bounded(test, TEST_LIMIT))?;
    let Some(success) = status else { return Ok(Ending::Hung) };
    // A test that is not there is no failing test.
    let ran = output.contains("running 1 test");
    match (ran, success) {
        (true, true) => Ok(Ending::Passed),
        (true, false) => Ok(Ending::Failed),
        (false, _) => Err(format!("`{}` did not run:\n{output}", control.test)),
    }
}

/// The test program of `package` among what cargo says that it has built, and the package's
/// folder, which is where cargo runs it.
fn built(said: &str, package: &str) -> Option<(PathBuf, PathBuf)> {
    // Other packages may have a target of that name, too. Folders are called as packages.
    said.lines().find_map(|line| {
        let artifact: Value = serde_json::from_str(line).ok()?;
        let is_test = artifact["profile"]["test"].as_bool()?;
        let program = artifact["executable"].as_str().filter(|_| is_test)?;
        let folder = Path::new(artifact["manifest_path"].as_str()?).parent()?;
        (folder.file_name()? == package).then(|| (program.into(), folder.into()))
    })
}

/// A compiler that breaks a crate of this workspace as the crate's variable says,
/// and tells cargo that it has looked at it, as `env!` would: so a control builds the
/// crate that it breaks, and what depends on that, and nothing else.
const WRAPPER: &str = r#"#!/bin/sh
name=$(printf %s "$CARGO_PKG_NAME" | tr a-z- A-Z_)
eval "broken=\${BROKEN_$name}"
folder=; crate=; extra=; before=
for word in "$@"; do
    case "$before" in
        --out-dir) folder=$word ;;
        --crate-name) crate=$word ;;
        -C) case "$word" in extra-filename=*) extra=${word#extra-filename=} ;; esac ;;
    esac
    before=$word
done
if [ -n "$broken" ]; then
    "$@" --cfg "broken=\"$broken\"" || exit
else
    "$@" || exit
fi
read="$folder/$crate$extra.d"
if [ -n "$folder" ] && [ -f "$read" ]; then
    if [ -n "$broken" ]; then
        printf '\n# env-dep:BROKEN_%s=%s\n' "$name" "$broken" >> "$read"
    else
        printf '\n# env-dep:BROKEN_%s\n' "$name" >> "$read"
    fi
fi
"#;

/// What the wrapper reads for `krate`.
fn variable(krate: &str) -> String {
    format!("BROKEN_{}", krate.to_uppercase().replace('-', "_"))
}

fn wrapper() -> Result<PathBuf, String> {
    let path = folder().join("rustc");
    let written = || {
        fs::create_dir_all(folder())?;
        if fs::read_to_string(&path).is_ok_and(|old| old == WRAPPER) {
            return Ok(());
        }
        fs::write(&path, WRAPPER)?;
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

fn flush() {
    // A closed terminal is no reason to stop.
    let _ = std::io::stdout().flush();
}
