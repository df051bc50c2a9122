//! PostgreSQL's own hash of hash-partitioned tables, so that the database can
//! compute the slot of a row, too: Bob Jenkins's lookup3 with a 64-bit result, as
//! `src/common/hashfn.c` has it, and `compute_partition_hash_value` of
//! `src/backend/partitioning/partbounds.c`.

use crate::key::KeyPart;

/// `HASH_PARTITION_SEED`.
pub(crate) const SEED: u64 = 0x7A5B_2236_7996_DCFD;
/// What `hash_combine64` adds.
pub(crate) const COMBINE: u64 = 0x49A0_F4DD_15E5_A8E3;

const INT: [u32; 3] = start(4);
const UUID: [u32; 3] = start(16);

/// `compute_partition_hash_value` of these columns.
#[inline(always)]
pub(crate) fn row_hash(parts: &[KeyPart<'_>]) -> u64 {
    match parts {
        // Most keys; without a loop, so that nothing of it is left for an integer.
        [KeyPart::Int(value)] => combine(0, int(*value)),
        [KeyPart::Text(text)] => combine(0, text_hash(text.as_bytes())),
        parts => several(parts),
    }
}

fn several(parts: &[KeyPart<'_>]) -> u64 {
    parts.iter().fold(0, |row, part| combine(row, part_hash(*part)))
}

#[inline]
const fn combine(row: u64, column: u64) -> u64 {
    let more = column.wrapping_add(COMBINE).wrapping_add(row << 54).wrapping_add(row >> 7);
    row ^ more
}

#[inline]
fn part_hash(part: KeyPart<'_>) -> u64 {
    match part {
        KeyPart::Int(value) => int(value),
        KeyPart::Text(text) => text_hash(text.as_bytes()),
        KeyPart::Uuid(uuid) => bytes(UUID, &uuid),
        KeyPart::Bytes(raw) => hex(raw),
    }
}

/// `hashint8extended`; of 2 and 4 bytes it is the same by value.
#[inline]
const fn int(value: i64) -> u64 {
    let high = (value >> 32) as u32;
    let half = value as u32 ^ if value >= 0 { high } else { !high };
    let [a, b, c] = INT;
    finish([a.wrapping_add(half), b, c])
}

/// `hashtextextended(encode(raw, 'hex'), seed)`, since `bytea` has no hash that SQL
/// can call in every version.
fn hex(raw: &[u8]) -> u64 {
    const DIGITS: &[u8; 16] = b"0123456789abcdef";
    let mut state = started(raw.len() * 2);
    let mut chunks = raw.chunks_exact(6);
    let digits = |raw: &[u8], out: &mut [u8; 12]| {
        for (byte, pair) in raw.iter().zip(out.chunks_exact_mut(2)) {
            pair[0] = DIGITS[usize::from(byte >> 4)];
            pair[1] = DIGITS[usize::from(byte & 15)];
        }
    };
    let mut text = [0; 12];
    for chunk in &mut chunks {
        digits(chunk, &mut text);
        state = mix(add(state, &text));
    }
    let rest = chunks.remainder();
    digits(rest, &mut text);
    finish(tail(state, &text[..rest.len() * 2]))
}

/// `hashtextextended`, whatever the collation, if that is deterministic.
#[inline]
fn text_hash(text: &[u8]) -> u64 {
    bytes(started(text.len()), text)
}

/// `hash_bytes_extended` from its second step on. In line, so that the state stays in
/// registers.
#[inline(always)]
fn bytes(mut state: [u32; 3], mut text: &[u8]) -> u64 {
    while let Some((chunk, rest)) = text.split_first_chunk::<12>() {
        state = mix(add(state, chunk));
        text = rest;
    }
    finish(tail(state, text))
}

/// The state before the first byte. It depends on the length only; most texts are short.
#[inline]
fn started(len: usize) -> [u32; 3] {
    const SHORT: [[u32; 3]; 65] = {
        let mut states = [[0; 3]; 65];
        let mut len = 0;
        while len < states.len() {
            states[len] = start(len);
            len += 1;
        }
        states
    };
    match SHORT.get(len) {
        Some(state) => *state,
        None => start(len),
    }
}

#[inline]
const fn start(len: usize) -> [u32; 3] {
    let base = 0x9E37_79B9_u32.wrapping_add(len as u32).wrapping_add(3_923_095);
    let (high, low) = ((SEED >> 32) as u32, SEED as u32);
    mix([base.wrapping_add(high), base.wrapping_add(low), base])
}

#[inline]
fn add([a, b, c]: [u32; 3], chunk: &[u8; 12]) -> [u32; 3] {
    let [a0, a1, a2, a3, b0, b1, b2, b3, c0, c1, c2, c3] = *chunk;
    [
        a.wrapping_add(u32::from_le_bytes([a0, a1, a2, a3])),
        b.wrapping_add(u32::from_le_bytes([b0, b1, b2, b3])),
        c.wrapping_add(u32::from_le_bytes([c0, c1, c2, c3])),
    ]
}

/// The last bytes, fewer than 12. The lowest byte of `c` is kept for the length. Read as
/// words that overlap, of which what was read before is shifted out.
#[inline]
fn tail([a, b, c]: [u32; 3], rest: &[u8]) -> [u32; 3] {
    let last_word = || u64::from(rest.last_chunk().map_or(0, |word| u32::from_le_bytes(*word)));
    let missing = |of: usize| 8 * (of - rest.len());
    let words = match (rest.first_chunk::<8>(), rest.first_chunk::<4>(), rest) {
        (Some(first), ..) => {
            let [low, high] = halves(u64::from_le_bytes(*first));
            [low, high, ((last_word() >> missing(12)) as u32) << 8]
        }
        (None, Some(first), _) => {
            [u32::from_le_bytes(*first), (last_word() >> missing(8)) as u32, 0]
        }
        (None, None, [first, .., last]) => {
            let at = rest.len() / 2;
            let middle = u32::from(rest[at]) << (8 * at);
            [u32::from(*first) | middle | u32::from(*last) << (8 * (rest.len() - 1)), 0, 0]
        }
        (None, None, [only]) => [u32::from(*only), 0, 0],
        (None, None, []) => [0; 3],
    };
    [a.wrapping_add(words[0]), b.wrapping_add(words[1]), c.wrapping_add(words[2])]
}

#[inline]
const fn halves(word: u64) -> [u32; 2] {
    [word as u32, (word >> 32) as u32]
}

#[inline]
const fn mix([mut a, mut b, mut c]: [u32; 3]) -> [u32; 3] {
    a = a.wrapping_sub(c) ^ c.rotate_left(4);
    c = c.wrapping_add(b);
    b = b.wrapping_sub(a) ^ a.rotate_left(6);
    a = a.wrapping_add(c);
    c = c.wrapping_sub(b) ^ b.rotate_left(8);
    b = b.wrapping_add(a);
    a = a.wrapping_sub(c) ^ c.rotate_left(16);
    c = c.wrapping_add(b);
    b = b.wrapping_sub(a) ^ a.rotate_left(19);
    a = a.wrapping_add(c);
    c = c.wrapping_sub(b) ^ b.rotate_left(4);
    b = b.wrapping_add(a);
    [a, b, c]
}

#[inline]
const fn finish([mut a, mut b, mut c]: [u32; 3]) -> u64 {
    c = (c ^ b).wrapping_sub(b.rotate_left(14));
    a = (a ^ c).wrapping_sub(c.rotate_left(11));
    b = (b ^ a).wrapping_sub(a.rotate_left(25));
    c = (c ^ b).wrapping_sub(b.rotate_left(16));
    a = (a ^ c).wrapping_sub(c.rotate_left(4));
    b = (b ^ a).wrapping_sub(a.rotate_left(14));
    c = (c ^ b).wrapping_sub(b.rotate_left(24));
    ((b as u64) << 32) | c as u64
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The last bytes one by one, as the original adds them.
    fn slowly(text: &[u8]) -> u64 {
        let (chunks, rest) = text.as_chunks::<12>();
        let [mut a, mut b, mut c] =
            chunks.iter().fold(start(text.len()), |state, chunk| mix(add(state, chunk)));
        for (at, byte) in rest.iter().map(|byte| u32::from(*byte)).enumerate() {
            match at {
                0..4 => a = a.wrapping_add(byte << (8 * at)),
                4..8 => b = b.wrapping_add(byte << (8 * (at - 4))),
                _ => c = c.wrapping_add(byte << (8 * (at - 7))),
            }
        }
        finish([a, b, c])
    }

    #[test]
    fn texts_of_every_length_are_hashed_as_byte_by_byte() {
        let text: Vec<u8> = (0..200_u8).map(|n| n.wrapping_mul(167) ^ 0xA5).collect();
        for len in 0..text.len() {
            assert_eq!(text_hash(&text[..len]), slowly(&text[..len]), "{len}");
        }
    }
}
