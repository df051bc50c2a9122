//! Takes each protection out, one at a time, and shows that a test notices.

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

    /// One over real servers.
    const fn live(file: &'static str, name: &'static str) -> Self {
        Self { package: "live", target: ["--test", file], name }
    }
}

impl fmt::Display for Test {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { package, target: [_, target], name } = self;
        if package == target {
            write!(f, "{package}::{name}")
        } else {
            write!(f, "{package}/{target}::{name}")
        }
    }
}

const CONTROLS: &[Control] = &[
    Control {
        krate: "cache-aside",
        broken: "no_stamp",
        protection: "an entry is served only if its stamp is the key's",
        test: Test::cache_aside("overlap", "a_fill_that_lands_late_in_the_store_is_not_seen"),
    },
    Control {
        krate: "cache-aside",
        broken: "no_flight_epoch",
        protection: "a flight is joined only in its own epoch",
        test: Test::cache_aside("overlap", "through_get_or_load"),
    },
    Control {
        krate: "cache-aside",
        broken: "no_global_epoch",
        protection: "clear ends every epoch",
        test: Test::cache_aside("overlap", "clear_overtakes_every_load"),
    },
    Control {
        krate: "cache-aside",
        broken: "no_insert_epoch",
        protection: "an insert overtakes the loads under way",
        test: Test::cache_aside("overlap", "a_load_does_not_overwrite_an_insert"),
    },
    Control {
        krate: "cache-aside",
        broken: "no_reservation",
        protection: "a reserved insert keeps the stamp of its reservation",
        test: Test::cache_aside("overlap", "a_reserved_insert_does_not_undo_an_invalidation"),
    },
    Control {
        krate: "cache-aside",
        broken: "no_stale_check",
        protection: "a stale value is judged anew when it stands in for an error",
        test: Test::cache_aside("overlap", "an_invalidated_value_never_stands_in_for_an_error"),
    },
    Control {
        krate: "cache-aside",
        broken: "no_join",
        protection: "who misses during a load joins it",
        test: Test::cache_aside("loads", "a_thousand_misses_are_one_load"),
    },
    Control {
        krate: "cache-aside",
        broken: "no_second_look",
        protection: "the store is looked at again before a load starts",
        test: Test::cache_aside(
            "loads",
            "a_value_that_came_between_the_look_and_the_load_is_served",
        ),
    },
    Control {
        krate: "cache-aside",
        broken: "no_owned_load",
        protection: "a load does not end with the caller that started it",
        test: Test::cache_aside("loads", "a_cancelled_leader_strands_nobody"),
    },
    Control {
        krate: "cache-aside",
        broken: "no_landing",
        protection: "a leader that is dropped answers those who wait",
        test: Test::cache_aside(
            "loads",
            "waiters_learn_that_the_leaders_runtime_was_shut_down",
        ),
    },
    Control {
        krate: "cache-aside",
        broken: "no_deadline",
        protection: "a load is given up at its deadline",
        test: Test::cache_aside("loads", "a_load_past_its_deadline_is_given_up"),
    },
    Control {
        krate: "cache-aside",
        broken: "no_flight_epoch",
        protection: "a flight is joined only in its own epoch, on a real server",
        test: Test::live("cache_aside", "no_read_joins_a_load_from_before_a_write"),
    },
    Control {
        krate: "cache-aside",
        broken: "no_deadline",
        protection: "a load is given up at its deadline, on a stopped server",
        test: Test::live(
            "cache_aside",
            "waiters_on_a_stopped_server_are_answered_at_the_deadline",
        ),
    },
    Control {
        krate: "cache-aside",
        broken: "no_lease_check",
        protection: "a load fills the second tier only under its lease",
        test: Test::cache_aside("shared_controls", "a_late_load_does_not_fill"),
    },
    Control {
        krate: "cache-aside",
        broken: "no_standing",
        protection: "who waits for a load is not given what another process has overtaken",
        test: Test::cache_aside(
            "shared_controls",
            "nobody_is_given_a_load_that_another_process_has_overtaken",
        ),
    },
    Control {
        krate: "cache-aside",
        broken: "no_debts",
        protection: "an invalidation that was not acknowledged is owed",
        test: Test::cache_aside(
            "shared_controls",
            "what_was_not_acknowledged_is_owed_and_not_shown",
        ),
    },
    Control {
        krate: "cache-aside",
        broken: "one_epoch",
        protection: "an invalidation ends the epoch after the second tier's, too",
        test: Test::cache_aside(
            "shared_controls",
            "a_copy_that_was_taken_during_an_invalidation_is_not_shown",
        ),
    },
    Control {
        krate: "cache-aside",
        broken: "no_lease_check",
        protection: "a load fills Redis only under its lease",
        test: Test::live("cache_aside_redis", "overlap::a_late_load_leaves_nothing_in_redis"),
    },
    Control {
        krate: "cache-aside",
        broken: "counter_lease",
        protection: "a lease is a random token, not a count",
        test: Test::live(
            "cache_aside_redis",
            "overlap::a_late_load_leaves_nothing_after_a_flush",
        ),
    },
    Control {
        krate: "cache-aside",
        broken: "no_server_identity",
        protection: "a record is shown only by the life of the server that leased it",
        test: Test::live(
            "cache_aside_redis",
            "snapshot::what_a_snapshot_brings_back_is_not_shown",
        ),
    },
    Control {
        krate: "rw-split",
        broken: "random_routing",
        protection: "a read goes only to a replica that has what the session needs",
        test: Test::live("rw_split", "checker::scenarios::under_a_delay_of_1_s"),
    },
    Control {
        krate: "rw-split",
        broken: "pin_window",
        protection: "positions are tracked, instead of a pin of 2 s while replicas are 3 s behind",
        test: Test::live(
            "rw_split",
            "checker::scenarios::under_a_delay_of_3_s_and_longer_thought",
        ),
    },
    Control {
        krate: "rw-split",
        broken: "current_lsn",
        protection: "the insert position is captured, not the written one",
        test: Test::live("rw_split", "basics::an_asynchronous_commit_is_read_back"),
    },
    Control {
        krate: "rw-split",
        broken: "flush_lsn",
        protection: "the insert position is captured, not the flushed one",
        test: Test::live("rw_split", "basics::an_asynchronous_commit_is_read_back"),
    },
    Control {
        krate: "rw-split",
        broken: "lsn_by_setting",
        protection: "the insert position is captured whatever synchronous_commit says by then",
        test: Test::live(
            "rw_split",
            "basics::a_commit_that_was_made_asynchronous_by_its_transaction_is_read_back",
        ),
    },
    Control {
        krate: "rw-split",
        broken: "capture_first",
        protection: "the position is captured behind the commit",
        test: Test::live("rw_split", "basics::a_write_is_read_back_while_replay_is_paused"),
    },
    Control {
        krate: "rw-split",
        broken: "unprepared_write",
        protection: "a write is prepared before its capture is sent behind it",
        test: Test::live("rw_split", "basics::a_write_is_read_back_while_replay_is_paused"),
    },
    Control {
        krate: "rw-split",
        broken: "no_normalise",
        protection: "a position behind a page's header is put back",
        test: Test::live(
            "rw_split",
            "basics::a_floor_behind_a_header_is_reached_on_an_idle_primary",
        ),
    },
    Control {
        krate: "rw-split",
        broken: "cached_clamp",
        protection: "a token ahead of the known position is judged by the primary itself",
        test: Test::live("rw_split", "checker::scenarios::under_a_delay_of_1_s"),
    },
    Control {
        krate: "rw-split",
        broken: "cached_read_floor",
        protection: "who leaves a replica takes along a position asked at that moment",
        test: Test::live(
            "rw_split",
            "basics::a_session_does_not_go_back_when_its_replica_dies",
        ),
    },
    Control {
        krate: "rw-split",
        broken: "one_cookie",
        protection: "processes set write cookies of their own",
        test: Test::live("rw_split", "checker::scenarios::racing_answers_keep_both_writes"),
    },
    Control {
        krate: "rw-split",
        broken: "bare_lsn",
        protection: "a replica is trusted only on the new timeline",
        test: Test::live("rw_split", "checker::scenarios::under_a_split"),
    },
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
    Control {
        krate: "testbed",
        broken: "unguarded",
        protection: "a server ends with the process that started it",
        test: Test::live("testbed_cleanup", "a_killed_process_leaves_nothing"),
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
