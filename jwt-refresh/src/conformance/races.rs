//! Everything at once.

use std::sync::Arc;
use std::time::Duration;

use tokio::sync::Barrier;
use tokio::task::JoinSet;

use super::{Client, LONG, retry, rotate};
use crate::store::{Revoke, Rotate, Rotation, SessionRef, Store, TokenHash};

pub(super) async fn twelve_at_once<S: Store + Clone>(store: &S, rounds: usize) {
    // The first token is never too young, and all windows are open.
    for (rounds, racers) in [(rounds, 12), (rounds.div_ceil(10), 50), (rounds, 2)] {
        for round in 0..rounds {
            let client = Client::login(store).await;
            at_once(store, &client, 0, racers, None, round).await;
        }
    }
}

pub(super) async fn with_retry_keys<S: Store + Clone>(store: &S, rounds: usize) {
    // The grace window is closed: only the retry key opens another.
    for round in 0..rounds {
        let client = Client::login(store).await;
        client.age(store, 3).await;
        at_once(store, &client, 3, 12, retry(9), round).await;
    }
}

/// Half of the racers with a retry key, half without; the window is open for all.
pub(super) async fn with_and_without_retry_keys<S: Store + Clone>(store: &S, rounds: usize) {
    for round in 0..rounds {
        let client = Client::login(store).await;
        let start = Arc::new(Barrier::new(12));
        let mut tasks = JoinSet::new();
        for racer in 0..12 {
            let (store, start) = (store.clone(), Arc::clone(&start));
            let retry = if racer % 2 == 0 { retry(9) } else { None };
            let request = Rotate { retry, ..client.present(0) };
            tasks.spawn(async move {
                start.wait().await;
                rotate(&store, &request).await
            });
        }
        let outcomes = tasks.join_all().await;
        let rotated = outcomes.iter().filter(|o| matches!(o, Rotation::Rotated(_))).count();
        let replayed =
            outcomes.iter().filter(|o| matches!(o, Rotation::Replayed { .. })).count();
        assert_eq!((rotated, replayed), (1, 11), "round {round}: {outcomes:?}");
    }
}

/// Rotations of a session that ends meanwhile: expired is the only refusal, and it
/// is final.
pub(super) async fn against_expiry<S: Store + Clone>(store: &S, rounds: usize) {
    for _ in 0..rounds {
        let life = Duration::from_millis(30);
        let client = Arc::new(Client::login_for(store, life, life).await);
        let mut tasks = JoinSet::new();
        for _ in 0..4 {
            let (store, client) = (store.clone(), Arc::clone(&client));
            tasks.spawn(async move {
                let mut generation = 0;
                loop {
                    match rotate(&store, &client.present(generation)).await {
                        Rotation::Rotated(_) | Rotation::Replayed { .. } => generation += 1,
                        Rotation::Kept(_) | Rotation::TooManyReplays => {
                            tokio::task::yield_now().await;
                        }
                        Rotation::Expired => break,
                        other => panic!("a session that ended was {other:?}"),
                    }
                }
                for generation in [0, 1, 2] {
                    let after = rotate(&store, &client.present_late(generation)).await;
                    assert_eq!(after, Rotation::Expired, "generation {generation}");
                }
            });
        }
        tasks.join_all().await;
    }
}

pub(super) async fn on_aged<S: Store + Clone>(
    store: &S,
    rounds: usize,
    racers: usize,
    age: impl AsyncFn(SessionRef),
) {
    for round in 0..rounds {
        let client = Client::login(store).await;
        let generation = 1 + (round % 5) as u32;
        client.age(store, generation).await;
        age(client.session).await;
        at_once(store, &client, generation, racers, None, round).await;
    }
}

/// One rotates; all others get what that one wrote.
async fn at_once<S: Store + Clone>(
    store: &S,
    client: &Client,
    generation: u32,
    racers: usize,
    retry: Option<TokenHash>,
    round: usize,
) {
    let start = Arc::new(Barrier::new(racers));
    let mut tasks = JoinSet::new();
    for _ in 0..racers {
        let (store, start) = (store.clone(), Arc::clone(&start));
        let mut request = Rotate { retry, ..client.present(generation) };
        if retry.is_some() {
            request.grace = Duration::ZERO;
        }
        tasks.spawn(async move {
            start.wait().await;
            (rotate(&store, &request).await, request.next.nonce)
        });
    }
    let mut winner = None;
    let mut replays = Vec::new();
    for (outcome, own) in tasks.join_all().await {
        match outcome {
            Rotation::Rotated(_) => {
                assert_eq!(winner.replace(own), None, "round {round}: two have rotated");
            }
            Rotation::Replayed { nonce, .. } => replays.push(nonce),
            other => panic!("round {round}: a racer was {other:?}"),
        }
    }
    let winner = winner.unwrap_or_else(|| panic!("round {round}: none has rotated"));
    let divergent = replays.iter().filter(|nonce| **nonce != winner).count();
    assert_eq!(divergent, 0, "round {round}: divergent successors");
    let next = Rotate { retry: None, ..client.present_late(generation + 1) };
    let next = rotate(store, &next).await;
    assert!(matches!(next, Rotation::Rotated(_)), "round {round}: the successor was {next:?}");
}

