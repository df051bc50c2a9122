//! For how long a response is fresh (RFC 9111, sections 4.2.1 and 4.2.2).

use std::time::{Duration, SystemTime};

use http::header::{DATE, EXPIRES, LAST_MODIFIED};
use http::{HeaderMap, StatusCode};

use super::age::date;
use super::directives::{ResponseDirectives, Span};

/// How freshness is guessed where an origin says nothing.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(super) struct Heuristic {
    /// Of the time since it was last modified.
    pub(super) share: f64,
    pub(super) most: Duration,
}

/// Where a lifetime comes from.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Lifetime {
    /// The origin has said it.
    Explicit(Duration),
    /// It was guessed.
    Guessed(Duration),
    /// There is none.
    None,
}

impl Lifetime {
    pub(super) fn span(self) -> Duration {
        match self {
            Self::Explicit(span) | Self::Guessed(span) => span,
            Self::None => Duration::ZERO,
        }
    }

    pub(super) fn is_explicit(self) -> bool {
        matches!(self, Self::Explicit(_))
    }
}

/// The lifetime of a response that came at `received`, for a shared cache.
pub(super) fn lifetime(
    status: StatusCode,
    headers: &HeaderMap,
    said: &ResponseDirectives,
    received: SystemTime,
    heuristic: Option<Heuristic>,
) -> Lifetime {
    for span in [said.s_maxage, said.max_age] {
        match span {
            Span::Of(span) => return Lifetime::Explicit(span),
            // Section 4.2.1: better stale than wrong.
            Span::Invalid => return Lifetime::Explicit(Duration::ZERO),
            Span::None => {}
        }
    }
    if headers.contains_key(EXPIRES) && !said.targeted {
        // One that is no date, `0` above all, has passed (section 5.3).
        let Some(expires) = date(headers, &EXPIRES) else {
            return Lifetime::Explicit(Duration::ZERO);
        };
        let from = date(headers, &DATE).unwrap_or(received);
        return Lifetime::Explicit(expires.duration_since(from).unwrap_or_default());
    }
    match heuristic {
        Some(heuristic) if is_heuristically_cacheable(status) || said.public => {
            guessed(headers, received, heuristic)
        }
        _ => Lifetime::None,
    }
}

fn guessed(headers: &HeaderMap, received: SystemTime, heuristic: Heuristic) -> Lifetime {
    let Some(modified) = date(headers, &LAST_MODIFIED) else { return Lifetime::None };
    let from = date(headers, &DATE).unwrap_or(received);
    let since = from.duration_since(modified).unwrap_or_default();
    Lifetime::Guessed(since.mul_f64(heuristic.share).min(heuristic.most))
}

/// RFC 9110, section 15.1.
pub(super) fn is_heuristically_cacheable(status: StatusCode) -> bool {
    matches!(
        status.as_u16(),
        200 | 203 | 204 | 206 | 300 | 301 | 308 | 404 | 405 | 410 | 414 | 501
    )
}

#[cfg(test)]
mod tests {
    use std::time::UNIX_EPOCH;

    use http::{HeaderName, HeaderValue};

    use super::*;

    const TENTH: Heuristic = Heuristic { share: 0.1, most: Duration::from_secs(86_400) };
    const DATED: (&str, &str) = ("date", "Sun, 06 Nov 1994 08:49:37 GMT");
    const MINUTE_LATER: (&str, &str) = ("expires", "Sun, 06 Nov 1994 08:50:37 GMT");
    const HOUR_AGO: (&str, &str) = ("last-modified", "Sun, 06 Nov 1994 07:49:37 GMT");

    fn of(status: u16, pairs: &[(&'static str, &str)]) -> Lifetime {
        let mut headers = HeaderMap::new();
        for (name, value) in pairs {
            headers.append(*name, HeaderValue::from_str(value).unwrap());
        }
        let target = HeaderName::from_static("cdn-cache-control");
        let said = ResponseDirectives::of(&headers, &[target]);
        let received = UNIX_EPOCH + Duration::from_secs(784_111_777);
        let status = StatusCode::from_u16(status).unwrap();
        lifetime(status, &headers, &said, received, Some(TENTH))
    }

    fn explicit(seconds: u64) -> Lifetime {
        Lifetime::Explicit(Duration::from_secs(seconds))
    }

    fn says(text: &str) -> (&'static str, &str) {
        ("cache-control", text)
    }

    #[test]
    fn what_is_for_shared_caches_comes_first_then_max_age_then_expires() {
        let all = says("max-age=20, s-maxage=10");
        assert_eq!(of(200, &[DATED, MINUTE_LATER, all]), explicit(10));
        assert_eq!(of(200, &[DATED, MINUTE_LATER, says("max-age=20")]), explicit(20));
        assert_eq!(of(200, &[DATED, MINUTE_LATER]), explicit(60));
        assert_eq!(of(200, &[MINUTE_LATER]), explicit(60), "from when it came");
    }

    #[test]
    fn what_is_invalid_is_stale() {
        assert_eq!(of(200, &[says("max-age=x"), HOUR_AGO]), explicit(0));
        assert_eq!(of(200, &[says("s-maxage=x, max-age=60")]), explicit(0));
        for expires in ["0", "-1", "", "tomorrow", "Sun, 06 Nov 1994 08:49:00 GMT"] {
            assert_eq!(of(200, &[DATED, ("expires", expires)]), explicit(0), "{expires}");
        }
    }

    #[test]
    fn where_nothing_is_said_a_tenth_of_its_age_is_guessed() {
        let six_minutes = Lifetime::Guessed(Duration::from_secs(360));
        assert_eq!(of(200, &[DATED, HOUR_AGO]), six_minutes);
        assert_eq!(of(404, &[DATED, HOUR_AGO]), six_minutes);
        assert_eq!(
            of(200, &[DATED]),
            Lifetime::None,
            "without a date there is nothing to go by"
        );
        assert_eq!(of(500, &[DATED, HOUR_AGO]), Lifetime::None);
        assert_eq!(of(500, &[DATED, HOUR_AGO, says("public")]), six_minutes);
        let long_ago = ("last-modified", "Wed, 06 Nov 1974 07:49:37 GMT");
        assert_eq!(of(200, &[DATED, long_ago]), Lifetime::Guessed(TENTH.most));
        let later = ("last-modified", "Sun, 06 Nov 2044 08:49:37 GMT");
        assert_eq!(of(200, &[DATED, later]), Lifetime::Guessed(Duration::ZERO));
    }

    #[test]
    fn a_targeted_field_stands_for_cache_control_and_expires() {
        let others = [DATED, MINUTE_LATER, says("max-age=20, no-store")];
        let with = |targeted: &'static str| {
            let mut all = others.to_vec();
            all.push(("cdn-cache-control", targeted));
            all
        };
        assert_eq!(of(200, &with("max-age=5")), explicit(5));
        assert_eq!(of(200, &with("no-store")), Lifetime::None, "and no guess without a date");
        // Not a dictionary, or empty: as if it were not there.
        assert_eq!(of(200, &with("max-age=5, MAX-AGE")), explicit(20));
        assert_eq!(of(200, &with("max-age=\"5")), explicit(20));
        assert_eq!(of(200, &with("")), explicit(20));
    }
}
