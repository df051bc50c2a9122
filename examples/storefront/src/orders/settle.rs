//! Orders that were accepted, and that their shard is not known to have: their process has
//! died, or the shard has, between the two databases.

use std::time::Duration;

use tokio::task::JoinSet;
use tokio::time::{MissedTickBehavior, interval};
use tracing::{debug, error, info};

use super::Orders;
use super::sharded::{Draft, Sharded};
use crate::app::Shop;
use crate::db::DbError;
use crate::products::ProductId;
use crate::statements::Statement;
use crate::users::UserId;

/// How often they are looked for. Each process does that.
const EVERY: Duration = Duration::from_secs(1);

/// Places what was accepted, and has waited for longer than an order takes. It never ends; it
/// may be dropped at any time, since placing an order twice places it once.
pub(crate) async fn settle(shop: &Shop) {
    let Orders::Sharded(shards) = &shop.orders else { return std::future::pending().await };
    let mut every = interval(EVERY);
    every.set_missed_tick_behavior(MissedTickBehavior::Delay);
    loop {
        every.tick().await;
        if cfg!(broken = "no_settling") {
            continue;
        }
        // Without the database there is nothing to be done, and others say so.
        let Ok(drafts) = unsettled(shards).await else { continue };
        let mut placing = JoinSet::new();
        for draft in drafts {
            let shards = shards.clone();
            // All at once: a shard that is down keeps nobody of another waiting.
            placing.spawn(async move { (draft, shards.place_again(&draft).await) });
        }
        while let Some(placed) = placing.join_next().await {
            let Ok((draft, placed)) = placed else { continue };
            if placed.is_ok() {
                let (product, user) = (ProductId(draft.product), UserId(draft.user));
                tokio::join!(shop.products.changed(product), shop.users.ordered(user));
            }
            announce(&draft, placed);
        }
    }
}

async fn unsettled(shards: &Sharded) -> Result<Vec<Draft>, DbError> {
    let rows = shards.db.query(Statement::UnsettledOrders, &[]).await?;
    let draft = |row: &tokio_postgres::Row| Draft {
        id: row.get(0),
        user: row.get(1),
        product: row.get(2),
        quantity: row.get(3),
    };
    Ok(rows.iter().map(draft).collect())
}

fn announce(draft: &Draft, placed: Result<(), DbError>) {
    match placed {
        Ok(()) => info!(order = draft.id, "an order that was left half way is placed"),
        // Tried again in a moment.
        Err(e) if e.is_transient() => {
            debug!(order = draft.id, error = &e as &dyn std::error::Error, "not yet placed");
        }
        Err(e) => error!(
            order = draft.id,
            error = &e as &dyn std::error::Error,
            "an order that was accepted cannot be placed"
        ),
    }
}
