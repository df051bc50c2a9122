use std::sync::Arc;

use super::{Growth, PlaceError, Strategy};
use crate::key::{KeyPart, KeyType};
use crate::map::ShardName;

/// The region first, by the key's first column, then a strategy of the region's own for the
/// columns that follow: for rows that must stay in a country.
#[derive(Clone, Debug, Default)]
pub struct Geo {
    regions: Vec<(String, usize, Arc<dyn Strategy>)>,
    shards: Vec<ShardName>,
}

impl Geo {
    /// Without regions.
    pub fn new() -> Self {
        Self::default()
    }

    /// Adds a region. A later one of the same name is not asked.
    #[must_use]
    pub fn region(mut self, name: impl Into<String>, within: impl Strategy + 'static) -> Self {
        let first = self.shards.len();
        self.shards.extend(within.shards());
        self.regions.push((name.into(), first, Arc::new(within)));
        self
    }
}

impl Strategy for Geo {
    fn name(&self) -> &'static str {
        "geo"
    }

    fn shards(&self) -> Vec<ShardName> {
        self.shards.clone()
    }

    fn place(&self, parts: &[KeyPart<'_>]) -> Result<usize, PlaceError> {
        let Some((KeyPart::Text(region), rest)) = parts.split_first() else {
            let found = parts.first().map(KeyPart::key_type);
            return Err(PlaceError::WrongType { expected: KeyType::Text, found });
        };
        let known = self.regions.iter().find(|(name, ..)| name == region);
        let (_, first, within) =
            known.ok_or_else(|| PlaceError::UnknownRegion { region: (*region).to_owned() })?;
        Ok(first + within.place(rest)?)
    }

    fn growth(&self) -> Growth {
        let worst = self.regions.iter().map(|(.., within)| within.growth());
        worst.max_by_key(|growth| *growth == Growth::Reshuffles).unwrap_or(Growth::ByHand)
    }

    fn spread(&self) -> Option<f64> {
        None
    }
}
