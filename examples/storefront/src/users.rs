//! Accounts, and the profile page that sums up what its user has ordered.

use std::sync::Arc;

use axum::Json;
use axum::extract::State;
use axum::http::StatusCode;
use axum::response::{IntoResponse, Response};
use cache_aside::{CacheKey, KeyEncoder};
use serde::{Deserialize, Serialize};
use tokio_postgres::Row;

use crate::app::Shop;
use crate::db::{Database, DbError};
use crate::error::Error;
use crate::input::{Body, Id, PathId, email, text};
use crate::orders::{Order, Orders, Summary};
use crate::read_path::ReadPath;
use crate::statements::Statement;
use crate::write::to_its_end;

/// A user's number.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(crate) struct UserId(pub(crate) i64);

impl Id for UserId {
    const KIND: &'static str = "user";

    fn new(id: i64) -> Self {
        Self(id)
    }
}

impl CacheKey for UserId {
    fn encode(&self, key: &mut KeyEncoder) {
        key.part(&self.0);
    }
}

/// What is stored of a user. It is kept in Redis in this form: see
/// [`SCHEMA`](crate::read_path::SCHEMA).
#[derive(Clone, Debug, Serialize, Deserialize)]
pub(crate) struct Account {
    id: i64,
    name: String,
    email: String,
    city: String,
}

impl From<&Row> for Account {
    fn from(row: &Row) -> Self {
        Self { id: row.get(0), name: row.get(1), email: row.get(2), city: row.get(3) }
    }
}

/// What a profile page shows. Orders name products by id: a profile that held their names
/// would have to be invalidated with every product.
#[derive(Debug, Serialize)]
pub(crate) struct Profile<'a> {
    id: i64,
    name: &'a str,
    email: &'a str,
    city: &'a str,
    orders: i64,
    units: i64,
    last_orders: &'a [Order],
}

impl<'a> Profile<'a> {
    fn of(account: &'a Account, summary: &'a Summary) -> Self {
        let (Account { id, name, email, city }, Summary { orders, units, last }) =
            (account, summary);
        Self { id: *id, name, email, city, orders: *orders, units: *units, last_orders: last }
    }
}

/// The body of `PUT /users/{id}`: the account as it shall be.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Revision {
    name: String,
    email: String,
    city: String,
}

impl Revision {
    fn check(self) -> Result<Self, Error> {
        text("name", &self.name, 200)?;
        email("email", &self.email)?;
        text("city", &self.city, 200)?;
        Ok(self)
    }
}

/// `GET /users/{id}`
pub(crate) async fn show(
    State(shop): State<Arc<Shop>>,
    PathId(id): PathId<UserId>,
) -> Result<Response, Error> {
    let (account, summary) = shop.users.profile(id).await?;
    let unknown = || Error::unknown("user", id.0, "the path");
    let (account, summary) = account.zip(summary).ok_or_else(unknown)?;
    Ok(Json(Profile::of(&account, &summary)).into_response())
}

/// `PUT /users/{id}`
pub(crate) async fn revise(
    State(shop): State<Arc<Shop>>,
    PathId(id): PathId<UserId>,
    Body(revision): Body<Revision>,
) -> Result<Json<Account>, Error> {
    let revision = revision.check()?;
    let account = to_its_end(async move { shop.users.revise(id, revision).await }).await?;
    account.map(Json).ok_or_else(|| Error::unknown("user", id.0, "the path"))
}

/// Users, by id. What a profile shows of them comes from two clusters, of which one tells
/// nothing of how far the other has come: so it is cached as two things.
#[derive(Debug)]
pub(crate) struct Users {
    db: Database,
    orders: Orders,
    accounts: ReadPath<UserId, Account>,
    summaries: ReadPath<UserId, Summary>,
}

impl Users {
    pub(crate) fn new(
        db: Database,
        orders: Orders,
        accounts: ReadPath<UserId, Account>,
        summaries: ReadPath<UserId, Summary>,
    ) -> Self {
        Self { db, orders, accounts, summaries }
    }

    /// The one way to read a profile: what is stored of the user, and of the orders.
    async fn profile(
        &self,
        id: UserId,
    ) -> Result<(Option<Arc<Account>>, Option<Arc<Summary>>), Error> {
        let (db, orders) = (self.db.clone(), self.orders.clone());
        let account = self.accounts.get(self.db.cluster(), &id, || async move {
            let row = db.query_opt(Statement::AccountById, &[&id.0]).await?;
            Ok(row.as_ref().map(Account::from))
        });
        let summary = self.summaries.get(self.orders.cluster_of(id), &id, || async move {
            // In a box, for a load is moved about before it runs.
            Ok(Some(Box::pin(orders.summary(id)).await?))
        });
        tokio::try_join!(account, summary)
    }

    /// Call it after every write to this user that may have happened.
    async fn changed(&self, id: UserId) {
        self.accounts.invalidate(self.db.cluster(), &id).await;
    }

    /// Call it after every order of this user that may have been placed.
    pub(crate) async fn ordered(&self, id: UserId) {
        self.summaries.invalidate(self.orders.cluster_of(id), &id).await;
    }

    async fn revise(&self, id: UserId, new: Revision) -> Result<Option<Account>, Error> {
        let row = self
            .db
            .query_opt(Statement::UpdateUser, &[&id.0, &new.name, &new.email, &new.city])
            .await;
        if row.as_ref().map_or_else(DbError::may_have_happened, |_| true) {
            self.changed(id).await;
        }
        match row {
            Ok(row) => Ok(row.as_ref().map(Account::from)),
            Err(e) if e.is_taken() => Err(Error::new(
                StatusCode::CONFLICT,
                "email_taken",
                "another user has this mail address",
                "the field `email` of the body",
                "use an address of this user's own",
            )),
            Err(e) => Err(e.into()),
        }
    }
}
