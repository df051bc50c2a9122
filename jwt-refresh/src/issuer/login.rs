use std::fmt;
use std::time::Duration;

use serde::Serialize;
use serde_json::{Map, Value};

use super::Issuer;
use super::claims::own_claims;
use crate::audit::AuditKind;
use crate::encoding;
use crate::error::Error;
use crate::refresh;
use crate::secret::Secret;
use crate::store::{Created, NewSession, SessionId, SessionRef, Store};

/// Who logs in, for what, and on which device.
#[derive(Clone, Debug)]
#[must_use]
pub struct Subject {
    user: String,
    client: String,
    device: String,
    scope: String,
}

impl Subject {
    /// The user, by the id that never changes: it is `sub` in every token.
    pub fn new(user: impl Into<String>) -> Self {
        Self {
            user: user.into(),
            client: "first-party".into(),
            device: String::new(),
            scope: String::new(),
        }
    }

    /// The OAuth client, `client_id`; `first-party` by default.
    pub fn client(mut self, client: impl Into<String>) -> Self {
        self.client = client.into();
        self
    }

    /// What the user is to recognise the device by in a list of sessions.
    pub fn device(mut self, device: impl Into<String>) -> Self {
        self.device = device.into();
        self
    }

    /// What is granted: words apart by single spaces (RFC 6749, section 3.3).
    pub fn scope(mut self, scope: impl Into<String>) -> Self {
        self.scope = scope.into();
        self
    }

    fn check(&self) -> Result<(), Error> {
        let invalid = |reason: &str| Err(Error::InvalidClaims(reason.into()));
        if self.user.is_empty() || self.user.len() > 255 || self.user.contains(char::is_control)
        {
            return invalid("the user's id must have 1 to 255 bytes and no control characters");
        }
        let controls = |text: &str| text.contains(char::is_control);
        if self.client.is_empty() || self.client.len() > 255 || controls(&self.client) {
            return invalid(
                "the client's id must have 1 to 255 bytes and no control characters",
            );
        }
        if self.device.len() > 255 || controls(&self.device) {
            return invalid(
                "the device's name must have at most 255 bytes and no control characters",
            );
        }
        if !is_scope(&self.scope) || self.scope.len() > 1_024 {
            return invalid("the scope must be words apart by single spaces, up to 1 KiB");
        }
        Ok(())
    }
}

/// Words of RFC 6749, section 3.3, apart by single spaces; or nothing.
pub(super) fn is_scope(scope: &str) -> bool {
    let word = |word: &str| {
        !word.is_empty() && word.bytes().all(|b| matches!(b, 0x21 | 0x23..=0x5B | 0x5D..=0x7E))
    };
    scope.is_empty() || scope.split(' ').all(word)
}

/// An access token and the refresh token that goes with it.
///
/// Neither is shown by `Debug`, and there is no `Serialize`:
/// [`TokenService::respond`](crate::http::TokenService::respond) hands them out.
#[derive(Clone)]
pub struct TokenPair {
    pub(super) access: Secret,
    pub(super) refresh: Secret,
    pub(super) session: SessionId,
    pub(super) user: String,
    pub(super) scope: String,
    pub(super) access_ttl: Duration,
    pub(super) session_left: Duration,
}

impl TokenPair {
    /// The access token, for the `Authorization` header.
    pub fn access_token(&self) -> &Secret {
        &self.access
    }

    /// The refresh token.
    pub fn refresh_token(&self) -> &Secret {
        &self.refresh
    }

    /// The session, `sid`.
    pub fn session(&self) -> SessionId {
        self.session
    }

    /// The user, `sub`.
    pub fn user(&self) -> &str {
        &self.user
    }

    /// The scope of the access token.
    pub fn scope(&self) -> &str {
        &self.scope
    }

    /// How long the access token lives.
    pub fn expires_in(&self) -> Duration {
        self.access_ttl
    }

    /// How long the session lasts at most, by the store's clock.
    pub fn session_expires_in(&self) -> Duration {
        self.session_left
    }
}

impl fmt::Debug for TokenPair {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("TokenPair")
            .field("session", &self.session)
            .field("user", &self.user)
            .finish_non_exhaustive()
    }
}

/// What an access token is made of.
pub(super) struct Grant<'a> {
    pub(super) session: SessionId,
    pub(super) user: &'a str,
    pub(super) client: &'a str,
    pub(super) scope: &'a str,
    pub(super) claims: Map<String, Value>,
    pub(super) at: Created,
}

impl Issuer {
    /// Begins a session for a user whose password, or whatever it is, was
    /// checked. `claims` serialise to a JSON object, up to 4 KiB, without the
    /// registered names; they are kept with the session.
    ///
    /// # Errors
    ///
    /// [`Error::InvalidClaims`] when the subject or the claims do not fit into a
    /// token; [`Error::Store`]; [`Error::NoSigningKey`], [`Error::Signer`].
    ///
    /// # Cancel safety
    ///
    /// A session whose tokens nobody got may stay until it expires.
    pub async fn login(
        &self,
        subject: Subject,
        claims: impl Serialize,
    ) -> Result<TokenPair, Error> {
        subject.check()?;
        let claims = own_claims(&claims)?;
        let shared = &self.shared;
        let id = SessionId::random()?;
        let session = SessionRef { id, bucket: shared.store.bucket(&subject.user) };
        let (refresh, hash) = refresh::issue(&shared.refresh_keys, session)?;
        let Subject { user, client, device, scope } = subject;
        let new = NewSession {
            session,
            user,
            client,
            scope,
            grant: Value::Object(claims.clone()).to_string(),
            device,
            hash,
            absolute: shared.settings.absolute,
            idle: shared.settings.idle,
        };
        let at = self.ask(shared.store.create(&new)).await?;
        let NewSession { user, client, scope, .. } = &new;
        let grant = Grant { session: id, user, client, scope, claims, at };
        let access = self.access_token(grant).await?;
        self.audit(AuditKind::Login, Some(id), Some(&new.user), None);
        Ok(self.pair(access, refresh, id, new.user, new.scope, at))
    }

    pub(super) fn pair(
        &self,
        access: Secret,
        refresh: Secret,
        session: SessionId,
        user: String,
        scope: String,
        at: Created,
    ) -> TokenPair {
        TokenPair {
            access,
            refresh,
            session,
            user,
            scope,
            access_ttl: self.shared.settings.access_ttl,
            session_left: Duration::from_millis(at.expires_ms.saturating_sub(at.now_ms)),
        }
    }

    /// Dated by the store, so that all servers' tokens agree with each other.
    pub(super) async fn access_token(&self, grant: Grant<'_>) -> Result<Secret, Error> {
        let settings = &self.shared.settings;
        let Grant { session, user, client, scope, claims: mut payload, at } = grant;
        let issued = at.now_ms / 1_000;
        // No token outlives its session.
        let expires =
            (issued + settings.access_ttl.as_secs()).min(at.expires_ms.div_ceil(1_000));
        let mut set = |name: &str, value: Value| {
            payload.insert(name.to_owned(), value);
        };
        set("iss", settings.issuer.as_str().into());
        set("aud", settings.audience.as_str().into());
        set("sub", user.into());
        set("client_id", client.into());
        set("sid", session.to_string().into());
        set("uep", at.user_epoch.into());
        set("jti", encoding::encode(SessionId::random()?.bytes()).into());
        set("iat", issued.into());
        set("exp", expires.into());
        if !scope.is_empty() {
            set("scope", scope.into());
        }
        let signed = self.shared.keys.sign(&Value::Object(payload).to_string()).await?;
        Ok(Secret::new(signed))
    }
}
