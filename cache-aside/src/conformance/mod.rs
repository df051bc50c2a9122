//! The test suites for stores of one's own: [`Store`](crate::Store) and
//! [`SharedStore`](crate::shared::SharedStore).
//!
//! ```
//! use cache_aside::{Moka, conformance};
//!
//! conformance::store(Moka::entries);
//! ```

mod local;
#[cfg(feature = "http")]
mod news;
mod shared;

pub use self::local::store;
#[cfg(feature = "http")]
pub use self::news::news;
pub use self::shared::shared;
