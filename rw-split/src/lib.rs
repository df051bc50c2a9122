//! x
#![forbid(unsafe_code)]
mod balance;
mod builder;
mod carrier;
mod classify;
mod clock;
mod error;
pub mod future;
mod layer;
mod level;
mod lsn;
mod metrics;
mod policy;
mod router;
mod scope;
mod server;
mod service;
mod token;
pub use crate::balance::Balance;
pub use crate::builder::{RwSplitBuilder, ServerConfig, WhenUnreachable};
pub use crate::classify::{Reason, Route, Target};
pub use crate::clock::WallClock;
pub use crate::error::{BuildError, Error};
pub use crate::layer::{ConsistencyLayer, PlainHttpOnLoopback};
pub use crate::level::Level;
pub use crate::lsn::{Lsn, ParseLsnError};
pub use crate::metrics::Stats;
pub use crate::router::{
    IsolationLevel, PrimaryConnection, Query, RowStream, Rows, RwSplit, Tx, TxOptions,
};
pub use crate::scope::ConsistencyScope;
pub use crate::service::Consistent;
pub use crate::token::{ConsistencyToken, KeyError, TokenKeys};
