//! Orders: placed, and listed without a cache, since who has just ordered looks. They are in
//! the shop's database, or on the shard of their user.

mod fill;
mod report;
mod settle;
mod sharded;
mod split;
mod topology;

use std::error;
use std::path::Path;
use std::sync::Arc;

use axum::Json;
use axum::extract::State;
use axum::http::StatusCode;
use serde::{Deserialize, Serialize};
use tokio_postgres::Row;

use crate::app::Shop;
use crate::cluster::Cluster;
use crate::db::{Database, DbError, Reads};
use crate::error::Error;
use crate::input::{Body, PathId, number};
use crate::products::ProductId;
use crate::statements::Statement;
use crate::users::UserId;
use crate::write::to_its_end;

pub(crate) use self::fill::{Columns, Made, fill, somebody_on};
pub(crate) use self::report::{Newest, Sold};
pub(crate) use self::settle::settle;
use self::sharded::Sharded;
pub(crate) use self::topology::{Shards, follows, prepare, router};

/// One order. Profiles hold some, and are kept in Redis in this form: see
/// [`SCHEMA`](crate::read_path::SCHEMA).
#[derive(Clone, Debug, Serialize, Deserialize)]
pub(crate) struct Order {
    id: i64,
    product_id: i64,
    quantity: i64,
    placed_at: String,
}

impl Order {
    /// The order in the four columns from `first` on; `None` where they are null.
    pub(crate) fn at(row: &Row, first: usize) -> Option<Self> {
        Some(Self {
            id: row.get::<_, Option<i64>>(first)?,
            product_id: row.get(first + 1),
            quantity: row.get(first + 2),
            placed_at: row.get(first + 3),
        })
    }
}

/// What a profile says of its user's orders. It is kept in Redis in this form: see
/// [`SCHEMA`](crate::read_path::SCHEMA).
#[derive(Clone, Debug, Serialize, Deserialize)]
pub(crate) struct Summary {
    pub(crate) orders: i64,
    pub(crate) units: i64,
    pub(crate) last: Vec<Order>,
}

impl Summary {
    /// From rows of [`SUMMARY`](crate::statements::SUMMARY).
    fn of(rows: &[Row]) -> Self {
        let totals = rows.first().expect("totals are a row, also of nothing");
        Self {
            orders: totals.get(0),
            units: totals.get(1),
            last: rows.iter().filter_map(|row| Order::at(row, 2)).collect(),
        }
    }
}

/// The body of `POST /users/{id}/orders`.
#[derive(Clone, Copy, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Wish {
    product_id: i64,
    quantity: i64,
}

impl Wish {
    fn check(self) -> Result<Self, Error> {
        number("product_id", self.product_id, 1..=i64::MAX)?;
        number("quantity", self.quantity, 1..=1_000)?;
        Ok(self)
    }
}

/// `GET /users/{id}/orders`: the last 50, the newest first.
pub(crate) async fn list(
    State(shop): State<Arc<Shop>>,
    PathId(user): PathId<UserId>,
) -> Result<Json<Vec<Order>>, Error> {
    let orders = shop.orders.of_user(user).await?;
    orders.map(Json).ok_or_else(|| Error::unknown("user", user.0, "the path"))
}

/// `POST /users/{id}/orders`
pub(crate) async fn place(
    State(shop): State<Arc<Shop>>,
    PathId(user): PathId<UserId>,
    Body(wish): Body<Wish>,
) -> Result<(StatusCode, Json<Order>), Error> {
    let wish = wish.check()?;
    let order = to_its_end(async move { place_in(&shop, user, wish).await }).await?;
    Ok((StatusCode::CREATED, Json(order)))
}

/// An order changes two things that are cached: the product's stock, and the summary of the
/// user's orders.
async fn place_in(shop: &Shop, user: UserId, wish: Wish) -> Result<Order, Error> {
    let product = ProductId(wish.product_id);
    let placed = shop.orders.place(user, wish).await;
    if placed.as_ref().map_or_else(DbError::may_have_happened, |_| true) {
        tokio::join!(shop.products.changed(product), shop.users.ordered(user));
    }
    match placed {
        Ok(Some(order)) => Ok(order),
        Ok(None) => Err(why_not(shop, product, wish.quantity).await?),
        Err(e) if e.is_dangling() => Err(Error::unknown("user", user.0, "the path")),
        Err(e) => Err(e.into()),
    }
}

