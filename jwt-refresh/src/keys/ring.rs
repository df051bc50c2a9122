use std::fmt;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use super::error::KeyError;
use super::set::{Key, KeySet};
use super::signing::{BoxSigner, Signer};
use super::verifying::VerifyingKey;
use crate::access::LiveSet;
use crate::algorithm::Algorithm;
use crate::clock::Clock;
use crate::encoding;
use crate::error::Error;

/// How long verifiers may keep the published set by default.
pub(crate) const JWKS_MAX_AGE: Duration = Duration::from_secs(300);

/// Where a signing key is in its life.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum KeyState {
    /// Published, so that verifiers know it before it signs.
    Next,
    /// Signs.
    Active,
    /// Signs no more; its tokens are accepted until they have expired.
    Retiring,
}

/// The signing keys of an issuer: Next, then Active, then Retiring, then gone.
///
/// Clones are handles to the same keys.
#[derive(Clone)]
pub struct SigningKeys {
    shared: Arc<Shared>,
}

struct Shared {
    ring: Mutex<Ring>,
    live: Arc<LiveSet>,
}

struct Ring {
    entries: Vec<Entry>,
    clock: Clock,
    max_age: Duration,
    /// How long a token may outlive its key's last signature.
    retire_after: Duration,
}

struct Entry {
    /// Nothing for a key that is only accepted.
    signing: Option<Arc<Signing>>,
    verifying: Arc<VerifyingKey>,
    state: State,
}

enum State {
    Next { published_ms: u64 },
    Active,
    Retiring { until_secs: u64 },
}

struct Signing {
    signer: BoxSigner,
    /// The encoded header of every token, with its dot.
    header: String,
}

impl SigningKeys {
    /// Signs with `active`.
    ///
    /// # Errors
    ///
    /// When its verifying key is not admitted.
    pub fn new(active: impl Signer) -> Result<Self, KeyError> {
        let entry = Entry::signing(BoxSigner::new(active), State::Active)?;
        let keys = Self {
            shared: Arc::new(Shared {
                ring: Mutex::new(Ring {
                    entries: vec![entry],
                    clock: Clock::system(),
                    max_age: JWKS_MAX_AGE,
                    retire_after: Duration::from_secs(3_600 + 60),
                }),
                live: Arc::new(LiveSet::new(KeySet::default())),
            }),
        };
        keys.change(|_| Ok(()))?;
        Ok(keys)
    }

    /// Publishes a key that will sign later. `since` is when it was first
    /// published, by whichever process: now, unless it was before.
    ///
    /// # Errors
    ///
    /// When it is not admitted, is of another kind than the others (a set does
    /// not mix symmetric and asymmetric keys), or its `kid` is there already.
    pub fn publish_next(
        &self,
        next: impl Signer,
        since: Option<SystemTime>,
    ) -> Result<(), KeyError> {
        let signer = BoxSigner::new(next);
        self.change(|ring| {
            let now = ring.clock.now_ms();
            let published_ms = since.map_or(now, |since| unix_ms(since).min(now));
            ring.entries.push(Entry::signing(signer, State::Next { published_ms })?);
            Ok(())
        })
    }

    /// Accepts the tokens of a key that has signed before this process started,
    /// until that moment: its last signature plus the access TTL and the leeway.
    ///
    /// # Errors
    ///
    /// As [`publish_next`](Self::publish_next).
    pub fn accept_until(&self, key: VerifyingKey, until: SystemTime) -> Result<(), KeyError> {
        let until_secs = unix_ms(until) / 1_000;
        self.change(|ring| {
            ring.entries.push(Entry {
                signing: None,
                verifying: Arc::new(key),
                state: State::Retiring { until_secs },
            });
            Ok(())
        })
    }

    /// Signs with the key `kid` from now on. The one that signed is accepted
    /// until its last token has expired.
    ///
    /// # Errors
    ///
    /// [`KeyError::NotPublished`] while verifiers may still hold a set without
    /// it (unless the active key was killed: then there is nothing to lose), and
    /// [`KeyError::NoSuchKey`].
    pub fn activate(&self, kid: &str) -> Result<(), KeyError> {
        self.change(|ring| {
            let now = ring.clock.now_ms();
            let at = ring.entries.iter().position(|entry| {
                entry.verifying.kid() == kid && matches!(entry.state, State::Next { .. })
            });
            let at = at.ok_or_else(|| KeyError::NoSuchKey(kid.to_owned()))?;
            let active = ring.entries.iter().position(|e| matches!(e.state, State::Active));
            if let (State::Next { published_ms }, Some(_)) = (&ring.entries[at].state, active) {
                let due = published_ms + millis(ring.max_age);
                if now < due && !cfg!(broken = "no_publication") {
                    let missing_secs = (due - now).div_ceil(1_000);
                    return Err(KeyError::NotPublished { missing_secs });
                }
            }
            if let Some(active) = active {
                let until_secs = (now + millis(ring.retire_after)).div_ceil(1_000);
                ring.entries[active].state = State::Retiring { until_secs };
            }
            ring.entries[at].state = State::Active;
            Ok(())
        })
    }

    /// Takes a key out at once, with every token that it has signed, in this
    /// process. [`Issuer::kill_key`](crate::Issuer::kill_key) does it everywhere.
    ///
    /// # Errors
    ///
    /// [`KeyError::NoSuchKey`].
    pub fn kill(&self, kid: &str) -> Result<(), KeyError> {
        self.change(|ring| {
            let before = ring.entries.len();
            ring.entries.retain(|entry| entry.verifying.kid() != kid);
            if ring.entries.len() == before {
                return Err(KeyError::NoSuchKey(kid.to_owned()));
            }
            Ok(())
        })
    }

