//! What verifying and signing cost beside `jsonwebtoken`, and a refresh beside the
//! bare write. `cargo bench -p benches --bench jwt_refresh`
#![allow(clippy::unwrap_used, reason = "a panic ends a benchmark well enough")]
#![allow(clippy::disallowed_methods, reason = "wall time is what is measured here")]

use std::convert::Infallible;
use std::future::{Ready, ready};
use std::hint::black_box;
use std::pin::pin;
use std::task::{Context, Poll, Waker};
use std::time::{Duration, Instant};

use aws_lc_rs::encoding::{AsDer, Pkcs8V1Der};
use aws_lc_rs::rsa::KeySize;
use aws_lc_rs::signature::{ECDSA_P256_SHA256_FIXED_SIGNING, EcdsaKeyPair, Ed25519KeyPair};
use benches::{
    Comparison, Counting, allocations, answer_count_request, compare_blocks, instructions_over,
};
use http::{Request, Response};
use jsonwebtoken as theirs;
use jwt_refresh::store::{PostgresStore, RedisSettings, RedisStore, Revocation, SessionId};
use jwt_refresh::{
    Algorithm, Issuer, MemoryStore, NoClaims, RefreshKeys, RefreshRequest, Revocations, Signer,
    SigningKey, SigningKeys, Store, Subject, TypedVerifier,
};
use serde::{Deserialize, Serialize};
use tokio::runtime::Runtime;
use tokio::task::JoinSet;
use tower_layer::Layer;
use tower_service::Service;

#[global_allocator]
static ALLOCATOR: Counting = Counting;

const ISSUER: &str = "https://id.example";
const AUDIENCE: &str = "https://api.example";
const ALGORITHMS: [(&str, Algorithm, theirs::Algorithm, f64, usize); 4] = [
    ("HS256", Algorithm::Hs256, theirs::Algorithm::HS256, 1.5, 2_000),
    ("RS256", Algorithm::Rs256, theirs::Algorithm::RS256, 1.2, 500),
    ("ES256", Algorithm::Es256, theirs::Algorithm::ES256, 1.04, 300),
    ("EdDSA", Algorithm::EdDsa, theirs::Algorithm::EdDSA, 1.04, 300),
];

#[derive(Debug, Serialize, Deserialize)]
struct Claims {
    iss: String,
    sub: String,
    aud: String,
    exp: u64,
    iat: u64,
    jti: String,
    client_id: String,
    sid: String,
    uep: u64,
    scope: String,
}

fn main() {
    let runtime = Runtime::new().unwrap();
    let _inside = runtime.enter();
    if answer_count_request(operation) {
        return;
    }

    println!(
        "Verify a token that was not seen before, thread CPU time, medians of 60 pairs:\n"
    );
    head("jsonwebtoken");
    for (name, .., aim, block) in ALGORITHMS {
        line(&format!("{name} cold"), &format!("{name} theirs"), aim, block);
    }
    println!("\nVerify a token that was seen before, beside `jsonwebtoken`:\n");
    for (name, ..) in &ALGORITHMS[1..] {
        line(&format!("{name} seen"), &format!("{name} theirs"), 1.0, 500);
    }
    println!("\nSign (a whole access token), beside `jsonwebtoken::encode`:\n");
    for (name, aim, block) in
        [("HS256", 1.0, 2_000), ("RS256", 2.5, 40), ("ES256", 1.0, 300), ("EdDSA", 1.5, 300)]
    {
        line(&format!("{name} sign"), &format!("{name} encode"), aim, block);
    }

    println!("\nAllocations in 1,000 requests with a token that was seen before:\n");
    for (name, most) in [("EdDSA seen", 0), ("layer none", 0), ("layer", 3_000)] {
        let operation = operation(name);
        (0..100).for_each(&operation);
        let count = allocations(|| (0..1_000).for_each(&operation));
        println!("{name:26} {count:>9}  (aim: at most {most})");
        assert!(count <= most, "{name} allocates");
    }

    memory();
    runtime.block_on(stores());
}

fn head(other: &str) {
    println!(
        "{:14} {:>10} {:>13} {:>8} {:>7} {:>19}",
        "",
        "ours ns",
        format!("{other} ns"),
        "ratio",
        "A/A",
        "instructions"
    );
}

