//! Refresh tokens: their form, their keys, and what becomes of one that is
//! presented.

mod keys;
pub(crate) mod policy;
mod token;

pub use self::keys::RefreshKeys;
pub(crate) use self::token::{PREFIX, Presented, issue, retry_hash};
