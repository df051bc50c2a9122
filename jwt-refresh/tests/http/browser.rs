//! Refresh and logout by a cookie, and who must not use it.

use http::header::{ALLOW, CACHE_CONTROL, CONTENT_TYPE, COOKIE, SET_COOKIE};
use http::{Method, Request, StatusCode};
use http_body_util::{BodyExt, Full};
use jwt_refresh::{Refusal, Transport};
use serde_json::json;

use crate::support::World;
use crate::{empty, form, login, post, tell};

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
