//! What is missing is named with the line that installs it; nothing is skipped.

use std::env;
use std::process::Command;

use testbed::Error;
use testbed::install;
use testbed::locate::{self, Need};
use testbed::postgres::Postgres;
use testbed::redis::Redis;

const CHILD: &str = "EARNED_INSTALL_CHILD";

#[test]
fn servers_that_are_here_are_found() {
    let bin = locate::postgres().unwrap();
    assert!(bin.join("pg_basebackup").is_file());
    assert!(locate::redis_server().unwrap().is_file());
    assert!(install::missing(&[Need::Postgres, Need::Redis]).is_empty());
}

#[tokio::test]
#[ignore = "it is a process of the next test, with other variables"]
async fn machine_without_servers() {
    if env::var_os(CHILD).is_none() {
        return;
    }
    let missing = install::missing(&[Need::Postgres, Need::Redis]);
    assert_eq!(missing.len(), 2);
    for (missing, package, variable) in [
        (&missing[0], "postgresql", "EARNED_PG_BIN"),
        (&missing[1], "redis", "EARNED_REDIS_SERVER"),
    ] {
        assert!(missing.install.contains("install"), "{missing}");
        assert!(missing.install.contains(package), "{missing}");
        assert_eq!(missing.install.lines().count(), 1, "{missing}");
        let message = missing.to_string();
        assert!(message.contains(&missing.install) && message.contains(variable), "{message}");
        assert!(message.contains("/no/such/place"), "{message}");
    }
    assert!(matches!(Postgres::start().await, Err(Error::Missing(_))));
    assert!(matches!(Redis::start().await, Err(Error::Missing(_))));
}

#[test]
fn a_missing_server_is_an_error_that_says_how_to_mend_it() {
    let child = Command::new(env::current_exe().unwrap())
        .args(["--exact", "machine_without_servers", "--ignored"])
        .envs([(CHILD, "1"), ("EARNED_PG_BIN", "/no/such/place")])
        .env("EARNED_REDIS_SERVER", "/no/such/place/redis-server")
        .output()
        .unwrap();
    let output = String::from_utf8_lossy(&child.stdout);
    assert!(child.status.success() && output.contains("1 passed"), "{output}");
}
