//! The lives of signing keys, key sets from elsewhere, and what is remembered.

#![allow(clippy::unwrap_used, reason = "the helpers of tests are tests")]

mod support;

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::{Duration, SystemTime};

use bytes::Bytes;
use http::Uri;
use jwt_refresh::{
    Algorithm, Fetch, FetchError, KeySet, KeyState, NoClaims, Profile, Refusal, RemoteJwks,
    Signer, SigningKey, SigningKeys, Subject, Verifier, VerifyingKey,
};
use serde_json::json;
use support::{AUDIENCE, ISSUER, World, b64, key};

fn kid(key: &SigningKey) -> String {
    key.verifying_key().unwrap().kid().to_owned()
}

#[tokio::test]
async fn a_key_is_published_then_signs_then_retires() {
    let world = World::new().await;
    let keys = world.issuer.keys();
    let old = keys.states()[0].0.clone();
    let next = SigningKey::generate().unwrap();
    let new = kid(&next);
    keys.publish_next(next, None).unwrap();
    assert!(keys.to_jwks().contains(&new));
    let before = world.issuer.login(Subject::new("u"), json!({})).await.unwrap();

    let early = keys.activate(&new).unwrap_err().to_string();
    assert!(early.contains("300 s more"), "{early}");
    world.advance(300);
    keys.activate(&new).unwrap();
    assert_eq!(
        keys.states(),
        [(old.clone(), KeyState::Retiring), (new.clone(), KeyState::Active)]
    );
    let after = world.issuer.login(Subject::new("u"), json!({})).await.unwrap();
    let verifier = world.verifier();
    assert_eq!(verifier.verify(after.access_token().expose()).unwrap().kid(), new);
    assert_eq!(verifier.verify(before.access_token().expose()).unwrap().kid(), old);

    // Past the last moment at which one of its tokens could be good, it is gone.
    world.advance(15 * 60 + 45);
    assert!(!keys.to_jwks().contains(&old));
    assert_eq!(keys.states(), [(new, KeyState::Active)]);
}

/// A foreign issuer's key whose end comes before its tokens'.
#[tokio::test]
async fn a_retiring_key_ends_at_its_time_also_for_remembered_tokens() {
    let world = World::new().await;
    let other = SigningKey::generate().unwrap();
    let accepted = other.verifying_key().unwrap();
    let until = SystemTime::UNIX_EPOCH + Duration::from_millis(support::START_MS + 60_000);
    let retiring = kid(&other);
    world.issuer.keys().accept_until(accepted, until).unwrap();
    let header = json!({"alg": "EdDSA", "typ": "at+jwt", "kid": retiring});
    let claims = json!({
        "iss": ISSUER, "sub": "u1", "aud": AUDIENCE, "exp": support::START + 600,
        "iat": support::START, "jti": "j", "client_id": "web", "sid": "s", "uep": 0,
    });
    let message = format!("{}.{}", b64(header.to_string()), b64(claims.to_string()));
    let token = format!("{message}.{}", b64(other.sign(message.as_bytes()).await.unwrap()));
    let verifier = world.verifier();
    assert!(verifier.verify(&token).is_ok() && verifier.verify(&token).is_ok());
    world.advance(60);
    assert_eq!(verifier.verify(&token).map(drop), Err(Refusal::KeyRetired));
}

#[tokio::test]
async fn a_killed_key_is_dead_at_once_also_for_remembered_tokens() {
    let world = World::new().await;
    let pair = world.issuer.login(Subject::new("u"), json!({})).await.unwrap();
    let verifier = world.verifier();
    let active = verifier.verify(pair.access_token().expose()).unwrap().kid().to_owned();
    let next = SigningKey::generate().unwrap();
    let new = kid(&next);
    world.issuer.keys().publish_next(next, None).unwrap();
    world.issuer.kill_key(&active).await.unwrap();
    let verdict = verifier.verify(pair.access_token().expose()).map(drop);
    assert!(matches!(verdict, Err(Refusal::KeyKilled | Refusal::UnknownKey)), "{verdict:?}");
    assert!(world.issuer.login(Subject::new("u"), json!({})).await.is_err());
    // In an emergency nobody waits for caches.
    world.issuer.keys().activate(&new).unwrap();
    let pair = world.issuer.login(Subject::new("u"), json!({})).await.unwrap();
    assert!(verifier.verify(pair.access_token().expose()).is_ok());
}

