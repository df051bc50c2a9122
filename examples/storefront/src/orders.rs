//! Orders: placed in one statement, listed without a cache, since who has just ordered looks.

use std::sync::Arc;

use axum::Json;
use axum::extract::State;
use axum::http::StatusCode;
use serde::{Deserialize, Serialize};
use tokio_postgres::Row;

use crate::app::Shop;
use crate::db::DbError;
use crate::error::Error;
use crate::input::{Body, PathId, number};
use crate::products::ProductId;
use crate::statements::Statement;
use crate::users::UserId;
use crate::write::to_its_end;

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

/// The body of `POST /users/{id}/orders`.
#[derive(Debug, Deserialize)]
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
    let rows = shop.db.query(Statement::OrdersOfUser, &[&user.0]).await?;
    if rows.is_empty() {
        return Err(Error::unknown("user", user.0, "the path"));
    }
    Ok(Json(rows.iter().filter_map(|row| Order::at(row, 0)).collect()))
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

/// An order changes two things that are cached: the product's stock, and the user's profile.
async fn place_in(shop: &Shop, user: UserId, wish: Wish) -> Result<Order, Error> {
    let product = ProductId(wish.product_id);
    let placed =
        shop.db.query_opt(Statement::PlaceOrder, &[&user.0, &product.0, &wish.quantity]).await;
    if placed.as_ref().map_or_else(DbError::may_have_happened, |_| true) {
        tokio::join!(shop.products.changed(product), shop.users.changed(user));
    }
    match placed {
        Ok(Some(row)) => Order::at(&row, 0).ok_or_else(Error::internal),
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
