use std::ffi::OsString;
use std::path::PathBuf;

use clap::Args;
use shard_router::{KeyType, KeyValue, SlotMap, Topology};

use crate::{Outcome, print_json};

/// A topology, or so many equal shards.
#[derive(Args)]
#[group(required = true, multiple = false)]
pub(crate) struct Placement {
    /// A topology in TOML
    #[arg(long, short, value_name = "FILE")]
    topology: Option<PathBuf>,
    /// So many equal shards, called s1, s2, …
    #[arg(long, value_name = "N")]
    shards: Option<u32>,
}

impl Placement {
    /// The map, and the types of the key's columns; without a topology `types`.
    pub(crate) fn load(
        &self,
        types: &[KeyType],
    ) -> Result<(SlotMap, Vec<KeyType>), Box<dyn std::error::Error>> {
        match &self.topology {
            Some(path) => {
                let topology = read(path)?;
                Ok((topology.map().clone(), topology.key().to_vec()))
            }
            None => Ok((equal(self.shards.unwrap_or(1))?, types.to_vec())),
        }
    }
}

pub(crate) fn equal(shards: u32) -> Result<SlotMap, shard_router::MapError> {
    SlotMap::even((1..=shards).map(|number| format!("s{number}")))
}

pub(crate) fn read(path: &PathBuf) -> Result<Topology, Box<dyn std::error::Error>> {
    let text = std::fs::read_to_string(path)
        .map_err(|error| format!("{} cannot be read: {error}", path.display()))?;
    let topology = Topology::from_toml(&text);
    Ok(topology.map_err(|error| format!("{}: {error}", path.display()))?)
}

/// Columns of a key, separated by commas where there are several.
pub(crate) fn parse(text: &str, types: &[KeyType]) -> Result<Vec<KeyValue>, String> {
    let pieces: Vec<&str> =
        if types.len() == 1 { vec![text] } else { text.split(',').collect() };
    if pieces.len() != types.len() {
        return Err(format!(
            "{text:?} has {} columns, and a key has {}; separate them by commas",
            pieces.len(),
            types.len()
        ));
    }
    let parsed = pieces.iter().zip(types).map(|(piece, key_type)| {
        KeyValue::parse(piece, *key_type).map_err(|error| format!("{piece:?} is {error}"))
    });
    parsed.collect()
}

#[derive(Args)]
pub(crate) struct Where {
    #[command(flatten)]
    placement: Placement,
    /// The type of each column without a topology: bigint, text, uuid, bytea
    #[arg(long = "type", value_name = "TYPE", default_value = "bigint", value_delimiter = ',')]
    types: Vec<KeyType>,
    /// As JSON
    #[arg(long)]
    json: bool,
    /// Keys; columns are separated by commas
    #[arg(required = true, value_name = "KEY", allow_hyphen_values = true)]
    keys: Vec<OsString>,
}

#[derive(serde::Serialize)]
struct Place {
    key: String,
    slot: u16,
    shard: String,
}

impl Where {
    pub(crate) fn run(self) -> Outcome {
        let (map, types) = self.placement.load(&self.types)?;
        let mut places = Vec::new();
        for key in &self.keys {
            let text = key.to_str().ok_or_else(|| {
                format!("{} is not UTF-8, and no text in PostgreSQL can be", key.display())
            })?;
            let values = parse(text, &types)?;
            let slot = map.slot(&values[..]);
            let shard = map.owner(slot).to_string();
            places.push(Place { key: text.into(), slot: slot.number(), shard });
        }
        if self.json {
            return print_json(&places);
        }
        say!("{:32} {:>6}  shard ({})", "key", "slot", map.hash());
        for Place { key, slot, shard } in places {
            say!("{key:32} {slot:>6}  {shard}");
        }
        Ok(())
    }
}
