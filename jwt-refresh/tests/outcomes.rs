//! The table of outcomes through the issuer, on a clock that stands still.

#![allow(clippy::unwrap_used, reason = "the helpers of tests are tests")]

mod support;

use std::sync::Arc;
use std::sync::atomic::{AtomicU8, Ordering};
use std::time::Duration;

use jwt_refresh::store::Described;
use jwt_refresh::{
    AuditKind, ClaimsSource, Decision, Error, Issuer, RefreshKeys, RefreshRequest, Refusal,
    Subject, TokenPair,
};
use serde_json::json;
use support::{World, key};

async fn login(world: &World) -> TokenPair {
    world.issuer.login(Subject::new("u1").scope("a b"), json!({})).await.unwrap()
}

fn request(pair: &TokenPair) -> RefreshRequest<'_> {
    RefreshRequest::new(pair.refresh_token().expose())
}

async fn refresh(world: &World, pair: &TokenPair) -> Result<TokenPair, Error> {
    world.issuer.refresh(request(pair)).await
}

fn same(one: &TokenPair, other: &TokenPair) -> bool {
    one.refresh_token().expose() == other.refresh_token().expose()
}

/// Of three generations, each rotated 20 s after the one before.
async fn aged(world: &World) -> [TokenPair; 3] {
    let first = login(world).await;
    let second = refresh(world, &first).await.unwrap();
    world.advance(20);
    let third = refresh(world, &second).await.unwrap();
    world.advance(20);
    [first, second, third]
}

#[tokio::test]
async fn rotated_kept_and_replayed() {
    let world = World::new().await;
    let first = login(&world).await;
    let second = refresh(&world, &first).await.unwrap();
    assert!(!same(&first, &second));
    world.clock.advance(Duration::from_millis(9_999));
    assert!(
        same(&second, &refresh(&world, &first).await.unwrap()),
        "not the identical successor"
    );
    assert!(same(&second, &refresh(&world, &second).await.unwrap()), "a young token is kept");
    world.clock.advance(Duration::from_millis(1));
    let third = refresh(&world, &second).await.unwrap();
    assert!(!same(&second, &third));
    assert!(same(&third, &refresh(&world, &second).await.unwrap()));
    for (kind, count) in
        [(AuditKind::Rotated, 2), (AuditKind::Replayed, 2), (AuditKind::Kept, 1)]
    {
        assert_eq!(world.audit.count(kind), count, "{kind:?}");
    }
}

#[tokio::test]
async fn a_replay_outside_of_the_window_revokes_and_is_known_at_once() {
    let world = World::new().await;
    let [first, second, third] = aged(&world).await;
    let verifier = world.verifier();
    assert!(verifier.verify(third.access_token().expose()).is_ok());
    assert!(matches!(refresh(&world, &second).await, Err(Error::Reuse)));
    assert_eq!(world.audit.last(), Some(AuditKind::Reuse));
    let refused = verifier.verify(third.access_token().expose());
    assert_eq!(refused.map(drop), Err(Refusal::Revoked));
    for pair in [&first, &second, &third] {
        assert!(matches!(refresh(&world, pair).await, Err(Error::Revoked)));
    }
    assert_eq!(world.audit.count(AuditKind::Reuse), 1, "one theft is reported once");
}

#[tokio::test]
async fn an_older_token_revokes_even_within_the_window() {
    let world = World::new().await;
    let [first, _, third] = aged(&world).await;
    refresh(&world, &third).await.unwrap();
    assert!(matches!(refresh(&world, &first).await, Err(Error::Reuse)));
}

