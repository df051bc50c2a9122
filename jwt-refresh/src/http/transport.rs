use http::HeaderValue;
use http::header::{HOST, ORIGIN};
use http::request::Parts;

use crate::error::BuildError;

const HOST_COOKIE: &str = "__Host-refresh";
const DEVELOPMENT_COOKIE: &str = "development-refresh";
/// Whatever the transport, handlers see neither.
pub(crate) const COOKIES: &[&str] = &[HOST_COOKIE, DEVELOPMENT_COOKIE];

/// How a refresh token travels between the client and the token service.
#[derive(Clone, Debug)]
#[must_use]
pub struct Transport {
    pub(super) kind: Kind,
    origins: Vec<HeaderValue>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Kind {
    HostCookie,
    DevelopmentCookie,
    Body,
}

/// Says that this is a machine of development, without https.
#[derive(Clone, Copy, Debug)]
pub struct DevelopmentOnly {
    _private: (),
}

impl DevelopmentOnly {
    /// To be written out where it is wanted.
    pub fn the_refresh_cookie_travels_in_plain_http_on_loopback() -> Self {
        Self { _private: () }
    }
}

impl Transport {
    /// For browsers: a `__Host-` cookie, `Secure`, `HttpOnly`, `SameSite=Strict`,
    /// which scripts cannot read and only this origin gets. It needs https.
    ///
    /// A request must be of the same origin, as `Sec-Fetch-Site` says it, or of
    /// one in the list of [`allow_origin`](Self::allow_origin); 403 otherwise.
    pub fn host_cookie() -> Self {
        Self { kind: Kind::HostCookie, origins: Vec::new() }
    }

    /// For clients that can keep a secret from scripts, such as apps on a phone:
    /// the token is in the body, both ways.
    pub fn body() -> Self {
        Self { kind: Kind::Body, origins: Vec::new() }
    }

    /// As [`host_cookie`](Self::host_cookie), without https: answers on loopback
    /// addresses only.
    pub fn development_cookie(_: DevelopmentOnly) -> Self {
        Self { kind: Kind::DevelopmentCookie, origins: Vec::new() }
    }

    /// Also takes requests of this origin, `https://app.example`. They must be of
    /// the same site, or the browser does not send the cookie.
    ///
    /// # Errors
    ///
    /// When it is no origin: a scheme, a host, perhaps a port, and nothing else.
    pub fn allow_origin(mut self, origin: &str) -> Result<Self, BuildError> {
        let refuse = || {
            BuildError::new(
                "allow_origin",
                format!("{origin:?} is no origin like \"https://app.example\""),
            )
        };
        let uri: http::Uri = origin.parse().map_err(|_| refuse())?;
        let scheme = uri.scheme_str().ok_or_else(refuse)?;
        let authority = uri.authority().ok_or_else(refuse)?;
        let plain = self.kind == Kind::DevelopmentCookie && scheme == "http";
        if (scheme != "https" && !plain)
            || authority.as_str().contains('@')
            || format!("{scheme}://{authority}") != origin
            || origin.contains('*')
        {
            return Err(refuse());
        }
        self.origins.push(HeaderValue::from_str(origin).map_err(|_| refuse())?);
        Ok(self)
    }

    /// The name of its cookie.
    pub(super) fn cookie(&self) -> Option<&'static str> {
        match self.kind {
            Kind::HostCookie => Some(HOST_COOKIE),
            Kind::DevelopmentCookie => Some(DEVELOPMENT_COOKIE),
            Kind::Body => None,
        }
    }

    /// Whether a request may use the cookie: it is not another site's doing.
    pub(super) fn may_use_cookie(&self, parts: &Parts) -> bool {
        if cfg!(broken = "no_origin_check") {
            return true;
        }
        if self.kind == Kind::DevelopmentCookie && !is_loopback(parts) {
            return false;
        }
        let mut origins = parts.headers.get_all(ORIGIN).iter();
        let origin = origins.next();
        if origins.next().is_some() {
            return false;
        }
        // Never compared with Host, which is whatever the client says.
        if origin.is_some_and(|origin| self.origins.contains(origin)) {
            return true;
        }
        let mut sites = parts.headers.get_all("sec-fetch-site").iter();
        sites.next().is_some_and(|site| site == "same-origin") && sites.next().is_none()
    }

    pub(super) fn set_cookie(&self, value: &str, max_age_secs: u64) -> Option<HeaderValue> {
        let name = self.cookie()?;
        let secure = if self.kind == Kind::HostCookie { " Secure;" } else { "" };
        let text = format!(
            "{name}={value}; Path=/; Max-Age={max_age_secs};{secure} HttpOnly; SameSite=Strict"
        );
        let mut value = HeaderValue::from_str(&text).ok()?;
        value.set_sensitive(true);
        Some(value)
    }
}

fn is_loopback(parts: &Parts) -> bool {
    let host = parts.headers.get(HOST).and_then(|host| host.to_str().ok());
    let host = host.or_else(|| parts.uri.authority().map(|authority| authority.as_str()));
    let authority = host.and_then(|host| host.parse::<http::uri::Authority>().ok());
    authority.is_some_and(|authority| {
        let host = authority.host();
        let bare = host.trim_start_matches('[').trim_end_matches(']');
        host == "localhost" || bare.parse::<std::net::IpAddr>().is_ok_and(|ip| ip.is_loopback())
    })
}
