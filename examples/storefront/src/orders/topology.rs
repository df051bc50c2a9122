//! Which shards there are, and what makes a server one of them.

use std::error::Error;
use std::fs;
use std::path::{Path, PathBuf};

use clap::Args;
use shard_router::{
    Column, KeyType, Migration, Migrator, Router, SlotRange, Topology, slot_sql,
};

use crate::confirmations;
use crate::db::{ANSWER, CHECKOUT};

/// The tables that are spread, and their key. The first one is what the others are about.
const TABLES: [&str; 3] = [TABLE, "storefront.outbox", "storefront.confirmations"];
const TABLE: &str = "storefront.orders";
const KEY: &str = "user_id";

const SCHEMA: &str = include_str!("shard.sql");

/// Options of `storefront seed` and `serve`.
#[derive(Args, Clone, Debug)]
pub(crate) struct Shards {
    /// Keeps orders on the shards of this topology, by their user. Without it they are in the
    /// shop's database.
    #[arg(long = "shards", env = "SHARDS", value_name = "FILE.toml")]
    pub(crate) file: Option<PathBuf>,
}

/// The router over the shards of `file`. Nothing is connected to yet.
///
/// # Errors
///
/// A file that cannot be read, or is no topology for orders.
pub(crate) fn router(file: &Path, connections: u32) -> Result<Router, Box<dyn Error>> {
    let text = fs::read_to_string(file).map_err(|e| format!("{}: {e}", file.display()))?;
    let topology = topology(&text).map_err(|e| format!("{}: {e}", file.display()))?;
    let router = Router::builder(topology)
        .pool_size(connections as usize)
        .pool_timeout(CHECKOUT)
        .connect_timeout(CHECKOUT)
        .query_timeout(ANSWER);
    Ok(router.build()?)
}

fn topology(text: &str) -> Result<Topology, Box<dyn Error>> {
    let topology = Topology::from_toml(text)?;
    if topology.key() != [KeyType::Int] {
        return Err("orders are placed by their user's number; write key = [\"bigint\"]".into());
    }
    TABLES.into_iter().try_fold(topology, |topology, name| {
        if topology.tables().iter().any(|table| table.name() == name) {
            return Ok(topology);
        }
        Ok(topology.table(name, [KEY])?)
    })
}

/// Makes servers the shards of `file`: what each of them is, and the tables.
///
/// # Errors
///
/// When one of them does not answer, is something else already, or refuses a change.
pub(crate) async fn prepare(file: &Path) -> Result<Router, Box<dyn Error>> {
    let router = router(file, 1)?;
    router.install().await?;
    let changes = [
        Migration::expand("storefront_0001_orders", SCHEMA),
        Migration::expand("storefront_0002_confirmations", confirmations::schema()),
    ];
    Migrator::new(&router).run(&changes).await?;
    Ok(router)
}

/// Has the database itself refuse what belongs on another shard.
pub(super) fn check_slots(owned: &[SlotRange]) -> String {
    let slot = slot_sql(&[Column { name: KEY, key_type: KeyType::Int }]);
    let within =
        |range: &SlotRange| format!("{slot} BETWEEN {} AND {}", range.first, range.last);
    let owned = match owned {
        [] => "false".to_owned(),
        _ if cfg!(broken = "no_slot_check") => "true".to_owned(),
        owned => owned.iter().map(within).collect::<Vec<_>>().join(" OR "),
    };
    format!(
        "ALTER TABLE {TABLE} DROP CONSTRAINT IF EXISTS shard_router_slots, \
         ADD CONSTRAINT shard_router_slots CHECK ({owned})"
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    const TWO: &str = r#"
        key = ["bigint"]
        [[shards]]
        name = "a"
        connection = "host=a"
        [[shards]]
        name = "b"
        connection = "host=b"
    "#;

    #[test]
    fn each_table_is_always_looked_at_and_once() {
        let listed = "\n[[tables]]\nname = \"storefront.orders\"\nkey = [\"user_id\"]";
        for text in [TWO.to_owned(), format!("{TWO}{listed}")] {
            let topology = topology(&text).unwrap();
            let tables: Vec<_> = topology.tables().iter().map(|table| table.name()).collect();
            assert_eq!(tables, TABLES);
            assert!(topology.tables().iter().all(|table| table.columns() == [KEY]));
        }
    }

    #[test]
    fn orders_have_no_other_key_than_their_user() {
        let text = TWO.replace("bigint", "text");
        assert!(topology(&text).unwrap_err().to_string().contains("bigint"));
        let none = Path::new("/nowhere/shards.toml");
        assert!(router(none, 1).unwrap_err().to_string().contains("/nowhere/shards.toml"));
    }

    #[test]
    fn a_shard_takes_what_is_in_its_slots_and_nothing_else() {
        let range = |first, last| SlotRange::new(first, last).unwrap();
        let sql = check_slots(&[range(0, 9), range(20, 29)]);
        assert!(sql.contains("BETWEEN 0 AND 9 OR "), "{sql}");
        assert!(sql.contains("BETWEEN 20 AND 29)"), "{sql}");
        // It owns nothing, so it takes nothing.
        assert!(check_slots(&[]).ends_with("CHECK (false)"));
    }
}
