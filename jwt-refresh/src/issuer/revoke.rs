use super::Issuer;
use crate::access::Verified;
use crate::audit::AuditKind;
use crate::error::Error;
use crate::keys::KeyError;
use crate::refresh::Presented;
use crate::store::{Revocation, Revoke, Session, SessionId, SessionRef, Store};

impl Issuer {
    /// Ends one session of a user. Its access tokens are refused here at once,
    /// and everywhere as soon as the feed has brought it.
    ///
    /// # Errors
    ///
    /// [`Error::Unknown`] when it is another user's: the id may come from a request.
    /// [`Error::Store`].
    ///
    /// # Cancel safety
    ///
    /// It may have happened; do it again.
    pub async fn logout(&self, user: &str, session: SessionId) -> Result<(), Error> {
        let of = SessionRef { id: session, bucket: self.shared.store.bucket(user) };
        // One that the store has lost may still have access tokens.
        let owner = self.ask(self.shared.store.describe(of)).await?;
        if owner.is_some_and(|owner| owner.user != user) && !cfg!(broken = "no_owner") {
            return Err(Error::Unknown);
        }
        self.revoke(Revoke::Session(of)).await?;
        self.audit(AuditKind::Logout, Some(session), Some(user), None);
        Ok(())
    }

    /// Ends the session of a refresh token, of whichever generation it is.
    ///
    /// # Errors
    ///
    /// [`Error::Malformed`] or [`Error::UnknownServerKey`] when there is nothing
    /// to end; [`Error::Store`].
    ///
    /// # Cancel safety
    ///
    /// As [`logout`](Self::logout).
    pub async fn logout_token(&self, refresh_token: &str) -> Result<SessionId, Error> {
        let presented = Presented::parse(&self.shared.refresh_keys, refresh_token)?;
        self.revoke(Revoke::Session(presented.session)).await?;
        self.audit(AuditKind::Logout, Some(presented.session.id), None, None);
        Ok(presented.session.id)
    }

    /// Ends all sessions of a user, also those that are being refreshed at this
    /// moment. It costs the same however many there are.
    ///
    /// # Errors
    ///
    /// [`Error::Store`].
    ///
    /// # Cancel safety
    ///
    /// As [`logout`](Self::logout).
    pub async fn logout_all(&self, user: &str) -> Result<(), Error> {
        self.revoke(Revoke::User(user.to_owned())).await?;
        self.audit(AuditKind::LogoutAll, None, Some(user), None);
        Ok(())
    }

    /// Ends all sessions of a user but this one.
    ///
    /// # Errors
    ///
    /// [`Error::Store`].
    ///
    /// # Cancel safety
    ///
    /// As [`logout`](Self::logout).
    pub async fn logout_others(&self, user: &str, keep: SessionId) -> Result<(), Error> {
        self.revoke(Revoke::Others { user: user.to_owned(), keep }).await?;
        self.audit(AuditKind::LogoutOthers, Some(keep), Some(user), None);
        Ok(())
    }

    /// The sessions of a user.
    ///
    /// # Errors
    ///
    /// [`Error::Store`].
    ///
    /// # Cancel safety
    ///
    /// Cancel safe.
    pub async fn sessions(&self, user: &str) -> Result<Vec<Session>, Error> {
        self.ask(self.shared.store.sessions(user)).await
    }

    /// Revokes one access token, and leaves its session.
    ///
    /// # Errors
    ///
    /// [`Error::Store`].
    ///
    /// # Cancel safety
    ///
    /// As [`logout`](Self::logout).
    pub async fn revoke_token<C>(&self, token: &Verified<C>) -> Result<(), Error> {
        let Some(token_id) = token.token_id() else { return Ok(()) };
        self.revoke(Revoke::Token { token_id: token_id.to_owned() }).await?;
        self.audit(AuditKind::TokenRevoked, None, Some(token.subject()), Some(token_id));
        Ok(())
    }

    /// Takes a signing key out everywhere and for good, with every token that it
    /// has signed. If it was the active one, activate another.
    ///
    /// # Errors
    ///
    /// [`Error::Store`]; the key signs no more in this process all the same.
    ///
    /// # Cancel safety
    ///
    /// As [`logout`](Self::logout).
    pub async fn kill_key(&self, kid: &str) -> Result<(), Error> {
        match self.shared.keys.kill(kid) {
            // A key of another process, or one that was killed before.
            Ok(()) | Err(KeyError::NoSuchKey(_)) => {}
            Err(error) => return Err(Error::store(error)),
        }
        let dead = Revocation::Key { kid: kid.to_owned() };
        self.shared.verifier.revocations().apply([&dead]);
        self.revoke(Revoke::Key { kid: kid.to_owned() }).await?;
        self.audit(AuditKind::KeyKilled, None, None, Some(kid));
        Ok(())
    }

    async fn revoke(&self, scope: Revoke) -> Result<(), Error> {
        let revoked = self.ask(self.shared.store.revoke(&scope, self.publish_for())).await?;
        self.shared.verifier.revocations().apply(&revoked);
        Ok(())
    }

    /// For a revocation that a rotation has made: this process knows at once.
    pub(super) fn apply_session(&self, session: SessionId) {
        let verifier = &self.shared.verifier;
        // By this process's clock, so longer: the feed brings the store's date.
        let publish = u64::try_from((self.publish_for() * 2).as_millis()).unwrap_or(u64::MAX);
        let until_ms = verifier.now_ms().saturating_add(publish);
        verifier.revocations().apply([&Revocation::Session { session, until_ms }]);
    }
}
