//! What is asked of the orders of all users: of one database, or of all shards at once.

use std::collections::BTreeMap;
use std::num::NonZeroUsize;
use std::time::Duration;

use serde::Serialize;
use shard_router::{Missing, Policy, Scatter, desc};
use tokio_postgres::Row;

use super::{Order, Sharded};
use crate::db::{Database, DbError};
use crate::statements::Statement;

/// How many of the newest orders are shown.
const NEWEST: u64 = 20;

/// How many products are shown.
const BEST: usize = 10;

/// How long each shard has.
const DEADLINE: Duration = Duration::from_secs(2);

const ORDERS: &str = "
    SELECT user_id, id, product_id, quantity,
           to_char(placed_at AT TIME ZONE 'UTC', 'YYYY-MM-DD\"T\"HH24:MI:SS.US\"Z\"'),
           placed_at
    FROM storefront.orders";

const QUANTITIES: &str = "SELECT quantity FROM storefront.orders";

const BY_PRODUCT: &str = "
    SELECT product_id, count(*) AS orders, sum(quantity)::bigint AS units
    FROM storefront.orders GROUP BY product_id";

/// The newest orders of all users, and how many there are.
#[derive(Debug, Serialize)]
pub(crate) struct Newest {
    orders: i64,
    units: i64,
    newest: Vec<Placed>,
    /// The shards without which the answer is; none, unless a partial one was asked for.
    missing: Vec<String>,
}

/// An order, and whose it is.
#[derive(Debug, Serialize)]
struct Placed {
    user_id: i64,
    #[serde(flatten)]
    order: Order,
}

/// How much of a product was sold.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub(crate) struct Sold {
    product_id: i64,
    name: String,
    orders: i64,
    units: i64,
}

impl Newest {
    pub(super) async fn beside(db: &Database) -> Result<Self, DbError> {
        let rows = db.query(Statement::NewestOrders, &[]).await?;
        let totals = db.query_opt(Statement::TotalOfOrders, &[]).await?;
        let total = |column| totals.as_ref().map_or(0, |row| row.get(column));
        Ok(Self {
            orders: total(0),
            units: total(1),
            newest: placed(&rows),
            missing: Vec::new(),
        })
    }
}

fn placed(rows: &[Row]) -> Vec<Placed> {
    let rows = rows.iter();
    rows.filter_map(|row| Some(Placed { user_id: row.get(0), order: Order::at(row, 1)? }))
        .collect()
}

impl Sold {
    pub(super) async fn beside(db: &Database) -> Result<Vec<Self>, DbError> {
        let rows = db.query(Statement::Sales, &[]).await?;
        let sold = rows.iter().map(|row| Self {
            product_id: row.get(0),
            name: row.get(1),
            orders: row.get(2),
            units: row.get(3),
        });
        Ok(sold.collect())
    }
}

/// The parts of [`Newest`], as a policy has them.
type Parts<P> = (
    <P as Policy>::Output<Vec<Row>>,
    <P as Policy>::Output<u64>,
    <P as Policy>::Output<Option<i64>>,
);

impl Sharded {
    /// Of all shards, or it is an error that names those that are missing.
    pub(super) async fn newest(&self) -> Result<Newest, DbError> {
        let (rows, orders, units) = self.parts(Scatter::require_all()).await?;
        Ok(newest(&rows, orders, units, &[]))
    }

    /// Of those that are there; the answer says which are not.
    pub(super) async fn newest_of_some(&self) -> Result<Newest, DbError> {
        let (rows, orders, units) =
            self.parts(Scatter::allow_missing(NonZeroUsize::MAX)).await?;
        let ((rows, a), (orders, b), (units, c)) =
            (rows.into_parts(), orders.into_parts(), units.into_parts());
        Ok(newest(&rows, orders, units, &[a, b, c].concat()))
    }

    /// Three scatters, and so of three moments: while orders are placed, the totals may be
    /// ahead of the list.
    async fn parts<P: Policy>(&self, scatter: Scatter<P>) -> Result<Parts<P>, DbError> {
        let scatter = scatter.deadline(DEADLINE);
        let ask = |sql| self.router.scatter(scatter).query(sql, &[]);
        let newest = ask(ORDERS).order_by([desc("placed_at"), desc("id")]).limit(NEWEST);
        let (orders, units) = (ask(QUANTITIES).count(), ask(QUANTITIES).sum("quantity"));
        Ok(tokio::try_join!(newest, orders, units)?)
    }

