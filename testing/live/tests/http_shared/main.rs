//! One HTTP cache of several servers in a real Redis, under faults.
#![allow(clippy::unwrap_used, clippy::disallowed_methods, reason = "tests")]

mod faults;
mod fleet;
mod history;
mod purging;
mod sharing;
