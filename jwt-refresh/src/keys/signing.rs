use std::fmt;
use std::pin::Pin;
use std::sync::Arc;

use aws_lc_rs::rand::SystemRandom;
use aws_lc_rs::signature::{
    ECDSA_P256_SHA256_FIXED_SIGNING, EcdsaKeyPair, Ed25519KeyPair, KeyPair, RSA_PKCS1_SHA256,
    RSA_PSS_SHA256, RsaKeyPair,
};
use aws_lc_rs::{hmac, rsa};
use base64::Engine;
use zeroize::Zeroizing;

use super::error::KeyError;
use super::jwk::Jwk;
use super::verifying::VerifyingKey;
use crate::algorithm::Algorithm;
use crate::error::BoxError;

/// Signs tokens: a key in this process, or one that never leaves a KMS.
pub trait Signer: Send + Sync + 'static {
    /// The key that verifies what this signs, with its `kid` and its algorithm.
    ///
    /// # Errors
    ///
    /// When that key is not admitted.
    fn verifying_key(&self) -> Result<VerifyingKey, KeyError>;

    /// The signature of `message`, in the form that JWS has (RFC 7518): for
    /// ES256 that is r and s, 32 bytes each, and no ASN.1.
    ///
    /// # Errors
    ///
    /// When the signer cannot be reached or refuses; the request fails with 503.
    ///
    /// # Cancel safety
    ///
    /// It may be dropped at any await.
    fn sign(&self, message: &[u8]) -> impl Future<Output = Result<Vec<u8>, BoxError>> + Send;
}

/// A private key in this process. Its `Debug` shows the `kid` only.
pub struct SigningKey {
    pair: Pair,
    kid: Option<String>,
}

#[allow(clippy::large_enum_variant, reason = "there is one for each key")]
enum Pair {
    Ed25519(Ed25519KeyPair),
    P256(EcdsaKeyPair),
    Rsa(RsaKeyPair, Algorithm),
    Secret(hmac::Key, Zeroizing<Vec<u8>>),
}

impl SigningKey {
    /// A new Ed25519 key, for tests, examples and a first start: it is gone with
    /// the process, and so are all tokens that it has signed.
    ///
    /// # Errors
    ///
    /// [`KeyError::Random`].
    pub fn generate() -> Result<Self, KeyError> {
        let pair = Ed25519KeyPair::generate().map_err(|_| KeyError::Random)?;
        Ok(Self { pair: Pair::Ed25519(pair), kid: None })
    }

    /// A private key in PKCS #8, DER. An RSA key must have 2048 to 8192 bits.
    ///
    /// # Errors
    ///
    /// [`KeyError::WrongKind`] when it is none for `algorithm`;
    /// [`KeyError::RsaSize`]; [`KeyError::Symmetric`] for [`Algorithm::Hs256`],
    /// which has [`hmac`](Self::hmac).
    pub fn from_pkcs8(algorithm: Algorithm, der: &[u8]) -> Result<Self, KeyError> {
        let wrong = |_| KeyError::WrongKind(algorithm);
        let pair = match algorithm {
            Algorithm::EdDsa => {
                Pair::Ed25519(Ed25519KeyPair::from_pkcs8_maybe_unchecked(der).map_err(wrong)?)
            }
            Algorithm::Es256 => Pair::P256(
                EcdsaKeyPair::from_pkcs8(&ECDSA_P256_SHA256_FIXED_SIGNING, der)
                    .map_err(wrong)?,
            ),
            Algorithm::Rs256 | Algorithm::Ps256 => {
                Pair::Rsa(RsaKeyPair::from_pkcs8(der).map_err(wrong)?, algorithm)
            }
            Algorithm::Hs256 => return Err(KeyError::Symmetric),
        };
        let key = Self { pair, kid: None };
        Signer::verifying_key(&key)?;
        Ok(key)
    }

    /// As [`from_pkcs8`](Self::from_pkcs8), from the text between
    /// `-----BEGIN PRIVATE KEY-----` and its end.
    ///
    /// # Errors
    ///
    /// As [`from_pkcs8`](Self::from_pkcs8); [`KeyError::Invalid`] when it is no
    /// such text.
    pub fn from_pem(algorithm: Algorithm, pem: &str) -> Result<Self, KeyError> {
        let body = pem
            .trim()
            .strip_prefix("-----BEGIN PRIVATE KEY-----")
            .and_then(|rest| rest.strip_suffix("-----END PRIVATE KEY-----"))
            .ok_or(KeyError::Invalid)?;
        let body: Zeroizing<String> =
            Zeroizing::new(body.chars().filter(|c| !c.is_ascii_whitespace()).collect());
        let der = base64::engine::general_purpose::STANDARD.decode(body.as_bytes());
        let der = Zeroizing::new(der.map_err(|_| KeyError::Invalid)?);
        Self::from_pkcs8(algorithm, &der)
    }

