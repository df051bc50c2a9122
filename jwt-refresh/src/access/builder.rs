use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use super::profile::Profile;
use super::verifier::{Verifier, VerifierSettings};
use crate::clock::{Clock, WallClock};
use crate::error::BuildError;
use crate::revocation::{AcceptStale, Follow, Revocations, TOO_OLD};
use crate::store::{BoxStore, Store};

const LONGEST_LEEWAY: Duration = Duration::from_secs(60);

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

impl VerifierBuilder {
    pub(super) fn new(profile: Profile) -> Self {
        Self {
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

impl fmt::Debug for VerifierBuilder {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("VerifierBuilder")
            .field("profiles", &self.profiles)
            .field("leeway", &self.leeway)
            .finish_non_exhaustive()
    }
}
