use std::{error, fmt};

use crate::algorithm::Algorithm;

/// Why a key, or a set of keys, was not admitted. No variant holds key material.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum KeyError {
    /// Not a JSON object, or with members that occur twice.
    Json,
    /// A parameter is missing, has a wrong type or is not canonical base64url.
    Parameter(&'static str),
    /// No such `kty`, or one that signs nothing.
    KeyType,
    /// Another curve than Ed25519 or P-256, or one that does not fit the `kty`.
    Curve,
    /// An `alg` that is not offered or does not fit the key.
    Algorithm,
    /// `use` is not `sig`, or `key_ops` lacks `verify` or has what does not fit.
    Use,
    /// A public key that comes with its private half.
    Private,
    /// The bytes are no key: a point that is not on its curve, a wrong length.
    Invalid,
    /// An RSA modulus below 2048 or above 8192 bits.
    RsaSize,
    /// An RSA exponent that is even or below 65537.
    RsaExponent,
    /// An HMAC secret below 32 bytes.
    ShortSecret,
    /// An HMAC secret from a tutorial, or of hardly any different bytes.
    KnownSecret,
    /// A symmetric key in a set that is public.
    Symmetric,
    /// Symmetric and asymmetric keys in one set.
    Mixed,
    /// Two keys with this `kid`.
    DuplicateKeyId(String),
    /// A `kid` that is empty, longer than 128 bytes, or has control characters.
    KeyId,
    /// No key in the set, or none that could be admitted.
    Empty,
    /// More keys than 64.
    TooMany,
    /// Longer than 256 KiB.
    TooLong,
    /// Another key type than the algorithm needs, in the private key.
    WrongKind(Algorithm),
    /// The next key was not published for long enough before it was activated.
    NotPublished {
        /// How many seconds are missing.
        missing_secs: u64,
    },
    /// There is no key of this `kid` in the state that the change needs.
    NoSuchKey(String),
    /// The random number generator failed.
    Random,
}

impl fmt::Display for KeyError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Json => "not a JSON object without duplicate members",
            Self::Parameter(name) => {
                return write!(f, "the parameter `{name}` is missing or malformed");
            }
            Self::KeyType => "`kty` is none of OKP, EC, RSA and oct",
            Self::Curve => "the curve is neither Ed25519 (OKP) nor P-256 (EC)",
            Self::Algorithm => "`alg` is not offered, or does not fit the key",
            Self::Use => "`use` or `key_ops` does not allow verifying signatures",
            Self::Private => "the key holds its private half: publish the public one only",
            Self::Invalid => "the bytes are no valid key of this kind",
            Self::RsaSize => "the RSA modulus must have 2048 to 8192 bits",
            Self::RsaExponent => "the RSA exponent must be odd and at least 65537",
            Self::ShortSecret => "the HMAC secret must have at least 32 bytes",
            Self::KnownSecret => {
                "the HMAC secret is well known or hardly random; draw 32 bytes"
            }
            Self::Symmetric => "a symmetric key cannot be in a public set",
            Self::Mixed => "a set cannot mix symmetric and asymmetric keys",
            Self::DuplicateKeyId(kid) => return write!(f, "two keys have the kid {kid:?}"),
            Self::KeyId => "`kid` must have 1 to 128 bytes and no control characters",
            Self::Empty => "the set has no usable key",
            Self::TooMany => "the set has more than 64 keys",
            Self::TooLong => "the set is longer than 256 KiB",
            Self::WrongKind(algorithm) => {
                return write!(f, "the private key is none for {algorithm}");
            }
            Self::NotPublished { missing_secs } => {
                return write!(
                    f,
                    "the key must be published for {missing_secs} s more, or verifiers that \
                     cache the old set refuse its tokens"
                );
            }
            Self::NoSuchKey(kid) => {
                return write!(f, "no key with the kid {kid:?} is in that state");
            }
            Self::Random => "the system's random number generator failed",
        })
    }
}

impl error::Error for KeyError {}
