//! Many users at once, with requests of every kind: nobody gets what is another's, a part is a
//! part of what it says, and nothing is older than what was purged before.
#![cfg(feature = "http")]
#![allow(clippy::unwrap_used, reason = "a panic is how a test fails")]

use std::convert::Infallible;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};

use bytes::Bytes;
use cache_aside::http::{Body, HttpCacheLayer};
use fastrand::Rng;
use http::header::{AUTHORIZATION, CACHE_CONTROL, ETAG, IF_NONE_MATCH, IF_RANGE, RANGE};
use http::{HeaderMap, HeaderValue, Request, Response, StatusCode};
use http_body_util::{BodyExt, Empty, Full};
use tower::util::BoxCloneSyncService;
use tower::{Layer, ServiceExt, service_fn};

const USERS: u64 = 12;
const REQUESTS: usize = 600;
const SEED: u64 = 9_111;

type Get = Request<Empty<Bytes>>;
type Server = BoxCloneSyncService<Get, Response<Body<Full<Bytes>>>, Infallible>;

/// What the origin says of each page.
const PAGES: [(&str, &str); 7] = [
    ("/public", "public, max-age=60"),
    ("/fresh", "max-age=60"),
    ("/private", "private, max-age=60"),
    ("/mine", "max-age=0, no-store"),
    ("/checked", "no-cache"),
    ("/stale", "max-age=0, stale-while-revalidate=60"),
    ("/varied", "public, max-age=60"),
];

/// Of whom a response is, which version of what, in its tag and again and again in its content.
fn tag(headers: &HeaderMap, path: &str, version: u64) -> String {
    let of = |name: &str| headers.get(name).map_or("", |value| value.to_str().unwrap());
    let user = of("x-user");
    let login = of("authorization");
    let variant = if path == "/varied" { of("x-variant") } else { "" };
    format!("{path};{version};{user};{login};{variant}")
}

fn content(tag: &str) -> Bytes {
    tag.as_bytes().iter().copied().cycle().take(997).collect()
}

