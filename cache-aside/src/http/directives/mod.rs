//! `Cache-Control`, of requests and of responses, and its targeted form.

mod request;
mod response;
mod targeted;

use std::time::Duration;

pub(super) use self::request::RequestDirectives;
pub(super) use self::response::{Fields, ResponseDirectives, Span};
use super::field::unquoted;

/// The longest that is told apart: 2^31 s, as RFC 9111, section 1.2.2, has it.
const LONGEST: u64 = 1 << 31;

/// Delta-seconds; nothing if it is none. What is too large to count is very long.
pub(super) fn seconds(value: Option<&[u8]>) -> Option<Duration> {
    let digits = unquoted(value?);
    if digits.is_empty() || !digits.iter().all(u8::is_ascii_digit) {
        return None;
    }
    let number = digits.iter().try_fold(0_u64, |number, digit| {
        number.checked_mul(10)?.checked_add(u64::from(digit - b'0'))
    });
    Some(Duration::from_secs(number.map_or(LONGEST, |number| number.min(LONGEST))))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn seconds_are_digits_in_either_form() {
        let read = |text: &str| seconds(Some(text.as_bytes())).map(|span| span.as_secs());
        assert_eq!(read("60"), Some(60));
        assert_eq!(read("\"60\""), Some(60));
        assert_eq!(read("0060"), Some(60));
        assert_eq!(read("2147483648"), Some(LONGEST));
        assert_eq!(read("99999999999999999999999999"), Some(LONGEST));
        for none in ["", "\"\"", "-1", "+1", "1.5", "1s", " ", "0x10", "\u{663}"] {
            assert_eq!(read(none), None, "{none:?}");
        }
        assert_eq!(seconds(None), None);
    }
}
