//! What the shop's own people look at.

use std::sync::Arc;

use axum::Json;
use axum::extract::{RawQuery, State};
use axum::http::StatusCode;
use tracing::warn;

use crate::app::Shop;
use crate::db::DbError;
use crate::error::Error;
use crate::orders::{Newest, Sold};

/// `GET /reports/sales`: the ten products that sold most, of all time.
pub(crate) async fn sales(State(shop): State<Arc<Shop>>) -> Result<Json<Vec<Sold>>, Error> {
    Ok(Json(shop.orders.sales().await.map_err(refused)?))
}

/// `GET /reports/orders`: the newest orders, and how many there are. With `?partial=true` it
/// is of the shards that are there.
pub(crate) async fn orders(
    State(shop): State<Arc<Shop>>,
    RawQuery(query): RawQuery,
) -> Result<Json<Newest>, Error> {
    let partial = match query.as_deref().unwrap_or_default() {
        "" | "partial=false" => false,
        "partial=true" => true,
        _ => {
            return Err(Error::new(
                StatusCode::BAD_REQUEST,
                "bad_query",
                "the query is not one that this report has",
                "what stands behind the `?`",
                "use ?partial=true, or nothing",
            ));
        }
    };
    Ok(Json(shop.orders.newest(partial).await.map_err(refused)?))
}

/// The log names the shards that are missing, and why.
fn refused(cause: DbError) -> Error {
    let Some(missing) = cause.missing().filter(|_| cause.is_transient()) else {
        return cause.into();
    };
    warn!(error = missing as &dyn std::error::Error, "a report would be incomplete");
    Error::incomplete()
}
