//! Orders on the shard of their user, and their products' stock in the shop's database.
//!
//! No transaction spans the two. So an order is written on its shard and left open; the stock
//! is taken in the shop's database, together with a row that says for which order; and only
//! then is the order committed. What has failed before the second step has happened nowhere.
//! What fails after it is made up for, by that row: see [`settle`](super::settle()).

use std::borrow::Cow;
use std::collections::HashMap;
use std::path::Path;
use std::sync::Arc;
use std::{error, fmt};

use metrics::{Counter, counter};
use shard_router::{Error, IdGenerator, Router, Shard, ShardName, Tx};
use tokio::time::timeout;
use tokio_postgres::Row;
use tokio_postgres::types::ToSql;
use tracing::warn;

use super::{Order, Summary, Wish, topology};
use crate::cluster::Cluster;
use crate::db::{ANSWER, Database, DbError, QUERIES, Reads};
use crate::statements::{SUMMARY, Statement};
use crate::users::UserId;

const OF_USER: &str = "
    SELECT id, product_id, quantity,
           to_char(placed_at AT TIME ZONE 'UTC', 'YYYY-MM-DD\"T\"HH24:MI:SS.US\"Z\"')
    FROM storefront.orders WHERE user_id = $1
    ORDER BY placed_at DESC, id DESC LIMIT 50";

/// The same order twice is one. Another order of that number has no row.
///
/// Until the order is committed, its row keeps others from placing it. If nothing is heard of
/// this process any more, the server gives it up: later than the stock can take to be taken.
///
/// With the order goes what is to be told of it: only with one that was not there before, which
/// no transaction has updated yet, since it may have been told by now.
const WRITE: &str = "
    WITH placed AS (
        INSERT INTO storefront.orders AS known (id, user_id, product_id, quantity)
        SELECT $1::bigint, $2::bigint, $3::bigint, $4::bigint
        FROM set_config('idle_in_transaction_session_timeout', '8s', true)
        ON CONFLICT (user_id, id) DO UPDATE SET quantity = known.quantity
        WHERE known.product_id = excluded.product_id AND known.quantity = excluded.quantity
        RETURNING id, user_id, product_id, quantity, placed_at, known.xmax = 0 AS is_new
    ), to_tell AS (
        INSERT INTO storefront.outbox (order_id, user_id, product_id, quantity, placed_at)
        SELECT id, user_id, product_id, quantity, placed_at FROM placed WHERE is_new
    )
    SELECT id, product_id, quantity,
           to_char(placed_at AT TIME ZONE 'UTC', 'YYYY-MM-DD\"T\"HH24:MI:SS.US\"Z\"')
    FROM placed";

/// What `outbox_after_commit` does instead.
const TELL: &str = "
    INSERT INTO storefront.outbox (order_id, user_id, product_id, quantity, placed_at)
    SELECT id, user_id, product_id, quantity, placed_at FROM storefront.orders WHERE id = $1";

fn write_sql() -> Cow<'static, str> {
    if cfg!(broken = "outbox_after_commit") {
        let (order, rest) = WRITE.split_once(", to_tell AS (").unwrap_or_default();
        let (_, select) = rest.split_once("WHERE is_new\n    )").unwrap_or_default();
        return Cow::Owned([order, select].concat());
    }
    if cfg!(broken = "told_again") {
        return Cow::Owned(WRITE.replace(" WHERE is_new", ""));
    }
    Cow::Borrowed(WRITE)
}

/// The shards, and the shop's database beside them. Clones share their connections.
#[derive(Clone, Debug)]
pub(crate) struct Sharded {
    pub(super) db: Database,
    pub(super) router: Router,
    clusters: Arc<HashMap<ShardName, Cluster>>,
    ids: Arc<IdGenerator>,
    of_user: Counter,
    summaries: Counter,
    writes: Counter,
}

/// An order that has a number.
#[derive(Clone, Copy, Debug)]
pub(super) struct Draft {
    pub(super) id: i64,
    pub(super) user: i64,
    pub(super) product: i64,
    pub(super) quantity: i64,
}

impl Draft {
    fn params(&self) -> [&(dyn ToSql + Sync); 4] {
        [&self.id, &self.user, &self.product, &self.quantity]
    }
}

