//! The router against requests that are wrong, and against a database that is not there.

use std::io;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};
use std::time::Duration;

use axum::Router;
use axum::body::{Body, Bytes};
use axum::http::{Method, Request, StatusCode, header};
use cache_aside::RedisStore;
use http_body_util::BodyExt;
use metrics_exporter_prometheus::PrometheusBuilder;
use proptest::prelude::*;
use proptest::test_runner::RngSeed;
use serde_json::{Value, json};
use tokio::runtime::{Builder, Runtime};
use tower::ServiceExt;

use crate::app::{Shop, router};
use crate::db::Database;
use crate::input::BODY_LIMIT;
use crate::orders::Orders;
use crate::read_path::Caching;

const PRODUCT: &str = r#"{"name":"Lamp","description":"A lamp.","price_cents":1,"stock":1}"#;
const USER: &str = r#"{"name":"Ada","email":"ada@example.org","city":"Cork"}"#;
const ORDER: &str = r#"{"product_id":1,"quantity":1}"#;

/// A shop whose database refuses connections.
async fn shop(caching: &Caching) -> Router {
    let prometheus = PrometheusBuilder::new().build_recorder().handle();
    let db = Database::unreachable().await;
    router(
        Arc::new(Shop::new(db.clone(), Orders::Beside(db), caching, prometheus).unwrap()),
        None,
    )
}

async fn send(shop: &Router, request: Request<Body>) -> (StatusCode, Value) {
    let response = shop.clone().oneshot(request).await.unwrap();
    let status = response.status();
    let body = response.into_body().collect().await.unwrap().to_bytes();
    let body = serde_json::from_slice(&body);
    (status, body.unwrap_or_else(|_| panic!("{status} without a JSON body")))
}

fn request(method: Method, path: &str, body: impl Into<Body>) -> Request<Body> {
    let request = Request::builder().method(method).uri(path);
    request.header(header::CONTENT_TYPE, "application/json").body(body.into()).unwrap()
}

/// The refusal says what is wrong, where, and how to mend it.
fn code(body: &Value) -> &str {
    let error = &body["error"];
    for field in ["what", "where", "fix"] {
        assert!(error[field].as_str().is_some_and(|said| !said.is_empty()), "{field}: {body}");
    }
    error["code"].as_str().unwrap()
}

