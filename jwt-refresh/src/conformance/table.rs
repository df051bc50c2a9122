//! The table of outcomes, and what else is one step.

use std::time::Duration;

use super::{Client, LONG, MOST_REPLAYS, hash, retry, rotate};
use crate::store::{Revoke, Rotate, Rotation, SessionId, SessionRef, Store};

#[allow(clippy::too_many_lines, reason = "a table is read in one place")]
pub(super) async fn every_row<S: Store + Clone>(store: &S) {
    // no row
    let mut nobody = Client::login(store).await;
    nobody.session.id = SessionId::from_bytes(super::unique());
    assert_eq!(rotate(store, &nobody.present(0)).await, Rotation::Unknown);

    // expired, and never "reuse"
    for (absolute, idle) in [(Duration::ZERO, Duration::ZERO), (LONG, Duration::ZERO)] {
        let client = Client::login_for(store, absolute, idle).await;
        assert_eq!(rotate(store, &client.present(0)).await, Rotation::Expired);
        assert_eq!(rotate(store, &client.present(7)).await, Rotation::Expired);
    }

    // the first token is rotated at once
    let client = Client::login(store).await;
    let first = client.present(0);
    let Rotation::Rotated(at) = rotate(store, &first).await else {
        panic!("the first token was not rotated")
    };
    assert!(at.expires_ms > at.now_ms && at.user_epoch == 0, "{at:?}");

    // kept: current, and young
    let kept = rotate(store, &client.present(1)).await;
    assert!(matches!(kept, Rotation::Kept(_)), "a young token was {kept:?}");

    // replayed within grace, with what the winner wrote
    let replayed = rotate(store, &client.present(0)).await;
    let Rotation::Replayed { at: later, nonce, key_id } = replayed else {
        panic!("the token before was {replayed:?} within the grace window")
    };
    assert_eq!((nonce, key_id), (first.next.nonce, first.next.key_id), "another successor");
    assert_eq!(later.expires_ms, at.expires_ms, "a replay has moved the absolute expiry");

    // rotated: current, and old enough
    let rotated = rotate(store, &client.present_late(1)).await;
    let Rotation::Rotated(at_2) = rotated else { panic!("the current token was {rotated:?}") };
    assert_eq!(at_2.expires_ms, at.expires_ms, "a rotation has moved the absolute expiry");

    // replayed by its retry key, outside of grace; with another: reuse
    let client = Client::login(store).await;
    let with_retry = Rotate { retry: retry(9), ..client.present_late(0) };
    assert!(matches!(rotate(store, &with_retry).await, Rotation::Rotated(_)));
    let again = Rotate { retry_window: LONG, ..with_retry.clone() };
    assert!(matches!(rotate(store, &again).await, Rotation::Replayed { .. }));

    // a retry key with another token: refused, whether that is young or not
    for grace in [LONG, Duration::ZERO] {
        let other = Rotate { retry: retry(9), grace, ..client.present(1) };
        assert_eq!(rotate(store, &other).await, Rotation::RetryKeyReused);
    }
    let wrong = Rotate { retry: retry(8), retry_window: LONG, ..client.present_late(0) };
    assert_eq!(rotate(store, &wrong).await, Rotation::Reuse);
    assert_eq!(rotate(store, &client.present(1)).await, Rotation::Revoked);

    // replayed too often
    let client = Client::login(store).await;
    client.age(store, 1).await;
    for at in 0..MOST_REPLAYS {
        let replay = rotate(store, &client.present(0)).await;
        assert!(matches!(replay, Rotation::Replayed { .. }), "replay {at} was {replay:?}");
    }
    assert_eq!(rotate(store, &client.present(0)).await, Rotation::TooManyReplays);
    let rotated = rotate(store, &client.present_late(1)).await;
    assert!(matches!(rotated, Rotation::Rotated(_)), "too many replays revoked: {rotated:?}");
    let replay = rotate(store, &client.present(1)).await;
    assert!(matches!(replay, Rotation::Replayed { .. }), "the count goes on: {replay:?}");

    // forked: the right generation, the wrong hash
    for generation in [2, 1] {
        let client = Client::login(store).await;
        client.age(store, 2).await;
        let forked = Rotate { hash: hash(client.session, 77), ..client.present(generation) };
        assert_eq!(rotate(store, &forked).await, Rotation::Forked, "generation {generation}");
        assert_eq!(rotate(store, &client.present(2)).await, Rotation::Revoked);
    }

    // reuse: any older generation, and the one before outside of its windows
    for (aged, generation) in [(5, 0), (5, 3), (5, 4)] {
        let client = Client::login(store).await;
        client.age(store, aged).await;
        let late = client.present_late(generation);
        assert_eq!(rotate(store, &late).await, Rotation::Reuse, "generation {generation}");
        assert_eq!(rotate(store, &client.present(aged)).await, Rotation::Revoked);
        assert_eq!(rotate(store, &late).await, Rotation::Revoked, "reported twice");
    }
    let client = Client::login(store).await;
    client.age(store, 5).await;
    assert_eq!(rotate(store, &client.present(3)).await, Rotation::Reuse, "within grace");

    // ahead: nothing is revoked
    let client = Client::login(store).await;
    client.age(store, 1).await;
    for generation in [2, 3, u32::MAX] {
        assert_eq!(rotate(store, &client.present(generation)).await, Rotation::Ahead);
    }
    assert!(matches!(rotate(store, &client.present(1)).await, Rotation::Kept(_)));
}

