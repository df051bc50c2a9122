use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use super::claims::{BoxClaims, ClaimsSource};
use super::{Issuer, Settings, Shared};
use crate::access::{Profile, Verifier, VerifierSettings, check_leeway, check_stale_after};
use crate::audit::{AuditSink, TracingAudit};
use crate::clock::{Clock, WallClock};
use crate::error::BuildError;
use crate::keys::{JWKS_MAX_AGE, SigningKeys};
use crate::refresh::RefreshKeys;
use crate::revocation::{AcceptStale, Follow, Revocations, TOO_OLD};
use crate::store::{BoxStore, Store};

const MINUTE: Duration = Duration::from_secs(60);
const DAY: Duration = Duration::from_secs(86_400);
/// The longest life of an access token.
const LONGEST_ACCESS: Duration = Duration::from_secs(3_600);
const LONGEST_GRACE: Duration = Duration::from_secs(60);
const LONGEST_SESSION: Duration = Duration::from_secs(366 * 86_400);

/// The settings of an [`Issuer`].
#[must_use]
pub struct IssuerBuilder {
    settings: Settings,
    idle: Option<Duration>,
    keys: Option<SigningKeys>,
    refresh_keys: Option<RefreshKeys>,
    store: Option<BoxStore>,
    claims: Option<BoxClaims>,
    audit: Box<dyn AuditSink>,
    accept_stale: Option<AcceptStale>,
    stale_after: Duration,
    clock: Clock,
    remember: Option<usize>,
}

impl IssuerBuilder {
    pub(super) fn new(issuer: String, audience: String) -> Self {
        Self {
            settings: Settings {
                issuer,
                audience,
                access_ttl: 15 * MINUTE,
                absolute: 7 * DAY,
                idle: 7 * DAY,
                grace: Duration::from_secs(10),
                leeway: Duration::from_secs(45),
                jwks_max_age: JWKS_MAX_AGE,
                claims_deadline: Duration::from_secs(5),
                store_deadline: Duration::from_secs(3),
            },
            idle: None,
            keys: None,
            refresh_keys: None,
            store: None,
            claims: None,
            audit: Box::new(TracingAudit),
            accept_stale: None,
            stale_after: TOO_OLD,
            clock: Clock::system(),
            remember: None,
        }
    }

    /// Signs access tokens with these. Required.
    pub fn keys(mut self, keys: SigningKeys) -> Self {
        self.keys = Some(keys);
        self
    }

    /// Makes and accepts refresh tokens with these. Required.
    pub fn refresh_keys(mut self, keys: RefreshKeys) -> Self {
        self.refresh_keys = Some(keys);
        self
    }

    /// Keeps the sessions here. Required.
    pub fn store(mut self, store: impl Store) -> Self {
        self.store = Some(BoxStore::new(store));
        self
    }

    /// Asks `source` for the claims at every refresh. Without one, a session
    /// keeps the claims of its login, and only a logout ends it early.
    pub fn claims_source(mut self, source: impl ClaimsSource) -> Self {
        self.claims = Some(BoxClaims::new(source));
        self
    }

    /// How long an access token lives: 15 minutes by default, from 10 s to 1 h.
    pub fn access_ttl(mut self, ttl: Duration) -> Self {
        self.settings.access_ttl = ttl;
        self
    }

    /// How long a session lasts at most, from its login: 7 days by default, at
    /// most a year. No rotation extends it.
    pub fn session_ttl(mut self, ttl: Duration) -> Self {
        self.settings.absolute = ttl;
        self
    }

    /// How long a session lasts without a refresh: as long as it lasts at all by
    /// default.
    pub fn idle_ttl(mut self, ttl: Duration) -> Self {
        self.idle = Some(ttl);
        self
    }

    /// For how long after a rotation the token before is still answered, with
    /// the same successor: 10 s by default, at most 60 s. It is what a lost
    /// response or two tabs need; for as long, a thief's use of it is not told
    /// apart from them.
    pub fn grace(mut self, grace: Duration) -> Self {
        self.settings.grace = grace;
        self
    }

    /// By how much clocks may differ: 45 s by default, at most 60 s.
    pub fn leeway(mut self, leeway: Duration) -> Self {
        self.settings.leeway = leeway;
        self
    }

    /// For how long verifiers may keep the published key set: 5 minutes by
    /// default, from 1 s to a day. A next key is published for at least as long.
    pub fn jwks_max_age(mut self, age: Duration) -> Self {
        self.settings.jwks_max_age = age;
        self
    }

    /// Gives up on the claims source after this long: 5 s by default.
    pub fn claims_deadline(mut self, deadline: Duration) -> Self {
        self.settings.claims_deadline = deadline;
        self
    }

