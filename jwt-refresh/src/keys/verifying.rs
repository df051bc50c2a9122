use std::fmt;

use aws_lc_rs::signature::ParsedPublicKey;
use aws_lc_rs::{hmac, signature};

use super::error::KeyError;
use super::jwk::{Jwk, thumbprint};
use crate::algorithm::Algorithm;

/// The longest `kid` in bytes.
pub(crate) const LONGEST_KID: usize = 128;

/// A key that was admitted, and the one algorithm that it is for.
pub struct VerifyingKey {
    algorithm: Algorithm,
    kid: Box<str>,
    material: Material,
    /// The public JWK; nothing for a secret.
    public: Option<Jwk>,
}

#[allow(clippy::large_enum_variant, reason = "there is one for each key")]
enum Material {
    Public(ParsedPublicKey),
    Secret(hmac::Key),
}

impl VerifyingKey {
    /// The key of a JWK (RFC 7517). Without an `alg` an RSA key is for RS256;
    /// without a `kid` it has its thumbprint (RFC 7638).
    ///
    /// Keys of `jsonwebtoken` and others come in as the JSON that they serialise
    /// to.
    ///
    /// # Errors
    ///
    /// What is wrong with the key: see [`KeyError`].
    pub fn from_jwk(json: &str) -> Result<Self, KeyError> {
        Self::admit(Jwk::parse(json.as_bytes())?)
    }

    /// The key of 32 bytes of an Ed25519 public key.
    ///
    /// # Errors
    ///
    /// [`KeyError::Invalid`].
    pub fn ed25519(public: &[u8]) -> Result<Self, KeyError> {
        Self::admit(Jwk::ed25519(public))
    }

    /// An HMAC secret.
    ///
    /// # Errors
    ///
    /// [`KeyError::ShortSecret`] and [`KeyError::KnownSecret`].
    pub fn hmac(secret: &[u8]) -> Result<Self, KeyError> {
        Self::admit(Jwk::hmac(secret))
    }

    pub(super) fn admit(jwk: Jwk) -> Result<Self, KeyError> {
        let material = super::admission::admit(&jwk)?;
        let material = match material {
            super::admission::Admitted::Ed25519(bytes) => {
                Material::Public(parsed(&signature::ED25519, &bytes)?)
            }
            super::admission::Admitted::P256(point) => {
                Material::Public(parsed(&signature::ECDSA_P256_SHA256_FIXED, &point)?)
            }
            super::admission::Admitted::Rsa { n, e, pss } => {
                let parameters = if pss {
                    &signature::RSA_PSS_2048_8192_SHA256
                } else {
                    &signature::RSA_PKCS1_2048_8192_SHA256
                };
                let components = signature::RsaPublicKeyComponents { n: &n, e: &e };
                Material::Public(
                    components
                        .to_parsed_public_key(parameters)
                        .map_err(|_| KeyError::Invalid)?,
                )
            }
            super::admission::Admitted::Secret(secret) => {
                Material::Secret(hmac::Key::new(hmac::HMAC_SHA256, &secret))
            }
        };
        let algorithm = jwk.algorithm()?;
        let kid = match &jwk.kid {
            Some(kid) => kid.clone(),
            None => thumbprint(&jwk)?,
        };
        if kid.is_empty() || kid.len() > LONGEST_KID || kid.chars().any(char::is_control) {
            return Err(KeyError::KeyId);
        }
        let public = (!algorithm.is_symmetric()).then(|| jwk.published(algorithm, &kid));
        Ok(Self { algorithm, kid: kid.into_boxed_str(), material, public })
    }

    /// The only algorithm that it verifies.
    pub fn algorithm(&self) -> Algorithm {
        self.algorithm
    }

    /// Its id.
    pub fn kid(&self) -> &str {
        &self.kid
    }

    /// As a public JWK; nothing for an HMAC secret.
    pub fn to_jwk(&self) -> Option<String> {
        self.public.as_ref().map(Jwk::to_json)
    }

    pub(crate) fn verify(&self, message: &[u8], signature: &[u8]) -> bool {
        match &self.material {
            Material::Public(key) => key.verify_sig(message, signature).is_ok(),
            Material::Secret(key) => hmac::verify(key, message, signature).is_ok(),
        }
    }
}

fn parsed(
    algorithm: &'static dyn signature::VerificationAlgorithm,
    bytes: &[u8],
) -> Result<ParsedPublicKey, KeyError> {
    ParsedPublicKey::new(algorithm, bytes).map_err(|_| KeyError::Invalid)
}

impl fmt::Debug for VerifyingKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("VerifyingKey")
            .field("algorithm", &self.algorithm)
            .field("kid", &self.kid)
            .finish_non_exhaustive()
    }
}