    /// An HMAC secret of at least 32 random bytes. Whoever verifies with it can
    /// also sign with it: a key pair is the better choice across services.
    ///
    /// # Errors
    ///
    /// [`KeyError::ShortSecret`], [`KeyError::KnownSecret`].
    pub fn hmac(secret: &[u8]) -> Result<Self, KeyError> {
        super::admission::strong(secret)?;
        let key = hmac::Key::new(hmac::HMAC_SHA256, secret);
        Ok(Self { pair: Pair::Secret(key, Zeroizing::new(secret.to_vec())), kid: None })
    }

    /// Names it; by default it has its thumbprint (RFC 7638). An HMAC secret
    /// that is to be known by more than its thumbprint needs a name.
    #[must_use]
    pub fn with_kid(mut self, kid: impl Into<String>) -> Self {
        self.kid = Some(kid.into());
        self
    }

    fn signature(&self, message: &[u8]) -> Result<Vec<u8>, KeyError> {
        match &self.pair {
            Pair::Ed25519(pair) => Ok(pair.sign(message).as_ref().to_vec()),
            Pair::P256(pair) => {
                let signature = pair.sign(&SystemRandom::new(), message);
                Ok(signature.map_err(|_| KeyError::Random)?.as_ref().to_vec())
            }
            Pair::Rsa(pair, algorithm) => {
                let encoding: &dyn aws_lc_rs::signature::RsaEncoding =
                    if *algorithm == Algorithm::Ps256 {
                        &RSA_PSS_SHA256
                    } else {
                        &RSA_PKCS1_SHA256
                    };
                let mut signature = vec![0; pair.public_modulus_len()];
                pair.sign(encoding, &SystemRandom::new(), message, &mut signature)
                    .map_err(|_| KeyError::Random)?;
                Ok(signature)
            }
            Pair::Secret(key, _) => Ok(hmac::sign(key, message).as_ref().to_vec()),
        }
    }
}

impl Signer for SigningKey {
    fn verifying_key(&self) -> Result<VerifyingKey, KeyError> {
        let mut jwk = match &self.pair {
            Pair::Ed25519(pair) => Jwk::ed25519(pair.public_key().as_ref()),
            Pair::P256(pair) => match pair.public_key().as_ref().strip_prefix(&[4]) {
                Some(point) if point.len() == 64 => Jwk::p256(&point[..32], &point[32..]),
                _ => return Err(KeyError::Invalid),
            },
            Pair::Rsa(pair, algorithm) => {
                let public: &rsa::PublicKey = pair.public_key();
                Jwk::rsa(
                    *algorithm,
                    public.modulus().big_endian_without_leading_zero(),
                    public.exponent().big_endian_without_leading_zero(),
                )
            }
            Pair::Secret(_, secret) => Jwk::hmac(secret),
        };
        jwk.kid.clone_from(&self.kid);
        VerifyingKey::admit(jwk)
    }

    async fn sign(&self, message: &[u8]) -> Result<Vec<u8>, BoxError> {
        Ok(self.signature(message)?)
    }
}

impl fmt::Debug for SigningKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("SigningKey").field("kid", &self.kid).finish_non_exhaustive()
    }
}

/// A [`Signer`] whose type is chosen at run time.
#[derive(Clone)]
pub struct BoxSigner(Arc<dyn Erased>);

type Signature<'a> = Pin<Box<dyn Future<Output = Result<Vec<u8>, BoxError>> + Send + 'a>>;

trait Erased: Send + Sync {
    fn verifying_key(&self) -> Result<VerifyingKey, KeyError>;
    fn sign<'a>(&'a self, message: &'a [u8]) -> Signature<'a>;
}

impl<S: Signer> Erased for S {
    fn verifying_key(&self) -> Result<VerifyingKey, KeyError> {
        Signer::verifying_key(self)
    }

    fn sign<'a>(&'a self, message: &'a [u8]) -> Signature<'a> {
        Box::pin(Signer::sign(self, message))
    }
}

impl BoxSigner {
    /// Of any signer.
    pub fn new(signer: impl Signer) -> Self {
        Self(Arc::new(signer))
    }
}

impl Signer for BoxSigner {
    fn verifying_key(&self) -> Result<VerifyingKey, KeyError> {
        self.0.verifying_key()
    }

    async fn sign(&self, message: &[u8]) -> Result<Vec<u8>, BoxError> {
        self.0.sign(message).await
    }
}

impl fmt::Debug for BoxSigner {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("BoxSigner")
    }
}
