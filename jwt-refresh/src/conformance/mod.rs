//! The test suite for a [`Store`] of one's own.
//!
//! ```
//! # #[tokio::main(flavor = "current_thread")]
//! # async fn main() {
//! # #[cfg(feature = "memory")]
//! jwt_refresh::conformance::store(jwt_refresh::MemoryStore::new()).await;
//! # }
//! ```

mod feed;
mod model;
mod races;
mod table;

use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use crate::store::{
    NewSession, Proposal, Rotate, Rotation, SessionId, SessionRef, Store, TokenHash,
};

/// Longer than any test takes.
const LONG: Duration = Duration::from_secs(1_000);
const MOST_REPLAYS: u32 = 64;

/// Runs the whole suite. It uses sessions and users of its own, so the store may
/// hold others and may be run on again. It takes a few seconds.
///
/// # Panics
///
/// When the store breaks a rule; the message says which.
pub async fn store<S: Store + Clone>(store: S) {
    table::every_row(&store).await;
    table::sessions_are_what_was_created(&store).await;
    table::revocations_reach_what_they_name(&store).await;
    model::random_histories(&store, 60).await;
    races::twelve_at_once(&store, 20).await;
    races::with_retry_keys(&store, 10).await;
    races::with_and_without_retry_keys(&store, 10).await;
    races::against_expiry(&store, 5).await;
    races::against_logout_all(&store, 20).await;
    races::against_revoke(&store, 20).await;
    races::against_both(&store, 20).await;
    races::revocations_against_expiry(&store, 10).await;
    feed::everything_is_reported(&store).await;
    feed::nothing_is_left_out_under_load(&store).await;
}

/// Races of `racers` on one token of a session that was rotated before, `rounds`
/// times. `age` makes the store believe that the last rotation was an hour ago,
/// since a young token is kept.
///
/// # Panics
///
/// When not exactly one of a round rotates, or the others differ from it.
pub async fn race<S: Store + Clone>(
    store: S,
    rounds: usize,
    racers: usize,
    age: impl AsyncFn(SessionRef),
) {
    races::on_aged(&store, rounds, racers, age).await;
}

/// Sessions to be rotated one after the other, to measure a store by itself.
#[derive(Debug)]
pub struct Rotations<S> {
    store: S,
    sessions: Vec<Rotate>,
}

impl<S: Store + Clone> Rotations<S> {
    /// That many new sessions.
    ///
    /// # Panics
    ///
    /// When the store fails.
    pub async fn prepare(store: S, sessions: usize) -> Self {
        let mut requests = Vec::with_capacity(sessions);
        for _ in 0..sessions {
            requests.push(Client::login(&store).await.present(0));
        }
        Self { store, sessions: requests }
    }

    /// Rotates the next one, whose token is its first.
    ///
    /// # Panics
    ///
    /// When there is none left, or the store fails.
    pub async fn rotate_next(&mut self) {
        let request = self.sessions.pop().expect("there are sessions left");
        let rotation = rotate(&self.store, &request).await;
        assert!(matches!(rotation, Rotation::Rotated(_)), "{rotation:?}");
    }
}

/// A session and what its client holds.
struct Client {
    session: SessionRef,
    user: String,
}

/// The hash of a session's token of a generation, without a real token.
fn hash(session: SessionRef, generation: u32) -> TokenHash {
    let mut bytes = [0x5A; 32];
    bytes[..16].copy_from_slice(session.id.bytes());
    bytes[16..20].copy_from_slice(&generation.to_be_bytes());
    TokenHash::from_bytes(bytes)
}

fn unique() -> [u8; 16] {
    static NEXT: AtomicU64 = AtomicU64::new(0);
    let mut id = *SessionId::random().expect("there are random numbers").bytes();
    id[8..].copy_from_slice(&NEXT.fetch_add(1, Ordering::Relaxed).to_be_bytes());
    id
}

impl Client {
    async fn login<S: Store>(store: &S) -> Self {
        Self::login_for(store, LONG, LONG).await
    }

    async fn login_for<S: Store>(store: &S, absolute: Duration, idle: Duration) -> Self {
        let user = format!("user {}", SessionId::from_bytes(unique()));
        Self::login_as(store, user, absolute, idle).await
    }

    async fn login_as<S: Store>(
        store: &S,
        user: String,
        absolute: Duration,
        idle: Duration,
    ) -> Self {
        let session =
            SessionRef { id: SessionId::from_bytes(unique()), bucket: store.bucket(&user) };
        let new = NewSession {
            session,
            user: user.clone(),
            client: "web".into(),
            scope: "a b".into(),
            grant: r#"{"name":"Ada \u0027 \" 😀"}"#.into(),
            device: "Firefox, 'Linux' \"😀\"".into(),
            hash: hash(session, 0),
            absolute,
            idle,
        };
        let created = store.create(&new).await.expect("a session can be created");
        let left = created.expires_ms.saturating_sub(created.now_ms);
        assert_eq!(u128::from(left), absolute.as_millis(), "the absolute expiry is wrong");
        Self { session, user }
    }

    /// A request with the token of `generation`, in which every window is open.
    fn present(&self, generation: u32) -> Rotate {
        let mut nonce = [0; 32];
        nonce[..16].copy_from_slice(&unique());
        Rotate {
            session: self.session,
            generation,
            hash: hash(self.session, generation),
            next: Proposal {
                hash: hash(self.session, generation.wrapping_add(1)),
                nonce,
                key_id: [1, 2, 3, 4],
            },
            retry: None,
            grace: LONG,
            retry_window: LONG,
            most_replays: MOST_REPLAYS,
            idle: LONG,
            publish_for: LONG,
        }
    }

    /// As [`present`](Self::present), after every window has closed.
    fn present_late(&self, generation: u32) -> Rotate {
        Rotate {
            grace: Duration::ZERO,
            retry_window: Duration::ZERO,
            ..self.present(generation)
        }
    }

    /// Rotates up to `generation`.
    async fn age<S: Store>(&self, store: &S, generation: u32) {
        for at in 0..generation {
            let rotation = rotate(store, &self.present_late(at)).await;
            assert!(
                matches!(rotation, Rotation::Rotated(_)),
                "the current token {at} was not rotated but {rotation:?}"
            );
        }
    }
}

async fn rotate<S: Store>(store: &S, request: &Rotate) -> Rotation {
    store.rotate(request).await.expect("the store answers")
}

fn retry(n: u8) -> Option<TokenHash> {
    Some(TokenHash::from_bytes([n; 32]))
}
