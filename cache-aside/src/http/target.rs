//! The key of a request: its target URI in one form.

use std::sync::Arc;

use http::header::HOST;
use http::uri::Authority;
use http::{HeaderMap, Uri};

use super::text::with_text;

/// The most segments of a path that purges by prefix tell apart.
const DEEPEST: usize = 16;

/// How URIs become keys.
#[derive(Clone, Debug)]
pub(super) struct Keys {
    /// Of requests that do not say it.
    pub(super) scheme: &'static str,
    pub(super) sorted: bool,
    pub(super) ignored: Arc<[Box<str>]>,
}

/// `scheme://host/path?query`, with what is the same for servers written in the same way.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Target {
    pub(super) key: Arc<str>,
    origin: usize,
    path: usize,
}

impl Keys {
    /// That of a request. None if it cannot be told: without a host, with two, with one that
    /// contradicts the URI, with user information, with a host alone for a URI: that is for
    /// CONNECT, and a router may take it for another path than `/`.
    pub(super) fn of_request(&self, uri: &Uri, headers: &HeaderMap) -> Option<Target> {
        if uri.scheme().is_none() && uri.authority().is_some() {
            return None;
        }
        let scheme = uri.scheme_str().unwrap_or(self.scheme);
        let mut hosts = headers.get_all(HOST).iter();
        let field = match (hosts.next(), hosts.next()) {
            (None, _) => None,
            (Some(host), None) => Some(host.to_str().ok()?.trim_ascii()),
            _ => return None,
        };
        let authority = match uri.authority() {
            None => None,
            Some(authority) => Some(named(authority)?),
        };
        let parsed;
        let field = match field {
            None => None,
            // As it is behind most servers and clients.
            Some(text) if uri.authority().is_some_and(|same| same.as_str() == text) => None,
            Some(text) => Some(match plain(text) {
                Some(host) => host,
                None => {
                    parsed = text.parse::<Authority>().ok()?;
                    named(&parsed)?
                }
            }),
        };
        let host = match (authority, field) {
            (Some(authority), Some(field)) => {
                authority.is_same(field, scheme).then_some(authority)?
            }
            (authority, field) => authority.or(field)?,
        };
        self.target(uri, scheme, host)
    }

    /// That of a URI with scheme and host.
    pub(super) fn of_uri(&self, uri: &Uri) -> Option<Target> {
        self.target(uri, uri.scheme_str()?, named(uri.authority()?)?)
    }

    fn target(&self, uri: &Uri, scheme: &str, host: Host<'_>) -> Option<Target> {
        let path = uri.path();
        if !(path.is_empty() || path.starts_with('/')) {
            return None;
        }
        let (origin, path, key) = with_text(|key| {
            key.push_str(scheme);
            key.push_str("://");
            key.push_str(host.name);
            key.make_ascii_lowercase();
            if let Some(port) = host.port(scheme) {
                key.push(':');
                key.push_str(port);
            }
            let origin = key.len();
            key.push_str(if path.is_empty() { "/" } else { path });
            let path = key.len();
            if let Some(query) = uri.query() {
                self.push_query(key, query);
            }
            (origin, path, Arc::from(key.as_str()))
        });
        Some(Target { key, origin, path })
    }

    fn push_query(&self, key: &mut String, query: &str) {
        if !self.sorted && self.ignored.is_empty() {
            key.push('?');
            key.push_str(query);
            return;
        }
        let name = |pair: &str| pair.split('=').next().unwrap_or(pair).to_owned();
        let mut pairs: Vec<&str> = query
            .split('&')
            .filter(|pair| {
                let name = name(pair);
                // For some origins a `;` begins another, which they may look at.
                let one = !pair.contains(';');
                !(one && self.ignored.iter().any(|ignored| **ignored == *name))
            })
            .collect();
        if self.sorted {
            // Of one name the order may mean something, so it stays.
            pairs.sort_by_cached_key(|pair| name(pair));
        }
        for (n, pair) in pairs.into_iter().enumerate() {
            key.push(if n == 0 { '?' } else { '&' });
            key.push_str(pair);
        }
    }

    /// What `Location` or `Content-Location` names, if it is of the same origin (RFC 3986,
    /// section 5.2).
    pub(super) fn resolve(&self, base: &Target, reference: &[u8]) -> Option<Target> {
        let text = std::str::from_utf8(reference).ok()?.trim_ascii();
        let text = text.split('#').next().unwrap_or_default();
        let target = if has_scheme(text) {
            self.of_uri(&text.parse().ok()?)?
        } else if let Some(rest) = text.strip_prefix("//") {
            let scheme = base.key.split("://").next()?;
            self.of_uri(&format!("{scheme}://{rest}").parse().ok()?)?
        } else {
            let (path, query) = match text.split_once('?') {
                Some((path, query)) => (path, Some(query)),
                None => (text, None),
            };
            let (path, query) = match (path.is_empty(), query) {
                // As it is, with its own query.
                (true, None) => (base.path().to_owned(), base.query()),
                (true, query) => (base.path().to_owned(), query),
                (false, query) if path.starts_with('/') => (without_dots(path), query),
                (false, query) => {
                    let folder = base.path().rfind('/').map_or("", |at| &base.path()[..=at]);
                    (without_dots(&format!("{folder}{path}")), query)
                }
            };
            let query = query.map_or_else(String::new, |query| format!("?{query}"));
            self.of_uri(&format!("{}{path}{query}", base.origin()).parse().ok()?)?
        };
        (target.origin() == base.origin()).then_some(target)
    }
}

