//! The service that is cached.

use std::convert::Infallible;
use std::future::{Ready, ready};
use std::hint::black_box;
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::task::{Context, Poll};
use std::time::Duration;

use axum::body::Body as AxumBody;
use bytes::Bytes;
use http::{HeaderMap, HeaderValue, Request, Response};
use http_body_util::Full;
use tower_service::Service;

/// A shop's page, with a count of who has asked.
#[derive(Clone)]
pub(super) struct Inner {
    headers: HeaderMap,
    content: Bytes,
    pub(super) asked: Arc<AtomicUsize>,
    /// Each answer is in memory of its own, as what comes from a connection.
    fresh: bool,
}

impl Inner {
    pub(super) fn new(content: usize) -> Self {
        let fields = [
            ("content-type", "text/html; charset=utf-8"),
            ("cache-control", "public, max-age=86400"),
            ("etag", "\"5f2b-61c8e0\""),
            ("last-modified", "Sun, 01 Nov 2026 08:49:37 GMT"),
            ("content-language", "en"),
            ("x-content-type-options", "nosniff"),
        ];
        let mut headers: HeaderMap = fields
            .into_iter()
            .map(|(name, value)| (name.parse().unwrap(), HeaderValue::from_static(value)))
            .collect();
        headers.insert("content-length", content.into());
        let content = Bytes::from(vec![b'x'; content]);
        Self { headers, content, asked: Arc::default(), fresh: false }
    }

    pub(super) fn fresh(self) -> Self {
        Self { fresh: true, ..self }
    }

    pub(super) fn varying(mut self) -> Self {
        self.headers.insert("vary", HeaderValue::from_static("accept-encoding"));
        self
    }

    /// Bytes of its answer: names, values and content.
    pub(super) fn size(&self) -> usize {
        let fields = self.headers.iter();
        fields.map(|(name, value)| name.as_str().len() + value.len()).sum::<usize>()
            + self.content.len()
    }

    fn answer<B>(&self, body: impl FnOnce(Bytes) -> B) -> Response<B> {
        self.asked.fetch_add(1, Ordering::Relaxed);
        let own = |bytes: &[u8]| Bytes::copy_from_slice(bytes);
        let content = if self.fresh { own(&self.content) } else { self.content.clone() };
        let mut answer = Response::new(body(content));
        *answer.headers_mut() = self.headers.clone();
        if self.fresh {
            for value in answer.headers_mut().values_mut() {
                *value = HeaderValue::from_maybe_shared(own(value.as_bytes())).unwrap();
            }
        }
        answer
    }
}

impl Service<Request<Full<Bytes>>> for Inner {
    type Response = Response<Full<Bytes>>;
    type Error = Infallible;
    type Future = Ready<Result<Self::Response, Infallible>>;

    fn poll_ready(&mut self, _: &mut Context<'_>) -> Poll<Result<(), Infallible>> {
        Poll::Ready(Ok(()))
    }

    fn call(&mut self, request: Request<Full<Bytes>>) -> Self::Future {
        black_box(&request);
        ready(Ok(self.answer(Full::new)))
    }
}

/// Of one URI, that takes a while.
#[derive(Clone)]
pub(super) struct Slow(pub(super) Inner);

pub(super) type Later<B> =
    Pin<Box<dyn Future<Output = Result<Response<B>, Infallible>> + Send>>;

impl Slow {
    fn later<B: Send + 'static>(
        &self,
        body: impl FnOnce(Bytes) -> B + Send + 'static,
    ) -> Later<B> {
        let inner = self.0.clone();
        Box::pin(async move {
            let answer = inner.answer(body);
            tokio::time::sleep(Duration::from_millis(300)).await;
            Ok(answer)
        })
    }
}

impl Service<Request<Full<Bytes>>> for Slow {
    type Response = Response<Full<Bytes>>;
    type Error = Infallible;
    type Future = Later<Full<Bytes>>;

    fn poll_ready(&mut self, _: &mut Context<'_>) -> Poll<Result<(), Infallible>> {
        Poll::Ready(Ok(()))
    }

    fn call(&mut self, _: Request<Full<Bytes>>) -> Self::Future {
        self.later(Full::new)
    }
}

/// As axum's layers have it. What it does begins when it is polled: a layer may call it and
/// not wait for it.
#[derive(Clone)]
pub(super) struct OfAxum<S>(pub(super) S);

impl Service<Request<AxumBody>> for OfAxum<Inner> {
    type Response = Response<AxumBody>;
    type Error = Infallible;
    type Future = Later<AxumBody>;

    fn poll_ready(&mut self, _: &mut Context<'_>) -> Poll<Result<(), Infallible>> {
        Poll::Ready(Ok(()))
    }

    fn call(&mut self, request: Request<AxumBody>) -> Self::Future {
        black_box(&request);
        let inner = self.0.clone();
        Box::pin(async move { Ok(inner.answer(AxumBody::from)) })
    }
}

impl Service<Request<AxumBody>> for OfAxum<Slow> {
    type Response = Response<AxumBody>;
    type Error = Infallible;
    type Future = Later<AxumBody>;

    fn poll_ready(&mut self, _: &mut Context<'_>) -> Poll<Result<(), Infallible>> {
        Poll::Ready(Ok(()))
    }

    fn call(&mut self, _: Request<AxumBody>) -> Self::Future {
        self.0.later(AxumBody::from)
    }
}
