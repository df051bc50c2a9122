//! The text of a token: base64url of version, flags, fields and a MAC.

use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use hmac::Mac;

use super::{Floors, Sticky, TokenKeys};
use crate::clock::Millis;
use crate::lsn::{Lsn, Position};

/// Longer texts are not looked at.
pub(crate) const LONGEST: usize = 160;

const VERSION: u8 = 1;
/// HMAC-SHA256, truncated to 128 bits (RFC 2104, section 5).
const MAC: usize = 16;
/// So that a MAC of the same key over something else is none of ours.
const DOMAIN: &[u8] = b"rw-split token\0";

const WRITE: u8 = 1;
const READ: u8 = 2;
const STICKY: u8 = 4;
const PIN: u8 = 8;
/// The read position is of another cluster than the written one.
const SYSTEMS: u8 = 16;

/// Why a text is no token.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Refusal {
    /// Not of this form, or signed by nobody who knows a key.
    Forged,
    Expired,
}

/// Of one cluster, whose name is signed with it: what is true of one is not of another. No
/// name ends where the fields begin, with [`VERSION`].
pub(crate) fn encode(
    cluster: &str,
    floors: &Floors,
    expires: Millis,
    keys: &TokenKeys,
) -> String {
    let Floors { write, read, sticky, pin_until } = floors;
    let pinned = *pin_until > Millis(0);
    let two_systems = write.zip(*read).is_some_and(|(write, read)| write.system != read.system);
    let flag = |set: bool, flag| if set { flag } else { 0 };
    let flags = flag(write.is_some(), WRITE)
        | flag(read.is_some(), READ)
        | flag(sticky.is_some(), STICKY)
        | flag(pinned, PIN)
        | flag(two_systems, SYSTEMS);

    let mut bytes = Vec::with_capacity(LONGEST * 3 / 4);
    bytes.extend([VERSION, flags]);
    bytes.extend(expires.0.to_be_bytes());
    for (index, position) in [write, read].into_iter().flatten().enumerate() {
        if index == 0 || two_systems {
            bytes.extend(position.system.to_be_bytes());
        }
        bytes.extend(position.timeline.to_be_bytes());
        bytes.extend(position.lsn.0.to_be_bytes());
    }
    if let Some(Sticky { server, started }) = sticky {
        bytes.extend(server.to_be_bytes());
        bytes.extend(started.to_be_bytes());
    }
    if pinned {
        bytes.extend(pin_until.0.to_be_bytes());
    }
    let signer = keys.signer().chain_update(DOMAIN).chain_update(cluster);
    let mac = signer.chain_update(&bytes).finalize().into_bytes();
    bytes.extend(&mac[..MAC]);
    URL_SAFE_NO_PAD.encode(bytes)
}

/// What a genuine text says, and when it expires.
pub(crate) fn decode(
    cluster: &str,
    text: &str,
    keys: &TokenKeys,
    now: Millis,
) -> Result<(Floors, Millis), Refusal> {
    if text.len() > LONGEST {
        return Err(Refusal::Forged);
    }
    let bytes = URL_SAFE_NO_PAD.decode(text).map_err(|_| Refusal::Forged)?;
    let at = bytes.len().checked_sub(MAC).ok_or(Refusal::Forged)?;
    let (payload, mac) = bytes.split_at(at);
    // Compared in constant time.
    let genuine = keys.verifiers().any(|verifier| {
        let verifier = verifier.chain_update(DOMAIN).chain_update(cluster);
        verifier.chain_update(payload).verify_truncated_left(mac).is_ok()
    });
    if !genuine {
        return Err(Refusal::Forged);
    }
    let (floors, expires) = fields(payload).ok_or(Refusal::Forged)?;
    if expires <= now {
        return Err(Refusal::Expired);
    }
    Ok((floors, expires))
}

fn fields(payload: &[u8]) -> Option<(Floors, Millis)> {
    let mut rest = payload;
    let [VERSION, flags] = take(&mut rest)? else { return None };
    let expires = Millis(u64::from_be_bytes(take(&mut rest)?));
    let has = |flag| flags & flag != 0;
    let mut floors = Floors::default();
    let mut known_system = None;
    let mut position = |rest: &mut &[u8]| {
        let system = match known_system {
            Some(system) if !has(SYSTEMS) => system,
            _ => u64::from_be_bytes(take(rest)?),
        };
        known_system = Some(system);
        let timeline = u32::from_be_bytes(take(rest)?);
        Some(Position { system, timeline, lsn: Lsn(u64::from_be_bytes(take(rest)?)) })
    };
    if has(WRITE) {
        floors.write = Some(position(&mut rest)?);
    }
    if has(READ) {
        floors.read = Some(position(&mut rest)?);
    }
    if has(STICKY) {
        let server = u32::from_be_bytes(take(&mut rest)?);
        floors.sticky = Some(Sticky { server, started: i64::from_be_bytes(take(&mut rest)?) });
    }
    if has(PIN) {
        floors.pin_until = Millis(u64::from_be_bytes(take(&mut rest)?));
    }
    rest.is_empty().then_some((floors, expires))
}

