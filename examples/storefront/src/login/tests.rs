//! The login against requests that are wrong, without a database: what needs accounts is among
//! the live tests.

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use axum::Router;
use axum::body::{Body, to_bytes};
use axum::extract::ConnectInfo;
use axum::http::{HeaderMap, Request, StatusCode, header};
use jwt_refresh::{
    Issuer, ManualClock, MemoryStore, RefreshKeys, RefreshRequest, SigningKey, SigningKeys,
    Subject, TokenPair, Transport,
};
use metrics_exporter_prometheus::PrometheusBuilder;
use serde_json::Value;
use tower::ServiceExt;

use super::accounts::Accounts;
use super::{Login, SCOPES};
use crate::app::{Shop, router};
use crate::db::Database;
use crate::orders::Orders;
use crate::read_path::Caching;

const ORDER: &str = r#"{"product_id":1,"quantity":1}"#;
const CREDENTIALS: &str = r#"{"email":"ada@example.org","password":"sesame"}"#;

/// A shop with a login, whose database refuses connections.
struct Bed {
    router: Router,
    issuer: Issuer,
    clock: ManualClock,
}

/// An answer: its status, its headers, and its body.
struct Answer {
    status: u16,
    headers: HeaderMap,
    body: Value,
}

impl Answer {
    /// The shop's own refusal has a code, OAuth's an `error`.
    fn code(&self) -> &str {
        let error = &self.body["error"];
        error["code"].as_str().or(error.as_str()).unwrap_or_default()
    }
}

impl Bed {
    async fn new() -> Self {
        let db = Database::unreachable().await;
        let clock = ManualClock::at(1_800_000_000_000);
        let issuer = Issuer::builder("https://id.example", "https://api.example")
            .keys(SigningKeys::new(SigningKey::generate().unwrap()).unwrap())
            .refresh_keys(RefreshKeys::new(std::array::from_fn(|n| n as u8)).unwrap())
            .store(MemoryStore::with_clock(clock.clone()))
            .clock(clock.clone())
            .build()
            .unwrap();
        issuer.verifier().ready().await;
        let accounts = Accounts(db.clone());
        let login = Login::new(issuer.clone(), Transport::host_cookie(), accounts).unwrap();
        let prometheus = PrometheusBuilder::new().build_recorder().handle();
        let shop = Arc::new(
            Shop::new(db.clone(), Orders::Beside(db), &Caching::Off, prometheus).unwrap(),
        );
        Self { router: router(shop, Some(&Arc::new(login))), issuer, clock }
    }

    async fn pair(&self, user: &str, roles: &[&str]) -> TokenPair {
        let subject = Subject::new(user).scope(SCOPES).device("a test");
        let roles: Vec<String> = roles.iter().map(|role| (*role).to_owned()).collect();
        self.issuer.login(subject, super::accounts::claims(&roles)).await.unwrap()
    }

    /// Sends `METHOD /path` with these headers.
    async fn send(
        &self,
        line: &str,
        headers: &[(&str, &str)],
        body: impl Into<Body>,
    ) -> Answer {
        let (method, path) = line.split_once(' ').unwrap();
        let mut request = Request::builder().method(method).uri(path);
        for (name, value) in headers {
            request = request.header(*name, *value);
        }
        let peer: SocketAddr = "192.0.2.1:1".parse().unwrap();
        let request = request.extension(ConnectInfo(peer)).body(body.into()).unwrap();
        let answer = self.router.clone().oneshot(request).await.unwrap();
        let (parts, body) = answer.into_parts();
        let body = to_bytes(body, 1 << 20).await.unwrap();
        let body = serde_json::from_slice(&body).unwrap_or(Value::Null);
        Answer { status: parts.status.as_u16(), headers: parts.headers, body }
    }

    async fn with_token(&self, line: &str, token: &str, body: &str) -> Answer {
        let authorization = format!("Bearer {token}");
        let headers =
            [("authorization", &*authorization), ("content-type", "application/json")];
        self.send(line, &headers, body.to_owned()).await
    }

    async fn with_cookie(&self, line: &str, pair: &TokenPair, more: &[(&str, &str)]) -> Answer {
        let cookie = format!("__Host-refresh={}", pair.refresh_token().expose());
        self.send(line, &[&[("cookie", &*cookie)], more].concat(), "").await
    }
}

