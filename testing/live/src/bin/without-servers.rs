//! Holds what the testbed says on a machine without servers to what it should say.
//! A test runs it with variables that hide them: a process's variables are not to be
//! changed under the other tests that run in it.

#![allow(clippy::unwrap_used, reason = "it is a part of a test")]

use testbed::locate::Need;
use testbed::postgres::Postgres;
use testbed::redis::Redis;
use testbed::{Error, install};

#[tokio::main(flavor = "current_thread")]
async fn main() {
    let missing = install::missing(&[Need::Postgres, Need::Redis, Need::PgBouncer]);
    assert_eq!(missing.len(), 3);
    for (missing, package, variable) in [
        (&missing[0], "postgresql", "EARNED_PG_BIN"),
        (&missing[1], "redis", "EARNED_REDIS_SERVER"),
        (&missing[2], "pgbouncer", "EARNED_PGBOUNCER"),
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
    println!("all is as it should be");
}
