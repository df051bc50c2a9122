//! Logging in, and the sessions of whoever is logged in.

use std::net::SocketAddr;
use std::sync::Arc;

use axum::Json;
use axum::body::Body as Stream;
use axum::extract::{ConnectInfo, Path, State};
use axum::http::header::USER_AGENT;
use axum::http::{HeaderMap, StatusCode};
use axum::response::Response;
use jwt_refresh::axum::Access;
use jwt_refresh::store::Session;
use jwt_refresh::{NoClaims, SessionId, Subject};
use serde::{Deserialize, Serialize};
use tracing::error;

use super::accounts::claims;
use super::passwords::Password;
use super::{Login, SCOPES};
use crate::error::Error;
use crate::input::{self, Body};

/// The body of `POST /login`.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Credentials {
    email: String,
    password: Password,
}

/// `POST /login`: the access token in the body, the refresh token in a cookie.
///
/// That it takes JSON alone keeps other sites from logging a browser in: a page may send
/// forms and text anywhere, and JSON only where it is allowed to.
pub(super) async fn log_in(
    State(login): State<Arc<Login>>,
    ConnectInfo(peer): ConnectInfo<SocketAddr>,
    headers: HeaderMap,
    Body(Credentials { email, password }): Body<Credentials>,
) -> Result<Response, Error> {
    input::email("email", &email)?;
    login.limits.admit(peer.ip(), &email).map_err(|wait| {
        login.counts.limited.increment(1);
        Error::too_many(wait)
    })?;
    let account = login.accounts.by_email(&email).await?;
    let kept = account.as_ref().map(|account| account.password.clone());
    let right = login.passwords.check(kept, password).await?;
    // One answer for both: who may log in here is nobody else's business.
    let Some(account) = account.filter(|_| right) else {
        login.counts.refused.increment(1);
        return Err(Error::new(
            StatusCode::UNAUTHORIZED,
            "wrong_login",
            "there is no such user, or the password is another one",
            "the fields `email` and `password` of the body",
            "check both",
        ));
    };
    let subject = Subject::new(account.user.to_string()).device(device(&headers)).scope(SCOPES);
    let pair = login.issuer.login(subject, claims(&account.roles)).await?;
    login.counts.accepted.increment(1);
    Ok(login.tokens.respond(&pair).map(Stream::new))
}

/// What a user is to know a device by. It is text of the client's choice.
fn device(headers: &HeaderMap) -> String {
    let agent = headers.get(USER_AGENT).and_then(|agent| agent.to_str().ok());
    agent.unwrap_or("unknown").chars().filter(|c| !c.is_control()).take(80).collect()
}

/// A session, as its user sees it. Times are in milliseconds since 1970.
#[derive(Debug, Serialize)]
pub(super) struct Shown {
    id: String,
    device: String,
    created_ms: u64,
    last_seen_ms: u64,
    expires_ms: u64,
    /// Whether it is the one that asks.
    current: bool,
}

/// `GET /auth/sessions`
pub(super) async fn sessions(
    State(login): State<Arc<Login>>,
    Access(token): Access<NoClaims>,
) -> Result<Json<Vec<Shown>>, Error> {
    let shown = |session: Session| {
        let id = session.id.to_string();
        let current = token.session() == Some(&id);
        let Session { device, created_ms, last_seen_ms, expires_ms, .. } = session;
        Shown { id, device, created_ms, last_seen_ms, expires_ms, current }
    };
    let sessions = login.issuer.sessions(token.subject()).await?;
    Ok(Json(sessions.into_iter().map(shown).collect()))
}

/// `DELETE /auth/sessions/{id}`: ends one session of this user, on whichever device.
pub(super) async fn end(
    State(login): State<Arc<Login>>,
    Access(token): Access<NoClaims>,
    Path(id): Path<String>,
) -> Result<StatusCode, Error> {
    let unknown = || {
        Error::new(
            StatusCode::NOT_FOUND,
            "unknown_session",
            "you have no such session",
            "the session id in the path",
            "use an id that GET /auth/sessions lists",
        )
    };
    let id = SessionId::parse(&id).ok_or_else(unknown)?;
    match login.issuer.logout(token.subject(), id).await {
        Ok(()) => Ok(StatusCode::NO_CONTENT),
        Err(jwt_refresh::Error::Unknown) => Err(unknown()),
        Err(e) => Err(e.into()),
    }
}

/// `POST /auth/logout-everywhere`: ends all sessions of this user.
pub(super) async fn log_out_everywhere(
    State(login): State<Arc<Login>>,
    Access(token): Access<NoClaims>,
) -> Result<StatusCode, Error> {
    login.issuer.logout_all(token.subject()).await?;
    Ok(StatusCode::NO_CONTENT)
}

impl From<jwt_refresh::Error> for Error {
    fn from(cause: jwt_refresh::Error) -> Self {
        if cause.may_retry() {
            return Self::unavailable();
        }
        error!(error = &cause as &dyn std::error::Error, "no token could be issued");
        Self::internal()
    }
}
