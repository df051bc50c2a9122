//! Where the origin is.

use std::error::Error;
use std::fmt;
use std::str::FromStr;

use http::uri::{Authority, Parts, PathAndQuery, Scheme};
use http::{HeaderValue, Uri};

/// The scheme and the authority of an origin: `http://127.0.0.1:8000`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Address {
    authority: Authority,
    /// The same, as it stands in a field.
    pub(crate) host: HeaderValue,
}

impl Address {
    /// What is at `path` there.
    pub(crate) fn uri(&self, path: Option<&PathAndQuery>) -> Uri {
        at(&self.authority, path)
    }
}

/// What is at `path` of `authority`.
pub(crate) fn at(authority: &Authority, path: Option<&PathAndQuery>) -> Uri {
    let path = path.cloned().unwrap_or_else(|| PathAndQuery::from_static("/"));
    let mut parts = Parts::default();
    parts.scheme = Some(Scheme::HTTP);
    parts.authority = Some(authority.clone());
    parts.path_and_query = Some(path);
    Uri::from_parts(parts).expect("a scheme, an authority and a path are a URI")
}

impl FromStr for Address {
    type Err = NoAddress;

    fn from_str(text: &str) -> Result<Self, NoAddress> {
        let uri: Uri = text.parse().map_err(|_| NoAddress("it is no URL"))?;
        if uri.scheme() != Some(&Scheme::HTTP) {
            return Err(NoAddress(
                "it does not begin with http://; TLS to an origin is not built",
            ));
        }
        let plain = matches!(uri.path_and_query().map(PathAndQuery::as_str), None | Some("/"));
        let authority = uri.authority().cloned().ok_or(NoAddress("it has no host"))?;
        if !plain {
            return Err(NoAddress("it has a path; an origin is a scheme, a host and a port"));
        }
        if authority.as_str().contains('@') {
            return Err(NoAddress("it has a user; an origin is a scheme, a host and a port"));
        }
        let host = HeaderValue::from_str(authority.as_str()).expect("an authority is plain");
        Ok(Self { authority, host })
    }
}

/// Why a text is no origin.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct NoAddress(&'static str);

impl fmt::Display for NoAddress {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}; write it as http://127.0.0.1:8000", self.0)
    }
}

impl Error for NoAddress {}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_origin_is_a_scheme_a_host_and_a_port() {
        let address: Address = "http://127.0.0.1:8000".parse().unwrap();
        let path = PathAndQuery::from_static("/a?b");
        assert_eq!(address.uri(Some(&path)), "http://127.0.0.1:8000/a?b");
        assert_eq!(address.uri(None), "http://127.0.0.1:8000/");
        for wrong in ["", "a b", "/a", "https://a", "http://a/b", "http://u@a", "ftp://a"] {
            assert!(wrong.parse::<Address>().is_err(), "{wrong}");
        }
    }
}
