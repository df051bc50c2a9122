//! A source of one's own that keeps its connections: what it is told of them is true.

use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use shard_router::source::{Purpose, ShardConnection, ShardSource, SourceError};
use shard_router::{Error, Router, Scatter, Shard, SlotHash, asc};
use testbed::postgres::Client as Connection;
use tokio_postgres::types::ToSql;
use tokio_postgres::{Client, Row, SimpleQueryMessage};

use crate::bed::{Bed, DEADLINE, count_of, order};

/// Connections that were given back, to be used again.
#[derive(Clone, Default)]
struct Kept {
    url: String,
    idle: Arc<Mutex<Vec<Connection>>>,
    opened: Arc<AtomicUsize>,
}

struct Lent {
    connection: Option<Connection>,
    kept: Kept,
    busy: AtomicBool,
    /// What was committed must be looked after while the connection is still taken.
    committed_busy: AtomicBool,
}

impl Kept {
    async fn lend(&self) -> Result<Lent, SourceError> {
        let idle = self.idle.lock().unwrap().pop();
        let connection = match idle {
            Some(connection) => connection,
            None => {
                self.opened.fetch_add(1, Ordering::Relaxed);
                let opened = Connection::connect(&self.url).await;
                opened.map_err(|error| SourceError::Unreachable(Some(Arc::new(error))))?
            }
        };
        let (busy, committed_busy) = (AtomicBool::new(false), AtomicBool::new(true));
        Ok(Lent { connection: Some(connection), kept: self.clone(), busy, committed_busy })
    }
}

impl Drop for Lent {
    fn drop(&mut self) {
        assert!(self.committed_busy.load(Ordering::Relaxed), "it was idle before `committed`");
        if !self.busy.load(Ordering::Relaxed) {
            self.kept.idle.lock().unwrap().extend(self.connection.take());
        }
    }
}

impl ShardConnection for Lent {
    fn client(&self) -> &Client {
        self.connection.as_ref().unwrap()
    }

    fn busy(&self) {
        self.busy.store(true, Ordering::Relaxed);
    }

    fn idle(&self) {
        self.busy.store(false, Ordering::Relaxed);
    }

    async fn committed(&self) -> Result<(), SourceError> {
        self.committed_busy.store(self.busy.load(Ordering::Relaxed), Ordering::Relaxed);
        Ok(())
    }
}

impl ShardSource for Kept {
    type Connection = Lent;

    async fn connect(&self, _: Purpose) -> Result<Lent, SourceError> {
        self.lend().await
    }

    async fn query(
        &self,
        sql: &str,
        params: &[&(dyn ToSql + Sync)],
    ) -> Result<Vec<Row>, SourceError> {
        let lent = self.lend().await?;
        lent.busy();
        let rows = lent.client().query(sql, params).await?;
        lent.idle();
        Ok(rows)
    }

    async fn execute(
        &self,
        sql: &str,
        params: &[&(dyn ToSql + Sync)],
    ) -> Result<u64, SourceError> {
        let lent = self.lend().await?;
        lent.busy();
        let count = lent.client().execute(sql, params).await?;
        lent.idle();
        Ok(count)
    }

    fn capacity(&self) -> usize {
        2
    }
}

#[tokio::test]
async fn a_source_may_keep_its_connections() {
    let bed = Bed::databases(1).await;
    let kept = Kept { url: bed.urls[0].clone(), ..Kept::default() };
    let builder = || Router::builder(bed.topology()).source("a", kept.clone());
    let router = builder().query_timeout(Duration::from_secs(5)).build().unwrap();
    // What has been given back is in no transaction.
    let watcher = bed.client(0).await;
    let clean = async |what: &str| {
        let idle = std::mem::take(&mut *kept.idle.lock().unwrap());
        for connection in &idle {
            let sql = "SELECT now() = statement_timestamp()";
            let answer = connection.simple_query(sql).await.unwrap();
            let alone = answer.iter().any(|message| match message {
                SimpleQueryMessage::Row(row) => row.get(0) == Some("t"),
                _ => false,
            });
            assert!(alone, "{what}: it is in a transaction");
        }
        kept.idle.lock().unwrap().extend(idle);
        testbed::eventually(DEADLINE, async || {
            let sql = "SELECT count(*) FROM pg_stat_activity WHERE state LIKE 'idle in%'";
            watcher.query_one(sql, &[]).await.unwrap().get::<_, i64>(0) == 0
        })
        .await;
    };
    router.install().await.unwrap();
    clean("install").await;
    let other = bed.topology_of(bed.map().with_hash(SlotHash::Xxh3));
    let other = Router::builder(other).source("a", kept.clone()).build().unwrap();
    other.install().await.unwrap_err();
    clean("an install that was refused").await;
    watcher
        .batch_execute(
            "DELETE FROM shard_router.state; \
            ALTER TABLE shard_router.owned ADD CONSTRAINT none CHECK (last < 0) NOT VALID",
        )
        .await
        .unwrap();
    router.install().await.unwrap_err();
    clean("an install that has failed").await;
    watcher.batch_execute("ALTER TABLE shard_router.owned DROP CONSTRAINT none").await.unwrap();
    router.install().await.unwrap();
    clean("a second install").await;

    for id in 0..20 {
        order(&router, id, 1, 1).await.unwrap();
    }
    assert_eq!(count_of(&router, 1).await.unwrap(), 20);
    let all = || router.scatter(Scatter::require_all()).query("SELECT id FROM orders", &[]);
    for round in 0..10_i64 {
        let inside = |shard: Shard| async move {
            let tx = shard.begin().await?;
            let sql = "INSERT INTO orders (id, user_id) VALUES (100 + $1::bigint, 2)";
            tx.execute(sql, &[&round]).await?;
            match round % 3 {
                0 => tx.commit().await,
                1 => tx.rollback().await,
                _ => tx.execute("SELECT 1 / 0", &[]).await.map(drop),
            }
        };
        let outcome: Result<(), Error> = router.with(&1_i64, inside).await;
        assert_eq!(outcome.is_err(), round % 3 == 2);
        clean("a transaction").await;
        assert_eq!(all().count().await.unwrap(), 21 + u64::try_from(round / 3).unwrap());
        let mut stream = all().order_by([asc("id")]).stream().await.unwrap();
        for _ in 0..round * 5 {
            stream.next().await;
        }
        drop(stream);
        clean("a scatter").await;
    }
    let opened = kept.opened.load(Ordering::Relaxed);
    assert!(opened < 30, "{opened} connections were opened");
}
