use std::sync::{PoisonError, RwLock};

use super::header::Header;
use super::profile::Profile;
use super::refusal::Refusal;
use super::verifier::LONGEST;
use crate::algorithm::Algorithm;
use crate::encoding;
use crate::keys::{Key, KeySet, LONGEST_KID, VerifyingKey};

const LONGEST_HEADER_TEXT: usize = 1_366;
/// RSA of 8192 bits.
const LONGEST_SIGNATURE: usize = 1_024;
/// A key's tokens have one header, or few.
const MOST_HEADERS: usize = 8;

/// The encoded headers of tokens that were good *under one profile*: the same text
/// again need not be parsed again. It is not the keys that know them, since two
/// profiles may share a key and expect another `typ`.
#[derive(Default)]
pub(super) struct KnownHeaders(RwLock<Vec<KnownHeader>>);

struct KnownHeader {
    text: Box<str>,
    kid: Box<str>,
    algorithm: Algorithm,
}

impl KnownHeaders {
    #[inline]
    fn find<'s>(&self, text: &str, set: &'s KeySet) -> Option<&'s Key> {
        let known = self.0.read().unwrap_or_else(PoisonError::into_inner);
        let header = known.iter().find(|known| *known.text == *text)?;
        let key = set.get(&header.kid)?;
        (key.verifying.algorithm() == header.algorithm).then_some(key)
    }

    /// For after all checks.
    pub(super) fn learn(&self, text: &str, key: &VerifyingKey) {
        let knows = |known: &Vec<KnownHeader>| known.iter().any(|known| *known.text == *text);
        if knows(&self.0.read().unwrap_or_else(PoisonError::into_inner)) {
            return;
        }
        let mut known = self.0.write().unwrap_or_else(PoisonError::into_inner);
        if !knows(&known) {
            if known.len() >= MOST_HEADERS {
                known.remove(0);
            }
            let (kid, algorithm) = (key.kid().into(), key.algorithm());
            known.push(KnownHeader { text: text.into(), kid, algorithm });
        }
    }
}

/// The three parts of a compact JWS.
pub(super) struct Segments<'a> {
    pub(super) header: &'a str,
    payload: &'a str,
    signature: &'a str,
    /// What is signed: the first two with their dot.
    message: &'a str,
}

impl<'a> Segments<'a> {
    pub(super) fn of(token: &'a str) -> Result<Self, Refusal> {
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

    pub(super) fn header_bytes(&self) -> Result<Vec<u8>, Refusal> {
        if self.header.len() > LONGEST_HEADER_TEXT {
            return Err(Refusal::HeaderTooLong);
        }
        encoding::decode(self.header).ok_or(Refusal::Encoding)
    }

    pub(super) fn payload(&self) -> Result<Vec<u8>, Refusal> {
        encoding::decode(self.payload).ok_or(Refusal::Encoding)
    }

    /// The key that the header names, if the header is good and fits it.
    pub(super) fn key<'s>(
        &self,
        set: &'s KeySet,
        profile: &Profile,
        known: &KnownHeaders,
    ) -> Result<(&'s VerifyingKey, Option<u64>), Refusal> {
        if let Some(key) = known.find(self.header, set) {
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
                    || kid.len() > LONGEST_KID
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

    pub(super) fn check_signature(&self, key: &VerifyingKey) -> Result<(), Refusal> {
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
