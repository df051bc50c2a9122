//! `shard-router` on real servers, under faults.

#![allow(clippy::unwrap_used, reason = "the helpers of tests are tests")]
#![allow(clippy::disallowed_methods, reason = "real servers take real time")]

mod agreement;
mod bed;
mod cli;
mod control;
mod faults;
mod order;
mod pooled;
mod pressure;
mod queries;
mod refusals;
mod replica;
mod scatter;
mod schema;
mod sessions;
