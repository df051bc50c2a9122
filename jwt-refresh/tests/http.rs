//! The layers and the token service: statuses, headers and bodies of the RFCs.

#![allow(clippy::unwrap_used, reason = "the helpers of tests are tests")]

mod support;

use std::convert::Infallible;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use http::header::{
    ALLOW, AUTHORIZATION, CACHE_CONTROL, CONTENT_TYPE, COOKIE, RETRY_AFTER, SET_COOKIE,
    WWW_AUTHENTICATE,
};
use http::{HeaderMap, Method, Request, Response, StatusCode};
use http_body_util::{BodyExt, Full};
use jwt_refresh::http::{ClientAuth, DevelopmentOnly};
use jwt_refresh::store::{
    Created, Cursor, Described, Feed, NewSession, Revocation, Revoke, Rotate, Rotation,
    Session, SessionRef,
};
use jwt_refresh::{
    BoxStore, Issuer, MemoryStore, NoClaims, Refusal, RequireLayer, Store, Subject, TokenPair,
    TokenService, Transport, Verified,
};
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

#[tokio::test]
async fn the_bearer_layer_answers_as_the_rfc_has_it() {
    let world = World::new().await;
    let pair = login(&world).await;
    let bearer = format!("Bearer {}", pair.access_token().expose());
    let good = get("/orders")
        .header(AUTHORIZATION, &bearer)
        .header(COOKIE, "a=1; __Host-refresh=secret; b=2")
        .body(Body::default())
        .unwrap();
    let response = ask(&world, good).await;
    assert_eq!(response.status(), StatusCode::OK);
    assert_eq!(response.headers()["x-user"], "u1");
    assert_eq!(response.headers()["x-cookie"], "a=1; b=2");

    for (what, request, status, expected) in [
        ("nothing", get("/"), 401, r#"Bearer realm="shop""#),
        ("Basic", get("/").header(AUTHORIZATION, "Basic dTpw"), 401, r#"Bearer realm="shop""#),
        (
            "junk",
            get("/").header(AUTHORIZATION, "Bearer junk"),
            401,
            r#"Bearer realm="shop", error="invalid_token""#,
        ),
        (
            "a refresh token",
            get("/").header(AUTHORIZATION, format!("Bearer {}", pair.refresh_token().expose())),
            401,
            r#"Bearer realm="shop", error="invalid_token""#,
        ),
        (
            "two headers",
            get("/").header(AUTHORIZATION, &bearer).header(AUTHORIZATION, &bearer),
            400,
            r#"Bearer realm="shop", error="invalid_request""#,
        ),
        (
            "a token in the query",
            get("/?access_token=x"),
            400,
            r#"Bearer realm="shop", error="invalid_request""#,
        ),
        (
            "two transports",
            get("/?x=1&access%5ftoken=y").header(AUTHORIZATION, &bearer),
            400,
            r#"Bearer realm="shop", error="invalid_request""#,
        ),
        (
            "a megabyte",
            get("/").header(AUTHORIZATION, format!("Bearer {}", "a".repeat(1 << 20))),
            401,
            r#"Bearer realm="shop", error="invalid_token""#,
        ),
    ] {
        let response = ask(&world, request.body(Body::default()).unwrap()).await;
        assert_eq!(response.status().as_u16(), status, "{what}");
        assert_eq!(challenge(&response), Some(expected), "{what}");
        assert!(!response.headers().contains_key("x-user"));
    }
}

#[tokio::test]
async fn scopes_and_roles_are_required() {
    let world = World::new().await;
    let pair = login(&world).await;
    let ask = async |require: RequireLayer<NoClaims>| {
        let api = ServiceBuilder::new()
            .layer(world.issuer.verifier().bearer::<NoClaims>())
            .layer(require)
            .layer(ConcurrencyLimitLayer::new(1))
            .service_fn(handler);
        let bearer = format!("Bearer {}", pair.access_token().expose());
        let request = get("/").header(AUTHORIZATION, bearer).body(Body::default()).unwrap();
        api.oneshot(request).await.unwrap()
    };
    for (require, status) in [
        (RequireLayer::scope("orders:read").unwrap(), 200),
        (RequireLayer::scope("orders:read").unwrap().and_role("clerk"), 200),
        (RequireLayer::role("clerk"), 200),
        (RequireLayer::scope("orders:write").unwrap(), 403),
        (RequireLayer::scope("orders:read orders:write").unwrap(), 403),
        (RequireLayer::scope("orders").unwrap(), 403),
        (RequireLayer::scope("orders:read").unwrap().and_role("admin"), 403),
        (RequireLayer::role(""), 403),
    ] {
        let response = ask(require).await;
        assert_eq!(response.status().as_u16(), status);
        if status == 403 {
            assert!(challenge(&response).unwrap().contains(r#"error="insufficient_scope""#));
        }
    }
    assert!(RequireLayer::<NoClaims>::scope("").is_err());
    assert!(RequireLayer::<NoClaims>::scope("a\"b").is_err());
    // Without a bearer layer nobody gets through.
    let bare = ServiceBuilder::new()
        .layer(RequireLayer::<NoClaims>::scope("orders:read").unwrap())
        .service_fn(handler);
    let response = bare.oneshot(get("/").body(Body::default()).unwrap()).await.unwrap();
    assert_eq!(response.status(), StatusCode::UNAUTHORIZED);
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

#[tokio::test]
async fn a_browser_refreshes_by_cookie() {
    let world = World::new().await;
    let tokens = world.issuer.token_service(Transport::host_cookie());
    let pair = login(&world).await;
    let response = tokens.respond(&pair);
    let cookie = response.headers()[SET_COOKIE].to_str().unwrap().to_owned();
    for part in ["__Host-refresh=jr1_", "; Path=/;", "Secure", "HttpOnly", "SameSite=Strict"] {
        assert!(cookie.contains(part), "{cookie}");
    }
    assert!(cookie.contains("Max-Age=604800;") && !cookie.contains("Domain"), "{cookie}");
    let body = response.into_body().collect().await.unwrap().to_bytes();
    assert!(
        !String::from_utf8_lossy(&body).contains("jr1_"),
        "the token is in the body as well"
    );

    world.advance(3_600);
    let (status, headers, body) =
        tell(&tokens, empty(post("/auth/refresh", pair.refresh_token().expose()))).await;
    assert_eq!(status, StatusCode::OK);
    assert_eq!(headers[CACHE_CONTROL], "no-store");
    assert_eq!((&body["token_type"], &body["expires_in"]), (&json!("Bearer"), &json!(900)));
    assert!(body.get("refresh_token").is_none());
    let set = headers[SET_COOKIE].to_str().unwrap();
    assert!(set.contains("Max-Age=601200;"), "{set}");
    let next = set.split(['=', ';']).nth(1).unwrap().to_owned();
    let access = body["access_token"].as_str().unwrap();
    assert!(world.verifier().verify(access).is_ok());

    // Only logout clears the cookie.
    world.advance(20);
    let (status, headers, body) =
        tell(&tokens, empty(post("/refresh", pair.refresh_token().expose()))).await;
    assert_eq!((status.as_u16(), body), (400, json!({"error": "invalid_grant"})));
    assert!(!headers.contains_key(SET_COOKIE));
    let (status, headers, _) = tell(&tokens, empty(post("/logout", &next))).await;
    assert_eq!(status, StatusCode::NO_CONTENT);
    let cleared = headers[SET_COOKIE].to_str().unwrap();
    assert!(cleared.starts_with("__Host-refresh=; ") && cleared.contains("Max-Age=0;"));
    assert_eq!(world.verifier().verify(access).map(drop), Err(Refusal::Revoked));
}

#[tokio::test]
async fn requests_of_other_sites_are_refused() {
    let world = World::new().await;
    let tokens = world
        .issuer
        .token_service(Transport::host_cookie().allow_origin("https://app.example").unwrap());
    let pair = login(&world).await;
    let cookie = format!("__Host-refresh={}", pair.refresh_token().expose());
    let of = |headers: &[(&str, &str)]| {
        let mut request =
            Request::post("/refresh").header(COOKIE, &cookie).header("host", "id.example");
        for (name, value) in headers {
            request = request.header(*name, *value);
        }
        empty(request)
    };
    for headers in [
        &[][..],
        &[("sec-fetch-site", "cross-site")],
        &[("sec-fetch-site", "same-site")],
        &[("sec-fetch-site", "none")],
        &[("sec-fetch-site", "Same-Origin ")],
        &[("sec-fetch-site", "same-origin"), ("sec-fetch-site", "cross-site")],
        &[("origin", "https://evil.example")],
        &[("origin", "null")],
        // What Host says is no origin that anybody has allowed.
        &[("origin", "https://id.example")],
        &[("origin", "https://app.example.evil.example")],
        &[("origin", "http://app.example")],
        &[("origin", "https://app.example"), ("origin", "https://evil.example")],
    ] {
        for path in ["refresh", "logout"] {
            let mut request = of(headers);
            *request.uri_mut() = format!("/{path}").parse().unwrap();
            let (status, headers_out, body) = tell(&tokens, request).await;
            assert_eq!(status, StatusCode::FORBIDDEN, "{headers:?}");
            assert_eq!(body, json!({"error": "access_denied"}));
            assert!(!headers_out.contains_key(SET_COOKIE));
        }
    }
    for headers in [
        &[("sec-fetch-site", "same-origin")][..],
        &[("origin", "https://app.example")],
        &[("origin", "https://app.example"), ("sec-fetch-site", "same-site")],
    ] {
        assert_eq!(tell(&tokens, of(headers)).await.0, StatusCode::OK, "{headers:?}");
    }
    for origin in [
        "*",
        "https://*.example",
        "https://app.example/",
        "app.example",
        "http://app.example",
        "null",
        "https://a@b.example",
    ] {
        assert!(Transport::host_cookie().allow_origin(origin).is_err(), "{origin}");
    }
}

#[tokio::test]
async fn bad_requests_are_answered_as_the_rfc_has_it() {
    let world = World::new().await;
    let tokens = world.issuer.token_service(Transport::host_cookie());
    let pair = login(&world).await;
    let token = pair.refresh_token().expose();
    let body = format!("refresh_token={token}");
    for (what, request, status, error) in [
        ("two transports", form(post("/refresh", token), &body), 400, "invalid_request"),
        (
            "a token in the query",
            empty(post("/refresh?refresh_token=x", token)),
            400,
            "invalid_request",
        ),
        (
            "an access token in the query",
            empty(post("/refresh?access_token=x", token)),
            400,
            "invalid_request",
        ),
        (
            "two cookies",
            empty(post("/refresh", token).header(COOKIE, "__Host-refresh=x")),
            400,
            "invalid_request",
        ),
        (
            "another grant",
            form(post("/refresh", token), "grant_type=password"),
            400,
            "unsupported_grant_type",
        ),
        (
            "a parameter twice",
            form(post("/refresh", token), "scope=a&scope=b"),
            400,
            "invalid_request",
        ),
        ("a wider scope", form(post("/refresh", token), "scope=admin"), 400, "invalid_scope"),
        (
            "another client",
            form(post("/refresh", token), "client_id=evil"),
            400,
            "invalid_grant",
        ),
        (
            "JSON",
            post("/refresh", token)
                .header(CONTENT_TYPE, "application/json")
                .body(Full::from("{}"))
                .unwrap(),
            400,
            "invalid_request",
        ),
        (
            "a large body",
            form(post("/refresh", token), &"a".repeat(20_000)),
            413,
            "invalid_request",
        ),
        (
            "two retry keys",
            empty(
                post("/refresh", token)
                    .header("idempotency-key", "a")
                    .header("idempotency-key", "b"),
            ),
            400,
            "invalid_request",
        ),
        (
            "a long retry key",
            empty(post("/refresh", token).header("idempotency-key", "a".repeat(300))),
            400,
            "invalid_request",
        ),
        ("a long token", empty(post("/refresh", &"a".repeat(100_000))), 400, "invalid_grant"),
        (
            "no token",
            empty(Request::post("/refresh").header("sec-fetch-site", "same-origin")),
            400,
            "invalid_request",
        ),
        ("junk", empty(post("/refresh", "junk")), 400, "invalid_grant"),
    ] {
        let (got, headers, body) = tell(&tokens, request).await;
        assert_eq!((got.as_u16(), &body), (status, &json!({"error": error})), "{what}");
        assert_eq!(headers[CACHE_CONTROL], "no-store", "{what}");
        assert!(!headers.contains_key(SET_COOKIE), "{what}");
    }
    for method in [Method::GET, Method::HEAD, Method::PUT, Method::DELETE, Method::OPTIONS] {
        for path in ["/refresh", "/logout", "/revoke"] {
            let request = Request::builder().method(method.clone()).uri(path);
            let request = request.header("sec-fetch-site", "same-origin");
            let request = request.header(COOKIE, format!("__Host-refresh={token}"));
            let (status, headers, _) = tell(&tokens, empty(request)).await;
            assert_eq!(status, StatusCode::METHOD_NOT_ALLOWED, "{method} {path}");
            assert_eq!(headers[ALLOW], "POST");
        }
    }
    assert_eq!(tell(&tokens, empty(post("/other", token))).await.0, StatusCode::NOT_FOUND);
    assert_eq!(tell(&tokens, empty(post("/introspect", token))).await.0, StatusCode::NOT_FOUND);
    // After all that the session is as it was.
    assert_eq!(tell(&tokens, empty(post("/refresh", token))).await.0, StatusCode::OK);
}

#[tokio::test]
async fn an_app_refreshes_by_body() {
    let world = World::new().await;
    let tokens = world.issuer.token_service(Transport::body());
    let pair = login(&world).await;
    let token = pair.refresh_token().expose();
    let body = format!("grant_type=refresh_token&refresh_token={token}&client_id=first-party");
    let (status, headers, answer) = tell(&tokens, form(Request::post("/refresh"), &body)).await;
    assert_eq!(status, StatusCode::OK);
    assert!(!headers.contains_key(SET_COOKIE));
    let next = answer["refresh_token"].as_str().unwrap();
    assert!(next.starts_with("jr1_") && next != token);
    let with_cookie = Request::post("/refresh").header(COOKIE, "__Host-refresh=x");
    assert_eq!(tell(&tokens, form(with_cookie, &body)).await.0, StatusCode::BAD_REQUEST);

    // RFC 7009: an unknown token is no error, and a known one ends.
    for junk in ["x", "jr1_x", "a.b.c"] {
        let (status, ..) =
            tell(&tokens, form(Request::post("/revoke"), &format!("token={junk}"))).await;
        assert_eq!(status, StatusCode::OK);
    }
    let missing = tell(&tokens, form(Request::post("/revoke"), "x=1")).await;
    assert_eq!((missing.0.as_u16(), missing.2), (400, json!({"error": "invalid_request"})));
    let access = answer["access_token"].as_str().unwrap();
    let (status, ..) =
        tell(&tokens, form(Request::post("/revoke"), &format!("token={access}"))).await;
    assert_eq!(status, StatusCode::OK);
    let verifier = world.verifier();
    assert_eq!(verifier.verify(access).map(drop), Err(Refusal::Revoked));
    let first = pair.access_token().expose();
    assert!(verifier.verify(first).is_ok(), "another token of the session was revoked as well");
    tell(&tokens, form(Request::post("/revoke"), &format!("token={next}"))).await;
    assert_eq!(verifier.verify(first).map(drop), Err(Refusal::Revoked));
}

struct Internal;

impl ClientAuth for Internal {
    async fn is_allowed(&self, headers: &HeaderMap) -> bool {
        headers.get(AUTHORIZATION).is_some_and(|value| value == "Basic aW50ZXJuYWw=")
    }
}

#[tokio::test]
async fn introspection_is_for_those_who_may() {
    let world = World::new().await;
    let tokens = world.issuer.token_service(Transport::body()).introspection(Internal);
    let pair = login(&world).await;
    let body = format!("token={}", pair.access_token().expose());
    let (status, headers, answer) =
        tell(&tokens, form(Request::post("/introspect"), &body)).await;
    assert_eq!((status.as_u16(), answer), (401, json!({"error": "invalid_client"})));
    assert!(headers.contains_key(WWW_AUTHENTICATE));
    let allowed = || Request::post("/introspect").header(AUTHORIZATION, "Basic aW50ZXJuYWw=");
    let (_, _, answer) = tell(&tokens, form(allowed(), &body)).await;
    assert_eq!((&answer["active"], &answer["sub"]), (&json!(true), &json!("u1")));
    world.issuer.logout_all("u1").await.unwrap();
    for token in [pair.access_token().expose(), pair.refresh_token().expose(), "junk"] {
        let (status, _, answer) =
            tell(&tokens, form(allowed(), &format!("token={token}"))).await;
        assert_eq!((status.as_u16(), answer), (200, json!({"active": false})));
    }
}

#[tokio::test]
async fn the_key_set_is_served_with_its_age() {
    let world = World::with(|b| b.jwks_max_age(Duration::from_secs(120))).await;
    let tokens = world.issuer.token_service(Transport::body());
    let (status, headers, body) = tell(&tokens, empty(get("/.well-known/jwks.json"))).await;
    assert_eq!(status, StatusCode::OK);
    assert_eq!(headers[CACHE_CONTROL], "public, max-age=120");
    assert_eq!(headers[CONTENT_TYPE], "application/jwk-set+json");
    let key = &body["keys"][0];
    assert_eq!(
        (&key["kty"], &key["crv"], &key["use"]),
        (&json!("OKP"), &json!("Ed25519"), &json!("sig"))
    );
    assert!(key.get("d").is_none());
    assert!(jwt_refresh::KeySet::from_jwks(&body.to_string()).is_ok());
    assert_eq!(
        tell(&tokens, empty(Request::post("/jwks.json"))).await.0,
        StatusCode::METHOD_NOT_ALLOWED
    );
}

#[tokio::test]
async fn the_development_cookie_is_for_loopback_only() {
    let world = World::new().await;
    let only = DevelopmentOnly::the_refresh_cookie_travels_in_plain_http_on_loopback();
    let tokens = world.issuer.token_service(Transport::development_cookie(only));
    let pair = login(&world).await;
    let cookie = tokens.respond(&pair).headers()[SET_COOKIE].to_str().unwrap().to_owned();
    assert!(!cookie.contains("Secure") && !cookie.contains("__Host-"), "{cookie}");
    for (host, status) in [
        ("127.0.0.1:3000", 200),
        ("localhost", 200),
        ("[::1]:8080", 200),
        ("shop.example", 403),
        ("127.0.0.1.evil.example", 403),
        ("localhost.evil.example", 403),
        ("", 403),
        ("127.0.0.1@evil.example", 403),
    ] {
        let request = Request::post("/refresh")
            .header("host", host)
            .header("sec-fetch-site", "same-origin")
            .header(COOKIE, format!("development-refresh={}", pair.refresh_token().expose()));
        assert_eq!(tell(&tokens, empty(request)).await.0.as_u16(), status, "{host}");
    }
}

/// A store that fails in one way or another.
#[derive(Clone)]
struct Failing(MemoryStore);

impl Store for Failing {
    async fn create(&self, new: &NewSession) -> Result<Created, Boxed> {
        self.0.create(new).await
    }
    async fn describe(&self, session: SessionRef) -> Result<Option<Described>, Boxed> {
        self.0.describe(session).await
    }
    async fn rotate(&self, request: &Rotate) -> Result<Rotation, Boxed> {
        // After the write.
        self.0.rotate(request).await?;
        Err("the answer was lost".into())
    }
    async fn revoke(&self, _: &Revoke, _: Duration) -> Result<Vec<Revocation>, Boxed> {
        Err("the store is down".into())
    }
    async fn sessions(&self, user: &str) -> Result<Vec<Session>, Boxed> {
        self.0.sessions(user).await
    }
    async fn revocations(
        &self,
        _: Option<&Cursor>,
        _: Duration,
        _: Duration,
    ) -> Result<Feed, Boxed> {
        Err("the feed is down".into())
    }
    async fn heartbeat(&self, _: Duration) -> Result<(), Boxed> {
        Err("the store is down".into())
    }
}

type Boxed = Box<dyn std::error::Error + Send + Sync>;

fn failing(world: &World) -> Issuer {
    Issuer::builder(support::ISSUER, support::AUDIENCE)
        .keys(
            jwt_refresh::SigningKeys::new(jwt_refresh::SigningKey::generate().unwrap())
                .unwrap(),
        )
        .refresh_keys(jwt_refresh::RefreshKeys::new(support::key(1)).unwrap())
        .store(BoxStore::new(Failing(world.store.clone())))
        .clock(world.clock.clone())
        .build()
        .unwrap()
}

#[tokio::test]
async fn a_store_that_fails_is_503_and_no_cookie_is_touched() {
    let world = World::new().await;
    let issuer = failing(&world);
    let tokens = issuer.token_service(Transport::host_cookie());
    let pair = login(&world).await;
    for path in ["/refresh", "/logout"] {
        let (status, headers, body) =
            tell(&tokens, empty(post(path, pair.refresh_token().expose()))).await;
        assert_eq!((status.as_u16(), body), (503, json!({"error": "temporarily_unavailable"})));
        assert!(!headers.contains_key(SET_COOKIE), "{path}");
        // Below the grace window of 10 s.
        assert_eq!(headers[RETRY_AFTER], "5");
    }
    // The rotation went through; the retry, at a server that answers, gets it.
    world.advance(5);
    let tokens = world.issuer.token_service(Transport::host_cookie());
    let (status, ..) =
        tell(&tokens, empty(post("/refresh", pair.refresh_token().expose()))).await;
    assert_eq!(status, StatusCode::OK);
}

#[tokio::test]
async fn before_the_revocations_are_known_the_answer_is_503_and_not_401() {
    let world = World::new().await;
    let issuer = failing(&world);
    let pair = issuer.login(Subject::new("u1"), json!({})).await.unwrap();
    let api =
        ServiceBuilder::new().layer(issuer.verifier().bearer::<NoClaims>()).service_fn(handler);
    let bearer = format!("Bearer {}", pair.access_token().expose());
    let request = get("/").header(AUTHORIZATION, bearer).body(Body::default()).unwrap();
    let response = api.oneshot(request).await.unwrap();
    assert_eq!(response.status(), StatusCode::SERVICE_UNAVAILABLE);
    assert_eq!(challenge(&response), None);
    assert!(response.headers().contains_key(RETRY_AFTER));
    assert_eq!(issuer.verifier().staleness(), None);

    // Unless it is said otherwise, in so many words.
    let accept = jwt_refresh::AcceptStale::revoked_tokens_are_accepted_while_the_feed_is_down();
    let lenient = World::with(|builder| {
        builder.store(BoxStore::new(Failing(MemoryStore::new()))).accept_stale(accept)
    });
    let lenient = lenient.await;
    let pair = lenient.issuer.login(Subject::new("u1"), json!({})).await;
    // That store dates by the real clock.
    assert!(pair.is_ok());
}

#[tokio::test]
async fn insecure_settings_are_refused() {
    let world = World::new().await;
    type Change = fn(jwt_refresh::IssuerBuilder) -> jwt_refresh::IssuerBuilder;
    let refused = |change: Change| {
        let builder = Issuer::builder(support::ISSUER, support::AUDIENCE)
            .keys(
                jwt_refresh::SigningKeys::new(jwt_refresh::SigningKey::generate().unwrap())
                    .unwrap(),
            )
            .refresh_keys(jwt_refresh::RefreshKeys::new(support::key(1)).unwrap())
            .store(world.store.clone());
        change(builder).build().map(drop).unwrap_err().setting()
    };
    for (setting, change) in [
        ("leeway", (|b| b.leeway(Duration::from_secs(61))) as Change),
        ("access_ttl", |b| b.access_ttl(Duration::from_secs(3_601))),
        ("access_ttl", |b| b.access_ttl(Duration::ZERO)),
        ("session_ttl", |b| b.session_ttl(Duration::MAX)),
        ("session_ttl", |b| b.session_ttl(Duration::from_secs(1))),
        ("idle_ttl", |b| b.idle_ttl(Duration::from_secs(8 * 86_400))),
        ("grace", |b| b.grace(Duration::from_secs(61))),
        ("grace", |b| b.grace(Duration::ZERO)),
        ("stale_after", |b| b.stale_after(Duration::from_secs(61))),
        ("stale_after", |b| b.stale_after(Duration::ZERO)),
        ("jwks_max_age", |b| b.jwks_max_age(Duration::ZERO)),
        ("claims_deadline", |b| b.claims_deadline(Duration::ZERO)),
    ] {
        assert_eq!(refused(change), setting);
    }
    assert_eq!(Issuer::builder("", "x").build().map(drop).unwrap_err().setting(), "builder");
    assert_eq!(Issuer::builder("x", "y").build().map(drop).unwrap_err().setting(), "keys");
}