fn line(ours: &str, other: &str, aim: f64, block: usize) {
    let Comparison { subject, baseline, ratio, a_to_a, .. } =
        compare_blocks(block, operation(ours), operation(other));
    let instructions = match (instructions_over(ours, block), instructions_over(other, block)) {
        (Some(ours), Some(other)) => format!("{ours:.0} / {other:.0}"),
        _ => "no valgrind".to_owned(),
    };
    println!(
        "{ours:14} {subject:>10.0} {baseline:>13.0} {:>8.2} {a_to_a:>7.3} {instructions:>19}  (aim: {aim} times as fast)",
        1.0 / ratio
    );
}

/// Fixed keys: an operation runs in processes of its own, too.
fn private(algorithm: Algorithm) -> Vec<u8> {
    match algorithm {
        Algorithm::Es256 => {
            let pair = EcdsaKeyPair::generate(&ECDSA_P256_SHA256_FIXED_SIGNING).unwrap();
            pair.to_pkcs8v1().unwrap().as_ref().to_vec()
        }
        Algorithm::EdDsa => {
            Ed25519KeyPair::generate().unwrap().to_pkcs8v1().unwrap().as_ref().to_vec()
        }
        Algorithm::Hs256 => (0..32_u8).map(|at| at.wrapping_mul(37) ^ 0x5C).collect(),
        _ => {
            let pair = aws_lc_rs::rsa::KeyPair::generate(KeySize::Rsa2048).unwrap();
            AsDer::<Pkcs8V1Der<'_>>::as_der(&pair).unwrap().as_ref().to_vec()
        }
    }
}

/// The PKCS #1 inside of an RSA key's PKCS #8.
fn pkcs1(pkcs8: &[u8]) -> &[u8] {
    let at = pkcs8.windows(2).position(|pair| pair == [0x04, 0x82]).unwrap();
    &pkcs8[at + 4..]
}

struct Keys {
    issuer: Issuer,
    token: String,
    encoding: theirs::EncodingKey,
    decoding: theirs::DecodingKey,
    header: theirs::Header,
    validation: theirs::Validation,
    claims: Claims,
    signing: SigningKey,
}

fn keys(algorithm: Algorithm, theirs: theirs::Algorithm, remember: usize) -> Keys {
    let der = private(algorithm);
    let signing = || match algorithm {
        Algorithm::Hs256 => SigningKey::hmac(&der).unwrap(),
        _ => SigningKey::from_pkcs8(algorithm, &der).unwrap(),
    };
    let encoding = match algorithm {
        Algorithm::EdDsa => theirs::EncodingKey::from_ed_der(&der),
        Algorithm::Es256 => theirs::EncodingKey::from_ec_der(&der),
        Algorithm::Hs256 => theirs::EncodingKey::from_secret(&der),
        _ => theirs::EncodingKey::from_rsa_der(pkcs1(&der)),
    };
    let verifying = signing().verifying_key().unwrap();
    let decoding = match verifying.to_jwk() {
        None => theirs::DecodingKey::from_secret(&der),
        Some(jwk) => {
            theirs::DecodingKey::from_jwk(&serde_json::from_str(&jwk).unwrap()).unwrap()
        }
    };
    let issuer = Issuer::builder(ISSUER, AUDIENCE)
        .keys(SigningKeys::new(signing()).unwrap())
        .refresh_keys(refresh_keys())
        .store(MemoryStore::new())
        .remember(remember)
        .build()
        .unwrap();
    let token = tokio::runtime::Handle::current().block_on(async {
        issuer.verifier().ready().await;
        let pair = issuer.login(Subject::new("user-17").scope("orders:read"), None::<()>).await;
        pair.unwrap().access_token().expose().to_owned()
    });
    let mut validation = theirs::Validation::new(theirs);
    validation.set_audience(&[AUDIENCE]);
    validation.set_issuer(&[ISSUER]);
    let claims: Claims = theirs::decode(&token, &decoding, &validation).unwrap().claims;
    let mut header = theirs::Header::new(theirs);
    header.typ = Some("at+jwt".into());
    header.kid = Some(verifying.kid().to_owned());
    Keys { issuer, token, encoding, decoding, header, validation, claims, signing: signing() }
}

