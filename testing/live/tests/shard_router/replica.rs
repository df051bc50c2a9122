//! A shard that is a primary with a replica, by `rw-split` behind the port.

use std::sync::Arc;

use rw_split::{ConsistencyScope, ConsistencyToken, PooledConnection, RwSplit};
use shard_router::source::{Purpose, ShardConnection, ShardSource, SourceError};
use shard_router::{Router, Scatter};
use tokio_postgres::types::ToSql;
use tokio_postgres::{Client, Row, Statement};

use crate::bed::{Bed, DEADLINE, count_of, fill, order, user_on};

struct Split(RwSplit);

struct Primary(PooledConnection);

fn error(error: rw_split::Error) -> SourceError {
    match error {
        rw_split::Error::Sql(error) => SourceError::Sql(error),
        rw_split::Error::OutcomeUnknown(_) => {
            SourceError::OutcomeUnknown(Some(Arc::new(error)))
        }
        rw_split::Error::PoolTimeout { size, waited, .. } => SourceError::Full { size, waited },
        other => SourceError::Unreachable(Some(Arc::new(other))),
    }
}

impl ShardSource for Split {
    type Connection = Primary;

    async fn connect(&self, _: Purpose) -> Result<Primary, SourceError> {
        self.0.pooled_connection().await.map(Primary).map_err(error)
    }

    async fn query(
        &self,
        sql: &str,
        params: &[&(dyn ToSql + Sync)],
    ) -> Result<Vec<Row>, SourceError> {
        self.0.query(sql, params).await.map_err(error)
    }

    async fn execute(
        &self,
        sql: &str,
        params: &[&(dyn ToSql + Sync)],
    ) -> Result<u64, SourceError> {
        self.0.execute(sql, params).await.map_err(error)
    }

    fn capacity(&self) -> usize {
        4
    }
}

impl ShardConnection for Primary {
    fn client(&self) -> &Client {
        &self.0
    }

    async fn statement(&self, sql: &str) -> Result<Statement, tokio_postgres::Error> {
        self.0.statement(sql).await
    }

    fn busy(&self) {
        self.0.busy();
    }

    fn idle(&self) {
        self.0.idle();
    }

    fn stale(&self) {
        self.0.forget_statements();
    }

    async fn committed(&self) -> Result<(), SourceError> {
        self.0.written().await.map_err(error)
    }
}

#[tokio::test]
async fn a_shard_may_be_a_primary_with_a_replica() {
    let bed = Bed::servers(2).await;
    let replica = bed.servers[1].replica().await.unwrap();
    let split = RwSplit::builder().server(bed.servers[1].url()).server(replica.url());
    let split = split.cluster("b").build().await.unwrap();
    let router = Router::builder(bed.topology()).source("b", Split(split.clone()));
    let router = router.build().unwrap();
    router.install().await.unwrap();
    fill(&router, 40).await;
    replica.caught_up(DEADLINE).await.unwrap();
    let user = user_on(&router, "b");

    // Whoever has written nothing is served by the replica.
    let before = split.stats().on_replicas;
    let visitor = ConsistencyScope::new(ConsistencyToken::default());
    let seen = visitor.enter(count_of(&router, user)).await.unwrap();
    assert_eq!((seen, split.stats().on_replicas - before), (1, 1));

    // Whoever has written reads that, though the replica does not have it.
    replica.pause_replay().await.unwrap();
    let writer = ConsistencyScope::new(ConsistencyToken::default());
    writer
        .enter(async {
            order(&router, 1000, user, 1).await.unwrap();
            assert_eq!(count_of(&router, user).await.unwrap(), 2);
            // Also by a transaction.
            let tx = router.with(&user, |shard| async move {
                let tx = shard.begin().await?;
                let sql = "INSERT INTO orders (id, user_id) VALUES (1001, $1)";
                tx.execute(sql, &[&user]).await?;
                tx.commit().await
            });
            tx.await.unwrap();
            assert_eq!(count_of(&router, user).await.unwrap(), 3);
        })
        .await;
    // A scatter is of the primaries.
    let all = router.scatter(Scatter::require_all()).query("SELECT 1 FROM orders", &[]);
    assert_eq!(all.count().await.unwrap(), 42);
    replica.resume_replay().await.unwrap();
    replica.caught_up(DEADLINE).await.unwrap();

    // A failover of the shard is none of the router's business.
    bed.servers[1].kill().await.unwrap();
    replica.promote().await.unwrap();
    let late = ConsistencyScope::new(ConsistencyToken::default());
    late.enter(testbed::eventually(DEADLINE, async || {
        order(&router, 1002, user, 1).await.is_ok()
    }))
    .await;
    assert_eq!(count_of(&router, user).await.unwrap(), 4);
}