fn take<const N: usize>(rest: &mut &[u8]) -> Option<[u8; N]> {
    let (taken, left) = rest.split_first_chunk()?;
    *rest = left;
    Some(*taken)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn keys(byte: u8) -> TokenKeys {
        TokenKeys::new(&[byte; 32]).unwrap()
    }

    fn floors() -> impl Strategy<Value = Floors> {
        let position = |system: std::ops::Range<u64>| {
            prop::option::of((system, any::<u32>(), any::<u64>()).prop_map(
                |(system, timeline, lsn)| Position { system, timeline, lsn: Lsn(lsn) },
            ))
        };
        let sticky = prop::option::of(
            any::<(u32, i64)>().prop_map(|(server, started)| Sticky { server, started }),
        );
        // A session has often seen just what it has written.
        (position(1..3), position(1..3), any::<bool>(), sticky, any::<u64>()).prop_map(
            |(write, read, same, sticky, pin)| {
                let read = if same { write } else { read };
                Floors { write, read, sticky, pin_until: Millis(pin) }
            },
        )
    }

    proptest! {
        #[test]
        fn a_token_goes_there_and_back(floors in floors(), expires in 1_u64..) {
            let text = encode("", &floors, Millis(expires), &keys(1));
            prop_assert!(text.len() <= LONGEST, "{} characters", text.len());
            let back = decode("", &text, &keys(1), Millis(expires - 1));
            prop_assert_eq!(back, Ok((floors, Millis(expires))));
        }

        #[test]
        fn nothing_else_is_a_token(text in ".{0,200}") {
            prop_assert_eq!(decode("", &text, &keys(1), Millis(0)), Err(Refusal::Forged));
        }

        #[test]
        fn a_changed_or_shortened_token_is_none(floors in floors(), at: usize, bit in 0_u8..8) {
            let text = encode("", &floors, Millis(9), &keys(1));
            let mut bytes = URL_SAFE_NO_PAD.decode(&text).unwrap();
            let at = at % bytes.len();
            bytes[at] ^= 1_u8 << bit;
            let changed = URL_SAFE_NO_PAD.encode(&bytes);
            prop_assert_eq!(decode("", &changed, &keys(1), Millis(0)), Err(Refusal::Forged));
            let shorter = &text[..text.len() - 1 - at % text.len()];
            prop_assert_eq!(decode("", shorter, &keys(1), Millis(0)), Err(Refusal::Forged));
        }
    }

    #[test]
    fn the_previous_key_is_accepted_and_an_older_one_is_not() {
        let text = encode("", &Floors::default(), Millis(9), &keys(1));
        let rotated = keys(2).previous(&[1; 32]).unwrap();
        assert!(decode("", &text, &rotated, Millis(0)).is_ok());
        let again = keys(3).previous(&[2; 32]).unwrap();
        assert_eq!(decode("", &text, &again, Millis(0)), Err(Refusal::Forged));
    }

    #[test]
    fn a_token_of_one_cluster_is_none_of_another() {
        let text = encode("orders-1", &Floors::default(), Millis(9), &keys(1));
        assert!(decode("orders-1", &text, &keys(1), Millis(0)).is_ok());
        for other in ["", "orders-2", "orders-", "orders-11"] {
            assert_eq!(decode(other, &text, &keys(1), Millis(0)), Err(Refusal::Forged));
        }
    }

    #[test]
    fn a_token_expires() {
        let text = encode("", &Floors::default(), Millis(9), &keys(1));
        assert!(decode("", &text, &keys(1), Millis(8)).is_ok());
        assert_eq!(decode("", &text, &keys(1), Millis(9)), Err(Refusal::Expired));
    }

    #[test]
    fn weak_keys_are_refused_and_none_is_shown() {
        assert!(TokenKeys::new(&[1; 31]).is_err());
        assert!(TokenKeys::new(&[0; 32]).is_err());
        assert_eq!(format!("{:?}", keys(0x41)), "TokenKeys { .. }");
    }
}
