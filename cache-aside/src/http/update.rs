//! What a 304 or a HEAD says of what is stored (RFC 9111, sections 3.2, 4.3.4, 4.3.5).

use http::HeaderMap;
use http::header::{
    CONTENT_ENCODING, CONTENT_LENGTH, CONTENT_RANGE, ETAG, HeaderName, LAST_MODIFIED,
};

use super::conditional::EntityTag;

/// The stored fields with those of an update in place of their own. What describes the content
/// that is stored stays, since that stays, too.
pub(super) fn updated(stored: &HeaderMap, update: &HeaderMap) -> HeaderMap {
    let mut headers = stored.clone();
    for name in update.keys() {
        if [CONTENT_LENGTH, CONTENT_ENCODING, CONTENT_RANGE].contains(name) {
            continue;
        }
        headers.remove(name);
        for value in update.get_all(name) {
            headers.append(name, value.clone());
        }
    }
    headers
}

/// Whether a 304 is about what is stored: a validator that it has is the same there. One
/// without any is about what was asked for.
pub(super) fn is_about(stored: &HeaderMap, not_modified: &HeaderMap) -> bool {
    if not_modified.contains_key(ETAG) {
        let (Some(new), Some(old)) = (EntityTag::of(not_modified), EntityTag::of(stored))
        else {
            // What cannot be read was sent as it is, and is compared so.
            return same(stored, not_modified, &ETAG);
        };
        // A strong one is of what is stored only if that is strong, too.
        return if new.is_strong() {
            new.matches_strongly(old)
        } else {
            new.matches_weakly(old)
        };
    }
    same(stored, not_modified, &LAST_MODIFIED)
}

/// Whether a HEAD describes what is stored (section 4.3.5).
pub(super) fn describes(stored: &HeaderMap, head: &HeaderMap) -> bool {
    [ETAG, LAST_MODIFIED, CONTENT_LENGTH].iter().all(|name| same(stored, head, name))
}

/// Whether what the other has of a field is what is stored.
fn same(stored: &HeaderMap, other: &HeaderMap, name: &HeaderName) -> bool {
    !other.contains_key(name) || stored.get_all(name).iter().eq(other.get_all(name).iter())
}

#[cfg(test)]
mod tests {
    use http::HeaderValue;

    use super::*;

    fn map(pairs: &[(&'static str, &str)]) -> HeaderMap {
        let mut headers = HeaderMap::new();
        for (name, value) in pairs {
            headers.append(*name, HeaderValue::from_str(value).unwrap());
        }
        headers
    }

    #[test]
    fn fields_are_replaced_save_those_of_the_content() {
        let stored = map(&[
            ("a", "1"),
            ("a", "2"),
            ("b", "1"),
            ("content-length", "5"),
            ("content-encoding", "gzip"),
            ("content-type", "text/plain"),
        ]);
        let update = map(&[
            ("a", "3"),
            ("c", "1"),
            ("c", "2"),
            ("content-length", "0"),
            ("content-encoding", "br"),
            ("content-range", "x"),
            ("content-type", "text/html"),
        ]);
        let expected = map(&[
            ("a", "3"),
            ("b", "1"),
            ("c", "1"),
            ("c", "2"),
            ("content-length", "5"),
            ("content-encoding", "gzip"),
            ("content-type", "text/html"),
        ]);
        assert_eq!(updated(&stored, &update), expected);
    }

    #[test]
    fn a_304_of_something_else_is_not_taken() {
        let stored = map(&[("etag", "\"a\""), ("last-modified", "x")]);
        let about = |pairs: &[(&'static str, &str)]| is_about(&stored, &map(pairs));
        assert!(about(&[]));
        assert!(about(&[("etag", "\"a\"")]));
        assert!(about(&[("etag", "\"a\""), ("last-modified", "y")]), "the tag is stronger");
        assert!(about(&[("etag", "W/\"a\"")]));
        assert!(!about(&[("etag", "\"b\"")]));
        assert!(!about(&[("etag", "W/\"b\"")]));
        assert!(about(&[("last-modified", "x")]));
        assert!(!about(&[("last-modified", "y")]));
        assert!(is_about(&map(&[("etag", "odd")]), &map(&[("etag", "odd")])));
        assert!(!is_about(&map(&[]), &map(&[("etag", "\"a\"")])));
    }

    #[test]
    fn a_head_describes_what_is_stored_unless_it_says_otherwise() {
        let stored = map(&[("etag", "\"a\""), ("content-length", "5")]);
        assert!(describes(&stored, &map(&[])));
        assert!(describes(
            &stored,
            &map(&[("etag", "\"a\""), ("content-length", "5"), ("b", "")])
        ));
        assert!(!describes(&stored, &map(&[("content-length", "6")])));
        assert!(!describes(&stored, &map(&[("etag", "\"b\"")])));
        assert!(!describes(&stored, &map(&[("last-modified", "x")])));
    }
}
