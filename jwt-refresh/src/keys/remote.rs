use std::collections::HashMap;
use std::pin::Pin;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;
use std::{error, fmt};

use bytes::Bytes;
use http::Uri;
use tokio::time::{Instant, timeout};

use super::set::KeySet;
use crate::access::LiveSet;
use crate::error::BuildError;

/// The deadline of one fetch.
const DEADLINE: Duration = Duration::from_secs(5);
/// Between two fetches, whatever asks for them.
const COOLDOWN: Duration = Duration::from_secs(10);
/// A set older than this is fetched again by the next token, in good time.
const FRESH: Duration = Duration::from_secs(300);
/// Kids that were not found, so that a flood of them asks for nothing.
const MOST_UNKNOWN: usize = 256;

/// Fetches a key set by HTTP.
pub trait Fetch: Send + Sync + 'static {
    /// The body of a `GET` of `url` that was answered with 200.
    ///
    /// # Errors
    ///
    /// See [`FetchError`]. An implementation must not follow redirects and must
    /// not read more than `limit` bytes.
    ///
    /// # Cancel safety
    ///
    /// It is dropped at its deadline of 5 seconds.
    fn get(
        &self,
        url: &Uri,
        limit: usize,
    ) -> impl Future<Output = Result<Bytes, FetchError>> + Send;
}

/// Why a key set could not be fetched.
#[derive(Clone, Debug)]
#[non_exhaustive]
pub enum FetchError {
    /// Another status than 200; a redirect is not followed.
    Status(u16),
    /// More bytes than the limit.
    TooLong,
    /// The connection failed.
    Connection(Arc<dyn error::Error + Send + Sync>),
}

impl fmt::Display for FetchError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Status(status @ 300..=399) => {
                write!(f, "redirects are not followed (status {status})")
            }
            Self::Status(status) => write!(f, "status {status}"),
            Self::TooLong => f.write_str("the key set is too long"),
            Self::Connection(_) => f.write_str("the connection failed"),
        }
    }
}

impl error::Error for FetchError {
    fn source(&self) -> Option<&(dyn error::Error + 'static)> {
        match self {
            Self::Connection(cause) => Some(&**cause),
            _ => None,
        }
    }
}

type Fetched<'a> = Pin<Box<dyn Future<Output = Result<Bytes, FetchError>> + Send + 'a>>;

trait Erased: Send + Sync {
    fn get<'a>(&'a self, url: &'a Uri, limit: usize) -> Fetched<'a>;
}

impl<F: Fetch> Erased for F {
    fn get<'a>(&'a self, url: &'a Uri, limit: usize) -> Fetched<'a> {
        Box::pin(Fetch::get(self, url, limit))
    }
}

/// The published keys of another issuer.
///
/// The URL comes from the configuration alone, never from a token. The set is
/// fetched when a token names a key that is not in it, at most every 10 s and
/// once at a time, and again when it is 5 minutes old. A failure, a bad set or
/// one bad key in it leave the keys that are there in place.
#[derive(Clone)]
pub struct RemoteJwks {
    shared: Arc<Shared>,
}

struct Shared {
    url: Uri,
    fetch: Box<dyn Erased>,
    live: Arc<LiveSet>,
    origin: Instant,
    flight: tokio::sync::Mutex<()>,
    /// Milliseconds since `origin`; 0 is never.
    fetched: AtomicU64,
    next_fetch: AtomicU64,
    unknown: Mutex<HashMap<Box<str>, u64>>,
}

impl RemoteJwks {
    /// The set at `url`: https, or http on a loopback address.
    ///
    /// # Errors
    ///
    /// Any other URL.
    pub fn new(url: &str, fetch: impl Fetch) -> Result<Self, BuildError> {
        let refuse = |reason: String| Err(BuildError::new("url", reason));
        let Ok(uri) = url.parse::<Uri>() else {
            return refuse(format!("{url:?} is no URL"));
        };
        let host = uri.host().unwrap_or_default();
        if uri.authority().is_some_and(|authority| authority.as_str().contains('@')) {
            return refuse("the URL must hold no user name or password".to_owned());
        }
        match uri.scheme_str() {
            Some("https") if !host.is_empty() => {}
            Some("http") if is_loopback(host) => {}
            _ => {
                return refuse(format!(
                    "{url:?} must be https; plain http is for loopback addresses only, since \
                     whoever can change the answer can sign tokens"
                ));
            }
        }
        Ok(Self {
            shared: Arc::new(Shared {
                url: uri,
                fetch: Box::new(fetch),
                live: Arc::new(LiveSet::new(KeySet::default())),
                origin: Instant::now(),
                flight: tokio::sync::Mutex::new(()),
                fetched: AtomicU64::new(0),
                next_fetch: AtomicU64::new(0),
                unknown: Mutex::new(HashMap::new()),
            }),
        })
    }

