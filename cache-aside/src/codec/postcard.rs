use serde::Serialize;
use serde::de::DeserializeOwned;

use super::Codec;
use crate::error::BoxError;

/// [Postcard](https://docs.rs/postcard): small and fast; the default.
///
/// Its bytes do not name the fields. Whoever adds, removes, reorders or
/// retypes one also raises the
/// [`schema_version`](crate::CacheBuilder::schema_version).
#[derive(Clone, Copy, Debug, Default)]
pub struct Postcard;

impl<V: Serialize + DeserializeOwned> Codec<V> for Postcard {
    fn id(&self) -> u8 {
        1
    }

    fn encode(&self, value: &V, bytes: &mut Vec<u8>) -> Result<(), BoxError> {
        Ok(postcard::to_io(value, bytes).map(|_| ())?)
    }

    fn decode(&self, bytes: &[u8]) -> Result<V, BoxError> {
        match postcard::take_from_bytes(bytes)? {
            (value, []) => Ok(value),
            (_, rest) => Err(format!("{} bytes are left over", rest.len()).into()),
        }
    }
}
