//! What is missing is named with the line that installs it; nothing is skipped.

use std::process::Command;

use testbed::install;
use testbed::locate::{self, Need};

#[test]
fn servers_that_are_here_are_found() {
    let bin = locate::postgres().unwrap();
    assert!(bin.join("pg_basebackup").is_file());
    assert!(locate::redis_server().unwrap().is_file());
    assert!(locate::pgbouncer().unwrap().is_file());
    assert!(install::missing(&[Need::Postgres, Need::Redis, Need::PgBouncer]).is_empty());
}

#[test]
fn a_missing_server_is_an_error_that_says_how_to_mend_it() {
    let child = Command::new(env!("CARGO_BIN_EXE_without-servers"))
        .env("EARNED_PG_BIN", "/no/such/place")
        .env("EARNED_REDIS_SERVER", "/no/such/place/redis-server")
        .env("EARNED_PGBOUNCER", "/no/such/place/pgbouncer")
        .output()
        .unwrap();
    let said = String::from_utf8_lossy(&child.stdout);
    let errors = String::from_utf8_lossy(&child.stderr);
    assert!(child.status.success() && said == "all is as it should be\n", "{said}{errors}");
}
