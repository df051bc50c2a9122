//! May a stored response be the answer? (RFC 9111, section 4; RFC 5861.)

use std::time::Duration;

use super::directives::{Fields, RequestDirectives, ResponseDirectives, Span};

/// What a stored response allows.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Terms {
    pub(super) lifetime: Duration,
    /// It is to be validated before each use.
    pub(super) no_cache: bool,
    /// It is never to be used stale.
    pub(super) strict: bool,
    pub(super) while_revalidate: Duration,
    pub(super) if_error: Option<Duration>,
}

impl Terms {
    pub(super) fn new(said: &ResponseDirectives, lifetime: Duration) -> Self {
        let no_cache = said.no_cache == Fields::Whole;
        Self {
            lifetime,
            no_cache,
            // `s-maxage` says what `proxy-revalidate` does (section 5.2.2.10).
            strict: no_cache
                || said.must_revalidate
                || said.proxy_revalidate
                || said.s_maxage != Span::None,
            while_revalidate: said.stale_while_revalidate.unwrap_or_default(),
            if_error: said.stale_if_error,
        }
    }

    /// How long after its lifetime it may be of use without being asked for again.
    pub(super) fn stale_windows(&self) -> Duration {
        self.while_revalidate.max(self.if_error.unwrap_or_default())
    }
}

/// How it stands with a stored response now.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Standing {
    pub(super) age: Duration,
    /// It was marked as stale before its time.
    pub(super) outdated: bool,
    /// It may have been purged elsewhere: there is no news.
    pub(super) unsure: bool,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Verdict {
    Fresh,
    /// The client takes it stale.
    Stale,
    /// To be served stale while it is revalidated.
    Revalidating,
    /// Not without asking the origin.
    Validate(Why),
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Why {
    /// Its time is over.
    Stale,
    /// The response says that it is to be validated each time.
    NoCache,
    /// The client wants it so.
    Request,
}

pub(super) fn reuse(terms: &Terms, standing: Standing, asked: &RequestDirectives) -> Verdict {
    let Standing { age, outdated, unsure } = standing;
    if asked.no_cache {
        return Verdict::Validate(Why::Request);
    }
    if terms.no_cache {
        return Verdict::Validate(Why::NoCache);
    }
    if unsure {
        return Verdict::Validate(Why::Stale);
    }
    let too_old_for_it = asked.max_age.is_some_and(|most| age > most);
    let left = terms.lifetime.checked_sub(age).filter(|left| !left.is_zero() && !outdated);
    if let Some(left) = left {
        let wanted = asked.min_fresh.unwrap_or_default();
        return if too_old_for_it || left < wanted {
            Verdict::Validate(Why::Request)
        } else {
            Verdict::Fresh
        };
    }
    let late = lateness(terms, standing);
    if terms.strict || asked.min_fresh.is_some() {
        return Verdict::Validate(Why::Stale);
    }
    if asked.max_stale.is_some_and(|most| late <= most) && !too_old_for_it {
        return Verdict::Stale;
    }
    // Who says how old it may be wants nothing stale (section 5.2.1.1).
    if late < terms.while_revalidate && asked.max_age.is_none() {
        return Verdict::Revalidating;
    }
    Verdict::Validate(Why::Stale)
}

/// For how long it has been stale.
fn lateness(terms: &Terms, standing: Standing) -> Duration {
    standing.age.saturating_sub(terms.lifetime)
}

/// In which way an origin has failed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Failure {
    /// It did not answer.
    Silent,
    /// It said that it cannot.
    Error,
}

/// Whether what is stored may stand in for an origin that has failed. `disconnected` is for how
/// long after its lifetime that is accepted where nobody answers and nothing forbids it
/// (section 4.2.4).
pub(super) fn stands_in(
    terms: &Terms,
    standing: Standing,
    asked: &RequestDirectives,
    failure: Failure,
    disconnected: Duration,
) -> bool {
    if terms.strict || asked.no_cache || asked.min_fresh.is_some() {
        return false;
    }
    let late = lateness(terms, standing);
    let within = |window: Duration| late < window;
    if terms.if_error.is_some_and(within) || asked.stale_if_error.is_some_and(within) {
        return true;
    }
    failure == Failure::Silent && asked.max_age.is_none() && within(disconnected)
}

#[cfg(test)]
mod tests {
    use http::header::CACHE_CONTROL;
    use http::{HeaderMap, HeaderValue};
    use proptest::prelude::*;

    use super::*;

    fn map(text: &str) -> HeaderMap {
        let mut headers = HeaderMap::new();
        headers.append(CACHE_CONTROL, HeaderValue::from_str(text).unwrap());
        headers
    }

    fn secs(seconds: u64) -> Duration {
        Duration::from_secs(seconds)
    }

    /// A response with a lifetime of 100 s.
    fn terms(says: &str) -> Terms {
        Terms::new(&ResponseDirectives::of(&map(says), &[]), secs(100))
    }

    fn asks(text: &str) -> RequestDirectives {
        RequestDirectives::of(&map(text))
    }

    fn at(says: &str, age: u64, asked: &str) -> Verdict {
        reuse(
            &terms(says),
            Standing { age: secs(age), outdated: false, unsure: false },
            &asks(asked),
        )
    }

