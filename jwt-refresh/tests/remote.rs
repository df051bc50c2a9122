//! Key sets over HTTP from a server that does what it should not.

#![allow(clippy::unwrap_used, reason = "the helpers of tests are tests")]

use std::time::Duration;

use http::Uri;
use jwt_refresh::{Fetch, FetchError, HttpsFetch, KeySet, Signer, SigningKey};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpListener;

const LIMIT: usize = 256 * 1_024;

/// Answers every connection with these bytes.
async fn server(answer: Vec<u8>) -> Uri {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let uri = format!("http://{}/jwks.json", listener.local_addr().unwrap());
    tokio::spawn(async move {
        while let Ok((mut stream, _)) = listener.accept().await {
            let answer = answer.clone();
            tokio::spawn(async move {
                let mut request = [0; 4_096];
                let _ = stream.read(&mut request).await;
                // A client that has had enough hangs up.
                let _ = stream.write_all(&answer).await;
            });
        }
    });
    uri.parse().unwrap()
}

fn answer(head: &str, body: &[u8]) -> Vec<u8> {
    [format!("HTTP/1.1 {head}\r\nconnection: close\r\n\r\n").as_bytes(), body].concat()
}

async fn fetch(answer: Vec<u8>) -> Result<bytes::Bytes, FetchError> {
    let uri = server(answer).await;
    let fetching = HttpsFetch::new().unwrap();
    let fetched =
        tokio::time::timeout(Duration::from_secs(30), fetching.get(&uri, LIMIT)).await;
    fetched.expect("a local server answers")
}

#[tokio::test]
async fn a_good_set_is_fetched() {
    let key = SigningKey::generate().unwrap();
    let set = KeySet::new([key.verifying_key().unwrap()]).unwrap().to_jwks();
    let fetched = fetch(answer("200 OK", set.as_bytes())).await.unwrap();
    assert_eq!(fetched, set);
}

#[tokio::test]
async fn redirects_are_not_followed() {
    let key = SigningKey::generate().unwrap();
    let set = KeySet::new([key.verifying_key().unwrap()]).unwrap().to_jwks();
    let target = server(answer("200 OK", set.as_bytes())).await;
    for status in [301, 302, 303, 307, 308] {
        let redirect = answer(&format!("{status} Moved\r\nlocation: {target}"), b"");
        let refused = fetch(redirect).await;
        assert!(
            matches!(refused, Err(FetchError::Status(got)) if got == status),
            "{refused:?}"
        );
    }
    for status in [204, 400, 404, 500, 503] {
        let refused = fetch(answer(&format!("{status} x"), b"")).await;
        assert!(
            matches!(refused, Err(FetchError::Status(got)) if got == status),
            "{refused:?}"
        );
    }
}

#[tokio::test]
async fn a_huge_answer_is_given_up() {
    let announced = answer("200 OK\r\ncontent-length: 1000000000", b"{");
    assert!(matches!(fetch(announced).await, Err(FetchError::TooLong)));
    let unannounced = answer("200 OK", &vec![b' '; 10 << 20]);
    assert!(matches!(fetch(unannounced).await, Err(FetchError::TooLong)));
    let mut chunked = answer("200 OK\r\ntransfer-encoding: chunked", b"");
    for _ in 0..64 {
        chunked.extend_from_slice(b"10000\r\n");
        chunked.extend_from_slice(&vec![b' '; 0x10000]);
        chunked.extend_from_slice(b"\r\n");
    }
    assert!(matches!(fetch(chunked).await, Err(FetchError::TooLong)));
}

#[tokio::test]
async fn no_answer_is_a_failed_connection() {
    for broken in [vec![], b"HTTP/1.1 2".to_vec(), b"SSH-2.0-x\r\n".to_vec()] {
        let failed = fetch(broken).await;
        assert!(matches!(failed, Err(FetchError::Connection(_))), "{failed:?}");
    }
}
