use std::collections::HashMap;
use std::fmt;
use std::sync::Arc;

use serde::Deserialize;
use serde_json::value::RawValue;

use super::error::KeyError;
use super::jwk::Jwk;
use super::verifying::VerifyingKey;

const MOST_KEYS: usize = 64;
pub(crate) const LONGEST_SET: usize = 256 * 1024;

/// Keys that verify the tokens of one issuer, found by their `kid`.
#[derive(Clone, Default)]
pub struct KeySet {
    keys: HashMap<Box<str>, Key>,
}

#[derive(Clone)]
pub(crate) struct Key {
    pub(crate) verifying: Arc<VerifyingKey>,
    /// In seconds since 1970: not at or after this.
    pub(crate) until: Option<u64>,
}

impl KeySet {
    /// A set of these keys.
    ///
    /// # Errors
    ///
    /// [`KeyError::Empty`], [`KeyError::TooMany`], [`KeyError::Mixed`],
    /// [`KeyError::DuplicateKeyId`].
    pub fn new(keys: impl IntoIterator<Item = VerifyingKey>) -> Result<Self, KeyError> {
        Self::of(keys.into_iter().map(|key| Key { verifying: Arc::new(key), until: None }))
    }

    /// The keys of a JWK set (RFC 7517, section 5), each of which must be good.
    ///
    /// # Errors
    ///
    /// As [`new`](Self::new) and [`VerifyingKey::from_jwk`].
    pub fn from_jwks(json: &str) -> Result<Self, KeyError> {
        let keys: Result<Vec<_>, _> =
            raw_keys(json)?.into_iter().map(VerifyingKey::from_jwk).collect();
        Self::new(keys?)
    }

    /// The good keys of a *public* JWK set, and what is wrong with the others.
    ///
    /// # Errors
    ///
    /// When the set as a whole is bad: unreadable, too large, with one `kid`
    /// twice, or without one good key. A symmetric key makes it bad, too.
    pub fn from_public_jwks(json: &str) -> Result<(Self, Vec<KeyError>), KeyError> {
        let (mut keys, mut errors) = (Vec::new(), Vec::new());
        for text in raw_keys(json)? {
            let jwk = match Jwk::parse(text.as_bytes()) {
                Ok(jwk) => jwk,
                Err(error) => {
                    errors.push(error);
                    continue;
                }
            };
            if jwk.k.is_some() || jwk.kty.as_deref() == Some("oct") {
                return Err(KeyError::Symmetric);
            }
            match VerifyingKey::admit(jwk) {
                Ok(key) => keys.push(key),
                Err(error) => errors.push(error),
            }
        }
        Ok((Self::new(keys)?, errors))
    }

    pub(crate) fn of(keys: impl IntoIterator<Item = Key>) -> Result<Self, KeyError> {
        let mut set = Self::default();
        let mut symmetric = None;
        for key in keys {
            let secret = key.verifying.algorithm().is_symmetric();
            if *symmetric.get_or_insert(secret) != secret && !cfg!(broken = "mixed_sets") {
                return Err(KeyError::Mixed);
            }
            let kid: Box<str> = key.verifying.kid().into();
            // Which of the two would win is nothing to leave to chance.
            if set.keys.contains_key(&kid) {
                return Err(KeyError::DuplicateKeyId(kid.into()));
            }
            set.keys.insert(kid, key);
            if set.keys.len() > MOST_KEYS {
                return Err(KeyError::TooMany);
            }
        }
        if set.keys.is_empty() {
            return Err(KeyError::Empty);
        }
        Ok(set)
    }

    #[inline]
    pub(crate) fn get(&self, kid: &str) -> Option<&Key> {
        self.keys.get(kid)
    }

    /// The only key, where there is one.
    pub(crate) fn only(&self) -> Option<&Key> {
        (self.keys.len() == 1).then(|| self.keys.values().next()).flatten()
    }

    pub(crate) fn iter(&self) -> impl Iterator<Item = &Key> {
        self.keys.values()
    }

    /// As a public JWK set: what is symmetric is left out.
    pub fn to_jwks(&self) -> String {
        let mut keys: Vec<_> =
            self.keys.values().filter_map(|key| key.verifying.to_jwk()).collect();
        keys.sort();
        format!(r#"{{"keys":[{}]}}"#, keys.join(","))
    }
}

/// The texts of the set's keys. The set's own members may not occur twice.
fn raw_keys(json: &str) -> Result<Vec<&str>, KeyError> {
    #[derive(Deserialize)]
    struct Set<'a> {
        #[serde(borrow)]
        keys: Vec<&'a RawValue>,
    }
    if json.len() > LONGEST_SET {
        return Err(KeyError::TooLong);
    }
    let set: Set<'_> = serde_json::from_str(json).map_err(|_| KeyError::Json)?;
    if set.keys.len() > MOST_KEYS {
        return Err(KeyError::TooMany);
    }
    Ok(set.keys.into_iter().map(RawValue::get).collect())
}

impl fmt::Debug for KeySet {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_list().entries(self.keys.keys()).finish()
    }
}
