//! The test suites for stores of one's own: [`Store`](crate::Store) and
//! [`SharedStore`](crate::shared::SharedStore).
//!
//! ```
//! use cache_aside::{Moka, conformance};
//!
//! conformance::store(Moka::entries);
//! ```

mod local;
mod shared;

pub use self::local::store;
pub use self::shared::shared;
