//! Tokens in headers and cookies.

use http::header::{COOKIE, SET_COOKIE};
use http::{HeaderMap, HeaderName, HeaderValue};
use std::sync::Arc;
use std::time::Duration;

use crate::clock::Millis;
use crate::scope::{ConsistencyScope, Left};
use crate::token::{ConsistencyToken, Floors, TokenKeys};

/// More tokens than this in one request are not looked at: those of eight clusters.
const MOST: usize = 40;
/// How many cookies hold writes.
pub(crate) const SLOTS: u8 = 4;

#[derive(Clone, Debug)]
pub(crate) enum Carrier {
    /// Browsers keep the last of several answers' cookies of one name, so writes
    /// and reads have cookies of their own, and processes write to different slots. For the
    /// same reason each cluster has its own.
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
    pub(crate) token: ConsistencyToken,
    pub(crate) refused: u32,
    /// When the token that holds what was seen expires, of each cluster.
    pub(crate) seen_expires: Vec<(Arc<str>, Millis)>,
}

impl Carrier {
    pub(crate) fn read(&self, headers: &HeaderMap, keys: &TokenKeys) -> Brought {
        let mut brought = Brought::default();
        let mut found = Vec::new();
        let mut read = |cluster: &str, text: &str, refused: &mut u32| {
            if found.len() == MOST {
                *refused += 1;
                return;
            }
            match keys.read(cluster, text) {
                Ok((floors, expires)) => found.push((Arc::from(cluster), floors, expires)),
                Err(_) => *refused += 1,
            }
        };
        match self {
            Self::Cookie { name } => {
                let headers = headers.get_all(COOKIE).into_iter();
                let pairs = headers.filter_map(|value| value.to_str().ok());
                for pair in pairs.flat_map(|value| value.split(';')) {
                    let Some((key, value)) = pair.trim().split_once('=') else { continue };
                    if let Some(cluster) = key.strip_prefix(name.as_str()).and_then(cluster) {
                        read(cluster, value.trim_matches('"'), &mut brought.refused);
                    }
                }
            }
            Self::Header { name } => {
                let values = headers.get_all(name).into_iter();
                for value in values.filter_map(|value| value.to_str().ok()) {
                    for part in value.split(',').map(str::trim) {
                        let (cluster, text) = part.split_once('=').unwrap_or(("", part));
                        read(cluster, text, &mut brought.refused);
                    }
                }
            }
        }
        // The newest first: of two databases under one name, its one counts.
        found.sort_by_key(|(_, _, expires)| std::cmp::Reverse(*expires));
        for (cluster, floors, expires) in found {
            let known = brought.seen_expires.iter().any(|(name, _)| *name == cluster);
            if floors.sticky.is_some() && !known {
                brought.seen_expires.push((Arc::clone(&cluster), expires));
            }
            brought.token.part(&cluster).merge(&floors);
        }
        brought
    }

    /// What the answer carries of what has changed.
    pub(crate) fn write(
        &self,
        headers: &mut HeaderMap,
        scope: &ConsistencyScope,
        parting: &Parting<'_>,
    ) {
        let (own, others) = (scope.seal(), scope.seal_others());
        match self {
            Self::Cookie { name } => {
                parting.cookies(headers, name, "", &own);
                for (cluster, left) in &others {
                    parting.cookies(headers, &format!("{name}-{cluster}"), cluster, left);
                }
            }
            Self::Header { name } => {
                let mut all = others.iter().map(|(_, left)| left).chain([&own]);
                if all.any(|left| left.wrote || left.seen) {
                    let text = parting.keys.sign(&scope.token(), parting.lifetime);
                    headers.insert(name.clone(), value(&text));
                }
            }
        }
    }
}

/// The cluster in the rest of a cookie's name, `-0` or `-CLUSTER-0`; none if it is not one of
/// ours.
fn cluster(rest: &str) -> Option<&str> {
    let at = rest.len().checked_sub(2).filter(|at| rest.is_char_boundary(*at))?;
    let (cluster, slot) = rest.split_at(at);
    let is_slot = matches!(slot.as_bytes(), [b'-', b'r' | b'0'..=b'3']);
    if !is_slot || cluster.is_empty() {
        return is_slot.then_some("");
    }
    cluster.strip_prefix('-').filter(|name| is_name(name))
}

/// What a cluster may be called: in a cookie's name, and before the `=` of a header's part.
pub(crate) fn is_name(name: &str) -> bool {
    let fine = |byte: u8| byte.is_ascii_alphanumeric() || b"-_.".contains(&byte);
    (1..=64).contains(&name.len()) && name.bytes().all(fine)
}

