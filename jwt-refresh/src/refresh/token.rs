//! The text of a refresh token, and the one that follows it.
//!
//! `jr1_` + base64url(server key 4 ‖ bucket 2 ‖ session 16 ‖ generation 4 ‖
//! secret 32 ‖ tag 16). The tag is an HMAC over all before it, so that junk is
//! refused without a look into the store, and a token of an earlier generation
//! is known to be genuine although the store holds hashes of two only.

use aws_lc_rs::{constant_time, digest, hmac, rand};
use zeroize::Zeroizing;

use super::keys::{RefreshKeys, ServerKey};
use crate::encoding;
use crate::error::Error;
use crate::secret::Secret;
use crate::store::{Proposal, SessionId, SessionRef, TokenHash};

pub(crate) const PREFIX: &str = "jr1_";
const BODY: usize = 4 + 2 + 16 + 4 + 32;
const TAG: usize = 16;

/// A refresh token whose tag is genuine.
pub(crate) struct Presented {
    pub(crate) session: SessionRef,
    pub(crate) generation: u32,
    secret: Zeroizing<[u8; 32]>,
}

/// The first token of a session, and what the store keeps of it.
pub(crate) fn issue(
    keys: &RefreshKeys,
    session: SessionRef,
) -> Result<(Secret, TokenHash), Error> {
    let mut secret = Zeroizing::new([0; 32]);
    rand::fill(&mut *secret).map_err(|_| Error::store("no random numbers"))?;
    let text = encode(keys.active(), session, 0, &secret);
    Ok((text, hash(session.id, 0, &secret)))
}

impl Presented {
    pub(crate) fn parse(keys: &RefreshKeys, text: &str) -> Result<Self, Error> {
        let body = text.strip_prefix(PREFIX).ok_or(Error::Malformed)?;
        let bytes: [u8; BODY + TAG] = encoding::decode_exactly(body).ok_or(Error::Malformed)?;
        let bytes = Zeroizing::new(bytes);
        let (body, tag) = bytes.split_at(BODY);
        let (key, rest) = take::<4>(body);
        let key = keys.get(key).ok_or(Error::UnknownServerKey)?;
        let genuine = tag_of(key, body);
        if constant_time::verify_slices_are_equal(&genuine, tag).is_err()
            && !cfg!(broken = "no_tag")
        {
            return Err(Error::Malformed);
        }
        let (bucket, rest) = take::<2>(rest);
        let (id, rest) = take::<16>(rest);
        let (generation, rest) = take::<4>(rest);
        let (secret, _) = take::<32>(rest);
        Ok(Self {
            session: SessionRef {
                id: SessionId::from_bytes(id),
                bucket: u16::from_be_bytes(bucket),
            },
            generation: u32::from_be_bytes(generation),
            secret: Zeroizing::new(secret),
        })
    }

    pub(crate) fn hash(&self) -> TokenHash {
        hash(self.session.id, self.generation, &self.secret)
    }

    /// What this server would make the successor, if it wins.
    pub(crate) fn propose(&self, keys: &RefreshKeys) -> Result<Proposal, Error> {
        let mut nonce = [0; 32];
        rand::fill(&mut nonce).map_err(|_| Error::store("no random numbers"))?;
        let key = keys.active();
        let secret = self.successor_secret(key, &nonce);
        let hash = hash(self.session.id, self.generation.saturating_add(1), &secret);
        Ok(Proposal { hash, nonce, key_id: key.id })
    }

    /// The successor that the winner made, computed again from this token and
    /// what the winner stored. Neither is enough without the other.
    pub(crate) fn successor(
        &self,
        keys: &RefreshKeys,
        nonce: &[u8; 32],
        key_id: [u8; 4],
    ) -> Result<Secret, Error> {
        // The row's key: this server's active one may differ during a roll-out.
        let key = if cfg!(broken = "own_key_replay") { keys.active().id } else { key_id };
        let key = keys.get(key).ok_or(Error::UnknownServerKey)?;
        let secret = self.successor_secret(key, nonce);
        Ok(encode(key, self.session, self.generation.saturating_add(1), &secret))
    }

    fn successor_secret(&self, key: &ServerKey, nonce: &[u8; 32]) -> Zeroizing<[u8; 32]> {
        let mut context =
            hmac::Context::with_key(&hmac::Key::new(hmac::HMAC_SHA256, &*self.secret));
        context.update(b"jwt-refresh/succ/v1");
        context.update(self.session.id.bytes());
        context.update(&self.generation.to_be_bytes());
        context.update(nonce);
        context.update(&*key.pepper);
        let mut secret = Zeroizing::new([0; 32]);
        secret.copy_from_slice(context.sign().as_ref());
        secret
    }
}

