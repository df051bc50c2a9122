//! The second tier on a real Redis.
#![allow(clippy::unwrap_used, clippy::disallowed_methods, reason = "tests")]

mod access;
mod basics;
mod conforms;
mod faults;
mod foreign;
mod generations;
mod history;
mod overlap;
mod recovery;
mod rows;
mod scene;
mod snapshot;