async fn why_not(shop: &Shop, product: ProductId, quantity: i64) -> Result<Error, DbError> {
    let known = shop.db.query_opt(Statement::ProductById, &[&product.0]).await?;
    Ok(match known {
        None => Error::unknown("product", product.0, "the field `product_id` of the body"),
        Some(_) => Error::new(
            StatusCode::CONFLICT,
            "out_of_stock",
            format!("fewer than {quantity} of product {} are in stock", product.0),
            "the field `quantity` of the body",
            "order fewer, or wait until the product is restocked",
        ),
    })
}

/// Where orders are.
#[derive(Clone, Debug)]
pub(crate) enum Orders {
    /// In the shop's database, where one statement takes the stock and writes the order.
    Beside(Database),
    /// On the shard of their user.
    Sharded(Sharded),
}

impl Orders {
    /// The orders of a shop over `db`: on the shards of the topology in this file, or beside
    /// all else.
    ///
    /// # Errors
    ///
    /// A topology that cannot be used, a shard that is something else, and a shop that was
    /// seeded to have its orders elsewhere.
    pub(crate) async fn open(
        db: &Database,
        shards: Option<&Path>,
        connections: u32,
        reads: Reads,
    ) -> Result<Self, Box<dyn error::Error>> {
        match (shards, db.orders_are_sharded().await?) {
            (None, false) => Ok(Self::Beside(db.clone())),
            (Some(file), true) => {
                Ok(Self::Sharded(Sharded::open(db, file, connections, reads).await?))
            }
            (None, true) => Err("the orders of this shop are on shards; give --shards as \
                                 `storefront seed` had it"
                .into()),
            (Some(_), false) => Err("the orders of this shop are in its database; run \
                                     `storefront seed` with the same --shards first, or leave \
                                     --shards out"
                .into()),
        }
    }

    /// The last 50 orders of a user, if there is such a user.
    ///
    /// # Errors
    ///
    /// When they cannot be read.
    async fn of_user(&self, user: UserId) -> Result<Option<Vec<Order>>, DbError> {
        match self {
            Self::Beside(db) => {
                let rows = db.query(Statement::OrdersOfUser, &[&user.0]).await?;
                let orders = || rows.iter().filter_map(|row| Order::at(row, 0)).collect();
                Ok((!rows.is_empty()).then(orders))
            }
            Self::Sharded(shards) => shards.of_user(user).await,
        }
    }

    /// Places an order, or nothing if there is no such product or not enough of it.
    ///
    /// # Errors
    ///
    /// When it cannot, and when it is not known whether it has.
    async fn place(&self, user: UserId, wish: Wish) -> Result<Option<Order>, DbError> {
        match self {
            Self::Beside(db) => {
                let Wish { product_id, quantity } = wish;
                let row = db
                    .query_opt(Statement::PlaceOrder, &[&user.0, &product_id, &quantity])
                    .await?;
                Ok(row.and_then(|row| Order::at(&row, 0)))
            }
            Self::Sharded(shards) => shards.place(user, wish).await,
        }
    }

    /// What a profile says of them; of nobody, too.
    ///
    /// # Errors
    ///
    /// When they cannot be read.
    pub(crate) async fn summary(&self, user: UserId) -> Result<Summary, DbError> {
        match self {
            Self::Beside(db) => {
                Ok(Summary::of(&db.query(Statement::SummaryOfUser, &[&user.0]).await?))
            }
            Self::Sharded(shards) => shards.summary(user).await,
        }
    }

    /// The servers that the orders of `user` are on.
    pub(crate) fn cluster_of(&self, user: UserId) -> &Cluster {
        match self {
            _ if cfg!(broken = "no_shard_floor") => &Cluster::Current,
            Self::Beside(db) => db.cluster(),
            Self::Sharded(shards) => shards.cluster_of(user),
        }
    }

    /// The newest orders of all users, and how many there are.
    ///
    /// # Errors
    ///
    /// When a shard is missing, unless the answer may be `partial` and some are there.
    pub(crate) async fn newest(&self, partial: bool) -> Result<Newest, DbError> {
        match self {
            Self::Beside(db) => Newest::beside(db).await,
            Self::Sharded(shards) if partial => shards.newest_of_some().await,
            Self::Sharded(shards) => shards.newest().await,
        }
    }

    /// The ten products that sold most.
    ///
    /// # Errors
    ///
    /// When a shard is missing.
    pub(crate) async fn sales(&self) -> Result<Vec<Sold>, DbError> {
        match self {
            Self::Beside(db) => Sold::beside(db).await,
            Self::Sharded(shards) => shards.sales().await,
        }
    }
}
