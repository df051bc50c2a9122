//! How values become bytes for a shared tier.

#[cfg(feature = "json")]
mod json;
#[cfg(feature = "postcard")]
mod postcard;
#[cfg(feature = "zstd")]
mod zstd;

#[cfg(feature = "json")]
pub use self::json::Json;
#[cfg(feature = "postcard")]
pub use self::postcard::Postcard;
#[cfg(feature = "zstd")]
pub use self::zstd::Zstd;

use crate::error::BoxError;

/// Writes values to bytes and reads them back.
///
/// The bytes are read by other processes, and by later versions of this one:
/// [`schema_version`](crate::CacheBuilder::schema_version) keeps apart what they
/// would not understand.
pub trait Codec<V>: Send + Sync + 'static {
    /// A number that is written beside each value. Bytes of another number are
    /// not decoded. Use one from 16 to 127: those below are this crate's, and those
    /// above are what `Zstd` makes of them.
    fn id(&self) -> u8;

    /// Appends the bytes of `value`.
    ///
    /// # Errors
    ///
    /// The value cannot be written. It is served, and not kept in the tier.
    fn encode(&self, value: &V, bytes: &mut Vec<u8>) -> Result<(), BoxError>;

    /// The value that `bytes`, all of them, say. They may be anything.
    ///
    /// # Errors
    ///
    /// They are not those of a value. That is a miss, and is written over.
    fn decode(&self, bytes: &[u8]) -> Result<V, BoxError>;
}
