//! What the shop's own people look at.

use std::sync::Arc;

use axum::Json;
use axum::extract::State;
use serde::Serialize;

use crate::app::Shop;
use crate::error::Error;
use crate::statements::Statement;

/// How much of a product was sold.
#[derive(Debug, Serialize)]
pub(crate) struct Sold {
    product_id: i64,
    name: String,
    orders: i64,
    units: i64,
}

/// `GET /reports/sales`: the ten products that sold most, of all time.
pub(crate) async fn sales(State(shop): State<Arc<Shop>>) -> Result<Json<Vec<Sold>>, Error> {
    let rows = shop.db.query(Statement::Sales, &[]).await?;
    let sold = rows.iter().map(|row| Sold {
        product_id: row.get(0),
        name: row.get(1),
        orders: row.get(2),
        units: row.get(3),
    });
    Ok(Json(sold.collect()))
}
