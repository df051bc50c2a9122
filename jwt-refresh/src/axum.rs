//! The extractor for axum.

use std::sync::Arc;

use axum_core::body::Body;
use axum_core::extract::{FromRequestParts, OptionalFromRequestParts};
use axum_core::response::{IntoResponse, Response};
use http::StatusCode;
use http::header::{HeaderValue, WWW_AUTHENTICATE};
use http::request::Parts;

use crate::access::Verified;

/// The token that a [`BearerLayer<C>`](crate::BearerLayer) above has verified:
/// 401 where there is none.
///
/// As an `Option<Access<C>>` it is for handlers below a layer that not every
/// request passes.
#[derive(Debug)]
pub struct Access<C>(pub Arc<Verified<C>>);

impl<C> Clone for Access<C> {
    fn clone(&self) -> Self {
        Self(Arc::clone(&self.0))
    }
}

/// There is no verified token.
#[derive(Clone, Copy, Debug)]
pub struct NoAccess;

impl IntoResponse for NoAccess {
    fn into_response(self) -> Response {
        let mut response = Response::new(Body::empty());
        *response.status_mut() = StatusCode::UNAUTHORIZED;
        let challenge = HeaderValue::from_static("Bearer realm=\"api\"");
        response.headers_mut().insert(WWW_AUTHENTICATE, challenge);
        response
    }
}

impl<S: Sync, C: Send + Sync + 'static> FromRequestParts<S> for Access<C> {
    type Rejection = NoAccess;

    async fn from_request_parts(parts: &mut Parts, _: &S) -> Result<Self, NoAccess> {
        parts.extensions.get::<Arc<Verified<C>>>().cloned().map(Self).ok_or(NoAccess)
    }
}

impl<S: Sync, C: Send + Sync + 'static> OptionalFromRequestParts<S> for Access<C> {
    type Rejection = NoAccess;

    async fn from_request_parts(parts: &mut Parts, _: &S) -> Result<Option<Self>, NoAccess> {
        Ok(parts.extensions.get::<Arc<Verified<C>>>().cloned().map(Self))
    }
}
