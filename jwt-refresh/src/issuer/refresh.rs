use std::sync::Arc;
use std::time::Duration;

use serde_json::{Map, Value};
use tokio::time::timeout;

use super::Issuer;
use super::claims::{Refused, parse};
use super::login::{Grant, TokenPair, is_scope};
use crate::audit::AuditKind;
use crate::error::Error;
use crate::refresh::{Presented, retry_hash};
use crate::secret::Secret;
use crate::store::{Created, Described, Rotate, Rotation, Store};

/// How long a retry key is honoured.
const RETRY_WINDOW: Duration = Duration::from_secs(24 * 3_600);
/// How often the same token is answered within its window.
const MOST_REPLAYS: u32 = 64;

/// A request for new tokens.
#[derive(Clone, Copy)]
#[must_use]
pub struct RefreshRequest<'a> {
    token: &'a str,
    retry_key: Option<&'a str>,
    scope: Option<&'a str>,
    client: Option<&'a str>,
}

impl<'a> RefreshRequest<'a> {
    /// With this refresh token.
    pub fn new(token: &'a str) -> Self {
        Self { token, retry_key: None, scope: None, client: None }
    }

    /// With a key that the client draws anew for each refresh token and sends
    /// again when it retries: within 24 hours the retry gets the same answer.
    pub fn retry_key(mut self, key: &'a str) -> Self {
        self.retry_key = Some(key);
        self
    }

    /// For a narrower scope than the granted one.
    pub fn scope(mut self, scope: &'a str) -> Self {
        self.scope = Some(scope);
        self
    }

    /// By this client, which must be the session's.
    pub fn client(mut self, client: &'a str) -> Self {
        self.client = Some(client);
        self
    }
}

impl std::fmt::Debug for RefreshRequest<'_> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("RefreshRequest")
            .field("retry_key", &self.retry_key.is_some())
            .field("scope", &self.scope)
            .finish_non_exhaustive()
    }
}

impl Issuer {
    /// Answers a refresh token with new tokens.
    ///
    /// A client that retries inside the grace window, or with its retry key
    /// within 24 h, gets the same successor, unless the store has lost a write
    /// that it had acknowledged. Every replay outside of these windows revokes
    /// the session.
    ///
    /// # Errors
    ///
    /// See [`Error`]: with [`is_invalid_grant`](Error::is_invalid_grant) the user
    /// has to log in again; with [`may_retry`](Error::may_retry) the same request
    /// is worth another try.
    ///
    /// # Cancel safety
    ///
    /// The rotation may have happened; a retry gets its result.
    pub async fn refresh(&self, request: RefreshRequest<'_>) -> Result<TokenPair, Error> {
        let shared = &self.shared;
        let presented = match Presented::parse(&shared.refresh_keys, request.token) {
            Ok(presented) => presented,
            Err(error) => {
                let kind = match error {
                    Error::UnknownServerKey => AuditKind::UnknownServerKey,
                    _ => AuditKind::Malformed,
                };
                self.audit(kind, None, None, None);
                return Err(error);
            }
        };
        let id = presented.session.id;
        let retry = request.retry_key.map(checked_retry).transpose()?;
        let described = self.ask(shared.store.describe(presented.session)).await?;
        let Some(described) = described else {
            self.audit(AuditKind::Unknown, Some(id), None, None);
            return Err(Error::Unknown);
        };
        if request.client.is_some_and(|client| client != described.client) {
            self.audit(AuditKind::Refused, Some(id), Some(&described.user), None);
            return Err(Error::Refused);
        }
        let scope = narrowed(&described.scope, request.scope)?;
        // Before the rotation: an outage of the user database must not use up
        // the token and turn the client's retry into a reuse.
        let claims = self.claims(&described).await;
        let claims = claims.inspect_err(|error| {
            if matches!(error, Error::Refused) {
                self.audit(AuditKind::Refused, Some(id), Some(&described.user), None);
            }
        })?;
        let rotate = Rotate {
            session: presented.session,
            generation: presented.generation,
            hash: presented.hash(),
            next: presented.propose(&shared.refresh_keys)?,
            retry: retry.map(|key| retry_hash(id, key)),
            grace: shared.settings.grace,
            retry_window: RETRY_WINDOW.max(shared.settings.grace),
            most_replays: MOST_REPLAYS,
            idle: shared.settings.idle,
            publish_for: self.publish_for(),
        };
        let rotation = self.ask(shared.store.rotate(&rotate)).await?;
        let (kind, granted) = self.outcome(&presented, &rotate, request.token, rotation);
        self.audit(kind, Some(id), Some(&described.user), None);
        let (refresh, at) = granted?;
        let Described { user, client, .. } = described;
        let grant =
            Grant { session: id, user: &user, client: &client, scope: &scope, claims, at };
        let access = self.access_token(grant).await?;
        Ok(self.pair(access, refresh, id, user, scope, at))
    }

