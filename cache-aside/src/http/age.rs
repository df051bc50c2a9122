//! How old a response is (RFC 9111, section 4.2.3).

use std::time::{Duration, SystemTime};

use http::header::{AGE, DATE, HeaderName};
use http::{HeaderMap, HeaderValue};

use super::field::split;

/// When a request was sent and its response came, by the wall clock.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Exchange {
    pub(super) sent: SystemTime,
    pub(super) received: SystemTime,
}

/// How old a response was when it came: `corrected_initial_age`.
pub(super) fn initial_age(headers: &HeaderMap, exchange: Exchange) -> Duration {
    let Exchange { sent, received } = exchange;
    let delay = received.duration_since(sent).unwrap_or_default();
    let apparent = match date(headers, &DATE) {
        Some(date) => received.duration_since(date).unwrap_or_default(),
        // Without a date it is as if it were made when it came.
        None => Duration::ZERO,
    };
    apparent.max(age_value(headers) + delay)
}

/// What `Age` says: of several the first that is a number (RFC 9111, section 5.1), and what is
/// none is ignored. One that is too large counts as 2^31 s.
fn age_value(headers: &HeaderMap) -> Duration {
    let first =
        headers.get_all(AGE).iter().flat_map(|line| split(line.as_bytes(), b',')).next();
    super::directives::seconds(first.filter(|text| !text.starts_with(b"\"")))
        .unwrap_or_default()
}

/// A date in one of the three forms of RFC 9110, section 5.6.7; none if there are two that
/// differ.
pub(super) fn date(headers: &HeaderMap, name: &HeaderName) -> Option<SystemTime> {
    let mut lines = headers.get_all(name).iter();
    let first = lines.next()?;
    if lines.any(|other| other != first) {
        return None;
    }
    parsed(first)
}

pub(super) fn parsed(value: &HeaderValue) -> Option<SystemTime> {
    let text = value.to_str().ok()?;
    httpdate::parse_http_date(text).or_else(|_| httpdate::parse_http_date(&cased(text))).ok()
}

/// A date with its letters as they are to be. Whoever takes their case for something else is
/// to be understood (RFC 9111, section 4.2).
fn cased(date: &str) -> String {
    let mut text = date.to_ascii_lowercase();
    let mut begins = true;
    for at in 0..text.len() {
        let letter = text.as_bytes()[at].is_ascii_alphabetic();
        if letter && begins {
            text[at..=at].make_ascii_uppercase();
        }
        begins = !letter;
    }
    text.replace("Gmt", "GMT")
}

#[cfg(test)]
mod tests {
    use std::time::UNIX_EPOCH;

    use super::*;

    const SECOND: Duration = Duration::from_secs(1);

    fn headers(pairs: &[(&'static str, &str)]) -> HeaderMap {
        let mut headers = HeaderMap::new();
        for (name, value) in pairs {
            headers.append(*name, HeaderValue::from_str(value).unwrap());
        }
        headers
    }

    /// Sun, 06 Nov 1994 08:49:37 GMT
    fn then() -> SystemTime {
        UNIX_EPOCH + 784_111_777 * SECOND
    }

    fn age(pairs: &[(&'static str, &str)], sent: u32, received: u32) -> u64 {
        let exchange =
            Exchange { sent: then() + sent * SECOND, received: then() + received * SECOND };
        initial_age(&headers(pairs), exchange).as_secs()
    }

    const DATED: (&str, &str) = ("date", "Sun, 06 Nov 1994 08:49:37 GMT");

    #[test]
    fn the_three_forms_of_a_date_are_one() {
        for form in [
            "Sun, 06 Nov 1994 08:49:37 GMT",
            "Sunday, 06-Nov-94 08:49:37 GMT",
            "Sun Nov  6 08:49:37 1994",
            "sun, 06 NOV 1994 08:49:37 gmt",
        ] {
            assert_eq!(date(&headers(&[("date", form)]), &DATE), Some(then()), "{form}");
        }
        for none in [
            "Sun, 31 Feb 1994 08:49:37 GMT",
            "Sat, 29-Feb-03 08:49:37 GMT",
            "0",
            "-1",
            "",
            "Sun, 06 Nov 1994 08:49:37 +0100",
            "1994-11-06T08:49:37Z",
        ] {
            assert_eq!(date(&headers(&[("date", none)]), &DATE), None, "{none}");
        }
        let other = ("date", "Sun, 06 Nov 1994 08:49:38 GMT");
        assert_eq!(date(&headers(&[DATED, other]), &DATE), None);
        assert_eq!(date(&headers(&[DATED, DATED]), &DATE), Some(then()));
    }

    #[test]
    fn the_greater_of_what_it_says_and_what_it_seems_counts() {
        assert_eq!(age(&[DATED], 0, 0), 0);
        assert_eq!(age(&[DATED], 9, 10), 10, "apparent");
        assert_eq!(
            age(&[DATED, ("age", "60")], 0, 2),
            62,
            "with the time that it was on the way"
        );
        assert_eq!(age(&[DATED, ("age", "5")], 29, 30), 30);
        assert_eq!(age(&[("age", "60")], 5, 5), 60, "without a date");
    }

    #[test]
    fn a_date_in_the_future_makes_nothing_younger_than_new() {
        let future = ("date", "Sun, 06 Nov 2044 08:49:37 GMT");
        assert_eq!(age(&[future], 0, 3), 3);
        assert_eq!(age(&[future, ("age", "10")], 0, 0), 10);
    }

    #[test]
    fn an_age_that_is_none_is_ignored() {
        for none in ["-5", "soon", "", "1.5", "\"60\""] {
            assert_eq!(age(&[DATED, ("age", none)], 0, 0), 0, "{none}");
        }
        assert_eq!(age(&[("age", "99999999999999999999")], 0, 0), 1 << 31);
        assert_eq!(age(&[("age", "7"), ("age", "60")], 0, 0), 7, "the first");
        assert_eq!(age(&[("age", "7, 60")], 0, 0), 7);
    }

    #[test]
    fn a_clock_that_goes_back_takes_no_time() {
        assert_eq!(age(&[DATED, ("age", "60")], 10, 5), 60);
    }
}
