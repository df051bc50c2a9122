//! Random changes to good tokens: none panics, none gets through.
//! `cargo xtask torture jwt-refresh` goes further.

use crate::tokens::{Target, claims};

fn change(rng: &mut fastrand::Rng, text: &str) -> String {
    let mut bytes = text.as_bytes().to_vec();
    for _ in 0..rng.usize(1..4) {
        let at = rng.usize(0..bytes.len().max(1));
        match rng.u8(0..6) {
            0 if at < bytes.len() => bytes[at] ^= 1 << rng.u8(0..7),
            1 if at < bytes.len() => drop(bytes.remove(at)),
            2 => bytes.insert(at.min(bytes.len()), rng.u8(0..128)),
            3 if at < bytes.len() => bytes.truncate(at),
            4 => {
                let part = bytes[at.min(bytes.len())..].to_vec();
                bytes.extend_from_slice(&part[..part.len().min(40)]);
            }
            _ => {
                let words = [
                    "\"", "{", "}", "[", ",", ":", "\\u0061", "null", "1e9", "-", "\u{feff}",
                    ".",
                ];
                let word = words[rng.usize(0..words.len())];
                let at = at.min(bytes.len());
                bytes.splice(at..at, word.bytes());
            }
        }
    }
    String::from_utf8_lossy(&bytes).into_owned()
}

#[tokio::test]
async fn no_changed_token_gets_through() {
    let target = Target::new().await;
    let (header, payload) = (target.header().to_string(), claims().to_string());
    let good = target.token(&header, &payload).await;
    assert!(target.verifier.verify(&good).is_ok());
    let mut rng = fastrand::Rng::with_seed(7);
    let mut signed_well = 0;
    for _ in 0..20_000 {
        // The text, or what is inside, with a good signature over it.
        let changed = match rng.u8(0..3) {
            0 => change(&mut rng, &good),
            1 => target.token(&change(&mut rng, &header), &payload).await,
            _ => target.token(&header, change(&mut rng, &payload)).await,
        };
        if changed == good {
            continue;
        }
        if let Ok(verified) = target.verifier.verify(&changed) {
            // Only what was signed by the key, and says what a token must.
            signed_well += 1;
            let parts: Vec<_> = changed.split('.').collect();
            let message = format!("{}.{}", parts[0], parts[1]);
            assert_eq!(target.sign(&message).await, parts[2], "{changed}");
            assert_eq!(verified.issuer(), crate::support::ISSUER);
        }
    }
    // Some changes leave a good token: the rest has not failed for a trivial reason.
    assert!(signed_well > 0);
}
