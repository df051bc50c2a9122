//! What apps, resource servers and developers use.

use std::time::Duration;

use http::header::{
    AUTHORIZATION, CACHE_CONTROL, CONTENT_TYPE, COOKIE, SET_COOKIE, WWW_AUTHENTICATE,
};
use http::{HeaderMap, Request, StatusCode};
use jwt_refresh::http::{ClientAuth, DevelopmentOnly};
use jwt_refresh::{Refusal, Transport};
use serde_json::json;

use crate::support::World;
use crate::{empty, form, get, login, tell};

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