impl Target {
    pub(super) fn origin(&self) -> &str {
        &self.key[..self.origin]
    }

    fn path(&self) -> &str {
        &self.key[self.origin..self.path]
    }

    fn query(&self) -> Option<&str> {
        self.key[self.path..].strip_prefix('?')
    }

    /// What a purge by prefix may name to reach it: its origin, and its path up to the end of
    /// each segment.
    pub(super) fn prefixes(&self) -> impl Iterator<Item = &str> {
        let path = self.path();
        let ends = path.bytes().enumerate().skip(1).filter(|(_, byte)| *byte == b'/');
        let ends = ends.map(|(at, _)| at).chain([path.len()]);
        std::iter::once(self.origin()).chain(
            ends.filter(|end| *end > 1)
                .take(DEEPEST)
                .map(|end| self.key[..self.origin + end].trim_end_matches('/')),
        )
    }

    /// The prefix that it names itself.
    pub(super) fn as_prefix(&self) -> &str {
        self.prefixes().last().unwrap_or_else(|| self.origin())
    }
}

/// A host, and what is said of its port.
#[derive(Clone, Copy, Debug)]
struct Host<'a> {
    name: &'a str,
    port: &'a str,
}

impl<'a> Host<'a> {
    /// None where it is that of the scheme.
    fn port(self, scheme: &str) -> Option<&'a str> {
        let usual = match scheme {
            "http" => "80",
            "https" => "443",
            _ => "",
        };
        Some(self.port).filter(|port| !port.is_empty() && *port != usual)
    }

    fn is_same(self, other: Host<'_>, scheme: &str) -> bool {
        self.name.eq_ignore_ascii_case(other.name) && self.port(scheme) == other.port(scheme)
    }
}

fn named(authority: &Authority) -> Option<Host<'_>> {
    let text = authority.as_str();
    if let Some(host) = plain(text) {
        return Some(host);
    }
    let name = authority.host();
    if text.contains('@') || name.is_empty() {
        return None;
    }
    Some(Host { name, port: text[name.len()..].strip_prefix(':').unwrap_or_default() })
}

/// One of letters, digits, `.`, `-` and `_`, with a port of digits or without: every authority
/// but those that must be parsed to tell.
fn plain(text: &str) -> Option<Host<'_>> {
    let of_name =
        |byte: &u8| byte.is_ascii_alphanumeric() || matches!(byte, b'.' | b'-' | b'_');
    let end = text.bytes().position(|byte| !of_name(&byte)).unwrap_or(text.len());
    let (name, rest) = text.split_at(end);
    let port = if rest.is_empty() { rest } else { rest.strip_prefix(':')? };
    let number = port.len() <= 5 && port.bytes().all(|byte| byte.is_ascii_digit());
    (!name.is_empty() && number).then_some(Host { name, port })
}

fn has_scheme(text: &str) -> bool {
    let end = text.find(|c: char| !(c.is_ascii_alphanumeric() || "+-.".contains(c)));
    end.is_some_and(|end| end > 0 && text[end..].starts_with(':'))
}

/// RFC 3986, section 5.2.4.
fn without_dots(path: &str) -> String {
    let mut kept: Vec<&str> = Vec::new();
    let mut segments = path.split('/').skip(1).peekable();
    while let Some(segment) = segments.next() {
        let last = segments.peek().is_none();
        match segment {
            "." if last => kept.push(""),
            "." => {}
            ".." => {
                kept.pop();
                if last {
                    kept.push("");
                }
            }
            other => kept.push(other),
        }
    }
    format!("/{}", kept.join("/"))
}

#[cfg(test)]
mod tests {
    use http::HeaderValue;
    use proptest::prelude::*;

    use super::*;

    fn keys() -> Keys {
        Keys { scheme: "http", sorted: false, ignored: Arc::new([]) }
    }

    fn of(uri: &str, hosts: &[&str]) -> Option<String> {
        let mut headers = HeaderMap::new();
        for host in hosts {
            headers.append(HOST, HeaderValue::from_str(host).unwrap());
        }
        keys().of_request(&uri.parse().unwrap(), &headers).map(|target| target.key.to_string())
    }