#[tokio::test]
async fn a_retry_key_outlasts_the_window() {
    let world = World::new().await;
    let first = login(&world).await;
    let with_key = || request(&first).retry_key("k-1");
    let second = world.issuer.refresh(with_key()).await.unwrap();
    world.advance(24 * 3_600 - 1);
    assert!(same(&second, &world.issuer.refresh(with_key()).await.unwrap()));
    let other = world.issuer.refresh(request(&second).retry_key("k-1")).await;
    assert!(matches!(other, Err(Error::RetryKeyReused)), "{other:?}");
    world.advance(1);
    assert!(matches!(world.issuer.refresh(with_key()).await, Err(Error::Reuse)));

    for bad in ["", "a b", "é", "x\n", &"k".repeat(256)] {
        let refused = world.issuer.refresh(request(&second).retry_key(bad)).await;
        assert!(matches!(refused, Err(Error::InvalidRetryKey)), "{bad:?}");
    }
}

#[tokio::test]
async fn too_many_replays_are_no_reuse() {
    let world = World::new().await;
    let first = login(&world).await;
    let second = refresh(&world, &first).await.unwrap();
    for _ in 0..64 {
        assert!(same(&second, &refresh(&world, &first).await.unwrap()));
    }
    let refused = refresh(&world, &first).await;
    assert!(matches!(refused, Err(Error::TooManyReplays { .. })), "{refused:?}");
    assert!(refresh(&world, &second).await.is_ok(), "it was revoked");
}

#[tokio::test]
async fn a_session_ends_at_its_absolute_and_its_idle_expiry() {
    let day = 24 * 3_600;
    let world = World::with(|builder| builder.idle_ttl(Duration::from_secs(2 * day))).await;
    let mut pair = login(&world).await;
    for _ in 0..6 {
        world.advance(day);
        pair = refresh(&world, &pair).await.unwrap();
    }
    assert_eq!(pair.session_expires_in(), Duration::from_secs(day));
    world.advance(day - 1);
    let last = refresh(&world, &pair).await.unwrap();
    // Not even its access token outlives it.
    world.advance(1 + 45);
    let verdict = world.verifier().verify(last.access_token().expose()).map(drop);
    assert_eq!(verdict, Err(Refusal::Expired));
    assert!(matches!(refresh(&world, &last).await, Err(Error::Expired)));
    assert!(matches!(refresh(&world, &pair).await, Err(Error::Expired)), "never reuse");

    let idle = login(&world).await;
    world.advance(2 * day);
    assert!(matches!(refresh(&world, &idle).await, Err(Error::Expired)));
}

#[tokio::test]
async fn fifty_at_once_get_one_successor() {
    let world = World::new().await;
    for racers in [2, 12, 50] {
        let [_, _, current] = aged(&world).await;
        let current = Arc::new(current);
        let mut tasks = tokio::task::JoinSet::new();
        for _ in 0..racers {
            let (issuer, current) = (world.issuer.clone(), Arc::clone(&current));
            tasks.spawn(async move {
                issuer.refresh(RefreshRequest::new(current.refresh_token().expose())).await
            });
        }
        let pairs: Vec<_> = tasks.join_all().await.into_iter().map(Result::unwrap).collect();
        assert!(pairs.iter().all(|pair| same(pair, &pairs[0])), "{racers} racers diverge");
    }
    assert_eq!(world.audit.count(AuditKind::Reuse), 0);
}

#[tokio::test]
async fn a_thief_is_found_whoever_comes_first() {
    // before the owner
    let world = World::new().await;
    let [_, _, owner] = aged(&world).await;
    let thief = refresh(&world, &owner).await.unwrap();
    world.advance(20);
    assert!(matches!(refresh(&world, &owner).await, Err(Error::Reuse)));
    assert!(matches!(refresh(&world, &thief).await, Err(Error::Revoked)));
    // after the owner
    let [_, stolen, _] = aged(&world).await;
    assert!(matches!(refresh(&world, &stolen).await, Err(Error::Reuse)));
    // within the window: the two hold one token, and the next use tells
    let [_, _, owner] = aged(&world).await;
    let (mine, his) =
        (refresh(&world, &owner).await.unwrap(), refresh(&world, &owner).await.unwrap());
    assert!(same(&mine, &his));
    world.advance(20);
    refresh(&world, &mine).await.unwrap();
    world.advance(20);
    assert!(matches!(refresh(&world, &his).await, Err(Error::Reuse)));
}

