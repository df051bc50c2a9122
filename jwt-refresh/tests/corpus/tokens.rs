//! Tokens of the classes that are known to have got through somewhere.

use std::collections::HashSet;
use std::time::Instant;

use aws_lc_rs::hmac;
use jwt_refresh::{NoClaims, Refusal, Signer, SigningKey, SigningKeys, TypedVerifier};
use serde_json::{Value, json};

use crate::support::{AUDIENCE, ISSUER, START, World, b64};

/// A verifier, and what is needed to make tokens that it should refuse.
pub(crate) struct Target {
    pub(crate) world: World,
    pub(crate) verifier: TypedVerifier<NoClaims>,
    pub(crate) key: SigningKey,
    pub(crate) kid: String,
}

impl Target {
    pub(crate) async fn new() -> Self {
        let pkcs8 = ed25519_pkcs8();
        let signing = || SigningKey::from_pkcs8(jwt_refresh::Algorithm::EdDsa, &pkcs8).unwrap();
        let world =
            World::signed_by(SigningKeys::new(signing()).unwrap(), |builder| builder).await;
        let key = signing();
        let kid = key.verifying_key().unwrap().kid().to_owned();
        Self { verifier: world.verifier(), world, key, kid }
    }

    pub(crate) fn header(&self) -> Value {
        json!({"alg": "EdDSA", "typ": "at+jwt", "kid": self.kid})
    }

    pub(crate) async fn sign(&self, message: &str) -> String {
        b64(self.key.sign(message.as_bytes()).await.unwrap())
    }

    /// A token with a good signature over whatever these are.
    pub(crate) async fn token(&self, header: &str, payload: impl AsRef<[u8]>) -> String {
        let message = format!("{}.{}", b64(header), b64(payload));
        let signature = self.sign(&message).await;
        format!("{message}.{signature}")
    }
}

pub(crate) fn ed25519_pkcs8() -> Vec<u8> {
    let mut der = vec![
        0x30, 0x2e, 0x02, 0x01, 0x00, 0x30, 0x05, 0x06, 0x03, 0x2b, 0x65, 0x70, 0x04, 0x22,
        0x04, 0x20,
    ];
    der.extend(crate::support::key(9));
    der
}

pub(crate) fn claims() -> Value {
    json!({
        "iss": ISSUER, "sub": "u1", "aud": AUDIENCE, "exp": START + 600, "iat": START,
        "jti": "AAAAAAAAAAAAAAAAAAAAAA", "client_id": "web", "sid": "BBBBBBBBBBBBBBBBBBBBBA",
        "uep": 0,
    })
}

fn with(mut value: Value, name: &str, to: Value) -> Value {
    value[name] = to;
    value
}

fn without(mut value: Value, name: &str) -> Value {
    value.as_object_mut().unwrap().remove(name);
    value
}

/// The JSON text with `extra` members in front.
fn prefixed(value: &Value, extra: &str) -> String {
    value.to_string().replacen('{', &format!("{{{extra},"), 1)
}

#[tokio::test]
async fn the_good_token_is_good() {
    let target = Target::new().await;
    let token = target.token(&target.header().to_string(), claims().to_string()).await;
    let verified = target.verifier.verify(&token).unwrap();
    assert_eq!(verified.subject(), "u1");
    for typ in ["AT+JWT", "application/at+jwt", "Application/At+Jwt"] {
        let header = with(target.header(), "typ", typ.into()).to_string();
        let token = target.token(&header, claims().to_string()).await;
        assert!(target.verifier.verify(&token).is_ok(), "{typ}");
    }
    for (name, value) in [
        ("aud", json!([AUDIENCE])),
        ("aud", json!(["other", AUDIENCE])),
        ("nbf", json!(START)),
        ("own", json!({"nested": [1, -2.5e3, null, {"deep": true}]})),
    ] {
        let claims = with(claims(), name, value).to_string();
        let token = target.token(&target.header().to_string(), claims).await;
        assert!(target.verifier.verify(&token).is_ok(), "{name}");
    }
    let header = with(target.header(), "alg", "Ed25519".into()).to_string();
    let token = target.token(&header, claims().to_string()).await;
    assert!(target.verifier.verify(&token).is_ok(), "RFC 9864's name");
}

