//! Field values as RFC 9110, section 5.6, has them: lists, tokens, quoted strings. Linear in
//! their input, and never failing: what is no member is left to who reads it.

use std::borrow::Cow;

use http::{HeaderMap, HeaderName};

/// The members of a list-based field, all of its lines together: what is between commas
/// that are not in a quoted string, without the white space around. Empty ones are left out.
pub(super) fn members<'h>(
    headers: &'h HeaderMap,
    name: &HeaderName,
) -> impl Iterator<Item = &'h [u8]> {
    headers.get_all(name).iter().flat_map(|line| split(line.as_bytes(), b','))
}

/// What is between `by`, unless that is in a quoted string.
pub(super) fn split(line: &[u8], by: u8) -> impl Iterator<Item = &[u8]> {
    let mut rest = Some(line);
    std::iter::from_fn(move || {
        let line = rest?;
        let (mut quoted, mut escaped) = (false, false);
        let end = line.iter().position(|byte| {
            let ends = *byte == by && !quoted;
            match *byte {
                _ if escaped => escaped = false,
                b'\\' if quoted => escaped = true,
                b'"' => quoted = !quoted,
                _ => {}
            }
            ends
        });
        rest = end.map(|end| &line[end + 1..]);
        Some(line[..end.unwrap_or(line.len())].trim_ascii())
    })
    .filter(|member| !member.is_empty())
}

/// A member of the form `name=value`, or `name` alone. White space around the `=` is not
/// allowed, and is met: the name then counts, and the value is none that means anything.
pub(super) fn parameter(member: &[u8]) -> (&[u8], Option<&[u8]>) {
    match member.iter().position(|byte| *byte == b'=') {
        Some(at) => {
            let name = member[..at].trim_ascii();
            (name, Some(if name.len() < at { &member[at..] } else { &member[at + 1..] }))
        }
        None => (member, None),
    }
}

/// The words of a member that is neither `name` nor `name=value` with a token or a quoted
/// string that ends: what its writer may have meant by it. None of one that is well formed.
pub(super) fn words(member: &[u8]) -> impl Iterator<Item = &[u8]> {
    let malformed = !is_well_formed(member);
    let separates = |byte: &u8| matches!(byte, b',' | b';' | b'=' | b'"' | b' ' | b'\t');
    member.split(separates).filter(move |word| malformed && !word.is_empty())
}

fn is_well_formed(member: &[u8]) -> bool {
    let (name, value) = parameter(member);
    let quoted = |value: &[u8]| {
        let mut inner = value[1..].iter();
        while let Some(byte) = inner.next() {
            match byte {
                b'"' => return inner.as_slice().is_empty(),
                b'\\' => drop(inner.next()),
                _ => {}
            }
        }
        false
    };
    is_token(name)
        && value.is_none_or(|value| {
            if value.starts_with(b"\"") { quoted(value) } else { is_token(value) }
        })
}

/// RFC 9110, section 5.6.2.
fn is_token(text: &[u8]) -> bool {
    let special = b"!#$%&'*+-.^_`|~";
    !text.is_empty()
        && text.iter().all(|byte| byte.is_ascii_alphanumeric() || special.contains(byte))
}

/// What a token or a quoted string says. A quoted string that does not end says what is there.
pub(super) fn unquoted(value: &[u8]) -> Cow<'_, [u8]> {
    let Some(inner) = value.strip_prefix(b"\"") else { return Cow::Borrowed(value) };
    let (mut text, mut escaped) = (Vec::new(), false);
    let end = inner.iter().position(|byte| {
        let ends = *byte == b'"' && !escaped;
        escaped = *byte == b'\\' && !escaped;
        ends
    });
    let inner = &inner[..end.unwrap_or(inner.len())];
    if !inner.contains(&b'\\') {
        return Cow::Borrowed(inner);
    }
    let mut bytes = inner.iter();
    while let Some(byte) = bytes.next() {
        text.push(if *byte == b'\\' { *bytes.next().unwrap_or(byte) } else { *byte });
    }
    Cow::Owned(text)
}

#[cfg(test)]
mod tests {
    use http::HeaderValue;
    use proptest::prelude::*;

    use super::*;

    fn list(line: &[u8]) -> Vec<&[u8]> {
        split(line, b',').collect()
    }

    #[test]
    fn commas_within_quotes_do_not_end_a_member() {
        assert_eq!(list(b"a, b ,c"), [b"a", b"b", b"c"]);
        assert_eq!(list(b" , ,, a ,"), [b"a"]);
        assert_eq!(list(br#"a="1, 2", b"#), [&br#"a="1, 2""#[..], b"b"]);
        assert_eq!(list(br#"a="\", b", c"#), [&br#"a="\", b""#[..], b"c"]);
        assert_eq!(list(br#"a="never ends, b"#), [br#"a="never ends, b"#]);
        assert_eq!(list(b""), [b""; 0]);
    }

    #[test]
    fn lines_are_one_list() {
        let mut headers = HeaderMap::new();
        let name = HeaderName::from_static("vary");
        for line in ["a, b", "", "c"] {
            headers.append(&name, HeaderValue::from_static(line));
        }
        assert_eq!(members(&headers, &name).collect::<Vec<_>>(), [b"a", b"b", b"c"]);
    }

    #[test]
    fn a_quoted_string_says_what_is_in_it() {
        assert_eq!(&*unquoted(b"60"), b"60");
        assert_eq!(&*unquoted(br#""60""#), b"60");
        assert_eq!(&*unquoted(br#""a\"b\\c""#), br#"a"b\c"#);
        assert_eq!(&*unquoted(br#""open"#), b"open");
        assert_eq!(&*unquoted(br#""open\"#), br"open\");
        assert_eq!(&*unquoted(br#""""#), b"");
    }

    #[test]
    fn a_parameter_has_a_name_and_may_have_a_value() {
        assert_eq!(parameter(b"max-age=60"), (&b"max-age"[..], Some(&b"60"[..])));
        assert_eq!(parameter(b"max-age =60"), (&b"max-age"[..], Some(&b"=60"[..])));
        assert_eq!(parameter(b"max-age= 60"), (&b"max-age"[..], Some(&b" 60"[..])));
        assert_eq!(parameter(b"public"), (&b"public"[..], None));
        assert_eq!(parameter(b"a=b=c"), (&b"a"[..], Some(&b"b=c"[..])));
        assert_eq!(parameter(b"=b"), (&b""[..], Some(&b"b"[..])));
    }

    #[test]
    fn only_what_is_malformed_has_words() {
        let of = |member| words(member).collect::<Vec<_>>();
        for member in [&b"a"[..], b"a=b", br#"a="b, c""#, br#"a="\"""#, br#"a="""#] {
            assert!(of(member).is_empty(), "{:?}", std::str::from_utf8(member));
        }
        assert_eq!(of(b"a; b"), [b"a", b"b"]);
        assert_eq!(of(br#"x="a, b c"#), [b"x", b"a", b"b", b"c"]);
        assert_eq!(of(br#"x="a"b"#), [b"x", b"a", b"b"]);
        assert_eq!(of(b"a=b;c"), [b"a", b"b", b"c"]);
    }

    proptest! {
        #[test]
        fn nothing_panics_and_nothing_is_invented(line in any::<Vec<u8>>()) {
            for member in split(&line, b',') {
                prop_assert!(line.windows(member.len()).any(|part| part == member));
                let (name, value) = parameter(member);
                prop_assert!(unquoted(value.unwrap_or(name)).len() <= line.len());
            }
        }
    }
}
