use std::collections::HashMap;
use std::sync::Arc;

use super::{Growth, PlaceError, Strategy};
use crate::key::{KeyPart, KeyValue, ShardKey};
use crate::map::{MapError, ShardName};

/// A list of keys and their shards, with another strategy for all that are not listed: for
/// the few tenants that need a shard of their own.
#[derive(Clone, Debug)]
pub struct Directory {
    shards: Vec<ShardName>,
    listed: HashMap<Vec<KeyValue>, usize>,
    default: Option<Arc<dyn Strategy>>,
}

impl Directory {
    /// An empty one, in which nothing has a place.
    pub fn new() -> Self {
        Self { shards: Vec::new(), listed: HashMap::new(), default: None }
    }

    /// What is not listed is placed by `default`.
    pub fn with_default(default: impl Strategy + 'static) -> Self {
        let shards = default.shards();
        // Its shards come first, so its numbers are ours.
        Self { shards, listed: HashMap::new(), default: Some(Arc::new(default)) }
    }

    /// Lists a key, or lists it anew.
    ///
    /// # Errors
    ///
    /// A name that is none.
    pub fn list<K: ShardKey + ?Sized>(
        mut self,
        key: &K,
        shard: impl Into<String>,
    ) -> Result<Self, MapError> {
        let name = ShardName::new(shard)?;
        let known = self.shards.iter().position(|other| *other == name);
        let index = known.unwrap_or_else(|| {
            self.shards.push(name);
            self.shards.len() - 1
        });
        self.listed.insert(key.parts(|parts| parts.iter().map(KeyValue::of).collect()), index);
        Ok(self)
    }
}

impl Default for Directory {
    fn default() -> Self {
        Self::new()
    }
}

impl Strategy for Directory {
    fn name(&self) -> &'static str {
        "directory"
    }

    fn shards(&self) -> Vec<ShardName> {
        self.shards.clone()
    }

    fn place(&self, parts: &[KeyPart<'_>]) -> Result<usize, PlaceError> {
        let key: Vec<_> = parts.iter().map(KeyValue::of).collect();
        if let Some(index) = self.listed.get(&key) {
            return Ok(*index);
        }
        self.default.as_ref().ok_or(PlaceError::NotListed)?.place(parts)
    }

    fn growth(&self) -> Growth {
        self.default.as_ref().map_or(Growth::ByHand, |default| default.growth())
    }

    fn spread(&self) -> Option<f64> {
        self.default.as_ref().and_then(|default| default.spread())
    }
}
