use std::io::Write;
use std::path::PathBuf;

use clap::Args;
use shard_router::strategy::{Jump, Modulo, Rendezvous, Ring, Strategy, moved};
use shard_router::{MapError, SlotMap};

use crate::keys::{equal, read};
use crate::{Outcome, print_json};

/// How many keys the strategies are compared by.
const KEYS: i64 = 100_000;
const VIRTUAL_NODES: u32 = 128;

#[derive(Args)]
pub(crate) struct Plan {
    /// A topology in TOML
    #[arg(conflicts_with_all = ["from", "to"], required_unless_present = "from")]
    topology: Option<PathBuf>,
    /// Instead: from so many equal shards
    #[arg(long, requires = "to", value_name = "N")]
    from: Option<u32>,
    /// To so many
    #[arg(long, requires = "from", value_name = "N")]
    to: Option<u32>,
    /// A shard that joins, with its weight (1)
    #[arg(long, value_name = "NAME[=WEIGHT]", requires = "topology")]
    add: Vec<String>,
    /// A shard that leaves
    #[arg(long, value_name = "NAME", requires = "topology")]
    remove: Vec<String>,
    /// Another weight
    #[arg(long, value_name = "NAME=WEIGHT", requires = "topology")]
    reweight: Vec<String>,
    /// A slot that goes to a shard
    #[arg(long, value_name = "SLOT=NAME", requires = "topology")]
    pin: Vec<String>,
    /// Print the new topology, for a file or a control table
    #[arg(long, conflicts_with = "json", requires = "topology")]
    toml: bool,
    /// As JSON
    #[arg(long)]
    json: bool,
}

#[derive(serde::Serialize)]
struct Report<'a> {
    plan: &'a shard_router::Plan,
    compared: Vec<Compared>,
}

#[derive(serde::Serialize)]
struct Compared {
    strategy: &'static str,
    moved_percent: f64,
}

impl Plan {
    pub(crate) fn run(self) -> Outcome {
        let topology = self.topology.as_ref().map(read).transpose()?;
        let map = match (&topology, self.from) {
            (Some(topology), _) => topology.map().clone(),
            (None, from) => equal(from.unwrap_or(1))?,
        };
        let plan = self.plan(&map)?;
        if let (true, Some(topology)) = (self.toml, topology) {
            write!(std::io::stdout(), "{}", topology.with_map(plan.map().clone())?.to_toml())?;
            return Ok(());
        }
        let compared = compare(plan.before(), plan.map())?;
        if self.json {
            return print_json(&Report { plan: &plan, compared });
        }
        say!("{plan}");
        say!("moved, of {KEYS} keys, by strategy:");
        for Compared { strategy, moved_percent } in compared {
            say!("{strategy:12} {moved_percent:>8.2} %");
        }
        Ok(())
    }

    fn plan(&self, map: &SlotMap) -> Result<shard_router::Plan, Box<dyn std::error::Error>> {
        let mut planner = map.plan();
        if let (Some(from), Some(to)) = (self.from, self.to) {
            for number in from + 1..=to {
                planner = planner.add_shard(format!("s{number}"), 1);
            }
            for number in to + 1..=from {
                planner = planner.remove_shard(format!("s{number}"));
            }
        }
        for text in &self.add {
            let (name, weight) = text.split_once('=').unwrap_or((text, "1"));
            planner = planner.add_shard(name, number(weight, text)?);
        }
        for name in &self.remove {
            planner = planner.remove_shard(name);
        }
        for text in &self.reweight {
            let (name, weight) =
                text.split_once('=').ok_or_else(|| format!("{text:?} is not NAME=WEIGHT"))?;
            planner = planner.reweight(name, number(weight, text)?);
        }
        for text in &self.pin {
            let (slot, name) =
                text.split_once('=').ok_or_else(|| format!("{text:?} is not SLOT=NAME"))?;
            let slot = slot.parse().ok().and_then(shard_router::Slot::new);
            let slot = slot.ok_or_else(|| format!("{text:?}: a slot is from 0 to 16383"))?;
            planner = planner.pin(slot, name);
        }
        Ok(planner.build()?)
    }
}

fn number(text: &str, whole: &str) -> Result<u32, String> {
    text.parse().map_err(|_| format!("{whole:?}: a weight is a whole number from 1"))
}

fn compare(before: &SlotMap, after: &SlotMap) -> Result<Vec<Compared>, MapError> {
    let names = |map: &SlotMap| map.shards().map(ToString::to_string).collect::<Vec<_>>();
    let weighted =
        |map: &SlotMap| names(map).into_iter().zip(map.weights().collect::<Vec<_>>());
    let of = |before: &dyn Strategy, after: &dyn Strategy| Compared {
        strategy: before.name(),
        moved_percent: moved(before, after, 0..KEYS) * 100.0,
    };
    let ring = |map: &SlotMap| Ring::new(weighted(map), VIRTUAL_NODES);
    let rendezvous = |map: &SlotMap| Rendezvous::new(weighted(map));
    let jump = |map: &SlotMap| Jump::new(names(map));
    let modulo = |map: &SlotMap| Modulo::new(names(map));
    Ok(vec![
        of(before, after),
        of(&ring(before)?, &ring(after)?),
        of(&rendezvous(before)?, &rendezvous(after)?),
        of(&jump(before)?, &jump(after)?),
        of(&modulo(before)?, &modulo(after)?),
    ])
}
