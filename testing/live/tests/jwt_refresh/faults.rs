//! A store that fails before, during and after the write, and one that has lost
//! writes.

use std::time::Duration;

use jwt_refresh::store::PostgresStore;
use jwt_refresh::{Error, NoClaims, RefreshRequest, Subject};
use serde_json::json;
use testbed::link::{Direction, Link};
use testbed::postgres::Postgres;
use testbed::redis::Redis;
use testbed::{eventually, eventually_ok};
use tokio::task::JoinSet;
use tokio_postgres::NoTls;

use crate::bed::{self, Bed, DEADLINE, Server};

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_lost_answer_costs_nobody_their_session_on_redis() {
    a_lost_answer_costs_nobody_their_session(bed::redis().await).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_lost_answer_costs_nobody_their_session_on_postgres() {
    a_lost_answer_costs_nobody_their_session(bed::postgres().await).await;
}

async fn a_lost_answer_costs_nobody_their_session(bed: Bed) {
    let grace = Duration::from_secs(60);
    let builder = bed::builder(bed.store_over_link().await).grace(grace);
    let over_link = bed::issuer(builder).await;
    let direct = bed::issuer(bed::builder(bed.store().await).grace(grace)).await;
    let link = bed.link.as_ref().unwrap();
    for fault in ["before", "after", "cut", "swallowed"] {
        let pair = direct.login(Subject::new("u"), json!({})).await.unwrap();
        let request = RefreshRequest::new(pair.refresh_token().expose());
        match fault {
            // Nothing arrives.
            "before" => link.half_open(Direction::ToServer),
            // It is written; the answer is lost.
            "after" => link.half_open(Direction::ToClient),
            "cut" => link.cut(),
            _ => link.blackhole(),
        }
        let failed = over_link.refresh(request).await;
        assert!(matches!(failed, Err(Error::Store(_))), "{fault}: {failed:?}");
        // The client's retry goes to another server, and then to this one.
        let there = direct.refresh(request).await.unwrap();
        link.heal();
        let here = eventually_ok(DEADLINE, async || over_link.refresh(request).await).await;
        assert_eq!(here.refresh_token().expose(), there.refresh_token().expose(), "{fault}");
        let next = RefreshRequest::new(here.refresh_token().expose());
        let kept = direct.refresh(next).await.unwrap();
        assert_eq!(kept.refresh_token().expose(), here.refresh_token().expose(), "{fault}");
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_server_that_was_killed_is_used_again() {
    let bed = bed::postgres().await;
    let issuer = bed::issuer(bed::builder(bed.store().await)).await;
    let pair = issuer.login(Subject::new("u"), json!({})).await.unwrap();
    let request = RefreshRequest::new(pair.refresh_token().expose());
    let Server::Postgres(postgres) = &bed.server else { unreachable!("it is a PostgreSQL") };
    postgres.kill().await.unwrap();
    assert!(matches!(issuer.refresh(request).await, Err(Error::Store(_))));
    postgres.restart().await.unwrap();
    let next = eventually_ok(DEADLINE, async || issuer.refresh(request).await).await;
    issuer.logout("u", pair.session()).await.unwrap();
    let verifier = issuer.verifier().typed::<NoClaims>();
    assert!(verifier.verify(next.access_token().expose()).is_err());
}

/// One URL of a primary and its replica: what is idle when the primary dies fails nobody, and
/// the feed goes on.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_promotion_is_followed() {
    let primary = Postgres::start().await.unwrap();
    let replica = primary.replica().await.unwrap();
    let both = format!("{},{}", primary.addr(), replica.addr());
    let url = primary.url().replace(&primary.addr().to_string(), &both);
    let refused = PostgresStore::connect(&url, NoTls, 8).await.unwrap_err();
    assert!(refused.to_string().contains("target_session_attrs"), "{refused}");
    let url = format!("{url}?target_session_attrs=read-write");
    let open = async || {
        let store = PostgresStore::connect(&url, NoTls, 8).await.unwrap();
        bed::issuer(bed::builder(store)).await
    };
    let [here, there] = [open().await, open().await];
    let verifier = there.verifier().typed::<NoClaims>();
    let log_in = async |count: usize| {
        let mut logins = JoinSet::new();
        for n in 0..count {
            let issuer = here.clone();
            logins.spawn(async move {
                let user = format!("u{n}");
                let pair = issuer.login(Subject::new(user.clone()), json!({})).await;
                (user, pair.unwrap())
            });
        }
        logins.join_all().await
    };
    // As many as there may be connections, at once.
    let pairs = log_in(8).await;
    replica.caught_up(DEADLINE).await.unwrap();
    primary.kill().await.unwrap();
    replica.promote().await.unwrap();

    log_in(8).await;
    // The first as soon as the feed is read again, the second as quickly as ever.
    for ((user, pair), soon) in pairs.iter().zip([DEADLINE, Duration::from_secs(1)]) {
        let request = RefreshRequest::new(pair.refresh_token().expose());
        let next = here.refresh(request).await.unwrap();
        let token = next.access_token().expose().to_owned();
        assert!(verifier.verify(&token).is_ok());
        here.logout(user, next.session()).await.unwrap();
        eventually(soon, async || verifier.verify(&token).is_err()).await;
    }
}

/// The rotation has read the user's row before it had to wait for the session's.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_rotation_that_waited_sees_a_logout_all() {
    let bed = bed::postgres().await;
    let issuer = bed::issuer(bed::builder(bed.store().await)).await;
    let pair = issuer.login(Subject::new("u"), json!({})).await.unwrap();
    let Server::Postgres(postgres) = &bed.server else { unreachable!("it is a PostgreSQL") };
    let mut other = postgres.client().await.unwrap();
    let holder = other.transaction().await.unwrap();
    holder.execute("SELECT 1 FROM jwt_refresh.sessions FOR UPDATE", &[]).await.unwrap();
    let rotating = {
        let (issuer, token) = (issuer.clone(), pair.refresh_token().clone());
        tokio::spawn(async move { issuer.refresh(RefreshRequest::new(token.expose())).await })
    };
    let watcher = postgres.client().await.unwrap();
    let waits = "SELECT count(*) > 0 FROM pg_stat_activity WHERE wait_event_type = 'Lock'";
    eventually(DEADLINE, async || watcher.query_one(waits, &[]).await.unwrap().get(0)).await;
    issuer.logout_all("u").await.unwrap();
    holder.rollback().await.unwrap();
    let late = rotating.await.unwrap();
    assert!(matches!(late, Err(Error::Revoked)), "{late:?}");
}

/// A replica that has not got the last write becomes the master.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_failover_that_lost_a_rotation_is_no_theft() {
    let master = Redis::start().await.unwrap();
    let stream = Link::to(master.addr()).unwrap();
    let of = format!("127.0.0.1 {}", stream.addr().port());
    let replica = Redis::builder().setting("replicaof", of).start().await.unwrap();
    let settings = jwt_refresh::store::RedisSettings::default;
    let store = jwt_refresh::store::RedisStore::connect(&master.url(), settings()).await;
    let before = bed::issuer(bed::builder(store.unwrap())).await;
    let [ahead, forked] = [
        before.login(Subject::new("a"), json!({})).await.unwrap(),
        before.login(Subject::new("b"), json!({})).await.unwrap(),
    ];
    let mut there = bed::plain(&replica).await;
    eventually(DEADLINE, async || {
        let keys: Vec<String> =
            redis::cmd("KEYS").arg("*:s:*").query_async(&mut there).await.unwrap();
        keys.len() == 2
    })
    .await;

    stream.blackhole();
    let rotate = async |token: &jwt_refresh::TokenPair| {
        before.refresh(RefreshRequest::new(token.refresh_token().expose())).await.unwrap()
    };
    let [a1, b1] = [rotate(&ahead).await, rotate(&forked).await];
    master.kill().await.unwrap();
    redis::cmd("REPLICAOF").arg("NO").arg("ONE").exec_async(&mut there).await.unwrap();

    let store = jwt_refresh::store::RedisStore::connect(&replica.url(), settings()).await;
    let after = bed::issuer(bed::builder(store.unwrap())).await;
    let refresh = async |token: &jwt_refresh::TokenPair| {
        after.refresh(RefreshRequest::new(token.refresh_token().expose())).await
    };
    // The client has a token that the store knows nothing of: it logs in again,
    // and nobody is accused.
    assert!(matches!(refresh(&a1).await, Err(Error::Ahead)));
    assert!(matches!(refresh(&a1).await, Err(Error::Ahead)));
    // Another tab still has the token before: two successors of one token.
    refresh(&forked).await.unwrap();
    assert!(matches!(refresh(&b1).await, Err(Error::Forked)));
    assert!(matches!(refresh(&b1).await, Err(Error::Revoked)));
}
