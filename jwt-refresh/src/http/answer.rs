//! Answers with the status, the headers and the bodies of the RFCs.

use bytes::Bytes;
use http::header::{
    CACHE_CONTROL, CONTENT_TYPE, HeaderValue, PRAGMA, RETRY_AFTER, WWW_AUTHENTICATE,
};
use http::{Response, StatusCode};
use http_body_util::Full;

use crate::error::Error;

/// RFC 6750, section 3. Nothing in it says more than the RFC's code.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Challenge {
    /// No credentials: no error code either.
    Missing,
    InvalidRequest,
    InvalidToken,
    /// 503: the revocations are not known.
    Unavailable,
}

impl Challenge {
    pub(crate) fn response<B: Default>(self, realm: &str) -> Response<B> {
        let mut response = Response::new(B::default());
        let (status, code) = match self {
            Self::Missing => (StatusCode::UNAUTHORIZED, None),
            Self::InvalidRequest => (StatusCode::BAD_REQUEST, Some("invalid_request")),
            Self::InvalidToken => (StatusCode::UNAUTHORIZED, Some("invalid_token")),
            Self::Unavailable => {
                *response.status_mut() = StatusCode::SERVICE_UNAVAILABLE;
                response.headers_mut().insert(RETRY_AFTER, HeaderValue::from_static("1"));
                return response;
            }
        };
        *response.status_mut() = status;
        response.headers_mut().insert(WWW_AUTHENTICATE, challenge(realm, code, None));
        response
    }
}

pub(crate) fn insufficient_scope<B: Default>(realm: &str, scope: &str) -> Response<B> {
    let mut response = Response::new(B::default());
    *response.status_mut() = StatusCode::FORBIDDEN;
    let scope = (!scope.is_empty()).then_some(scope);
    let value = challenge(realm, Some("insufficient_scope"), scope);
    response.headers_mut().insert(WWW_AUTHENTICATE, value);
    response
}

fn challenge(realm: &str, code: Option<&str>, scope: Option<&str>) -> HeaderValue {
    let mut text = format!("Bearer realm=\"{realm}\"");
    for (name, value) in [("error", code), ("scope", scope)] {
        if let Some(value) = value {
            text.push_str(&format!(", {name}=\"{value}\""));
        }
    }
    // The realm was checked when the layer was made, the scope likewise.
    HeaderValue::from_str(&text).unwrap_or(HeaderValue::from_static("Bearer"))
}

/// A JSON body that nobody keeps.
pub(crate) fn json(status: StatusCode, body: String) -> Response<Full<Bytes>> {
    let mut response = Response::new(Full::from(body));
    *response.status_mut() = status;
    let headers = response.headers_mut();
    headers.insert(CONTENT_TYPE, HeaderValue::from_static("application/json"));
    headers.insert(CACHE_CONTROL, HeaderValue::from_static("no-store"));
    headers.insert(PRAGMA, HeaderValue::from_static("no-cache"));
    response
}

pub(crate) fn empty(status: StatusCode) -> Response<Full<Bytes>> {
    let mut response = Response::new(Full::default());
    *response.status_mut() = status;
    response.headers_mut().insert(CACHE_CONTROL, HeaderValue::from_static("no-store"));
    response
}

/// RFC 6749, section 5.2.
pub(crate) fn error(status: StatusCode, code: &str) -> Response<Full<Bytes>> {
    json(status, format!(r#"{{"error":"{code}"}}"#))
}

/// What a client hears of a refresh or a logout that did not go through.
pub(crate) fn failure(error_: &Error, retry_after_secs: u64) -> Response<Full<Bytes>> {
    let later = |status, code, secs: u64| {
        let mut response = error(status, code);
        response.headers_mut().insert(RETRY_AFTER, HeaderValue::from(secs));
        response
    };
    match error_ {
        error_ if error_.is_invalid_grant() => error(StatusCode::BAD_REQUEST, "invalid_grant"),
        Error::TooManyReplays { retry_after } => {
            later(StatusCode::TOO_MANY_REQUESTS, "slow_down", retry_after.as_secs().max(1))
        }
        Error::RetryKeyReused | Error::InvalidRetryKey => {
            error(StatusCode::BAD_REQUEST, "invalid_request")
        }
        Error::ScopeTooWide => error(StatusCode::BAD_REQUEST, "invalid_scope"),
        Error::InvalidClaims(_) => error(StatusCode::INTERNAL_SERVER_ERROR, "server_error"),
        _ => {
            later(StatusCode::SERVICE_UNAVAILABLE, "temporarily_unavailable", retry_after_secs)
        }
    }
}
