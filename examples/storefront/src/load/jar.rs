//! The cookies of one user.

use std::collections::BTreeMap;

use hyper::HeaderMap;
use hyper::header::SET_COOKIE;

/// Keeps what answers set, as a browser does over plain HTTP: of a name the last one, and
/// none that is `Secure`.
#[derive(Clone, Debug, Default)]
pub(crate) struct Jar(BTreeMap<String, String>);

impl Jar {
    /// Takes the cookies of an answer; returns how many it has set.
    pub(crate) fn keep(&mut self, headers: &HeaderMap) -> usize {
        let set = headers.get_all(SET_COOKIE).into_iter().filter_map(|set| set.to_str().ok());
        let mut kept = 0;
        for cookie in set {
            let (pair, attributes) = cookie.split_once(';').unwrap_or((cookie, ""));
            let mut attributes = attributes.split(';').map(str::trim);
            if attributes.any(|attribute| attribute.eq_ignore_ascii_case("secure")) {
                continue;
            }
            if let Some((name, value)) = pair.trim().split_once('=') {
                self.0.insert(name.to_owned(), value.to_owned());
                kept += 1;
            }
        }
        kept
    }

    /// Takes what `other` has, too.
    pub(crate) fn merge(&mut self, other: Self) {
        self.0.extend(other.0);
    }

    /// The header `cookie` of the next request.
    pub(crate) fn header(&self) -> Option<String> {
        let pairs: Vec<String> =
            self.0.iter().map(|(name, value)| format!("{name}={value}")).collect();
        Some(pairs.join("; ")).filter(|header| !header.is_empty())
    }
}

#[cfg(test)]
mod tests {
    use hyper::header::HeaderValue;

    use super::*;

    #[test]
    fn keeps_the_last_of_a_name_and_nothing_that_is_secure() {
        let mut jar = Jar::default();
        assert_eq!(jar.header(), None);
        let mut headers = HeaderMap::new();
        for cookie in ["a=1; Path=/", "b=2", "a=3; HttpOnly", "c=4; HttpOnly; Secure", "junk"] {
            headers.append(SET_COOKIE, HeaderValue::from_static(cookie));
        }
        assert_eq!(jar.keep(&headers), 3);
        assert_eq!(jar.header().unwrap(), "a=3; b=2");
    }
}
