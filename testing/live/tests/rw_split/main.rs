//! `rw-split` on real primaries and replicas, under faults.

#![allow(clippy::unwrap_used, reason = "the helpers of tests are tests")]
#![allow(clippy::disallowed_methods, reason = "real servers take real time")]

mod basics;
mod bed;
mod cached;
mod checker;
mod clusters;
mod failover;
mod hardening;
mod statements;
mod tokens;
mod wires;
