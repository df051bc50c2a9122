//! Accounts, and the profile page that sums up what its user has ordered.

use std::sync::Arc;

use axum::Json;
use axum::extract::State;
use axum::http::StatusCode;
use axum::response::{IntoResponse, Response};
use cache_aside::{CacheKey, KeyEncoder};
use serde::{Deserialize, Serialize};
use tokio_postgres::Row;
use tokio_postgres::types::ToSql;

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

/// What is stored of a user.
#[derive(Clone, Debug, Serialize)]
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
/// would have to be invalidated with every product. It is kept in Redis in this form, whose
/// bytes do not name the fields, so nothing is flattened: see
/// [`SCHEMA`](crate::read_path::SCHEMA).
#[derive(Clone, Debug, Serialize, Deserialize)]
pub(crate) struct Profile {
    id: i64,
    name: String,
    email: String,
    city: String,
    orders: i64,
    units: i64,
    last_orders: Vec<Order>,
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
    let profile = shop.users.profile(id).await?;
    let profile = profile.ok_or_else(|| Error::unknown("user", id.0, "the path"))?;
    Ok(Json(&*profile).into_response())
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

/// Users, by id.
#[derive(Debug)]
pub(crate) struct Users {
    db: Database,
    orders: Orders,
    profiles: ReadPath<UserId, Profile>,
}

impl Users {
    pub(crate) fn new(
        db: Database,
        orders: Orders,
        profiles: ReadPath<UserId, Profile>,
    ) -> Self {
        Self { db, orders, profiles }
    }

    /// The one way to read a profile.
    pub(crate) async fn profile(&self, id: UserId) -> Result<Option<Arc<Profile>>, Error> {
        let orders = self.orders.clone();
        self.profiles.get(&self.db, &id, |db| profile_of(db, orders, id)).await
    }

    /// Call it after every write that this user's profile shows and that may have happened.
    pub(crate) async fn changed(&self, id: UserId) {
        self.profiles.invalidate(&self.db, &id).await;
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

async fn profile_of(
    db: Database,
    orders: Orders,
    id: UserId,
) -> Result<Option<Profile>, DbError> {
    let (account, summary) = match &orders {
        Orders::Beside(_) => {
            let rows = db.query(Statement::ProfileById, &[&id.0]).await?;
            (rows.first().map(Account::from), Summary::at(&rows, 4))
        }
        Orders::Sharded(shards) => {
            // In a box, for a load is moved about before it runs.
            let (account, summary) = Box::pin(async {
                let params: [&(dyn ToSql + Sync); 1] = [&id.0];
                let account = db.query_opt(Statement::AccountById, &params);
                tokio::try_join!(account, shards.summary(id))
            })
            .await?;
            (account.as_ref().map(Account::from), Some(summary))
        }
    };
    let both = account.zip(summary);
    Ok(both.map(|(Account { id, name, email, city }, summary)| {
        let Summary { orders, units, last: last_orders } = summary;
        Profile { id, name, email, city, orders, units, last_orders }
    }))
}
