//! Users who log in: passwords, sessions, and what only they may do.

mod accounts;
mod guard;
mod handlers;
mod limits;
mod passwords;
mod settings;
#[cfg(test)]
mod tests;

pub(crate) use self::guard::Guard;
pub(crate) use self::passwords::{Password, hash};
pub(crate) use self::settings::Settings;

use std::error::Error;
use std::sync::Arc;

use axum::Router;
use axum::routing::{any_service, delete, get, post};
use jwt_refresh::{BearerLayer, Issuer, NoClaims, TokenService, Transport};
use metrics::{Counter, Unit, counter, describe_counter};

use self::accounts::Accounts;
use self::guard::verified;
use self::limits::Limits;
use self::passwords::Passwords;

/// What every user may do with their own. Roles are in the database.
const SCOPES: &str = "profile orders:read orders:write";

const LOGINS: &str = "storefront_logins_total";

/// All that a login needs.
#[derive(Debug)]
pub(crate) struct Login {
    issuer: Issuer,
    tokens: TokenService,
    bearer: BearerLayer<NoClaims>,
    accounts: Accounts,
    passwords: Passwords,
    limits: Limits,
    counts: Counts,
}

#[derive(Debug)]
struct Counts {
    accepted: Counter,
    refused: Counter,
    limited: Counter,
}

impl Login {
    fn new(
        issuer: Issuer,
        transport: Transport,
        accounts: Accounts,
    ) -> Result<Self, Box<dyn Error>> {
        describe_counter!(LOGINS, Unit::Count, "Attempts to log in.");
        let outcome = |outcome: &'static str| counter!(LOGINS, "outcome" => outcome);
        Ok(Self {
            tokens: issuer.token_service(transport),
            bearer: issuer.verifier().bearer().realm("storefront"),
            issuer,
            accounts,
            passwords: Passwords::new()?,
            limits: Limits::new(),
            counts: Counts {
                accepted: outcome("accepted"),
                refused: outcome("refused"),
                limited: outcome("limited"),
            },
        })
    }
}

/// The paths of the login itself.
pub(crate) fn routes<S: Clone + Send + Sync + 'static>(login: &Arc<Login>) -> Router<S> {
    let tokens = || any_service(login.tokens.clone());
    Router::new()
        .route("/login", post(handlers::log_in))
        .route("/auth/sessions", verified(login, get(handlers::sessions)))
        .route("/auth/sessions/{id}", verified(login, delete(handlers::end)))
        .route("/auth/logout-everywhere", verified(login, post(handlers::log_out_everywhere)))
        // By the refresh cookie, which goes to this origin alone.
        .route("/auth/refresh", tokens())
        .route("/auth/logout", tokens())
        // For services that verify by themselves.
        .route("/.well-known/jwks.json", tokens())
        .with_state(Arc::clone(login))
}
