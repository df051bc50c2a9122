use serde::Serialize;
use serde::de::DeserializeOwned;

use super::Codec;
use crate::error::BoxError;

/// JSON: larger and slower than [`Postcard`](crate::Postcard), and can be read
/// by people and by other languages.
#[derive(Clone, Copy, Debug, Default)]
pub struct Json;

impl<V: Serialize + DeserializeOwned> Codec<V> for Json {
    fn id(&self) -> u8 {
        2
    }

    fn encode(&self, value: &V, bytes: &mut Vec<u8>) -> Result<(), BoxError> {
        Ok(serde_json::to_writer(bytes, value)?)
    }

    fn decode(&self, bytes: &[u8]) -> Result<V, BoxError> {
        Ok(serde_json::from_slice(bytes)?)
    }
}