#[tokio::test]
async fn a_key_that_is_taken_out_is_unknown_also_for_remembered_tokens() {
    let world = World::new().await;
    // Without another, nothing at all would be remembered.
    world.issuer.keys().publish_next(SigningKey::generate().unwrap(), None).unwrap();
    let pair = world.issuer.login(Subject::new("u"), json!({})).await.unwrap();
    let verifier = world.verifier();
    let kid = verifier.verify(pair.access_token().expose()).unwrap().kid().to_owned();
    world.issuer.keys().kill(&kid).unwrap();
    let verdict = verifier.verify(pair.access_token().expose()).map(drop);
    assert_eq!(verdict, Err(Refusal::UnknownKey));
}

#[tokio::test]
async fn remembered_tokens_are_judged_again() {
    let world = World::new().await;
    let verifier = world.verifier();
    let login = async || world.issuer.login(Subject::new("u"), json!({})).await.unwrap();
    let pair = login().await;
    let token = pair.access_token().expose();
    let first = verifier.verify(token).unwrap();
    let second = verifier.verify(token).unwrap();
    assert!(Arc::ptr_eq(&first, &second), "it is not remembered");

    world.issuer.revoke_token(&*first).await.unwrap();
    assert_eq!(verifier.verify(token).map(drop), Err(Refusal::Revoked));

    let pair = login().await;
    let token = pair.access_token().expose();
    assert!(verifier.verify(token).is_ok());
    world.advance(15 * 60 + 44);
    assert!(verifier.verify(token).is_ok());
    world.advance(1);
    assert_eq!(verifier.verify(token).map(drop), Err(Refusal::Expired));
    // A clock that was set back does not bring it to life before its time.
    world.clock.set(support::START_MS - 100_000);
    assert_eq!(verifier.verify(token).map(drop), Err(Refusal::IssuedInFuture));
}

#[tokio::test]
async fn a_token_ends_while_it_is_used() {
    let world = World::new().await;
    let pair = world.issuer.login(Subject::new("u"), json!({})).await.unwrap();
    let verified = world.verifier().verify(pair.access_token().expose()).unwrap();
    let mut ended = Box::pin(verified.until_invalid());
    tokio::select! {
        biased;
        () = &mut ended => panic!("a good token has ended"),
        () = tokio::task::yield_now() => {}
    }
    world.issuer.logout_all("u").await.unwrap();
    tokio::time::timeout(Duration::from_secs(5), ended).await.unwrap();
}

/// The malleable signature of the same token: refused with it.
#[tokio::test]
async fn the_other_es256_signature_of_a_revoked_token_is_revoked_as_well() {
    let pair = aws_lc_rs::signature::EcdsaKeyPair::generate(
        &aws_lc_rs::signature::ECDSA_P256_SHA256_FIXED_SIGNING,
    )
    .unwrap();
    let der = pair.to_pkcs8v1().unwrap();
    let signing = SigningKey::from_pkcs8(Algorithm::Es256, der.as_ref()).unwrap();
    let world = World::signed_by(SigningKeys::new(signing).unwrap(), |builder| builder).await;
    let pair = world.issuer.login(Subject::new("u"), json!({})).await.unwrap();
    let token = pair.access_token().expose();
    let (message, signature) = token.rsplit_once('.').unwrap();
    let mut raw =
        base64::Engine::decode(&base64::engine::general_purpose::URL_SAFE_NO_PAD, signature)
            .unwrap();
    // n − s
    let order: [u8; 32] = [
        0xFF, 0xFF, 0xFF, 0xFF, 0, 0, 0, 0, 0xFF, 0xFF, 0xFF, 0xFF, 0xFF, 0xFF, 0xFF, 0xFF,
        0xBC, 0xE6, 0xFA, 0xAD, 0xA7, 0x17, 0x9E, 0x84, 0xF3, 0xB9, 0xCA, 0xC2, 0xFC, 0x63,
        0x25, 0x51,
    ];
    let mut borrow = 0_i16;
    for at in (0..32).rev() {
        let difference = i16::from(order[at]) - i16::from(raw[32 + at]) - borrow;
        raw[32 + at] = difference.rem_euclid(256) as u8;
        borrow = i16::from(difference < 0);
    }
    let other = format!("{message}.{}", b64(&raw));
    let verifier = world.verifier();
    let verified = verifier.verify(token).unwrap();
    assert!(verifier.verify(&other).is_ok(), "it is a good signature, too");
    world.issuer.revoke_token(&*verified).await.unwrap();
    for token in [token, &other] {
        assert_eq!(verifier.verify(token).map(drop), Err(Refusal::Revoked));
    }
}

