//! Keys and sets of keys that must not be admitted.

use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use jwt_refresh::{
    Algorithm, KeyError, KeySet, RefreshKeys, Signer, SigningKey, SigningKeys, VerifyingKey,
};
use serde_json::{Value, json};

use crate::support::{b64, key};

fn ed25519() -> Value {
    let key = SigningKey::generate().unwrap().verifying_key().unwrap();
    serde_json::from_str(&key.to_jwk().unwrap()).unwrap()
}

/// The P-256 key of RFC 7517, appendix A.1.
fn p256() -> Value {
    json!({
        "kty": "EC", "crv": "P-256", "kid": "1",
        "x": "MKBCTNIcKUSDii11ySs3526iDZ8AiTo7Tu6KPAqv7D4",
        "y": "4Etl6SRW2YiLUrN5vfvVHuhp7x8PxltmWWlbbM4IFyM",
    })
}

/// The RSA key of the same.
fn rsa() -> Value {
    json!({
        "kty": "RSA", "alg": "RS256", "e": "AQAB", "kid": "2011-04-29",
        "n": "0vx7agoebGcQSuuPiLJXZptN9nndrQmbXEps2aiAFbWhM78LhWx4cbbfAAtVT86zwu1RK7aPFFxuhDR1L6tSoc_BJECPebWKRXjBZCiFV4n3oknjhMstn64tZ_2W-5JsGY4Hc5n9yBXArwl93lqt7_RN5w6Cf0h4QyQ5v-65YGjQR0_FDW2QvzqY368QQMicAtaSqzs8KJZgnYb9c7d0zgdAZHzu6qMQvRL5hajrn1n91CbOpbISD08qNLyrdkt-bFTWhAI4vMQFh6WeZu0fM4lFd2NcRwr3XPksINHaQ-G_xBniIqbw0Ls1jF44-csFCur-kEgU8awapJzKnqDKgw",
    })
}

fn hmac() -> Value {
    json!({"kty": "oct", "k": b64(key(3)), "kid": "h"})
}

fn with(mut value: Value, name: &str, to: Value) -> Value {
    value[name] = to;
    value
}

fn modulus(bits: usize) -> String {
    let mut bytes = vec![0xA7; bits / 8];
    bytes[0] = 0xC1;
    b64(bytes)
}

#[test]
fn good_keys_are_admitted() {
    for good in [
        ed25519(),
        p256(),
        rsa(),
        hmac(),
        with(p256(), "use", "sig".into()),
        with(ed25519(), "key_ops", json!(["verify"])),
        with(hmac(), "key_ops", json!(["sign", "verify"])),
        with(rsa(), "alg", "PS256".into()),
        with(ed25519(), "alg", "Ed25519".into()),
    ] {
        VerifyingKey::from_jwk(&good.to_string())
            .unwrap_or_else(|error| panic!("{error}: {good}"));
    }
}