#[tokio::test]
async fn each_mistake_has_its_own_answer() {
    let shop = shop(&Caching::Local).await;
    let large = "x".repeat(BODY_LIMIT + 1);
    let nul = PRODUCT.replace("Lamp", r"La\u0000mp");
    let extra = PRODUCT.replace('{', r#"{"id":2,"#);
    let twice = PRODUCT.replace('{', r#"{"stock":2,"#);
    for (method, path, body, status, expected) in [
        (Method::GET, "/products/abc", "", 400, "bad_id"),
        (Method::GET, "/products/-1", "", 400, "bad_id"),
        (Method::GET, "/products/0", "", 400, "bad_id"),
        (Method::GET, "/products/99999999999999999999", "", 400, "bad_id"),
        (Method::GET, "/users/%ff", "", 400, "bad_id"),
        (Method::GET, "/users/1.5/orders", "", 400, "bad_id"),
        (Method::GET, "/", "", 404, "unknown_path"),
        (Method::GET, "/products/", "", 404, "unknown_path"),
        (Method::GET, "/products/1/../2", "", 404, "unknown_path"),
        (Method::DELETE, "/products/1", "", 405, "method_not_allowed"),
        (Method::POST, "/users/1", USER, 405, "method_not_allowed"),
        (Method::GET, "/reports/orders?partial=perhaps", "", 400, "bad_query"),
        (Method::GET, "/reports/orders?", "", 503, "source_unavailable"),
        (Method::PUT, "/products/abc", PRODUCT, 400, "bad_id"),
        (Method::PUT, "/products/1", "", 400, "bad_json"),
        (Method::PUT, "/products/1", r#"{"name":"#, 400, "bad_json"),
        (Method::PUT, "/products/1", r#"{"name":"\ud800"}"#, 400, "bad_json"),
        (Method::PUT, "/products/1", "[]", 422, "bad_fields"),
        (Method::PUT, "/products/1", "{}", 422, "bad_fields"),
        (Method::PUT, "/products/1", &extra, 422, "bad_fields"),
        (Method::PUT, "/products/1", &twice, 422, "bad_fields"),
        (Method::PUT, "/products/1", &nul, 422, "bad_field"),
        (Method::PUT, "/products/1", &large, 413, "body_too_large"),
        (Method::PUT, "/users/1", ORDER, 422, "bad_fields"),
        (Method::PUT, "/users/1", r#"{"name":" ","email":"a@b","city":"c"}"#, 422, "bad_field"),
        (Method::PUT, "/users/1", r#"{"name":"a","email":"ab","city":"c"}"#, 422, "bad_field"),
        (Method::POST, "/users/1/orders", r#"{"product_id":1,"quantity":0}"#, 422, "bad_field"),
        (Method::POST, "/users/1/orders", r#"{"product_id":0,"quantity":1}"#, 422, "bad_field"),
        (
            Method::POST,
            "/users/1/orders",
            r#"{"product_id":1,"quantity":1e3}"#,
            422,
            "bad_fields",
        ),
    ] {
        let (got, answer) = send(&shop, request(method.clone(), path, body.to_owned())).await;
        assert_eq!((got.as_u16(), code(&answer)), (status, expected), "{method} {path} {body}");
    }
}

#[tokio::test]
async fn a_body_must_be_declared_and_whole() {
    let shop = shop(&Caching::Local).await;
    for declared in [None, Some("text/plain"), Some("application/xml"), Some("json")] {
        let mut undeclared = request(Method::PUT, "/products/1", PRODUCT);
        undeclared.headers_mut().remove(header::CONTENT_TYPE);
        if let Some(declared) = declared {
            undeclared.headers_mut().insert(header::CONTENT_TYPE, declared.parse().unwrap());
        }
        let (status, body) = send(&shop, undeclared).await;
        assert_eq!((status.as_u16(), code(&body)), (415, "bad_content_type"), "{declared:?}");
    }

    let (status, body) = send(&shop, request(Method::PUT, "/products/1", Body::new(Cut))).await;
    assert_eq!((status.as_u16(), code(&body)), (400, "unread_body"));
}

/// A body whose connection breaks.
struct Cut;

impl axum::body::HttpBody for Cut {
    type Data = Bytes;
    type Error = io::Error;

    fn poll_frame(
        self: Pin<&mut Self>,
        _: &mut Context<'_>,
    ) -> Poll<Option<Result<hyper::body::Frame<Bytes>, io::Error>>> {
        Poll::Ready(Some(Err(io::ErrorKind::ConnectionReset.into())))
    }
}

#[tokio::test]
async fn the_allow_header_names_the_methods() {
    let response = shop(&Caching::Local)
        .await
        .oneshot(request(Method::DELETE, "/users/1/orders", Body::empty()))
        .await
        .unwrap();
    assert_eq!(response.headers()[header::ALLOW], "GET,HEAD,POST");
}

#[tokio::test(start_paused = true)]
async fn without_a_database_good_requests_are_told_to_come_again() {
    // Nor with a Redis that is not there.
    let redis = RedisStore::open("redis://127.0.0.1:1/").unwrap();
    for caching in [
        Caching::Local,
        Caching::Off,
        Caching::Shared { redis, timeout: Duration::from_millis(250) },
    ] {
        let shop = shop(&caching).await;
        for (method, path, body) in [
            (Method::GET, "/products/1", ""),
            (Method::GET, "/users/1", ""),
            (Method::GET, "/users/1/orders", ""),
            (Method::GET, "/reports/orders", ""),
            (Method::GET, "/reports/sales", ""),
            (Method::PUT, "/products/1", PRODUCT),
            (Method::PUT, "/users/1", USER),
            (Method::POST, "/users/1/orders", ORDER),
        ] {
            let response = shop.clone().oneshot(request(method, path, body)).await.unwrap();
            assert_eq!(
                response.status(),
                StatusCode::SERVICE_UNAVAILABLE,
                "{path} {caching:?}"
            );
            assert_eq!(response.headers()[header::RETRY_AFTER], "1");
            let body = response.into_body().collect().await.unwrap().to_bytes();
            let said = String::from_utf8(body.to_vec()).unwrap();
            for internal in ["127.0.0.1", "os error", "storefront.", "SELECT"] {
                assert!(!said.contains(internal), "{said}");
            }
        }
        let (status, body) = send(&shop, request(Method::GET, "/healthz", "")).await;
        assert_eq!((status, body), (StatusCode::OK, json!({ "status": "ok" })));
    }
}

fn runtime() -> Runtime {
    Builder::new_current_thread().enable_all().start_paused(true).build().unwrap()
}

/// Ids that no row can have, as they may stand in a path.
fn bad_id() -> impl Strategy<Value = String> {
    prop_oneof![
        "[A-Za-z.~_+-]{1,12}",
        "-[0-9]{1,30}",
        "0[0-9]{0,30}",
        "[1-9][0-9]{19,40}",
        "(%[0-9a-fA-F]{2}){1,8}[a-z]",
    ]
}

/// Text that may or may not be JSON, and is never a whole resource.
fn bad_body() -> impl Strategy<Value = Vec<u8>> {
    prop_oneof![
        prop::collection::vec(any::<u8>(), 0..200),
        r#"[\[{"}:,0-9a-z\\\]]{0,80}"#.prop_map(String::into_bytes),
        (r#"(null|true|-1|1e999|"5"|\[\]|\{\}|9223372036854775808)"#, 0..4usize).prop_map(
            |(wrong, field)| {
                let mut fields = [r#""Lamp""#, r#""A lamp.""#, "1", "1"].map(str::to_owned);
                // The first two take any text: what is wrong there must not be a string.
                fields[field] =
                    if field < 2 { wrong.replace('"', "") } else { wrong };
                let [name, description, price, stock] = fields;
                format!(
                    r#"{{"name":{name},"description":{description},"price_cents":{price},"stock":{stock}}}"#
                )
                .into_bytes()
            }
        ),
    ]
}

proptest! {
    #![proptest_config(ProptestConfig {
        cases: 512,
        rng_seed: RngSeed::Fixed(7),
        ..ProptestConfig::default()
    })]

    #[test]
    fn no_path_breaks_the_shop(
        id in bad_id(),
        method in prop::sample::select(vec![Method::GET, Method::PUT, Method::POST, Method::PATCH]),
        shape in prop::sample::select(vec![
            "/products/ID", "/users/ID", "/users/ID/orders", "/ID", "/ID/1", "/products/1/ID",
        ]),
    ) {
        let path = shape.replace("ID", &id);
        let (status, body) =
            runtime().block_on(async { send(&shop(&Caching::Local).await, request(method, &path, PRODUCT)).await });
        prop_assert!(status.is_client_error(), "{} for {}", status, path);
        code(&body);
    }

    #[test]
    fn no_body_breaks_the_shop(
        bytes in bad_body(),
        path in prop::sample::select(vec!["/products/1", "/users/1"]),
    ) {
        let (status, body) =
            runtime().block_on(async { send(&shop(&Caching::Local).await, request(Method::PUT, path, bytes)).await });
        prop_assert!(status.is_client_error(), "{} for {}", status, path);
        code(&body);
    }
}