fn refresh_keys() -> RefreshKeys {
    RefreshKeys::new(std::array::from_fn(|at| (at as u8).wrapping_mul(29) ^ 0x33)).unwrap()
}

/// One operation of that name; valgrind starts this program for each.
fn operation(name: &str) -> Box<dyn Fn(usize)> {
    if name.starts_with("layer") {
        return through_layer(name == "layer none");
    }
    let (algorithm, what) = name.split_once(' ').unwrap();
    let (_, ours, other, ..) =
        ALGORITHMS.into_iter().find(|(name, ..)| *name == algorithm).unwrap();
    let remember = if what == "seen" { 1_000 } else { 0 };
    let keys = keys(ours, other, remember);
    let verifier: TypedVerifier<NoClaims> = keys.issuer.verifier().typed();
    assert!(verifier.verify(&keys.token).is_ok());
    match what {
        "cold" | "seen" => {
            Box::new(move |_| drop(black_box(verifier.verify(black_box(&keys.token)).unwrap())))
        }
        "theirs" => Box::new(move |_| {
            let token = black_box(&keys.token);
            let read = theirs::decode::<Claims>(token, &keys.decoding, &keys.validation);
            drop(black_box(read.unwrap()));
        }),
        "encode" => Box::new(move |_| {
            let token = theirs::encode(&keys.header, &keys.claims, &keys.encoding);
            drop(black_box(token.unwrap()));
        }),
        // The same work: claims to JSON, both encoded, signed, put together.
        "sign" => Box::new(move |_| {
            let header = serde_json::to_vec(&keys.header).unwrap();
            let claims = serde_json::to_vec(&keys.claims).unwrap();
            let mut token = base64(&header);
            token.push('.');
            token.push_str(&base64(&claims));
            let signature = now(keys.signing.sign(token.as_bytes())).unwrap();
            token.push('.');
            token.push_str(&base64(&signature));
            drop(black_box(token));
        }),
        _ => unreachable!("there is no operation {name}"),
    }
}

fn base64(bytes: &[u8]) -> String {
    base64::Engine::encode(&base64::engine::general_purpose::URL_SAFE_NO_PAD, bytes)
}

/// The layer around a service that is ready at once; `none` is a request without it.
fn through_layer(none: bool) -> Box<dyn Fn(usize)> {
    #[derive(Clone)]
    struct Inner;
    impl Service<Request<()>> for Inner {
        type Response = Response<()>;
        type Error = Infallible;
        type Future = Ready<Result<Response<()>, Infallible>>;
        fn poll_ready(&mut self, _: &mut Context<'_>) -> Poll<Result<(), Infallible>> {
            Poll::Ready(Ok(()))
        }
        fn call(&mut self, request: Request<()>) -> Self::Future {
            black_box(&request);
            ready(Ok(Response::new(())))
        }
    }
    let keys = keys(Algorithm::EdDsa, theirs::Algorithm::EdDSA, 1_000);
    let layered = keys.issuer.verifier().bearer::<NoClaims>().layer(Inner);
    let bearer: http::HeaderValue = format!("Bearer {}", keys.token).parse().unwrap();
    // Requests are made beforehand: their making is not the layer's.
    let requests = std::cell::RefCell::new(
        (0..1_200)
            .map(|_| {
                let mut request = Request::new(());
                request.headers_mut().insert(http::header::AUTHORIZATION, bearer.clone());
                request
            })
            .collect::<Vec<_>>(),
    );
    let service = std::cell::RefCell::new((layered, Inner));
    Box::new(move |_| {
        let request = requests.borrow_mut().pop().expect("there are enough requests");
        let (layered, inner) = &mut *service.borrow_mut();
        let status = if none {
            now(inner.call(request)).unwrap().status()
        } else {
            now(layered.call(request)).unwrap().status()
        };
        assert_eq!(status, 200);
    })
}

/// The result of a future that is ready at once.
fn now<F: Future>(future: F) -> F::Output {
    match pin!(future).poll(&mut Context::from_waker(Waker::noop())) {
        Poll::Ready(output) => output,
        Poll::Pending => unreachable!("it waits for nothing"),
    }
}