/// How what a request leaves behind is carried.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Parting<'a> {
    pub(crate) keys: &'a TokenKeys,
    pub(crate) lifetime: Duration,
    pub(crate) slot: u8,
    pub(crate) secure: bool,
}

impl Parting<'_> {
    fn cookies(&self, headers: &mut HeaderMap, name: &str, cluster: &str, left: &Left) {
        let mut set = |name: String, floors: Floors| {
            let token = self.keys.write(cluster, &floors, self.lifetime);
            let age = self.lifetime.as_secs();
            let secure = if self.secure { "; Secure" } else { "" };
            let cookie = format!(
                "{name}={token}; Path=/; Max-Age={age}; HttpOnly; SameSite=Lax{secure}"
            );
            headers.append(SET_COOKIE, value(&cookie));
        };
        if left.wrote {
            let slot = if cfg!(broken = "one_cookie") { 0 } else { self.slot };
            set(format!("{name}-{slot}"), left.floors.written());
        }
        if left.seen {
            set(format!("{name}-r"), left.floors.seen());
        }
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
        let left = scope.seal();
        assert_eq!((left.wrote, left.seen), (true, false));
        assert!(!scope.wrote(position(2)));
        // Also on a cluster that nobody had asked before.
        assert!(!scope.on(&"late".into()).wrote(position(2)));
    }

    /// A position of one cluster neither raises nor wipes out that of another.
    #[tokio::test]
    async fn each_cluster_has_its_floors_and_its_cookies() {
        let elsewhere = |lsn| Position { system: 2, ..position(lsn) };
        let orders: Arc<str> = "orders-1".into();
        let wrote_both = |scope: &ConsistencyScope| {
            assert!(scope.wrote(position(30)));
            assert!(scope.on(&orders).wrote(elsewhere(7)));
        };
        let mut jar = cookies(&layer().slot(0), request(&[]), wrote_both).await;
        let seen = |scope: &ConsistencyScope| {
            scope.on(&orders).moved_to(Some(STICKY), Some(elsewhere(5)));
        };
        jar.extend(cookies(&layer(), request(&jar), seen).await);
        let names: Vec<_> = jar.iter().filter_map(|cookie| cookie.split('=').next()).collect();
        assert_eq!(names, ["rw-0", "rw-orders-1-0", "rw-orders-1-r"]);
        let merged = |scope: &ConsistencyScope| {
            assert_eq!(scope.floors().write, Some(position(30)));
            let part = scope.on(&orders);
            assert_eq!(part.floors().write, Some(elsewhere(7)));
            assert_eq!(part.floors().sticky, Some(STICKY));
            assert_eq!(scope.on(&"orders-2".into()).token(), ConsistencyToken::default());
        };
        assert!(cookies(&layer(), request(&jar), merged).await.is_empty());

        // Under another cluster's name it is none.
        let forged = jar[1].replacen("orders-1", "orders-2", 1);
        let refused = |scope: &ConsistencyScope| assert_eq!(scope.take_refused(), 1);
        assert!(cookies(&layer(), request(&[forged]), refused).await.is_empty());
    }

    #[tokio::test]
    async fn a_header_carries_all_clusters() {
        let keys = TokenKeys::new(&[7; 32]).unwrap();
        let name = HeaderName::from_static("x-session");
        let layer = ConsistencyLayer::header(name.clone(), keys.clone());
        let service = service_fn(|_: Request<()>| async {
            let scope = ConsistencyScope::current().unwrap();
            scope.wrote(position(30));
            scope.on(&"b".into()).wrote(position(40));
            Ok::<_, Infallible>(Response::new(()))
        });
        let response = layer.layer(service).oneshot(Request::new(())).await.unwrap();
        let text = response.headers()[&name].to_str().unwrap().to_owned();
        let token = keys.verify(&text).unwrap();
        let mut request = Request::new(());
        request.headers_mut().insert(name, text.parse().unwrap());
        let carried = service_fn(|_: Request<()>| async {
            assert_eq!(ConsistencyScope::current().unwrap().token(), token);
            Ok::<_, Infallible>(Response::new(()))
        });
        layer.layer(carried).oneshot(request).await.unwrap();
        assert_eq!(token.others.len(), 1);
        assert!(keys.verify(&text.replace("b=", "c=")).is_none());
    }

    #[test]
    fn a_cookies_name_says_which_cluster_it_is_of() {
        for (rest, expected) in [
            ("-0", Some("")),
            ("-r", Some("")),
            ("-orders-1-3", Some("orders-1")),
            ("-0-r", Some("0")),
            ("", None),
            ("-", None),
            ("-4", None),
            ("orders-0", None),
            ("--0", None),
            ("-\u{e9}-0", None),
            ("\u{e9}", None),
        ] {
            assert_eq!(cluster(rest), expected, "{rest:?}");
        }
    }
}