    /// Gives up on the store after this long: 3 s by default. A client that comes
    /// back then must still be within the grace window.
    pub fn store_deadline(mut self, deadline: Duration) -> Self {
        self.settings.store_deadline = deadline;
        self
    }

    /// Sends every security event here; by default they are `tracing` events.
    pub fn audit(mut self, sink: impl AuditSink) -> Self {
        self.audit = Box::new(sink);
        self
    }

    /// As [`VerifierBuilder::accept_stale`](crate::VerifierBuilder::accept_stale).
    pub fn accept_stale(mut self, accept: AcceptStale) -> Self {
        self.accept_stale = Some(accept);
        self
    }

    /// As [`VerifierBuilder::stale_after`](crate::VerifierBuilder::stale_after).
    pub fn stale_after(mut self, limit: Duration) -> Self {
        self.stale_after = limit;
        self
    }

    /// As [`VerifierBuilder::remember`](crate::VerifierBuilder::remember).
    pub fn remember(mut self, tokens: usize) -> Self {
        self.remember = Some(tokens);
        self
    }

    /// Takes the date that tokens are compared with from `clock`.
    pub fn clock(mut self, clock: impl WallClock) -> Self {
        self.clock = Clock::new(clock);
        self
    }

    /// The issuer. To be called within a Tokio runtime, where it starts its tasks.
    ///
    /// # Errors
    ///
    /// A setting that is missing or insecure, or contradicts another.
    pub fn build(self) -> Result<Issuer, BuildError> {
        let settings =
            Settings { idle: self.idle.unwrap_or(self.settings.absolute), ..self.settings };
        check(&settings)?;
        check_stale_after(self.stale_after)?;
        let missing = |setting, what: &str| BuildError::new(setting, what);
        let keys = self.keys.ok_or_else(|| {
            missing(
                "keys",
                "no signing keys; see `SigningKeys::new(SigningKey::from_pem(..)?)`",
            )
        })?;
        let refresh_keys = self.refresh_keys.ok_or_else(|| {
            missing(
                "refresh_keys",
                "no server keys; give 32 random bytes to `RefreshKeys::new`",
            )
        })?;
        let store = self.store.ok_or_else(|| missing("store", "no store is given"))?;
        keys.configure(
            self.clock.clone(),
            settings.access_ttl + settings.leeway,
            settings.jwks_max_age,
        );
        let revocations = Revocations::new(self.accept_stale, self.stale_after);
        let window = settings.access_ttl + settings.leeway + MINUTE;
        let feed =
            Follow::start(store.clone(), revocations.clone(), window, self.stale_after, true)?;
        let profile = Profile::own(&settings.issuer, &settings.audience, &keys);
        let verifier = Verifier::new(VerifierSettings {
            profiles: vec![profile],
            leeway: settings.leeway,
            clock: self.clock,
            revocations,
            feed: Some(Arc::new(feed)),
            cache_entries: self.remember,
        });
        let (claims, audit) = (self.claims, self.audit);
        Ok(Issuer {
            shared: Arc::new(Shared {
                settings,
                keys,
                refresh_keys,
                store,
                claims,
                audit,
                verifier,
            }),
        })
    }
}

fn check(settings: &Settings) -> Result<(), BuildError> {
    let refuse = |setting, reason: String| Err(BuildError::new(setting, reason));
    if settings.issuer.is_empty() || settings.audience.is_empty() {
        return refuse("builder", "the issuer and the audience must not be empty".to_owned());
    }
    check_leeway(settings.leeway)?;
    for (setting, value, least, most) in [
        ("access_ttl", settings.access_ttl, Duration::from_secs(10), LONGEST_ACCESS),
        ("session_ttl", settings.absolute, settings.access_ttl, LONGEST_SESSION),
        ("idle_ttl", settings.idle, settings.access_ttl, settings.absolute),
        ("grace", settings.grace, Duration::from_millis(1), LONGEST_GRACE),
        ("jwks_max_age", settings.jwks_max_age, Duration::from_secs(1), DAY),
        ("claims_deadline", settings.claims_deadline, Duration::from_millis(1), MINUTE),
        ("store_deadline", settings.store_deadline, Duration::from_millis(1), MINUTE),
    ] {
        if value < least || value > most {
            return refuse(setting, format!("{value:?} is not between {least:?} and {most:?}"));
        }
    }
    if settings.grace >= settings.access_ttl {
        return refuse(
            "grace",
            format!(
                "{:?} is not shorter than the access token's life ({:?})",
                settings.grace, settings.access_ttl
            ),
        );
    }
    Ok(())
}

impl fmt::Debug for IssuerBuilder {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("IssuerBuilder")
            .field("settings", &self.settings)
            .finish_non_exhaustive()
    }
}
