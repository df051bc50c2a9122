//! Which shards there are, and what makes a server one of them.

use std::collections::HashMap;
use std::error::Error;
use std::fs;
use std::path::{Path, PathBuf};

use clap::Args;
use shard_router::{
    Column, KeyType, Migration, Migrator, Router, RouterBuilder, ShardName, SlotRange,
    Topology, slot_sql,
};
use tokio_postgres::Config;

use super::split::Split;
use crate::cluster::Cluster;
use crate::confirmations;
use crate::db::{ANSWER, CHECKOUT, Reads};
use crate::servers::{each_host, may_be_a_replica};

/// The tables that are spread, and their key. The first one is what the others are about.
const TABLES: [&str; 3] = [TABLE, "storefront.outbox", "storefront.confirmations"];
const TABLE: &str = "storefront.orders";
const KEY: &str = "user_id";

const SCHEMA: &str = include_str!("shard.sql");

/// Options of `storefront seed` and `serve`.
#[derive(Args, Clone, Debug)]
pub(crate) struct Shards {
    /// Keeps orders on the shards of this topology, by their user. Without it they are in the
    /// shop's database. A shard that is a primary with replicas names all of them as the hosts
    /// of its connection:
    /// postgres://user:password@a,b/database?target_session_attrs=read-write.
    #[arg(long = "shards", env = "SHARDS", value_name = "FILE.toml")]
    pub(crate) file: Option<PathBuf>,
}

/// The router over the shards of `file`, each with the servers that it has: reads go where
/// `reads` says. With it, those of them whose reads may lag.
///
/// # Errors
///
/// A file that cannot be read, or is no topology for orders.
pub(super) async fn open(
    file: &Path,
    connections: u32,
    reads: Reads,
) -> Result<(Router, HashMap<ShardName, Cluster>), Box<dyn Error>> {
    let topology = read(file)?;
    let mut router = builder(&topology, connections);
    let mut clusters = HashMap::new();
    for name in topology.map().shards() {
        let servers = servers(&topology, name)?;
        if !reads.follows(servers.len()) {
            continue;
        }
        let builder = reads.builder(servers, Split::pool_size(connections as usize));
        let db = builder.cluster(name.as_str()).build().await?;
        router = router.source(name.as_str(), Split::new(db.clone(), connections as usize));
        clusters.insert(name.clone(), Cluster::Lagging(db));
    }
    Ok((router.build()?, clusters))
}

/// Whether users of these shards are to be followed by cookies.
///
/// # Errors
///
/// As for [`open`].
pub(crate) fn follows(file: &Path, reads: Reads) -> Result<bool, Box<dyn Error>> {
    let topology = read(file)?;
    for name in topology.map().shards() {
        if reads.follows(servers(&topology, name)?.len()) {
            return Ok(true);
        }
    }
    Ok(false)
}

/// The router over the primaries of the shards of `file`. Nothing is connected to yet.
///
/// # Errors
///
/// As for [`open`].
pub(crate) fn router(file: &Path, connections: u32) -> Result<Router, Box<dyn Error>> {
    Ok(builder(&read(file)?, connections).build()?)
}

fn read(file: &Path) -> Result<Topology, Box<dyn Error>> {
    let text = fs::read_to_string(file).map_err(|e| format!("{}: {e}", file.display()))?;
    Ok(topology(&text).map_err(|e| format!("{}: {e}", file.display()))?)
}

/// Of the crate's own pools, on the primary of each shard.
fn builder(topology: &Topology, connections: u32) -> RouterBuilder {
    Router::builder(topology.clone())
        .pool_size(connections as usize)
        .pool_timeout(CHECKOUT)
        .connect_timeout(CHECKOUT)
        .query_timeout(ANSWER)
}

/// The servers of one shard.
fn servers(topology: &Topology, name: &ShardName) -> Result<Vec<Config>, Box<dyn Error>> {
    let Some(text) = topology.connection(name.as_str())? else { return Ok(Vec::new()) };
    // What is wrong with it, the router says, without the password.
    let Ok(config) = text.parse::<Config>() else { return Ok(Vec::new()) };
    if may_be_a_replica(&config) {
        return Err(format!(
            "the shard {name} has several hosts, of which one takes writes: add \
             target_session_attrs=read-write to its connection"
        )
        .into());
    }
    Ok(each_host(&config))
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
        assert!(read(none).unwrap_err().to_string().contains("/nowhere/shards.toml"));
    }

    #[test]
    fn a_shard_with_replicas_says_which_of_them_takes_writes() {
        let hosts = |text: &str| {
            let topology = topology(&TWO.replace("host=a", text)).unwrap();
            let servers = servers(&topology, topology.map().shards().next().unwrap());
            servers.map(|servers| servers.len()).map_err(|e| e.to_string())
        };
        assert_eq!(hosts("host=a"), Ok(1));
        assert_eq!(hosts("postgres://u:p@a,b/d?target_session_attrs=read-write"), Ok(2));
        let refused = hosts("postgres://u:sesame@a,b/d").unwrap_err();
        assert!(refused.contains("target_session_attrs") && !refused.contains("sesame"));
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