pub(super) async fn sessions_are_what_was_created<S: Store + Clone>(store: &S) {
    let one = Client::login(store).await;
    let user = &one.user;
    let two = Client::login_as(store, user.clone(), LONG, LONG).await;
    let _gone = Client::login_as(store, user.clone(), LONG, Duration::ZERO).await;
    let ended = Client::login_as(store, user.clone(), LONG, LONG).await;
    store.revoke(&Revoke::Session(ended.session), LONG).await.expect("it can be revoked");

    let described = store.describe(one.session).await.expect("the store answers");
    let described = described.expect("the session is there");
    assert_eq!(described.user, *user);
    assert_eq!(described.client, "web");
    assert_eq!(described.scope, "a b");
    assert_eq!(described.grant, r#"{"name":"Ada \u0027 \" 😀"}"#);
    assert_eq!(described.device, "Firefox, 'Linux' \"😀\"");
    let nobody = SessionRef { id: SessionId::from_bytes(super::unique()), ..one.session };
    assert_eq!(store.describe(nobody).await.expect("the store answers"), None);

    let mut sessions = store.sessions(user).await.expect("the store answers");
    sessions.sort_by_key(|session| session.created_ms);
    let mut ids: Vec<_> = sessions.iter().map(|session| session.id).collect();
    ids.sort();
    let mut expected = vec![one.session.id, two.session.id];
    expected.sort();
    assert_eq!(ids, expected, "revoked or expired sessions are listed, or live ones are not");
    for session in sessions {
        assert_eq!(session.client, "web");
        assert!(session.created_ms <= session.last_seen_ms);
        assert!(session.last_seen_ms < session.expires_ms);
    }
}

pub(super) async fn revocations_reach_what_they_name<S: Store + Clone>(store: &S) {
    let one = Client::login(store).await;
    let user = one.user.clone();
    let two = Client::login_as(store, user.clone(), LONG, LONG).await;
    let three = Client::login_as(store, user.clone(), LONG, LONG).await;
    let stranger = Client::login(store).await;

    store.revoke(&Revoke::Session(one.session), LONG).await.expect("it can be revoked");
    assert_eq!(rotate(store, &one.present(0)).await, Rotation::Revoked);
    assert!(matches!(rotate(store, &two.present(0)).await, Rotation::Rotated(_)));

    let others = Revoke::Others { user: user.clone(), keep: two.session.id };
    store.revoke(&others, LONG).await.expect("they can be revoked");
    assert_eq!(rotate(store, &three.present(0)).await, Rotation::Revoked);
    assert!(matches!(rotate(store, &two.present_late(1)).await, Rotation::Rotated(_)));

    let all = Revoke::User(user.clone());
    let published = store.revoke(&all, LONG).await.expect("they can be revoked");
    assert_eq!(published.len(), 1, "{published:?}");
    assert_eq!(rotate(store, &two.present_late(2)).await, Rotation::Revoked);
    assert_eq!(store.sessions(&user).await.expect("the store answers"), []);
    assert!(matches!(rotate(store, &stranger.present(0)).await, Rotation::Rotated(_)));

    // a login after it is good, and of the new epoch
    let after = Client::login_as(store, user, LONG, LONG).await;
    let Rotation::Rotated(at) = rotate(store, &after.present(0)).await else {
        panic!("a login after logout_all is not good")
    };
    assert_eq!(at.user_epoch, 1);
}
