//! What a 304 or a HEAD says of what is stored (RFC 9111, sections 3.2, 4.3.4, 4.3.5).

use http::HeaderMap;
use http::header::{
    CONTENT_ENCODING, CONTENT_LENGTH, CONTENT_RANGE, ETAG, HeaderName, LAST_MODIFIED,
};

use super::conditional::{EntityTag, strong_date};

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

/// What a 304 is about (RFC 9111, section 4.3.4).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum About {
    /// What is stored, which is updated.
    Stored,
    /// The same, whose tag is weak, and stays so: where a server compresses, its 304 has the tag
    /// of what is not compressed.
    StoredWeakly,
    /// Something that means the same as what is stored: that is good, and is not updated.
    Equivalent,
    Another,
}

/// A 304 is about what is stored if a validator that it has is the same there. One without any
/// is about what was asked for.
pub(super) fn about(stored: &HeaderMap, not_modified: &HeaderMap) -> About {
    let is = |same: bool| if same { About::Stored } else { About::Another };
    if !not_modified.contains_key(ETAG) {
        return is(same(stored, not_modified, &LAST_MODIFIED));
    }
    let (Some(new), Some(old)) = (EntityTag::of(not_modified), EntityTag::of(stored)) else {
        // What cannot be read was sent as it is, and is compared so.
        return is(same(stored, not_modified, &ETAG));
    };
    if !new.matches_weakly(old) {
        return About::Another;
    }
    if !new.is_strong() || old.is_strong() {
        return About::Stored;
    }
    // A strong tag is of what is stored only if that is strong, too; a date may be both's.
    let dated = not_modified.contains_key(LAST_MODIFIED)
        && strong_date(stored).is_some()
        && same(stored, not_modified, &LAST_MODIFIED);
    if dated { About::StoredWeakly } else { About::Equivalent }
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
        let is_about = |stored: &HeaderMap, new: &HeaderMap| match about(stored, new) {
            About::Stored => true,
            About::Another => false,
            other => panic!("{other:?}"),
        };
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
    fn a_strong_tag_does_not_make_a_weak_one_strong() {
        let modified = ("last-modified", "Sun, 06 Nov 1994 08:49:37 GMT");
        let dated = ("date", "Sun, 06 Nov 1994 08:49:38 GMT");
        let strong = ("etag", "\"a\"");
        let stored = map(&[("etag", "W/\"a\""), modified, dated]);
        assert_eq!(about(&stored, &map(&[strong])), About::Equivalent);
        assert_eq!(about(&stored, &map(&[strong, modified])), About::StoredWeakly);
        assert_eq!(about(&stored, &map(&[strong, ("last-modified", "x")])), About::Equivalent);
        assert_eq!(about(&stored, &map(&[("etag", "\"b\""), modified])), About::Another);
        let same_second = map(&[("etag", "W/\"a\""), modified, ("date", modified.1)]);
        assert_eq!(about(&same_second, &map(&[strong, modified])), About::Equivalent);
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
