//! A platform that is two commands.

use std::time::Duration;

use autoscale_policy::{Actuator, Exec, ExecError, Phase, Resize, Roster, conformance};
use testbed::Folder;

const SOON: Duration = Duration::from_secs(20);

fn shell(script: &str) -> [String; 2] {
    ["-c".to_owned(), script.to_owned()]
}

#[tokio::test]
async fn commands_conform() {
    let folder = Folder::new("exec").await.unwrap();
    let file = folder.path().join("count").display().to_string();
    std::fs::write(&file, "0").unwrap();
    let platform =
        Exec::new("sh", shell(&format!("echo {{count}} > {file}.new && mv {file}.new {file}")))
            .counted_by("cat", [&file]);
    conformance::actuator(&platform, false, SOON).await;
}

#[tokio::test]
async fn those_that_are_not_ready_are_told_apart() {
    let platform = Exec::new("true", [""; 0]).counted_by("echo", ["3", "5"]);
    let seen = platform.seen().await.unwrap();
    assert_eq!(seen.target, Some(5));
    let ready = seen.instances.iter().filter(|i| i.phase == Phase::Ready).count();
    let warming = seen.instances.iter().filter(|i| i.phase == Phase::Warming).count();
    assert_eq!((ready, warming), (3, 2));
}

#[tokio::test]
async fn a_command_that_fails_says_why() {
    let resize = Resize::new(1, 2);
    let fails = Exec::new("sh", shell("echo no quota >&2; exit 7"));
    let error = fails.set(&resize).await.unwrap_err().to_string();
    assert!(error.contains("exit status: 7") && error.contains("no quota"), "{error}");

    let none = Exec::new("/nowhere/scale", [""; 0]);
    let error = none.set(&resize).await.unwrap_err();
    assert!(matches!(error, ExecError::Start { .. }), "{error}");

    let uncounted = none.seen().await.unwrap_err().to_string();
    assert!(uncounted.contains("use counted_by"), "{uncounted}");

    let talks = Exec::new("true", [""; 0]).counted_by("echo", ["about", "three"]);
    let error = talks.seen().await.unwrap_err().to_string();
    assert!(error.contains(r#"printed "about three"#) && error.contains("`3 5`"), "{error}");
}

#[tokio::test]
async fn a_command_that_hangs_is_killed() {
    let folder = Folder::new("exec").await.unwrap();
    let file = folder.path().join("process");
    let script = format!("echo $$ > {}; exec sleep 600", file.display());
    let hangs = Exec::new("sh", shell(&script)).timeout(Duration::from_secs(1));
    let error = hangs.set(&Resize::new(1, 2)).await.unwrap_err();
    assert!(matches!(error, ExecError::TimedOut { .. }), "{error}");
    let process: i32 = std::fs::read_to_string(file).unwrap().trim().parse().unwrap();
    let there = || std::fs::read_to_string(format!("/proc/{process}/stat"));
    // A zombie is dead.
    testbed::eventually(SOON, async || there().map_or(true, |stat| stat.contains(") Z ")))
        .await;
}
