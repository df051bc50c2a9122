use std::hash::Hash;
use std::sync::Arc;

/// A key whose bytes are stable and tell any two keys apart.
///
/// Its bytes name the key in [`explain`](crate::CacheAside::explain), and will in
/// tiers that are shared between processes.
///
/// Integers of a fixed size, `bool`, `char`, strings, byte strings, fixed arrays
/// of bytes (16-byte ids: `uuid.into_bytes()`), options and tuples of these have
/// it. For a type of your own it is three lines:
///
/// ```
/// use cache_aside::{CacheKey, KeyEncoder};
///
/// #[derive(Clone, PartialEq, Eq, Hash)]
/// struct InvoiceKey { tenant: String, year: u16, number: u64 }
///
/// impl CacheKey for InvoiceKey {
///     fn encode(&self, key: &mut KeyEncoder) {
///         key.str(&self.tenant).part(&self.year).u64(self.number);
///     }
/// }
/// # assert_ne!(
/// #     KeyEncoder::bytes_of(&InvoiceKey { tenant: "a\0".into(), year: 1, number: 1 }),
/// #     KeyEncoder::bytes_of(&InvoiceKey { tenant: "a".into(), year: 1, number: 1 }),
/// # );
/// ```
///
/// Write every field that `Eq` compares, always in the same order, and for an
/// enum a number per variant first: then two keys are equal exactly when their
/// bytes are. `std::hash::Hash` cannot serve for this, since it changes with
/// the compiler and may collide, and `Debug` output is not injective.
pub trait CacheKey: Clone + Eq + Hash + Send + Sync + 'static {
    /// Appends this key's bytes.
    fn encode(&self, key: &mut KeyEncoder);
}

/// Takes the parts of a key. Each part's bytes show where they end, so a row of
/// parts can be read in one way only.
#[derive(Debug, Default)]
pub struct KeyEncoder {
    bytes: Vec<u8>,
}

impl KeyEncoder {
    /// The bytes of a whole key.
    pub fn bytes_of<K: CacheKey>(key: &K) -> Vec<u8> {
        let mut encoder = Self::default();
        key.encode(&mut encoder);
        encoder.bytes
    }

    /// Appends another key as a part.
    pub fn part<K: CacheKey>(&mut self, part: &K) -> &mut Self {
        part.encode(self);
        self
    }

    /// Appends a number: 8 bytes, big-endian.
    pub fn u64(&mut self, n: u64) -> &mut Self {
        self.fixed(&n.to_be_bytes())
    }

    /// Appends a string, in UTF-8.
    pub fn str(&mut self, s: &str) -> &mut Self {
        self.bytes(s.as_bytes())
    }

    /// Appends bytes of any value and length: a zero byte is written as
    /// `00 FF`, the end as `00 00`.
    pub fn bytes(&mut self, bytes: &[u8]) -> &mut Self {
        for (n, run) in bytes.split(|b| *b == 0).enumerate() {
            if n > 0 {
                self.bytes.extend([0, 0xFF]);
            }
            self.bytes.extend(run);
        }
        self.fixed(&[0, 0])
    }

    /// Only for parts whose type fixes their length.
    fn fixed(&mut self, bytes: &[u8]) -> &mut Self {
        self.bytes.extend(bytes);
        self
    }
}

macro_rules! integers {
    ($($int:ty)*) => {$(
        impl CacheKey for $int {
            fn encode(&self, key: &mut KeyEncoder) {
                key.fixed(&self.to_be_bytes());
            }
        }
    )*};
}
integers!(u8 u16 u32 u64 u128 i8 i16 i32 i64 i128);

macro_rules! strings {
    ($write:ident: $($string:ty)*) => {$(
        impl CacheKey for $string {
            fn encode(&self, key: &mut KeyEncoder) {
                key.$write(self);
            }
        }
    )*};
}
strings!(str: String Box<str> Arc<str> &'static str);
strings!(bytes: Vec<u8> Box<[u8]> Arc<[u8]>);

impl CacheKey for bool {
    fn encode(&self, key: &mut KeyEncoder) {
        key.fixed(&[u8::from(*self)]);
    }
}

impl CacheKey for char {
    fn encode(&self, key: &mut KeyEncoder) {
        key.part(&u32::from(*self));
    }
}

impl<const N: usize> CacheKey for [u8; N] {
    fn encode(&self, key: &mut KeyEncoder) {
        key.fixed(self);
    }
}

impl<K: CacheKey> CacheKey for Option<K> {
    fn encode(&self, key: &mut KeyEncoder) {
        key.part(&self.is_some());
        if let Some(part) = self {
            key.part(part);
        }
    }
}

macro_rules! tuples {
    ($($($part:ident)+;)*) => {$(
        impl<$($part: CacheKey),+> CacheKey for ($($part,)+) {
            #[allow(non_snake_case)] // the type's name serves as the variable's
            fn encode(&self, key: &mut KeyEncoder) {
                let ($($part,)+) = self;
                $(key.part($part);)+
            }
        }
    )*};
}
tuples! {
    A;
    A B;
    A B C;
    A B C D;
    A B C D E;
    A B C D E F;
}

#[cfg(test)]
mod tests {
    use proptest::collection::vec;
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn bytes_are_stable() {
        assert_eq!(KeyEncoder::bytes_of(&258_u32), [0, 0, 1, 2]);
        assert_eq!(KeyEncoder::bytes_of(&"ab"), *b"ab\0\0");
        assert_eq!(KeyEncoder::bytes_of(&vec![0_u8, 7]), [0, 0xFF, 7, 0, 0]);
        assert_eq!(KeyEncoder::bytes_of(&(Some(true), 'x')), [1, 1, 0, 0, 0, b'x']);
        assert_eq!(KeyEncoder::bytes_of(&[9_u8; 16]), [9; 16]);
    }

    /// Zeros and `FF`s are where an escape goes wrong, so they come often.
    fn tricky() -> impl Strategy<Value = Vec<u8>> {
        vec(prop_oneof![Just(0_u8), Just(0xFF), any::<u8>()], 0..6)
    }

    proptest! {
        #[test]
        fn bytes_differ_when_keys_do(
            a in (tricky(), tricky(), any::<Option<u8>>()),
            b in (tricky(), tricky(), any::<Option<u8>>()),
        ) {
            let equal = KeyEncoder::bytes_of(&a) == KeyEncoder::bytes_of(&b);
            prop_assert_eq!(equal, a == b);
        }

        #[test]
        fn no_key_is_the_start_of_another(a in tricky(), b in tricky()) {
            let (x, y) = (KeyEncoder::bytes_of(&a), KeyEncoder::bytes_of(&b));
            prop_assert!(a == b || !y.starts_with(&x));
        }
    }
}
