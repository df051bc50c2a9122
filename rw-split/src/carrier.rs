//! Tokens in headers and cookies.

use http::header::{COOKIE, SET_COOKIE};
use http::{HeaderMap, HeaderName, HeaderValue};
use std::time::Duration;

use crate::clock::Millis;
use crate::token::{ConsistencyToken, Floors, TokenKeys};

/// More tokens than this in one request are not looked at.
const MOST: usize = 16;
/// How many cookies hold writes.
pub(crate) const SLOTS: u8 = 4;

#[derive(Clone, Debug)]
pub(crate) enum Carrier {
    /// Browsers keep the last of several answers' cookies of one name, so writes
    /// and reads have cookies of their own, and processes write to different slots.
    Cookie {
        name: String,
    },
    Header {
        name: HeaderName,
    },
}

/// What came along.
#[derive(Debug, Default)]
pub(crate) struct Brought {
    pub(crate) floors: Floors,
    pub(crate) refused: u32,
    /// When the token that holds what was seen expires.
    pub(crate) seen_expires: Option<Millis>,
}

impl Carrier {
    pub(crate) fn read(&self, headers: &HeaderMap, keys: &TokenKeys) -> Brought {
        let mut brought = Brought::default();
        let mut found = Vec::new();
        let mut read = |text: &str, refused: &mut u32| {
            if found.len() == MOST {
                *refused += 1;
                return;
            }
            match keys.read(text) {
                Ok(token) => found.push(token),
                Err(_) => *refused += 1,
            }
        };
        match self {
            Self::Cookie { name } => {
                let headers = headers.get_all(COOKIE).into_iter();
                let pairs = headers.filter_map(|value| value.to_str().ok());
                for pair in pairs.flat_map(|value| value.split(';')) {
                    let Some((key, value)) = pair.trim().split_once('=') else { continue };
                    if key.strip_prefix(name.as_str()).is_some_and(is_slot) {
                        read(value.trim_matches('"'), &mut brought.refused);
                    }
                }
            }
            Self::Header { name } => {
                let values = headers.get_all(name).into_iter();
                for value in values.filter_map(|value| value.to_str().ok()) {
                    for text in value.split(',') {
                        read(text.trim(), &mut brought.refused);
                    }
                }
            }
        }
        // The newest first: of two clusters, its one counts.
        found.sort_by_key(|(_, expires)| std::cmp::Reverse(*expires));
        for (floors, expires) in found {
            if floors.sticky.is_some() && brought.seen_expires.is_none() {
                brought.seen_expires = Some(expires);
            }
            brought.floors.merge(&floors);
        }
        brought
    }

    /// What the answer carries: `wrote` and `seen` say what has changed.
    pub(crate) fn write(&self, headers: &mut HeaderMap, parting: &Parting<'_>) {
        let Parting { floors, wrote, seen, .. } = *parting;
        match self {
            Self::Cookie { name } => {
                if wrote {
                    let slot = if cfg!(broken = "one_cookie") { 0 } else { parting.slot };
                    parting.cookie(headers, &format!("{name}-{slot}"), floors.written());
                }
                if seen {
                    parting.cookie(headers, &format!("{name}-r"), floors.seen());
                }
            }
            Self::Header { name } if wrote || seen => {
                headers.insert(name.clone(), value(&parting.sign(floors.clone())));
            }
            Self::Header { .. } => {}
        }
    }
}

fn is_slot(rest: &str) -> bool {
    matches!(rest.as_bytes(), [b'-', b'r' | b'0'..=b'3'])
}

/// What a request leaves behind for the next one.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Parting<'a> {
    pub(crate) floors: &'a Floors,
    pub(crate) wrote: bool,
    pub(crate) seen: bool,
    pub(crate) keys: &'a TokenKeys,
    pub(crate) lifetime: Duration,
    pub(crate) slot: u8,
    pub(crate) secure: bool,
}

impl Parting<'_> {
    fn sign(&self, floors: Floors) -> String {
        self.keys.sign(&ConsistencyToken { floors }, self.lifetime)
    }

    fn cookie(&self, headers: &mut HeaderMap, name: &str, floors: Floors) {
        let (token, age) = (self.sign(floors), self.lifetime.as_secs());
        let secure = if self.secure { "; Secure" } else { "" };
        let cookie =
            format!("{name}={token}; Path=/; Max-Age={age}; HttpOnly; SameSite=Lax{secure}");
        headers.append(SET_COOKIE, value(&cookie));
    }
}

