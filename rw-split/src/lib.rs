//! Routes SQL to a PostgreSQL primary or its read replicas, and guarantees that
//! a user reads what that user wrote, across stateless app servers, without
//! sending everybody to the primary.
//!
//! ```no_run
//! use rw_split::{ConsistencyLayer, RwSplit, TokenKeys};
//!
//! # async fn example() -> Result<(), Box<dyn std::error::Error>> {
//! let db = RwSplit::builder()
//!     .server("host=a user=app dbname=shop")
//!     .server("host=b user=app dbname=shop")
//!     .build()
//!     .await?;
//! # let (name, id, secret) = ("Ada", 7_i64, [7; 32]);
//!
//! // In a request that is wrapped in this layer, on whichever server it comes:
//! let layer = ConsistencyLayer::cookie("rw", TokenKeys::new(&secret)?)?;
//!
//! // to the primary; the session's floor moves,
//! db.execute("UPDATE profiles SET name = $1 WHERE id = $2", &[&name, &id]).await?;
//! // from a replica that has it, or else from the primary.
//! let row = db.query_one("SELECT name FROM profiles WHERE id = $1", &[&id]).await?;
//! # Ok(())
//! # }
//! ```
//!
//! Where a text goes, without a server:
//!
//! ```
//! use rw_split::{RwSplit, Target};
//!
//! let route = RwSplit::route("SELECT * FROM stock WHERE id = $1 FOR NO KEY UPDATE");
//! assert_eq!(route.target(), Target::Primary);
//! ```
//!
//! What is guaranteed, and on which conditions, is in the README.
//!
//! # Feature flags
//!
//! - `metrics`: counts through the `metrics` facade; the README lists every
//!   `rw_split_*` name.
//! - `test-util`: `WallClock::fake` and where to put it, for tests that move dates.

#![forbid(unsafe_code)]

#[cfg(doctest)]
#[doc = include_str!("../README.md")]
struct Readme;

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
mod position;
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
pub use crate::layer::{ConsistencyLayer, DevelopmentOnly};
pub use crate::level::Level;
pub use crate::metrics::Stats;
pub use crate::position::WalPosition;
pub use crate::router::{
    IsolationLevel, PooledConnection, PrimaryConnection, Query, RowStream, Rows, RwSplit, Tx,
    TxOptions,
};
pub use crate::scope::ConsistencyScope;
pub use crate::service::Consistent;
pub use crate::token::{ConsistencyToken, KeyError, TokenKeys};
