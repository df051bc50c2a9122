//! A store that fails.

use std::time::Duration;

use http::StatusCode;
use http::header::{AUTHORIZATION, RETRY_AFTER, SET_COOKIE};
use jwt_refresh::store::{
    Created, Cursor, Described, Feed, NewSession, Revocation, Revoke, Rotate, Rotation,
    Session, SessionRef,
};
use jwt_refresh::{
    BoxStore, Issuer, IssuerBuilder, MemoryStore, NoClaims, RefreshKeys, SigningKey,
    SigningKeys, Store, Subject, Transport,
};
use serde_json::json;
use tower::{ServiceBuilder, ServiceExt};

use crate::support::{self, World};
use crate::{Body, challenge, empty, get, handler, login, post, tell};

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
    failing_with(world, |builder| builder)
}

fn failing_with(world: &World, change: impl FnOnce(IssuerBuilder) -> IssuerBuilder) -> Issuer {
    let builder = Issuer::builder(support::ISSUER, support::AUDIENCE)
        .keys(SigningKeys::new(SigningKey::generate().unwrap()).unwrap())
        .refresh_keys(RefreshKeys::new(support::key(1)).unwrap())
        .store(BoxStore::new(Failing(world.store.clone())))
        .clock(world.clock.clone());
    change(builder).build().unwrap()
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
    let lenient = failing_with(&world, |builder| builder.accept_stale(accept));
    let pair = lenient.login(Subject::new("u1"), json!({})).await.unwrap();
    let verified = lenient.verifier().typed::<NoClaims>().verify(pair.access_token().expose());
    assert_eq!(verified.map(|verified| verified.subject().to_owned()), Ok("u1".to_owned()));
}
