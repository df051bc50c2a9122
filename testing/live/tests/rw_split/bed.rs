//! A primary, its replicas, and routers over them.

use std::time::Duration;

use rw_split::{ConsistencyScope, ConsistencyToken, RwSplit, RwSplitBuilder, ServerConfig};
use testbed::postgres::{Client, Postgres, Replica};

pub(crate) const DEADLINE: Duration = Duration::from_secs(20);

pub(crate) struct Bed {
    pub(crate) primary: Postgres,
    pub(crate) replicas: Vec<Replica>,
}

impl Bed {
    /// With a table `t (id int primary key, n bigint)` of ten rows.
    pub(crate) async fn new(replicas: usize) -> Self {
        let primary = Postgres::start().await.unwrap();
        let client = primary.client().await.unwrap();
        let tables = "CREATE TABLE t (id int PRIMARY KEY, n bigint NOT NULL); \
            INSERT INTO t SELECT id, 0 FROM generate_series(0, 9) AS id";
        client.batch_execute(tables).await.unwrap();
        let mut bed = Self { primary, replicas: Vec::new() };
        for _ in 0..replicas {
            bed.replicas.push(bed.primary.replica().await.unwrap());
        }
        bed.caught_up().await;
        bed
    }

    pub(crate) async fn caught_up(&self) {
        for replica in &self.replicas {
            replica.caught_up(DEADLINE).await.unwrap();
        }
    }

    pub(crate) fn builder(&self) -> RwSplitBuilder {
        let first = RwSplit::builder().server(ServerConfig::new(self.primary.url()).name("a"));
        self.replicas.iter().zip(["b", "c", "d"]).fold(first, |builder, (replica, name)| {
            builder.server(ServerConfig::new(replica.url()).name(name))
        })
    }

    pub(crate) async fn db(&self) -> RwSplit {
        self.builder().build().await.unwrap()
    }

    pub(crate) async fn client(&self) -> Client {
        self.primary.client().await.unwrap()
    }
}

pub(crate) fn session() -> ConsistencyScope {
    ConsistencyScope::new(ConsistencyToken::default())
}

pub(crate) async fn set(db: &RwSplit, id: i32, n: i64) {
    let changed = db.execute("UPDATE t SET n = $2 WHERE id = $1", &[&id, &n]).await.unwrap();
    assert_eq!(changed, 1);
}

pub(crate) async fn get(db: &RwSplit, id: i32) -> i64 {
    db.query_one("SELECT n FROM t WHERE id = $1", &[&id]).await.unwrap().get(0)
}
