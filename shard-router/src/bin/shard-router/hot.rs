use std::io::BufRead;

use clap::Args;
use shard_router::{HotReport, HotShard, KeyType};

use crate::keys::{Placement, parse};
use crate::{Outcome, print_json};

#[derive(Args)]
pub(crate) struct Hot {
    #[command(flatten)]
    placement: Placement,
    /// The type of each column without a topology: bigint, text, uuid, bytea
    #[arg(long = "type", value_name = "TYPE", default_value = "bigint", value_delimiter = ',')]
    types: Vec<KeyType>,
    /// So many of each shard
    #[arg(long, default_value_t = 5, value_name = "N")]
    top: usize,
    /// Counters of each shard: what has more than 1/N of its keys is found
    #[arg(long, default_value_t = 1000, value_name = "N")]
    counters: usize,
    /// As JSON
    #[arg(long)]
    json: bool,
}

impl Hot {
    /// Keys are read from the standard input, one a line.
    pub(crate) fn run(self) -> Outcome {
        let (map, types) = self.placement.load(&self.types)?;
        let mut report = HotReport::new(&map, self.counters);
        for (number, line) in (1..).zip(std::io::stdin().lock().lines()) {
            let line = line.map_err(|error| format!("line {number}: {error}"))?;
            let values =
                parse(&line, &types).map_err(|error| format!("line {number}: {error}"))?;
            report.record(&values[..]);
        }
        let shards = report.top(self.top);
        if self.json {
            return print_json(&shards);
        }
        for shard in shards {
            let advice = shard.advice();
            let HotShard { shard, seen, slots, keys, .. } = shard;
            say!("{shard}: {seen} keys");
            for slot in slots {
                say!("  slot {:<30} {:>10}", slot.item.to_string(), slot.count);
            }
            for key in keys {
                say!("  key  {:<30} {:>10}", key.item, key.count);
            }
            if let Some(advice) = advice {
                say!("  {advice}");
            }
        }
        Ok(())
    }
}