#[test]
#[allow(clippy::too_many_lines, reason = "a corpus is a list")]
fn every_bad_key_is_refused_for_its_own_reason() {
    use KeyError as E;
    let mut corpus: Vec<(Value, E)> = Vec::new();
    for kty in [json!("RSA-OAEP"), json!("ec"), json!(""), json!("AKP"), json!("none")] {
        corpus.push((with(ed25519(), "kty", kty), E::KeyType));
    }
    for (base, alg) in [
        (ed25519(), "ES256"),
        (ed25519(), "HS256"),
        (ed25519(), "none"),
        (ed25519(), "EdDSA "),
        (p256(), "ES384"),
        (p256(), "EdDSA"),
        (p256(), "ECDH-ES"),
        (rsa(), "RS1"),
        (rsa(), "RSA-OAEP"),
        (rsa(), "HS256"),
        (rsa(), "RS512"),
        (hmac(), "RS256"),
        (hmac(), "A128KW"),
    ] {
        corpus.push((with(base, "alg", alg.into()), E::Algorithm));
    }
    for (base, crv) in [
        (ed25519(), "X25519"),
        (ed25519(), "Ed448"),
        (ed25519(), "P-256"),
        (p256(), "P-384"),
        (p256(), "secp256k1"),
        (p256(), "Ed25519"),
        (p256(), "p-256"),
    ] {
        corpus.push((with(base, "crv", crv.into()), E::Curve));
    }
    for (base, usage) in [(ed25519(), "enc"), (p256(), ""), (rsa(), "Sig"), (hmac(), "wrap")] {
        corpus.push((with(base, "use", usage.into()), E::Use));
    }
    for (base, ops) in [
        (ed25519(), json!(["sign"])),
        (ed25519(), json!([])),
        (p256(), json!(["deriveKey"])),
        (rsa(), json!(["encrypt"])),
        (rsa(), json!(["verify", "encrypt"])),
        (rsa(), json!(["verify", "verify"])),
        (hmac(), json!(["sign"])),
        (ed25519(), json!(["sign", "verify"])),
    ] {
        corpus.push((with(base, "key_ops", ops), E::Use));
    }
    for member in ["d", "p", "q", "dp", "dq", "qi", "oth"] {
        corpus.push((with(rsa(), member, b64([1; 32]).into()), E::Private));
    }
    corpus.push((with(ed25519(), "d", b64([1; 32]).into()), E::Private));
    for (base, name) in [
        (ed25519(), "x"),
        (p256(), "x"),
        (p256(), "y"),
        (rsa(), "n"),
        (rsa(), "e"),
        (hmac(), "k"),
    ] {
        let name: &'static str = name;
        for bad in
            [json!(1), json!(null), json!("a b"), json!("AR"), json!("AQ=="), json!(["x"])]
        {
            corpus.push((with(base.clone(), name, bad), E::Parameter(name)));
        }
        let mut missing = base;
        missing.as_object_mut().unwrap().remove(name);
        corpus.push((missing, E::Parameter(name)));
    }
    for length in [0, 16, 31, 33, 48, 64] {
        corpus.push((with(ed25519(), "x", b64(vec![3; length]).into()), E::Parameter("x")));
        corpus.push((with(p256(), "y", b64(vec![3; length]).into()), E::Parameter("y")));
    }
    corpus.push((with(p256(), "y", b64([7; 32]).into()), E::Invalid));
    corpus.push((
        with(with(p256(), "x", b64([0; 32]).into()), "y", b64([0; 32]).into()),
        E::Invalid,
    ));
    corpus.push((with(p256(), "x", b64([0xFF; 32]).into()), E::Invalid));
    for bits in [512, 768, 1_024, 1_536, 2_040, 8_200, 16_384] {
        corpus.push((with(rsa(), "n", modulus(bits).into()), E::RsaSize));
    }
    let zero_first = [&[0_u8][..], &[0xC1; 256]].concat();
    corpus.push((with(rsa(), "n", b64(zero_first).into()), E::Parameter("n")));
    let even = [&[0xC1_u8; 255][..], &[2]].concat();
    corpus.push((with(rsa(), "n", b64(even).into()), E::Invalid));
    for (e, error) in [
        (vec![1], E::RsaExponent),
        (vec![3], E::RsaExponent),
        (vec![17], E::RsaExponent),
        (vec![1, 0, 0], E::RsaExponent),
        (vec![1, 0, 2], E::RsaExponent),
        (vec![0, 1, 0, 1], E::Parameter("e")),
        (vec![1; 9], E::Parameter("e")),
        (vec![], E::Parameter("e")),
    ] {
        corpus.push((with(rsa(), "e", b64(e).into()), error));
    }
    for secret in [vec![], b"secret".to_vec(), key(1)[..31].to_vec()] {
        corpus.push((with(hmac(), "k", b64(secret).into()), E::ShortSecret));
    }
    for secret in [
        vec![0; 32], vec![0xAA; 64], b"a-string-secret-at-least-256-bits-long".to_vec(),
        b"0123456789abcdef0123456789abcdef".to_vec(), b"abababababababababababababababababab".to_vec(),
        b"00112233445566778899aabbccddeeff".to_vec(),
        URL_SAFE_NO_PAD.decode("AyM1SysPpbyDfgZld3umj1qzKObwVMkoqQ-EstJQLr_T-1qS0gZH75aKtMN3Yj0iPS4hcgUuTwjAzZr1Z9CAow").unwrap(),
    ] {
        corpus.push((with(hmac(), "k", b64(secret).into()), E::KnownSecret));
    }
    for kid in [String::new(), "k".repeat(129), "a\nb".to_owned()] {
        corpus.push((with(ed25519(), "kid", kid.into()), E::KeyId));
    }
    assert!(corpus.len() >= 110, "{}", corpus.len());
    let mut wrong = Vec::new();
    for (jwk, error) in &corpus {
        let verdict = VerifyingKey::from_jwk(&jwk.to_string()).map(drop);
        if verdict.as_ref() != Err(error) {
            wrong.push(format!("{verdict:?}, not {error:?}: {jwk}"));
        }
    }
    assert!(wrong.is_empty(), "{} of {}:\n{}", wrong.len(), corpus.len(), wrong.join("\n"));
    for text in ["", "[]", "{\"kty\":\"OKP\",\"kty\":\"OKP\"}", "{\"kty\":\"OKP\"}x"] {
        assert_eq!(VerifyingKey::from_jwk(text).map(drop), Err(E::Json), "{text}");
    }
}

