//! Hostile tokens and keys: each is refused, for its own reason, in bounded time.

#![allow(clippy::unwrap_used, reason = "the helpers of tests are tests")]
#![allow(clippy::disallowed_methods, reason = "time is bounded here")]

#[path = "../support/mod.rs"]
mod support;

mod keys;
mod mutate;
mod tokens;
