use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use serde::de::DeserializeOwned;

use super::builder::VerifierBuilder;
use super::claims::{Claims, text};
use super::header::Header;
use super::profile::{Profile, check_dates};
use super::refusal::Refusal;
use super::segments::{KnownHeaders, Segments};
use super::typed::TypedVerifier;
use super::verified::{Meta, Verified};
use crate::clock::Clock;
use crate::http::BearerLayer;
use crate::metrics::Metrics;
use crate::revocation::{Follow, Ids, Revocations};

/// The longest access token in bytes.
pub(super) const LONGEST: usize = 8 * 1_024;

/// Verifies access tokens, without a look-up: the keys and the revocations are
/// in memory.
///
/// Clones share everything. It is the handle that the revocation feed lives by:
/// when the last clone is dropped, with the layers and services made from it,
/// the feed's task ends.
#[derive(Clone)]
pub struct Verifier {
    shared: Arc<Shared>,
    cache_entries: Option<usize>,
}

pub(crate) struct Shared {
    profiles: Box<[Profile]>,
    /// One for each profile.
    known: Box<[KnownHeaders]>,
    leeway: u64,
    pub(super) clock: Clock,
    pub(super) revocations: Revocations,
    /// Keeps the feed's task alive.
    _feed: Option<Arc<Follow>>,
    has_remote: bool,
    metrics: Metrics,
}

/// What an issuer hands to its own verifier.
pub(crate) struct VerifierSettings {
    pub(crate) profiles: Vec<Profile>,
    pub(crate) leeway: Duration,
    pub(crate) clock: Clock,
    pub(crate) revocations: Revocations,
    pub(crate) feed: Option<Arc<Follow>>,
    pub(crate) cache_entries: Option<usize>,
}

impl Verifier {
    /// A verifier of tokens like `profile`'s.
    pub fn builder(profile: Profile) -> VerifierBuilder {
        VerifierBuilder::new(profile)
    }

    pub(crate) fn new(settings: VerifierSettings) -> Self {
        let VerifierSettings { profiles, leeway, clock, revocations, feed, cache_entries } =
            settings;
        let has_remote = profiles.iter().any(|profile| profile.keys.remote().is_some());
        Self {
            shared: Arc::new(Shared {
                known: profiles.iter().map(|_| KnownHeaders::default()).collect(),
                profiles: profiles.into(),
                leeway: leeway.as_secs(),
                clock,
                revocations,
                _feed: feed,
                has_remote,
                metrics: Metrics::new(),
            }),
            cache_entries,
        }
    }

    /// Verifies tokens whose own claims are a `C`: with
    /// [`NoClaims`](crate::NoClaims), whatever they are. Make one and clone it:
    /// each has a memory of verified tokens of its own.
    pub fn typed<C: DeserializeOwned>(&self) -> TypedVerifier<C> {
        TypedVerifier::new(self.clone(), self.cache_entries)
    }

    /// A layer that lets requests with a good `Authorization: Bearer` through,
    /// with an `Arc<Verified<C>>` among their extensions.
    pub fn bearer<C: DeserializeOwned>(&self) -> BearerLayer<C> {
        BearerLayer::new(self.typed())
    }

    /// How old the knowledge of revocations is; nothing before the first sync.
    pub fn staleness(&self) -> Option<Duration> {
        self.shared.revocations.staleness()
    }

