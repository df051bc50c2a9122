//! Shards that hold the orders of a seeded shop, and no others.

use shard_router::{Router, ShardName, SlotMap};

use super::topology::check_slots;

/// Rows sent with one statement.
const BATCH: usize = 5_000;

const INSERT: &str = "
    INSERT INTO storefront.orders (id, user_id, product_id, quantity, placed_at)
    SELECT id, user_id, product_id, quantity, to_timestamp(at)
    FROM unnest($1::bigint[], $2::bigint[], $3::bigint[], $4::bigint[], $5::float8[])
         AS new (id, user_id, product_id, quantity, at)";

const EMPTY: &str = "TRUNCATE storefront.orders, storefront.outbox, storefront.confirmations";

/// A made-up order.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Made {
    pub(crate) id: i64,
    pub(crate) user: i64,
    pub(crate) product: i64,
    pub(crate) quantity: i64,
    /// In seconds since 1970.
    pub(crate) at: f64,
}

/// Several of them, as a statement takes them.
#[derive(Debug, Default)]
pub(crate) struct Columns {
    pub(crate) ids: Vec<i64>,
    pub(crate) users: Vec<i64>,
    pub(crate) products: Vec<i64>,
    pub(crate) quantities: Vec<i64>,
    pub(crate) times: Vec<f64>,
}

impl Columns {
    /// The next ones, until there are none.
    pub(crate) fn next(made: &mut impl Iterator<Item = Made>) -> Option<Self> {
        let mut columns = Self::default();
        for order in made.take(BATCH) {
            columns.ids.push(order.id);
            columns.users.push(order.user);
            columns.products.push(order.product);
            columns.quantities.push(order.quantity);
            columns.times.push(order.at);
        }
        (!columns.ids.is_empty()).then_some(columns)
    }
}

/// Replaces what is on the shards by `orders`, each on the shard of its user: on each shard all
/// or nothing.
///
/// # Errors
///
/// When a shard does not answer, or refuses a row; those before it are done.
pub(crate) async fn fill(
    router: &Router,
    orders: impl Iterator<Item = Made> + Clone + Send,
) -> Result<(), shard_router::Error> {
    let map = router.map();
    for name in map.shards() {
        let Some(user) = somebody_on(&map, name) else { continue };
        let check = check_slots(&map.ranges(name.as_str()).unwrap_or_default());
        let mut of_shard = orders.clone().filter(|order| map.shard_of(&order.user) == name);
        let filling = router.with(&user, |shard| async move {
            let tx = shard.begin().await?;
            tx.batch_execute(EMPTY).await?;
            tx.batch_execute(&check).await?;
            while let Some(orders) = Columns::next(&mut of_shard) {
                let Columns { ids, users, products, quantities, times } = orders;
                tx.execute(INSERT, &[&ids, &users, &products, &quantities, &times]).await?;
            }
            tx.commit().await?;
            // In no transaction: gives the planner its figures.
            shard.execute("VACUUM ANALYZE storefront.orders", &[]).await
        });
        filling.await?;
    }
    Ok(())
}

/// Any user of this shard, if it has slots at all: the way to it.
pub(crate) fn somebody_on(map: &SlotMap, shard: &ShardName) -> Option<i64> {
    let owns = map.slot_count(shard.as_str()).is_some_and(|slots| slots > 0);
    owns.then(|| (1_i64..).find(|user| map.shard_of(user) == shard)).flatten()
}
