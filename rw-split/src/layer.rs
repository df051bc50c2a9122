use std::sync::Arc;
use std::time::Duration;

use http::HeaderName;
use tower_layer::Layer;

use crate::carrier::{Carrier, SLOTS};
use crate::error::BuildError;
use crate::service::Consistent;
use crate::token::TokenKeys;

/// Gives each HTTP request the session that its cookies, or its header, continue,
/// and lets the answer carry on what it has written and seen.
///
/// Put it outside of timeouts: a write that goes on behind a timeout's answer is
/// carried by nothing.
///
/// ```
/// use rw_split::{ConsistencyLayer, TokenKeys};
///
/// let keys = TokenKeys::new(&[7; 32])?;
/// let layer = ConsistencyLayer::cookie("rw", keys)?;
/// # Ok::<_, Box<dyn std::error::Error>>(())
/// ```
#[derive(Clone, Debug)]
#[must_use]
pub struct ConsistencyLayer {
    settings: Arc<Settings>,
}

#[derive(Clone, Debug)]
pub(crate) struct Settings {
    pub(crate) carrier: Carrier,
    pub(crate) keys: TokenKeys,
    pub(crate) lifetime: Duration,
    pub(crate) slot: u8,
    pub(crate) plain_http: bool,
}

/// Says that this is a machine of development, without HTTPS.
#[derive(Clone, Copy, Debug)]
pub struct DevelopmentOnly {
    _private: (),
}

impl DevelopmentOnly {
    /// To be written out where it is wanted.
    pub fn cookies_travel_in_plain_http_on_loopback() -> Self {
        Self { _private: () }
    }
}

impl ConsistencyLayer {
    /// In cookies `NAME-0` to `NAME-3` (writes) and `NAME-r` (reads), which are
    /// `HttpOnly`, `Secure` and `SameSite=Lax`. A browser keeps the last of
    /// several answers' cookies of one name: so each process writes to one of
    /// four, chosen at random unless [`slot`](Self::slot) is called, and on entry
    /// all are merged.
    ///
    /// # Errors
    ///
    /// A name that is no cookie's.
    pub fn cookie(name: impl Into<String>, keys: TokenKeys) -> Result<Self, BuildError> {
        let name = name.into();
        let fine =
            |byte: u8| byte.is_ascii_alphanumeric() || b"!#$%&'*+-.^_`|~".contains(&byte);
        if name.is_empty() || !name.bytes().all(fine) {
            let reason = "a cookie's name has letters, digits and none of ` ;,=\"`";
            return Err(BuildError::new("cookie", reason));
        }
        Ok(Self::new(Carrier::Cookie { name }, keys))
    }

    /// In a header of the request and of the answer, for clients that are no
    /// browsers: they send what they got last.
    pub fn header(name: HeaderName, keys: TokenKeys) -> Self {
        Self::new(Carrier::Header { name }, keys)
    }

    fn new(carrier: Carrier, keys: TokenKeys) -> Self {
        let settings = Settings {
            carrier,
            keys,
            lifetime: Duration::from_secs(3600),
            slot: fastrand::u8(..SLOTS),
            plain_http: false,
        };
        Self { settings: Arc::new(settings) }
    }

    /// How long a token is accepted: longer than replicas ever lag, and than a
    /// session pauses. The default is an hour.
    pub fn lifetime(mut self, lifetime: Duration) -> Self {
        Arc::make_mut(&mut self.settings).lifetime = lifetime;
        self
    }

    /// The cookie that this process writes to, modulo 4: with up to four
    /// processes, give each its own.
    pub fn slot(mut self, slot: u8) -> Self {
        Arc::make_mut(&mut self.settings).slot = slot % SLOTS;
        self
    }

    /// Leaves `Secure` out of the cookies of requests for `localhost` or a loopback
    /// address; those of all others keep it.
    pub fn plain_http(mut self, _: DevelopmentOnly) -> Self {
        Arc::make_mut(&mut self.settings).plain_http = true;
        self
    }
}

impl<S> Layer<S> for ConsistencyLayer {
    type Service = Consistent<S>;

    fn layer(&self, inner: S) -> Consistent<S> {
        Consistent::new(inner, Arc::clone(&self.settings))
    }
}