    const STALE: Verdict = Verdict::Validate(Why::Stale);
    const REQUEST: Verdict = Verdict::Validate(Why::Request);

    #[test]
    fn it_is_fresh_until_its_lifetime_is_over() {
        assert_eq!(at("", 0, ""), Verdict::Fresh);
        assert_eq!(at("", 99, ""), Verdict::Fresh);
        assert_eq!(at("", 100, ""), STALE);
        let outdated = Standing { age: secs(1), outdated: true, unsure: false };
        assert_eq!(reuse(&terms(""), outdated, &asks("")), STALE);
        assert_eq!(
            reuse(&terms("stale-while-revalidate=9"), outdated, &asks("")),
            Verdict::Revalidating
        );
    }

    #[test]
    fn what_may_have_been_purged_is_not_served_unasked() {
        let unsure = Standing { age: secs(0), outdated: false, unsure: true };
        for says in ["", "stale-while-revalidate=9"] {
            for asked in ["", "max-stale"] {
                assert_eq!(reuse(&terms(says), unsure, &asks(asked)), STALE);
            }
        }
    }

    #[test]
    fn no_cache_means_each_time() {
        assert_eq!(at("no-cache", 0, ""), Verdict::Validate(Why::NoCache));
        assert_eq!(at("no-cache", 0, "max-stale"), Verdict::Validate(Why::NoCache));
        assert_eq!(at("no-cache=\"x-a\"", 0, ""), Verdict::Fresh, "of a field");
    }

    #[test]
    fn a_client_may_want_it_fresher() {
        assert_eq!(at("", 10, "no-cache"), REQUEST);
        assert_eq!(at("", 10, "max-age=10"), Verdict::Fresh);
        assert_eq!(at("", 11, "max-age=10"), REQUEST);
        assert_eq!(at("", 0, "max-age=0"), Verdict::Fresh);
        assert_eq!(at("", 10, "min-fresh=90"), Verdict::Fresh);
        assert_eq!(at("", 11, "min-fresh=90"), REQUEST);
        assert_eq!(at("", 101, "min-fresh=1, max-stale"), STALE);
    }

    #[test]
    fn a_client_may_take_it_stale_unless_the_origin_forbids() {
        assert_eq!(at("", 110, "max-stale"), Verdict::Stale);
        assert_eq!(at("", 110, "max-stale=10"), Verdict::Stale);
        assert_eq!(at("", 111, "max-stale=10"), STALE);
        assert_eq!(at("", 110, "max-stale, max-age=105"), STALE);
        for strict in ["must-revalidate", "proxy-revalidate", "s-maxage=100"] {
            assert_eq!(at(strict, 110, "max-stale"), STALE, "{strict}");
            let both = format!("{strict}, stale-while-revalidate=60");
            assert_eq!(at(&both, 110, ""), STALE, "{strict}");
        }
    }

    #[test]
    fn within_its_window_it_is_served_while_it_is_revalidated() {
        let says = "stale-while-revalidate=10";
        assert_eq!(at(says, 109, ""), Verdict::Revalidating);
        assert_eq!(at(says, 110, ""), STALE);
        assert_eq!(at(says, 105, "max-age=200"), STALE, "who says how old wants nothing stale");
    }

    fn stands(says: &str, age: u64, asked: &str, failure: Failure) -> bool {
        let standing = Standing { age: secs(age), outdated: false, unsure: false };
        stands_in(&terms(says), standing, &asks(asked), failure, secs(50))
    }

    #[test]
    fn it_stands_in_for_a_failure_as_long_as_somebody_allows() {
        assert!(stands("stale-if-error=10", 109, "", Failure::Error));
        assert!(!stands("stale-if-error=10", 110, "", Failure::Error));
        assert!(stands("", 109, "stale-if-error=10", Failure::Error));
        assert!(!stands("", 101, "", Failure::Error));
        assert!(stands("", 149, "", Failure::Silent));
        assert!(!stands("", 150, "", Failure::Silent));
        for strict in ["must-revalidate", "proxy-revalidate", "s-maxage=100", "no-cache"] {
            for failure in [Failure::Silent, Failure::Error] {
                assert!(!stands(&format!("{strict}, stale-if-error=99"), 101, "", failure));
            }
        }
        assert!(!stands("stale-if-error=10", 101, "no-cache", Failure::Error));
        assert!(!stands("", 101, "max-age=500", Failure::Silent));
    }

    proptest! {
        /// What is strict is never stale, and nothing that is stale is fresh.
        #[test]
        fn nothing_is_fresh_past_its_lifetime(
            lifetime in 0_u64..20, age in 0_u64..40, strict: bool, window in 0_u64..20,
            max_stale in proptest::option::of(0_u64..20),
        ) {
            let terms = Terms {
                lifetime: secs(lifetime), strict, while_revalidate: secs(window),
                ..Terms::default()
            };
            let asked = RequestDirectives { max_stale: max_stale.map(secs), ..Default::default() };
            let standing = Standing { age: secs(age), outdated: false, unsure: false };
            let verdict = reuse(&terms, standing, &asked);
            prop_assert_eq!(verdict == Verdict::Fresh, age < lifetime);
            if strict && age >= lifetime {
                prop_assert_eq!(verdict, STALE);
            }
            if verdict == Verdict::Revalidating {
                prop_assert!(age < lifetime + window);
            }
        }
    }
}
