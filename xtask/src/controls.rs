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

    /// One in `jwt-refresh/tests`.
    const fn jwt_refresh(file: &'static str, name: &'static str) -> Self {
        Self { package: "jwt-refresh", target: ["--test", file], name }
    }

    /// One in `jwt-refresh/src`.
    const fn in_jwt_refresh(name: &'static str) -> Self {
        Self { package: "jwt-refresh", target: ["--lib", name], name }
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
        krate: "jwt-refresh",
        broken: "rule_revoked",
        protection: "a revoked session stays revoked",
        test: Test::jwt_refresh(
            "outcomes",
            "a_replay_outside_of_the_window_revokes_and_is_known_at_once",
        ),
    },
    Control {
        krate: "jwt-refresh",
        broken: "rule_expired",
        protection: "a session ends at its absolute and its idle expiry",
        test: Test::jwt_refresh(
            "outcomes",
            "a_session_ends_at_its_absolute_and_its_idle_expiry",
        ),
    },
    Control {
        krate: "jwt-refresh",
        broken: "rule_kept",
        protection: "a young refresh token is kept",
        test: Test::jwt_refresh("outcomes", "rotated_kept_and_replayed"),
    },
    Control {
        krate: "jwt-refresh",
        broken: "rule_grace",
        protection: "a retry within the grace window gets the identical successor",
        test: Test::jwt_refresh("outcomes", "rotated_kept_and_replayed"),
    },
    Control {
        krate: "jwt-refresh",
        broken: "rule_retry",
        protection: "a retry with its retry key gets the identical successor",
        test: Test::jwt_refresh("outcomes", "a_retry_key_outlasts_the_window"),
    },
    Control {
        krate: "jwt-refresh",
        broken: "rule_replays",
        protection: "a token is not answered without end",
        test: Test::jwt_refresh("outcomes", "too_many_replays_are_no_reuse"),
    },
    Control {
        krate: "jwt-refresh",
        broken: "rule_retry_key",
        protection: "a retry key belongs to one token",
        test: Test::jwt_refresh("outcomes", "a_retry_key_outlasts_the_window"),
    },
    Control {
        krate: "jwt-refresh",
        broken: "rule_forked",
        protection: "a wrong hash of a genuine token is a fork",
        test: Test::jwt_refresh("store", "the_memory_store_conforms"),
    },
    Control {
        krate: "jwt-refresh",
        broken: "rule_reuse",
        protection: "a replay outside of every window revokes",
        test: Test::jwt_refresh(
            "outcomes",
            "a_replay_outside_of_the_window_revokes_and_is_known_at_once",
        ),
    },
    Control {
        krate: "jwt-refresh",
        broken: "rule_ahead",
        protection: "a token that is newer than the row revokes nothing",
        test: Test::jwt_refresh("store", "the_memory_store_conforms"),
    },
    Control {
        krate: "jwt-refresh",
        broken: "no_tag",
        protection: "junk does not reach the store",
        test: Test::in_jwt_refresh("refresh::token::tests::every_bit_of_the_text_counts"),
    },
    Control {
        krate: "jwt-refresh",
        broken: "own_key_replay",
        protection: "a replay uses the row's server key",
        test: Test::in_jwt_refresh(
            "refresh::token::tests::the_successor_is_the_same_for_all_servers_that_have_the_keys",
        ),
    },
    Control {
        krate: "jwt-refresh",
        broken: "no_signature",
        protection: "a signature must fit",
        test: Test::jwt_refresh(
            "corpus",
            "tokens::every_hostile_token_is_refused_for_its_own_reason",
        ),
    },
    Control {
        krate: "jwt-refresh",
        broken: "algorithm_from_token",
        protection: "the key fixes the algorithm",
        test: Test::jwt_refresh(
            "corpus",
            "tokens::every_hostile_token_is_refused_for_its_own_reason",
        ),
    },
    Control {
        krate: "jwt-refresh",
        broken: "accepts_crit",
        protection: "crit, jku, jwk and their like are refused",
        test: Test::jwt_refresh(
            "corpus",
            "tokens::every_hostile_token_is_refused_for_its_own_reason",
        ),
    },
    Control {
        krate: "jwt-refresh",
        broken: "any_typ",
        protection: "another kind of token is refused",
        test: Test::jwt_refresh(
            "corpus",
            "tokens::every_hostile_token_is_refused_for_its_own_reason",
        ),
    },
    Control {
        krate: "jwt-refresh",
        broken: "no_duplicates",
        protection: "no member occurs twice",
        test: Test::jwt_refresh(
            "corpus",
            "tokens::every_hostile_token_is_refused_for_its_own_reason",
        ),
    },
    Control {
        krate: "jwt-refresh",
        broken: "no_expiry",
        protection: "an expired token is refused",
        test: Test::jwt_refresh(
            "corpus",
            "tokens::every_hostile_token_is_refused_for_its_own_reason",
        ),
    },
    Control {
        krate: "jwt-refresh",
        broken: "no_key_admission",
        protection: "a weak RSA key is not admitted",
        test: Test::jwt_refresh("corpus", "keys::every_bad_key_is_refused_for_its_own_reason"),
    },
    Control {
        krate: "jwt-refresh",
        broken: "mixed_sets",
        protection: "a set does not mix symmetric and asymmetric keys",
        test: Test::jwt_refresh("corpus", "keys::bad_sets_are_refused"),
    },
    Control {
        krate: "jwt-refresh",
        broken: "no_publication",
        protection: "a key is published before it signs",
        test: Test::jwt_refresh("keys", "a_key_is_published_then_signs_then_retires"),
    },
    Control {
        krate: "jwt-refresh",
        broken: "no_key_epoch",
        protection: "a remembered token is verified again when the keys change",
        test: Test::jwt_refresh(
            "keys",
            "a_key_that_is_taken_out_is_unknown_also_for_remembered_tokens",
        ),
    },
    Control {
        krate: "jwt-refresh",
        broken: "unchecked_hits",
        protection: "a remembered token is judged again",
        test: Test::jwt_refresh("keys", "remembered_tokens_are_judged_again"),
    },
    Control {
        krate: "jwt-refresh",
        broken: "no_staleness",
        protection: "without news of revocations the answer is 503",
        test: Test::jwt_refresh(
            "http",
            "before_the_revocations_are_known_the_answer_is_503_and_not_401",
        ),
    },
    Control {
        krate: "jwt-refresh",
        broken: "get_refresh",
        protection: "a GET refreshes nothing",
        test: Test::jwt_refresh("http", "bad_requests_are_answered_as_the_rfc_has_it"),
    },
    Control {
        krate: "jwt-refresh",
        broken: "no_origin_check",
        protection: "another site cannot use the cookie",
        test: Test::jwt_refresh("http", "requests_of_other_sites_are_refused"),
    },
    Control {
        krate: "jwt-refresh",
        broken: "no_owner",
        protection: "a user ends sessions of their own only",
        test: Test::jwt_refresh("outcomes", "nobody_ends_another_users_session"),
    },
    Control {
        krate: "jwt-refresh",
        broken: "redis_expired",
        protection: "a session ends at its expiry, on Redis",
        test: Test::live("jwt_refresh", "stores::on_redis::it_conforms"),
    },
    Control {
        krate: "jwt-refresh",
        broken: "redis_epoch",
        protection: "logout_all ends every session, on Redis",
        test: Test::live("jwt_refresh", "stores::on_redis::it_conforms"),
    },
    Control {
        krate: "jwt-refresh",
        broken: "redis_kept",
        protection: "a young refresh token is kept, on Redis",
        test: Test::live("jwt_refresh", "stores::on_redis::it_conforms"),
    },
    Control {
        krate: "jwt-refresh",
        broken: "redis_reuse",
        protection: "a reuse revokes, on Redis",
        test: Test::live("jwt_refresh", "stores::on_redis::it_conforms"),
    },
    Control {
        krate: "jwt-refresh",
        broken: "redis_unpublished",
        protection: "a reuse is published, on Redis",
        test: Test::live("jwt_refresh", "stores::on_redis::it_conforms"),
    },
    Control {
        krate: "jwt-refresh",
        broken: "postgres_expired",
        protection: "a session ends at its expiry, on PostgreSQL",
        test: Test::live("jwt_refresh", "stores::on_postgres::it_conforms"),
    },
    Control {
        krate: "jwt-refresh",
        broken: "postgres_reuse",
        protection: "a reuse revokes, on PostgreSQL",
        test: Test::live("jwt_refresh", "stores::on_postgres::it_conforms"),
    },
    Control {
        krate: "jwt-refresh",
        broken: "postgres_unlocked",
        protection: "one of many rotates, on PostgreSQL",
        test: Test::live("jwt_refresh", "stores::on_postgres::it_conforms"),
    },
    Control {
        krate: "jwt-refresh",
        broken: "postgres_user_unlocked",
        protection: "a rotation that waited sees a logout_all",
        test: Test::live("jwt_refresh", "faults::a_rotation_that_waited_sees_a_logout_all"),
    },
    Control {
        krate: "jwt-refresh",
        broken: "no_staleness",
        protection: "no revoked token is accepted after the bound",
        test: Test::live("jwt_refresh", "feed::cut::on_redis"),
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