pub(super) async fn against_logout_all<S: Store + Clone>(store: &S, rounds: usize) {
    against(store, rounds, |client| vec![Revoke::User(client.user.clone())]).await;
}

pub(super) async fn against_revoke<S: Store + Clone>(store: &S, rounds: usize) {
    against(store, rounds, |client| vec![Revoke::Session(client.session)]).await;
}

pub(super) async fn against_both<S: Store + Clone>(store: &S, rounds: usize) {
    let both = |client: &Client| {
        vec![Revoke::Session(client.session), Revoke::User(client.user.clone())]
    };
    against(store, rounds, both).await;
}

/// A rotation that began after the revocations had returned is refused, with its
/// retry key, too.
async fn against<S: Store + Clone>(
    store: &S,
    rounds: usize,
    scopes: impl Fn(&Client) -> Vec<Revoke>,
) {
    for round in 0..rounds {
        let client = Client::login(store).await;
        client.age(store, 1).await;
        let scopes = scopes(&client);
        let rotating = if round % 5 == 0 { 48 } else { 4 };
        let start = Arc::new(Barrier::new(rotating + scopes.len()));
        let mut tasks = JoinSet::new();
        for racer in 0..rotating {
            let (store, start) = (store.clone(), Arc::clone(&start));
            let retry = if racer % 2 == 0 { retry(9) } else { None };
            let request = Rotate { grace: LONG, retry, ..client.present_late(1) };
            tasks.spawn(async move {
                start.wait().await;
                let _ = rotate(&store, &request).await;
            });
        }
        let mut revoking = JoinSet::new();
        for scope in scopes.clone() {
            let (store, start) = (store.clone(), Arc::clone(&start));
            revoking.spawn(async move {
                start.wait().await;
                store.revoke(&scope, LONG).await.expect("it can be revoked")
            });
        }
        let published = revoking.join_all().await;
        assert!(published.iter().all(|entries| !entries.is_empty()), "{scopes:?} told nobody");
        for when in ["had returned", "and the rotations had returned"] {
            for generation in [1, 2] {
                for retry in [None, retry(9)] {
                    let after = Rotate { retry, ..client.present(generation) };
                    let after = rotate(store, &after).await;
                    assert_eq!(after, Rotation::Revoked, "after {scopes:?} {when}");
                }
            }
            while tasks.join_next().await.is_some() {}
        }
    }
}

/// Revocations of a session that ends meanwhile by itself: they succeed, and
/// nothing brings it back.
pub(super) async fn revocations_against_expiry<S: Store + Clone>(store: &S, rounds: usize) {
    for round in 0..rounds {
        let life = Duration::from_millis(10);
        let client = Arc::new(Client::login_for(store, life, life).await);
        let mut tasks = JoinSet::new();
        for scope in [Revoke::Session(client.session), Revoke::User(client.user.clone())] {
            let (store, client) = (store.clone(), Arc::clone(&client));
            tasks.spawn(async move {
                // Right after the login, or when the other or the expiry has ended it.
                if round % 2 == 1 {
                    until_ended(&store, &client).await;
                }
                store.revoke(&scope, LONG).await.expect("it can be revoked");
                let over = rotate(&store, &client.present(0)).await;
                let ended = matches!(over, Rotation::Revoked | Rotation::Expired);
                assert!(ended, "after {scope:?} the session was {over:?}");
            });
        }
        tasks.join_all().await;
        let after = rotate(store, &client.present(0)).await;
        assert!(matches!(after, Rotation::Revoked | Rotation::Expired), "then {after:?}");
        let listed = store.sessions(&client.user).await.expect("the store answers");
        assert_eq!(listed, [], "a session that was revoked and has ended is listed");
    }
}

/// Rotates until it is refused.
async fn until_ended<S: Store>(store: &S, client: &Client) {
    let mut generation = 0;
    loop {
        match rotate(store, &client.present(generation)).await {
            Rotation::Rotated(_) | Rotation::Replayed { .. } => generation += 1,
            Rotation::Kept(_) | Rotation::TooManyReplays => {}
            Rotation::Expired | Rotation::Revoked => break,
            other => panic!("a session that ended was {other:?}"),
        }
    }
}
