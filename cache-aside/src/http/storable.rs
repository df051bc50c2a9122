//! May a response be stored? (RFC 9111, section 3.)

use http::header::{AUTHORIZATION, CONTENT_LOCATION, LAST_MODIFIED, SET_COOKIE};
use http::{HeaderMap, Method, StatusCode};

use super::age::date;
use super::conditional::EntityTag;
use super::directives::{Fields, RequestDirectives, ResponseDirectives, Span};
use super::lifetime::{Lifetime, is_heuristically_cacheable};
use super::range::Part;

/// Why a response is not stored; a token of `Cache-Status`' `detail`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Refusal {
    Method,
    Status,
    RequestNoStore,
    NoStore,
    MustUnderstand,
    Private,
    Authorization,
    Vary,
    /// Nothing says that it may be, or it could never be used.
    NoFreshness,
    Cookie,
    TooLarge,
}

impl Refusal {
    pub(super) fn token(self) -> &'static str {
        match self {
            Self::Method => "method",
            Self::Status => "status",
            Self::RequestNoStore => "request-no-store",
            Self::NoStore => "no-store",
            Self::MustUnderstand => "must-understand",
            Self::Private => "private",
            Self::Authorization => "authorization",
            Self::Vary => "vary",
            Self::NoFreshness => "no-freshness",
            Self::Cookie => "set-cookie",
            Self::TooLarge => "too-large",
        }
    }

    /// Whether it is the response that does not allow it, not the request: what was stored
    /// before is over then, and nobody should wait for the next one.
    pub(super) fn is_of_response(self) -> bool {
        !matches!(
            self,
            Self::RequestNoStore | Self::Authorization | Self::Method | Self::Status
        )
    }
}

/// A request and its response, as far as they count.
#[derive(Clone, Copy, Debug)]
pub(super) struct Candidate<'c> {
    pub(super) method: &'c Method,
    pub(super) request: &'c HeaderMap,
    pub(super) asked: &'c RequestDirectives,
    pub(super) status: StatusCode,
    pub(super) headers: &'c HeaderMap,
    pub(super) said: &'c ResponseDirectives,
    pub(super) lifetime: Lifetime,
    /// Whether `Content-Location` names the target: what a POST needs.
    pub(super) at_target: bool,
    /// Of a 206: what it is a part of.
    pub(super) part: Option<Part>,
}

pub(super) fn storable(candidate: &Candidate<'_>) -> Result<(), Refusal> {
    let Candidate { method, request, asked, status, headers, said, lifetime, .. } = *candidate;
    let explicit = lifetime.is_explicit();
    match *method {
        Method::GET => {}
        // RFC 9110, section 9.3.3.
        Method::POST
            if explicit
                && status == StatusCode::OK
                && headers.contains_key(CONTENT_LOCATION)
                && candidate.at_target => {}
        _ => return Err(Refusal::Method),
    }
    // A 304 is no answer of its own, and a part has to say of what. The others are about fields
    // of the request that are in no key: one client could choose them for all.
    let partial = status == StatusCode::PARTIAL_CONTENT;
    if status.is_informational()
        || matches!(status.as_u16(), 304 | 412 | 413 | 416 | 417 | 431)
        || (partial && candidate.part.is_none())
    {
        return Err(Refusal::Status);
    }
    if asked.no_store {
        return Err(Refusal::RequestNoStore);
    }
    match (said.must_understand, is_understood(status)) {
        (true, false) => return Err(Refusal::MustUnderstand),
        // Section 5.2.2.3: it then takes the place of `no-store`.
        (true, true) => {}
        (false, _) if said.no_store => return Err(Refusal::NoStore),
        (false, _) => {}
    }
    if said.private == Fields::Whole && !cfg!(broken = "http_private") {
        return Err(Refusal::Private);
    }
    // Section 3.5.
    let is_for_all =
        said.public || said.must_revalidate || matches!(said.s_maxage, Span::Of(_));
    if request.contains_key(AUTHORIZATION) && !is_for_all {
        return Err(Refusal::Authorization);
    }
    if !(explicit
        || said.public
        || said.private != Fields::None
        || is_heuristically_cacheable(status))
    {
        return Err(Refusal::NoFreshness);
    }
    let useful = !lifetime.span().is_zero()
        || has_validator(headers)
        || said.stale_while_revalidate.is_some()
        || said.stale_if_error.is_some();
    if !useful {
        return Err(Refusal::NoFreshness);
    }
    // Section 7.3 allows it; what nobody has said to be for all is not guessed to be.
    if headers.contains_key(SET_COOKIE) && !explicit {
        return Err(Refusal::Cookie);
    }
    Ok(())
}

