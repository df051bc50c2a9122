//! The storefront as a fleet, under faults: people shop, each records what they were told, and
//! at the end every record is held against what was shown later and against what is there.
//!
//! `cargo xtask torture storefront` runs it for minutes.

#![allow(clippy::unwrap_used, reason = "the helpers of tests are tests")]
#![allow(clippy::disallowed_methods, reason = "wall time is what is measured here")]

mod client;
mod confirmers;
mod faults;
mod group;
mod late;
mod people;
mod record;
mod tally;
mod torture;
mod world;
