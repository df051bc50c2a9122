use http::{HeaderMap, HeaderName};
use sfparse::{Parser, Value};

use super::response::ResponseDirectives;

/// Those that this cache knows. Others are not kept, so that any number of them costs nothing.
const KNOWN: [&str; 12] = [
    "max-age",
    "s-maxage",
    "no-cache",
    "private",
    "no-store",
    "public",
    "must-revalidate",
    "proxy-revalidate",
    "must-understand",
    "immutable",
    "stale-while-revalidate",
    "stale-if-error",
];

/// The directives of a targeted field (RFC 9213, section 2.1): a dictionary of RFC 9651,
/// strictly. None if the field is not there, empty, or invalid: then it is as if it were not
/// there.
pub(super) fn directives(
    headers: &HeaderMap,
    target: &HeaderName,
) -> Option<ResponseDirectives> {
    let mut lines = headers.get_all(target).iter();
    let first = lines.next()?;
    // Lines are one list (RFC 9651, section 4.2).
    let mut joined = first.as_bytes().to_vec();
    for line in lines {
        joined.extend_from_slice(b", ");
        joined.extend_from_slice(line.as_bytes());
    }
    let mut parser = Parser::new(&joined);
    // Of two of one name the last holds.
    let mut members: [Option<Value>; KNOWN.len()] = [const { None }; KNOWN.len()];
    let mut empty = true;
    while let Some((name, value)) = parser.parse_dict().ok()? {
        empty = false;
        if let Some(at) = KNOWN.iter().position(|known| *known == name) {
            members[at] = Some(value);
        }
    }
    if empty {
        return None;
    }
    let mut all = ResponseDirectives::default();
    for (name, value) in KNOWN.iter().zip(members) {
        // A lifetime is an integer, and no string that looks like one (section 2.1).
        let timed =
            name.ends_with("max-age") || name.ends_with("maxage") || name.starts_with("stale");
        let digits;
        let text = match value {
            // A directive that is said to be off is not there.
            None | Some(Value::Bool(false)) => continue,
            Some(Value::Bool(true)) => None,
            Some(Value::Integer(number)) => {
                digits = number.to_string();
                Some(digits.as_bytes())
            }
            // The names of fields have nothing in them that would be escaped.
            Some(Value::String { range, .. } | Value::Token(range)) if !timed => {
                Some(&joined[range])
            }
            // Of another type than this directive has.
            Some(_) => Some(&b"?"[..]),
        };
        all.take(name.as_bytes(), text);
    }
    Some(all)
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use http::HeaderValue;
    use proptest::prelude::*;

    use super::super::response::{Fields, Span};
    use super::*;

    fn of(lines: &[&str]) -> Option<ResponseDirectives> {
        let name = HeaderName::from_static("cdn-cache-control");
        let mut headers = HeaderMap::new();
        for line in lines {
            headers.append(&name, HeaderValue::from_str(line).unwrap());
        }
        directives(&headers, &name)
    }

    fn age(lines: &[&str]) -> Option<Span> {
        of(lines).map(|said| said.max_age)
    }

    #[test]
    fn it_is_a_dictionary_of_integers_and_flags() {
        let said = of(&["max-age=60, must-revalidate, stale-if-error=5"]).unwrap();
        assert_eq!(said.max_age, Span::Of(Duration::from_secs(60)));
        assert!(said.must_revalidate);
        assert_eq!(said.stale_if_error, Some(Duration::from_secs(5)));
        assert_eq!(age(&["max-age=60;x=1"]), Some(Span::Of(Duration::from_secs(60))));
        assert_eq!(age(&["max-age=1", "max-age=60"]), age(&["max-age=60"]), "the last");
        assert_eq!(of(&["no-store=?0"]), Some(ResponseDirectives::default()));
        let named = of(&["private=\"x-a\""]).unwrap();
        assert_eq!(named.private, Fields::Named(vec![HeaderName::from_static("x-a")]));
    }

    #[test]
    fn what_is_no_dictionary_is_not_there() {
        for none in [
            "",
            " ",
            "max-age=",
            "MAX-AGE=60",
            "max-age=60,",
            "max-age = 60",
            "a b",
            "=",
            "\u{e4}",
        ] {
            assert_eq!(of(&[none]), None, "{none:?}");
        }
    }

    #[test]
    fn a_lifetime_of_another_type_is_invalid() {
        for other in [
            "max-age=\"60\"",
            "max-age=60.0",
            "max-age",
            "max-age=a",
            "max-age=-1",
            "max-age=(60)",
        ] {
            assert_eq!(age(&[other]), Some(Span::Invalid), "{other}");
        }
    }

    proptest! {
        #[test]
        fn nothing_panics(line in proptest::collection::vec(0x20_u8..0x7F, 0..60)) {
            let name = HeaderName::from_static("cdn-cache-control");
            let mut headers = HeaderMap::new();
            headers.append(&name, HeaderValue::from_bytes(&line).unwrap());
            directives(&headers, &name);
        }
    }
}
