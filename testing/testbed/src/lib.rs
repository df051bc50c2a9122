//! Real servers for tests, the demo and benches.

#![allow(
    clippy::disallowed_methods,
    reason = "deadlines on real servers hold also where a test has paused tokio's clock"
)]

mod account;
mod cache;
mod error;
mod eventually;
mod folder;
pub mod guard;
pub mod install;
pub mod link;
pub mod locate;
mod port;
pub mod postgres;
pub mod redis;
mod server;

pub use crate::error::Error;
pub use crate::eventually::{eventually, eventually_ok, eventually_some};
pub use crate::folder::Folder;
