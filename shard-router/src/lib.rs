//! Routes keys to PostgreSQL shards: placement that the database itself can check, no
//! accidental scatter, no silent gap.
//!
//! ```no_run
//! use shard_router::{Router, Scatter, Topology, desc};
//!
//! # async fn example() -> Result<(), Box<dyn std::error::Error>> {
//! let topology = Topology::from_toml(&std::fs::read_to_string("shards.toml")?)?;
//! let router = Router::builder(topology).build()?;
//! let user = 42_i64;
//!
//! // The key is the only way to a connection.
//! let rows = router
//!     .with(&user, |shard| async move {
//!         shard.query("SELECT total FROM orders WHERE user_id = $1", &[&user]).await
//!     })
//!     .await?;
//!
//! // All shards, spelled out: every slot is covered, or it is an error.
//! let largest = router
//!     .scatter(Scatter::require_all())
//!     .query("SELECT id, total FROM orders", &[])
//!     .order_by([desc("total")])
//!     .limit(20)
//!     .await?;
//! # Ok(())
//! # }
//! ```
//!
//! Placement and plans need no server, nor the feature `postgres`:
//!
//! ```
//! use shard_router::SlotMap;
//!
//! let map = SlotMap::even(["a", "b", "c"])?;
//! let plan = map.plan().add_shard("d", 1).build()?;
//! assert_eq!(plan.moved_percent(), 25.0);
//! # Ok::<_, shard_router::MapError>(())
//! ```
//!
//! What is guaranteed, and on which conditions, is in the README.
//!
//! # Feature flags
//!
//! - `postgres` (default): the router.
//! - `toml` (default): topologies as TOML, and in a control table.
//! - `cli`: the program `shard-router`.
//! - `ring`: the `Ring` strategy; `xxh3`, `crc16`, `siphash`: other slot hashes.
//! - `uuid`: keys of the `uuid` crate; `serde`: plans and reports can be serialised.
//! - `metrics`: counts through the `metrics` facade; the README lists every name.
//! - `conformance`: the suite for strategies of one's own.
//! - `test-util`: `Router::no_scatter`, `WallClock::fake`.

#![forbid(unsafe_code)]

#[cfg(all(doctest, feature = "postgres", feature = "toml"))]
#[doc = include_str!("../README.md")]
struct Readme;

#[cfg(feature = "postgres")]
mod breaker;
#[cfg(feature = "conformance")]
pub mod conformance;
#[cfg(feature = "postgres")]
mod error;
#[cfg(feature = "postgres")]
pub mod future;
mod hash;
#[cfg(feature = "postgres")]
mod hot;
mod id;
mod key;
mod map;
#[cfg(feature = "postgres")]
mod metrics;
mod plan;
#[cfg(feature = "postgres")]
mod router;
#[cfg(feature = "postgres")]
mod scatter;
#[cfg(feature = "postgres")]
mod schema;
#[cfg(feature = "postgres")]
mod service;
mod slot;
#[cfg(feature = "postgres")]
pub mod source;
pub mod strategy;
#[cfg(feature = "postgres")]
mod text;
mod topology;

#[cfg(feature = "siphash")]
pub use crate::hash::SipKey;
pub use crate::hash::{Column, SlotHash, slot_sql};
pub use crate::id::{IdGenerator, ProcessNumberError, WallClock};
pub use crate::key::{
    KeyPart, KeyType, KeyValue, ParseKeyError, ShardKey, ShardKeyColumn, UnknownKeyType,
    UuidBytes,
};
pub use crate::map::{MapError, ShardName, SlotMap};
pub use crate::plan::{Move, Plan, Planner};
pub use crate::slot::{Epoch, SLOTS, Slot, SlotRange};
pub use crate::topology::{Table, Topology, TopologyError};

#[cfg(all(feature = "postgres", feature = "test-util"))]
pub use crate::router::NoScatter;
#[cfg(all(feature = "postgres", feature = "toml"))]
pub use crate::topology::{ControlError, ControlTable};
#[cfg(feature = "postgres")]
pub use crate::{
    error::{BuildError, CoverageError, Error, Missing, Refusal},
    hot::{Count, HotReport, HotShard},
    metrics::Stats,
    router::{Router, RouterBuilder, Shard, ShardReport, ShardState, Tx},
    scatter::{
        Aggregable, AllowMissing, MergedRows, OrderBy, Partial, Policy, RequireAll, Scatter,
        ScatterFrom, ScatterQuery, asc, desc,
    },
    schema::{Applied, Migration, MigrationState, Migrator, Phase, Progress, SchemaError},
    service::{ServiceError, ShardService},
};
