//! Shards, and routers over them.

use std::time::Duration;

use shard_router::{KeyType, Router, RouterBuilder, SlotMap, Topology};
use testbed::postgres::{Client, Postgres};

pub(crate) const DEADLINE: Duration = Duration::from_secs(20);
pub(crate) const NAMES: [&str; 4] = ["a", "b", "c", "d"];

pub(crate) const ORDERS: &str = "CREATE TABLE orders (id bigint PRIMARY KEY, \
    user_id bigint NOT NULL, total bigint, note text, at timestamptz NOT NULL DEFAULT now())";

/// A server for each shard, or one with a database for each.
pub(crate) struct Bed {
    pub(crate) servers: Vec<Postgres>,
    pub(crate) urls: Vec<String>,
}

impl Bed {
    /// For tests in which no server fails.
    pub(crate) async fn databases(shards: usize) -> Self {
        let names = &NAMES[..shards];
        let builder =
            names.iter().fold(Postgres::builder(), |builder, name| builder.database(*name));
        let server = builder.start().await.unwrap();
        let urls = names.iter().map(|name| server.url_of(name)).collect();
        Self { servers: vec![server], urls }.with_tables().await
    }

    /// For tests in which some do.
    pub(crate) async fn servers(shards: usize) -> Self {
        let mut servers = Vec::new();
        for _ in 0..shards {
            servers.push(Postgres::start().await.unwrap());
        }
        let urls = servers.iter().map(Postgres::url).collect();
        Self { servers, urls }.with_tables().await
    }

    async fn with_tables(self) -> Self {
        for shard in 0..self.urls.len() {
            self.client(shard).await.batch_execute(ORDERS).await.unwrap();
        }
        self
    }

    pub(crate) async fn client(&self, shard: usize) -> Client {
        Client::connect(&self.urls[shard]).await.unwrap()
    }

    pub(crate) fn map(&self) -> SlotMap {
        SlotMap::even(NAMES[..self.urls.len()].iter().copied()).unwrap()
    }

    pub(crate) fn topology(&self) -> Topology {
        self.topology_of(self.map())
    }

    /// Of any map over these shards.
    pub(crate) fn topology_of(&self, map: SlotMap) -> Topology {
        let names: Vec<_> = map.shards().map(ToString::to_string).collect();
        let topology = Topology::new(map, [KeyType::Int]).unwrap();
        let topology = names.iter().fold(topology, |topology, name| {
            let index = NAMES.iter().position(|other| other == name).unwrap();
            topology.shard(name, &self.urls[index]).unwrap()
        });
        topology.table("orders", ["user_id"]).unwrap()
    }

    pub(crate) fn builder(&self) -> RouterBuilder {
        Router::builder(self.topology())
            .connect_timeout(Duration::from_millis(500))
            .pool_timeout(Duration::from_secs(2))
    }

    /// Installed.
    pub(crate) async fn router(&self) -> Router {
        let router = self.builder().build().unwrap();
        router.install().await.unwrap();
        router
    }
}

/// A user whose orders are on this shard.
pub(crate) fn user_on(router: &Router, shard: &str) -> i64 {
    (0..).find(|user: &i64| router.shard_of(user).unwrap().as_str() == shard).unwrap()
}

pub(crate) async fn order(
    router: &Router,
    id: i64,
    user: i64,
    total: i64,
) -> Result<(), shard_router::Error> {
    router
        .with(&user, |shard| async move {
            let sql = "INSERT INTO orders (id, user_id, total) VALUES ($1, $2, $3)";
            shard.execute(sql, &[&id, &user, &total]).await.map(drop)
        })
        .await
}

/// Orders `0..count`, of as many users, over all shards.
pub(crate) async fn fill(router: &Router, count: i64) {
    for id in 0..count {
        order(router, id, id, id % 97).await.unwrap();
    }
}

pub(crate) async fn count_of(router: &Router, user: i64) -> Result<i64, shard_router::Error> {
    router
        .with(&user, |shard| async move {
            let sql = "SELECT count(*) FROM orders WHERE user_id = $1";
            Ok(shard.query_one(sql, &[&user]).await?.get(0))
        })
        .await
}
