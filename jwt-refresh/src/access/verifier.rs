use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use serde::de::DeserializeOwned;

use super::claims::{Claims, text};
use super::header::Header;
use super::profile::{Profile, check_dates};
use super::refusal::Refusal;
use super::typed::TypedVerifier;
use super::verified::{Meta, Verified};
use crate::algorithm::Algorithm;
use crate::clock::{Clock, WallClock};
use crate::encoding;
use crate::error::BuildError;
use crate::http::BearerLayer;
use crate::keys::KeySet;
use crate::metrics::Metrics;
use crate::revocation::{AcceptStale, Follow, Ids, Revocations, TOO_OLD};
use crate::store::{BoxStore, Store};

/// The longest access token in bytes.
pub(super) const LONGEST: usize = 8 * 1_024;
const LONGEST_HEADER_TEXT: usize = 1_366;
/// RSA of 8192 bits.
const LONGEST_SIGNATURE: usize = 1_024;
pub(crate) const LONGEST_LEEWAY: Duration = Duration::from_secs(60);

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

/// The settings of a [`Verifier`] in a service that issues nothing.
#[must_use]
pub struct VerifierBuilder {
    profiles: Vec<Profile>,
    leeway: Duration,
    clock: Clock,
    source: Option<Feed>,
    accept_stale: Option<AcceptStale>,
    stale_after: Duration,
    cache_entries: Option<usize>,
    access_ttl: Duration,
}

enum Feed {
    Store(BoxStore),
    None,
}

impl Verifier {
    /// A verifier of tokens like `profile`'s.
    pub fn builder(profile: Profile) -> VerifierBuilder {
        VerifierBuilder {
            profiles: vec![profile],
            leeway: Duration::from_secs(45),
            clock: Clock::system(),
            source: None,
            accept_stale: None,
            stale_after: TOO_OLD,
            cache_entries: None,
            access_ttl: Duration::from_secs(3_600),
        }
    }