fn origin(
    versions: &'static [AtomicU64; PAGES.len()],
) -> impl Fn(Get) -> Response<Full<Bytes>> + Clone {
    move |request| {
        let page = PAGES.iter().position(|(path, _)| *path == request.uri().path()).unwrap();
        if request.method() == "POST" {
            versions[page].fetch_add(1, Ordering::SeqCst);
        }
        let (path, says) = PAGES[page];
        let tag = tag(request.headers(), path, versions[page].load(Ordering::SeqCst));
        let quoted = HeaderValue::try_from(format!("\"{tag}\"")).unwrap();
        let response = Response::builder()
            .header(CACHE_CONTROL, says)
            .header("vary", if path == "/varied" { "x-variant" } else { "" })
            .header(ETAG, &quoted);
        let asked = request.headers().get(IF_NONE_MATCH);
        if asked == Some(&quoted) && request.method() != "POST" {
            return response.status(StatusCode::NOT_MODIFIED).body(Full::default()).unwrap();
        }
        let content = if request.method() == "HEAD" { Bytes::new() } else { content(&tag) };
        response.body(content.into()).unwrap()
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn nobody_gets_what_is_anothers() {
    static VERSIONS: [AtomicU64; PAGES.len()] = [const { AtomicU64::new(0) }; PAGES.len()];
    static PURGED: [AtomicU64; PAGES.len()] = [const { AtomicU64::new(0) }; PAGES.len()];
    println!("seed {SEED}");
    let layer = HttpCacheLayer::builder(1 << 20).variants(3).build().unwrap();
    let answers = origin(&VERSIONS);
    let service: Server =
        BoxCloneSyncService::new(layer.layer(service_fn(move |request: Get| {
            let answers = answers.clone();
            async move {
                for _ in 0..fastrand::u8(0..4) {
                    tokio::task::yield_now().await;
                }
                Ok::<_, Infallible>(answers(request))
            }
        })));
    let hits = Arc::new(AtomicUsize::new(0));
    let mut users = tokio::task::JoinSet::new();
    for user in 0..USERS {
        let (service, layer, hits) = (service.clone(), layer.clone(), Arc::clone(&hits));
        users.spawn(async move {
            let mut dice = Rng::with_seed(SEED + user);
            let mut seen: Vec<Option<HeaderValue>> = vec![None; PAGES.len()];
            for _ in 0..REQUESTS {
                let page = dice.usize(..PAGES.len());
                let request = wish(&mut dice, user, page, &seen[page]);
                if dice.u8(..40) == 0 {
                    // What is purged now is never seen again.
                    let version = VERSIONS[page].fetch_add(1, Ordering::SeqCst) + 1;
                    let uri = request.uri().clone();
                    match dice.bool() {
                        true => layer.purge().uri(&uri).await.unwrap(),
                        false => layer.purge().prefix(&uri).await.unwrap(),
                    }
                    PURGED[page].fetch_max(version, Ordering::SeqCst);
                }
                let floor = PURGED[page].load(Ordering::SeqCst);
                let (asked, changes) = (request.headers().clone(), request.method() == "POST");
                let gone = dice.u8(..20) == 0;
                let answer = service.clone().oneshot(request);
                if gone {
                    // It goes before it has its answer.
                    let _ = tokio::time::timeout(std::time::Duration::ZERO, answer).await;
                    continue;
                }
                let answer = answer.await.unwrap();
                seen[page] = answer.headers().get(ETAG).cloned();
                let hit = check(page, &asked, answer, floor, changes).await;
                hits.fetch_add(usize::from(hit), Ordering::Relaxed);
            }
        });
    }
    users.join_all().await;
    let hits = hits.load(Ordering::Relaxed);
    assert!(
        hits > 500,
        "only {hits} of {} were answered from the store",
        USERS as usize * REQUESTS
    );
}

/// A request of any kind.
fn wish(dice: &mut Rng, user: u64, page: usize, seen: &Option<HeaderValue>) -> Get {
    let (path, _) = PAGES[page];
    let method = dice.choice(["GET", "GET", "GET", "GET", "HEAD", "POST"]).unwrap();
    let method = if method == "POST" && dice.u8(..5) > 0 { "GET" } else { method };
    let mut request = Request::builder().method(method).uri(format!("http://h{path}"));
    request = request.header("x-user", user);
    if dice.bool() {
        request = request.header(AUTHORIZATION, format!("u{user}"));
    }
    request = request.header("x-variant", dice.u16(..6));
    if dice.u8(..4) == 0 {
        let (first, last) = (dice.u16(..1_100), dice.u16(..1_100));
        request = request.header(RANGE, format!("bytes={first}-{last}"));
    }
    if let Some(tag) = seen.as_ref().filter(|_| dice.u8(..4) == 0) {
        let name = if dice.bool() { IF_NONE_MATCH } else { IF_RANGE };
        request = request.header(name, tag);
    }
    if dice.u8(..4) == 0 {
        let says = ["no-cache", "no-store", "max-age=0", "max-stale", "only-if-cached"];
        request = request.header(CACHE_CONTROL, dice.choice(says).unwrap());
    }
    request.body(Empty::new()).unwrap()
}

/// Whether it came from the store; a panic if it is not for who asked.
async fn check(
    page: usize,
    asked: &HeaderMap,
    answer: Response<Body<Full<Bytes>>>,
    floor: u64,
    changes: bool,
) -> bool {
    let (path, _) = PAGES[page];
    let (parts, body) = answer.into_parts();
    let status = parts.headers["cache-status"].to_str().unwrap().to_owned();
    let told = format!("{path}, {asked:?}: {parts:?}");
    let body = body.collect().await.unwrap().to_bytes();
    if matches!(parts.status.as_u16(), 416 | 504) {
        assert!(body.is_empty(), "{told}");
        return false;
    }
    let tag = parts.headers[ETAG].to_str().unwrap().trim_matches('"');
    let said: Vec<&str> = tag.split(';').collect();
    let [of, version, user, login, variant] = said[..] else { panic!("{told}") };
    let own = |name: &str| asked.get(name).map_or("", |value| value.to_str().unwrap());
    assert_eq!(of, path, "{told}");
    assert!(version.parse::<u64>().unwrap() >= floor, "{told}: after {floor} was purged");
    if matches!(path, "/private" | "/mine") || changes {
        assert_eq!((user, login), (own("x-user"), own("authorization")), "{told}");
    }
    if matches!(path, "/fresh" | "/checked" | "/stale") {
        // Said to be for all only without a login.
        assert!(login.is_empty() || login == own("authorization"), "{told}");
    }
    if path == "/varied" {
        assert_eq!(variant, own("x-variant"), "{told}");
    }
    let whole = content(tag);
    match parts.status.as_u16() {
        200 => assert!(body.is_empty() || body == whole, "{told}"),
        304 => assert_eq!(asked.get(IF_NONE_MATCH), parts.headers.get(ETAG), "{told}"),
        206 => {
            let range = parts.headers["content-range"].to_str().unwrap();
            let range = range.strip_prefix("bytes ").unwrap().strip_suffix("/997").unwrap();
            let (first, last) = range.split_once('-').unwrap();
            let (first, last): (usize, usize) = (first.parse().unwrap(), last.parse().unwrap());
            assert_eq!(body, whole[first..=last], "{told}");
            let held = asked.get(IF_RANGE).is_none_or(|tag| *tag == parts.headers[ETAG]);
            assert!(held, "{told}");
        }
        _ => panic!("{told}"),
    }
    status.contains("; hit")
}
