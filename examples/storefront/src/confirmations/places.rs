//! Where orders are, and so what is to be told of them: on shards, or in the shop's database.

use std::error::Error;
use std::path::PathBuf;

use clap::Args;
use shard_router::{Router, ShardName};
use tokio_postgres::Row;
use tokio_postgres::types::ToSql;

use crate::db::{Database, DbError, Reads};
use crate::orders::{router, somebody_on};
use crate::servers::Servers;

/// Options that say where orders are.
#[derive(Args, Clone)]
pub(crate) struct Where {
    /// The shards that orders are on, as `storefront serve` has them.
    #[arg(long, env = "SHARDS", value_name = "FILE.toml")]
    pub(super) shards: Option<PathBuf>,
    /// Without shards: the shop's database, as `storefront serve` has it.
    #[arg(long, env = "DATABASE_URL", hide_env_values = true)]
    pub(super) database_url: Option<String>,
    /// The most connections to each server.
    #[arg(long, default_value_t = 4, value_parser = clap::value_parser!(u32).range(1..=100))]
    pub(super) connections: u32,
}

/// It may hold a password.
impl std::fmt::Debug for Where {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Where").field("shards", &self.shards).finish_non_exhaustive()
    }
}

impl Where {
    /// Finds them. Shards need not be up.
    ///
    /// # Errors
    ///
    /// A topology that cannot be used; a database without a shop, or whose orders are elsewhere.
    pub(super) async fn open(&self) -> Result<Places, Box<dyn Error>> {
        if let Some(file) = &self.shards {
            return Ok(Places::Shards(router(file, self.connections)?));
        }
        let Some(url) = &self.database_url else {
            return Err("give --shards or, for a shop without them, --database-url".into());
        };
        // The parser's words show pieces of what it reads.
        let servers: Servers =
            url.parse().map_err(|_| "--database-url is no postgres://… URL")?;
        let db = Database::connect(servers.0, self.connections, Reads::Session).await?;
        if db.orders_are_sharded().await? {
            return Err(
                "the orders of this shop are on shards; give --shards as it was seeded".into(),
            );
        }
        Ok(Places::Shop(db))
    }
}

/// Where orders are. Clones share their connections.
#[derive(Clone, Debug)]
pub(super) enum Places {
    Shop(Database),
    Shards(Router),
}

/// One of them.
#[derive(Clone, Debug)]
pub(super) struct Place {
    /// The shard's name.
    pub(super) name: String,
    /// Any of its users: the way to it.
    somebody: i64,
    places: Places,
}

impl Places {
    /// Each of them, once.
    pub(super) fn all(&self) -> Vec<Place> {
        let place = |name: &str, somebody| Place {
            name: name.to_owned(),
            somebody,
            places: self.clone(),
        };
        match self {
            Self::Shop(_) => vec![place("shop", 0)],
            Self::Shards(router) => {
                let map = router.map();
                let known =
                    |shard: &ShardName| Some(place(shard.as_str(), somebody_on(&map, shard)?));
                map.shards().filter_map(known).collect()
            }
        }
    }

    /// Runs a statement where the orders of this user are; when this returns, it is committed.
    ///
    /// # Errors
    ///
    /// Without an answer in time, or a good answer.
    ///
    /// # Cancel safety
    ///
    /// Dropped, it may have taken effect or not.
    pub(super) async fn ask(
        &self,
        user: i64,
        sql: &str,
        params: &[&(dyn ToSql + Sync)],
    ) -> Result<Vec<Row>, DbError> {
        match self {
            Self::Shop(db) => db.ask(sql, params).await,
            Self::Shards(router) => {
                let asking =
                    router.with(&user, |shard| async move { shard.query(sql, params).await });
                Ok(asking.await?)
            }
        }
    }
}

impl Place {
    /// As [`Places::ask`].
    pub(super) async fn ask(
        &self,
        sql: &str,
        params: &[&(dyn ToSql + Sync)],
    ) -> Result<Vec<Row>, DbError> {
        self.places.ask(self.somebody, sql, params).await
    }
}