    pub(crate) fn new(settings: VerifierSettings) -> Self {
        let VerifierSettings { profiles, leeway, clock, revocations, feed, cache_entries } =
            settings;
        let has_remote = profiles.iter().any(|profile| profile.keys.remote().is_some());
        Self {
            shared: Arc::new(Shared {
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
        let (key, key_until) = segments.key(&set, profile)?;
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
        key.learn_header(segments.header);
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

/// The three parts of a compact JWS.
struct Segments<'a> {
    header: &'a str,
    payload: &'a str,
    signature: &'a str,
    /// What is signed: the first two with their dot.
    message: &'a str,
}

impl<'a> Segments<'a> {
    fn of(token: &'a str) -> Result<Self, Refusal> {
        if token.len() > LONGEST {
            return Err(Refusal::TooLong);
        }
        if token.starts_with(crate::refresh::PREFIX) {
            return Err(Refusal::RefreshToken);
        }
        let mut parts = token.split('.');
        let (Some(header), Some(payload), Some(signature), None) =
            (parts.next(), parts.next(), parts.next(), parts.next())
        else {
            return Err(Refusal::Segments);
        };
        if header.is_empty() || payload.is_empty() || signature.is_empty() {
            return Err(Refusal::Segments);
        }
        let message = &token[..header.len() + 1 + payload.len()];
        Ok(Self { header, payload, signature, message })
    }

    fn header_bytes(&self) -> Result<Vec<u8>, Refusal> {
        if self.header.len() > LONGEST_HEADER_TEXT {
            return Err(Refusal::HeaderTooLong);
        }
        encoding::decode(self.header).ok_or(Refusal::Encoding)
    }

    fn payload(&self) -> Result<Vec<u8>, Refusal> {
        encoding::decode(self.payload).ok_or(Refusal::Encoding)
    }

    /// The key that the header names, if the header is good and fits it.
    fn key<'s>(
        &self,
        set: &'s KeySet,
        profile: &Profile,
    ) -> Result<(&'s crate::keys::VerifyingKey, Option<u64>), Refusal> {
        if let Some(key) = set.iter().find(|key| key.verifying.knows_header(self.header)) {
            return Ok((&key.verifying, key.until));
        }
        let bytes = self.header_bytes()?;
        let header = Header::parse(&bytes)?;
        let alg = Header::text(&header.alg).ok_or(Refusal::MissingAlgorithm)?;
        let algorithm = Algorithm::named(alg).ok_or(Refusal::Algorithm)?;
        profile.check_typ(Header::text(&header.typ))?;
        let key = match Header::text(&header.kid) {
            Some(kid)
                if kid.is_empty()
                    || kid.len() > crate::keys::LONGEST_KID
                    || kid.chars().any(char::is_control) =>
            {
                return Err(Refusal::KeyId);
            }
            Some(kid) => set.get(kid).ok_or(Refusal::UnknownKey)?,
            None => set.only().ok_or(Refusal::MissingKeyId)?,
        };
        // The key has an algorithm; the token can only agree.
        if key.verifying.algorithm() != algorithm && !cfg!(broken = "algorithm_from_token") {
            return Err(Refusal::AlgorithmMismatch);
        }
        Ok((&key.verifying, key.until))
    }

    fn check_signature(&self, key: &crate::keys::VerifyingKey) -> Result<(), Refusal> {
        // A quantum of base64 more than the longest signature.
        let mut buffer = [0; LONGEST_SIGNATURE + 3];
        if self.signature.len() > (LONGEST_SIGNATURE * 4).div_ceil(3) {
            return Err(Refusal::Signature);
        }
        let signature =
            encoding::decode_into(self.signature, &mut buffer).ok_or(Refusal::Encoding)?;
        if key.verify(self.message.as_bytes(), signature) || cfg!(broken = "no_signature") {
            Ok(())
        } else {
            Err(Refusal::Signature)
        }
    }
}

fn boxed(text: Option<&str>) -> Box<str> {
    text.unwrap_or_default().into()
}

impl VerifierBuilder {
    /// Also takes tokens like these, of another issuer, with keys of its own.
    pub fn profile(mut self, profile: Profile) -> Self {
        self.profiles.push(profile);
        self
    }

    /// Learns of revocations from `store`, as they happen, by a task that ends
    /// with the verifier. This or
    /// [`without_revocation`](Self::without_revocation) is required.
    pub fn follow(mut self, store: impl Store) -> Self {
        self.source = Some(Feed::Store(BoxStore::new(store)));
        self
    }

    /// Verifies by keys and dates alone: a token is good until it expires,
    /// whatever happens.
    pub fn without_revocation(mut self) -> Self {
        self.source = Some(Feed::None);
        self
    }

    /// Goes on accepting tokens while the revocation feed is too old, which by
    /// default is answered with 503 after 60 s.
    pub fn accept_stale(mut self, accept: AcceptStale) -> Self {
        self.accept_stale = Some(accept);
        self
    }

    /// After how long without a heartbeat in the feed tokens are answered with 503:
    /// 60 s by default, from 1 s to 60 s. It is to be that of the issuers, which
    /// write a heartbeat twelve times as often.
    pub fn stale_after(mut self, limit: Duration) -> Self {
        self.stale_after = limit;
        self
    }

    /// By how much clocks may differ: 45 s by default, at most 60 s.
    pub fn leeway(mut self, leeway: Duration) -> Self {
        self.leeway = leeway;
        self
    }

    /// How many verified tokens of asymmetric keys are remembered, 10,000 by
    /// default, about 1 KiB each; 0 for none.
    pub fn remember(mut self, tokens: usize) -> Self {
        self.cache_entries = Some(tokens);
        self
    }

    /// Takes the date from `clock`.
    pub fn clock(mut self, clock: impl WallClock) -> Self {
        self.clock = Clock::new(clock);
        self
    }

    /// The verifier. With [`follow`](Self::follow) it is to be called within a
    /// Tokio runtime, where it starts the feed's task.
    ///
    /// # Errors
    ///
    /// A setting that is missing or makes no sense.
    pub fn build(self) -> Result<Verifier, BuildError> {
        check_leeway(self.leeway)?;
        check_stale_after(self.stale_after)?;
        for profile in &self.profiles {
            if profile.issuer.is_empty() || profile.audience.as_deref() == Some("") {
                return Err(BuildError::new(
                    "profile",
                    "the issuer and the audience must not be empty",
                ));
            }
            let same = |other: &&Profile| other.issuer == profile.issuer;
            if self.profiles.iter().filter(same).count() > 1 {
                return Err(BuildError::new(
                    "profile",
                    format!("two profiles have the issuer {:?}", profile.issuer),
                ));
            }
        }
        let (revocations, feed) = match self.source {
            None => {
                return Err(BuildError::new(
                    "follow",
                    "say where revocations come from, or that none are wanted: `.follow(store)` \
                     or `.without_revocation()`",
                ));
            }
            Some(Feed::None) => (Revocations::none(), None),
            Some(Feed::Store(store)) => {
                let limit = self.stale_after;
                let revocations = Revocations::new(self.accept_stale, limit);
                let window = self.access_ttl + self.leeway + Duration::from_secs(60);
                let follow = Follow::start(store, revocations.clone(), window, limit, false)?;
                (revocations, Some(Arc::new(follow)))
            }
        };
        Ok(Verifier::new(VerifierSettings {
            profiles: self.profiles,
            leeway: self.leeway,
            clock: self.clock,
            revocations,
            feed,
            cache_entries: self.cache_entries,
        }))
    }
}

pub(crate) fn check_leeway(leeway: Duration) -> Result<(), BuildError> {
    if leeway > LONGEST_LEEWAY {
        return Err(BuildError::new(
            "leeway",
            format!("{leeway:?} is more than {LONGEST_LEEWAY:?}; set the servers' clocks"),
        ));
    }
    Ok(())
}

pub(crate) fn check_stale_after(limit: Duration) -> Result<(), BuildError> {
    if limit < Duration::from_secs(1) || limit > TOO_OLD {
        return Err(BuildError::new(
            "stale_after",
            format!("{limit:?} is not between 1s and {TOO_OLD:?}"),
        ));
    }
    Ok(())
}

impl fmt::Debug for Verifier {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Verifier")
            .field("profiles", &self.shared.profiles)
            .finish_non_exhaustive()
    }
}

impl fmt::Debug for VerifierBuilder {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("VerifierBuilder")
            .field("profiles", &self.profiles)
            .field("leeway", &self.leeway)
            .finish_non_exhaustive()
    }
}
