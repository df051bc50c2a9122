//! Conditional requests that a cache answers by itself (RFC 9110, section 13; RFC 9111,
//! section 4.3.2).

use std::time::{Duration, SystemTime};

use http::HeaderMap;
use http::header::{
    CONTENT_ENCODING, CONTENT_LANGUAGE, CONTENT_LENGTH, CONTENT_RANGE, CONTENT_TYPE, DATE,
    ETAG, IF_MODIFIED_SINCE, IF_NONE_MATCH, IF_RANGE, LAST_MODIFIED,
};

use super::age::date;

/// An entity tag, as it is written.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct EntityTag<'t> {
    weak: bool,
    opaque: &'t [u8],
}

impl<'t> EntityTag<'t> {
    /// Reads one from the beginning; what comes after it is left.
    fn split(text: &'t [u8]) -> Option<(Self, &'t [u8])> {
        let (weak, quoted) = match text.strip_prefix(b"W/") {
            Some(rest) => (true, rest),
            None => (false, text),
        };
        let inner = quoted.strip_prefix(b"\"")?;
        let end = inner.iter().position(|byte| *byte == b'"')?;
        let opaque = &inner[..end];
        opaque
            .iter()
            .all(|byte| *byte == 0x21 || (0x23..=0x7E).contains(byte) || *byte >= 0x80)
            .then(|| (Self { weak, opaque }, &inner[end + 1..]))
    }

    pub(super) fn parse(text: &'t [u8]) -> Option<Self> {
        Self::split(text.trim_ascii()).filter(|(_, rest)| rest.is_empty()).map(|(tag, _)| tag)
    }

    /// That of a response; none if there are several.
    pub(super) fn of(headers: &'t HeaderMap) -> Option<Self> {
        let mut lines = headers.get_all(ETAG).iter();
        let first = lines.next()?;
        if lines.next().is_some() {
            return None;
        }
        Self::parse(first.as_bytes())
    }

    pub(super) fn is_strong(self) -> bool {
        !self.weak
    }

    pub(super) fn matches_weakly(self, other: EntityTag<'_>) -> bool {
        self.opaque == other.opaque
    }

    pub(super) fn matches_strongly(self, other: EntityTag<'_>) -> bool {
        !self.weak && !other.weak && self.opaque == other.opaque
    }
}

/// Whether a list of tags has one that matches weakly, or is `*`. A list ends at what is no
/// tag: what was read until there counts.
fn list_has(mut text: &[u8], tag: Option<EntityTag<'_>>) -> bool {
    text = text.trim_ascii();
    if text == b"*" {
        return true;
    }
    let Some(tag) = tag else { return false };
    loop {
        text = skip(text);
        match EntityTag::split(text) {
            Some((listed, rest)) => {
                if listed.matches_weakly(tag) {
                    return true;
                }
                text = rest;
            }
            None => return false,
        }
    }
}

/// Commas and white space before the next tag.
fn skip(text: &[u8]) -> &[u8] {
    let end = text.iter().position(|byte| !matches!(byte, b',' | b' ' | b'\t'));
    &text[end.unwrap_or(text.len())..]
}

/// Whether a request's condition says that the client has what is stored, so that the answer
/// is 304. `received` stands in for a date that is missing.
pub(super) fn is_not_modified(
    request: &HeaderMap,
    stored: &HeaderMap,
    received: SystemTime,
) -> bool {
    if request.contains_key(IF_NONE_MATCH) {
        // It comes first, and alone (RFC 9110, section 13.2.2).
        let tag = EntityTag::of(stored);
        return request
            .get_all(IF_NONE_MATCH)
            .iter()
            .any(|line| list_has(line.as_bytes(), tag));
    }
    // One of several members is ignored (RFC 9110, section 13.1.3).
    if request.get_all(IF_MODIFIED_SINCE).iter().count() > 1 {
        return false;
    }
    let Some(since) = date(request, &IF_MODIFIED_SINCE) else { return false };
    let modified = if stored.contains_key(LAST_MODIFIED) {
        date(stored, &LAST_MODIFIED)
    } else {
        Some(date(stored, &DATE).unwrap_or(received))
    };
    modified.is_some_and(|modified| modified <= since)
}

/// Whether a range may be taken from what is stored: there is no `If-Range`, or it matches
/// (RFC 9110, section 13.1.5).
pub(super) fn if_range_holds(request: &HeaderMap, stored: &HeaderMap) -> bool {
    let mut lines = request.get_all(IF_RANGE).iter();
    let Some(line) = lines.next() else { return true };
    if lines.next().is_some() {
        return false;
    }
    if let Some(tag) = EntityTag::parse(line.as_bytes()) {
        return EntityTag::of(stored).is_some_and(|stored| stored.matches_strongly(tag));
    }
    let asked = date(request, &IF_RANGE);
    asked.is_some() && asked == strong_date(stored)
}

/// `Last-Modified`, if it is a strong validator: at least a second before the `Date` of the
/// response (RFC 9110, section 8.8.2.2).
pub(super) fn strong_date(stored: &HeaderMap) -> Option<SystemTime> {
    let (modified, dated) = (date(stored, &LAST_MODIFIED)?, date(stored, &DATE)?);
    let since = dated.duration_since(modified).ok()?;
    (since >= Duration::from_secs(1)).then_some(modified)
}

/// Leaves in a header section what a 304 has (RFC 9110, section 15.4.5).
pub(super) fn to_not_modified(headers: &mut HeaderMap) {
    for name in
        [CONTENT_LENGTH, CONTENT_TYPE, CONTENT_ENCODING, CONTENT_LANGUAGE, CONTENT_RANGE]
    {
        headers.remove(name);
    }
    if headers.contains_key(ETAG) {
        headers.remove(LAST_MODIFIED);
    }
}

