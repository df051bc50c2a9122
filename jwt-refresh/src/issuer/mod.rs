//! Issues tokens, refreshes them, and ends sessions.

mod builder;
mod claims;
mod login;
mod refresh;
mod revoke;

pub use self::builder::IssuerBuilder;
pub use self::claims::{ClaimsSource, Decision};
pub use self::login::{Subject, TokenPair};
pub use self::refresh::RefreshRequest;

use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use self::claims::BoxClaims;
use crate::access::Verifier;
use crate::audit::{AuditEvent, AuditKind, AuditSink};
use crate::error::{BoxError, Error};
use crate::http::{TokenService, Transport};
use crate::keys::SigningKeys;
use crate::metrics;
use crate::refresh::RefreshKeys;
use crate::store::{BoxStore, SessionId};

/// Issues access and refresh tokens, rotates and revokes them. Clones share all.
///
/// It owns two tasks, which are started by [`build`](IssuerBuilder::build) and end
/// with its last clone and verifier: one reads the feed of revocations, one writes
/// its heartbeats.
#[derive(Clone)]
pub struct Issuer {
    shared: Arc<Shared>,
}

struct Shared {
    settings: Settings,
    keys: SigningKeys,
    refresh_keys: RefreshKeys,
    store: BoxStore,
    claims: Option<BoxClaims>,
    audit: Box<dyn AuditSink>,
    verifier: Verifier,
}

#[derive(Clone, Debug)]
struct Settings {
    issuer: String,
    audience: String,
    access_ttl: Duration,
    absolute: Duration,
    idle: Duration,
    grace: Duration,
    leeway: Duration,
    jwks_max_age: Duration,
    claims_deadline: Duration,
    store_deadline: Duration,
}

impl Issuer {
    /// An issuer that is called `issuer` (`iss`, usually its URL), for a service
    /// that is called `audience` (`aud`).
    pub fn builder(issuer: impl Into<String>, audience: impl Into<String>) -> IssuerBuilder {
        IssuerBuilder::new(issuer.into(), audience.into())
    }

    /// Verifies this issuer's access tokens. Revocations made here hold here at
    /// once.
    pub fn verifier(&self) -> Verifier {
        self.shared.verifier.clone()
    }

    /// The keys that sign, to be changed at run time.
    pub fn keys(&self) -> &SigningKeys {
        &self.shared.keys
    }

    /// `POST` refresh, logout and revoke, and `GET` of the key set, over
    /// `transport`.
    pub fn token_service(&self, transport: Transport) -> TokenService {
        TokenService::new(self.clone(), transport)
    }

    /// How long an access token could be accepted by anybody.
    fn publish_for(&self) -> Duration {
        let Settings { access_ttl, leeway, .. } = self.shared.settings;
        access_ttl + leeway + Duration::from_secs(60)
    }

    pub(crate) fn jwks_max_age(&self) -> Duration {
        self.shared.settings.jwks_max_age
    }

    /// Half of the grace window, in whole seconds: who comes back then is in time.
    pub(crate) fn retry_after_secs(&self) -> u64 {
        self.shared.settings.grace.as_secs() / 2
    }

    /// What the store answers, or [`Error::Store`] when it does not in time.
    async fn ask<T>(
        &self,
        question: impl Future<Output = Result<T, BoxError>>,
    ) -> Result<T, Error> {
        let deadline = self.shared.settings.store_deadline;
        match tokio::time::timeout(deadline, question).await {
            Ok(answer) => answer.map_err(Error::store),
            Err(_) => Err(Error::store(format!("no answer within {deadline:?}"))),
        }
    }

    fn audit(
        &self,
        kind: AuditKind,
        session: Option<SessionId>,
        user: Option<&str>,
        subject: Option<&str>,
    ) {
        let event = AuditEvent { kind, session, user, subject };
        metrics::event(&event);
        self.shared.audit.record(&event);
    }
}

impl fmt::Debug for Issuer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Issuer")
            .field("settings", &self.shared.settings)
            .field("keys", &self.shared.keys)
            .finish_non_exhaustive()
    }
}