fn has_validator(headers: &HeaderMap) -> bool {
    EntityTag::of(headers).is_some() || date(headers, &LAST_MODIFIED).is_some()
}

/// Statuses whose caching requirements this cache knows.
fn is_understood(status: StatusCode) -> bool {
    matches!(
        status.as_u16(),
        200 | 203
            | 204
            | 206
            | 300
            | 301
            | 302
            | 303
            | 307
            | 308
            | 404
            | 405
            | 410
            | 414
            | 451
            | 501
    )
}

#[cfg(test)]
mod tests {
    use std::time::{Duration, SystemTime};

    use http::{HeaderName, HeaderValue};

    use super::super::lifetime::{Heuristic, lifetime};
    use super::*;

    type Pairs<'p> = &'p [(&'static str, &'p str)];

    fn map(pairs: Pairs<'_>) -> HeaderMap {
        let mut headers = HeaderMap::new();
        for (name, value) in pairs {
            headers.append(*name, HeaderValue::from_str(value).unwrap());
        }
        headers
    }

    fn decide(
        method: Method,
        request: Pairs<'_>,
        status: u16,
        response: Pairs<'_>,
    ) -> Result<(), Refusal> {
        let (request, headers) = (map(request), map(response));
        let said =
            ResponseDirectives::of(&headers, &[HeaderName::from_static("cdn-cache-control")]);
        let status = StatusCode::from_u16(status).unwrap();
        let heuristic = Heuristic { share: 0.1, most: Duration::from_secs(86_400) };
        let received = SystemTime::UNIX_EPOCH + Duration::from_secs(784_111_777);
        storable(&Candidate {
            method: &method,
            request: &request,
            asked: &RequestDirectives::of(&request),
            status,
            headers: &headers,
            said: &said,
            lifetime: lifetime(status, &headers, &said, received, Some(heuristic)),
            at_target: true,
            part: None,
        })
    }

    fn get(response: Pairs<'_>) -> Result<(), Refusal> {
        decide(Method::GET, &[], 200, response)
    }

    const FRESH: (&str, &str) = ("cache-control", "max-age=60");
    const TAG: (&str, &str) = ("etag", "\"a\"");

    #[test]
    fn what_is_explicitly_fresh_is_stored_whatever_its_status() {
        for status in
            [200, 201, 202, 203, 204, 299, 302, 303, 400, 403, 404, 418, 499, 500, 503, 599]
        {
            assert_eq!(decide(Method::GET, &[], status, &[FRESH]), Ok(()), "{status}");
        }
        assert_eq!(decide(Method::GET, &[], 206, &[FRESH]), Err(Refusal::Status));
        for of_the_request in [304, 412, 413, 416, 417, 431] {
            assert_eq!(
                decide(Method::GET, &[], of_the_request, &[FRESH]),
                Err(Refusal::Status)
            );
        }
    }