/// What the store sees of a client's retry key.
pub(crate) fn retry_hash(session: SessionId, key: &str) -> TokenHash {
    TokenHash::of(&[b"jwt-refresh/retry/v1", session.bytes(), key.as_bytes()])
}

/// 32 random bytes need no salt and no stretching.
fn hash(session: SessionId, generation: u32, secret: &[u8; 32]) -> TokenHash {
    TokenHash::of(&[
        b"jwt-refresh/hash/v1",
        session.bytes(),
        &generation.to_be_bytes(),
        secret.as_slice(),
    ])
}

fn encode(key: &ServerKey, session: SessionRef, generation: u32, secret: &[u8; 32]) -> Secret {
    let mut bytes = Zeroizing::new([0; BODY + TAG]);
    bytes[..4].copy_from_slice(&key.id);
    bytes[4..6].copy_from_slice(&session.bucket.to_be_bytes());
    bytes[6..22].copy_from_slice(session.id.bytes());
    bytes[22..26].copy_from_slice(&generation.to_be_bytes());
    bytes[26..BODY].copy_from_slice(secret);
    let tag = tag_of(key, &bytes[..BODY]);
    bytes[BODY..].copy_from_slice(&tag);
    let mut text = String::with_capacity(PREFIX.len() + (BODY + TAG) * 4 / 3 + 1);
    text.push_str(PREFIX);
    encoding::encode_to(&*bytes, &mut text);
    Secret::new(text)
}

fn tag_of(key: &ServerKey, body: &[u8]) -> [u8; TAG] {
    let tag = hmac::sign(&key.tag, body);
    *tag.as_ref().first_chunk().expect("HMAC-SHA-256 has 32 bytes")
}

fn take<const N: usize>(bytes: &[u8]) -> ([u8; N], &[u8]) {
    let (first, rest) = bytes.split_first_chunk().expect("the length was checked");
    (*first, rest)
}

impl TokenHash {
    fn of(parts: &[&[u8]]) -> Self {
        let mut context = digest::Context::new(&digest::SHA256);
        for part in parts {
            context.update(part);
        }
        let mut bytes = [0; 32];
        bytes.copy_from_slice(context.finish().as_ref());
        Self::from_bytes(bytes)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn key(seed: u8) -> [u8; 32] {
        std::array::from_fn(|at| seed.wrapping_mul(31).wrapping_add((at as u8).wrapping_mul(7)))
    }

    fn session() -> SessionRef {
        SessionRef { id: SessionId::from_bytes([5; 16]), bucket: 3 }
    }

    #[test]
    fn every_bit_of_the_text_counts() {
        let keys = RefreshKeys::new(key(1)).unwrap();
        let (token, _) = issue(&keys, session()).unwrap();
        let text = token.expose();
        assert!(Presented::parse(&keys, text).is_ok());
        assert_eq!(text.len(), 103);
        for at in 0..text.len() {
            for other in ['A', 'B', 'Q', '_', '=', '~'] {
                let mut changed = text.to_owned();
                changed.replace_range(at..=at, &other.to_string());
                if changed != *text {
                    assert!(Presented::parse(&keys, &changed).is_err(), "{at} {other}");
                }
            }
        }
        for text in [&text[1..], &text[..102], &format!("{text}A"), "", PREFIX] {
            assert!(Presented::parse(&keys, text).is_err());
        }
    }

    #[test]
    fn the_successor_is_the_same_for_all_servers_that_have_the_keys() {
        let [old, new] = [key(1), key(2)];
        let before = RefreshKeys::new(old).unwrap().accept(new).unwrap();
        let after = RefreshKeys::new(new).unwrap().accept(old).unwrap();
        let (token, _) = issue(&before, session()).unwrap();
        let here = Presented::parse(&before, token.expose()).unwrap();
        let there = Presented::parse(&after, token.expose()).unwrap();
        let proposal = there.propose(&after).unwrap();
        let one = here.successor(&before, &proposal.nonce, proposal.key_id).unwrap();
        let other = there.successor(&after, &proposal.nonce, proposal.key_id).unwrap();
        assert_eq!(one.expose(), other.expose());
        let next = Presented::parse(&before, one.expose()).unwrap();
        assert_eq!(next.hash(), proposal.hash);
        assert_eq!(next.generation, 1);
    }

    #[test]
    fn a_token_of_another_issuers_key_is_not_even_looked_up() {
        let ours = RefreshKeys::new(key(1)).unwrap();
        let theirs = RefreshKeys::new(key(2)).unwrap();
        let (token, _) = issue(&theirs, session()).unwrap();
        let refused = Presented::parse(&ours, token.expose());
        assert!(matches!(refused, Err(Error::UnknownServerKey)));
        assert!(RefreshKeys::new([7; 32]).is_err());
    }
}
