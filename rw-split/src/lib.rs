//! x
#![forbid(unsafe_code)]
#![allow(dead_code)]
mod classify;
mod clock;
mod level;
mod lsn;
mod policy;
mod scope;
mod token;
pub use crate::classify::{Reason, Route, Target};
pub use crate::clock::WallClock;
pub use crate::level::Level;
pub use crate::lsn::{Lsn, ParseLsnError};
pub use crate::scope::ConsistencyScope;
pub use crate::token::{ConsistencyToken, KeyError, TokenKeys};
