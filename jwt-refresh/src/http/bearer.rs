use std::fmt;
use std::mem;
use std::sync::Arc;
use std::task::{Context, Poll};

use http::{Request, Response};
use serde::de::DeserializeOwned;
use tower_layer::Layer;
use tower_service::Service;

use super::answer::Challenge;
use super::credentials;
use super::future::ResponseFuture;
use super::transport::COOKIES;
use crate::access::{Refusal, TypedVerifier, Verified};

/// Lets requests with a good access token through.
///
/// The handler finds an `Arc<Verified<C>>` among the request's extensions. All
/// else is answered as RFC 6750 has it, with an empty body: no credentials 401
/// without an error code, a bad token 401 `invalid_token`, a token in the query
/// or two at once 400 `invalid_request`. While revocations are not known: 503.
/// The refresh cookie is taken out of the request.
pub struct BearerLayer<C> {
    verifier: TypedVerifier<C>,
    realm: Arc<str>,
}

impl<C: DeserializeOwned> BearerLayer<C> {
    pub(crate) fn new(verifier: TypedVerifier<C>) -> Self {
        Self { verifier, realm: "api".into() }
    }

    /// Names the protected space, `api` by default: letters, digits, `-`, `_`,
    /// `.`, and spaces. Anything else in it is left out.
    #[must_use]
    pub fn realm(mut self, realm: &str) -> Self {
        let fits = |c: &char| c.is_ascii_alphanumeric() || "-_. ".contains(*c);
        self.realm = realm.chars().filter(fits).collect::<String>().into();
        self
    }
}

impl<S, C> Layer<S> for BearerLayer<C> {
    type Service = Bearer<S, C>;

    fn layer(&self, inner: S) -> Self::Service {
        Bearer { inner, verifier: self.verifier.clone(), realm: Arc::clone(&self.realm) }
    }
}

/// Made by [`BearerLayer`].
///
/// # Readiness
///
/// *Forwarded*: it is ready when the inner service is, and calls that very
/// handle. A request that is refused gives the readiness back unused.
///
/// # Errors
///
/// The inner service's only; a refusal is an answer.
pub struct Bearer<S, C> {
    inner: S,
    verifier: TypedVerifier<C>,
    realm: Arc<str>,
}

impl<S, C, B, R> Service<Request<B>> for Bearer<S, C>
where
    S: Service<Request<B>, Response = Response<R>> + Clone + Send + 'static,
    S::Future: Send,
    S::Error: Send,
    C: DeserializeOwned + Send + Sync + 'static,
    B: Send + 'static,
    R: Default + Send,
{
    type Response = Response<R>;
    type Error = S::Error;
    type Future = ResponseFuture<S::Future, R, S::Error>;

    fn poll_ready(&mut self, cx: &mut Context<'_>) -> Poll<Result<(), S::Error>> {
        self.inner.poll_ready(cx)
    }

    fn call(&mut self, mut request: Request<B>) -> Self::Future {
        let verdict = match credentials::bearer(request.headers(), request.uri().query()) {
            Err(challenge) => return ResponseFuture::refused(challenge.response(&self.realm)),
            Ok(token) => match self.verifier.verify_at_once(token) {
                Some(verdict) => verdict,
                None => return self.wait(request),
            },
        };
        match verdict {
            Ok(verified) => {
                admit(&mut request, verified);
                ResponseFuture::inner(self.inner.call(request))
            }
            Err(refusal) => ResponseFuture::refused(refused(refusal, &self.realm)),
        }
    }
}

impl<S, C> Bearer<S, C> {
    /// The token's key is not there, or the key set is old: both may be fetched.
    fn wait<B, R>(&mut self, mut request: Request<B>) -> ResponseFuture<S::Future, R, S::Error>
    where
        S: Service<Request<B>, Response = Response<R>> + Clone + Send + 'static,
        S::Future: Send,
        S::Error: Send,
        C: DeserializeOwned + Send + Sync + 'static,
        B: Send + 'static,
        R: Default + Send,
    {
        // The handle that was polled ready goes into the future; its clone stays.
        let clone = self.inner.clone();
        let mut inner = mem::replace(&mut self.inner, clone);
        let (verifier, realm) = (self.verifier.clone(), Arc::clone(&self.realm));
        ResponseFuture::waiting(Box::pin(async move {
            let token = credentials::bearer(request.headers(), request.uri().query());
            let token = match token {
                Ok(token) => token.to_owned(),
                Err(challenge) => return Ok(challenge.response(&realm)),
            };
            match verifier.verify_waiting(&token).await {
                Ok(verified) => {
                    admit(&mut request, verified);
                    inner.call(request).await
                }
                Err(refusal) => Ok(refused(refusal, &realm)),
            }
        }))
    }
}

fn admit<B, C: Send + Sync + 'static>(request: &mut Request<B>, verified: Arc<Verified<C>>) {
    credentials::hide(request.headers_mut(), COOKIES);
    request.extensions_mut().insert(verified);
}

fn refused<R: Default>(refusal: Refusal, realm: &str) -> Response<R> {
    tracing::debug!(%refusal, "an access token is refused");
    let challenge =
        if refusal.is_unavailable() { Challenge::Unavailable } else { Challenge::InvalidToken };
    challenge.response(realm)
}

impl<C> Clone for BearerLayer<C> {
    fn clone(&self) -> Self {
        Self { verifier: self.verifier.clone(), realm: Arc::clone(&self.realm) }
    }
}

impl<S: Clone, C> Clone for Bearer<S, C> {
    fn clone(&self) -> Self {
        Self {
            inner: self.inner.clone(),
            verifier: self.verifier.clone(),
            realm: Arc::clone(&self.realm),
        }
    }
}

impl<C> fmt::Debug for BearerLayer<C> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("BearerLayer").field("realm", &self.realm).finish_non_exhaustive()
    }
}

impl<S: fmt::Debug, C> fmt::Debug for Bearer<S, C> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Bearer").field("inner", &self.inner).finish_non_exhaustive()
    }
}
