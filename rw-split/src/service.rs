use std::sync::Arc;
use std::task::{Context, Poll};

use http::header::HOST;
use http::{Request, Response};
use tower_service::Service;

use crate::future::ResponseFuture;
use crate::layer::Settings;
use crate::scope::ConsistencyScope;

/// Runs each request in its session. Made by
/// [`ConsistencyLayer`](crate::ConsistencyLayer).
///
/// # Readiness
///
/// *Forwarded*.
///
/// # Errors
///
/// The inner service's. A token that is forged, damaged or expired is left out,
/// and counted at the session's first query.
#[derive(Clone, Debug)]
pub struct Consistent<S> {
    inner: S,
    settings: Arc<Settings>,
}

impl<S> Consistent<S> {
    pub(crate) fn new(inner: S, settings: Arc<Settings>) -> Self {
        Self { inner, settings }
    }
}

impl<S, A, B> Service<Request<A>> for Consistent<S>
where
    S: Service<Request<A>, Response = Response<B>>,
{
    type Response = Response<B>;
    type Error = S::Error;
    type Future = ResponseFuture<S::Future>;

    fn poll_ready(&mut self, cx: &mut Context<'_>) -> Poll<Result<(), S::Error>> {
        self.inner.poll_ready(cx)
    }

    fn call(&mut self, mut request: Request<A>) -> Self::Future {
        let settings = Arc::clone(&self.settings);
        let brought = settings.carrier.read(request.headers(), &settings.keys);
        let scope = ConsistencyScope::new(brought.token);
        scope.refuse(brought.refused);
        // Before half of its time is over, a token is not made anew.
        let soon = |expires| expires < settings.keys.now().after(settings.lifetime / 2);
        for (cluster, expires) in &brought.seen_expires {
            if soon(*expires) {
                scope.expires(cluster);
            }
        }
        let secure = !(settings.plain_http && is_loopback(&request));
        request.extensions_mut().insert(scope.clone());
        // Called in the session, too: a service may do its work there.
        let inner = scope.within(|| self.inner.call(request));
        ResponseFuture::new(scope.scoped(inner), scope, settings, secure)
    }
}

fn is_loopback<A>(request: &Request<A>) -> bool {
    let header = request.headers().get(HOST).and_then(|host| host.to_str().ok());
    let Some(authority) = request.uri().host().or(header) else { return false };
    let host = match authority.strip_prefix('[') {
        Some(ipv6) => ipv6.split(']').next().unwrap_or(ipv6),
        None => authority.split(':').next().unwrap_or(authority),
    };
    host == "localhost"
        || host.parse::<std::net::IpAddr>().is_ok_and(|address| address.is_loopback())
}
