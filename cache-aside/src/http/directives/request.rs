use std::time::Duration;

use http::HeaderMap;
use http::header::CACHE_CONTROL;

use super::seconds;
use crate::http::field::{members, parameter, words};

/// What a client asks of caches (RFC 9111, section 5.2.1).
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(in crate::http) struct RequestDirectives {
    pub(in crate::http) max_age: Option<Duration>,
    pub(in crate::http) min_fresh: Option<Duration>,
    /// By how much it may be stale; `Duration::MAX` without a limit.
    pub(in crate::http) max_stale: Option<Duration>,
    pub(in crate::http) no_cache: bool,
    pub(in crate::http) no_store: bool,
    pub(in crate::http) only_if_cached: bool,
    /// How stale it may be where the origin fails (RFC 5861, section 4).
    pub(in crate::http) stale_if_error: Option<Duration>,
}

impl RequestDirectives {
    /// Of several of one name the stricter holds; a limit that is no number is the strictest
    /// that there is, and a permission that is none permits nothing.
    pub(in crate::http) fn of(headers: &HeaderMap) -> Self {
        let mut all = Self::default();
        for member in members(headers, &CACHE_CONTROL) {
            let (name, value) = parameter(member);
            match &name.to_ascii_lowercase()[..] {
                b"max-age" => least(&mut all.max_age, seconds(value).unwrap_or_default()),
                b"min-fresh" => {
                    let span = seconds(value).unwrap_or(Duration::MAX);
                    all.min_fresh = Some(all.min_fresh.map_or(span, |other| other.max(span)));
                }
                b"max-stale" => {
                    let span = match value {
                        None => Duration::MAX,
                        value => seconds(value).unwrap_or_default(),
                    };
                    least(&mut all.max_stale, span);
                }
                b"no-cache" => all.no_cache = true,
                b"no-store" => all.no_store = true,
                b"only-if-cached" => all.only_if_cached = true,
                b"stale-if-error" => {
                    least(&mut all.stale_if_error, seconds(value).unwrap_or_default());
                }
                // RFC 9111, section 5.2.3: what is not known is ignored. `no-transform` is
                // kept by doing nothing.
                _ => {}
            }
            // What is malformed asks for no less than what it names.
            for word in words(member) {
                all.no_store |= word.eq_ignore_ascii_case(b"no-store");
                all.no_cache |= word.eq_ignore_ascii_case(b"no-cache");
            }
        }
        all
    }
}

fn least(limit: &mut Option<Duration>, span: Duration) {
    *limit = Some(limit.map_or(span, |other| other.min(span)));
}

#[cfg(test)]
mod tests {
    use http::HeaderValue;

    use super::*;

    fn of(lines: &[&str]) -> RequestDirectives {
        let mut headers = HeaderMap::new();
        for line in lines {
            headers.append(CACHE_CONTROL, HeaderValue::from_str(line).unwrap());
        }
        RequestDirectives::of(&headers)
    }

    const SECOND: Duration = Duration::from_secs(1);

    #[test]
    fn names_are_in_any_case_and_in_any_line() {
        let asked = of(&["MAX-AGE=60, No-Store", "only-if-cached,,"]);
        assert_eq!(asked.max_age, Some(60 * SECOND));
        assert!(asked.no_store && asked.only_if_cached && !asked.no_cache);
        assert_eq!(of(&["x=\"no-store, no-cache\", y"]), RequestDirectives::default());
    }

    #[test]
    fn what_is_malformed_asks_for_what_it_names() {
        let asked = of(&["no-cache; No-Store; max-stale"]);
        assert!(asked.no_cache && asked.no_store && asked.max_stale.is_none());
    }

    #[test]
    fn the_stricter_of_two_holds() {
        let asked =
            of(&["max-age=60, max-age=30, max-stale, max-stale=5, min-fresh=1, min-fresh=2"]);
        assert_eq!(asked.max_age, Some(30 * SECOND));
        assert_eq!(asked.max_stale, Some(5 * SECOND));
        assert_eq!(asked.min_fresh, Some(2 * SECOND));
        assert_eq!(of(&["max-stale"]).max_stale, Some(Duration::MAX));
    }

    #[test]
    fn what_is_no_number_never_permits_more() {
        assert_eq!(of(&["max-age=soon"]).max_age, Some(Duration::ZERO));
        assert_eq!(of(&["max-age"]).max_age, Some(Duration::ZERO));
        assert_eq!(of(&["max-stale=long"]).max_stale, Some(Duration::ZERO));
        assert_eq!(of(&["min-fresh=x"]).min_fresh, Some(Duration::MAX));
        assert_eq!(of(&["stale-if-error"]).stale_if_error, Some(Duration::ZERO));
    }
}
