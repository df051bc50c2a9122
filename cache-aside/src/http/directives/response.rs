use std::time::Duration;

use http::header::CACHE_CONTROL;
use http::{HeaderMap, HeaderName};

use super::{seconds, targeted};
use crate::http::field::{members, parameter, split, unquoted, words};

/// A directive that may be of the whole response, or of some of its fields.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(in crate::http) enum Fields {
    /// It is not there.
    #[default]
    None,
    /// Of these.
    Named(Vec<HeaderName>),
    /// Of all of it.
    Whole,
}

/// How long a directive says, which may be nonsense.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(in crate::http) enum Span {
    /// It is not there.
    #[default]
    None,
    Of(Duration),
    /// It is no number, or there are two that differ.
    Invalid,
}

/// What an origin says of storing and reusing its response (RFC 9111, section 5.2.2; RFC
/// 5861; RFC 8246).
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(in crate::http) struct ResponseDirectives {
    pub(in crate::http) max_age: Span,
    pub(in crate::http) s_maxage: Span,
    pub(in crate::http) no_cache: Fields,
    pub(in crate::http) private: Fields,
    pub(in crate::http) no_store: bool,
    pub(in crate::http) public: bool,
    pub(in crate::http) must_revalidate: bool,
    pub(in crate::http) proxy_revalidate: bool,
    pub(in crate::http) must_understand: bool,
    pub(in crate::http) immutable: bool,
    pub(in crate::http) stale_while_revalidate: Option<Duration>,
    pub(in crate::http) stale_if_error: Option<Duration>,
    /// They come from a field that is for caches like this one, so that `Expires` does not
    /// count (RFC 9213, section 2.2).
    pub(in crate::http) targeted: bool,
}

impl ResponseDirectives {
    /// Those of the first field in `targets` that is there and valid; otherwise those of
    /// `Cache-Control`.
    pub(in crate::http) fn of(headers: &HeaderMap, targets: &[HeaderName]) -> Self {
        if let Some(directives) =
            targets.iter().find_map(|target| targeted::directives(headers, target))
        {
            return Self { targeted: true, ..directives };
        }
        let mut all = Self::default();
        for member in members(headers, &CACHE_CONTROL) {
            let (name, value) = parameter(member);
            all.take(&name.to_ascii_lowercase(), value);
            words(member).for_each(|word| all.restrict(&word.to_ascii_lowercase()));
        }
        all
    }

    /// Takes a word of what is malformed, `no-store; max-age=60` for one, for the directive that
    /// it names, if that forbids something: better not stored than wrong.
    fn restrict(&mut self, word: &[u8]) {
        if matches!(word, b"no-store" | b"no-cache" | b"private" | b"must-revalidate") {
            self.take(word, None);
        }
    }

    /// Takes one directive into account.
    pub(super) fn take(&mut self, name: &[u8], value: Option<&[u8]>) {
        match name {
            b"max-age" => self.max_age.add(seconds(value)),
            b"s-maxage" => self.s_maxage.add(seconds(value)),
            b"no-cache" => self.no_cache.add(value),
            b"private" => self.private.add(value),
            b"no-store" => self.no_store = true,
            b"public" => self.public = true,
            b"must-revalidate" => self.must_revalidate = true,
            b"proxy-revalidate" => self.proxy_revalidate = true,
            b"must-understand" => self.must_understand = true,
            b"immutable" => self.immutable = true,
            // Permissions: without a number they permit nothing, and of two the lesser.
            b"stale-while-revalidate" => {
                permit(&mut self.stale_while_revalidate, seconds(value));
            }
            b"stale-if-error" => permit(&mut self.stale_if_error, seconds(value)),
            // `no-transform` is kept by doing nothing; what is not known is ignored.
            _ => {}
        }
    }
}

impl Span {
    fn add(&mut self, span: Option<Duration>) {
        *self = match (*self, span) {
            (Self::None, Some(span)) => Self::Of(span),
            (Self::Of(before), Some(span)) if before == span => Self::Of(span),
            _ => Self::Invalid,
        };
    }
}

fn permit(permission: &mut Option<Duration>, span: Option<Duration>) {
    let span = span.unwrap_or_default();
    *permission = Some(permission.map_or(span, |other| other.min(span)));
}

