//! Takes each protection out, one at a time, and shows that a test notices.

use std::fs;
use std::io::{Read, Write};
use std::path::PathBuf;
use std::process::{Command, Stdio};
use std::sync::mpsc;
use std::thread;
use std::time::Duration;

use crate::command::{cargo, target};

/// A test that does not end in this time has failed.
const LIMIT: Duration = Duration::from_secs(300);

/// One protection.
struct Control {
    krate: &'static str,
    /// The value of `--cfg broken` that takes it out.
    broken: &'static str,
    protection: &'static str,
    /// The integration test, and the function in it, that must fail.
    test: (&'static str, &'static str),
}

const CONTROLS: &[Control] = &[
    Control {
        krate: "cache-aside",
        broken: "no_stamp",
        protection: "an entry is served only if its stamp is the key's",
        test: ("overlap", "a_fill_that_lands_late_in_the_store_is_not_seen"),
    },
    Control {
        krate: "cache-aside",
        broken: "no_flight_epoch",
        protection: "a flight is joined only in its own epoch",
        test: ("overlap", "through_get_or_load"),
    },
    Control {
        krate: "cache-aside",
        broken: "no_global_epoch",
        protection: "clear ends every epoch",
        test: ("overlap", "clear_overtakes_every_load"),
    },
    Control {
        krate: "cache-aside",
        broken: "no_insert_epoch",
        protection: "an insert overtakes the loads under way",
        test: ("overlap", "a_load_does_not_overwrite_an_insert"),
    },
    Control {
        krate: "cache-aside",
        broken: "no_reservation",
        protection: "a reserved insert keeps the stamp of its reservation",
        test: ("overlap", "a_reserved_insert_does_not_undo_an_invalidation"),
    },
    Control {
        krate: "cache-aside",
        broken: "no_stale_check",
        protection: "a stale value is judged anew when it stands in for an error",
        test: ("overlap", "an_invalidated_value_never_stands_in_for_an_error"),
    },
    Control {
        krate: "cache-aside",
        broken: "no_join",
        protection: "who misses during a load joins it",
        test: ("loads", "a_thousand_misses_are_one_load"),
    },
    Control {
        krate: "cache-aside",
        broken: "no_second_look",
        protection: "the store is looked at again before a load starts",
        test: ("loads", "a_value_that_came_between_the_look_and_the_load_is_served"),
    },
    Control {
        krate: "cache-aside",
        broken: "no_owned_load",
        protection: "a load does not end with the caller that started it",
        test: ("loads", "a_cancelled_leader_strands_nobody"),
    },
    Control {
        krate: "cache-aside",
        broken: "no_landing",
        protection: "a leader that is dropped answers those who wait",
        test: ("loads", "waiters_learn_that_the_leaders_runtime_was_shut_down"),
    },
    Control {
        krate: "cache-aside",
        broken: "no_deadline",
        protection: "a load is given up at its deadline",
        test: ("loads", "a_load_past_its_deadline_is_given_up"),
    },
];

/// How one test ended.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Ending {
    Passed,
    Failed,
    Hung,
}

/// Runs the controls of `only`, or of all crates.
pub(crate) fn run(only: Option<&str>) -> Result<(), String> {
    let chosen: Vec<_> = CONTROLS
        .iter()
        .filter(|control| only.is_none_or(|name| name == control.krate))
        .collect();
    if chosen.is_empty() {
        let mut names: Vec<_> = CONTROLS.iter().map(|control| control.krate).collect();
        names.dedup();
        return Err(format!(
            "there are no controls for `{}`; there are for {}",
            only.unwrap_or_default(),
            names.join(", ")
        ));
    }

    println!("protection -> the test that fails without it");
    let mut bad = 0;
    for control in chosen {
        let (file, name) = control.test;
        print!("{}: {} -> {file}::{name} ... ", control.krate, control.protection);
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
    let (file, name) = control.test;
    let mut command = cargo();
    command
        .args(["test", "--quiet", "--package", control.krate, "--all-features", "--test", file])
        .args(["--", "--exact", name])
        .env("CARGO_TARGET_DIR", folder())
        .env("RUSTC_WORKSPACE_WRAPPER", wrapper(broken)?)
        .env("RUST_BACKTRACE", "0");
    let (status, output) = bounded(&mut command)?;
    let Some(success) = status else { return Ok(Ending::Hung) };
    // A build that fails, or a test that is not there, is no failing test.
    let ran = output.contains("running 1 test");
    match (ran, success) {
        (true, true) => Ok(Ending::Passed),
        (true, false) => Ok(Ending::Failed),
        (false, _) => Err(format!("`{file}::{name}` did not run:\n{output}")),
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
/// printed.
fn bounded(command: &mut Command) -> Result<(Option<bool>, String), String> {
    let started = command.stdout(Stdio::piped()).stderr(Stdio::piped()).spawn();
    let mut child = started.map_err(|error| format!("cargo could not be started: {error}"))?;
    let (sender, output) = mpsc::channel();
    let pipes: [Option<Box<dyn Read + Send>>; 2] = [
        child.stdout.take().map(|pipe| Box::new(pipe) as _),
        child.stderr.take().map(|pipe| Box::new(pipe) as _),
    ];
    for mut pipe in pipes.into_iter().flatten() {
        let sender = sender.clone();
        thread::spawn(move || {
            let mut text = Vec::new();
            // What was read before a pipe broke is shown all the same.
            let _ = pipe.read_to_end(&mut text);
            let _ = sender.send(String::from_utf8_lossy(&text).into_owned());
        });
    }
    drop(sender);
    let mut text = String::new();
    for _ in 0..2 {
        match output.recv_timeout(LIMIT) {
            Ok(part) => text.push_str(&part),
            Err(_) => {
                // It may have ended just now.
                let _ = child.kill();
                let _ = child.wait();
                return Ok((None, text));
            }
        }
    }
    let status = child.wait().map_err(|error| format!("cargo was lost: {error}"))?;
    Ok((Some(status.success()), text))
}

fn flush() {
    // A closed terminal is no reason to stop.
    let _ = std::io::stdout().flush();
}