#[cfg(test)]
mod tests {
    use std::time::UNIX_EPOCH;

    use http::HeaderValue;
    use proptest::prelude::*;

    use super::*;

    fn map(pairs: &[(&'static str, &str)]) -> HeaderMap {
        let mut headers = HeaderMap::new();
        for (name, value) in pairs {
            headers.append(*name, HeaderValue::from_str(value).unwrap());
        }
        headers
    }

    fn not_modified(request: &[(&'static str, &str)], stored: &[(&'static str, &str)]) -> bool {
        is_not_modified(&map(request), &map(stored), UNIX_EPOCH)
    }

    const THEN: &str = "Sun, 06 Nov 1994 08:49:37 GMT";
    const LATER: &str = "Sun, 06 Nov 1994 08:49:38 GMT";

    #[test]
    fn tags_are_compared_weakly() {
        for (asked, stored, equal) in [
            ("\"a\"", "\"a\"", true),
            ("W/\"a\"", "\"a\"", true),
            ("\"a\"", "W/\"a\"", true),
            ("\"b\", W/\"a\"", "W/\"a\"", true),
            ("\"x,y\" ,, \"a\"", "\"a\"", true),
            ("*", "\"a\"", true),
            ("\"b\"", "\"a\"", false),
            ("\"A\"", "\"a\"", false),
            ("w/\"a\"", "\"a\"", false),
            ("a", "\"a\"", false),
            ("a, \"a\"", "\"a\"", false),
            ("\"a", "\"a\"", false),
            ("\"a\"", "a", false),
            ("", "\"a\"", false),
        ] {
            let asks = [("if-none-match", asked)];
            assert_eq!(not_modified(&asks, &[("etag", stored)]), equal, "{asked} of {stored}");
        }
        let asks = [("if-none-match", "\"b\""), ("if-none-match", "\"a\"")];
        assert!(not_modified(&asks, &[("etag", "\"a\"")]), "in its second line");
        let two = [("etag", "\"a\""), ("etag", "\"b\"")];
        assert!(!not_modified(&[("if-none-match", "\"a\"")], &two));
    }

    #[test]
    fn a_tag_that_does_not_match_leaves_no_say_to_a_date() {
        let asks = [("if-none-match", "\"b\""), ("if-modified-since", LATER)];
        assert!(!not_modified(&asks, &[("etag", "\"a\""), ("last-modified", THEN)]));
        assert!(not_modified(&asks[1..], &[("etag", "\"a\""), ("last-modified", THEN)]));
    }

    #[test]
    fn dates_are_compared_as_dates() {
        let since = |text| [("if-modified-since", text)];
        assert!(not_modified(&since(THEN), &[("last-modified", THEN)]));
        assert!(not_modified(&since(LATER), &[("last-modified", THEN)]));
        assert!(!not_modified(&since(THEN), &[("last-modified", LATER)]));
        assert!(not_modified(
            &since("Sunday, 06-Nov-94 08:49:37 GMT"),
            &[("last-modified", THEN)]
        ));
        assert!(!not_modified(&since("soon"), &[("last-modified", THEN)]));
        assert!(!not_modified(&since(THEN), &[("last-modified", "soon"), ("date", THEN)]));
        assert!(not_modified(&since(THEN), &[("date", THEN)]), "without one, when it was made");
        assert!(!not_modified(&since(THEN), &[("date", LATER)]));
        assert!(not_modified(&since(THEN), &[]), "or when it came");
        let twice = [("if-modified-since", THEN), ("if-modified-since", THEN)];
        assert!(!not_modified(&twice, &[("last-modified", THEN)]));
    }

    #[test]
    fn a_range_is_given_only_of_what_is_byte_for_byte_the_same() {
        let stored = [("etag", "\"a\""), ("last-modified", THEN), ("date", LATER)];
        for (asked, holds) in [
            ("\"a\"", true),
            ("W/\"a\"", false),
            ("\"b\"", false),
            (THEN, true),
            (LATER, false),
            ("nonsense", false),
        ] {
            let request = map(&[("if-range", asked)]);
            assert_eq!(if_range_holds(&request, &map(&stored)), holds, "{asked}");
        }
        assert!(if_range_holds(&map(&[]), &map(&stored)));
        let weak = map(&[("etag", "W/\"a\"")]);
        assert!(!if_range_holds(&map(&[("if-range", "W/\"a\"")]), &weak));
        let same_second = map(&[("last-modified", THEN), ("date", THEN)]);
        assert!(!if_range_holds(&map(&[("if-range", THEN)]), &same_second));
    }

    #[test]
    fn a_304_says_nothing_of_a_content() {
        let mut headers = map(&[
            ("etag", "\"a\""),
            ("date", THEN),
            ("last-modified", THEN),
            ("content-length", "5"),
            ("content-type", "text/plain"),
            ("cache-control", "max-age=5"),
            ("vary", "accept"),
            ("content-location", "/a"),
            ("x-other", "1"),
        ]);
        to_not_modified(&mut headers);
        let mut left: Vec<_> = headers.keys().map(|name| name.as_str()).collect();
        left.sort_unstable();
        assert_eq!(
            left,
            ["cache-control", "content-location", "date", "etag", "vary", "x-other"]
        );
    }

    proptest! {
        #[test]
        fn no_list_panics(line in any::<Vec<u8>>()) {
            list_has(&line, EntityTag::parse(b"\"a\""));
            EntityTag::parse(&line);
        }
    }
}
