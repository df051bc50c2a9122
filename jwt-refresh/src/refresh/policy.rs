//! What becomes of a presented refresh token: a function of the row, the token
//! and the moment. The stores on servers say the same in their own languages,
//! and the conformance suite holds them against this table.

use crate::store::{Rotate, TokenHash};

/// What a verdict depends on in a session's row.
#[derive(Clone, Debug)]
pub(crate) struct Row {
    /// Neither revoked by itself nor of an earlier user epoch.
    pub(crate) active: bool,
    pub(crate) generation: u32,
    pub(crate) current: TokenHash,
    pub(crate) previous: Option<TokenHash>,
    pub(crate) retry: Option<TokenHash>,
    /// Nothing before the first rotation.
    pub(crate) rotated_ms: Option<u64>,
    pub(crate) replays: u32,
    pub(crate) absolute_ms: u64,
    pub(crate) idle_ms: u64,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Verdict {
    Rotate,
    Keep,
    Replay,
    Revoked,
    Expired,
    TooManyReplays,
    RetryKeyReused,
    Forked,
    Reuse,
    Ahead,
}

/// `now_ms` is the store's.
#[cfg_attr(not(feature = "memory"), allow(dead_code))]
pub(crate) fn judge(row: &Row, token: &Rotate, now_ms: u64) -> Verdict {
    if !row.active && !cfg!(broken = "rule_revoked") {
        return Verdict::Revoked;
    }
    if now_ms >= row.absolute_ms.min(row.idle_ms) && !cfg!(broken = "rule_expired") {
        return Verdict::Expired;
    }
    if token.generation > row.generation && !cfg!(broken = "rule_ahead") {
        return Verdict::Ahead;
    }
    let since = row.rotated_ms.map(|rotated| now_ms.saturating_sub(rotated));
    let within = |window: std::time::Duration| {
        since.is_some_and(|since| u128::from(since) < window.as_millis())
    };
    let same_retry = token.retry.is_some() && token.retry == row.retry;
    if token.generation == row.generation {
        if token.hash != row.current && !cfg!(broken = "rule_forked") {
            return Verdict::Forked;
        }
        if same_retry && !cfg!(broken = "rule_retry_key") {
            return Verdict::RetryKeyReused;
        }
        if within(token.grace) && !cfg!(broken = "rule_kept") {
            return Verdict::Keep;
        }
        return Verdict::Rotate;
    }
    if token.generation.checked_add(1) == Some(row.generation) {
        if row.previous != Some(token.hash) && !cfg!(broken = "rule_forked") {
            return Verdict::Forked;
        }
        let in_grace = within(token.grace) && !cfg!(broken = "rule_grace");
        let in_retry = same_retry && within(token.retry_window) && !cfg!(broken = "rule_retry");
        if in_grace || in_retry {
            if row.replays >= token.most_replays && !cfg!(broken = "rule_replays") {
                return Verdict::TooManyReplays;
            }
            return Verdict::Replay;
        }
    }
    if cfg!(broken = "rule_reuse") { Verdict::Replay } else { Verdict::Reuse }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use proptest::prelude::*;

    use super::*;
    use crate::store::{Proposal, SessionId, SessionRef};

    fn hash(n: u8) -> TokenHash {
        TokenHash::from_bytes([n; 32])
    }

    /// At generation 3, rotated at 100 s with retry key 9.
    fn row() -> Row {
        Row {
            active: true,
            generation: 3,
            current: hash(3),
            previous: Some(hash(2)),
            retry: Some(hash(9)),
            rotated_ms: Some(100_000),
            replays: 0,
            absolute_ms: 1_000_000_000,
            idle_ms: 900_000_000,
        }
    }

    fn token(generation: u32, secret: u8, retry: Option<u8>) -> Rotate {
        Rotate {
            session: SessionRef { id: SessionId::from_bytes([0; 16]), bucket: 0 },
            generation,
            hash: hash(secret),
            next: Proposal { hash: hash(4), nonce: [0; 32], key_id: [0; 4] },
            retry: retry.map(hash),
            grace: Duration::from_secs(10),
            retry_window: Duration::from_secs(86_400),
            most_replays: 64,
            idle: Duration::from_secs(1),
            publish_for: Duration::from_secs(1),
        }
    }

    #[test]
    fn the_table_row_by_row() {
        use Verdict::*;
        let day = 86_400_000;
        for (verdict, change, token, now) in [
            (Revoked, Some("revoked"), token(3, 3, None), 200_000),
            (Revoked, Some("revoked"), token(0, 0, None), 200_000),
            (Expired, None, token(3, 3, None), 900_000_000),
            (Expired, None, token(0, 0, None), 900_000_000),
            (Rotate, None, token(3, 3, None), 899_999_999),
            (Keep, None, token(3, 3, None), 109_999),
            (Rotate, None, token(3, 3, None), 110_000),
            (Rotate, Some("first"), token(0, 0, None), 100_001),
            (Replay, None, token(2, 2, None), 109_999),
            (Replay, None, token(2, 2, Some(8)), 109_999),
            (Reuse, None, token(2, 2, None), 110_000),
            (Reuse, None, token(2, 2, Some(8)), 110_000),
            (Replay, None, token(2, 2, Some(9)), 110_000),
            (Replay, None, token(2, 2, Some(9)), 100_000 + day - 1),
            (Reuse, None, token(2, 2, Some(9)), 100_000 + day),
            (TooManyReplays, Some("replayed"), token(2, 2, None), 109_999),
            (TooManyReplays, Some("replayed"), token(2, 2, Some(9)), 110_000),
            (RetryKeyReused, None, token(3, 3, Some(9)), 109_999),
            (RetryKeyReused, None, token(3, 3, Some(9)), 200_000),
            (Rotate, None, token(3, 3, Some(8)), 200_000),
            (Forked, None, token(3, 7, None), 200_000),
            (Forked, None, token(2, 7, None), 200_000),
            (Forked, None, token(2, 7, None), 100_001),
            (Reuse, None, token(1, 1, None), 100_001),
            (Reuse, None, token(0, 0, Some(9)), 100_001),
            (Ahead, None, token(4, 4, None), 200_000),
            (Ahead, None, token(u32::MAX, 4, None), 200_000),
        ] {
            let mut row = row();
            match change {
                Some("revoked") => row.active = false,
                Some("replayed") => row.replays = 64,
                Some("first") => {
                    row = Row {
                        generation: 0,
                        current: hash(0),
                        previous: None,
                        rotated_ms: None,
                        ..row
                    };
                }
                _ => {}
            }
            assert_eq!(judge(&row, &token, now), verdict, "{token:?} at {now}");
        }
    }

    proptest! {
        /// Whatever else is the case, what must never be let through is not.
        #[test]
        fn only_the_current_and_the_last_token_are_ever_good(
            generation in 0_u32..6, secret in 0_u8..6, retry in proptest::option::of(7_u8..10),
            now in 0_u64..2_000_000_000, replays in 0_u32..70, active: bool,
        ) {
            let row = Row { replays, active, ..row() };
            let verdict = judge(&row, &token(generation, secret, retry), now);
            if matches!(verdict, Verdict::Rotate | Verdict::Keep | Verdict::Replay) {
                prop_assert!(active && now < row.idle_ms);
                prop_assert!(u32::from(secret) == generation);
                prop_assert!(generation == 3 || generation == 2);
                prop_assert!(generation == 3 || verdict == Verdict::Replay);
                prop_assert!(generation == 3 || now < 110_000 || retry == Some(9));
            }
            // Nobody is accused of theft by their own, current token.
            if verdict == Verdict::Reuse {
                prop_assert!(generation < 3);
            }
        }
    }
}
