//! Starts real servers for tests, the demo and benches, lets them fail on
//! demand, and leaves nothing behind.
//!
//! ```no_run
//! use std::time::Duration;
//! use testbed::postgres::Postgres;
//! use testbed::{Error, eventually_some};
//!
//! # async fn example() -> Result<(), Error> {
//! let primary = Postgres::start().await?;
//! let replica = primary.replica().await?;
//! let writer = primary.client().await?;
//! writer.batch_execute("CREATE TABLE t AS SELECT 1 AS n").await.unwrap();
//! replica.caught_up(Duration::from_secs(5)).await?;
//!
//! primary.kill().await?;
//! replica.promote().await?;
//! let client = replica.client().await?;
//! eventually_some(Duration::from_secs(5), async || {
//!     client.query_opt("SELECT n FROM t", &[]).await.ok().flatten()
//! })
//! .await;
//! # Ok(())
//! # }
//! ```
//!
//! Servers belong to the process, not to a runtime or a thread: a `static` may
//! hold one for all tests of a binary. All of them are gone when the process
//! is, however it ended ([`guard`]). They need the real clock: use them in no
//! test that has paused tokio's.

#![allow(clippy::disallowed_methods, reason = "real servers take real time")]

mod account;
mod cache;
mod error;
mod eventually;
mod folder;
pub mod guard;
pub mod install;
pub mod link;
pub mod locate;
pub mod pgbouncer;
mod port;
pub mod postgres;
pub mod redis;
mod server;

pub use crate::error::Error;
pub use crate::eventually::{eventually, eventually_ok, eventually_some};
pub use crate::folder::Folder;

/// The README's example is compiled with the tests.
#[cfg(doctest)]
#[doc = include_str!("../README.md")]
struct Readme;
