//! The layers and the token service: statuses, headers and bodies of the RFCs.

#![allow(clippy::unwrap_used, reason = "the helpers of tests are tests")]

#[path = "../support/mod.rs"]
mod support;

mod bearer;
mod browser;
mod failing;
mod services;
mod settings;

use std::convert::Infallible;
use std::sync::Arc;

use bytes::Bytes;
use http::header::{CONTENT_TYPE, COOKIE, WWW_AUTHENTICATE};
use http::{HeaderMap, Request, Response, StatusCode};
use http_body_util::{BodyExt, Full};
use jwt_refresh::{NoClaims, Subject, TokenPair, TokenService, Verified};
use serde_json::{Value, json};
use support::World;
use tower::limit::ConcurrencyLimitLayer;
use tower::{ServiceBuilder, ServiceExt};

type Body = Full<Bytes>;

/// Shows what the handler saw.
async fn handler(request: Request<Body>) -> Result<Response<Body>, Infallible> {
    let verified = request.extensions().get::<Arc<Verified<NoClaims>>>();
    let mut response = Response::new(Full::default());
    let headers = response.headers_mut();
    if let Some(verified) = verified {
        headers.insert("x-user", verified.subject().parse().unwrap());
    }
    if let Some(cookie) = request.headers().get(COOKIE) {
        headers.insert("x-cookie", cookie.clone());
    }
    Ok(response)
}

async fn login(world: &World) -> TokenPair {
    let subject = Subject::new("u1").scope("orders:read");
    world.issuer.login(subject, json!({"roles": ["clerk"]})).await.unwrap()
}

async fn ask(world: &World, request: Request<Body>) -> Response<Body> {
    let api = ServiceBuilder::new()
        .layer(world.issuer.verifier().bearer::<NoClaims>().realm("shop"))
        // It panics on a service that nobody has made ready.
        .layer(ConcurrencyLimitLayer::new(1))
        .service_fn(handler);
    api.oneshot(request).await.unwrap()
}

fn get(path: &str) -> http::request::Builder {
    Request::get(path)
}

fn challenge(response: &Response<Body>) -> Option<&str> {
    response.headers().get(WWW_AUTHENTICATE).map(|value| value.to_str().unwrap())
}

/// Of a browser on our own origin.
fn post(path: &str, cookie: &str) -> http::request::Builder {
    Request::post(path)
        .header("sec-fetch-site", "same-origin")
        .header(COOKIE, format!("__Host-refresh={cookie}"))
}

fn empty(request: http::request::Builder) -> Request<Body> {
    request.body(Body::default()).unwrap()
}

fn form(request: http::request::Builder, body: &str) -> Request<Body> {
    let request = request.header(CONTENT_TYPE, "application/x-www-form-urlencoded");
    request.body(Full::from(body.to_owned())).unwrap()
}

async fn tell(
    service: &TokenService,
    request: Request<Body>,
) -> (StatusCode, HeaderMap, Value) {
    let (parts, body) = service.clone().oneshot(request).await.unwrap().into_parts();
    let body = body.collect().await.unwrap().to_bytes();
    let body = serde_json::from_slice(&body).unwrap_or(Value::Null);
    (parts.status, parts.headers, body)
}
