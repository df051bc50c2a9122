//! Where a request carries its token: RFC 6750, section 2.

use http::header::{AUTHORIZATION, COOKIE, HeaderMap, HeaderValue};
use http::request::Parts;

use super::answer::Challenge;
use super::form::query_has;

/// The names that a token has in a query, where it must never be.
const TOKENS: &[&str] = &["access_token", "refresh_token"];

/// The token of the `Authorization` header. A token in the query is refused
/// whether or not there is one in the header, too: it is in logs by now.
pub(crate) fn bearer<'a>(
    headers: &'a HeaderMap,
    query: Option<&str>,
) -> Result<&'a str, Challenge> {
    if query_has(query, TOKENS) {
        return Err(Challenge::InvalidRequest);
    }
    let mut values = headers.get_all(AUTHORIZATION).iter();
    let value = values.next().ok_or(Challenge::Missing)?;
    if values.next().is_some() {
        return Err(Challenge::InvalidRequest);
    }
    let text = value.to_str().map_err(|_| Challenge::InvalidRequest)?;
    let (scheme, token) = text.split_once(' ').unwrap_or((text, ""));
    if !scheme.eq_ignore_ascii_case("bearer") {
        return Err(Challenge::Missing);
    }
    let token = token.trim_matches(' ');
    if token.is_empty() || token.contains([' ', ',']) {
        return Err(Challenge::InvalidRequest);
    }
    Ok(token)
}

pub(crate) fn has_token_in_query(parts: &Parts) -> bool {
    query_has(parts.uri.query(), TOKENS)
}

/// The value of the cookie `name`; an error if it is there twice.
pub(crate) fn cookie<'a>(headers: &'a HeaderMap, name: &str) -> Result<Option<&'a str>, ()> {
    let mut found = None;
    for value in headers.get_all(COOKIE) {
        // Another cookie may hold anything; ours is ASCII.
        for pair in value.as_bytes().split(|byte| *byte == b';') {
            let Ok(pair) = str::from_utf8(pair) else { continue };
            let Some((has, value)) = pair.trim().split_once('=') else { continue };
            if has == name && found.replace(value.trim_matches('"')).is_some() {
                return Err(());
            }
        }
    }
    Ok(found)
}

/// Takes the cookies of these names out, so that neither handlers nor logs see
/// them, and marks the rest of the credentials as not to be logged.
pub(crate) fn hide(headers: &mut HeaderMap, names: &[&str]) {
    if let Some(value) = headers.get_mut(AUTHORIZATION) {
        value.set_sensitive(true);
    }
    let ours = |pair: &[u8]| {
        let name = pair.split(|byte| *byte == b'=').next().unwrap_or_default();
        names.iter().any(|ours| name.trim_ascii() == ours.as_bytes())
    };
    let has = |value: &HeaderValue| value.as_bytes().split(|b| *b == b';').any(ours);
    if !headers.get_all(COOKIE).iter().any(has) {
        return;
    }
    let values: Vec<_> = headers.get_all(COOKIE).iter().cloned().collect();
    headers.remove(COOKIE);
    for value in values {
        let rest: Vec<_> =
            value.as_bytes().split(|byte| *byte == b';').filter(|pair| !ours(pair)).collect();
        let rest = rest.join(&b';');
        let rest = rest.trim_ascii();
        if let (false, Ok(mut value)) = (rest.is_empty(), HeaderValue::from_bytes(rest)) {
            value.set_sensitive(true);
            headers.append(COOKIE, value);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn headers(name: http::HeaderName, values: &[&str]) -> HeaderMap {
        let mut headers = HeaderMap::new();
        for value in values {
            headers.append(&name, value.parse().unwrap());
        }
        headers
    }

    #[test]
    fn one_bearer_token_in_one_header() {
        for (values, verdict) in [
            (&["Bearer abc"][..], Ok("abc")),
            (&["bEaReR abc"], Ok("abc")),
            (&[], Err(Challenge::Missing)),
            (&["Basic abc"], Err(Challenge::Missing)),
            (&["Bearerabc"], Err(Challenge::Missing)),
            (&["Bearer"], Err(Challenge::InvalidRequest)),
            (&["Bearer "], Err(Challenge::InvalidRequest)),
            (&["Bearer a b"], Err(Challenge::InvalidRequest)),
            (&["Bearer a, Bearer b"], Err(Challenge::InvalidRequest)),
            (&["Bearer a", "Bearer b"], Err(Challenge::InvalidRequest)),
        ] {
            let headers = headers(AUTHORIZATION, values);
            assert_eq!(bearer(&headers, None), verdict, "{values:?}");
            assert_eq!(
                bearer(&headers, Some("access_token=x")),
                Err(Challenge::InvalidRequest)
            );
        }
    }

    #[test]
    fn the_cookie_is_found_once_and_hidden() {
        let mut headers = headers(COOKIE, &["a=1; r=2;b=3", "r =4; c=5", "r=6"]);
        assert_eq!(cookie(&headers, "a"), Ok(Some("1")));
        assert_eq!(cookie(&headers, "r"), Err(()));
        assert_eq!(cookie(&headers, "x"), Ok(None));
        hide(&mut headers, &["r"]);
        let left: Vec<_> = headers.get_all(COOKIE).iter().map(|v| v.as_bytes()).collect();
        assert_eq!(left, [&b"a=1;b=3"[..], b"c=5"]);
        assert_eq!(cookie(&headers, "r"), Ok(None));
    }
}
