use std::sync::Arc;
use std::time::Duration;
use std::{error, fmt};

use crate::keys::KeyError;

pub(crate) type BoxError = Box<dyn error::Error + Send + Sync>;

/// Why a login, a refresh, a logout or a revocation did not go through.
///
/// [`is_invalid_grant`](Self::is_invalid_grant) tells the answers that are final
/// from those that a retry may change. No variant and no message holds a token.
#[derive(Clone, Debug)]
#[non_exhaustive]
pub enum Error {
    /// The text is no refresh token of this issuer: refused before the store.
    Malformed,
    /// Signed by a server key that is not among the accepted ones.
    UnknownServerKey,
    /// The store has no such session.
    Unknown,
    /// The session was revoked: a logout, a logout everywhere, a reuse before.
    Revoked,
    /// The session is past its absolute or idle expiry.
    Expired,
    /// The token was used up earlier, outside of every window: the session is
    /// revoked now, since it is in the hands of two parties.
    Reuse,
    /// The store has lost a write that it had acknowledged; the session is
    /// revoked, and this is no sign of theft.
    Forked,
    /// The token is newer than what the store knows: it has lost writes. The
    /// session is not revoked.
    Ahead,
    /// The same token was presented too often within its window.
    TooManyReplays {
        /// When to come back, at the earliest.
        retry_after: Duration,
    },
    /// The retry key was used with another token before.
    RetryKeyReused,
    /// The retry key is empty, longer than 255 bytes or not visible ASCII.
    InvalidRetryKey,
    /// The requested scope is wider than what was granted.
    ScopeTooWide,
    /// The [`ClaimsSource`](crate::ClaimsSource) refuses this user. The session
    /// was left as it is.
    Refused,
    /// The [`ClaimsSource`](crate::ClaimsSource) failed; nothing was used up.
    Claims(Arc<dyn error::Error + Send + Sync>),
    /// The application's claims cannot go into a token: what, and why.
    InvalidClaims(Arc<str>),
    /// The store failed, so it is open whether its write went through; a retry
    /// within the grace window finds out.
    Store(Arc<dyn error::Error + Send + Sync>),
    /// There is no signing key that may sign.
    NoSigningKey,
    /// The signer failed.
    Signer(Arc<dyn error::Error + Send + Sync>),
}

impl Error {
    /// Whether the refresh token is of no use any more: `invalid_grant`.
    pub fn is_invalid_grant(&self) -> bool {
        matches!(
            self,
            Self::Malformed
                | Self::UnknownServerKey
                | Self::Unknown
                | Self::Revoked
                | Self::Expired
                | Self::Reuse
                | Self::Forked
                | Self::Ahead
                | Self::Refused
        )
    }

    /// Whether the same request may succeed a little later.
    pub fn may_retry(&self) -> bool {
        matches!(
            self,
            Self::Claims(_)
                | Self::Store(_)
                | Self::Signer(_)
                | Self::NoSigningKey
                | Self::TooManyReplays { .. }
        )
    }

    pub(crate) fn store(error: impl Into<BoxError>) -> Self {
        Self::Store(error.into().into())
    }
}

impl fmt::Display for Error {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Malformed => "this is no refresh token of this issuer",
            Self::UnknownServerKey => {
                "the refresh token's server key is not accepted here; accept a new key on every \
                 server before one of them makes it active"
            }
            Self::Unknown => "there is no such session",
            Self::Revoked => "the session was revoked",
            Self::Expired => "the session has expired",
            Self::Reuse => "the refresh token was used before; the session is revoked",
            Self::Forked => "the store has lost a write; the session is revoked",
            Self::Ahead => "the refresh token is newer than the store's row",
            Self::TooManyReplays { .. } => "the refresh token was retried too often",
            Self::RetryKeyReused => "the retry key was used with another refresh token",
            Self::InvalidRetryKey => "a retry key has 1 to 255 visible ASCII characters",
            Self::ScopeTooWide => "the requested scope is wider than the granted one",
            Self::Refused => "the user may not refresh",
            Self::Claims(_) => "the claims source failed",
            Self::InvalidClaims(reason) => return write!(f, "the claims are refused: {reason}"),
            Self::Store(_) => "the store failed",
            Self::NoSigningKey => "no signing key is active",
            Self::Signer(_) => "the signer failed",
        })
    }
}

impl error::Error for Error {
    fn source(&self) -> Option<&(dyn error::Error + 'static)> {
        match self {
            Self::Claims(cause) | Self::Store(cause) | Self::Signer(cause) => Some(&**cause),
            _ => None,
        }
    }
}

/// A setting that was refused by a `build`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct BuildError {
    setting: &'static str,
    reason: String,
}

impl BuildError {
    pub(crate) fn new(setting: &'static str, reason: impl Into<String>) -> Self {
        Self { setting, reason: reason.into() }
    }

    /// The name of the method that took the value.
    pub fn setting(&self) -> &'static str {
        self.setting
    }
}

impl fmt::Display for BuildError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "`{}`: {}", self.setting, self.reason)
    }
}

impl error::Error for BuildError {}

impl From<KeyError> for BuildError {
    fn from(error: KeyError) -> Self {
        Self::new("keys", error.to_string())
    }
}
