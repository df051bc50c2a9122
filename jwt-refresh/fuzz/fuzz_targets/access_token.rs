//! Any bytes as an access token, and as the header and the claims of one whose
//! signature is good: nothing panics, and what is accepted is what
//! `jsonwebtoken` accepts, too.

#![no_main]

use std::sync::LazyLock;

use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use jsonwebtoken::{Algorithm, DecodingKey, Validation, crypto};
use jwt_refresh::{
    ManualClock, NoClaims, Profile, SigningKey, SigningKeys, TypedVerifier, Verifier,
};
use libfuzzer_sys::fuzz_target;

const ISSUER: &str = "https://id.example";
const AUDIENCE: &str = "https://api.example";
const SECRET: [u8; 32] = *b"01234567890123456789/fuzz/SECRET";
const GOOD_HEADER: &[u8] = br#"{"alg":"HS256","typ":"at+jwt","kid":"k"}"#;
const SEED: &[u8] = include_bytes!("../seeds/claims");
const NOW_MS: u64 = 4_000_000_000_000;

static VERIFIER: LazyLock<TypedVerifier<NoClaims>> = LazyLock::new(|| {
    let key = SigningKey::hmac(&SECRET).expect("the key is good").with_kid("k");
    let keys = SigningKeys::new(key).expect("the set is good");
    let verifier = Verifier::builder(Profile::own(ISSUER, AUDIENCE, &keys))
        .without_revocation()
        .clock(ManualClock::at(NOW_MS))
        .build();
    let verifier = verifier.expect("the settings are good").typed();
    let (_, claims) = SEED.split_first().expect("the seed is a mode and claims");
    verifier.verify(&signed(GOOD_HEADER, claims)).expect("the seed is a good token");
    verifier
});

fuzz_target!(|data: &[u8]| {
    let Some((mode, rest)) = data.split_first() else { return };
    let token = match (mode % 3, rest.iter().position(|byte| *byte == b'\n')) {
        (1, Some(at)) => signed(&rest[..at], &rest[at + 1..]),
        // Most of what is wrong with claims shows behind a good header only.
        (2, _) => signed(GOOD_HEADER, rest),
        _ => match std::str::from_utf8(rest) {
            Ok(text) => text.to_owned(),
            Err(_) => return,
        },
    };
    let verdict = VERIFIER.verify(&token);
    let again = VERIFIER.verify(&token);
    assert_eq!(verdict.is_ok(), again.is_ok(), "another verdict for the same token");
    if let Ok(verified) = verdict {
        assert_eq!(verified.issuer(), ISSUER);
        let mut rules = Validation::new(Algorithm::HS256);
        rules.set_audience(&[AUDIENCE]);
        rules.set_issuer(&[ISSUER]);
        let key = DecodingKey::from_secret(&SECRET);
        let other = jsonwebtoken::decode::<serde_json::Value>(&token, &key, &rules);
        assert!(other.is_ok(), "accepted, but not by jsonwebtoken: {token}: {other:?}");
    }
});

fn signed(header: &[u8], claims: &[u8]) -> String {
    let [header, claims] = [header, claims].map(|part| URL_SAFE_NO_PAD.encode(part));
    let message = format!("{header}.{claims}");
    let key = jsonwebtoken::EncodingKey::from_secret(&SECRET);
    let signature = crypto::sign(message.as_bytes(), &key, Algorithm::HS256);
    format!("{message}.{}", signature.expect("it can be signed"))
}
