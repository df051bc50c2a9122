//! Hostile tokens and keys: each is refused, for its own reason, in bounded time.

#[path = "../support/mod.rs"]
mod support;

mod keys;
mod mutate;
mod tokens;