/// Everything that both sides accept is accepted, of every algorithm.
#[tokio::test]
async fn jsonwebtoken_and_this_crate_read_each_other() {
    use aws_lc_rs::rsa::KeySize;
    use aws_lc_rs::signature::{ECDSA_P256_SHA256_FIXED_SIGNING, EcdsaKeyPair, Ed25519KeyPair};
    use jsonwebtoken as theirs;
    let rsa = aws_lc_rs::rsa::KeyPair::generate(KeySize::Rsa2048).unwrap();
    let rsa: Vec<u8> = {
        use aws_lc_rs::encoding::{AsDer, Pkcs8V1Der};
        AsDer::<Pkcs8V1Der<'_>>::as_der(&rsa).unwrap().as_ref().to_vec()
    };
    let p256 = EcdsaKeyPair::generate(&ECDSA_P256_SHA256_FIXED_SIGNING).unwrap();
    let p256 = p256.to_pkcs8v1().unwrap().as_ref().to_vec();
    let ed = Ed25519KeyPair::generate().unwrap().to_pkcs8v1().unwrap().as_ref().to_vec();
    let secret = key(4);
    for (ours, alg) in [
        (Algorithm::EdDsa, theirs::Algorithm::EdDSA),
        (Algorithm::Es256, theirs::Algorithm::ES256),
        (Algorithm::Rs256, theirs::Algorithm::RS256),
        (Algorithm::Ps256, theirs::Algorithm::PS256),
        (Algorithm::Hs256, theirs::Algorithm::HS256),
    ] {
        let (signing, encoding) = match ours {
            Algorithm::EdDsa => {
                (SigningKey::from_pkcs8(ours, &ed), theirs::EncodingKey::from_ed_der(&ed))
            }
            Algorithm::Es256 => {
                (SigningKey::from_pkcs8(ours, &p256), theirs::EncodingKey::from_ec_der(&p256))
            }
            Algorithm::Hs256 => {
                (SigningKey::hmac(&secret), theirs::EncodingKey::from_secret(&secret))
            }
            _ => {
                let pkcs1 = pkcs1_of(&rsa);
                (SigningKey::from_pkcs8(ours, &rsa), theirs::EncodingKey::from_rsa_der(&pkcs1))
            }
        };
        let signing = signing.unwrap();
        let verifying = signing.verifying_key().unwrap();
        let decoding = match verifying.to_jwk() {
            Some(jwk) => {
                let jwk: theirs::jwk::Jwk = serde_json::from_str(&jwk).unwrap();
                theirs::DecodingKey::from_jwk(&jwk).unwrap()
            }
            None => theirs::DecodingKey::from_secret(&secret),
        };
        let kid = verifying.kid().to_owned();
        let world = World::signed_by(SigningKeys::new(signing).unwrap(), |b| b).await;

        let pair = world.issuer.login(Subject::new("u"), json!({})).await.unwrap();
        let mut validation = theirs::Validation::new(alg);
        validation.set_audience(&[AUDIENCE]);
        validation.set_issuer(&[ISSUER]);
        validation.validate_exp = false;
        let read = theirs::decode::<serde_json::Value>(
            pair.access_token().expose(),
            &decoding,
            &validation,
        );
        assert_eq!(read.unwrap().claims["sub"], "u", "{ours}");

        let mut header = theirs::Header::new(alg);
        header.typ = Some("at+jwt".into());
        header.kid = Some(kid);
        let claims = json!({
            "iss": ISSUER, "sub": "u2", "aud": AUDIENCE, "exp": support::START + 600,
            "iat": support::START, "jti": "j", "client_id": "web", "sid": "s", "uep": 0,
        });
        let token = theirs::encode(&header, &claims, &encoding).unwrap();
        assert_eq!(world.verifier().verify(&token).unwrap().subject(), "u2", "{ours}");
    }
}

/// The PKCS #1 inside of an RSA key's PKCS #8.
fn pkcs1_of(pkcs8: &[u8]) -> Vec<u8> {
    // SEQUENCE, INTEGER 0, SEQUENCE rsaEncryption, OCTET STRING of two length bytes.
    let at = pkcs8.windows(2).position(|pair| pair == [0x04, 0x82]).unwrap();
    pkcs8[at + 4..].to_vec()
}

/// Answers what it is told, and counts.
#[derive(Clone)]
struct Served {
    body: Arc<std::sync::Mutex<Result<String, FetchError>>>,
    fetches: Arc<AtomicUsize>,
    hangs: bool,
}

