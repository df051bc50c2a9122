//! Keys, as the bytes that are hashed. Never `std::hash::Hash`, which may write
//! something else in the next version of a type's crate.

use std::error;
use std::fmt;
use std::str::FromStr;

/// What one column of a shard key is in PostgreSQL.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum KeyType {
    /// `smallint`, `integer` or `bigint`: equal numbers have equal slots.
    Int,
    /// `text` or `varchar`, in UTF-8 and with a deterministic collation.
    Text,
    /// `uuid`.
    Uuid,
    /// `bytea`.
    Bytes,
}

impl KeyType {
    /// The name in topologies: `bigint`, `text`, `uuid`, `bytea`.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Int => "bigint",
            Self::Text => "text",
            Self::Uuid => "uuid",
            Self::Bytes => "bytea",
        }
    }
}

impl fmt::Display for KeyType {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

/// A column's type that a key cannot have.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct UnknownKeyType(String);

impl fmt::Display for UnknownKeyType {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "`{}` is no type of a shard key; write bigint, text, uuid or bytea", self.0)?;
        match self.0.as_str() {
            "char" | "bpchar" | "character" | "citext" => {
                f.write_str(" (char(n) and citext hash what they compare, not what is stored)")
            }
            _ => Ok(()),
        }
    }
}

impl error::Error for UnknownKeyType {}

impl FromStr for KeyType {
    type Err = UnknownKeyType;

    fn from_str(text: &str) -> Result<Self, UnknownKeyType> {
        match text {
            "bigint" | "integer" | "smallint" | "int8" | "int4" | "int2" | "int" => {
                Ok(Self::Int)
            }
            "text" | "varchar" | "character varying" => Ok(Self::Text),
            "uuid" => Ok(Self::Uuid),
            "bytea" => Ok(Self::Bytes),
            other => Err(UnknownKeyType(other.into())),
        }
    }
}

/// One column of a key.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
#[non_exhaustive]
pub enum KeyPart<'a> {
    /// Of a [`KeyType::Int`].
    Int(i64),
    /// Of a [`KeyType::Text`]. Every text is a key, also the empty one.
    Text(&'a str),
    /// Of a [`KeyType::Uuid`].
    Uuid([u8; 16]),
    /// Of a [`KeyType::Bytes`].
    Bytes(&'a [u8]),
}

impl KeyPart<'_> {
    /// The type that this is a value of.
    pub const fn key_type(&self) -> KeyType {
        match self {
            Self::Int(_) => KeyType::Int,
            Self::Text(_) => KeyType::Text,
            Self::Uuid(_) => KeyType::Uuid,
            Self::Bytes(_) => KeyType::Bytes,
        }
    }

    /// Bytes that no other part has, and no other sequence of parts.
    #[cfg(any(test, feature = "crc16", feature = "siphash", feature = "xxh3"))]
    pub(crate) fn write(&self, mut out: impl FnMut(&[u8])) {
        match self {
            Self::Int(value) => {
                out(&[1]);
                out(&value.to_le_bytes());
            }
            Self::Text(text) => {
                out(&[2]);
                out(&(text.len() as u64).to_le_bytes());
                out(text.as_bytes());
            }
            Self::Uuid(uuid) => {
                out(&[3]);
                out(uuid);
            }
            Self::Bytes(raw) => {
                out(&[4]);
                out(&(raw.len() as u64).to_le_bytes());
                out(raw);
            }
        }
    }
}

impl fmt::Display for KeyPart<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Int(value) => write!(f, "{value}"),
            Self::Text(text) => f.write_str(text),
            Self::Uuid(uuid) => fmt::Display::fmt(&UuidBytes(*uuid), f),
            Self::Bytes(raw) => {
                f.write_str("\\x")?;
                raw.iter().try_for_each(|byte| write!(f, "{byte:02x}"))
            }
        }
    }
}

