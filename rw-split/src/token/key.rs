use std::sync::Arc;
use std::time::Duration;
use std::{error, fmt};

use hmac::{Hmac, KeyInit};
use sha2::Sha256;

use super::codec::{self, Refusal};
use super::{ConsistencyToken, Floors};
use crate::clock::{Millis, WallClock};

/// Signs tokens, and tells genuine ones from others. Every process of a service
/// has the same keys.
///
/// ```
/// use std::time::Duration;
/// use rw_split::{ConsistencyToken, TokenKeys};
///
/// // 32 random bytes from where you keep secrets.
/// let keys = TokenKeys::new(&[7; 32])?;
/// let text = keys.sign(&ConsistencyToken::default(), Duration::from_secs(60));
/// assert!(keys.verify(&text).is_some());
/// assert!(keys.verify("forged").is_none());
/// # Ok::<_, rw_split::KeyError>(())
/// ```
#[derive(Clone)]
pub struct TokenKeys {
    current: Arc<Hmac<Sha256>>,
    previous: Option<Arc<Hmac<Sha256>>>,
    clock: WallClock,
}

impl TokenKeys {
    /// Signs with `key`, of at least 32 bytes.
    ///
    /// # Errors
    ///
    /// A key that is shorter, or all of one byte value zero.
    pub fn new(key: &[u8]) -> Result<Self, KeyError> {
        Ok(Self { current: mac(key)?, previous: None, clock: WallClock::system() })
    }

    /// Accepts what was signed with `key` as well: rotate by making a new key the
    /// current one and the old one the previous, until the old tokens have expired.
    ///
    /// # Errors
    ///
    /// As [`new`](Self::new).
    pub fn previous(mut self, key: &[u8]) -> Result<Self, KeyError> {
        self.previous = Some(mac(key)?);
        Ok(self)
    }

    /// Takes dates from `clock`, so that tests can move it.
    #[cfg(feature = "test-util")]
    #[must_use]
    pub fn clock(mut self, clock: WallClock) -> Self {
        self.clock = clock;
        self
    }

    /// The token as a signed text of at most 160 characters of `A-Z a-z 0-9 - _`,
    /// that is accepted for `lifetime`. Of a session that was on clusters with names,
    /// one such text more for each, behind `,NAME=`.
    pub fn sign(&self, token: &ConsistencyToken, lifetime: Duration) -> String {
        let mut text = self.write("", &token.floors, lifetime);
        for (cluster, floors) in &token.others {
            text.push(',');
            text.push_str(cluster);
            text.push('=');
            text.push_str(&self.write(cluster, floors, lifetime));
        }
        text
    }

    /// The token of a text that [`sign`](Self::sign) has made with one of these
    /// keys, and that has not expired. Nothing for any other.
    pub fn verify(&self, text: &str) -> Option<ConsistencyToken> {
        let mut token = ConsistencyToken::default();
        for part in text.split(',') {
            let (cluster, text) = part.split_once('=').unwrap_or(("", part));
            let (floors, _) = self.read(cluster, text).ok()?;
            token.part(&cluster.into()).merge(&floors);
        }
        Some(token)
    }

    pub(crate) fn write(&self, cluster: &str, floors: &Floors, lifetime: Duration) -> String {
        codec::encode(cluster, floors, self.clock.now().after(lifetime), self)
    }

    pub(crate) fn read(&self, cluster: &str, text: &str) -> Result<(Floors, Millis), Refusal> {
        codec::decode(cluster, text, self, self.clock.now())
    }

    pub(crate) fn now(&self) -> Millis {
        self.clock.now()
    }

    pub(super) fn signer(&self) -> Hmac<Sha256> {
        (*self.current).clone()
    }

    pub(super) fn verifiers(&self) -> impl Iterator<Item = Hmac<Sha256>> {
        [Some(&self.current), self.previous.as_ref()]
            .into_iter()
            .flatten()
            .map(|m| (**m).clone())
    }
}

fn mac(key: &[u8]) -> Result<Arc<Hmac<Sha256>>, KeyError> {
    if key.len() < 32 || key.iter().all(|byte| *byte == 0) {
        return Err(KeyError { length: key.len() });
    }
    let mac = Hmac::new_from_slice(key).expect("HMAC takes a key of any length");
    Ok(Arc::new(mac))
}

impl fmt::Debug for TokenKeys {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("TokenKeys").finish_non_exhaustive()
    }
}

/// A key that was refused.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct KeyError {
    length: usize,
}

impl fmt::Display for KeyError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(
            f,
            "a token key has {} bytes or is all zeros; give it 32 random ones, such as \
             `openssl rand -hex 32` prints",
            self.length
        )
    }
}

impl error::Error for KeyError {}
