//! The suite for stores, races and whole sessions.

use jwt_refresh::{Error, NoClaims, RefreshKeys, RefreshRequest, Subject, conformance};
use serde_json::json;

use crate::bed::{self, Bed, each_store};

each_store! {
    it_conforms;
    a_thousand_races_of_twelve_on_aged_sessions;
    a_session_from_login_to_logout;
    a_new_server_key_is_rolled_out;
}

async fn it_conforms(bed: Bed) {
    conformance::store(bed.store().await).await;
}

async fn a_thousand_races_of_twelve_on_aged_sessions(bed: Bed) {
    let ager = bed.ager().await;
    conformance::race(bed.store().await, 1_000, 12, async |session| ager.age(session).await)
        .await;
}

async fn a_session_from_login_to_logout(bed: Bed) {
    let issuer = bed::issuer(bed::builder(bed.store().await)).await;
    let verifier = issuer.verifier().typed::<NoClaims>();
    let subject = Subject::new("u1").device("Firefox").scope("orders:read orders:write");
    let pair = issuer.login(subject, json!({"roles": ["admin"]})).await.unwrap();
    let verified = verifier.verify(pair.access_token().expose()).unwrap();
    assert!(verified.has_scope("orders:write") && verified.has_role("admin"));

    let request = RefreshRequest::new(pair.refresh_token().expose());
    let next = issuer.refresh(request.scope("orders:read")).await.unwrap();
    let again = issuer.refresh(request).await.unwrap();
    assert_eq!(next.refresh_token().expose(), again.refresh_token().expose());
    let narrowed = verifier.verify(next.access_token().expose()).unwrap();
    assert!(!narrowed.has_scope("orders:write"));

    assert_eq!(issuer.sessions("u1").await.unwrap().len(), 1);
    issuer.logout("u1", pair.session()).await.unwrap();
    assert!(verifier.verify(next.access_token().expose()).is_err());
    let refused = issuer.refresh(RefreshRequest::new(next.refresh_token().expose())).await;
    assert!(matches!(refused, Err(Error::Revoked)), "{refused:?}");
    assert_eq!(issuer.sessions("u1").await.unwrap(), []);
}

/// Two processes, of which one makes tokens with the new key already.
async fn a_new_server_key_is_rolled_out(bed: Bed) {
    let [old, new] = [bed::key(1), bed::key(2)];
    let keys = |active, accepted| RefreshKeys::new(active).unwrap().accept(accepted).unwrap();
    let before = bed::builder(bed.store().await).refresh_keys(keys(old, new));
    let after = bed::builder(bed.store().await).refresh_keys(keys(new, old));
    let (before, after) = (bed::issuer(before).await, bed::issuer(after).await);
    for (one, other) in [(&before, &after), (&after, &before)] {
        let pair = one.login(Subject::new("u2"), json!({})).await.unwrap();
        let request = RefreshRequest::new(pair.refresh_token().expose());
        let (a, b) = tokio::join!(one.refresh(request), other.refresh(request));
        let (a, b) = (a.unwrap(), b.unwrap());
        assert_eq!(a.refresh_token().expose(), b.refresh_token().expose());
        let next = RefreshRequest::new(a.refresh_token().expose());
        let kept = other.refresh(next).await.unwrap();
        assert_eq!(kept.refresh_token().expose(), a.refresh_token().expose());
    }
    // A server that was left behind refuses, and does not revoke.
    let behind = bed::issuer(bed::builder(bed.store().await)).await;
    let pair = after.login(Subject::new("u3"), json!({})).await.unwrap();
    let request = RefreshRequest::new(pair.refresh_token().expose());
    let refused = behind.refresh(request).await;
    assert!(matches!(refused, Err(Error::UnknownServerKey)), "{refused:?}");
    after.refresh(request).await.unwrap();
}