impl Fields {
    fn add(&mut self, names: Option<&[u8]>) {
        let Some(names) = names else {
            *self = Self::Whole;
            return;
        };
        let names = unquoted(names);
        let mut named = match std::mem::take(self) {
            Self::Whole => {
                *self = Self::Whole;
                return;
            }
            Self::Named(named) => named,
            Self::None => Vec::new(),
        };
        for name in split(&names, b',') {
            match HeaderName::from_bytes(name) {
                Ok(name) => named.push(name),
                // What cannot be told apart is all of it.
                Err(_) => {
                    *self = Self::Whole;
                    return;
                }
            }
        }
        // Of no field is of all: an empty list is no way to permit.
        *self = if named.is_empty() { Self::Whole } else { Self::Named(named) };
    }
}

#[cfg(test)]
mod tests {
    use http::HeaderValue;

    use super::*;

    fn of(lines: &[&str]) -> ResponseDirectives {
        let mut headers = HeaderMap::new();
        for line in lines {
            headers.append(CACHE_CONTROL, HeaderValue::from_str(line).unwrap());
        }
        ResponseDirectives::of(&headers, &[])
    }

    const SECOND: Duration = Duration::from_secs(1);

    #[test]
    fn names_are_in_any_case_and_values_in_either_form() {
        let said = of(&["Max-Age=\"60\", S-MAXAGE=30", "PUBLIC,Must-Revalidate , immutable"]);
        assert_eq!(
            (said.max_age, said.s_maxage),
            (Span::Of(60 * SECOND), Span::Of(30 * SECOND))
        );
        assert!(said.public && said.must_revalidate && said.immutable && !said.no_store);
    }

    #[test]
    fn a_directive_within_a_quoted_string_is_none() {
        assert_eq!(of(&["x=\"no-store\", y=\"a, private, \\\" no-cache\""]), of(&[]));
    }

    #[test]
    fn what_is_malformed_permits_nothing_and_forbids_what_it_names() {
        assert!(of(&["max-age=60, x=\"y, no-store"]).no_store, "a string that does not end");
        assert!(of(&["No-Store; max-age=60"]).no_store);
        assert_eq!(of(&["no-store; max-age=60"]).max_age, Span::None);
        assert_eq!(of(&["private; max-age=60"]).private, Fields::Whole);
        assert_eq!(of(&["max-age=60 private"]).private, Fields::Whole);
        assert_eq!(of(&["max-age=60; no-cache"]).no_cache, Fields::Whole);
        assert_eq!(of(&["x=\"y, public"]), of(&[]));
    }

    #[test]
    fn lifetimes_that_contradict_each_other_are_none() {
        assert_eq!(of(&["max-age=60, max-age=60"]).max_age, Span::Of(60 * SECOND));
        for invalid in ["max-age=60, max-age=61", "max-age=x", "max-age", "max-age=-1"] {
            assert_eq!(of(&[invalid]).max_age, Span::Invalid, "{invalid}");
        }
        assert_eq!(of(&["max-age=60", "max-age=x"]).max_age, Span::Invalid);
        assert_eq!(of(&["max-age=x, max-age=60"]).max_age, Span::Invalid);
    }

    #[test]
    fn permissions_that_are_unclear_permit_the_least() {
        let said = of(&["stale-while-revalidate=60, stale-while-revalidate=5, stale-if-error"]);
        assert_eq!(said.stale_while_revalidate, Some(5 * SECOND));
        assert_eq!(said.stale_if_error, Some(Duration::ZERO));
    }

    #[test]
    fn restrictions_may_be_of_some_fields() {
        let named = |names: &[&'static str]| {
            Fields::Named(names.iter().map(|name| HeaderName::from_static(name)).collect())
        };
        assert_eq!(
            of(&["no-cache=\"Set-Cookie, X-A\""]).no_cache,
            named(&["set-cookie", "x-a"])
        );
        assert_eq!(of(&["private=x-a", "private=x-b"]).private, named(&["x-a", "x-b"]));
        for whole in ["private", "private=\"\"", "private=\"a b\"", "private=x, private"] {
            assert_eq!(of(&[whole]).private, Fields::Whole, "{whole}");
        }
        assert_eq!(of(&["private, private=x"]).private, Fields::Whole);
    }
}
