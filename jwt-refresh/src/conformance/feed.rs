//! The feed of revocations.

use std::collections::HashSet;
use std::time::Duration;

use tokio::task::JoinSet;

use super::{Client, LONG, unique};
use crate::store::{Cursor, Feed, Revocation, Revoke, SessionId, Store};

const WINDOW: Duration = Duration::from_secs(3_600);
const PATIENCE: Duration = Duration::from_secs(20);

async fn read<S: Store>(store: &S, since: Option<&Cursor>, wait: Duration) -> Feed {
    store.revocations(since, WINDOW, wait).await.expect("the feed answers")
}

/// Reads on until `found`, as a verifier does.
async fn until<S: Store>(
    store: &S,
    cursor: &mut Cursor,
    what: &str,
    mut found: impl FnMut(&Revocation) -> bool,
) {
    let reading = async {
        loop {
            let feed = read(store, Some(cursor), Duration::from_millis(500)).await;
            *cursor = feed.cursor;
            if feed.entries.iter().any(&mut found) {
                return;
            }
        }
    };
    let read = tokio::time::timeout(PATIENCE, reading).await;
    assert!(read.is_ok(), "{what} was not reported within {PATIENCE:?}");
}

pub(super) async fn everything_is_reported<S: Store + Clone>(store: &S) {
    let mut cursor = read(store, None, Duration::ZERO).await.cursor;
    let client = Client::login(store).await;
    let token_id = SessionId::from_bytes(unique()).to_string();
    let kid = format!("key {}", SessionId::from_bytes(unique()));

    // by hand, each kind
    for scope in [
        Revoke::Session(client.session),
        Revoke::User(client.user.clone()),
        Revoke::Token { token_id: token_id.clone() },
        Revoke::Key { kid: kid.clone() },
    ] {
        let published = store.revoke(&scope, LONG).await.expect("it can be revoked");
        assert_eq!(published.len(), 1, "{scope:?} published {published:?}");
        let what = format!("{scope:?}");
        until(store, &mut cursor, &what, |entry| *entry == published[0]).await;
    }

    // by a reuse
    let victim = Client::login(store).await;
    victim.age(store, 3).await;
    super::rotate(store, &victim.present_late(0)).await;
    let is_victim = |entry: &Revocation| {
        matches!(entry, Revocation::Session { session, until_ms }
            if *session == victim.session.id && *until_ms > 0)
    };
    until(store, &mut cursor, "a reuse", is_victim).await;

    // a verifier that starts now learns all of it, and killed keys for good
    let late = read(store, None, Duration::ZERO).await;
    let has = |found: &dyn Fn(&Revocation) -> bool| late.entries.iter().any(found);
    assert!(has(&is_victim), "a new reader misses a session");
    assert!(
        has(&|entry| matches!(entry, Revocation::User { user, .. } if *user == client.user)),
        "a new reader misses a user"
    );
    let narrow = store.revocations(None, Duration::ZERO, Duration::ZERO).await;
    let narrow = narrow.expect("the feed answers");
    assert!(
        narrow.entries.contains(&Revocation::Key { kid: kid.clone() }),
        "a key that was killed before the window is forgotten"
    );

    // heartbeats
    store.heartbeat(Duration::ZERO).await.expect("it can be written");
    let beating = async {
        loop {
            let feed = read(store, Some(&cursor), Duration::from_millis(100)).await;
            cursor = feed.cursor;
            let age = feed.now_ms.saturating_sub(feed.heartbeat_ms);
            if age < PATIENCE.as_millis() as u64 {
                return;
            }
        }
    };
    let beat = tokio::time::timeout(PATIENCE, beating).await;
    assert!(beat.is_ok(), "a heartbeat does not show");
}

/// Many writers, one reader that reads as it likes.
pub(super) async fn nothing_is_left_out_under_load<S: Store + Clone>(store: &S) {
    const WRITERS: usize = 8;
    const EACH: usize = 40;
    let mut cursor = read(store, None, Duration::ZERO).await.cursor;
    let mut tasks = JoinSet::new();
    for _ in 0..WRITERS {
        let store = store.clone();
        tasks.spawn(async move {
            let mut ids = Vec::new();
            for at in 0..EACH {
                let client = Client::login(&store).await;
                let scope = Revoke::Session(client.session);
                store.revoke(&scope, LONG).await.expect("it can be revoked");
                ids.push(client.session.id);
                if at % 7 == 0 {
                    tokio::task::yield_now().await;
                }
            }
            ids
        });
    }
    let mut seen = HashSet::new();
    let mut wanted: Option<Vec<SessionId>> = None;
    let reading = async {
        loop {
            let feed = read(store, Some(&cursor), Duration::from_millis(50)).await;
            cursor = feed.cursor;
            seen.extend(feed.entries.iter().filter_map(|entry| match entry {
                Revocation::Session { session, .. } => Some(*session),
                _ => None,
            }));
            if wanted.is_none() && tasks.is_empty() {
                return;
            }
            while let Some(ids) = tasks.try_join_next() {
                let ids = ids.expect("a writer does not panic");
                wanted.get_or_insert_default().extend(ids);
            }
            if tasks.is_empty()
                && wanted
                    .as_ref()
                    .is_some_and(|wanted| wanted.iter().all(|id| seen.contains(id)))
            {
                return;
            }
        }
    };
    let read = tokio::time::timeout(PATIENCE * 2, reading).await;
    assert!(read.is_ok(), "an entry was left out");
    assert_eq!(wanted.map(|wanted| wanted.len()), Some(WRITERS * EACH));
}
