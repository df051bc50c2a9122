//! Tests of the crates against real servers under faults: see `tests/`.
//!
//! `cargo test -p live` runs them. A server that this machine lacks fails the
//! run with the line that installs it.
#![allow(clippy::unwrap_used, reason = "the helpers of tests are tests")]

pub mod front;
pub mod mail;
mod program;

pub use self::program::program;
