//! Cache-aside: look in the cache; on a miss load from the source, keep the
//! value with a TTL, return it. Writers invalidate, and no late load undoes
//! that.
//!
//! ```
//! use std::time::Duration;
//! use cache_aside::{CacheAside, Moka};
//!
//! # #[tokio::main(flavor = "current_thread")]
//! # async fn main() -> Result<(), Box<dyn std::error::Error>> {
//! let users: CacheAside<u64, String> = CacheAside::builder("user")
//!     .l1(Moka::entries(100_000))
//!     .ttl(Duration::from_secs(300))
//!     .build()?;
//!
//! let load = |id: u64| async move { Ok::<_, std::io::Error>((id == 7).then(|| "Ada".to_owned())) };
//! let user = users.get_or_load(&7, |cx| load(*cx.key())).await?; // loads
//! let same = users.get_or_load(&7, |cx| load(*cx.key())).await?; // hits
//! assert_eq!(user.as_deref().map(String::as_str), Some("Ada"));
//! assert_eq!(user, same);
//!
//! users.invalidate(&7).await?; // after the write to the source is committed
//! # Ok(())
//! # }
//! ```
//!
//! [`CacheAsideLayer`] does the same around any tower service. What is
//! guaranteed, and on which conditions, is documented on [`CacheAside`].
//!
//! # Feature flags
//!
//! - `moka` (default): the [`Moka`] store.
//! - `quick`: the `Quick` store, faster on hits.
//! - `redis`: `RedisStore`, a second tier that processes share; brings `postcard`.
//! - `postcard`, `json`, `zstd`: codecs for values in a second tier.
//! - `http`: a shared HTTP cache around a router, `http::HttpCacheLayer`.
//! - `metrics`: counts through the `metrics` facade; the README lists every
//!   `cache_aside_*` name.
//! - `conformance`: the test suite for a [`Store`] of one's own.
//! - `test-util`: `CacheBuilder::clock`, for tests on paused time.

#![forbid(unsafe_code)]

#[cfg(doctest)]
#[doc = include_str!("../README.md")]
struct Readme;

mod builder;
mod cache;
mod clock;
mod codec;
#[cfg(feature = "conformance")]
pub mod conformance;
mod engine;
mod epoch;
mod error;
mod flight;
pub mod future;
#[cfg(feature = "http")]
pub mod http;
mod key;
mod layer;
mod loaded;
mod metrics;
mod policy;
mod service;
pub mod shared;
mod store;
mod tier;
mod version;

pub use crate::builder::CacheBuilder;
pub use crate::cache::{CacheAside, Lookup, Reservation};
#[cfg(feature = "test-util")]
pub use crate::clock::Clock;
pub use crate::codec::Codec;
#[cfg(feature = "json")]
pub use crate::codec::Json;
#[cfg(feature = "postcard")]
pub use crate::codec::Postcard;
#[cfg(feature = "zstd")]
pub use crate::codec::Zstd;
pub use crate::engine::{Explanation, Progress, State, TierName, Warm, WarmReport};
pub use crate::error::{BuildError, Error};
pub use crate::key::{CacheKey, KeyEncoder};
pub use crate::layer::CacheAsideLayer;
pub use crate::loaded::{Batch, LoadCause, LoadContext, Loaded};
pub use crate::service::Cached;
#[cfg(feature = "redis")]
pub use crate::shared::redis::RedisStore;
#[cfg(feature = "moka")]
pub use crate::store::Moka;
#[cfg(feature = "quick")]
pub use crate::store::Quick;
pub use crate::store::{Entry, Store};
pub use crate::version::{Version, VersionFloor};