impl Served {
    fn new(body: String) -> Self {
        let body = Arc::new(std::sync::Mutex::new(Ok(body)));
        Self { body, fetches: Arc::default(), hangs: false }
    }

    fn set(&self, body: Result<String, FetchError>) {
        *self.body.lock().unwrap() = body;
    }

    fn count(&self) -> usize {
        self.fetches.load(Ordering::SeqCst)
    }
}

impl Fetch for Served {
    async fn get(&self, _: &Uri, _: usize) -> Result<Bytes, FetchError> {
        self.fetches.fetch_add(1, Ordering::SeqCst);
        tokio::task::yield_now().await;
        if self.hangs {
            std::future::pending::<()>().await;
        }
        self.body.lock().unwrap().clone().map(Bytes::from)
    }
}

async fn foreign_token(key: &SigningKey) -> String {
    let header = json!({"alg": "EdDSA", "typ": "JWT", "kid": kid(key)});
    let claims = json!({"iss": "https://other", "sub": "x", "aud": AUDIENCE, "exp": support::START + 60});
    let message = format!("{}.{}", b64(header.to_string()), b64(claims.to_string()));
    format!("{message}.{}", b64(key.sign(message.as_bytes()).await.unwrap()))
}

fn jwks(keys: &[&SigningKey]) -> String {
    KeySet::new(keys.iter().map(|key| key.verifying_key().unwrap())).unwrap().to_jwks()
}

fn following(served: &Served) -> jwt_refresh::TypedVerifier<NoClaims> {
    let remote = RemoteJwks::new("https://other/jwks.json", served.clone()).unwrap();
    let profile = Profile::foreign("https://other", AUDIENCE, remote);
    let clock = jwt_refresh::ManualClock::at(support::START_MS);
    Verifier::builder(profile).without_revocation().clock(clock).build().unwrap().typed()
}

#[tokio::test(start_paused = true)]
async fn a_remote_set_is_fetched_once_and_never_emptied() {
    let [one, two] = [SigningKey::generate().unwrap(), SigningKey::generate().unwrap()];
    let [token, token_2] = [foreign_token(&one).await, foreign_token(&two).await];
    let served = Served::new(jwks(&[&one]));
    let verifier = following(&served);
    assert_eq!(verifier.verify(&token).map(drop), Err(Refusal::UnknownKey));

    // A thousand at once are one fetch.
    let mut tasks = tokio::task::JoinSet::new();
    for _ in 0..1_000 {
        let (verifier, token) = (verifier.clone(), token.clone());
        tasks.spawn(async move { verifier.verify_waiting(&token).await.map(drop) });
    }
    assert!(tasks.join_all().await.iter().all(Result::is_ok));
    assert_eq!(served.count(), 1);

    // Unknown kids ask at most once per cooldown, however many there are.
    for n in 0..1_000 {
        let unknown = SigningKey::generate().unwrap().with_kid(n.to_string());
        let verdict = verifier.verify_waiting(&foreign_token(&unknown).await).await;
        assert_eq!(verdict.map(drop), Err(Refusal::UnknownKey));
    }
    assert_eq!(served.count(), 1, "a flood of unknown kids has fetched");
    tokio::time::advance(Duration::from_secs(11)).await;
    served.set(Ok(jwks(&[&one, &two])));
    assert!(verifier.verify_waiting(&token_2).await.is_ok());
    assert_eq!(served.count(), 2);

    // Whatever goes wrong later, the keys stay.
    for bad in [
        Err(FetchError::Status(302)),
        Err(FetchError::Status(500)),
        Err(FetchError::TooLong),
        Ok(String::new()),
        Ok("{\"keys\":[]}".into()),
        Ok("{\"keys\":[{\"kty\":\"oct\",\"k\":\"AA\"}]}".into()),
        Ok(" ".repeat(300_000)),
    ] {
        tokio::time::advance(Duration::from_secs(301)).await;
        served.set(bad.clone());
        let before = served.count();
        assert!(verifier.verify_waiting(&token).await.is_ok(), "{bad:?}");
        assert_eq!(served.count(), before + 1, "an old set is fetched again");
    }
    // A key that is no longer published is gone, one bad key harms nobody else.
    tokio::time::advance(Duration::from_secs(301)).await;
    served.set(Ok(
        jwks(&[&two]).replace("[{", "[{\"kty\":\"RSA\",\"n\":\"AQAB\",\"e\":\"AQAB\"},{")
    ));
    assert_eq!(verifier.verify_waiting(&token).await.map(drop), Err(Refusal::UnknownKey));
    assert!(verifier.verify_waiting(&token_2).await.is_ok());
}