#[test]
fn bad_sets_are_refused() {
    let set = |keys: &[Value]| json!({"keys": keys}).to_string();
    let named = |kid: &str| with(ed25519(), "kid", kid.into());
    for (json, error) in [
        (set(&[]), KeyError::Empty),
        (set(&[named("a"), named("a")]), KeyError::DuplicateKeyId("a".into())),
        (set(&[named("a"), hmac()]), KeyError::Mixed),
        (set(&(0..65).map(|n| named(&n.to_string())).collect::<Vec<_>>()), KeyError::TooMany),
        (" ".repeat(256 * 1_024 + 1), KeyError::TooLong),
        ("{}".into(), KeyError::Json),
        ("{\"keys\":{}}".into(), KeyError::Json),
        ("{\"keys\":[],\"keys\":[]}".into(), KeyError::Json),
        ("[]".into(), KeyError::Json),
        (set(&[json!(1)]), KeyError::Json),
    ] {
        assert_eq!(
            KeySet::from_jwks(&json).map(drop),
            Err(error),
            "{}",
            &json[..json.len().min(200)]
        );
    }
    // A set from elsewhere: one bad key costs itself, a bad set all.
    let (good, bad) = KeySet::from_public_jwks(&set(&[
        named("a"),
        with(named("b"), "use", "enc".into()),
        with(rsa(), "n", modulus(1_024).into()),
    ]))
    .unwrap();
    assert_eq!((bad.len(), format!("{good:?}")), (2, "[\"a\"]".to_owned()));
    for (json, error) in [
        (set(&[named("a"), named("a")]), KeyError::DuplicateKeyId("a".into())),
        (set(&[named("a"), hmac()]), KeyError::Symmetric),
        (set(&[with(named("a"), "use", "enc".into())]), KeyError::Empty),
    ] {
        assert_eq!(KeySet::from_public_jwks(&json).map(drop), Err(error));
    }
}

#[test]
fn a_private_key_of_another_kind_is_refused() {
    let der = crate::tokens::ed25519_pkcs8();
    for algorithm in [Algorithm::Es256, Algorithm::Rs256, Algorithm::Ps256] {
        let refused = SigningKey::from_pkcs8(algorithm, &der).map(drop);
        assert_eq!(refused, Err(KeyError::WrongKind(algorithm)));
    }
    assert!(SigningKey::from_pkcs8(Algorithm::Hs256, &der).is_err());
    assert!(SigningKey::from_pkcs8(Algorithm::EdDsa, &der[1..]).is_err());
    let pem = base64::engine::general_purpose::STANDARD.encode(&der);
    let pem = format!("-----BEGIN PRIVATE KEY-----\n{pem}\n-----END PRIVATE KEY-----\n");
    assert!(SigningKey::from_pem(Algorithm::EdDsa, &pem).is_ok());
    let other = pem.replace("PRIVATE KEY", "RSA PRIVATE KEY");
    assert!(SigningKey::from_pem(Algorithm::EdDsa, &other).is_err());
    assert!(SigningKey::hmac(b"secret").is_err() && SigningKey::hmac(&[7; 40]).is_err());
    assert!(RefreshKeys::new([1; 32]).is_err());
    // No set mixes symmetric and asymmetric keys, the issuer's own neither.
    let keys = SigningKeys::new(SigningKey::generate().unwrap()).unwrap();
    let next = SigningKey::hmac(&key(5)).unwrap().with_kid("h");
    assert_eq!(keys.publish_next(next, None), Err(KeyError::Mixed));
    assert_eq!(keys.states().len(), 1);
}