    /// Each shard adds up its own orders of a product, and sends them by product; what several
    /// have of one is next to each other.
    pub(super) async fn sales(&self) -> Result<Vec<Sold>, DbError> {
        let scatter = self.router.scatter(Scatter::require_all().deadline(DEADLINE));
        let by_product = scatter.query(BY_PRODUCT, &[]).order_by([desc("product_id")]);
        let mut rows = by_product.stream().await?;
        let mut best = Best::default();
        while let Some(row) = rows.next().await {
            let row = row?;
            best.add(Sum { product: row.get(0), orders: row.get(1), units: row.get(2) });
        }
        let best = best.finish();
        let ids: Vec<i64> = best.iter().map(|sum| sum.product).collect();
        let named = self.db.query(Statement::ProductsByIds, &[&ids]).await?;
        let mut names: BTreeMap<i64, String> =
            named.iter().map(|row| (row.get(0), row.get(1))).collect();
        let sold = best.into_iter().filter_map(|Sum { product, orders, units }| {
            let name = names.remove(&product)?;
            Some(Sold { product_id: product, name, orders, units })
        });
        Ok(sold.collect())
    }
}

fn newest(rows: &[Row], orders: u64, units: Option<i64>, missing: &[Missing]) -> Newest {
    let mut names: Vec<_> = missing.iter().map(|missing| missing.shard.to_string()).collect();
    names.sort_unstable();
    names.dedup();
    Newest {
        orders: i64::try_from(orders).unwrap_or(i64::MAX),
        units: units.unwrap_or(0),
        newest: placed(rows),
        missing: names,
    }
}

/// What was sold of one product, on one shard or on all.
#[derive(Clone, Debug, PartialEq, Eq)]
struct Sum {
    product: i64,
    orders: i64,
    units: i64,
}

/// The products that sold most, found among all in the memory of a few.
#[derive(Debug, Default)]
struct Best {
    /// The product that comes now, of which other shards may have more.
    open: Option<Sum>,
    /// The best so far, and no more than [`BEST`].
    best: Vec<Sum>,
}

impl Best {
    /// Sums of one product are added one after the other.
    fn add(&mut self, sum: Sum) {
        match &mut self.open {
            Some(open) if open.product == sum.product => {
                open.orders += sum.orders;
                open.units += sum.units;
            }
            _ => {
                let whole = self.open.replace(sum);
                self.close(whole);
            }
        }
    }

    fn close(&mut self, whole: Option<Sum>) {
        let Some(whole) = whole else { return };
        let rank = |sum: &Sum| (-sum.units, sum.product);
        let place = self.best.partition_point(|sum| rank(sum) < rank(&whole));
        self.best.insert(place, whole);
        self.best.truncate(BEST);
    }

    fn finish(mut self) -> Vec<Sum> {
        let last = self.open.take();
        self.close(last);
        self.best
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    proptest! {
        /// Against adding up everything and sorting it.
        #[test]
        fn the_best_of_all_shards_are_the_best(
            shards in prop::collection::vec(
                prop::collection::btree_map(0_i64..30, (1_i64..5, 1_i64..20), 0..30), 1..4,
            ),
        ) {
            let mut rows: Vec<Sum> = Vec::new();
            let mut all: BTreeMap<i64, Sum> = BTreeMap::new();
            for (&product, &(orders, units)) in shards.iter().flatten() {
                rows.push(Sum { product, orders, units });
                let sum = all.entry(product).or_insert(Sum { product, orders: 0, units: 0 });
                sum.orders += orders;
                sum.units += units;
            }
            // As the merge has them.
            rows.sort_by_key(|sum| std::cmp::Reverse(sum.product));
            let mut best = Best::default();
            rows.into_iter().for_each(|sum| best.add(sum));
            let mut expected: Vec<Sum> = all.into_values().collect();
            expected.sort_by_key(|sum| (std::cmp::Reverse(sum.units), sum.product));
            expected.truncate(BEST);
            prop_assert_eq!(best.finish(), expected);
        }
    }
}
