//! From a key to its slot.

mod pg;
mod sql;

use std::fmt;

use crate::key::{KeyPart, KeyType, ShardKey};
use crate::slot::{SLOTS, Slot};

#[cfg(feature = "postgres")]
pub(crate) use self::sql::quoted;
pub use self::sql::{Column, slot_sql};

/// How keys are hashed to slots. It is stored on each shard, and compared: keys that
/// two processes hash in two ways are on the wrong shard for one of them.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub enum SlotHash {
    /// PostgreSQL's own, of hash-partitioned tables: the database can compute the slot
    /// of a row too ([`slot_sql`](crate::slot_sql)). The default.
    #[default]
    Postgres,
    /// XXH3, the fastest for long texts.
    #[cfg(feature = "xxh3")]
    Xxh3,
    /// CRC16 as Redis Cluster has it, with its hash tags (`{…}`); integers are hashed as
    /// their decimal text. For keys of one column.
    #[cfg(feature = "crc16")]
    Crc16,
    /// SipHash 2-4 with a secret, for keys that an attacker may choose so that they all
    /// fall on one shard.
    #[cfg(feature = "siphash")]
    SipHash(SipKey),
}

/// The secret of [`SlotHash::SipHash`]. `Debug` shows nothing of it.
#[cfg(feature = "siphash")]
#[derive(Clone, Copy, PartialEq, Eq)]
pub struct SipKey([u8; 16]);

#[cfg(feature = "siphash")]
impl SipKey {
    /// 16 random bytes, the same in every process and for good.
    pub const fn new(key: [u8; 16]) -> Self {
        Self(key)
    }
}

#[cfg(feature = "siphash")]
impl fmt::Debug for SipKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("SipKey(..)")
    }
}

impl SlotHash {
    /// The slot of a key. The hashes part before the key is taken apart, so that of the
    /// default one everything is in registers.
    #[inline(always)]
    pub(crate) fn slot<K: ShardKey + ?Sized>(&self, key: &K) -> Slot {
        match self {
            Self::Postgres => key.parts(|parts| Slot::of_hash(pg::row_hash(parts))),
            #[cfg(any(feature = "xxh3", feature = "crc16", feature = "siphash"))]
            other => key.parts(|parts| Slot::of_hash(other.hash(parts))),
        }
    }