    /// What new tokens are signed with; nothing after the active key was killed.
    pub fn algorithm(&self) -> Option<Algorithm> {
        let ring = self.ring();
        let active = ring.entries.iter().find(|e| matches!(e.state, State::Active));
        active.map(|entry| entry.verifying.algorithm())
    }

    /// The keys and where they are in their lives.
    pub fn states(&self) -> Vec<(String, KeyState)> {
        let ring = self.ring();
        let now = ring.clock.now_secs();
        let state = |entry: &Entry| match entry.state {
            State::Next { .. } => KeyState::Next,
            State::Active => KeyState::Active,
            State::Retiring { .. } => KeyState::Retiring,
        };
        let lives = |entry: &&Entry| match entry.state {
            State::Retiring { until_secs } => now < until_secs,
            _ => true,
        };
        let entries = ring.entries.iter().filter(lives);
        entries.map(|entry| (entry.verifying.kid().to_owned(), state(entry))).collect()
    }

    /// The published set: keys that will sign, sign or have signed. An HMAC
    /// secret is in no published set.
    pub fn to_jwks(&self) -> String {
        // Replaced only where a key has come to its end: a new set makes verifiers
        // forget what they have verified.
        if self.ring().has_expired() {
            self.change(|_| Ok(())).ok();
        }
        self.shared.live.load().to_jwks()
    }

    pub(crate) fn live(&self) -> Arc<LiveSet> {
        Arc::clone(&self.shared.live)
    }

    pub(crate) fn configure(&self, clock: Clock, retire_after: Duration, max_age: Duration) {
        let mut ring = self.ring();
        ring.clock = clock;
        ring.retire_after = retire_after;
        ring.max_age = max_age;
    }

    /// `payload` is JSON.
    pub(crate) async fn sign(&self, payload: &str) -> Result<String, Error> {
        let active = {
            let ring = self.ring();
            let active = ring.entries.iter().find(|e| matches!(e.state, State::Active));
            active.and_then(|entry| entry.signing.clone()).ok_or(Error::NoSigningKey)?
        };
        let mut token =
            String::with_capacity(active.header.len() + payload.len() * 4 / 3 + 700);
        token.push_str(&active.header);
        encoding::encode_to(payload.as_bytes(), &mut token);
        let signature = active.signer.sign(token.as_bytes()).await;
        let signature = signature.map_err(|error| Error::Signer(error.into()))?;
        token.push('.');
        encoding::encode_to(&signature, &mut token);
        Ok(token)
    }

    /// Changes the ring and publishes what came of it; on an error nothing has
    /// changed.
    fn change(
        &self,
        change: impl FnOnce(&mut Ring) -> Result<(), KeyError>,
    ) -> Result<(), KeyError> {
        let mut ring = self.ring();
        let before: Vec<Entry> = ring.entries.iter().map(Entry::copy).collect();
        ring.drop_expired();
        let set = change(&mut ring).and_then(|()| {
            if ring.entries.is_empty() {
                return Ok(KeySet::default());
            }
            KeySet::of(ring.entries.iter().map(Entry::key))
        });
        match set {
            Ok(set) => {
                self.shared.live.replace(set);
                Ok(())
            }
            Err(error) => {
                ring.entries = before;
                Err(error)
            }
        }
    }

    fn ring(&self) -> std::sync::MutexGuard<'_, Ring> {
        self.shared.ring.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Ring {
    fn has_expired(&self) -> bool {
        let now = self.clock.now_secs();
        self.entries.iter().any(|entry| match entry.state {
            State::Retiring { until_secs } => now >= until_secs,
            _ => false,
        })
    }

    fn drop_expired(&mut self) {
        let now = self.clock.now_secs();
        self.entries.retain(|entry| match entry.state {
            State::Retiring { until_secs } => now < until_secs,
            _ => true,
        });
    }
}

impl Entry {
    fn signing(signer: BoxSigner, state: State) -> Result<Self, KeyError> {
        let verifying = signer.verifying_key()?;
        let header = serde_json::json!({
            "alg": verifying.algorithm().name(),
            "kid": verifying.kid(),
            "typ": "at+jwt",
        });
        let mut header = encoding::encode(header.to_string().as_bytes());
        header.push('.');
        let signing = Some(Arc::new(Signing { signer, header }));
        Ok(Self { signing, verifying: Arc::new(verifying), state })
    }

    fn key(&self) -> Key {
        let until = match self.state {
            State::Retiring { until_secs } => Some(until_secs),
            _ => None,
        };
        Key { verifying: Arc::clone(&self.verifying), until }
    }

    fn copy(&self) -> Self {
        let state = match self.state {
            State::Next { published_ms } => State::Next { published_ms },
            State::Active => State::Active,
            State::Retiring { until_secs } => State::Retiring { until_secs },
        };
        let (signing, verifying) = (self.signing.clone(), Arc::clone(&self.verifying));
        Self { signing, verifying, state }
    }
}

fn millis(duration: Duration) -> u64 {
    u64::try_from(duration.as_millis()).unwrap_or(u64::MAX)
}

fn unix_ms(time: SystemTime) -> u64 {
    millis(time.duration_since(UNIX_EPOCH).unwrap_or_default())
}

impl fmt::Debug for SigningKeys {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_list().entries(self.states()).finish()
    }
}
