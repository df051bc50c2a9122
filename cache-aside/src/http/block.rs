//! Header fields as they are stored: in one piece of memory of their own, since what a
//! connection has read would otherwise be kept as a whole.

use bytes::{Bytes, BytesMut};
use http::HeaderMap;
use http::header::{
    AGE, CACHE_CONTROL, CONNECTION, CONTENT_LENGTH, HOST, HeaderName, HeaderValue,
    PROXY_AUTHENTICATE, PROXY_AUTHORIZATION, TE, TRAILER, TRANSFER_ENCODING, UPGRADE,
};

use super::field::members;

const KEEP_ALIVE: HeaderName = HeaderName::from_static("keep-alive");
const PROXY_CONNECTION: HeaderName = HeaderName::from_static("proxy-connection");
const PROXY_AUTHENTICATION_INFO: HeaderName =
    HeaderName::from_static("proxy-authentication-info");

/// A header section that does not change.
#[derive(Clone, Debug)]
pub(super) struct Block {
    fields: Box<[(HeaderName, HeaderValue)]>,
    bytes: usize,
}

impl Block {
    pub(super) fn new(headers: &HeaderMap) -> Self {
        let total = headers.values().map(HeaderValue::len).sum();
        let mut text = BytesMut::with_capacity(total);
        for value in headers.values() {
            text.extend_from_slice(value.as_bytes());
        }
        let mut text = text.freeze();
        let mut bytes = total;
        let fields = headers
            .iter()
            .map(|(name, value)| {
                bytes += name.as_str().len();
                let own = text.split_to(value.len());
                let mut own = shared(own).unwrap_or_else(|| value.clone());
                own.set_sensitive(value.is_sensitive());
                (name.clone(), own)
            })
            .collect();
        Self { fields, bytes }
    }

    pub(super) fn to_map(&self) -> HeaderMap {
        // Room for `Age` and `Cache-Status`.
        let mut headers = HeaderMap::with_capacity(self.fields.len() + 2);
        for (name, value) in &self.fields {
            headers.append(name.clone(), value.clone());
        }
        headers
    }

    /// The first of a name.
    pub(super) fn first(&self, name: &HeaderName) -> Option<&HeaderValue> {
        self.fields.iter().find(|(other, _)| other == name).map(|(_, value)| value)
    }

    /// Bytes that it owns.
    pub(super) fn size(&self) -> usize {
        self.bytes + self.fields.len() * size_of::<(HeaderName, HeaderValue)>()
    }
}

fn shared(text: Bytes) -> Option<HeaderValue> {
    HeaderValue::from_maybe_shared(text).ok()
}

/// Takes out what is for one connection only (RFC 9110, section 7.6.1): the fields that
/// `Connection` names, and those that are known to be such.
pub(super) fn take_hop_by_hop(headers: &mut HeaderMap) {
    if headers.contains_key(CONNECTION) {
        let named: Vec<HeaderName> = members(headers, &CONNECTION)
            .filter_map(|option| HeaderName::from_bytes(option).ok())
            // Without the one the origin would answer for another host than the key is of, and
            // without the other what is private would be anybody's further on.
            .filter(|name| *name != HOST && *name != CACHE_CONTROL)
            .collect();
        for name in named {
            headers.remove(name);
        }
        headers.remove(CONNECTION);
    }
    if headers.contains_key(TRANSFER_ENCODING) {
        // A length beside it is wrong, and how requests are smuggled (RFC 9112, section 6.3).
        headers.remove(CONTENT_LENGTH);
    }
    // That trailers are welcome is so as long as they come through.
    if headers.get_all(TE).iter().any(|value| value != "trailers") {
        headers.remove(TE);
    }
    for name in [KEEP_ALIVE, PROXY_CONNECTION, TRANSFER_ENCODING, UPGRADE] {
        headers.remove(name);
    }
}

/// Takes out what a cache does not store (RFC 9111, section 3.1), `Age`, which is counted
/// anew, and the announcement of trailers, which are not kept.
pub(super) fn take_unstorable(headers: &mut HeaderMap) {
    take_hop_by_hop(headers);
    for name in
        [PROXY_AUTHENTICATE, PROXY_AUTHENTICATION_INFO, PROXY_AUTHORIZATION, AGE, TRAILER]
    {
        headers.remove(name);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn map(pairs: &[(&'static str, &'static str)]) -> HeaderMap {
        let mut headers = HeaderMap::new();
        for (name, value) in pairs {
            headers.append(*name, HeaderValue::from_static(value));
        }
        headers
    }

    #[test]
    fn a_block_has_every_field_and_line_in_order() {
        let mut headers = map(&[("a", "1"), ("b", "2"), ("a", "3"), ("c", "")]);
        headers.get_mut("b").unwrap().set_sensitive(true);
        let block = Block::new(&headers);
        let back = block.to_map();
        assert_eq!(back, headers);
        assert!(back["b"].is_sensitive() && !back["a"].is_sensitive());
        assert!(block.size() >= 3 + 4);
    }

    #[test]
    fn what_connection_names_goes_with_it() {
        let mut headers = map(&[
            ("connection", "close, X-One"),
            ("connection", "x-two, not a name, Host, Cache-Control"),
            ("x-one", "1"),
            ("x-two", "2"),
            ("keep-alive", "timeout=5"),
            ("transfer-encoding", "chunked"),
            ("content-length", "5"),
            ("upgrade", "h2c"),
            ("te", "gzip"),
            ("host", "h"),
            ("proxy-connection", "keep-alive"),
            ("x-three", "3"),
            ("cache-control", "private"),
        ]);
        take_hop_by_hop(&mut headers);
        let left = [("host", "h"), ("x-three", "3"), ("cache-control", "private")];
        assert_eq!(headers, map(&left));
        let mut headers = map(&[("te", "trailers"), ("te", "gzip")]);
        take_hop_by_hop(&mut headers);
        assert!(headers.is_empty());
        let trailers = map(&[("te", "trailers")]);
        let mut headers = trailers.clone();
        take_hop_by_hop(&mut headers);
        assert_eq!(headers, trailers);
    }

    #[test]
    fn what_is_a_proxys_own_is_not_stored() {
        let mut headers = map(&[
            ("proxy-authenticate", "Basic"),
            ("proxy-authentication-info", "x"),
            ("proxy-authorization", "x"),
            ("age", "5"),
            ("trailer", "x-sum"),
            ("etag", "\"a\""),
        ]);
        take_unstorable(&mut headers);
        assert_eq!(headers, map(&[("etag", "\"a\"")]));
    }
}