fn value(text: &str) -> HeaderValue {
    HeaderValue::from_str(text).expect("names are checked, and tokens are base64url")
}

#[cfg(test)]
mod tests {
    use std::convert::Infallible;

    use http::header::HOST;
    use http::{Request, Response};
    use tower::{Layer, ServiceExt, service_fn};

    use super::*;
    use crate::lsn::{Lsn, Position};
    use crate::scope::ConsistencyScope;
    use crate::token::Sticky;
    use crate::{ConsistencyLayer, DevelopmentOnly};

    const STICKY: Sticky = Sticky { server: 9, started: 1 };

    fn position(lsn: u64) -> Position {
        Position { system: 1, timeline: 1, lsn: Lsn(lsn) }
    }

    fn layer() -> ConsistencyLayer {
        ConsistencyLayer::cookie("rw", TokenKeys::new(&[7; 32]).unwrap()).unwrap()
    }

    fn request(cookies: &[String]) -> Request<()> {
        let mut request = Request::new(());
        let pairs: Vec<_> = cookies.iter().filter_map(|c| c.split(';').next()).collect();
        let value = HeaderValue::from_str(&pairs.join("; ")).unwrap();
        request.headers_mut().insert(COOKIE, value);
        request
    }

    /// The cookies of an answer whose handler does `work` in its session.
    async fn cookies(
        layer: &ConsistencyLayer,
        request: Request<()>,
        work: impl Fn(&ConsistencyScope),
    ) -> Vec<String> {
        let service = service_fn(|_: Request<()>| async {
            work(&ConsistencyScope::current().unwrap());
            Ok::<_, Infallible>(Response::new(()))
        });
        let response = layer.layer(service).oneshot(request).await.unwrap();
        let values = response.headers().get_all(SET_COOKIE).into_iter();
        values.map(|value| value.to_str().unwrap().to_owned()).collect()
    }

    #[tokio::test]
    async fn writes_of_all_slots_are_merged_with_what_was_read() {
        let mut jar = Vec::new();
        for (slot, lsn) in [(0, 30), (1, 50), (3, 40)] {
            let layer = layer().slot(slot);
            jar.extend(
                cookies(&layer, request(&[]), |s| assert!(s.wrote(position(lsn)))).await,
            );
        }
        let seen = |scope: &ConsistencyScope| scope.moved_to(Some(STICKY), Some(position(20)));
        jar.extend(cookies(&layer(), request(&[]), seen).await);
        let names: Vec<_> = jar.iter().map(|cookie| &cookie[..5]).collect();
        assert_eq!(names, ["rw-0=", "rw-1=", "rw-3=", "rw-r="]);
        let merged = |scope: &ConsistencyScope| {
            let floors = scope.floors();
            assert_eq!(floors.write, Some(position(50)));
            assert_eq!((floors.read, floors.sticky), (Some(position(20)), Some(STICKY)));
        };
        // What changes nothing sets nothing.
        assert!(cookies(&layer(), request(&jar), merged).await.is_empty());
    }

    #[tokio::test]
    async fn cookies_are_kept_from_scripts_and_from_plain_http() {
        let wrote = |scope: &ConsistencyScope| assert!(scope.wrote(position(1)));
        let cookie = cookies(&layer(), request(&[]), wrote).await.remove(0);
        for attribute in ["; HttpOnly", "; Secure", "; SameSite=Lax", "; Path=/"] {
            assert!(cookie.contains(attribute), "{cookie}");
        }
        let development = DevelopmentOnly::cookies_travel_in_plain_http_on_loopback();
        let plain = layer().plain_http(development);
        for (host, secure) in [
            ("localhost:8080", false),
            ("127.0.0.1", false),
            ("[::1]:80", false),
            ("example.org", true),
            ("localhost.example.org", true),
            ("127.0.0.1.example.org:80", true),
        ] {
            let mut request = Request::new(());
            request.headers_mut().insert(HOST, HeaderValue::from_static(host));
            let cookie = cookies(&plain, request, wrote).await.remove(0);
            assert_eq!(cookie.contains("; Secure"), secure, "{host}");
        }
    }

    #[tokio::test]
    async fn a_write_after_the_answers_head_is_late() {
        let scope = ConsistencyScope::default();
        assert!(scope.wrote(position(1)));
        assert_eq!(scope.seal(), (true, false));
        assert!(!scope.wrote(position(2)));
    }
}
