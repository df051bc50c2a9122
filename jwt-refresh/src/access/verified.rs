use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use serde::Deserialize;

use super::verifier::Shared;
use crate::revocation::Ids;

/// For services that need no claims of their own.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Deserialize)]
pub struct NoClaims {}

/// What an access token says, after all checks. Only a verifier makes one.
///
/// It is no proof for later: a handler that runs for long waits for
/// [`until_invalid`](Self::until_invalid) beside its work.
pub struct Verified<C = NoClaims> {
    pub(super) issuer: Box<str>,
    pub(super) subject: Box<str>,
    pub(super) client_id: Option<Box<str>>,
    pub(super) token_id: Option<Box<str>>,
    pub(super) session: Option<Box<str>>,
    pub(super) scope: Box<str>,
    pub(super) roles: Box<[Box<str>]>,
    pub(super) expires: u64,
    pub(super) issued: Option<u64>,
    pub(super) not_before: Option<u64>,
    pub(super) user_epoch: u64,
    pub(super) kid: Box<str>,
    pub(super) claims: C,
    pub(super) meta: Meta,
}

/// What a hit in the cache of verified tokens is judged by.
pub(super) struct Meta {
    pub(super) profile: u16,
    /// The key set's when it was verified.
    pub(super) epoch: u64,
    /// The key's own end.
    pub(super) key_until: Option<u64>,
    pub(super) ids: Ids,
    pub(super) verifier: Arc<Shared>,
}

impl<C> Verified<C> {
    /// `iss`.
    pub fn issuer(&self) -> &str {
        &self.issuer
    }

    /// `sub`: the user.
    pub fn subject(&self) -> &str {
        &self.subject
    }

    /// `client_id`; always there in tokens of our own issuer.
    pub fn client_id(&self) -> Option<&str> {
        self.client_id.as_deref()
    }

    /// `jti`.
    pub fn token_id(&self) -> Option<&str> {
        self.token_id.as_deref()
    }

    /// `sid`: the session, which is the refresh token's family.
    pub fn session(&self) -> Option<&str> {
        self.session.as_deref()
    }

    /// The granted scope, words apart by spaces.
    pub fn scope(&self) -> &str {
        &self.scope
    }

    /// Whether the scope has this word.
    pub fn has_scope(&self, word: &str) -> bool {
        self.scope.split(' ').any(|granted| granted == word && !word.is_empty())
    }

    /// `roles` (RFC 9068, section 2.2.3.1).
    pub fn roles(&self) -> impl Iterator<Item = &str> {
        self.roles.iter().map(|role| &**role)
    }

    /// Whether `roles` has this one.
    pub fn has_role(&self, role: &str) -> bool {
        self.roles().any(|has| has == role)
    }

    /// `exp`, in seconds since 1970.
    pub fn expires_at(&self) -> u64 {
        self.expires
    }

    /// `iat`, in seconds since 1970.
    pub fn issued_at(&self) -> Option<u64> {
        self.issued
    }

    /// The `kid` of the key that has signed it.
    pub fn kid(&self) -> &str {
        &self.kid
    }

    /// The application's own claims.
    pub fn claims(&self) -> &C {
        &self.claims
    }

    /// Ends when the token is not valid any more: it has expired (without the
    /// leeway), or it, its session or its user's sessions were revoked, or the
    /// revocation feed has become too old. For WebSocket and SSE handlers.
    ///
    /// # Cancel safety
    ///
    /// Cancel safe.
    pub async fn until_invalid(&self) {
        let verifier = &self.meta.verifier;
        let mut changes = verifier.revocations.changes();
        loop {
            let now = verifier.clock.now_ms();
            let left = (self.expires * 1_000).saturating_sub(now);
            let good = verifier.has_key(self) && verifier.judge(self, now / 1_000).is_ok();
            if left == 0 || !good {
                return;
            }
            // The staleness of the feed has no event of its own.
            let nap = Duration::from_millis(left.min(1_000));
            tokio::select! {
                _ = changes.changed() => {}
                () = tokio::time::sleep(nap) => {}
            }
        }
    }
}

impl<C> fmt::Debug for Verified<C> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Verified")
            .field("issuer", &self.issuer)
            .field("subject", &self.subject)
            .field("session", &self.session)
            .field("scope", &self.scope)
            .field("expires", &self.expires)
            .finish_non_exhaustive()
    }
}