/// What a request is told that came through to the database, which is not there.
const THROUGH: (u16, &str) = (503, "source_unavailable");

#[tokio::test(start_paused = true)]
async fn only_the_right_tokens_come_through() {
    let bed = Bed::new().await;
    let (ada, admin) = (bed.pair("7", &[]).await, bed.pair("1", &["admin"]).await);
    let narrow = RefreshRequest::new(ada.refresh_token().expose()).scope("orders:read");
    let narrow = bed.issuer.refresh(narrow).await.unwrap();
    let other = bed.pair("70", &[]).await;
    let access = |pair: &TokenPair| pair.access_token().expose().to_owned();
    let mut damaged = access(&ada);
    damaged.replace_range(40..41, if &damaged[40..41] == "A" { "B" } else { "A" });
    let user = r#"{"name":"Ada","email":"ada@example.org","city":"Cork"}"#;
    let product = r#"{"name":"Lamp","description":"A lamp.","price_cents":1,"stock":1}"#;

    for (line, token, body, expected) in [
        ("GET /users/7/orders", access(&ada), "", THROUGH),
        ("POST /users/7/orders", access(&ada), ORDER, THROUGH),
        ("GET /users/7", access(&ada), "", THROUGH),
        ("PUT /users/7", access(&ada), user, THROUGH),
        ("GET /users/7/orders", access(&narrow), "", THROUGH),
        ("PUT /products/1", access(&admin), product, THROUGH),
        ("GET /reports/sales", access(&admin), "", THROUGH),
        // Without the scope.
        ("POST /users/7/orders", access(&narrow), ORDER, (403, "not_allowed")),
        ("GET /users/7", access(&narrow), "", (403, "not_allowed")),
        // Another user's.
        ("GET /users/7/orders", access(&other), "", (403, "not_yours")),
        ("POST /users/7/orders", access(&other), ORDER, (403, "not_yours")),
        ("GET /users/7", access(&other), "", (403, "not_yours")),
        ("PUT /users/7", access(&other), user, (403, "not_yours")),
        ("GET /users/70/orders", access(&ada), "", (403, "not_yours")),
        ("GET /users/7/orders", access(&admin), "", (403, "not_yours")),
        ("GET /users/07/orders", access(&ada), "", (400, "bad_id")),
        // Without the role.
        ("PUT /products/1", access(&ada), product, (403, "not_allowed")),
        ("GET /reports/sales", access(&ada), "", (403, "not_allowed")),
        // No good token.
        ("GET /users/7/orders", damaged, "", (401, "not_logged_in")),
        ("GET /users/7/orders", "e30.e30.".to_owned(), "", (401, "not_logged_in")),
        ("GET /users/7/orders", "x".repeat(1 << 16), "", (401, "not_logged_in")),
        // A refresh token is none.
        (
            "GET /users/7/orders",
            ada.refresh_token().expose().to_owned(),
            "",
            (401, "not_logged_in"),
        ),
        ("GET /users/7/orders?access_token=x", access(&ada), "", (400, "bad_credentials")),
        ("GET /users/7/orders", "a b".to_owned(), "", (400, "bad_credentials")),
        ("DELETE /auth/sessions/junk", access(&ada), "", (404, "unknown_session")),
        (
            &*format!("DELETE /auth/sessions/{}", other.session()),
            access(&ada),
            "",
            (404, "unknown_session"),
        ),
    ] {
        let answer = bed.with_token(line, &token, body).await;
        assert_eq!((answer.status, answer.code()), expected, "{line} {}", answer.body);
        for field in ["what", "where", "fix"] {
            assert!(answer.body["error"][field].is_string(), "{line}: {}", answer.body);
        }
    }
    // That of user 70 is still there.
    assert_eq!(bed.with_token("GET /users/70", &access(&other), "").await.status, THROUGH.0);
}

