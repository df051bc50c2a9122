//! The catalogue: product pages, and their changes.

use std::sync::Arc;

use axum::Json;
use axum::extract::State;
use axum::response::{IntoResponse, Response};
use cache_aside::{CacheKey, KeyEncoder};
use serde::{Deserialize, Serialize};
use tokio_postgres::Row;

use crate::app::Shop;
use crate::db::{Database, DbError};
use crate::error::Error;
use crate::input::{Body, Id, PathId, number, text};
use crate::pages;
use crate::read_path::ReadPath;
use crate::statements::Statement;
use crate::write::to_its_end;

/// A product's number.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(crate) struct ProductId(pub(crate) i64);

impl Id for ProductId {
    const KIND: &'static str = "product";

    fn new(id: i64) -> Self {
        Self(id)
    }
}

impl CacheKey for ProductId {
    fn encode(&self, key: &mut KeyEncoder) {
        key.part(&self.0);
    }
}

/// What a product page shows. It is kept in Redis in this form: see
/// [`SCHEMA`](crate::read_path::SCHEMA).
#[derive(Clone, Debug, Serialize, Deserialize)]
pub(crate) struct Product {
    pub(crate) id: i64,
    pub(crate) name: String,
    pub(crate) description: String,
    pub(crate) price_cents: i64,
    pub(crate) stock: i64,
    updated_at: String,
}

impl From<&Row> for Product {
    fn from(row: &Row) -> Self {
        Self {
            id: row.get(0),
            name: row.get(1),
            description: row.get(2),
            price_cents: row.get(3),
            stock: row.get(4),
            updated_at: row.get(5),
        }
    }
}

/// The body of `PUT /products/{id}`: the product as it shall be.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Revision {
    name: String,
    description: String,
    price_cents: i64,
    stock: i64,
}

impl Revision {
    fn check(self) -> Result<Self, Error> {
        text("name", &self.name, 200)?;
        text("description", &self.description, 4_000)?;
        number("price_cents", self.price_cents, 0..=100_000_000)?;
        number("stock", self.stock, 0..=1_000_000)?;
        Ok(self)
    }
}

/// `GET /products/{id}`
pub(crate) async fn show(
    State(shop): State<Arc<Shop>>,
    PathId(id): PathId<ProductId>,
) -> Result<Response, Error> {
    let product = shop.products.get(id).await?;
    let product = product.ok_or_else(|| Error::unknown("product", id.0, "the path"))?;
    Ok(Json(&*product).into_response())
}

/// `PUT /products/{id}`
pub(crate) async fn revise(
    State(shop): State<Arc<Shop>>,
    PathId(id): PathId<ProductId>,
    Body(revision): Body<Revision>,
) -> Result<Response, Error> {
    let revision = revision.check()?;
    let product = to_its_end(async move { shop.products.revise(id, revision).await }).await?;
    let product = product.ok_or_else(|| Error::unknown("product", id.0, "the path"))?;
    Ok((pages::changed(id), Json(product)).into_response())
}

/// Products, by id.
#[derive(Debug)]
pub(crate) struct Products {
    db: Database,
    reads: ReadPath<ProductId, Product>,
}

impl Products {
    pub(crate) fn new(db: Database, reads: ReadPath<ProductId, Product>) -> Self {
        Self { db, reads }
    }

    /// The one way to read a product.
    pub(crate) async fn get(&self, id: ProductId) -> Result<Option<Arc<Product>>, Error> {
        let db = self.db.clone();
        self.reads.get(self.db.cluster(), &id, || by_id(db, id)).await
    }

    /// As it is now, past all caches: for who keeps it after that.
    pub(crate) async fn latest(&self, id: ProductId) -> Result<Option<Product>, Error> {
        let (cluster, db) = (self.db.cluster(), self.db.clone());
        let now = cluster.position_now().await?;
        Ok(cluster.reading_from(now, by_id(db, id)).await?)
    }

    /// Call it after every write to this product that may have happened.
    pub(crate) async fn changed(&self, id: ProductId) {
        self.reads.invalidate(self.db.cluster(), &id).await;
    }

    /// Loads the whole catalogue into the cache, and says how many products that are.
    ///
    /// # Errors
    ///
    /// When a part of it cannot be loaded.
    pub(crate) async fn warm(&self) -> Result<usize, Error> {
        let ids = self.db.query(Statement::ProductIds, &[]).await?;
        let ids = ids.iter().map(|row| ProductId(row.get(0)));
        self.reads.warm(self.db.cluster(), ids, |ids| by_ids(self.db.clone(), ids)).await
    }

    async fn revise(&self, id: ProductId, new: Revision) -> Result<Option<Product>, Error> {
        let row = self
            .db
            .query_opt(
                Statement::UpdateProduct,
                &[&id.0, &new.name, &new.description, &new.price_cents, &new.stock],
            )
            .await;
        if row.as_ref().map_or_else(DbError::may_have_happened, |_| true) {
            self.changed(id).await;
        }
        Ok(row?.as_ref().map(Product::from))
    }
}

async fn by_id(db: Database, id: ProductId) -> Result<Option<Product>, DbError> {
    let row = db.query_opt(Statement::ProductById, &[&id.0]).await?;
    Ok(row.as_ref().map(Product::from))
}

async fn by_ids(
    db: Database,
    ids: Vec<ProductId>,
) -> Result<Vec<(ProductId, Product)>, DbError> {
    let ids: Vec<i64> = ids.into_iter().map(|id| id.0).collect();
    let rows = db.query(Statement::ProductsByIds, &[&ids]).await?;
    Ok(rows.iter().map(|row| (ProductId(row.get(0)), Product::from(row))).collect())
}
