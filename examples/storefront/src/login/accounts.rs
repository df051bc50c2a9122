//! Who can log in, and as what: rows of `storefront.logins`.

use jwt_refresh::store::Described;
use jwt_refresh::{ClaimsSource, Decision};
use serde_json::{Value, json};

use crate::db::{Database, DbError};
use crate::statements::Statement;

/// What is known of somebody who wants to log in.
pub(super) struct Account {
    pub(super) user: i64,
    /// The hash of the password.
    pub(super) password: String,
    pub(super) roles: Vec<String>,
}

/// The accounts in the database.
#[derive(Clone, Debug)]
pub(super) struct Accounts(pub(super) Database);

impl Accounts {
    pub(super) async fn by_email(&self, email: &str) -> Result<Option<Account>, DbError> {
        let row = self.0.query_opt(Statement::AccountByEmail, &[&email]).await?;
        Ok(row.map(|row| Account { user: row.get(0), password: row.get(1), roles: row.get(2) }))
    }
}

/// What an access token says of these.
pub(super) fn claims(roles: &[String]) -> Value {
    json!({ "roles": roles })
}

/// At each refresh: who is gone is refused, and roles are those of now, not of the login.
impl ClaimsSource for Accounts {
    async fn claims(
        &self,
        session: &Described,
    ) -> Result<Decision, Box<dyn std::error::Error + Send + Sync>> {
        let Ok(user) = session.user.parse::<i64>() else { return Ok(Decision::refuse()) };
        let row = self.0.query_opt(Statement::RolesOfUser, &[&user]).await?;
        Ok(match row {
            Some(row) => Decision::claims(&claims(&row.get::<_, Vec<String>>(0))),
            None => Decision::refuse(),
        })
    }
}