#[tokio::test]
#[allow(clippy::too_many_lines, reason = "a corpus is a list")]
async fn every_hostile_token_is_refused_for_its_own_reason() {
    use Refusal as R;
    let target = Target::new().await;
    let header = target.header();
    let good_header = header.to_string();
    let good_claims = claims().to_string();
    let good = target.token(&good_header, &good_claims).await;
    let [h, p, s]: [&str; 3] = good.split('.').collect::<Vec<_>>().try_into().unwrap();
    let mut corpus: Vec<(String, String, R)> = Vec::new();
    let mut add = |what: &str, token: String, reason: R| {
        corpus.push((what.to_owned(), token, reason));
    };

    // the algorithm
    for alg in [
        "none", "None", "NONE", "nOnE", "nonE", "", "HS512", "ES256K", "RS1", "eddsa",
        "EdDSA ", "ES384",
    ] {
        let head = b64(with(header.clone(), "alg", alg.into()).to_string());
        add(&format!("alg {alg:?}"), format!("{head}.{p}.{s}"), R::Algorithm);
    }
    let none = b64(with(header.clone(), "alg", "none".into()).to_string());
    add("none without a signature", format!("{none}.{p}."), R::Segments);
    add("none with a dot too few", format!("{none}.{p}"), R::Segments);
    for alg in ["HS256", "RS256", "PS256", "ES256"] {
        let head = with(header.clone(), "alg", alg.into()).to_string();
        let token = target.token(&head, &good_claims).await;
        add(&format!("signed by the key, called {alg}"), token, R::AlgorithmMismatch);
    }
    // the public key as an HMAC secret
    let jwk = target.key.verifying_key().unwrap().to_jwk().unwrap();
    let x: Value = serde_json::from_str(&jwk).unwrap();
    let x = x["x"].as_str().unwrap();
    for secret in [jwk.as_bytes(), x.as_bytes(), b"secret".as_slice(), b"".as_slice()] {
        let head = b64(with(header.clone(), "alg", "HS256".into()).to_string());
        let key = hmac::Key::new(hmac::HMAC_SHA256, secret);
        let message = format!("{head}.{p}");
        let tag = b64(hmac::sign(&key, message.as_bytes()).as_ref());
        add("an HMAC by the public key", format!("{message}.{tag}"), R::AlgorithmMismatch);
    }
    let head = b64(without(header.clone(), "alg").to_string());
    add("no alg", format!("{head}.{p}.{s}"), R::MissingAlgorithm);
    for alg in [json!(null), json!(1), json!(["EdDSA"]), json!({"alg": "EdDSA"}), json!(true)] {
        let head = b64(with(header.clone(), "alg", alg).to_string());
        add("alg of another type", format!("{head}.{p}.{s}"), R::HeaderType("alg"));
    }

    // keys from the token, extensions, compression
    let evil = SigningKey::generate().unwrap();
    let evil_jwk: Value =
        serde_json::from_str(&evil.verifying_key().unwrap().to_jwk().unwrap()).unwrap();
    for (name, value) in [
        ("jwk", evil_jwk),
        ("jku", json!("https://evil.example/jwks.json")),
        ("x5u", json!("https://evil.example/cert.pem")),
        ("x5c", json!(["MIIB"])),
        ("crit", json!(["exp"])),
        ("crit", json!([])),
        ("crit", json!(["b64"])),
        ("crit", json!("exp")),
        ("crit", json!(null)),
        ("b64", json!(false)),
        ("b64", json!(true)),
        ("zip", json!("DEF")),
    ] {
        let head = with(header.clone(), name, value).to_string();
        let message = format!("{}.{p}", b64(&head));
        let signature = b64(evil.sign(message.as_bytes()).await.unwrap());
        add(
            &format!("{name}, signed by its own"),
            format!("{message}.{signature}"),
            R::HeaderParameter(name),
        );
        let token = target.token(&head, &good_claims).await;
        add(&format!("{name}, signed well"), token, R::HeaderParameter(name));
    }

    // the key id
    for kid in [
        "../../../../dev/null",
        "/etc/passwd",
        "x' OR '1'='1",
        "'; DROP TABLE keys; --",
        "http://evil.example/",
        "x\" }",
        "%00",
        "a",
        "*",
        "${jndi:ldap://evil}",
        "KID",
    ] {
        let head = b64(with(header.clone(), "kid", kid.into()).to_string());
        add(&format!("kid {kid:?}"), format!("{head}.{p}.{s}"), R::UnknownKey);
    }
    for kid in [String::new(), "k".repeat(129), "a\nb".into(), "a\0b".into(), "\u{7f}".into()] {
        let head = b64(with(header.clone(), "kid", kid.into()).to_string());
        add("a bad kid", format!("{head}.{p}.{s}"), R::KeyId);
    }
    for kid in [json!(1), json!(null), json!(["a"]), json!({})] {
        let head = b64(with(header.clone(), "kid", kid).to_string());
        add("kid of another type", format!("{head}.{p}.{s}"), R::HeaderType("kid"));
    }

    // the type
    for typ in [
        "JWT",
        "jwt",
        "at+jwt ",
        "at-jwt",
        "application/jwt",
        "",
        "logout+jwt",
        "dpop+jwt",
        "application/application/at+jwt",
    ] {
        let token = target
            .token(&with(header.clone(), "typ", typ.into()).to_string(), &good_claims)
            .await;
        add(&format!("typ {typ:?}"), token, R::Type);
    }
    let token = target.token(&without(header.clone(), "typ").to_string(), &good_claims).await;
    add("no typ", token, R::Type);
    let token =
        target.token(&with(header.clone(), "typ", json!(null)).to_string(), &good_claims).await;
    add("typ null", token, R::HeaderType("typ"));

    // missing claims
    for name in ["iss", "sub", "aud", "exp", "iat", "jti", "client_id", "sid", "uep"] {
        let token = target.token(&good_header, without(claims(), name).to_string()).await;
        add(
            &format!("no {name}"),
            token,
            R::MissingClaim(match name {
                "iss" => "iss",
                "sub" => "sub",
                "aud" => "aud",
                "exp" => "exp",
                "iat" => "iat",
                "jti" => "jti",
                "client_id" => "client_id",
                "sid" => "sid",
                _ => "uep",
            }),
        );
    }

    // wrongly typed claims
    let exp = START + 600;
    for (name, value) in [
        ("exp", json!(exp.to_string())),
        ("exp", json!(exp as f64 + 0.5)),
        ("exp", json!(null)),
        ("exp", json!(true)),
        ("exp", json!([exp])),
        ("exp", json!({"$date": exp})),
        ("exp", json!(-1)),
        ("exp", json!(u64::MAX)),
        ("exp", json!(1_u64 << 53)),
        ("exp", json!("Infinity")),
        ("exp", json!("")),
        ("nbf", json!("0")),
        ("nbf", json!(0.5)),
        ("nbf", json!(-5)),
        ("nbf", json!(null)),
        ("iat", json!("0")),
        ("iat", json!(1.5)),
        ("iat", json!(false)),
        ("iat", json!(-1)),
        ("iss", json!([ISSUER])),
        ("iss", json!(null)),
        ("iss", json!(1)),
        ("sub", json!(1)),
        ("sub", json!(["u1"])),
        ("sub", json!(null)),
        ("aud", json!(null)),
        ("aud", json!(1)),
        ("aud", json!([[AUDIENCE]])),
        ("aud", json!([AUDIENCE, 1])),
        ("aud", json!({"0": AUDIENCE})),
        ("jti", json!(1)),
        ("client_id", json!(["web"])),
        ("sid", json!(7)),
        ("uep", json!("0")),
        ("uep", json!(-1)),
        ("scope", json!(1)),
        ("roles", json!({"admin": true})),
        ("cnf", json!({"jkt": "x"})),
    ] {
        let token =
            target.token(&good_header, with(claims(), name, value.clone()).to_string()).await;
        add(&format!("{name}: {value}"), token, R::ClaimType(name));
    }
    for number in [
        "1e10",
        "1.8e9",
        "18000006000e-1",
        "1800000600.0",
        "18446744073709551616",
        "99999999999999999999999999",
    ] {
        let text = good_claims.replace(&exp.to_string(), number);
        assert_ne!(text, good_claims);
        add(
            &format!("exp {number}"),
            target.token(&good_header, text).await,
            R::ClaimType("exp"),
        );
    }
    for number in [
        "01800000600",
        "+1800000600",
        "0x6b49d458",
        "1_800_000_600",
        "NaN",
        "Infinity",
        "1800000600.",
    ] {
        let text = good_claims.replace(&exp.to_string(), number);
        add(
            &format!("exp {number}"),
            target.token(&good_header, text).await,
            match number {
                // A number, and then something that is no comma.
                "0x6b49d458" | "1_800_000_600" => R::PayloadJson,
                _ => R::ClaimType("exp"),
            },
        );
    }

    // who and when
    for (name, value, reason) in [
        ("iss", json!("https://id.example/"), R::Issuer),
        ("iss", json!("https://ID.example"), R::Issuer),
        ("iss", json!("http://id.example"), R::Issuer),
        ("iss", json!(""), R::Issuer),
        ("iss", json!("https://id.example.evil.example"), R::Issuer),
        ("aud", json!("https://other.example"), R::Audience),
        ("aud", json!([]), R::Audience),
        ("aud", json!(""), R::Audience),
        ("aud", json!("https://api.example/"), R::Audience),
        ("aud", json!(["https://api.example "]), R::Audience),
        ("exp", json!(START - 45), R::Expired),
        ("exp", json!(0), R::Expired),
        ("exp", json!(START + 3_601), R::Lifetime),
        ("exp", json!((1_u64 << 53) - 1), R::Lifetime),
        ("iat", json!(START + 46), R::IssuedInFuture),
        ("iat", json!(0), R::Lifetime),
        ("nbf", json!(START + 46), R::NotYetValid),
        ("nbf", json!((1_u64 << 53) - 1), R::NotYetValid),
    ] {
        let token =
            target.token(&good_header, with(claims(), name, value.clone()).to_string()).await;
        add(&format!("{name}: {value}"), token, reason);
    }
    let swapped = with(with(claims(), "exp", json!(START + 5)), "iat", json!(START + 10));
    add("exp before iat", target.token(&good_header, swapped.to_string()).await, R::Lifetime);

    // duplicates
    for extra in [
        r#""sub":"admin""#,
        r#""exp":9999999999"#,
        r#""aud":"x""#,
        r#""iss":"x""#,
        r#""\u0073ub":"admin""#,
        r#""s\u0075b":"admin""#,
        r#""e\u0078p":1"#,
        r#""x":1,"x":2"#,
        r#""x":{"a":1,"a":2}"#,
        r#""x":[{"a":1,"\u0061":2}]"#,
        r#""roles":[],"roles":["admin"]"#,
        r#""scope":"a","scope":"b""#,
    ] {
        let token = target.token(&good_header, prefixed(&claims(), extra)).await;
        // What comes first may be of the wrong type: it is still no good token.
        add(&format!("payload {extra}"), token, R::Duplicate);
    }
    for extra in [
        r#""alg":"EdDSA""#,
        r#""\u0061lg":"EdDSA""#,
        r#""kid":"x""#,
        r#""t\u0079p":"at+jwt""#,
        r#""x":{"a":1,"a":1}"#,
    ] {
        let token = target.token(&prefixed(&header, extra), &good_claims).await;
        add(&format!("header {extra}"), token, R::Duplicate);
    }

    // base64
    let swap_last = |text: &str, to: char| format!("{}{to}", &text[..text.len() - 1]);
    // 64 bytes leave four bits of the last character unused.
    let next = |text: &str| {
        let table = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_";
        let last = text.chars().last().unwrap();
        let at = table.find(last).unwrap();
        swap_last(text, table.chars().nth(at + 1).unwrap())
    };
    add("trailing bits in the signature", format!("{h}.{p}.{}", next(s)), R::Encoding);
    for (what, token) in [
        ("padding", format!("{h}.{p}.{s}==")),
        ("one = of padding", format!("{h}.{p}.{s}=")),
        ("padding in the header", format!("{h}=.{p}.{s}")),
        ("a line break in the signature", format!("{h}.{p}.{s}\n")),
        ("a space in the signature", format!("{h}.{p}. {s}")),
        (
            "the other alphabet",
            format!("{h}.{p}.{}", s.replacen(|c: char| c.is_ascii_alphanumeric(), "+", 1)),
        ),
        ("a slash", format!("{h}.{p}./{}", &s[1..])),
        ("a percent escape", format!("{h}.{p}.{}%3D", &s[..s.len() - 3])),
        ("not ASCII", format!("{h}.{p}.é{}", &s[2..])),
        ("a null", format!("{h}.{p}.\0{}", &s[1..])),
        ("a header of one character", format!("e.{p}.{s}")),
        ("a BOM in front", format!("\u{feff}{h}.{p}.{s}")),
        ("a space in front", format!(" {h}.{p}.{s}")),
        ("a tab behind", format!("{h}.{p}.{s}\t")),
    ] {
        add(what, token, R::Encoding);
    }

    // segments
    for (what, token) in [
        ("nothing", String::new()),
        ("dots", "..".into()),
        ("four dots", "....".into()),
        ("a word", "token".into()),
        ("no signature", format!("{h}.{p}")),
        ("an empty signature", format!("{h}.{p}.")),
        ("an empty payload", format!("{h}..{s}")),
        ("an empty header", format!(".{p}.{s}")),
        ("five segments, as JWE has", format!("{h}.{p}.{s}.{s}.{s}")),
        ("a dot at the end", format!("{h}.{p}.{s}.")),
        ("two tokens", format!("{good}.{good}")),
    ] {
        add(what, token, R::Segments);
    }
    add("a refresh token", format!("jr1_{}", "A".repeat(99)), R::RefreshToken);

    // JSON
    for (what, text) in [
        ("a BOM", format!("\u{feff}{good_claims}")),
        ("two objects", format!("{good_claims}{good_claims}")),
        ("trailing bytes", format!("{good_claims}x")),
        ("a trailing null", format!("{good_claims}\0")),
        ("an array", "[]".into()),
        ("null", "null".into()),
        ("a string", "\"{}\"".into()),
        ("a comment", format!("/**/{good_claims}")),
        ("a trailing comma", good_claims.replace('}', ",}")),
        ("single quotes", good_claims.replace('"', "'")),
        ("nothing at all", " ".into()),
        ("an open object", good_claims[..good_claims.len() - 1].to_owned()),
    ] {
        add(
            &format!("payload: {what}"),
            target.token(&good_header, &text).await,
            R::PayloadJson,
        );
    }
    let mut bytes = good_claims.clone().into_bytes();
    bytes.insert(bytes.len() - 1, 0xFF);
    add("payload: not UTF-8", target.token(&good_header, bytes).await, R::PayloadJson);
    for (what, text) in [
        ("an array", "[]".to_owned()),
        ("null", "null".into()),
        ("a BOM", format!("\u{feff}{good_header}")),
        ("two objects", format!("{good_header}{{}}")),
        ("nothing", "{".into()),
    ] {
        add(&format!("header: {what}"), target.token(&text, &good_claims).await, R::HeaderJson);
    }
    for depth in [16, 200, 2_000] {
        let extra = format!(r#""x":{}{}"#, "[".repeat(depth), "]".repeat(depth));
        add(
            "deep arrays",
            target.token(&good_header, prefixed(&claims(), &extra)).await,
            R::TooDeep,
        );
    }
    let extra = format!(r#""x":{}1{}"#, r#"{"a":"#.repeat(300), "}".repeat(300));
    add(
        "deep objects",
        target.token(&good_header, prefixed(&claims(), &extra)).await,
        R::TooDeep,
    );

    // sizes
    add("a token of 8 KiB and one", "a".repeat(8_193), R::TooLong);
    add("a megabyte", format!("{h}.{}.{s}", "A".repeat(1 << 20)), R::TooLong);
    add("a megabyte of dots", ".".repeat(1 << 20), R::TooLong);
    let extra = format!(r#""x":"{}""#, "a".repeat(1_100));
    add(
        "a long header",
        target.token(&prefixed(&header, &extra), &good_claims).await,
        R::HeaderTooLong,
    );

    // signatures
    let zeros = b64([0; 64]);
    let raw =
        base64::Engine::decode(&base64::engine::general_purpose::URL_SAFE_NO_PAD, s).unwrap();
    add("psychic: all zeros", format!("{h}.{p}.{zeros}"), R::Signature);
    add("all ones", format!("{h}.{p}.{}", b64([0xFF; 64])), R::Signature);
    add(
        "malleable: S plus the order",
        format!("{h}.{p}.{}", b64(plus_order(&raw))),
        R::Signature,
    );
    for (what, bytes) in [
        ("a byte short", raw[..63].to_vec()),
        ("a byte long", [&raw[..], &[0]].concat()),
        ("half", raw[..32].to_vec()),
        ("one byte", vec![0]),
        ("doubled", [&raw[..], &raw[..]].concat()),
        ("too long for any key", vec![1; 1_025]),
    ] {
        add(what, format!("{h}.{p}.{}", b64(bytes)), R::Signature);
    }
    for bit in [0, 7, 255, 256, 500, 511] {
        let mut bytes = raw.clone();
        bytes[bit / 8] ^= 1 << (bit % 8);
        add(
            &format!("bit {bit} of the signature"),
            format!("{h}.{p}.{}", b64(bytes)),
            R::Signature,
        );
    }
    let other =
        target.token(&good_header, with(claims(), "sub", "admin".into()).to_string()).await;
    let other_payload = other.split('.').nth(1).unwrap();
    add("another payload", format!("{h}.{other_payload}.{s}"), R::Signature);
    let spaced = b64(good_header.replace(':', ": "));
    add("another header", format!("{spaced}.{p}.{s}"), R::Signature);
    let message = format!("{h}.{p}");
    let signature = b64(evil.sign(message.as_bytes()).await.unwrap());
    add("another key", format!("{message}.{signature}"), R::Signature);

    assert!(corpus.len() >= 250, "{}", corpus.len());
    let distinct: HashSet<_> = corpus.iter().map(|(_, token, _)| token).collect();
    assert!(distinct.len() >= 240, "{}", distinct.len());
    let mut wrong = Vec::new();
    let began = Instant::now();
    for (what, token, reason) in &corpus {
        let verdict = target.verifier.verify(token).map(drop);
        if verdict != Err(*reason) {
            wrong.push(format!("{what}: {verdict:?}, not {reason:?}"));
        }
    }
    let each = began.elapsed() / corpus.len() as u32;
    assert!(wrong.is_empty(), "{} of {}:\n{}", wrong.len(), corpus.len(), wrong.join("\n"));
    assert!(each.as_millis() < 20, "{each:?} for each");
    assert!(target.verifier.verify(&good).is_ok());
    let reasons: HashSet<_> = corpus.iter().map(|(_, _, reason)| reason.name()).collect();
    println!("{} tokens, {} reasons", corpus.len(), reasons.len());
    drop(target.world);
}

/// S + L of an Ed25519 signature: the same signature, if S is not checked.
fn plus_order(signature: &[u8]) -> Vec<u8> {
    const ORDER: [u8; 32] = [
        0xed, 0xd3, 0xf5, 0x5c, 0x1a, 0x63, 0x12, 0x58, 0xd6, 0x9c, 0xf7, 0xa2, 0xde, 0xf9,
        0xde, 0x14, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0x10,
    ];
    let mut changed = signature.to_vec();
    let mut carry = 0_u16;
    for (byte, order) in changed[32..].iter_mut().zip(ORDER) {
        let sum = u16::from(*byte) + u16::from(order) + carry;
        *byte = sum as u8;
        carry = sum >> 8;
    }
    changed
}