fn memory() {
    const ENTRIES: usize = 100_000;
    let revocations = Revocations::detached();
    let before = resident();
    for _ in 0..ENTRIES {
        let mut id = [0; 16];
        aws_lc_rs::rand::fill(&mut id).unwrap();
        let session = SessionId::from_bytes(id);
        revocations.insert(&Revocation::Session { session, until_ms: 2_000_000_000_000 });
    }
    let each = (resident() - before) as f64 / ENTRIES as f64;
    println!("\nA revocation in memory, of {ENTRIES}: {each:.0} bytes  (aim: at most 80)");
    drop(revocations);
}

/// Resident bytes of this process.
fn resident() -> usize {
    let text = std::fs::read_to_string("/proc/self/statm").unwrap();
    let pages: usize = text.split(' ').nth(1).unwrap().parse().unwrap();
    pages * 4_096
}

async fn stores() {
    let redis = testbed::redis::Redis::start().await.unwrap();
    let store = RedisStore::connect(&redis.url(), RedisSettings::default()).await.unwrap();
    let issuer = issuer(store).await;
    let rate = rotations(&issuer, 10_000, 64).await;
    println!("\nRefreshes on Redis, one connection, new sessions: {rate:.0}/s  (aim: 5000)");

    let postgres = testbed::postgres::Postgres::start().await.unwrap();
    let store =
        PostgresStore::connect(&postgres.url(), tokio_postgres::NoTls, 1).await.unwrap();
    let client = postgres.client().await.unwrap();
    client
        .batch_execute(
            "CREATE TABLE bare (id bytea PRIMARY KEY, n bigint NOT NULL) WITH (fillfactor = 70);
             INSERT INTO bare SELECT sha256(n::text::bytea), 0 FROM generate_series(1, 2000) n",
        )
        .await
        .unwrap();
    let update = "UPDATE bare SET n = n + 1 WHERE id = sha256($1::text::bytea) RETURNING n";
    let update = client.prepare(update).await.unwrap();
    let users: Vec<_> = (0..2_000_u32).collect();
    let mut sessions = jwt_refresh::conformance::Rotations::prepare(store, users.len()).await;
    let (mut ours, mut bare) = (Vec::new(), Vec::new());
    for at in users {
        let began = Instant::now();
        sessions.rotate_next().await;
        ours.push(began.elapsed());
        let began = Instant::now();
        client.query_one(&update, &[&(at + 1).to_string()]).await.unwrap();
        bare.push(began.elapsed());
    }
    let [ours, bare] = [median(ours), median(bare)];
    println!(
        "A rotation on PostgreSQL: {ours:.1?}, a bare UPDATE … RETURNING {bare:.1?}: {:.2} times  (aim: 2.5)",
        ours.as_secs_f64() / bare.as_secs_f64()
    );
}

async fn issuer(store: impl Store) -> Issuer {
    let issuer = Issuer::builder(ISSUER, AUDIENCE)
        .keys(SigningKeys::new(SigningKey::generate().unwrap()).unwrap())
        .refresh_keys(refresh_keys())
        .store(store)
        .build()
        .unwrap();
    issuer.verifier().ready().await;
    issuer
}

/// Whole refreshes, so with a look at the session and a signature.
async fn rotations(issuer: &Issuer, count: usize, at_once: usize) -> f64 {
    let mut tokens = Vec::new();
    for at in 0..count {
        let pair =
            issuer.login(Subject::new(format!("u{}", at % 500)), None::<()>).await.unwrap();
        tokens.push(pair.refresh_token().expose().to_owned());
    }
    let began = Instant::now();
    let mut tasks = JoinSet::new();
    for part in tokens.chunks(count.div_ceil(at_once)) {
        let (part, issuer) = (part.to_vec(), issuer.clone());
        tasks.spawn(async move {
            for token in part {
                issuer.refresh(RefreshRequest::new(&token)).await.unwrap();
            }
        });
    }
    tasks.join_all().await;
    count as f64 / began.elapsed().as_secs_f64()
}

fn median(mut times: Vec<Duration>) -> Duration {
    times.sort();
    times[times.len() / 2]
}
