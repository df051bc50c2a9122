//! Answers made of what is stored.

use bytes::Bytes;
use http::header::{
    AGE, CONTENT_LENGTH, CONTENT_RANGE, CONTENT_TYPE, DATE, HeaderValue, RANGE,
};
use http::{HeaderMap, Method, Response, StatusCode};

use super::body::Body;
use super::conditional::{if_range_holds, is_not_modified, to_not_modified};
use super::content::{Content, Pieces};
use super::entry::{Head, Stored};
use super::range::{Ranges, Span, ranges};
use super::status::{CACHE_STATUS, Status, Ttl};
use super::stream::Reader;
use crate::clock::Tick;

/// A request, as far as it counts for how a stored response is given to it.
#[derive(Clone, Copy, Debug)]
pub(super) struct Ask<'r> {
    pub(super) method: &'r Method,
    pub(super) headers: &'r HeaderMap,
}

/// A stored response as the answer: 304, a part of it, or all.
pub(super) fn stored<B>(
    stored: &Stored,
    ask: Ask<'_>,
    now: Tick,
    mut status: Status<'_>,
    name: &str,
) -> Response<Body<B>> {
    let Stored { head, content } = stored;
    head.touch(now);
    let mut headers = aged(head, now);
    status.ttl = Some(Ttl { lifetime: head.terms.lifetime, age: head.age(now) });
    status.append(name, &mut headers);
    if conditions_end_it(head.status, &mut headers, ask, head.received_at) {
        return response(StatusCode::NOT_MODIFIED, headers, Body::empty());
    }
    let (total, from) = match head.part {
        Some(part) => (part.total, part.span.first),
        None => (content.len(), 0),
    };
    // A part was chosen for what is asked, and is never sent as if it were the whole.
    let may_be_part = || {
        head.part.is_some()
            || head.status == StatusCode::OK && if_range_holds(ask.headers, &headers)
    };
    let asks_for_part =
        ask.method == Method::GET && ask.headers.contains_key(RANGE) && may_be_part();
    if asks_for_part {
        match ranges(ask.headers, total) {
            Ranges::Whole => {}
            Ranges::One(span) => return part(content, span, from, total, headers),
            Ranges::Several(spans) => return parts(content, &spans, headers),
            Ranges::Unsatisfiable => return unsatisfiable(content, &headers),
        }
    }
    if ask.method == Method::HEAD {
        if may_have_content(head.status) {
            headers.entry(CONTENT_LENGTH).or_insert_with(|| content.len().into());
        }
        return response(head.status, headers, Body::empty());
    }
    response(head.status, headers, Body::stored(content.pieces()))
}

/// A response that is still coming, for one who waited for it with others.
pub(super) fn live<B>(
    head: &Head,
    reader: Reader,
    ask: Ask<'_>,
    now: Tick,
    status: Status<'_>,
    name: &str,
) -> Response<Body<B>> {
    let mut headers = aged(head, now);
    status.append(name, &mut headers);
    if conditions_end_it(head.status, &mut headers, ask, head.received_at) {
        return response(StatusCode::NOT_MODIFIED, headers, Body::empty());
    }
    response(head.status, headers, Body::shared(reader))
}

/// Whether a request's conditions make a 304 of a response; then its fields are those of one.
/// They count only for what would be a success (RFC 9110, section 13.2.1).
pub(super) fn conditions_end_it(
    status: StatusCode,
    headers: &mut HeaderMap,
    ask: Ask<'_>,
    received: std::time::SystemTime,
) -> bool {
    let ends = status.is_success() && is_not_modified(ask.headers, headers, received);
    if ends {
        to_not_modified(headers);
    }
    ends
}

/// An answer of the cache's own.
pub(super) fn own<B>(code: StatusCode, status: &Status<'_>, name: &str) -> Response<Body<B>> {
    let mut headers = HeaderMap::new();
    status.append(name, &mut headers);
    response(code, headers, Body::empty())
}

pub(super) fn may_have_content(status: StatusCode) -> bool {
    !matches!(status.as_u16(), 204 | 304)
}

fn aged(head: &Head, now: Tick) -> HeaderMap {
    let mut headers = head.fields.to_map();
    let age = itoa::Buffer::new().format(head.age(now).as_secs()).parse();
    headers.insert(AGE, age.expect("it is of digits"));
    headers
}

fn response<B>(status: StatusCode, headers: HeaderMap, body: Body<B>) -> Response<Body<B>> {
    let mut response = Response::new(body);
    *response.status_mut() = status;
    *response.headers_mut() = headers;
    response
}

/// Bytes of a content of which there are those from `from` on, `total` in all.
fn part<B>(
    content: &Content,
    span: Span,
    from: u64,
    total: u64,
    mut headers: HeaderMap,
) -> Response<Body<B>> {
    let mut frames = Vec::new();
    content.part(Span { first: span.first - from, last: span.last - from }, &mut frames);
    headers.insert(CONTENT_RANGE, content_range(span, total));
    headers.insert(CONTENT_LENGTH, span.len().into());
    response(StatusCode::PARTIAL_CONTENT, headers, Body::stored(Pieces::of(frames)))
}

/// `multipart/byteranges` (RFC 9110, section 14.6).
fn parts<B>(content: &Content, spans: &[Span], mut headers: HeaderMap) -> Response<Body<B>> {
    let boundary = format!("{:032x}", fastrand::u128(..));
    let kind = headers.get(CONTENT_TYPE).cloned();
    let mut frames = Vec::new();
    for span in spans {
        let mut text = format!("\r\n--{boundary}\r\n").into_bytes();
        if let Some(kind) = &kind {
            text.extend_from_slice(b"Content-Type: ");
            text.extend_from_slice(kind.as_bytes());
            text.extend_from_slice(b"\r\n");
        }
        text.extend_from_slice(b"Content-Range: ");
        text.extend_from_slice(content_range(*span, content.len()).as_bytes());
        text.extend_from_slice(b"\r\n\r\n");
        frames.push(Bytes::from(text));
        content.part(*span, &mut frames);
    }
    frames.push(format!("\r\n--{boundary}--\r\n").into());
    let length: u64 = frames.iter().map(|frame| frame.len() as u64).sum();
    let kind = format!("multipart/byteranges; boundary={boundary}");
    headers
        .insert(CONTENT_TYPE, HeaderValue::try_from(kind).expect("it is of visible letters"));
    headers.insert(CONTENT_LENGTH, length.into());
    response(StatusCode::PARTIAL_CONTENT, headers, Body::stored(Pieces::of(frames)))
}

/// It has nothing of what is stored that would let another cache keep it under the URI.
fn unsatisfiable<B>(content: &Content, stored: &HeaderMap) -> Response<Body<B>> {
    let range = format!("bytes */{}", content.len());
    let mut headers = HeaderMap::new();
    for name in [DATE, CACHE_STATUS] {
        for value in stored.get_all(&name) {
            headers.append(&name, value.clone());
        }
    }
    headers
        .insert(CONTENT_RANGE, HeaderValue::try_from(range).expect("it is of visible letters"));
    headers.insert(CONTENT_LENGTH, 0.into());
    response(StatusCode::RANGE_NOT_SATISFIABLE, headers, Body::empty())
}

fn content_range(span: Span, length: u64) -> HeaderValue {
    let text = format!("bytes {}-{}/{length}", span.first, span.last);
    HeaderValue::try_from(text).expect("it is of visible letters")
}
