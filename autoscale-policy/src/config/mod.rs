//! How settings are written down.

#[cfg(feature = "serde")]
pub(crate) mod span;
