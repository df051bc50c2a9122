use std::fmt;
use std::marker::PhantomData;
use std::sync::Arc;
use std::task::{Context, Poll};

use http::{Request, Response};
use tower_layer::Layer;
use tower_service::Service;

use super::answer::{Challenge, insufficient_scope};
use super::future::ResponseFuture;
use crate::access::Verified;
use crate::error::BuildError;

/// Lets requests through whose token has a scope and roles: 403
/// `insufficient_scope` otherwise.
///
/// It belongs below a [`BearerLayer<C>`](crate::BearerLayer) of the same `C`, and
/// refuses every request where there is none.
pub struct RequireLayer<C> {
    needs: Arc<Needs>,
    claims: PhantomData<fn() -> C>,
}

#[derive(Debug, Default)]
struct Needs {
    scope: String,
    roles: Vec<String>,
}

impl<C> RequireLayer<C> {
    /// Requires every word of `scope`.
    ///
    /// # Errors
    ///
    /// When that is no word of RFC 6749, section 3.3, or none at all.
    pub fn scope(scope: &str) -> Result<Self, BuildError> {
        let word = |word: &str| {
            !word.is_empty()
                && word.bytes().all(|b| matches!(b, 0x21 | 0x23..=0x5B | 0x5D..=0x7E))
        };
        if !scope.split(' ').all(word) {
            return Err(BuildError::new(
                "scope",
                format!("{scope:?} is not a list of words apart by single spaces"),
            ));
        }
        Ok(Self::new(Needs { scope: scope.to_owned(), roles: Vec::new() }))
    }

    /// Requires a role.
    pub fn role(role: impl Into<String>) -> Self {
        Self::new(Needs { scope: String::new(), roles: vec![role.into()] })
    }

    /// Requires this role as well.
    #[must_use]
    pub fn and_role(self, role: impl Into<String>) -> Self {
        let Needs { scope, roles } = &*self.needs;
        let mut roles = roles.clone();
        roles.push(role.into());
        Self::new(Needs { scope: scope.clone(), roles })
    }

    fn new(needs: Needs) -> Self {
        Self { needs: Arc::new(needs), claims: PhantomData }
    }
}

impl Needs {
    fn met_by<C>(&self, verified: &Verified<C>) -> bool {
        let mut words = self.scope.split(' ').filter(|word| !word.is_empty());
        words.all(|word| verified.has_scope(word))
            && self.roles.iter().all(|role| verified.has_role(role))
    }
}

impl<S, C> Layer<S> for RequireLayer<C> {
    type Service = Require<S, C>;

    fn layer(&self, inner: S) -> Self::Service {
        Require { inner, needs: Arc::clone(&self.needs), claims: PhantomData }
    }
}

/// Made by [`RequireLayer`].
///
/// # Readiness
///
/// *Forwarded*, as [`Bearer`](crate::http::Bearer).
///
/// # Errors
///
/// The inner service's only.
pub struct Require<S, C> {
    inner: S,
    needs: Arc<Needs>,
    claims: PhantomData<fn() -> C>,
}

impl<S, C, B, R> Service<Request<B>> for Require<S, C>
where
    S: Service<Request<B>, Response = Response<R>>,
    C: Send + Sync + 'static,
    R: Default,
{
    type Response = Response<R>;
    type Error = S::Error;
    type Future = ResponseFuture<S::Future, R, S::Error>;

    fn poll_ready(&mut self, cx: &mut Context<'_>) -> Poll<Result<(), S::Error>> {
        self.inner.poll_ready(cx)
    }

    fn call(&mut self, request: Request<B>) -> Self::Future {
        match request.extensions().get::<Arc<Verified<C>>>() {
            Some(verified) if self.needs.met_by(verified) => {
                ResponseFuture::inner(self.inner.call(request))
            }
            Some(_) => ResponseFuture::refused(insufficient_scope("api", &self.needs.scope)),
            None => {
                tracing::warn!("RequireLayer has no BearerLayer of its claims above it");
                ResponseFuture::refused(Challenge::Missing.response("api"))
            }
        }
    }
}

impl<C> Clone for RequireLayer<C> {
    fn clone(&self) -> Self {
        Self { needs: Arc::clone(&self.needs), claims: PhantomData }
    }
}

impl<S: Clone, C> Clone for Require<S, C> {
    fn clone(&self) -> Self {
        Self { inner: self.inner.clone(), needs: Arc::clone(&self.needs), claims: PhantomData }
    }
}

impl<C> fmt::Debug for RequireLayer<C> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("RequireLayer").field("needs", &self.needs).finish_non_exhaustive()
    }
}

impl<S: fmt::Debug, C> fmt::Debug for Require<S, C> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Require").field("inner", &self.inner).finish_non_exhaustive()
    }
}