#[tokio::test(start_paused = true)]
async fn a_remote_set_that_hangs_is_given_up() {
    let key = SigningKey::generate().unwrap();
    let served = Served { hangs: true, ..Served::new(jwks(&[&key])) };
    let verifier = following(&served);
    let token = foreign_token(&key).await;
    let waiting = verifier.verify_waiting(&token);
    let verdict = tokio::time::timeout(Duration::from_secs(11), waiting).await.unwrap();
    assert_eq!(verdict.map(drop), Err(Refusal::UnknownKey));
}

#[test]
fn only_good_urls_are_taken() {
    let served = Served::new(String::new());
    for url in [
        "http://id.example/jwks.json",
        "ftp://id.example/",
        "file:///etc/passwd",
        "",
        "x",
        "https://user:pass@id.example/",
        "//id.example/",
        "http://127.0.0.1.evil.example/",
        "http://localhost.evil.example/",
        "http://2130706433/",
        "http://[::ffff:8.8.8.8]/",
    ] {
        assert!(RemoteJwks::new(url, served.clone()).is_err(), "{url}");
    }
    for url in [
        "https://id.example/jwks.json",
        "http://127.0.0.1:9/",
        "http://[::1]:9/",
        "http://localhost/",
    ] {
        assert!(RemoteJwks::new(url, served.clone()).is_ok(), "{url}");
    }
}

#[tokio::test]
async fn several_issuers_have_their_own_keys() {
    let [one, two] = [SigningKey::generate().unwrap(), SigningKey::generate().unwrap()];
    let set = |key: &SigningKey| KeySet::new([key.verifying_key().unwrap()]).unwrap();
    let verifier = Verifier::builder(Profile::foreign("https://other", AUDIENCE, set(&one)))
        .profile(Profile::foreign("https://third", AUDIENCE, set(&two)))
        .without_revocation()
        .clock(jwt_refresh::ManualClock::at(support::START_MS))
        .build()
        .unwrap()
        .typed::<NoClaims>();
    assert!(verifier.verify(&foreign_token(&one).await).is_ok());
    // The third's key cannot sign for the other.
    let verdict = verifier.verify(&foreign_token(&two).await).map(drop);
    assert_eq!(verdict, Err(Refusal::UnknownKey));
    let renamed = two.with_kid(kid(&one));
    let verdict = verifier.verify(&foreign_token(&renamed).await).map(drop);
    assert_eq!(verdict, Err(Refusal::Signature));
}

/// Two profiles that share a key: what one has learned of a header, the other has
/// not.
#[tokio::test]
async fn a_header_that_is_good_for_one_profile_is_not_for_another() {
    let key = SigningKey::generate().unwrap();
    let set = KeySet::new([key.verifying_key().unwrap()]).unwrap();
    let with_typ = |typ| {
        let profile = Profile::foreign("https://other", AUDIENCE, set.clone()).typ(typ);
        let builder = Verifier::builder(profile).without_revocation();
        let clock = jwt_refresh::ManualClock::at(support::START_MS);
        builder.clock(clock).build().unwrap().typed::<NoClaims>()
    };
    let (one, other) = (with_typ("JWT"), with_typ("logout+jwt"));
    let token = foreign_token(&key).await;
    assert!(one.verify(&token).is_ok() && one.verify(&token).is_ok());
    assert_eq!(other.verify(&token).map(drop), Err(Refusal::Type));
}

/// Whoever asks for the keys does not make verifiers forget.
#[tokio::test]
async fn the_key_set_can_be_asked_for_without_cost() {
    let world = World::new().await;
    let pair = world.issuer.login(Subject::new("u"), json!({})).await.unwrap();
    let verifier = world.verifier();
    let before = verifier.verify(pair.access_token().expose()).unwrap();
    world.issuer.keys().to_jwks();
    let after = verifier.verify(pair.access_token().expose()).unwrap();
    assert!(Arc::ptr_eq(&before, &after));
}

#[test]
fn a_secret_is_in_no_published_set() {
    let keys = SigningKeys::new(SigningKey::hmac(&key(2)).unwrap().with_kid("h")).unwrap();
    assert_eq!(keys.to_jwks(), r#"{"keys":[]}"#);
    assert_eq!(VerifyingKey::hmac(&key(2)).unwrap().to_jwk(), None);
}
