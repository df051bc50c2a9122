//! A shared HTTP cache as a tower layer: RFC 9111, and what belongs to it.

mod age;
mod block;
mod body;
mod builder;
#[cfg(any(test, feature = "test-util"))]
#[doc(hidden)]
pub mod checks;
mod conditional;
mod content;
mod core;
mod directives;
mod entry;
mod fetch;
mod field;
mod file;
mod fleet;
mod flights;
mod future;
mod groups;
mod layer;
mod lifetime;
mod marks;
mod pass;
mod purge;
mod range;
mod reuse;
mod serve;
mod service;
mod status;
mod storable;
mod stream;
mod target;
mod text;
mod update;
mod vary;

pub use self::body::{Body, BodyError};
pub use self::builder::HttpCacheBuilder;
pub use self::future::ResponseFuture;
pub use self::layer::HttpCacheLayer;
pub use self::purge::{Purge, PurgeError};
pub use self::service::HttpCache;