/// What rows are placed by: integers, texts, UUIDs, bytes, or a tuple of two to four
/// of them for a key of several columns.
///
/// There is none for `Option`: a row without a key has no place. Nor for `u64`, which
/// `bigint` cannot hold.
///
/// ```
/// use shard_router::SlotMap;
///
/// let map = SlotMap::even(["a", "b", "c"])?;
/// assert_eq!(map.slot(&42_i64), map.slot(&42_i32));
/// assert_ne!(map.slot("42"), map.slot(&42_i64));
/// let order = ("acme", 42_i64);
/// println!("{} is on {}", map.slot(&order), map.shard_of(&order));
/// # Ok::<_, shard_router::MapError>(())
/// ```
pub trait ShardKey {
    /// Calls `with` once, with the columns in their order.
    fn parts<R>(&self, with: impl FnOnce(&[KeyPart<'_>]) -> R) -> R;
}

macro_rules! ints {
    ($($int:ty)*) => {$(
        impl ShardKey for $int {
            #[inline]
            fn parts<R>(&self, with: impl FnOnce(&[KeyPart<'_>]) -> R) -> R {
                with(&[KeyPart::Int(i64::from(*self))])
            }
        }
    )*};
}

ints!(i8 i16 i32 i64 u8 u16 u32);

impl ShardKey for str {
    #[inline]
    fn parts<R>(&self, with: impl FnOnce(&[KeyPart<'_>]) -> R) -> R {
        with(&[KeyPart::Text(self)])
    }
}

impl ShardKey for String {
    #[inline]
    fn parts<R>(&self, with: impl FnOnce(&[KeyPart<'_>]) -> R) -> R {
        self.as_str().parts(with)
    }
}

impl ShardKey for [u8] {
    #[inline]
    fn parts<R>(&self, with: impl FnOnce(&[KeyPart<'_>]) -> R) -> R {
        with(&[KeyPart::Bytes(self)])
    }
}

impl ShardKey for Vec<u8> {
    #[inline]
    fn parts<R>(&self, with: impl FnOnce(&[KeyPart<'_>]) -> R) -> R {
        self.as_slice().parts(with)
    }
}

impl ShardKey for UuidBytes {
    #[inline]
    fn parts<R>(&self, with: impl FnOnce(&[KeyPart<'_>]) -> R) -> R {
        with(&[KeyPart::Uuid(self.0)])
    }
}

#[cfg(feature = "uuid")]
impl ShardKey for uuid::Uuid {
    #[inline]
    fn parts<R>(&self, with: impl FnOnce(&[KeyPart<'_>]) -> R) -> R {
        with(&[KeyPart::Uuid(self.into_bytes())])
    }
}

impl ShardKey for KeyPart<'_> {
    #[inline]
    fn parts<R>(&self, with: impl FnOnce(&[KeyPart<'_>]) -> R) -> R {
        with(&[*self])
    }
}

impl<K: ShardKey + ?Sized> ShardKey for &K {
    #[inline]
    fn parts<R>(&self, with: impl FnOnce(&[KeyPart<'_>]) -> R) -> R {
        (**self).parts(with)
    }
}

/// A column of a key that has several.
pub trait ShardKeyColumn {
    /// Its value.
    fn part(&self) -> KeyPart<'_>;
}

macro_rules! columns {
    ($($type:ty, $self:ident => $part:expr;)*) => {$(
        impl ShardKeyColumn for $type {
            #[inline]
            fn part(&self) -> KeyPart<'_> {
                let $self = self;
                $part
            }
        }
    )*};
}

columns! {
    i8, n => KeyPart::Int(i64::from(*n));
    i16, n => KeyPart::Int(i64::from(*n));
    i32, n => KeyPart::Int(i64::from(*n));
    i64, n => KeyPart::Int(*n);
    u8, n => KeyPart::Int(i64::from(*n));
    u16, n => KeyPart::Int(i64::from(*n));
    u32, n => KeyPart::Int(i64::from(*n));
    str, text => KeyPart::Text(text);
    String, text => KeyPart::Text(text);
    [u8], raw => KeyPart::Bytes(raw);
    Vec<u8>, raw => KeyPart::Bytes(raw);
    UuidBytes, uuid => KeyPart::Uuid(uuid.0);
}

#[cfg(feature = "uuid")]
impl ShardKeyColumn for uuid::Uuid {
    #[inline]
    fn part(&self) -> KeyPart<'_> {
        KeyPart::Uuid(self.into_bytes())
    }
}

impl<C: ShardKeyColumn + ?Sized> ShardKeyColumn for &C {
    #[inline]
    fn part(&self) -> KeyPart<'_> {
        (**self).part()
    }
}

macro_rules! tuples {
    ($(($($column:ident)*))*) => {$(
        impl<$($column: ShardKeyColumn),*> ShardKey for ($($column,)*) {
            #[inline]
            #[allow(non_snake_case, reason = "one name for the type and its value")]
            fn parts<R>(&self, with: impl FnOnce(&[KeyPart<'_>]) -> R) -> R {
                let ($($column,)*) = self;
                with(&[$($column.part()),*])
            }
        }
    )*};
}

tuples!((A B) (A B C) (A B C D));

/// A UUID, for those who do not use the `uuid` crate.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct UuidBytes(pub [u8; 16]);

impl UuidBytes {
    /// 32 digits, with or without dashes.
    pub(crate) fn parse_hex(text: &str) -> Option<[u8; 16]> {
        let digits: String = text.chars().filter(|c| *c != '-').collect();
        unhex(&digits)?.try_into().ok()
    }
}

impl fmt::Display for UuidBytes {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (index, byte) in self.0.iter().enumerate() {
            let dash = if matches!(index, 4 | 6 | 8 | 10) { "-" } else { "" };
            write!(f, "{dash}{byte:02x}")?;
        }
        Ok(())
    }
}

/// A key that was written as text and is none.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ParseKeyError {
    wanted: KeyType,
    reason: &'static str,
}

impl fmt::Display for ParseKeyError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "not a {}: {}", self.wanted, self.reason)
    }
}

impl error::Error for ParseKeyError {}

impl FromStr for UuidBytes {
    type Err = ParseKeyError;

    fn from_str(text: &str) -> Result<Self, ParseKeyError> {
        Self::parse_hex(text).map(Self).ok_or(ParseKeyError {
            wanted: KeyType::Uuid,
            reason: "it has 32 hexadecimal digits, as in f81d4fae-7dec-11d0-a765-00a0c91e6bf6",
        })
    }
}

fn unhex(digits: &str) -> Option<Vec<u8>> {
    let hexadecimal = digits.bytes().all(|digit| digit.is_ascii_hexdigit());
    if !hexadecimal || !digits.len().is_multiple_of(2) {
        return None;
    }
    let pair = |at: usize| u8::from_str_radix(&digits[at..at + 2], 16).ok();
    (0..digits.len()).step_by(2).map(pair).collect()
}

/// A column's value of a type that is known only at run time.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
#[non_exhaustive]
pub enum KeyValue {
    /// See [`KeyPart::Int`].
    Int(i64),
    /// See [`KeyPart::Text`].
    Text(String),
    /// See [`KeyPart::Uuid`].
    Uuid([u8; 16]),
    /// See [`KeyPart::Bytes`].
    Bytes(Vec<u8>),
}

impl KeyValue {
    /// Reads a value as PostgreSQL writes it; bytes are `\x` and digits.
    ///
    /// # Errors
    ///
    /// A text that is no value of that type.
    pub fn parse(text: &str, wanted: KeyType) -> Result<Self, ParseKeyError> {
        let wrong = |reason| ParseKeyError { wanted, reason };
        match wanted {
            KeyType::Int => text.parse().map(Self::Int).map_err(|_| {
                wrong("a whole number from -9223372036854775808 to 9223372036854775807")
            }),
            KeyType::Text if text.contains('\0') => {
                Err(wrong("PostgreSQL has no text with NUL"))
            }
            KeyType::Text => Ok(Self::Text(text.into())),
            KeyType::Uuid => text.parse().map(|UuidBytes(raw)| Self::Uuid(raw)),
            KeyType::Bytes => text
                .strip_prefix("\\x")
                .and_then(unhex)
                .map(Self::Bytes)
                .ok_or_else(|| wrong("`\\x` and an even number of hexadecimal digits")),
        }
    }

    pub(crate) fn of(part: &KeyPart<'_>) -> Self {
        match part {
            KeyPart::Int(value) => Self::Int(*value),
            KeyPart::Text(text) => Self::Text((*text).into()),
            KeyPart::Uuid(uuid) => Self::Uuid(*uuid),
            KeyPart::Bytes(raw) => Self::Bytes((*raw).into()),
        }
    }
}

impl ShardKeyColumn for KeyValue {
    fn part(&self) -> KeyPart<'_> {
        match self {
            Self::Int(value) => KeyPart::Int(*value),
            Self::Text(text) => KeyPart::Text(text),
            Self::Uuid(uuid) => KeyPart::Uuid(*uuid),
            Self::Bytes(raw) => KeyPart::Bytes(raw),
        }
    }
}

impl ShardKey for KeyValue {
    fn parts<R>(&self, with: impl FnOnce(&[KeyPart<'_>]) -> R) -> R {
        with(&[self.part()])
    }
}

impl ShardKey for [KeyValue] {
    fn parts<R>(&self, with: impl FnOnce(&[KeyPart<'_>]) -> R) -> R {
        let parts: Vec<_> = self.iter().map(ShardKeyColumn::part).collect();
        with(&parts)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn written(key: &(impl ShardKey + ?Sized)) -> Vec<u8> {
        key.parts(|parts| {
            let mut bytes = Vec::new();
            parts.iter().for_each(|part| part.write(|more| bytes.extend_from_slice(more)));
            bytes
        })
    }

    #[test]
    fn the_bytes_of_a_key_never_change() {
        assert_eq!(written(&-2_i16), [1, 254, 255, 255, 255, 255, 255, 255, 255]);
        assert_eq!(written("ab"), [2, 2, 0, 0, 0, 0, 0, 0, 0, b'a', b'b']);
        assert_eq!(written(&[7_u8][..]), [4, 1, 0, 0, 0, 0, 0, 0, 0, 7]);
        let uuid = UuidBytes([9; 16]);
        assert_eq!(written(&uuid), [&[3][..], &[9; 16]].concat());
        assert_eq!(written(&(uuid, 1_i32)), [written(&uuid), written(&1_i32)].concat());
    }

    #[test]
    fn parts_do_not_run_into_each_other() {
        assert_ne!(written(&("ab", "c")), written(&("a", "bc")));
        assert_ne!(written(&("", "a")), written(&("a", "")));
    }

    #[test]
    fn a_text_that_is_no_key_says_what_would_be() {
        for (text, wanted, expected) in [
            ("1.5", KeyType::Int, "not a bigint: a whole number"),
            ("9223372036854775808", KeyType::Int, "not a bigint"),
            ("", KeyType::Int, "not a bigint"),
            ("f81d4fae", KeyType::Uuid, "32 hexadecimal digits"),
            ("zz1d4fae-7dec-11d0-a765-00a0c91e6bf6", KeyType::Uuid, "32 hexadecimal"),
            ("abc", KeyType::Bytes, "even number"),
            ("\\xabc", KeyType::Bytes, "even number"),
            ("\\x+1", KeyType::Bytes, "even number"),
            ("a\0b", KeyType::Text, "NUL"),
        ] {
            let error = KeyValue::parse(text, wanted).unwrap_err().to_string();
            assert!(error.contains(expected), "{text}: {error}");
        }
        assert_eq!(KeyValue::parse("", KeyType::Text), Ok(KeyValue::Text(String::new())));
        let error = "char".parse::<KeyType>().unwrap_err().to_string();
        assert!(error.contains("hash what they compare"), "{error}");
    }

    #[test]
    fn a_uuid_is_written_as_it_is_read() {
        let text = "f81d4fae-7dec-11d0-a765-00a0c91e6bf6";
        assert_eq!(text.parse::<UuidBytes>().unwrap().to_string(), text);
    }
}
