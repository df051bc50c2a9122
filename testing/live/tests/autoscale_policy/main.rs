//! `autoscale-policy` in processes that are told to end while they serve.

#![allow(clippy::unwrap_used, reason = "the helpers of tests are tests")]
#![allow(clippy::disallowed_methods, reason = "wall time is what is measured here")]

mod balancer;
mod drain;
mod exec;
mod instance;
mod processes;
mod queue;