    /// Fetches the set now, for a start that wants to fail early.
    ///
    /// # Errors
    ///
    /// When it could not be fetched or is bad as a whole.
    ///
    /// # Cancel safety
    ///
    /// The set is as before.
    pub async fn load(&self) -> Result<(), BuildError> {
        let _flight = self.shared.flight.lock().await;
        self.shared.fetch_now().await.map_err(|reason| BuildError::new("url", reason))
    }

    pub(crate) fn live(&self) -> &Arc<LiveSet> {
        &self.shared.live
    }

    /// Whether the set is old enough to be fetched again.
    pub(crate) fn is_due(&self) -> bool {
        let shared = &self.shared;
        let (now, fetched) = (shared.now(), shared.fetched.load(Ordering::Acquire));
        (fetched == 0 || now >= fetched + millis(FRESH))
            && now >= shared.next_fetch.load(Ordering::Acquire)
    }

    /// Fetches for a token that names `kid`, or no key, if that may help.
    pub(crate) async fn refresh_for(&self, kid: Option<&str>) {
        let shared = &self.shared;
        let found = || kid.is_some_and(|kid| shared.live.load().get(kid).is_some());
        if !self.is_due() && kid.is_some_and(|kid| shared.is_unknown(kid)) {
            return;
        }
        // A token whose key is there does not wait for the set's renewal by another.
        let _flight = match (found(), shared.flight.try_lock()) {
            (_, Ok(flight)) => flight,
            (true, Err(_)) => return,
            (false, Err(_)) => shared.flight.lock().await,
        };
        // Whoever held it before may have brought it.
        let now = shared.now();
        if (found() && !self.is_due()) || now < shared.next_fetch.load(Ordering::Acquire) {
            return;
        }
        if let Err(reason) = shared.fetch_now().await {
            tracing::warn!(url = %shared.url, reason, "the key set could not be renewed");
        }
        if let (Some(kid), false) = (kid, found()) {
            shared.remember_unknown(kid);
        }
    }
}

impl Shared {
    /// Milliseconds since the start, at least 1.
    fn now(&self) -> u64 {
        millis(self.origin.elapsed()) + 1
    }

    /// The caller holds the flight.
    async fn fetch_now(&self) -> Result<(), String> {
        // Claimed first: a fetch that is given up counts, too.
        self.next_fetch.store(self.now() + millis(COOLDOWN), Ordering::Release);
        let body = timeout(DEADLINE, self.fetch.get(&self.url, super::set::LONGEST_SET)).await;
        let body = body
            .map_err(|_| format!("no answer within {DEADLINE:?}"))?
            .map_err(|error| error.to_string())?;
        let text = str::from_utf8(&body).map_err(|_| "the set is not UTF-8".to_owned())?;
        let (set, bad) = KeySet::from_public_jwks(text).map_err(|error| error.to_string())?;
        for error in bad {
            tracing::warn!(url = %self.url, %error, "a key of the set is left out");
        }
        self.live.replace(set);
        self.unknown().clear();
        self.fetched.store(self.now(), Ordering::Release);
        Ok(())
    }

    fn is_unknown(&self, kid: &str) -> bool {
        let now = self.now();
        self.unknown().get(kid).is_some_and(|until| now < *until)
    }

    fn remember_unknown(&self, kid: &str) {
        let now = self.now();
        let mut unknown = self.unknown();
        if unknown.len() >= MOST_UNKNOWN {
            unknown.retain(|_, until| now < *until);
        }
        if unknown.len() < MOST_UNKNOWN {
            unknown.insert(kid.into(), now + millis(COOLDOWN));
        }
    }

    fn unknown(&self) -> std::sync::MutexGuard<'_, HashMap<Box<str>, u64>> {
        self.unknown.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

fn is_loopback(host: &str) -> bool {
    let bare = host.trim_start_matches('[').trim_end_matches(']');
    host == "localhost" || bare.parse::<std::net::IpAddr>().is_ok_and(|ip| ip.is_loopback())
}

fn millis(duration: Duration) -> u64 {
    u64::try_from(duration.as_millis()).unwrap_or(u64::MAX)
}

impl fmt::Debug for RemoteJwks {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("RemoteJwks")
            .field("url", &self.shared.url)
            .field("keys", &self.shared.live.load())
            .finish_non_exhaustive()
    }
}
