use http::{HeaderMap, HeaderName};
use sfparse::{Parser, Value};

use super::response::ResponseDirectives;

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
    let mut members: Vec<(&str, Value<'_>)> = Vec::new();
    while let Some((name, value)) = parser.parse_dict().ok()? {
        members.retain(|(known, _)| *known != name);
        members.push((name, value));
    }
    if members.is_empty() {
        return None;
    }
    let mut all = ResponseDirectives::default();
    for (name, value) in members {
        let digits;
        let value = match value {
            Value::Bool(true) => None,
            Value::Integer(number) => {
                digits = number.to_string();
                Some(digits.as_bytes())
            }
            Value::String(ref text) => Some(text.as_bytes()),
            Value::Token(text) => Some(text.as_bytes()),
            // A directive that is said to be off is not there.
            Value::Bool(false) => continue,
            // Of another type than any directive has.
            _ => Some(&b"?"[..]),
        };
        all.take(name.as_bytes(), value);
    }
    Some(all)
}
