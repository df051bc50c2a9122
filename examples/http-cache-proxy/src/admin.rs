//! What the operator asks for, on an address of its own: purges.

use std::convert::Infallible;

use bytes::Bytes;
use cache_aside::http::{Purge, PurgeError};
use http::header::ORIGIN;
use http::{Method, Request, Response, StatusCode, Uri};
use http_body_util::Full;
use hyper::body::Incoming;
use hyper::service::service_fn;
use hyper_util::rt::TokioIo;
use tokio::net::TcpListener;

use crate::edge::{accept, server};

const WAYS: &str = "\
POST /purge?uri=http://HOST/PATH      one URI, with its query
POST /purge?prefix=http://HOST/PATH   a path, and all below it
POST /purge?group=NAME&of=http://HOST a group of Cache-Groups
POST /purge?all
with &soft at the end to make stale only; write % and & in values as %25 and %26
";

/// Answers for as long as it is polled.
pub(crate) async fn serve(listener: TcpListener, purge: Purge) {
    let server = server();
    loop {
        let (stream, _) = accept(&listener).await;
        let purge = purge.clone();
        let service = service_fn(move |request: Request<Incoming>| {
            let purge = purge.clone();
            async move {
                let (status, text) = if request.headers().contains_key(ORIGIN) {
                    // A page that the operator looks at has no say in it.
                    (StatusCode::FORBIDDEN, "not from a browser\n".to_owned())
                } else {
                    answer(&purge, request.method(), request.uri()).await
                };
                let mut answer = Response::new(Full::<Bytes>::from(text));
                *answer.status_mut() = status;
                Ok::<_, Infallible>(answer)
            }
        });
        let connection = server.serve_connection(TokioIo::new(stream), service).into_owned();
        tokio::spawn(async move {
            // The operator may go at any time.
            let _ = connection.await;
        });
    }
}

async fn answer(purge: &Purge, method: &Method, uri: &Uri) -> (StatusCode, String) {
    if method != Method::POST || uri.path() != "/purge" {
        return (StatusCode::NOT_FOUND, WAYS.to_owned());
    }
    let Some(wish) = Wish::of(uri.query().unwrap_or_default()) else {
        return (StatusCode::BAD_REQUEST, WAYS.to_owned());
    };
    let purge = if wish.soft { purge.soft() } else { purge.clone() };
    let purged = match &wish.what {
        What::Uri(uri) => purge.uri(uri).await,
        What::Prefix(uri) => purge.prefix(uri).await,
        What::Group(origin, name) => purge.group(origin, name).await,
        What::All => purge.all().await,
    };
    match purged {
        Ok(()) => (StatusCode::OK, "purged\n".to_owned()),
        Err(error) => (refusal(&error), format!("{error}\n")),
    }
}

/// What Redis has not acknowledged holds here, and is told to the others when it can be.
fn refusal(error: &PurgeError) -> StatusCode {
    match error {
        PurgeError::Unacknowledged => StatusCode::SERVICE_UNAVAILABLE,
        _ => StatusCode::BAD_REQUEST,
    }
}

#[derive(Debug, PartialEq, Eq)]
struct Wish {
    what: What,
    soft: bool,
}

#[derive(Debug, PartialEq, Eq)]
enum What {
    Uri(Uri),
    Prefix(Uri),
    Group(Uri, String),
    All,
}

impl Wish {
    fn of(query: &str) -> Option<Self> {
        let (query, soft) = match query.strip_suffix("&soft") {
            Some(query) => (query, true),
            None => (query, false),
        };
        let what = match query.split_once('=') {
            None if query == "all" && !soft => What::All,
            Some(("uri", uri)) => What::Uri(decoded(uri)?.parse().ok()?),
            Some(("prefix", uri)) => What::Prefix(decoded(uri)?.parse().ok()?),
            Some(("group", rest)) => {
                let (name, origin) = rest.split_once("&of=")?;
                What::Group(decoded(origin)?.parse().ok()?, decoded(name)?)
            }
            _ => return None,
        };
        Some(Self { what, soft })
    }
}

/// Without its percent signs (RFC 3986, section 2.1).
fn decoded(text: &str) -> Option<String> {
    let mut bytes = Vec::with_capacity(text.len());
    let mut rest = text.bytes();
    while let Some(byte) = rest.next() {
        bytes.push(match byte {
            b'%' => {
                let digit = |byte: u8| (byte as char).to_digit(16);
                let (high, low) = (digit(rest.next()?)?, digit(rest.next()?)?);
                u8::try_from(high * 16 + low).ok()?
            }
            byte => byte,
        });
    }
    String::from_utf8(bytes).ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_wish_is_one_of_four() {
        let uri = |text: &'static str| Uri::from_static(text);
        let wish = |query| Wish::of(query).map(|wish| (wish.what, wish.soft));
        assert_eq!(wish("all"), Some((What::All, false)));
        assert_eq!(wish("uri=http://a/b?c=d"), Some((What::Uri(uri("http://a/b?c=d")), false)));
        let both = Some((What::Uri(uri("http://a/b?c=1&d=%20")), true));
        assert_eq!(wish("uri=http://a/b?c=1%26d=%2520&soft"), both);
        assert_eq!(wish("prefix=http://a/b"), Some((What::Prefix(uri("http://a/b")), false)));
        let group = Some((What::Group(uri("http://a"), "x y".to_owned()), true));
        assert_eq!(wish("group=x%20y&of=http://a&soft"), group);
        for wrong in ["", "all&soft", "uri=", "uri", "uri=%2", "uri=%zz", "group=a", "b=c"] {
            assert_eq!(wish(wrong), None, "{wrong}");
        }
    }
}