#[tokio::test]
async fn scope_narrows_and_never_widens() {
    let world = World::new().await;
    let pair = login(&world).await;
    let narrow = world.issuer.refresh(request(&pair).scope("b")).await.unwrap();
    assert_eq!(narrow.scope(), "b");
    let verified = world.verifier().verify(narrow.access_token().expose()).unwrap();
    assert!(verified.has_scope("b") && !verified.has_scope("a") && !verified.has_scope(""));
    for wide in ["c", "a b c", "", "a  b", "a b ", "A"] {
        let refused = world.issuer.refresh(request(&narrow).scope(wide)).await;
        assert!(matches!(refused, Err(Error::ScopeTooWide)), "{wide:?}");
    }
    // Of the session, not of the token before.
    world.advance(20);
    assert_eq!(refresh(&world, &narrow).await.unwrap().scope(), "a b");
    let other = world.issuer.refresh(request(&narrow).client("other")).await;
    assert!(matches!(other, Err(Error::Refused)));
}

/// Fails, hangs, refuses or answers.
#[derive(Clone, Default)]
struct Source(Arc<AtomicU8>);

impl ClaimsSource for Source {
    async fn claims(
        &self,
        _: &Described,
    ) -> Result<Decision, Box<dyn std::error::Error + Send + Sync>> {
        match self.0.load(Ordering::SeqCst) {
            0 => Ok(Decision::claims(&json!({"roles": ["admin"]}))),
            1 => Err("the user database is down".into()),
            2 => Ok(Decision::refuse()),
            3 => Ok(Decision::claims(&json!({"sub": "root"}))),
            _ => std::future::pending().await,
        }
    }
}

#[tokio::test(start_paused = true)]
async fn an_outage_of_the_claims_source_uses_nothing_up() {
    let source = Source::default();
    let world = World::with(|builder| builder.claims_source(source.clone())).await;
    let pair = login(&world).await;
    for (state, expected) in [(1, "claims"), (4, "claims"), (2, "refused"), (3, "invalid")] {
        source.0.store(state, Ordering::SeqCst);
        let failed = refresh(&world, &pair).await;
        let as_expected = match expected {
            "claims" => matches!(failed, Err(Error::Claims(_))),
            "refused" => matches!(failed, Err(Error::Refused)),
            _ => matches!(failed, Err(Error::InvalidClaims(_))),
        };
        assert!(as_expected, "{failed:?}");
        // Longer than the grace window.
        world.advance(60);
    }
    source.0.store(0, Ordering::SeqCst);
    let next = refresh(&world, &pair).await.unwrap();
    assert_eq!(world.audit.count(AuditKind::Rotated), 1);
    let verified = world.verifier().verify(next.access_token().expose()).unwrap();
    assert!(verified.has_role("admin"));
}

#[tokio::test]
async fn no_registered_claim_can_be_set_by_the_application() {
    let world = World::new().await;
    for name in [
        "iss",
        "sub",
        "aud",
        "exp",
        "iat",
        "nbf",
        "jti",
        "sid",
        "uep",
        "scope",
        "cnf",
        "client_id",
    ] {
        let refused = world.issuer.login(Subject::new("u"), json!({name: "x"})).await;
        let Err(Error::InvalidClaims(reason)) = refused else { panic!("{name}: {refused:?}") };
        assert!(reason.contains(name));
    }
    for claims in
        [json!([1]), json!("x"), json!({"x": "y".repeat(5_000)}), json!({"roles": "admin"})]
    {
        let refused = world.issuer.login(Subject::new("u"), claims).await;
        assert!(matches!(refused, Err(Error::InvalidClaims(_))), "{refused:?}");
    }
    for subject in [
        Subject::new(""),
        Subject::new("a\0b"),
        Subject::new("u").scope("a  b"),
        Subject::new("u").scope("a\"b"),
        Subject::new("u").client(""),
        Subject::new("u").device("d".repeat(256)),
    ] {
        let refused = world.issuer.login(subject, json!({})).await;
        assert!(matches!(refused, Err(Error::InvalidClaims(_))), "{refused:?}");
    }
}