    #[test]
    fn what_is_not_is_stored_if_its_status_allows_and_it_can_be_validated() {
        assert_eq!(get(&[TAG]), Ok(()));
        assert_eq!(get(&[("last-modified", "Sun, 06 Nov 1994 08:49:37 GMT")]), Ok(()));
        assert_eq!(get(&[]), Err(Refusal::NoFreshness));
        assert_eq!(get(&[("etag", "unquoted")]), Err(Refusal::NoFreshness));
        assert_eq!(decide(Method::GET, &[], 201, &[TAG]), Err(Refusal::NoFreshness));
        let public = ("cache-control", "public");
        assert_eq!(decide(Method::GET, &[], 201, &[TAG, public]), Ok(()));
        assert_eq!(get(&[("cache-control", "max-age=0")]), Err(Refusal::NoFreshness));
        assert_eq!(get(&[("cache-control", "max-age=0"), TAG]), Ok(()));
        assert_eq!(get(&[("cache-control", "max-age=0, stale-while-revalidate=9")]), Ok(()));
        assert_eq!(get(&[("cache-control", "no-cache"), TAG]), Ok(()));
    }

    #[test]
    fn what_must_not_be_stored_is_not() {
        let says = |text| get(&[("cache-control", text)]);
        assert_eq!(says("max-age=60, no-store"), Err(Refusal::NoStore));
        assert_eq!(says("max-age=60, NO-STORE"), Err(Refusal::NoStore));
        assert_eq!(says("max-age=60, private"), Err(Refusal::Private));
        assert_eq!(says("max-age=60, private=\"x-a\""), Ok(()));
        let asks = [("cache-control", "no-store")];
        assert_eq!(decide(Method::GET, &asks, 200, &[FRESH]), Err(Refusal::RequestNoStore));
    }

    #[test]
    fn who_understands_need_not_refuse() {
        let says = [("cache-control", "max-age=60, no-store, must-understand")];
        assert_eq!(decide(Method::GET, &[], 200, &says), Ok(()));
        assert_eq!(decide(Method::GET, &[], 599, &says), Err(Refusal::MustUnderstand));
    }

    #[test]
    fn with_authorization_only_what_is_said_to_be_for_all() {
        let with = |text| {
            decide(
                Method::GET,
                &[("authorization", "Basic x")],
                200,
                &[("cache-control", text)],
            )
        };
        assert_eq!(with("max-age=60"), Err(Refusal::Authorization));
        assert_eq!(with("max-age=60, proxy-revalidate"), Err(Refusal::Authorization));
        assert_eq!(with("s-maxage=x, max-age=60"), Err(Refusal::Authorization));
        for allowed in ["max-age=60, public", "s-maxage=60", "max-age=60, must-revalidate"] {
            assert_eq!(with(allowed), Ok(()), "{allowed}");
        }
    }

    #[test]
    fn of_other_methods_only_a_post_that_says_so() {
        let full = [FRESH, ("content-location", "/")];
        assert_eq!(decide(Method::POST, &[], 200, &full), Ok(()));
        assert_eq!(decide(Method::POST, &[], 200, &full[..1]), Err(Refusal::Method));
        assert_eq!(decide(Method::POST, &[], 201, &full), Err(Refusal::Method));
        let guessed = [("last-modified", "Sun, 06 Nov 1993 08:49:37 GMT"), full[1]];
        assert_eq!(decide(Method::POST, &[], 200, &guessed), Err(Refusal::Method));
        for method in [Method::HEAD, Method::PUT, Method::OPTIONS, Method::DELETE] {
            assert_eq!(decide(method, &[], 200, &full), Err(Refusal::Method));
        }
    }

    #[test]
    fn a_cookie_needs_to_be_said_to_be_for_all() {
        let cookie = ("set-cookie", "a=b");
        assert_eq!(get(&[cookie, FRESH]), Ok(()));
        assert_eq!(get(&[cookie, TAG]), Err(Refusal::Cookie));
    }

    #[test]
    fn a_targeted_field_takes_the_place_of_the_others() {
        let own = ("cdn-cache-control", "max-age=60");
        assert_eq!(get(&[own, ("cache-control", "no-store")]), Ok(()));
        let none = ("cdn-cache-control", "no-store");
        assert_eq!(get(&[none, FRESH]), Err(Refusal::NoStore));
        let invalid = ("cdn-cache-control", "max-age=");
        assert_eq!(get(&[invalid, FRESH]), Ok(()));
    }
}
