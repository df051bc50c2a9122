/// The slot of a key in a cluster, 0 to 16383: CRC-16/XMODEM of its hash tag,
/// or of all of it, modulo 16384. As in the Redis Cluster specification, "Hash tags".
///
/// ```
/// use testbed::redis::slot;
///
/// assert_eq!(slot("foo"), 12182);
/// assert_eq!(slot("{foo}:anything"), slot("foo"));
/// ```
pub fn slot(key: impl AsRef<[u8]>) -> u16 {
    let key = key.as_ref();
    crc16(tag(key).unwrap_or(key)) % 16384
}

/// What is between the first `{` and the next `}`, unless that is nothing.
fn tag(key: &[u8]) -> Option<&[u8]> {
    let start = key.iter().position(|byte| *byte == b'{')? + 1;
    let length = key[start..].iter().position(|byte| *byte == b'}')?;
    (length > 0).then(|| &key[start..start + length])
}

fn crc16(bytes: &[u8]) -> u16 {
    bytes.iter().fold(0, |mut crc, byte| {
        crc ^= u16::from(*byte) << 8;
        for _ in 0..8 {
            crc = if crc & 0x8000 == 0 { crc << 1 } else { crc << 1 ^ 0x1021 };
        }
        crc
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_checksum_is_the_specifications() {
        assert_eq!(crc16(b"123456789"), 0x31c3);
    }

    #[test]
    fn only_the_first_tag_counts_and_an_empty_one_does_not() {
        assert_eq!(slot("{user1000}.following"), slot("user1000"));
        assert_eq!(slot("foo{{bar}}zap"), slot("{bar"));
        assert_eq!(slot("foo{bar}{zap}"), slot("bar"));
        for whole in ["foo{}{bar}", "foo{bar", "foo}bar{"] {
            assert_eq!(slot(whole), crc16(whole.as_bytes()) % 16384);
        }
    }
}