impl Sharded {
    /// Of a shop over `db`, on the shards of the topology in `file`. A shard that is down does
    /// not keep the shop from opening for the users of the others.
    pub(super) async fn open(
        db: &Database,
        file: &Path,
        connections: u32,
        reads: Reads,
    ) -> Result<Self, Box<dyn error::Error>> {
        let (router, clusters) = topology::open(file, connections, reads).await?;
        for report in router.check().await {
            match report.state {
                Ok(_) => {}
                Err(e @ (Error::Unreachable { .. } | Error::Late { .. })) => warn!(
                    error = &e as &dyn error::Error,
                    "a shard is not there: its users are told to come again"
                ),
                Err(e) => return Err(Box::new(Unusable(e))),
            }
        }
        let ids = Arc::new(IdGenerator::new(db.process_number().await?)?);
        let statement = |label: &'static str| counter!(QUERIES, "statement" => label);
        Ok(Self {
            db: db.clone(),
            router,
            clusters: Arc::new(clusters),
            ids,
            of_user: statement("orders_of_user"),
            summaries: statement("summary_of_user"),
            writes: statement("write_order"),
        })
    }

    pub(super) async fn of_user(&self, user: UserId) -> Result<Option<Vec<Order>>, DbError> {
        self.of_user.increment(1);
        let rows = self.ask(user, OF_USER).await?;
        // The shard knows orders, and not who there is.
        let known = async || self.db.query_opt(Statement::AccountById, &[&user.0]).await;
        if rows.is_empty() && known().await?.is_none() {
            return Ok(None);
        }
        Ok(Some(rows.iter().filter_map(|row| Order::at(row, 0)).collect()))
    }

    /// The servers that a user's orders are on.
    pub(super) fn cluster_of(&self, user: UserId) -> &Cluster {
        // Those without replicas are not among them.
        self.clusters.get(self.router.map().shard_of(&user.0)).unwrap_or(&Cluster::Current)
    }

    /// What the profile of a user says of orders.
    pub(super) async fn summary(&self, user: UserId) -> Result<Summary, DbError> {
        self.summaries.increment(1);
        let rows = self.ask(user, SUMMARY).await?;
        Ok(Summary::of(&rows))
    }

    /// Asks the shard of a user.
    async fn ask(&self, user: UserId, sql: &str) -> Result<Vec<Row>, Error> {
        let UserId(user) = user;
        self.router.with(&user, |shard| async move { shard.query(sql, &[&user]).await }).await
    }

    pub(super) async fn place(
        &self,
        user: UserId,
        wish: Wish,
    ) -> Result<Option<Order>, DbError> {
        let Wish { product_id: product, quantity } = wish;
        let draft = Draft { id: self.ids.next_id(), user: user.0, product, quantity };
        let placed = self.router.with(&draft.user, |shard| async move {
            let (tx, order) = self.write(&shard, &draft).await?;
            let accepted = self.db.query_opt(Statement::AcceptOrder, &draft.params()).await;
            if accepted?.is_none() && !cfg!(broken = "no_stock_first") {
                // If the connection is lost, that is a rollback, too.
                let _ = tx.rollback().await;
                return Ok(None);
            }
            // Whatever becomes of this process and of the shard, it is an order now.
            in_time(tx.commit()).await.map_err(DbError::unsettled)?;
            if cfg!(broken = "outbox_after_commit") {
                shard.execute(TELL, &[&draft.id]).await?;
            }
            Ok::<_, DbError>(Some(order))
        });
        let placed = placed.await?;
        if placed.is_some() {
            self.settled(&draft).await;
        }
        Ok(placed)
    }

    /// Places an order that was accepted.
    pub(super) async fn place_again(&self, draft: &Draft) -> Result<(), DbError> {
        let placing = self.router.with(&draft.user, |shard| async move {
            let (tx, _) = self.write(&shard, draft).await?;
            in_time(tx.commit()).await
        });
        placing.await?;
        self.settled(draft).await;
        Ok(())
    }

    /// Writes an order on its shard, to be committed.
    async fn write(&self, shard: &Shard, draft: &Draft) -> Result<(Tx, Order), DbError> {
        self.writes.increment(1);
        let tx = shard.begin().await?;
        let row = in_time(tx.query_one(&write_sql(), &draft.params())).await?;
        Ok((tx, Order::at(&row, 0).expect("a number is never null")))
    }

    /// Takes note that the shard has the order.
    async fn settled(&self, draft: &Draft) {
        // Where this fails, the order is written once more, which changes nothing.
        let _ = self.db.query(Statement::SettleOrder, &[&draft.id]).await;
    }
}

/// For what has no limit of its own in a transaction.
async fn in_time<T>(asking: impl Future<Output = Result<T, Error>>) -> Result<T, DbError> {
    match timeout(ANSWER, asking).await {
        Ok(answer) => Ok(answer?),
        Err(_) => Err(DbError::TimedOut),
    }
}

/// A server that is not what the topology says, with the way out.
#[derive(Debug)]
struct Unusable(Error);

impl fmt::Display for Unusable {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(
            "the shards are not those of this shop; run `storefront seed` with the same \
             --shards first, or correct the file",
        )
    }
}

impl error::Error for Unusable {
    fn source(&self) -> Option<&(dyn error::Error + 'static)> {
        Some(&self.0)
    }
}