#[tokio::test(start_paused = true)]
async fn without_a_token_goods_are_shown_and_nothing_else() {
    let bed = Bed::new().await;
    for line in ["GET /products/1", "GET /metrics", "GET /healthz"] {
        assert_ne!(bed.send(line, &[], "").await.status, 401, "{line}");
    }
    for line in [
        "PUT /products/1",
        "GET /users/7",
        "PUT /users/7",
        "GET /users/7/orders",
        "POST /users/7/orders",
        "GET /reports/sales",
        "GET /auth/sessions",
        "DELETE /auth/sessions/x",
        "POST /auth/logout-everywhere",
    ] {
        let answer = bed.send(line, &[], "").await;
        assert_eq!((answer.status, answer.code()), (401, "not_logged_in"), "{line}");
        let challenge = &answer.headers[header::WWW_AUTHENTICATE];
        assert_eq!(challenge, r#"Bearer realm="storefront""#, "{line}");
    }
    let answer = bed.send("PATCH /users/7/orders", &[], "").await;
    assert_eq!((answer.status, answer.code()), (405, "method_not_allowed"));
    assert_eq!(answer.headers[header::ALLOW], "GET,HEAD,POST");
}

#[tokio::test(start_paused = true)]
async fn tokens_end() {
    let bed = Bed::new().await;
    let here = bed.pair("7", &[]).await;
    let there = bed.pair("7", &[]).await;
    let orders = async |pair: &TokenPair| {
        bed.with_token("GET /users/7/orders", pair.access_token().expose(), "").await.status
    };
    let sessions = "GET /auth/sessions";
    let listed = bed.with_token(sessions, here.access_token().expose(), "").await.body;
    assert_eq!(listed.as_array().unwrap().len(), 2);
    let mine = listed.as_array().unwrap().iter().find(|session| session["current"] == true);
    assert_eq!(mine.unwrap()["id"], here.session().to_string());
    assert_eq!(mine.unwrap()["device"], "a test");

    let end = format!("DELETE /auth/sessions/{}", there.session());
    assert_eq!(bed.with_token(&end, here.access_token().expose(), "").await.status, 204);
    assert_eq!((orders(&here).await, orders(&there).await), (503, 401));

    let third = bed.pair("7", &[]).await;
    let everywhere = "POST /auth/logout-everywhere";
    assert_eq!(bed.with_token(everywhere, third.access_token().expose(), "").await.status, 204);
    assert_eq!((orders(&here).await, orders(&third).await), (401, 401));
    let same = [("sec-fetch-site", "same-origin")];
    let refused = bed.with_cookie("POST /auth/refresh", &here, &same).await;
    assert_eq!((refused.status, refused.code()), (400, "invalid_grant"));

    // By the clock: after its 15 minutes, and the leeway for clocks that differ.
    let fourth = bed.pair("7", &[]).await;
    assert_eq!(orders(&fourth).await, 503);
    bed.clock.advance(Duration::from_secs(15 * 60 + 46));
    let answer =
        bed.with_token("GET /users/7/orders", fourth.access_token().expose(), "").await;
    assert_eq!(answer.status, 401);
    let challenge = answer.headers[header::WWW_AUTHENTICATE].to_str().unwrap();
    assert!(challenge.contains("invalid_token"), "{challenge}");
    assert_eq!(bed.with_cookie("POST /auth/refresh", &fourth, &same).await.status, 200);
}

#[tokio::test(start_paused = true)]
async fn the_cookie_is_used_by_our_own_pages_and_by_post() {
    let bed = Bed::new().await;
    let pair = bed.pair("7", &[]).await;
    let site = "sec-fetch-site";
    let form = "application/x-www-form-urlencoded";
    for path in ["/auth/refresh", "/auth/logout"] {
        for (method, headers, status) in [
            ("GET", &[(site, "same-origin")][..], 405),
            ("PUT", &[(site, "same-origin")], 405),
            ("POST", &[], 403),
            ("POST", &[(site, "cross-site")], 403),
            ("POST", &[(site, "same-site")], 403),
            ("POST", &[(site, "none")], 403),
            ("POST", &[("origin", "https://evil.example")], 403),
            ("POST", &[("origin", "null")], 403),
            // What Host says counts for nothing.
            ("POST", &[("origin", "https://evil.example"), ("host", "evil.example")], 403),
            ("POST", &[(site, "cross-site"), (site, "same-origin")], 403),
            // As a form on another page would send it.
            ("POST", &[(site, "cross-site"), ("content-type", form)], 403),
        ] {
            let answer = bed.with_cookie(&format!("{method} {path}"), &pair, headers).await;
            assert_eq!(answer.status, status, "{method} {path} {headers:?}");
            assert!(!answer.headers.contains_key(header::SET_COOKIE), "{path} {headers:?}");
        }
    }
    let same = [(site, "same-origin")];
    let giant = bed.send("POST /auth/refresh", &same, vec![b'a'; 1 << 20]).await;
    assert_eq!(giant.status, 413);
    let both = format!("refresh_token={}", pair.refresh_token().expose());
    let cookie = format!("__Host-refresh={}", pair.refresh_token().expose());
    let headers = [(site, "same-origin"), ("cookie", &*cookie), ("content-type", form)];
    assert_eq!(bed.send("POST /auth/refresh", &headers, both).await.status, 400);

    // And after all of that:
    let refreshed = bed.with_cookie("POST /auth/refresh", &pair, &same).await;
    assert_eq!(refreshed.status, 200);
    let cookie = refreshed.headers[header::SET_COOKIE].to_str().unwrap();
    for word in ["__Host-refresh=", "; Path=/", "; Secure", "; HttpOnly", "; SameSite=Strict"] {
        assert!(cookie.contains(word), "{cookie}");
    }
    assert!(!cookie.contains("Domain"), "{cookie}");
    assert!(refreshed.body.get("refresh_token").is_none());
    let keys = bed.send("GET /.well-known/jwks.json", &[], "").await;
    assert_eq!(keys.body["keys"].as_array().unwrap().len(), 1);
    assert!(!keys.body.to_string().contains("\"d\""), "{}", keys.body);
}

#[tokio::test(start_paused = true)]
async fn a_bad_login_is_refused_before_any_work() {
    let bed = Bed::new().await;
    let json = [("content-type", "application/json")];
    let giant = format!(r#"{{"email":"a@b","password":"{}"}}"#, "x".repeat(1 << 20));
    for (line, headers, body, status, code) in [
        ("GET /login", &json[..], "", 405, "method_not_allowed"),
        ("POST /login", &json, "", 400, "bad_json"),
        ("POST /login", &json, "{}", 422, "bad_fields"),
        ("POST /login", &json, r#"{"email":"a@b","password":7}"#, 422, "bad_fields"),
        ("POST /login", &json, r#"{"email":"a","password":"b","role":"x"}"#, 422, "bad_fields"),
        ("POST /login", &json, r#"{"email":"a","password":"b"}"#, 422, "bad_field"),
        ("POST /login", &json, r#"{"email":"a\u0000@b","password":"b"}"#, 422, "bad_field"),
        ("POST /login", &json, &giant, 413, "body_too_large"),
        // What another site's page may send without asking.
        (
            "POST /login",
            &[("content-type", "text/plain")],
            CREDENTIALS,
            415,
            "bad_content_type",
        ),
        ("POST /login", &[], CREDENTIALS, 415, "bad_content_type"),
        (
            "POST /login",
            &[("content-type", "application/x-www-form-urlencoded")],
            "email=a&password=b",
            415,
            "bad_content_type",
        ),
    ] {
        let answer = bed.send(line, headers, body.to_owned()).await;
        assert_eq!((answer.status, answer.code()), (status, code), "{line} {body:.40}");
    }
}

#[tokio::test(start_paused = true)]
async fn who_tries_too_often_is_told_to_wait() {
    let bed = Bed::new().await;
    let json = [("content-type", "application/json")];
    let try_it = async || bed.send("POST /login", &json, CREDENTIALS).await;
    let mut tried = 0;
    let answer = loop {
        let answer = try_it().await;
        if answer.status == 429 {
            break answer;
        }
        assert_eq!((answer.status, answer.code()), THROUGH, "{}", answer.body);
        tried += 1;
        // Each waits for the database for a moment, in which the limit recovers a little.
        assert!(tried < 30);
    };
    assert!(tried >= 10, "{tried}");
    assert_eq!(answer.code(), "too_many_attempts");
    let wait = answer.headers[header::RETRY_AFTER].to_str().unwrap().parse().unwrap();
    assert!((1..=7).contains(&wait), "{wait}");
    tokio::time::advance(Duration::from_secs(wait)).await;
    assert_eq!(try_it().await.status, StatusCode::SERVICE_UNAVAILABLE.as_u16());
}