    fn outcome(
        &self,
        presented: &Presented,
        rotate: &Rotate,
        token: &str,
        rotation: Rotation,
    ) -> (AuditKind, Result<(Secret, Created), Error>) {
        let keys = &self.shared.refresh_keys;
        let id = presented.session.id;
        let failed = |kind, error| (kind, Err(error));
        match rotation {
            Rotation::Rotated(at) => {
                let next = presented.successor(keys, &rotate.next.nonce, rotate.next.key_id);
                (AuditKind::Rotated, next.map(|next| (next, at)))
            }
            Rotation::Replayed { at, nonce, key_id } => {
                let next = presented.successor(keys, &nonce, key_id);
                (AuditKind::Replayed, next.map(|next| (next, at)))
            }
            Rotation::Kept(at) => (AuditKind::Kept, Ok((Secret::new(token.to_owned()), at))),
            Rotation::Unknown => failed(AuditKind::Unknown, Error::Unknown),
            Rotation::Revoked => failed(AuditKind::Revoked, Error::Revoked),
            Rotation::Expired => failed(AuditKind::Expired, Error::Expired),
            Rotation::Ahead => failed(AuditKind::Ahead, Error::Ahead),
            Rotation::RetryKeyReused => {
                failed(AuditKind::RetryKeyReused, Error::RetryKeyReused)
            }
            Rotation::TooManyReplays => failed(
                AuditKind::TooManyReplays,
                Error::TooManyReplays { retry_after: self.shared.settings.grace },
            ),
            Rotation::Forked => {
                self.apply_session(id);
                failed(AuditKind::Forked, Error::Forked)
            }
            Rotation::Reuse => {
                self.apply_session(id);
                failed(AuditKind::Reuse, Error::Reuse)
            }
        }
    }

    async fn claims(&self, session: &Described) -> Result<Map<String, Value>, Error> {
        let Some(source) = &self.shared.claims else { return parse(&session.grant) };
        let deadline = self.shared.settings.claims_deadline;
        let decision = match timeout(deadline, source.claims(session)).await {
            Ok(decision) => decision.map_err(|error| Error::Claims(error.into()))?,
            Err(_) => {
                let late = std::io::Error::other(format!("no answer within {deadline:?}"));
                return Err(Error::Claims(Arc::new(late)));
            }
        };
        decision.0.map_err(|refused| match refused {
            Refused::User => Error::Refused,
            Refused::Claims(reason) => Error::InvalidClaims(reason),
        })
    }
}

fn checked_retry(key: &str) -> Result<&str, Error> {
    let visible = key.bytes().all(|byte| byte.is_ascii_graphic());
    if key.is_empty() || key.len() > 255 || !visible {
        return Err(Error::InvalidRetryKey);
    }
    Ok(key)
}

/// The requested part of the granted scope.
fn narrowed(granted: &str, requested: Option<&str>) -> Result<String, Error> {
    let Some(requested) = requested else { return Ok(granted.to_owned()) };
    let has = |word: &str| granted.split(' ').any(|granted| granted == word);
    if requested.is_empty() || !is_scope(requested) || !requested.split(' ').all(has) {
        return Err(Error::ScopeTooWide);
    }
    Ok(requested.to_owned())
}
