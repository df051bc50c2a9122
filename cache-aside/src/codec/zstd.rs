use super::Codec;
use crate::error::BoxError;

const PLAIN: u8 = 0;
const PACKED: u8 = 1;

/// Compresses what another codec has written, from a size on.
#[derive(Clone, Copy, Debug)]
pub struct Zstd<C> {
    inner: C,
    threshold: usize,
    level: i32,
    largest: usize,
}

impl<C> Zstd<C> {
    /// Compresses values of 1 KiB and more at level 1, and refuses to unpack one
    /// to more than 64 MiB.
    pub fn new(inner: C) -> Self {
        Self { inner, threshold: 1 << 10, level: 1, largest: 64 << 20 }
    }

    /// Compresses from `bytes` on.
    #[must_use]
    pub fn threshold(mut self, bytes: usize) -> Self {
        self.threshold = bytes;
        self
    }

    /// The level of zstd, 1 to 22; outside that range the nearest is taken.
    #[must_use]
    pub fn level(mut self, level: i32) -> Self {
        self.level = level.clamp(1, 22);
        self
    }

    /// Unpacks to at most `bytes`, whatever the compressed data claims.
    #[must_use]
    pub fn largest(mut self, bytes: usize) -> Self {
        self.largest = bytes;
        self
    }
}

impl<V, C: Codec<V>> Codec<V> for Zstd<C> {
    fn id(&self) -> u8 {
        self.inner.id() | 0x80
    }

    fn encode(&self, value: &V, bytes: &mut Vec<u8>) -> Result<(), BoxError> {
        let start = bytes.len();
        bytes.push(PLAIN);
        self.inner.encode(value, bytes)?;
        let plain = &bytes[start + 1..];
        if plain.len() >= self.threshold {
            let packed = zstd::bulk::compress(plain, self.level)?;
            if packed.len() < plain.len() {
                bytes.truncate(start);
                bytes.push(PACKED);
                bytes.extend(packed);
            }
        }
        Ok(())
    }

    fn decode(&self, bytes: &[u8]) -> Result<V, BoxError> {
        match bytes {
            [PLAIN, plain @ ..] => self.inner.decode(plain),
            [PACKED, packed @ ..] => {
                let size = zstd::zstd_safe::get_frame_content_size(packed);
                let size = size.map_err(|_| "not a zstd frame")?.ok_or("a frame of no size")?;
                let size = usize::try_from(size).unwrap_or(usize::MAX);
                if size > self.largest {
                    return Err(format!("{size} bytes, of {} at most", self.largest).into());
                }
                self.inner.decode(&zstd::bulk::decompress(packed, size)?)
            }
            _ => Err("neither plain nor packed".into()),
        }
    }
}

#[cfg(all(test, feature = "json"))]
mod tests {
    use super::*;
    use crate::codec::Json;

    fn encoded(codec: &Zstd<Json>, value: &String) -> Vec<u8> {
        let mut bytes = Vec::new();
        codec.encode(value, &mut bytes).expect("a string is JSON");
        bytes
    }

    #[test]
    fn large_values_shrink_and_all_come_back() {
        let codec = Zstd::new(Json).threshold(100);
        for (text, small) in [("a".repeat(10), false), ("a".repeat(10_000), true)] {
            let bytes = encoded(&codec, &text);
            assert_eq!(bytes.len() < text.len(), small);
            assert_eq!(codec.decode(&bytes).ok(), Some(text));
        }
    }

    #[test]
    fn it_unpacks_no_bomb_and_no_garbage() {
        let codec = Zstd::new(Json).threshold(100).largest(1_000);
        let bomb = encoded(&codec, &"a".repeat(10_000));
        for bytes in [&bomb[..], &bomb[..bomb.len() / 2], &[], &[PACKED], &[7, 7]] {
            let decoded: Result<String, _> = codec.decode(bytes);
            assert!(decoded.is_err());
        }
    }
}
