//! What a client, or an origin, may do to the proxy to break it.

use std::sync::Arc;

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio::sync::Notify;
use tokio::time::timeout;

use crate::origin::{Origin, Part};
use crate::{Answer, Proxy, SOON, says};

const FRESH: &str = "cache-control: max-age=60";

fn raw(text: &str) -> Part {
    Part::Says(text.as_bytes().to_vec())
}

/// The status of each response in what came.
fn statuses(bytes: &[u8]) -> Vec<String> {
    let text = String::from_utf8_lossy(bytes).into_owned();
    let heads = text.split("HTTP/1.1 ").skip(1);
    heads.map(|head| head.split(' ').next().unwrap_or_default().to_owned()).collect()
}

async fn text(proxy: &Proxy, request: &str) -> String {
    String::from_utf8_lossy(&proxy.says_to(request.as_bytes()).await).into_owned()
}

/// Each shape by which the proxy and the origin could see another end of a request: one request
/// goes to the origin, or none; never the one that is hidden in it.
#[tokio::test(flavor = "multi_thread")]
async fn no_request_is_smuggled_in_another() {
    let hidden = "GET /hidden HTTP/1.1\r\nHost: a\r\n\r\n";
    let last = "GET /last HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n";
    let length = hidden.len();
    let shapes = [
        format!("Content-Length: {length}\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n"),
        format!("Transfer-Encoding: chunked\r\nContent-Length: {length}\r\n\r\n0\r\n\r\n"),
        format!("Content-Length: 0\r\nContent-Length: {length}\r\n\r\n"),
        format!("Content-Length: 0, {length}\r\n\r\n"),
        format!("Content-Length: +{length}\r\n\r\n"),
        format!("Content-Length: 0x{length:x}\r\n\r\n"),
        format!("Content-Length : {length}\r\n\r\n"),
        format!("Content-Length:\u{b}{length}\r\n\r\n"),
        format!("X: y\r\n Content-Length: {length}\r\n\r\n"),
        format!("X: y\rContent-Length: {length}\r\n\r\n"),
        "Transfer-Encoding: chunked\r\nTransfer-Encoding: identity\r\n\r\n0\r\n\r\n".to_owned(),
        "Transfer-Encoding: xchunked\r\n\r\n0\r\n\r\n".to_owned(),
        "Transfer-Encoding: chunked, identity\r\n\r\n0\r\n\r\n".to_owned(),
        "Transfer-Encoding : chunked\r\n\r\n0\r\n\r\n".to_owned(),
        "Transfer-Encoding:\tchunked\r\n\r\n0\r\n\r\n".to_owned(),
        "Transfer-Encoding: \"chunked\"\r\n\r\n0\r\n\r\n".to_owned(),
        "Transfer-Encoding: chunked\r\n\r\n0;x\n\r\n\r\n".to_owned(),
        "Transfer-Encoding: chunked\r\n\r\n00000000000000000000000000000000\r\n\r\n".to_owned(),
        "Transfer-Encoding: chunked\r\n\r\nfffffffffffffffff0\r\n\r\n".to_owned(),
        "Transfer-Encoding: chunked\r\n\r\n-1\r\n\r\n0\r\n\r\n".to_owned(),
        "Connection: Content-Length\r\nContent-Length: 5\r\n\r\nGET /".to_owned(),
        "Connection: Transfer-Encoding\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n".to_owned(),
        "Connection: Upgrade, HTTP2-Settings\r\nUpgrade: h2c\r\nHTTP2-Settings: AAMAAABkAARAAAAAAAIAAAAA\r\n\r\n".to_owned(),
    ];
    for method in ["GET", "POST"] {
        for shape in &shapes {
            let origin = Origin::start(vec![says(FRESH, "hello")]).await;
            let proxy = Proxy::start(&origin, &[]).await;
            // Behind its end is what a lax reader would take for a request of its own.
            let request =
                format!("{method} /seen HTTP/1.1\r\nHost: a\r\n{shape}{hidden}{last}");
            let answers = statuses(&proxy.says_to(request.as_bytes()).await);
            let heads = origin.heads();
            let lines: Vec<_> =
                heads.iter().map(|head| head.lines().next().unwrap().to_owned()).collect();
            // Whatever is answered twice was two requests to the proxy, too.
            assert!(lines.len() <= answers.len(), "{request:?}: {lines:?} for {answers:?}");
            for head in &heads {
                let framed = head.matches("content-length:").count()
                    + head.matches("transfer-encoding:").count();
                assert!(framed <= 1, "{request:?}: {head}");
                assert!(!head.contains("h2c") && !head.contains("http2-settings"), "{head}");
            }
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn targets_in_every_form_reach_the_origin_as_paths_or_not_at_all() {
    for options in [&[][..], &["--preserve-host"]] {
        let origin = Origin::start(vec![says("cache-control: no-store", "hello")]).await;
        let proxy = Proxy::start(&origin, options).await;
        for (line, fields, status) in [
            ("GET http://a/x HTTP/1.1", "Host: a", 200),
            ("GET http://a/x HTTP/1.1", "Host: other", 200),
            ("OPTIONS * HTTP/1.1", "Host: a", 200),
            ("OPTIONS /x HTTP/1.1", "Host: a\r\nMax-Forwards: 1", 200),
            ("GET /x HTTP/1.0", "Host: a", 200),
            ("CONNECT a:80 HTTP/1.1", "Host: a:80", 501),
            ("TRACE /x HTTP/1.1", "Host: a", 501),
            ("GET /x y HTTP/1.1", "Host: a", 400),
            ("GET x HTTP/1.1", "Host: a", 400),
            ("GET /x\0 HTTP/1.1", "Host: a", 400),
            ("GET /x HTTP/1.1", "Host: a\r\nX\0: y", 400),
            ("GET /x HTTP/9.9", "Host: a", 400),
        ] {
            let before = origin.heads().len();
            let request = format!("{line}\r\n{fields}\r\nConnection: close\r\n\r\n");
            let answer = text(&proxy, &request).await;
            let got = answer.split(' ').nth(1).unwrap_or_default();
            assert_eq!(got, status.to_string(), "{options:?} {line}: {answer}");
            let heads = origin.heads();
            assert_eq!(heads.len() > before, status == 200, "{line}");
            if status == 200 {
                let line = heads.last().unwrap().lines().next().unwrap().to_owned();
                assert!(line.contains(" /x ") || line == "options * http/1.1", "{line}");
            }
        }
        let far =
            "OPTIONS /x HTTP/1.1\r\nHost: a\r\nMax-Forwards: 0\r\nConnection: close\r\n\r\n";
        let before = origin.heads().len();
        assert!(text(&proxy, far).await.starts_with("HTTP/1.1 200"));
        assert_eq!(origin.heads().len(), before);
        let forwarded = origin.heads().iter().any(|head| head.contains("max-forwards: 0\r\n"));
        assert!(forwarded, "one less than it said");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn hosts_that_are_wrong_are_refused_where_they_count() {
    let origin = Origin::start(vec![says(FRESH, "hello")]).await;
    let kept = Proxy::start(&origin, &["--preserve-host"]).await;
    for hosts in [
        "",
        "Host:\r\n",
        "Host: u@a\r\n",
        "Host: a b\r\n",
        "Host: a\r\nHost: a\r\n",
        "Host: a/b\r\n",
        "Host: \u{e4}\r\n",
    ] {
        let request = format!("GET / HTTP/1.1\r\n{hosts}Connection: close\r\n\r\n");
        let answer = text(&kept, &request).await;
        assert!(answer.starts_with("HTTP/1.1 400"), "{hosts:?}: {answer}");
    }
    assert_eq!(origin.heads().len(), 0);
    // Of two names the answers are two; without that they are one.
    let own = Proxy::start(&origin, &[]).await;
    for (proxy, asked) in [(&kept, 2), (&own, 1)] {
        let before = origin.heads().len();
        for host in ["a", "b", "A", "b:80"] {
            let request =
                format!("GET / HTTP/1.1\r\nHost: {host}\r\nConnection: close\r\n\r\n");
            assert!(text(proxy, &request).await.starts_with("HTTP/1.1 200"));
        }
        assert_eq!(origin.heads().len() - before, asked);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn pipelined_requests_are_answered_in_order() {
    let origin = Origin::start(vec![says(FRESH, "hello")]).await;
    let proxy = Proxy::start(&origin, &[]).await;
    let one = |path: &str| format!("GET {path} HTTP/1.1\r\nHost: a\r\n\r\n");
    let last = "HEAD /a HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n";
    let many = [
        one("/a"),
        one("/b"),
        one("/a"),
        "GET /c HTTP/1.1\r\nHost: a\r\nRange: bytes=1-2\r\n\r\n".into(),
        last.into(),
    ];
    let answer = text(&proxy, &many.concat()).await;
    assert_eq!(statuses(answer.as_bytes()), ["200", "200", "200", "200", "200"], "{answer}");
    assert_eq!(answer.matches("hello").count(), 4, "{answer}");
    assert_eq!(origin.heads().len(), 3);
}

/// Bytes behind a response are no response to the next request, whoever sends that.
#[tokio::test(flavor = "multi_thread")]
async fn what_an_origin_says_unasked_is_nobodys_answer() {
    let two = format!(
        "HTTP/1.1 200 OK\r\n{FRESH}\r\ncontent-length: 5\r\n\r\nhello\
         HTTP/1.1 200 OK\r\n{FRESH}\r\ncontent-length: 4\r\n\r\nevil"
    );
    let origin = Origin::start(vec![raw(&two)]).await;
    let proxy = Proxy::start(&origin, &[]).await;
    for n in 0..50 {
        let answer = proxy
            .says_to(
                format!("GET /{n} HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n").as_bytes(),
            )
            .await;
        let answer = String::from_utf8(answer).unwrap();
        assert!(!answer.contains("evil"), "{answer}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn responses_that_are_wrong_are_refused_and_not_stored() {
    for wrong in [
        "HTTP/1.1 200 OK\r\ncache-control: max-age=60\r\ncontent-length: 3\r\ncontent-length: 4\r\n\r\nabcd",
        "HTTP/1.1 200 OK\r\ncache-control: max-age=60\r\ncontent-length: -1\r\n\r\n",
        "HTTP/1.1 200 OK\r\ncache-control: max-age=60\r\nx y: z\r\ncontent-length: 0\r\n\r\n",
        "HTTP/1.1 101 Switching Protocols\r\nconnection: upgrade\r\nupgrade: x\r\n\r\nevil",
        "HTTP/1.1 0 OK\r\n\r\n",
        "HTTP/1.1 99 OK\r\n\r\n",
        "HTTP/1.1 200\r\ncache-control: max-age=60\r\ntransfer-encoding: chunked\r\n\r\nzz\r\n",
        "nonsense\r\n\r\n",
        "",
    ] {
        let origin = Origin::start(vec![raw(wrong), Part::Hangs]).await;
        let proxy = Proxy::start(&origin, &[]).await;
        for asked in 1..=2 {
            let answer =
                text(&proxy, "GET / HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n").await;
            let broken_off = answer.is_empty() || !answer.contains("\r\n0\r\n\r\n");
            let refused = answer.starts_with("HTTP/1.1 502")
                || (answer.starts_with("HTTP/1.1 200") && broken_off)
                || answer.is_empty();
            assert!(refused, "{wrong:?}: {answer}");
            assert!(!answer.contains("evil"), "{wrong:?}");
            assert!(origin.heads().len() >= asked, "{wrong:?} was stored");
        }
        assert_eq!(proxy.process.exit_status(), None);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn huge_heads_are_refused_and_harm_nobody_else() {
    let origin = Origin::start(vec![says(FRESH, "hello")]).await;
    let proxy = Proxy::start(&origin, &[]).await;
    let many = (0..5_000).map(|n| format!("X-{n}: y\r\n")).collect::<String>();
    let long = format!("X: {}\r\n", "y".repeat(4 << 20));
    let path = format!("/{}", "a".repeat(4 << 20));
    for (path, fields) in [("/", &*many), ("/", &*long), (&*path, "")] {
        let request =
            format!("GET {path} HTTP/1.1\r\nHost: a\r\n{fields}Connection: close\r\n\r\n");
        let answer = text(&proxy, &request).await;
        let status = answer.split(' ').nth(1).unwrap_or("cut");
        assert!(matches!(status, "431" | "414" | "400" | "cut"), "{status}");
    }
    assert_eq!(proxy.get("/").await.body, "hello");
    assert!(proxy.resident() < 96 << 20);
}

#[tokio::test(flavor = "multi_thread")]
async fn an_expectation_is_met_by_the_proxy() {
    let origin = Origin::start(vec![says("cache-control: no-store", "done")]).await;
    let proxy = Proxy::start(&origin, &[]).await;
    let mut stream = TcpStream::connect(proxy.addr).await.unwrap();
    let head = "POST / HTTP/1.1\r\nHost: a\r\nExpect: 100-continue\r\nContent-Length: 0\r\nConnection: close\r\n\r\n";
    stream.write_all(head.as_bytes()).await.unwrap();
    let mut bytes = Vec::new();
    timeout(SOON, stream.read_to_end(&mut bytes)).await.unwrap().unwrap();
    let answer = String::from_utf8(bytes).unwrap();
    assert!(answer.ends_with("done"), "{answer}");
    assert!(!origin.heads()[0].contains("expect"), "{:?}", origin.heads());
}

/// Clients go at every moment of an answer; the others get theirs, and nothing is left behind.
#[tokio::test(flavor = "multi_thread")]
async fn clients_may_go_at_any_moment() {
    let body = "x".repeat(200_000);
    let whole = format!("HTTP/1.1 200 OK\r\n{FRESH}\r\ncontent-length: {}\r\n\r\n", body.len());
    let go_on = Arc::new(Notify::new());
    let origin = Origin::start(vec![
        raw(&whole),
        raw(&body[..50_000]),
        Part::Waits(Arc::clone(&go_on)),
        raw(&body[50_000..]),
    ])
    .await;
    let proxy = Proxy::start(&origin, &[]).await;
    for read in [0, 1, 20, 200, 5_000, 60_000] {
        let path = format!("/{read}");
        let request = format!("GET {path} HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n");
        for cut in [request.len() / 2, request.len()] {
            let mut stream = TcpStream::connect(proxy.addr).await.unwrap();
            stream.write_all(&request.as_bytes()[..cut]).await.unwrap();
            if cut == request.len() && read < 50_000 {
                let mut part = vec![0; read];
                timeout(SOON, stream.read_exact(&mut part)).await.unwrap().unwrap();
            }
        }
        let stays = proxy.get(&path);
        let opens = async {
            loop {
                go_on.notify_waiters();
                go_on.notify_one();
                tokio::task::yield_now().await;
            }
        };
        let answer = tokio::select! { answer = stays => answer, () = opens => unreachable!() };
        assert_eq!((answer.status, answer.body.len()), (200, body.len()), "{path}");
        let again: Answer = proxy.get(&path).await;
        assert!(again.said("hit") && again.body == body, "{path}: {}", again.head);
    }
    assert_eq!(proxy.process.exit_status(), None);
}

#[tokio::test(flavor = "multi_thread")]
async fn an_origin_that_is_slow_is_given_up() {
    let never = Arc::new(Notify::new());
    let head = format!("HTTP/1.1 200 OK\r\n{FRESH}\r\ncontent-length: 10\r\n\r\nhalf");
    for (parts, begins) in [
        (vec![Part::Waits(Arc::clone(&never))], "HTTP/1.1 504"),
        (vec![raw(&head), Part::Waits(Arc::clone(&never))], "HTTP/1.1 200"),
    ] {
        let origin = Origin::start(parts).await;
        let proxy = Proxy::start(&origin, &["--read-timeout", "1"]).await;
        for asked in 1..=2 {
            let answer =
                text(&proxy, "GET / HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n").await;
            assert!(answer.starts_with(begins) && !answer.ends_with("0123456789"), "{answer}");
            assert_eq!(origin.heads().len(), asked, "nothing of it is stored");
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_page_that_the_operator_looks_at_purges_nothing() {
    let origin = Origin::start(vec![says(FRESH, "hello")]).await;
    let proxy = Proxy::start(&origin, &[]).await;
    proxy.get("/").await;
    let mut stream = TcpStream::connect(proxy.admin).await.unwrap();
    let request = "POST /purge?all HTTP/1.1\r\nHost: a\r\nOrigin: http://evil\r\nConnection: close\r\n\r\n";
    stream.write_all(request.as_bytes()).await.unwrap();
    let mut bytes = Vec::new();
    timeout(SOON, stream.read_to_end(&mut bytes)).await.unwrap().unwrap();
    assert_eq!(statuses(&bytes), ["403"]);
    assert!(proxy.get("/").await.said("hit"));
}
