//! Whatever is sent, the shop refuses it in good order and goes on.

use std::time::Duration;

use fastrand::Rng;
use tokio::time::timeout;

use crate::http::{self, Connection};
use crate::shop::{DEADLINE, Storefront, revision};

fn put(headers: &str, body: &[u8]) -> Vec<u8> {
    let head = format!("PUT /products/1 HTTP/1.1\r\nhost: shop\r\n{headers}\r\n");
    [head.as_bytes(), body].concat()
}

fn json(body: &[u8]) -> Vec<u8> {
    put(&format!("content-type: application/json\r\ncontent-length: {}\r\n", body.len()), body)
}

/// Each is answered with a 4xx: with JSON by the shop, or, where it is no HTTP,
/// by an end of the connection.
#[tokio::test]
async fn wrong_requests_are_refused_and_the_shop_goes_on() {
    let storefront = Storefront::open(&[]).await;
    let deep = [b"[".repeat(10_000), b"]".repeat(6_000)].concat();
    let many: String = (0..500).map(|n| format!("x-{n}: y\r\n")).collect();
    let get = |path: &str| format!("GET {path} HTTP/1.1\r\nhost: shop\r\n\r\n").into_bytes();
    let cases: Vec<(&str, Vec<u8>, Option<u16>)> = vec![
        ("a huge id", get(&format!("/products/{}", "9".repeat(3_000))), Some(400)),
        ("an id too large by one", get("/products/9223372036854775808"), Some(400)),
        ("a negative id", get("/products/-1"), Some(400)),
        ("SQL for an id", get("/products/1%27%20OR%201=1--"), Some(400)),
        ("an id that is not UTF-8", get("/products/%ff%fe"), Some(400)),
        ("a NUL for an id", get("/products/%00"), Some(400)),
        ("a way out of the root", get("/../../../../etc/passwd"), Some(404)),
        ("an encoded way out", get("/products/..%2f..%2f..%2fetc%2fpasswd"), Some(400)),
        (
            "a method unknown here",
            b"BREW /products/1 HTTP/1.1\r\nhost: s\r\n\r\n".into(),
            Some(405),
        ),
        ("a body of no type", put("content-length: 2\r\n", b"{}"), Some(415)),
        (
            "a body of another type",
            put("content-type: text/xml\r\ncontent-length: 4\r\n", b"<a/>"),
            Some(415),
        ),
        ("JSON that is not UTF-8", json(b"{\"name\":\"\xff\xfe\"}"), Some(400)),
        ("JSON that ends too soon", json(b"{\"name\":"), Some(400)),
        ("JSON in JSON in JSON", json(&deep), Some(422)),
        ("a body too large", json(&vec![b' '; 1 << 20]), Some(413)),
        ("a number too large", json(br#"{"stock":1e400}"#), None),
        ("no HTTP", b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03\r\n\r\n".into(), None),
        ("another protocol", b"SSH-2.0-OpenSSH_9.6\r\n\r\n".into(), None),
        ("HTTP of the future", b"GET / HTTP/9.9\r\nhost: s\r\n\r\n".into(), None),
        ("many headers", format!("GET /products/1 HTTP/1.1\r\n{many}\r\n").into(), None),
        ("a huge header", put(&format!("x: {}\r\n", "y".repeat(1 << 20)), b""), None),
        ("a huge path", get(&format!("/{}", "a".repeat(100_000))), None),
        ("a header that is not text", put("x\x00: \x01\r\n", b""), None),
        ("two lengths", put("content-length: 1\r\ncontent-length: 2\r\n", b"{}"), None),
        ("a length of words", put("content-length: two\r\n", b"{}"), None),
        ("a negative length", put("content-length: -1\r\n", b"{}"), None),
        (
            "chunks of no size",
            put("content-type: application/json\r\ntransfer-encoding: chunked\r\n", b"zz\r\n"),
            None,
        ),
    ];
    for (what, request, expected) in cases {
        let mut connection = storefront.connect().await;
        // It may be refused before it is sent.
        let _ = connection.send(&request).await;
        let answer = timeout(DEADLINE, connection.answer()).await;
        let answer = answer.unwrap_or_else(|_| panic!("{what}: neither answer nor end"));
        match (answer, expected) {
            (Ok(answer), Some(status)) => {
                assert_eq!(answer.status, status, "{what}: {answer:?}");
                assert!(!answer.code().is_empty(), "{what}");
            }
            (Ok(answer), None) => {
                assert!((400..500).contains(&answer.status), "{what}: {answer:?}");
                if answer.body.is_empty() {
                    let end = timeout(DEADLINE, connection.answer()).await.unwrap();
                    assert!(end.is_err(), "{what}: {end:?} after {answer:?}");
                }
            }
            // A reset may overtake the answer to what was not read to its end.
            (Err(_), expected) => assert!(matches!(expected, None | Some(413)), "{what}"),
        }
        assert_eq!(storefront.get("/products/1").await.status, 200, "after {what}");
    }
    storefront.is_unharmed();
}

/// Requests that were damaged on their way, and plain noise: 600 of them, by a
/// seed. No answer is a 5xx.
#[tokio::test]
async fn damaged_requests_are_never_a_5xx() {
    let storefront = Storefront::open(&[]).await;
    let mut random = Rng::with_seed(5);
    let whole = [
        http::put("/products/1", &revision(7)),
        b"GET /products/12?a=b HTTP/1.1\r\nhost: shop\r\naccept: */*\r\n\r\n".to_vec(),
        b"POST /users/1/orders HTTP/1.1\r\nhost: shop\r\ntransfer-encoding: chunked\r\n\
          content-type: application/json\r\n\r\n1d\r\n{\"product_id\":1,\"quantity\":1}\r\n0\r\n\r\n"
            .to_vec(),
    ];
    let mut statuses = std::collections::BTreeMap::<String, u32>::new();
    for n in 0..600 {
        let mut request = whole[n % whole.len()].clone();
        match n % 4 {
            0 => request = (0..random.usize(1..400)).map(|_| random.u8(..)).collect(),
            1 => request.truncate(random.usize(..request.len())),
            _ => {
                for _ in 0..random.usize(1..4) {
                    let place = random.usize(..request.len());
                    request[place] = random.u8(..);
                }
            }
        }
        let mut connection = storefront.connect().await;
        // It may be refused before it is sent, or before it is finished.
        let _ = connection.send(&request).await;
        let _ = connection.finish().await;
        let said = timeout(DEADLINE, connection.rest()).await.expect("an answer or an end");
        let said = String::from_utf8_lossy(&said);
        let status = said.split(' ').nth(1).unwrap_or("end").to_owned();
        assert!(!said.contains("HTTP/1.1 5"), "{said} to {}", request.escape_ascii());
        *statuses.entry(status).or_default() += 1;
    }
    println!("{statuses:?}");
    assert_eq!(storefront.get("/products/2").await.status, 200);
    storefront.is_unharmed();
}

/// Clients that begin and do not go on keep nobody else waiting, and a body
/// that dawdles is given up.
#[tokio::test]
async fn unfinished_requests_hold_nobody_up() {
    let storefront = Storefront::open(&["--connections", "2"]).await;
    let mut unfinished = Vec::new();
    let beginnings = [
        b"".to_vec(),
        b"GET /prod".to_vec(),
        b"GET /products/1 HTTP/1.1\r\nhost: sh".to_vec(),
        put("content-type: application/json\r\ncontent-length: 9000\r\n", b"{\"name\":"),
    ];
    for n in 0..300 {
        let mut connection = Connection::open(storefront.shop.addr).await.unwrap();
        connection.send(&beginnings[n % beginnings.len()]).await.unwrap();
        unfinished.push(connection);
    }
    let others = async {
        for id in 1..50 {
            let path = format!("/products/{id}");
            assert_eq!(storefront.get(&path).await.status, 200);
            assert_eq!(storefront.put(&path, &revision(id)).await.status, 200);
        }
    };
    timeout(DEADLINE, others).await.expect("the others are served");

    // The last has a head, and a body that does not come.
    let answer = timeout(Duration::from_secs(20), unfinished[299].answer()).await.unwrap();
    if let Ok(answer) = answer {
        assert!((400..500).contains(&answer.status), "{answer:?}");
        assert_eq!(answer.code(), "unread_body");
    }
    storefront.is_unharmed();
}