    /// Waits until the revocations are known and not too old, for a start that
    /// answers no request before.
    ///
    /// # Cancel safety
    ///
    /// Cancel safe.
    pub async fn ready(&self) {
        while self.shared.revocations.is_stale() {
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
    }

    /// What is revoked, as far as this process knows.
    pub fn revocations(&self) -> &Revocations {
        &self.shared.revocations
    }

    pub(crate) fn now_ms(&self) -> u64 {
        self.shared.clock.now_ms()
    }

    #[inline]
    pub(super) fn remembers(&self) -> bool {
        self.shared.profiles.iter().any(|profile| profile.keys.live().is_asymmetric())
    }

    pub(super) fn may_remember<C>(&self, verified: &Verified<C>) -> bool {
        let profile = &self.shared.profiles[usize::from(verified.meta.profile)];
        profile.keys.live().is_asymmetric()
    }

    pub(super) fn count(&self, refusal: Option<&Refusal>) {
        self.shared.metrics.verification(refusal.copied());
    }

    /// The verdict on a token that was verified before; nothing if its key set
    /// has changed since, so that it must be verified again.
    #[inline]
    pub(super) fn recall<C>(&self, verified: &Verified<C>) -> Option<Result<(), Refusal>> {
        let profile = &self.shared.profiles[usize::from(verified.meta.profile)];
        if profile.keys.live().epoch() != verified.meta.epoch && !cfg!(broken = "no_key_epoch")
        {
            return None;
        }
        if cfg!(broken = "unchecked_hits") {
            return Some(Ok(()));
        }
        Some(self.shared.judge(verified, self.shared.clock.now_secs()))
    }

    /// All checks, from the text on.
    pub(super) fn verify_cold<C: DeserializeOwned>(
        &self,
        token: &str,
    ) -> Result<Verified<C>, Refusal> {
        let shared = &self.shared;
        let segments = Segments::of(token)?;
        let mut payload = Vec::new();
        // With one issuer nothing of the payload is read before the signature is
        // known to be good. With several, `iss` says whose key to take.
        let (at, profile) = match &*shared.profiles {
            [only] => (0, only),
            several => {
                payload = segments.payload()?;
                let claims = Claims::parse(&payload, "scope")?;
                let issuer = text(&claims.iss).ok_or(Refusal::MissingClaim("iss"))?;
                let found = several.iter().enumerate().find(|(_, p)| p.issuer == issuer);
                found.ok_or(Refusal::Issuer)?
            }
        };
        let live = profile.keys.live();
        // Before the set: a set that is replaced meanwhile has a later epoch.
        let epoch = live.epoch();
        let set = live.load();
        let now = shared.clock.now_secs();
        let (key, key_until) = segments.key(&set, profile, &shared.known[at])?;
        if key_until.is_some_and(|until| now >= until) {
            return Err(Refusal::KeyRetired);
        }
        if shared.revocations.is_dead_key(key.kid()) {
            return Err(Refusal::KeyKilled);
        }
        segments.check_signature(key)?;
        if payload.is_empty() {
            payload = segments.payload()?;
        }
        let claims = Claims::parse(&payload, profile.scope_claim)?;
        let expires = profile.check(&claims, now, shared.leeway)?;
        let own = if claims.has_more || size_of::<C>() > 0 {
            serde_json::from_slice(&payload)
        } else {
            serde_json::from_slice(b"{}")
        };
        let verified = Verified {
            issuer: boxed(text(&claims.iss)),
            subject: boxed(text(&claims.sub)),
            client_id: text(&claims.client_id).map(Into::into),
            token_id: text(&claims.jti).map(Into::into),
            session: text(&claims.sid).map(Into::into),
            scope: match &claims.scope {
                None => "".into(),
                Some(words) => words.0.join(" ").into_boxed_str(),
            },
            roles: match &claims.roles {
                None => [].into(),
                Some(roles) => roles.0.iter().map(|role| (&**role).into()).collect(),
            },
            expires,
            issued: claims.iat,
            not_before: claims.nbf,
            user_epoch: claims.uep.unwrap_or(0),
            kid: key.kid().into(),
            claims: own.map_err(|_| Refusal::OwnClaims)?,
            meta: Meta {
                profile: at as u16,
                epoch,
                key_until,
                ids: Ids::of(text(&claims.jti), text(&claims.sid)),
                verifier: Arc::clone(shared),
            },
        };
        shared.judge_revocation(&verified)?;
        shared.known[at].learn(segments.header, key);
        Ok(verified)
    }

    /// Whether a remote key set is old enough to be fetched again.
    #[inline]
    pub(super) fn has_remote(&self) -> bool {
        self.shared.has_remote
    }

    pub(super) fn remote_is_due(&self) -> bool {
        let mut remotes = self.shared.profiles.iter().filter_map(|p| p.keys.remote());
        remotes.any(crate::keys::RemoteJwks::is_due)
    }

    /// Fetches what the token lacks.
    pub(super) async fn fetch_keys(&self, token: &str) {
        let Ok(segments) = Segments::of(token) else { return };
        let Ok(bytes) = segments.header_bytes() else { return };
        let Ok(header) = Header::parse(&bytes) else { return };
        let kid = Header::text(&header.kid);
        let Ok(payload) = segments.payload() else { return };
        let Ok(claims) = Claims::parse(&payload, "scope") else { return };
        let issuer = text(&claims.iss);
        for profile in &self.shared.profiles {
            if let Some(remote) = profile.keys.remote()
                && issuer == Some(&*profile.issuer)
            {
                remote.refresh_for(kid).await;
            }
        }
    }
}

impl Shared {
    /// Whether the key that has signed it is still in its set.
    pub(super) fn has_key<C>(&self, verified: &Verified<C>) -> bool {
        let profile = &self.profiles[usize::from(verified.meta.profile)];
        let live = profile.keys.live();
        live.epoch() == verified.meta.epoch || live.load().get(&verified.kid).is_some()
    }

    /// Everything about a verified token that may change with time.
    #[inline]
    pub(super) fn judge<C>(&self, verified: &Verified<C>, now: u64) -> Result<(), Refusal> {
        let Verified { expires, not_before, issued, meta, .. } = verified;
        check_dates(*expires, *not_before, *issued, now, self.leeway)?;
        if meta.key_until.is_some_and(|until| now >= until) {
            return Err(Refusal::KeyRetired);
        }
        if self.revocations.is_dead_key(&verified.kid) {
            return Err(Refusal::KeyKilled);
        }
        self.judge_revocation(verified)
    }

    #[inline]
    fn judge_revocation<C>(&self, verified: &Verified<C>) -> Result<(), Refusal> {
        let own = self.profiles[usize::from(verified.meta.profile)].own;
        let user = own.then_some((&*verified.subject, verified.user_epoch));
        if self.revocations.is_revoked(&verified.meta.ids, user) {
            return Err(Refusal::Revoked);
        }
        if self.revocations.is_stale() {
            return Err(Refusal::StaleRevocations);
        }
        Ok(())
    }
}

fn boxed(text: Option<&str>) -> Box<str> {
    text.unwrap_or_default().into()
}

impl fmt::Debug for Verifier {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Verifier")
            .field("profiles", &self.shared.profiles)
            .finish_non_exhaustive()
    }
}
