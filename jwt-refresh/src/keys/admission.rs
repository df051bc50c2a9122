//! Which keys are let in.

use zeroize::Zeroizing;

use super::error::KeyError;
use super::jwk::Jwk;
use crate::algorithm::Algorithm;
use crate::encoding;

/// The bytes of a key that is let in.
pub(super) enum Admitted {
    Ed25519([u8; 32]),
    /// An uncompressed point.
    P256([u8; 65]),
    Rsa {
        n: Vec<u8>,
        e: Vec<u8>,
        pss: bool,
    },
    Secret(Zeroizing<Vec<u8>>),
}

/// Secrets of tutorials that are long enough to pass for one.
const KNOWN: &[&[u8]] = &[
    b"a-string-secret-at-least-256-bits-long",
    b"a-string-secret-at-least-512-bits-long-which-is-this-long",
    b"your-256-bit-secret-your-256-bit-secret",
    b"your-super-secret-jwt-token-with-at-least-32-characters-long",
    b"super-secret-jwt-token-with-at-least-32-characters-long",
    b"this-is-a-very-long-secret-key-for-jwt",
    b"00112233445566778899aabbccddeeff",
    b"0123456789abcdef0123456789abcdef",
    b"12345678901234567890123456789012",
    b"abcdefghijklmnopqrstuvwxyz123456",
    // RFC 7515, appendix A.1.
    &[
        3, 35, 53, 75, 43, 15, 165, 188, 131, 126, 6, 101, 119, 123, 166, 143, 90, 179, 40,
        230, 240, 84, 201, 40, 169, 15, 132, 178, 210, 80, 46, 191, 211, 251, 90, 146, 210, 6,
        71, 239, 150, 138, 180, 195, 119, 98, 61, 34, 61, 46, 33, 114, 5, 46, 79, 8, 192, 205,
        154, 245, 103, 208, 128, 163,
    ],
];

/// 32 random bytes have fewer different ones once in about 10^26 draws.
const FEWEST_DIFFERENT: usize = 12;

pub(super) fn admit(jwk: &Jwk) -> Result<Admitted, KeyError> {
    if jwk.private {
        return Err(KeyError::Private);
    }
    may_verify(jwk)?;
    match jwk.algorithm()? {
        Algorithm::EdDsa => {
            if jwk.crv.as_deref() != Some("Ed25519") {
                return Err(KeyError::Curve);
            }
            Ok(Admitted::Ed25519(exactly(&jwk.x, "x")?))
        }
        Algorithm::Es256 => {
            if jwk.crv.as_deref() != Some("P-256") {
                return Err(KeyError::Curve);
            }
            let mut point = [4; 65];
            point[1..33].copy_from_slice(&exactly::<32>(&jwk.x, "x")?);
            point[33..].copy_from_slice(&exactly::<32>(&jwk.y, "y")?);
            Ok(Admitted::P256(point))
        }
        algorithm @ (Algorithm::Rs256 | Algorithm::Ps256) => {
            let (n, e) = (bytes(&jwk.n, "n")?, bytes(&jwk.e, "e")?);
            rsa(&n, &e)?;
            Ok(Admitted::Rsa { n, e, pss: algorithm == Algorithm::Ps256 })
        }
        Algorithm::Hs256 => {
            let text = jwk.k.as_ref().ok_or(KeyError::Parameter("k"))?;
            let secret =
                Zeroizing::new(encoding::decode(text).ok_or(KeyError::Parameter("k"))?);
            strong(&secret)?;
            Ok(Admitted::Secret(secret))
        }
    }
}

fn may_verify(jwk: &Jwk) -> Result<(), KeyError> {
    if jwk.usage.as_deref().is_some_and(|usage| usage != "sig") {
        return Err(KeyError::Use);
    }
    let Some(ops) = &jwk.key_ops else { return Ok(()) };
    // A secret may list both; what else a key is for, it is not for this.
    let fits =
        |op: &String| op == "verify" || (op == "sign" && jwk.kty.as_deref() == Some("oct"));
    let unique = ops.iter().enumerate().all(|(at, op)| !ops[..at].contains(op));
    if ops.iter().any(|op| op == "verify") && ops.iter().all(fits) && unique {
        Ok(())
    } else {
        Err(KeyError::Use)
    }
}

fn rsa(n: &[u8], e: &[u8]) -> Result<(), KeyError> {
    let Some(first) = n.first().filter(|first| **first != 0) else {
        return Err(KeyError::Parameter("n"));
    };
    let bits = n.len() * 8 - first.leading_zeros() as usize;
    if !(2_048..=8_192).contains(&bits) && !cfg!(broken = "no_key_admission") {
        return Err(KeyError::RsaSize);
    }
    if e.first().is_none_or(|first| *first == 0) || e.len() > 8 {
        return Err(KeyError::Parameter("e"));
    }
    let exponent = e.iter().fold(0_u64, |sum, byte| sum << 8 | u64::from(*byte));
    if exponent < 65_537 || exponent % 2 == 0 {
        return Err(KeyError::RsaExponent);
    }
    if n.last().is_some_and(|last| last % 2 == 0) {
        return Err(KeyError::Invalid);
    }
    Ok(())
}

/// Whether an HMAC secret may be one.
pub(super) fn strong(secret: &[u8]) -> Result<(), KeyError> {
    if secret.len() < 32 {
        return Err(KeyError::ShortSecret);
    }
    let different = (0..=u8::MAX).filter(|byte| secret.contains(byte)).count();
    if KNOWN.contains(&secret) || different < FEWEST_DIFFERENT {
        return Err(KeyError::KnownSecret);
    }
    Ok(())
}

fn bytes(text: &Option<String>, name: &'static str) -> Result<Vec<u8>, KeyError> {
    text.as_deref().and_then(encoding::decode).ok_or(KeyError::Parameter(name))
}

fn exactly<const N: usize>(
    text: &Option<String>,
    name: &'static str,
) -> Result<[u8; N], KeyError> {
    let bytes = bytes(text, name)?;
    bytes.try_into().map_err(|_| KeyError::Parameter(name))
}
