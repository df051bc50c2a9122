//! Random histories, with the pure table beside them.

use std::time::Duration;

use super::{Client, LONG, MOST_REPLAYS, hash, retry, rotate};
use crate::refresh::policy::{Row, Verdict, judge};
use crate::store::{Revoke, Rotate, Rotation, Store};

/// xorshift64*: the same histories in every run.
struct Random(u64);

impl Random {
    fn below(&mut self, n: u64) -> u64 {
        self.0 ^= self.0 >> 12;
        self.0 ^= self.0 << 25;
        self.0 ^= self.0 >> 27;
        (self.0.wrapping_mul(0x2545_F491_4F6C_DD1D) >> 33) % n
    }
}

pub(super) async fn random_histories<S: Store + Clone>(store: &S, histories: u64) {
    for seed in 1..=histories {
        history(store, seed).await;
    }
}

async fn history<S: Store>(store: &S, seed: u64) {
    let mut random = Random(seed.wrapping_mul(0x9E37_79B9_7F4A_7C15) | 1);
    let client = Client::login(store).await;
    // Windows are zero or longer than the test, so no clock matters.
    let mut row = Row {
        active: true,
        generation: 0,
        current: hash(client.session, 0),
        previous: None,
        retry: None,
        rotated_ms: None,
        replays: 0,
        absolute_ms: u64::MAX,
        idle_ms: u64::MAX,
    };
    for step in 0..30 {
        if random.below(40) == 0 {
            let revoke = Revoke::Session(client.session);
            store.revoke(&revoke, LONG).await.expect("it can be revoked");
            row.active = false;
        }
        let generation = u32::try_from(random.below(u64::from(row.generation) + 2))
            .expect("there are few generations");
        // Mostly what a client would present.
        let generation = match random.below(8) {
            0 => generation,
            1 | 2 => row.generation.saturating_sub(1),
            _ => row.generation,
        };
        let window = |zero| if zero { Duration::ZERO } else { LONG };
        let mut request = Rotate {
            retry: match random.below(3) {
                0 => None,
                n => retry(u8::try_from(n).expect("it is below 3")),
            },
            grace: window(random.below(2) == 0),
            retry_window: window(random.below(2) == 0),
            // Rarely few, so that the count shows.
            most_replays: if random.below(4) == 0 { 2 } else { MOST_REPLAYS },
            ..client.present(generation)
        };
        if random.below(16) == 0 {
            request.hash = hash(client.session, 1_000_000);
        }
        let expected = judge(&row, &request, 1_000);
        let got = rotate(store, &request).await;
        let same = match (&expected, &got) {
            (Verdict::Rotate, Rotation::Rotated(_)) => {
                row.previous = Some(row.current);
                row.current = request.next.hash;
                row.generation += 1;
                row.retry = request.retry;
                row.rotated_ms = Some(1_000);
                row.replays = 0;
                true
            }
            (Verdict::Replay, Rotation::Replayed { .. }) => {
                row.replays += 1;
                true
            }
            (Verdict::Forked, Rotation::Forked) | (Verdict::Reuse, Rotation::Reuse) => {
                row.active = false;
                true
            }
            (Verdict::Keep, Rotation::Kept(_))
            | (Verdict::Revoked, Rotation::Revoked)
            | (Verdict::Expired, Rotation::Expired)
            | (Verdict::TooManyReplays, Rotation::TooManyReplays)
            | (Verdict::RetryKeyReused, Rotation::RetryKeyReused)
            | (Verdict::Ahead, Rotation::Ahead) => true,
            _ => false,
        };
        assert!(
            same,
            "history {seed}, step {step}: the table says {expected:?}, the store {got:?}\n\
             {request:?}\n{row:?}"
        );
    }
}
