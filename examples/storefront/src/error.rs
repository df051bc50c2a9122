//! What the shop answers when it cannot do as asked: always JSON, always with a way out.

use std::time::Duration;

use axum::Json;
use axum::http::{HeaderValue, Method, StatusCode, Uri, header};
use axum::response::{IntoResponse, Response};
use serde::Serialize;
use tracing::error;

use crate::db::DbError;

/// A refusal: its status, and what is wrong, where, and how to mend it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Error {
    pub(crate) status: StatusCode,
    /// Stable, for programs.
    pub(crate) code: &'static str,
    pub(crate) what: String,
    pub(crate) place: String,
    pub(crate) fix: String,
    /// In seconds.
    retry_after: Option<u64>,
}

impl Error {
    pub(crate) fn new(
        status: StatusCode,
        code: &'static str,
        what: impl Into<String>,
        place: impl Into<String>,
        fix: impl Into<String>,
    ) -> Self {
        let (what, place, fix) = (what.into(), place.into(), fix.into());
        Self { status, code, what, place, fix, retry_after: None }
    }

    /// Nobody and nothing has this id.
    pub(crate) fn unknown(kind: &str, id: i64, place: &str) -> Self {
        Self::new(
            StatusCode::NOT_FOUND,
            "unknown_id",
            format!("there is no {kind} {id}"),
            place,
            format!("ask for a {kind} that exists; a seeded shop numbers them from 1"),
        )
    }

    pub(crate) fn unavailable() -> Self {
        Self::new(
            StatusCode::SERVICE_UNAVAILABLE,
            "source_unavailable",
            "the shop's database does not answer at the moment",
            "the server",
            "try again in a moment",
        )
        .after(1)
    }

    /// Some shards are missing from what is of all of them.
    pub(crate) fn incomplete() -> Self {
        Self::new(
            StatusCode::SERVICE_UNAVAILABLE,
            "report_incomplete",
            "some of the orders cannot be read at the moment, so the report would not be whole",
            "the server",
            "try again in a moment; /reports/orders?partial=true is of what is there, and says \
             which shards are missing",
        )
        .after(1)
    }

    /// More want to log in than passwords can be checked.
    pub(crate) fn busy() -> Self {
        Self::new(
            StatusCode::SERVICE_UNAVAILABLE,
            "busy",
            "too many are logging in at the moment",
            "the server",
            "try again in a moment",
        )
        .after(5)
    }

    /// Somebody tries too often.
    pub(crate) fn too_many(wait: Duration) -> Self {
        Self::new(
            StatusCode::TOO_MANY_REQUESTS,
            "too_many_attempts",
            "there were too many attempts to log in, from this address or as this user",
            "the request",
            "wait for as long as the Retry-After header says",
        )
        // Not a moment too early.
        .after(wait.as_secs() + 1)
    }

    fn after(self, seconds: u64) -> Self {
        Self { retry_after: Some(seconds), ..self }
    }

    pub(crate) fn internal() -> Self {
        Self::new(
            StatusCode::INTERNAL_SERVER_ERROR,
            "internal",
            "the shop failed to handle this request",
            "the server",
            "nothing is wrong with the request; the server's log has the cause",
        )
    }
}

/// Transient failures are for the caller to retry; anything else is a bug, and is logged.
impl From<&DbError> for Error {
    fn from(cause: &DbError) -> Self {
        if cause.is_transient() {
            return Self::unavailable();
        }
        error!(error = cause as &dyn std::error::Error, "the database refused a statement");
        Self::internal()
    }
}

impl From<DbError> for Error {
    fn from(cause: DbError) -> Self {
        Self::from(&cause)
    }
}

/// What a read through a cache failed of: one load's failure, shared by all who waited.
impl From<cache_aside::Error> for Error {
    fn from(cause: cache_aside::Error) -> Self {
        if let Some(cause) = cause.load_error::<DbError>() {
            return Self::from(cause);
        }
        if cause.is_timeout() {
            return Self::unavailable();
        }
        error!(error = &cause as &dyn std::error::Error, "a load failed");
        Self::internal()
    }
}

impl IntoResponse for Error {
    fn into_response(self) -> Response {
        #[derive(Serialize)]
        struct Body {
            error: Said,
        }

        #[derive(Serialize)]
        struct Said {
            status: u16,
            code: &'static str,
            what: String,
            #[serde(rename = "where")]
            place: String,
            fix: String,
        }

        let Self { status, code, what, place, fix, retry_after } = self;
        let error = Said { status: status.as_u16(), code, what, place, fix };
        let mut response = (status, Json(Body { error })).into_response();
        if let Some(seconds) = retry_after {
            response.headers_mut().insert(header::RETRY_AFTER, HeaderValue::from(seconds));
        }
        response
    }
}

/// Answers for paths that lead nowhere.
pub(crate) async fn no_such_route(uri: Uri) -> Error {
    Error::new(
        StatusCode::NOT_FOUND,
        "unknown_path",
        format!("there is nothing at {}", uri.path()),
        "the path",
        "use /products/{id}, /products/{id}/page, /users/{id}, /users/{id}/orders, /metrics, \
         /healthz, or, where users log in, what the README lists for them",
    )
}

/// Answers for methods that a path does not have; `Allow` names those that it has.
pub(crate) async fn no_such_method(method: Method, uri: Uri) -> Error {
    Error::new(
        StatusCode::METHOD_NOT_ALLOWED,
        "method_not_allowed",
        format!("{} does not take {method}", uri.path()),
        "the method",
        "use one of the methods that the Allow header of this answer names",
    )
}
