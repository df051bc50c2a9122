//! The second tier on a real Redis.
#![allow(clippy::unwrap_used, clippy::disallowed_methods, reason = "tests")]

mod basics;
mod faults;
mod history;
mod overlap;
mod rows;
mod scene;
