use std::fmt;

use aws_lc_rs::{hkdf, hmac};
use zeroize::Zeroizing;

use crate::keys::KeyError;

/// The server's keys for refresh tokens: one that new tokens are made with, and
/// those that are accepted.
///
/// They are the same on every server. A new one is added with
/// [`accept`](Self::accept) everywhere first; then it becomes the one given to
/// [`new`](Self::new), while the old one is accepted for as long as a session
/// lasts. From each, the key of the tags and the pepper of the successors are
/// derived by HKDF-SHA-256 (RFC 5869).
pub struct RefreshKeys {
    keys: Vec<ServerKey>,
}

/// What is derived from one key.
pub(crate) struct ServerKey {
    pub(crate) id: [u8; 4],
    pub(crate) tag: hmac::Key,
    pub(crate) pepper: Zeroizing<[u8; 32]>,
}

impl RefreshKeys {
    /// Makes tokens with `active`, 32 random bytes.
    ///
    /// # Errors
    ///
    /// [`KeyError::KnownSecret`] when they are hardly random.
    pub fn new(active: [u8; 32]) -> Result<Self, KeyError> {
        Ok(Self { keys: vec![ServerKey::derive(active)?] })
    }

    /// Also accepts the tokens of `key`.
    ///
    /// # Errors
    ///
    /// As [`new`](Self::new); [`KeyError::DuplicateKeyId`] when it is there.
    pub fn accept(mut self, key: [u8; 32]) -> Result<Self, KeyError> {
        let key = ServerKey::derive(key)?;
        if self.get(key.id).is_some() {
            return Err(KeyError::DuplicateKeyId("of a refresh key".to_owned()));
        }
        self.keys.push(key);
        Ok(self)
    }

    pub(crate) fn active(&self) -> &ServerKey {
        &self.keys[0]
    }

    pub(crate) fn get(&self, id: [u8; 4]) -> Option<&ServerKey> {
        self.keys.iter().find(|key| key.id == id)
    }
}

impl ServerKey {
    fn derive(secret: [u8; 32]) -> Result<Self, KeyError> {
        let secret = Zeroizing::new(secret);
        let different = (0..=u8::MAX).filter(|byte| secret.contains(byte)).count();
        if different < 12 {
            return Err(KeyError::KnownSecret);
        }
        let salt = hkdf::Salt::new(hkdf::HKDF_SHA256, b"jwt-refresh/v1");
        let prk = salt.extract(&*secret);
        let derive = |label: &[u8], out: &mut [u8]| {
            prk.expand(&[label], Length(out.len()))
                .and_then(|okm| okm.fill(out))
                .map_err(|_| KeyError::Random)
        };
        let (mut id, mut tag, mut pepper) =
            ([0; 4], Zeroizing::new([0; 32]), Zeroizing::new([0; 32]));
        derive(b"id", &mut id)?;
        derive(b"tag", &mut *tag)?;
        derive(b"pepper", &mut *pepper)?;
        Ok(Self { id, tag: hmac::Key::new(hmac::HMAC_SHA256, &*tag), pepper })
    }
}

struct Length(usize);

impl hkdf::KeyType for Length {
    fn len(&self) -> usize {
        self.0
    }
}

impl fmt::Debug for RefreshKeys {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("RefreshKeys").field("keys", &self.keys.len()).finish_non_exhaustive()
    }
}
