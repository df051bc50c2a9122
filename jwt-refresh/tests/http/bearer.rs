//! Who may in: credentials, scopes, roles.

use http::StatusCode;
use http::header::{AUTHORIZATION, COOKIE};
use jwt_refresh::{NoClaims, RequireLayer};
use tower::limit::ConcurrencyLimitLayer;
use tower::{ServiceBuilder, ServiceExt};

use crate::support::World;
use crate::{Body, ask, challenge, get, handler, login};

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
