//! The layer against mock services.
#![allow(clippy::unwrap_used, reason = "a panic is how a test fails")]

use std::convert::Infallible;
use std::time::{Duration, UNIX_EPOCH};

use http::header::{COOKIE, SET_COOKIE};
use http::{HeaderName, HeaderValue, Request, Response};
use rw_split::{ConsistencyLayer, ConsistencyScope, ConsistencyToken, TokenKeys, WallClock};
use tokio_test::{assert_pending, assert_ready_ok};
use tower::limit::ConcurrencyLimitLayer;
use tower::{Layer, ServiceBuilder, ServiceExt, service_fn};
use tower_test::mock;

fn keys() -> TokenKeys {
    TokenKeys::new(&[7; 32]).unwrap()
}

fn layer() -> ConsistencyLayer {
    ConsistencyLayer::cookie("rw", keys()).unwrap()
}

fn with_cookie(cookie: &str) -> Request<()> {
    let mut request = Request::new(());
    request.headers_mut().insert(COOKIE, HeaderValue::from_str(cookie).unwrap());
    request
}

/// What the handler finds in its session, and the cookies of the answer.
async fn through(
    layer: &ConsistencyLayer,
    request: Request<()>,
) -> (ConsistencyToken, Vec<String>) {
    let service = service_fn(|request: Request<()>| async move {
        // The task-local and the extension are one.
        let scope = ConsistencyScope::current().unwrap();
        let extension = request.extensions().get::<ConsistencyScope>().unwrap();
        assert_eq!(extension.token(), scope.token());
        Ok::<_, Infallible>(Response::new(scope.token()))
    });
    let response = layer.layer(service).oneshot(request).await.unwrap();
    let cookies = response.headers().get_all(SET_COOKIE).into_iter();
    let cookies = cookies.map(|value| value.to_str().unwrap().to_owned()).collect();
    (response.into_body(), cookies)
}

#[tokio::test]
async fn a_request_without_a_session_gets_no_cookie() {
    let (token, cookies) = through(&layer(), Request::new(())).await;
    assert!(token.is_empty() && cookies.is_empty());
}

#[tokio::test]
async fn no_cookie_whatever_is_in_it_makes_an_error() {
    let expired = keys().sign(&ConsistencyToken::default(), Duration::ZERO);
    let foreign = TokenKeys::new(&[8; 32]).unwrap();
    let foreign = foreign.sign(&ConsistencyToken::default(), Duration::from_secs(9));
    for cookie in [
        "rw-0=".to_owned(),
        "rw-0".to_owned(),
        "rw-0=====; rw-r=;;;".to_owned(),
        format!("rw-r={expired}; rw-1={foreign}; other=x; rw-9={foreign}"),
        format!("rw-0={}", "A".repeat(8000)),
        vec![format!("rw-0={foreign}"); 100].join("; "),
    ] {
        let (token, cookies) = through(&layer(), with_cookie(&cookie)).await;
        assert!(token.is_empty() && cookies.is_empty(), "{cookie}");
    }
    let mut binary = Request::new(());
    binary.headers_mut().insert(COOKIE, HeaderValue::from_bytes(b"rw-0=\xff\xfe").unwrap());
    assert!(through(&layer(), binary).await.0.is_empty());
}

#[tokio::test]
async fn a_session_passes_the_header_as_well() {
    let layer = ConsistencyLayer::header(HeaderName::from_static("x-consistency"), keys());
    let text = keys().sign(&ConsistencyToken::default(), Duration::from_secs(9));
    let mut request = Request::new(());
    let value = HeaderValue::from_str(&format!("{text}, junk")).unwrap();
    request.headers_mut().insert("x-consistency", value);
    assert!(through(&layer, request).await.0.is_empty());
}

#[tokio::test]
async fn tokens_expire_by_the_wall_clock() {
    let at = |seconds| {
        keys().clock(WallClock::fake(move || UNIX_EPOCH + Duration::from_secs(seconds)))
    };
    let text = at(100).sign(&ConsistencyToken::default(), Duration::from_secs(60));
    assert!(at(159).verify(&text).is_some());
    assert!(at(160).verify(&text).is_none());
}

#[test]
fn names_that_are_no_cookies_are_refused() {
    for name in ["", "a b", "a;b", "a=b", "é"] {
        let error = ConsistencyLayer::cookie(name, keys()).unwrap_err();
        assert_eq!(error.setting(), "cookie");
    }
}

#[tokio::test]
async fn readiness_is_forwarded() {
    let (mut service, mut inner) = mock::spawn_layer::<Request<()>, Response<()>, _>(layer());
    inner.allow(0);
    assert_pending!(service.poll_ready());
    inner.allow(1);
    assert_ready_ok!(service.poll_ready());

    // ConcurrencyLimit panics when a clone that was never polled is called.
    let limited = ServiceBuilder::new()
        .layer(layer())
        .layer(ConcurrencyLimitLayer::new(1))
        .service_fn(|_: Request<()>| async { Ok::<_, Infallible>(Response::new(())) });
    let all = (0..4).map(|_| limited.clone().oneshot(Request::new(())));
    for answer in futures_util::future::join_all(all).await {
        answer.unwrap();
    }
}
