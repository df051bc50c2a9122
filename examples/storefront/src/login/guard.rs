//! What only some may do: those with a good access token, its scope or role, for their own.

use std::time::Duration;

use axum::extract::{Request, State};
use axum::http::StatusCode;
use axum::http::header::CONTENT_TYPE;
use axum::middleware::{Next, from_fn, from_fn_with_state, map_response};
use axum::response::{IntoResponse, Response};
use axum::routing::MethodRouter;
use jwt_refresh::axum::Access;
use jwt_refresh::{NoClaims, RequireLayer, Verifier};
use tokio::time::timeout;

use super::Login;
use crate::error::Error;
use crate::input::PathId;
use crate::users::UserId;

/// Puts handlers behind the login; where the shop has none, it leaves them open.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Guard<'a>(pub(crate) Option<&'a Login>);

impl Guard<'_> {
    /// For the user whose id is in the path, with a token that has `scope`.
    pub(crate) fn own<S>(self, scope: &str, methods: MethodRouter<S>) -> MethodRouter<S>
    where
        S: Clone + Send + Sync + 'static,
    {
        let Some(login) = self.0 else { return methods };
        let scope = RequireLayer::<NoClaims>::scope(scope).expect("our scopes are words");
        verified(login, methods.route_layer(from_fn(only_own)).route_layer(scope))
    }

    /// For users with `role`.
    pub(crate) fn role<S>(self, role: &str, methods: MethodRouter<S>) -> MethodRouter<S>
    where
        S: Clone + Send + Sync + 'static,
    {
        let Some(login) = self.0 else { return methods };
        verified(login, methods.route_layer(RequireLayer::<NoClaims>::role(role)))
    }
}

/// For how long a request waits for news of the sessions that have ended, where there is none
/// for too long: a process that was stopped, or whose database is another one, has them in a
/// moment.
const NEWS: Duration = Duration::from_millis(1_500);

/// For whoever is logged in.
pub(super) fn verified<S>(login: &Login, methods: MethodRouter<S>) -> MethodRouter<S>
where
    S: Clone + Send + Sync + 'static,
{
    let verifier = login.issuer.verifier();
    methods
        .route_layer(login.bearer.clone())
        .route_layer(from_fn_with_state(verifier, informed))
        .route_layer(map_response(told))
}

/// Without news after that, the bearer layer answers 503.
async fn informed(State(verifier): State<Verifier>, request: Request, next: Next) -> Response {
    // Late or not: who comes next looks for itself.
    let _ = timeout(NEWS, verifier.ready()).await;
    next.run(request).await
}

/// Users read and change what is theirs.
async fn only_own(
    Access(token): Access<NoClaims>,
    PathId(user): PathId<UserId>,
    request: Request,
    next: Next,
) -> Result<Response, Error> {
    if token.subject() != user.0.to_string() && !cfg!(broken = "no_owner") {
        return Err(Error::new(
            StatusCode::FORBIDDEN,
            "not_yours",
            format!("you are logged in as user {}", token.subject()),
            "the user id in the path",
            "ask for what is yours",
        ));
    }
    Ok(next.run(request).await)
}

/// The layers of `jwt-refresh` refuse with headers (RFC 6750) and no body. This adds ours.
async fn told(response: Response) -> Response {
    if response.headers().contains_key(CONTENT_TYPE) {
        return response;
    }
    let status = response.status();
    let (code, what, fix) = match status {
        StatusCode::BAD_REQUEST => (
            "bad_credentials",
            "the access token is not where it must be",
            "send one header `Authorization: Bearer` and no token in the URL",
        ),
        StatusCode::UNAUTHORIZED => (
            "not_logged_in",
            "there is no access token, or it is not valid, or not any more",
            "POST /auth/refresh for a new one, or POST /login",
        ),
        StatusCode::FORBIDDEN => (
            "not_allowed",
            "the access token lacks the scope, or its user the role",
            "refresh without narrowing the scope, or log in as somebody who may",
        ),
        StatusCode::SERVICE_UNAVAILABLE => (
            "revocations_unknown",
            "it is not known at the moment which sessions have ended",
            "try again in a moment",
        ),
        _ => return response,
    };
    let said = Error::new(status, code, what, "the header `authorization`", fix);
    let mut answer = said.into_response();
    // Those of the refusal: `WWW-Authenticate`, `Retry-After`.
    answer.headers_mut().extend(response.headers().clone());
    answer
}