    #[test]
    fn a_key_has_scheme_host_path_and_query() {
        let is = |text: &str| Some(text.to_owned());
        assert_eq!(of("/a?b=1", &["h"]), is("http://h/a?b=1"));
        assert_eq!(of("/a", &["EXAMPLE.org:80"]), is("http://example.org/a"));
        assert_eq!(of("/a", &["h:8080"]), is("http://h:8080/a"));
        assert_eq!(of("/a", &["h:"]), is("http://h/a"));
        assert_eq!(of("/a", &["[::1]:80"]), is("http://[::1]/a"));
        assert_eq!(of("https://h:443/a", &[]), is("https://h/a"));
        assert_eq!(of("http://h", &["H"]), is("http://h/"));
        assert_eq!(of("/A%2f/", &["h"]), is("http://h/A%2f/"), "a path is left as it is");
        assert_ne!(of("/a?", &["h"]), of("/a", &["h"]));
    }

    #[test]
    fn what_cannot_be_told_has_none() {
        for hosts in [&[][..], &["a", "b"], &["a", "a"], &["u@h"], &["a b"], &[""], &["a/b"]] {
            assert_eq!(of("/a", hosts), None, "{hosts:?}");
        }
        assert_eq!(of("http://a/", &["b"]), None, "the one contradicts the other");
        assert_eq!(of("http://a/", &["a:81"]), None);
        assert_eq!(of("*", &["h"]), None);
        assert_eq!(of("h:80", &["h:80"]), None);
    }

    #[test]
    fn a_query_is_put_in_order_if_that_is_wanted() {
        let keys = Keys { sorted: true, ignored: Arc::new(["utm".into()]), ..keys() };
        let of = |uri: &str| keys.of_uri(&uri.parse().unwrap()).unwrap().key.to_string();
        assert_eq!(of("http://h/?b=1&a=2&utm=x&a=1"), "http://h/?a=2&a=1&b=1");
        assert_eq!(of("http://h/?utm=x"), "http://h/");
        assert_eq!(of("http://h/?utmost=x"), "http://h/?utmost=x");
        assert_eq!(of("http://h/?utm=x;a=1"), "http://h/?utm=x;a=1");
    }

    #[test]
    fn references_are_resolved_within_their_origin() {
        let base = keys().of_uri(&"http://h/a/b?c".parse().unwrap()).unwrap();
        let resolve = |text: &str| {
            keys().resolve(&base, text.as_bytes()).map(|target| target.key.to_string())
        };
        for (reference, target) in [
            ("/x?y#z", "http://h/x?y"),
            ("x", "http://h/a/x"),
            ("./x", "http://h/a/x"),
            ("../x", "http://h/x"),
            ("../../../x", "http://h/x"),
            ("x/.", "http://h/a/x/"),
            ("x/..", "http://h/a/"),
            ("?q", "http://h/a/b?q"),
            ("", "http://h/a/b?c"),
            ("#f", "http://h/a/b?c"),
            ("//h/x", "http://h/x"),
            ("http://H:80/x", "http://h/x"),
            ("x:1/y", ""),
            ("//other/x", ""),
            ("https://h/x", ""),
            ("http://h:81/x", ""),
            ("mailto:a@b", ""),
        ] {
            let expected = (!target.is_empty()).then(|| target.to_owned());
            assert_eq!(resolve(reference), expected, "{reference}");
        }
        assert_eq!(keys().resolve(&base, b"/\xFF"), None);
    }

    #[test]
    fn prefixes_end_with_segments() {
        let prefixes = |uri: &str| {
            let target = keys().of_uri(&uri.parse().unwrap()).unwrap();
            target.prefixes().map(str::to_owned).collect::<Vec<_>>()
        };
        assert_eq!(prefixes("http://h/?q"), ["http://h"]);
        assert_eq!(prefixes("http://h/a?q"), ["http://h", "http://h/a"]);
        assert_eq!(prefixes("http://h/a/b"), ["http://h", "http://h/a", "http://h/a/b"]);
        let folder = keys().of_uri(&"http://h/a/".parse().unwrap()).unwrap();
        assert_eq!(folder.as_prefix(), "http://h/a");
        let deep = format!("http://h{}", "/a".repeat(40));
        assert_eq!(prefixes(&deep).len(), DEEPEST + 1);
        let deep = keys().of_uri(&deep.parse().unwrap()).unwrap();
        assert_eq!(deep.as_prefix(), format!("http://h{}", "/a".repeat(DEEPEST)));
    }

    proptest! {
        #[test]
        fn what_is_plain_is_what_it_is_as_an_authority(text in "[a-zA-Z0-9._-]{0,4}(:[0-9]{0,6})?") {
            if let Some(host) = plain(&text) {
                let authority: Authority = text.parse().unwrap();
                prop_assert_eq!(host.name, authority.host());
                let port = text[host.name.len()..].trim_start_matches(':');
                prop_assert_eq!(host.port, port);
            }
        }

        #[test]
        fn nothing_panics(reference in any::<Vec<u8>>(), path in "/[a-c/.%?]{0,12}") {
            let base = keys().of_uri(&format!("http://h{path}").parse().unwrap()).unwrap();
            keys().resolve(&base, &reference);
            prop_assert!(base.prefixes().all(|prefix| base.key.starts_with(prefix)));
        }
    }
}