#[tokio::test]
async fn servers_whose_clocks_differ_agree() {
    let world = World::new().await;
    // Another server on the same store, whose clock is 30 s ahead or behind.
    for skew in [30_000_i64, -30_000] {
        let clock = jwt_refresh::ManualClock::at(support::START_MS.saturating_add_signed(skew));
        let keys = {
            let der = support_key();
            let signing =
                jwt_refresh::SigningKey::from_pkcs8(jwt_refresh::Algorithm::EdDsa, &der);
            jwt_refresh::SigningKeys::new(signing.unwrap()).unwrap()
        };
        let other = Issuer::builder(support::ISSUER, support::AUDIENCE)
            .keys(keys)
            .refresh_keys(RefreshKeys::new(key(1)).unwrap())
            .store(world.store.clone())
            .clock(clock)
            .build()
            .unwrap();
        other.verifier().ready().await;
        let pair = login(&world).await;
        let next = other.refresh(request(&pair)).await.unwrap();
        assert!(same(&next, &refresh(&world, &pair).await.unwrap()));
        let verifier = other.verifier().typed::<jwt_refresh::NoClaims>();
        assert!(verifier.verify(next.access_token().expose()).is_ok(), "skew {skew}");
    }
}

fn support_key() -> Vec<u8> {
    let mut der = vec![
        0x30, 0x2e, 0x02, 0x01, 0x00, 0x30, 0x05, 0x06, 0x03, 0x2b, 0x65, 0x70, 0x04, 0x22,
        0x04, 0x20,
    ];
    der.extend(key(9));
    der
}

#[tokio::test]
async fn nobody_ends_another_users_session() {
    let world = World::new().await;
    let pair = login(&world).await;
    let refused = world.issuer.logout("mallory", pair.session()).await;
    assert!(matches!(refused, Err(Error::Unknown)), "{refused:?}");
    world.issuer.logout_others("mallory", pair.session()).await.unwrap();
    assert!(world.verifier().verify(pair.access_token().expose()).is_ok());
    assert!(refresh(&world, &pair).await.is_ok());
    world.issuer.logout("u1", pair.session()).await.unwrap();
    assert!(matches!(refresh(&world, &pair).await, Err(Error::Revoked)));
}

#[tokio::test]
async fn junk_does_not_reach_the_store() {
    let world = World::new().await;
    let pair = login(&world).await;
    let text = pair.refresh_token().expose();
    let access = pair.access_token().expose();
    for junk in ["", "jr1_", "x", access, &text[1..], &format!("{text} "), &text.to_uppercase()]
    {
        let refused = world.issuer.refresh(RefreshRequest::new(junk)).await;
        assert!(matches!(refused, Err(Error::Malformed)), "{refused:?}");
    }
    assert_eq!(world.audit.count(AuditKind::Unknown), 0);
    let verdict = world.verifier().verify(text).map(drop);
    assert_eq!(verdict, Err(Refusal::RefreshToken), "a refresh token is no bearer token");
}

#[tokio::test]
async fn nothing_shows_a_token() {
    let world = World::new().await;
    let pair = login(&world).await;
    let refused = world.issuer.refresh(RefreshRequest::new("jr1_hidden")).await;
    let shown = format!(
        "{pair:?} {:?} {:?} {refused:?} {:?} {:?} {:?}",
        pair.refresh_token(),
        request(&pair),
        world.issuer,
        world.store,
        world.verifier(),
    );
    for secret in [pair.refresh_token().expose(), pair.access_token().expose(), "jr1_hidden"] {
        assert!(
            !shown.contains(secret) && !shown.contains(&secret[secret.len() / 2..]),
            "{shown}"
        );
    }
}
