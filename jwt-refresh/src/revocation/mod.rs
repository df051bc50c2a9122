//! What is revoked, in memory, and the feed that brings it.

mod feed;
mod ids;
mod maps;

pub(crate) use self::feed::Follow;
pub(crate) use self::ids::Ids;
pub(crate) use self::maps::TOO_OLD;
pub use self::maps::{AcceptStale, Revocations};