    /// The slot of a key with these columns.
    #[inline]
    pub(crate) fn slot_of_parts(&self, parts: &[KeyPart<'_>]) -> Slot {
        Slot::of_hash(self.hash(parts))
    }

    /// 64 bits of which strategies use as many as they like.
    #[inline]
    pub(crate) fn hash(&self, parts: &[KeyPart<'_>]) -> u64 {
        match self {
            Self::Postgres => pg::row_hash(parts),
            #[cfg(feature = "xxh3")]
            Self::Xxh3 => xxh3(parts),
            #[cfg(feature = "crc16")]
            Self::Crc16 => u64::from(crc16(parts)),
            #[cfg(feature = "siphash")]
            Self::SipHash(SipKey(key)) => {
                use std::hash::Hasher;
                let mut state = siphasher::sip::SipHasher24::new_with_key(key);
                parts.iter().for_each(|part| part.write(|bytes| state.write(bytes)));
                state.finish()
            }
        }
    }

    /// The name that shards store: it changes whenever any key would have another slot.
    pub fn id(&self) -> String {
        match self {
            Self::Postgres => format!("pg/{SLOTS}"),
            #[cfg(feature = "xxh3")]
            Self::Xxh3 => format!("xxh3/{SLOTS}"),
            #[cfg(feature = "crc16")]
            Self::Crc16 => format!("crc16/{SLOTS}"),
            #[cfg(feature = "siphash")]
            Self::SipHash(_) => {
                // Of a fixed text: it tells secrets apart, and not what they are.
                let print = self.hash(&[KeyPart::Text("shard-router fingerprint")]);
                format!("siphash24:{:08x}/{SLOTS}", print >> 32)
            }
        }
    }

    /// Whether the database can compute it.
    pub const fn in_sql(&self) -> bool {
        matches!(self, Self::Postgres)
    }

    /// Why keys of these columns cannot be hashed so, if they cannot.
    pub(crate) fn refuses(self, columns: &[KeyType]) -> Option<&'static str> {
        #[cfg(feature = "crc16")]
        if self == Self::Crc16 && columns.len() != 1 {
            return Some("CRC16 hashes one text, as Redis does; name one column, or use `pg`");
        }
        let _ = self;
        match columns.len() {
            0 => Some("a key has at least one column"),
            1..=4 => None,
            _ => Some("a key has four columns at most"),
        }
    }
}

#[cfg(feature = "xxh3")]
fn xxh3(parts: &[KeyPart<'_>]) -> u64 {
    if let [KeyPart::Int(value)] = parts {
        let mut bytes = [1; 9];
        bytes[1..].copy_from_slice(&value.to_le_bytes());
        return xxhash_rust::xxh3::xxh3_64(&bytes);
    }
    let (mut buffer, mut used, mut fits) = ([0; 64], 0, true);
    for part in parts {
        part.write(|bytes| match buffer.get_mut(used..used + bytes.len()) {
            Some(free) if fits => {
                free.copy_from_slice(bytes);
                used += bytes.len();
            }
            _ => fits = false,
        });
    }
    if fits {
        return xxhash_rust::xxh3::xxh3_64(&buffer[..used]);
    }
    // The same result, at the price of a state of several hundred bytes.
    let mut state = xxhash_rust::xxh3::Xxh3Default::new();
    parts.iter().for_each(|part| part.write(|bytes| state.update(bytes)));
    state.digest()
}

/// As Redis does: only what is between the first `{` and the next `}`, if that is
/// something.
#[cfg(feature = "crc16")]
fn crc16(parts: &[KeyPart<'_>]) -> u16 {
    use crc16::{State, XMODEM};
    let tagged = |raw: &[u8]| {
        let open = raw.iter().position(|byte| *byte == b'{');
        let tag = open.and_then(|open| {
            let rest = &raw[open + 1..];
            let close = rest.iter().position(|byte| *byte == b'}')?;
            (close > 0).then(|| &rest[..close])
        });
        State::<XMODEM>::calculate(tag.unwrap_or(raw))
    };
    match parts {
        [KeyPart::Text(text)] => tagged(text.as_bytes()),
        [KeyPart::Bytes(raw)] => tagged(raw),
        [part] => tagged(part.to_string().as_bytes()),
        // Refused where a topology is made; a map alone takes all columns.
        parts => {
            let mut state = State::<XMODEM>::new();
            parts.iter().for_each(|part| part.write(|bytes| state.update(bytes)));
            state.get()
        }
    }
}

impl fmt::Display for SlotHash {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.id())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::key::UuidBytes;

    fn slot(hash: SlotHash, key: &(impl ShardKey + ?Sized)) -> u16 {
        hash.slot(key).number()
    }

    fn uuid() -> UuidBytes {
        "f81d4fae-7dec-11d0-a765-00a0c91e6bf6".parse().unwrap()
    }

    /// What a PostgreSQL 15.18 has answered: the remainder that
    /// `satisfies_hash_partition` accepts.
    #[test]
    fn slots_are_those_of_postgresql() {
        let pg = SlotHash::Postgres;
        for (key, expected) in
            [(0_i64, 6576), (1, 4024), (-1, 12197), (42, 6754), (i64::MAX, 14966)]
        {
            assert_eq!(slot(pg, &key), expected, "{key}");
        }
        for (key, expected) in
            [("", 10406), ("a", 3934), ("Zürich", 9606), ("user:0123456789012345678", 12092)]
        {
            assert_eq!(slot(pg, key), expected, "{key}");
        }
        assert_eq!(slot(pg, &uuid()), 9440);
        assert_eq!(slot(pg, &(7_i64, "Zürich")), 11271);
        assert_eq!(slot(pg, &(uuid(), "x", -5_i64)), 7881);
    }

    /// What it has answered to `hashtextextended(encode(k, 'hex'), seed)`.
    #[test]
    fn bytes_are_hashed_as_their_digits() {
        let undone = |raw: &[u8]| {
            let hash = SlotHash::Postgres.hash(&[KeyPart::Bytes(raw)]);
            hash.wrapping_sub(pg::COMBINE)
        };
        assert_eq!(undone(b""), 0xb0e3_3d0b_543f_bfc3);
        assert_eq!(undone(&[0]), 0x9aae_2c68_e5ed_16df);
        assert_eq!(undone(&[0, 1, 2, 3, 4, 5, 6]), 0xf1b6_3b3d_0339_67b6);
        let raw = [0xde, 0xad, 0xbe, 0xef, 0, 0xff, 0x10, 0x20, 0x30, 0x40, 0x50, 0x60, 0x70];
        assert_eq!(undone(&raw), 0x7aeb_3d57_20c1_7563);
    }

    #[cfg(feature = "xxh3")]
    #[test]
    fn xxh3_is_the_same_at_once_and_in_pieces() {
        let whole = |parts: &[KeyPart<'_>]| {
            let mut written = Vec::new();
            parts.iter().for_each(|part| part.write(|bytes| written.extend_from_slice(bytes)));
            xxhash_rust::xxh3::xxh3_64(&written)
        };
        let text = "x".repeat(300);
        for len in 0..text.len() {
            let (first, second) = (KeyPart::Text(&text[..len]), KeyPart::Int(len as i64));
            for parts in [&[first][..], &[second], &[first, second], &[second, first]] {
                assert_eq!(SlotHash::Xxh3.hash(parts), whole(parts), "{len}");
            }
        }
    }

    #[cfg(all(feature = "crc16", feature = "xxh3", feature = "siphash"))]
    #[test]
    fn other_hashes_never_change_either() {
        // From the specification of Redis Cluster: CRC16 of 123456789 is 0x31C3.
        assert_eq!(slot(SlotHash::Crc16, "123456789"), 0x31C3);
        assert_eq!(slot(SlotHash::Crc16, &123_456_789_i64), 0x31C3);
        assert_eq!(
            slot(SlotHash::Crc16, "{user1000}.following"),
            slot(SlotHash::Crc16, "user1000")
        );
        assert_ne!(slot(SlotHash::Crc16, "foo{}{bar}"), slot(SlotHash::Crc16, "bar"));
        assert_eq!(slot(SlotHash::Crc16, "foo{{bar}}zap"), slot(SlotHash::Crc16, "{bar"));
        let sip = SlotHash::SipHash(SipKey::new([7; 16]));
        assert_ne!(sip.id(), SlotHash::SipHash(SipKey::new([8; 16])).id());
        assert!(!format!("{sip:?} {sip}").contains("7, 7"));
        let golden = |hash| [slot(hash, &42_i64), slot(hash, "Zürich"), slot(hash, &uuid())];
        assert_eq!(golden(SlotHash::Xxh3), [8300, 10405, 2510]);
        assert_eq!(golden(sip), [1752, 236, 3447]);
    }
}
