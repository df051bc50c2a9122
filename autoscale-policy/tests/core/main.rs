//! The core by hand: each policy, each fault, each refusal.
#![allow(clippy::unwrap_used, reason = "a panic is how a test fails")]

mod combined;
mod config;
mod explain;
mod extremes;
mod faults;
mod kept;
mod policies;
mod properties;
mod scene;
