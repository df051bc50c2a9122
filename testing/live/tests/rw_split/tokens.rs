//! Tokens of all kinds, on a real cluster: never an error, never a pinned
//! primary, and counted.

use std::time::Duration;

use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use hmac::{Hmac, KeyInit, Mac};
use rw_split::{ConsistencyToken, TokenKeys};
use sha2::Sha256;

use super::bed::{Bed, get, session, set};

const KEY: [u8; 32] = [9; 32];

/// As the crate writes them, by somebody who has the key.
fn signed(system: i64, timeline: u32, lsn: u64) -> ConsistencyToken {
    let mut bytes = vec![1, 1];
    bytes.extend(u64::MAX.to_be_bytes());
    bytes.extend(system.to_be_bytes());
    bytes.extend(timeline.to_be_bytes());
    bytes.extend(lsn.to_be_bytes());
    let mac = Hmac::<Sha256>::new_from_slice(&KEY).unwrap();
    let mac = mac.chain_update(b"rw-split token\0").chain_update(&bytes).finalize();
    bytes.extend(&mac.into_bytes()[..16]);
    let text = URL_SAFE_NO_PAD.encode(bytes);
    TokenKeys::new(&KEY).unwrap().verify(&text).expect("it is as the crate writes them")
}

#[tokio::test]
async fn impossible_positions_pin_nobody_and_are_counted() {
    let bed = Bed::new(1).await;
    let db = bed.db().await;
    let client = bed.client().await;
    let sql = "SELECT system_identifier FROM pg_control_system()";
    let system: i64 = client.query_one(sql, &[]).await.unwrap().get(0);
    let impossible = [
        signed(system, 1, u64::MAX),
        signed(system, 1, 1 << 50),
        signed(system, 7, 1),
        signed(system, u32::MAX, u64::MAX),
        signed(system + 1, 1, 1),
        signed(0, 0, 0),
    ];
    for (index, token) in impossible.into_iter().enumerate() {
        let before = db.stats();
        assert_eq!(db.with_token(token, get(&db, 1)).await, 0);
        let after = db.stats();
        assert_eq!(after.clamps, before.clamps + 1, "{index}");
        assert_eq!(after.on_replicas, before.on_replicas + 1, "{index}");
    }
    // Many at once ask the primary together.
    let before = db.stats().questions;
    let all = (0..200).map(|n| {
        let token = signed(system, 1, u64::MAX - n);
        db.with_token(token, get(&db, 1))
    });
    futures_util::future::join_all(all).await;
    let questions = db.stats().questions - before;
    println!("200 tokens ahead of the primary at once: {questions} questions");
    assert!(questions <= 20, "{questions}");
}

#[tokio::test]
async fn a_token_that_is_replayed_or_of_the_previous_key_says_what_it_said() {
    let bed = Bed::new(1).await;
    let db = bed.db().await;
    bed.replicas[0].pause_replay().await.unwrap();
    let one = session();
    one.enter(set(&db, 1, 1)).await;
    let old = TokenKeys::new(&KEY).unwrap();
    let text = old.sign(&one.token(), Duration::from_secs(60));
    let rotated = TokenKeys::new(&[8; 32]).unwrap().previous(&KEY).unwrap();
    one.enter(set(&db, 1, 2)).await;
    for _ in 0..3 {
        let token = rotated.verify(&text).unwrap();
        assert_eq!(db.with_token(token, get(&db, 1)).await, 2);
    }
    assert!(rotated.verify(&text[1..]).is_none());
    // Merged, they ask for both.
    let token = rotated.verify(&text).unwrap().merge(&one.token());
    assert_eq!(token, one.token());
}

#[tokio::test]
async fn a_token_of_an_older_timeline_asks_for_what_survived() {
    let bed = Bed::new(2).await;
    let db = bed.db().await;
    let one = session();
    one.enter(set(&db, 1, 5)).await;
    let token = one.token();
    bed.caught_up().await;
    bed.primary.kill().await.unwrap();
    bed.replicas[0].promote().await.unwrap();
    testbed::eventually(super::bed::DEADLINE, async || db.stats().failovers == 1).await;
    assert_eq!(db.with_token(token, get(&db, 1)).await, 5);
    assert_eq!((db.stats().clamps, db.stats().lost_writes), (0, 0));
}
