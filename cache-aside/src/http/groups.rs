//! Groups of responses that are invalidated together (RFC 9875).

use http::{HeaderMap, HeaderName};
use sfparse::{Parser, Value};

pub(super) const CACHE_GROUPS: HeaderName = HeaderName::from_static("cache-groups");
pub(super) const CACHE_GROUP_INVALIDATION: HeaderName =
    HeaderName::from_static("cache-group-invalidation");

/// The most groups of one field that are looked at; RFC 9875, section 2, asks for 32.
pub(super) const MOST: usize = 1_024;

/// The names in a field that is a list of strings, as they are written between the quotes. None of
/// them if it is not such a list, or has too many.
pub(super) fn names(headers: &HeaderMap, field: &HeaderName) -> Vec<Vec<u8>> {
    let mut joined = Vec::new();
    for line in headers.get_all(field) {
        if !joined.is_empty() {
            joined.extend_from_slice(b", ");
        }
        joined.extend_from_slice(line.as_bytes());
    }
    strings(&joined).unwrap_or_default()
}

fn strings(text: &[u8]) -> Option<Vec<Vec<u8>>> {
    let mut parser = Parser::new(text);
    let mut names = Vec::new();
    while let Some(member) = parser.parse_list().ok()? {
        let Value::String { range, escape } = member else { return None };
        if names.len() == MOST {
            return None;
        }
        names.push(if escape { unescaped(&text[range]) } else { text[range].to_vec() });
    }
    Some(names)
}

fn unescaped(text: &[u8]) -> Vec<u8> {
    let mut bytes = text.iter();
    let mut plain = Vec::with_capacity(text.len());
    while let Some(byte) = bytes.next() {
        plain.push(if *byte == b'\\' { *bytes.next().unwrap_or(byte) } else { *byte });
    }
    plain
}

#[cfg(test)]
mod tests {
    use http::HeaderValue;

    use super::*;

    fn of(lines: &[&str]) -> Vec<String> {
        let mut headers = HeaderMap::new();
        for line in lines {
            headers.append(CACHE_GROUPS, HeaderValue::from_str(line).unwrap());
        }
        let text = |name| String::from_utf8(name).unwrap();
        names(&headers, &CACHE_GROUPS).into_iter().map(text).collect()
    }

    #[test]
    fn groups_are_a_list_of_strings() {
        assert_eq!(of(&["\"a\", \"b c\";x=1", "\"A\""]), ["a", "b c", "A"]);
        assert_eq!(of(&["\"a\\\"b\""]), ["a\"b"]);
        for none in ["", "a", "\"a\", b", "\"a", "\"a\",", "(\"a\")", "1", "\"a\" \"b\""] {
            assert_eq!(of(&[none]), [""; 0], "{none}");
        }
        let many = |count| vec!["\"g\""; count].join(", ");
        assert_eq!(of(&[&many(MOST)]).len(), MOST);
        assert_eq!(of(&[&many(MOST + 1)]).len(), 0);
    }
}
