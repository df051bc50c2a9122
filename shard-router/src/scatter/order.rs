//! The order of rows from several shards, by the bytes that PostgreSQL sends.

use std::cmp::Ordering;
use std::error::Error as StdError;

use tokio_postgres::types::{FromSql, Kind as TypeKind, Type};
use tokio_postgres::{Column, Row};

use crate::error::Error;
use crate::hash::quoted;

/// A column to order by, made by [`asc`] and [`desc`].
#[derive(Clone, Debug)]
#[must_use]
pub struct OrderBy {
    column: String,
    descending: bool,
    nulls_first: bool,
    collate_c: bool,
}

/// Rising, NULLs last, as PostgreSQL has it.
pub fn asc(column: impl Into<String>) -> OrderBy {
    let column = column.into();
    OrderBy { column, descending: false, nulls_first: false, collate_c: false }
}

/// Falling, NULLs first, as PostgreSQL has it.
pub fn desc(column: impl Into<String>) -> OrderBy {
    let column = column.into();
    OrderBy { column, descending: true, nulls_first: true, collate_c: false }
}

impl OrderBy {
    /// NULLs before all values.
    pub const fn nulls_first(mut self) -> Self {
        self.nulls_first = true;
        self
    }

    /// NULLs after all values.
    pub const fn nulls_last(mut self) -> Self {
        self.nulls_first = false;
        self
    }

    /// Texts by their bytes, the only order of texts that is the same on every server. Without
    /// it, a column of text is refused.
    pub const fn collate_c(mut self) -> Self {
        self.collate_c = true;
        self
    }

    pub(super) fn sql(&self) -> String {
        let collate = if self.collate_c { " COLLATE \"C\"" } else { "" };
        let direction = if self.descending { "DESC" } else { "ASC" };
        let nulls = if self.nulls_first { "FIRST" } else { "LAST" };
        format!("q.{}{collate} {direction} NULLS {nulls}", quoted(&self.column))
    }
}

/// How the values of one column are compared.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Kind {
    /// Whole numbers with a sign, of 2, 4 or 8 bytes; times.
    Signed,
    Float4,
    Float8,
    /// By bytes: texts, bytes, UUIDs, what is true or false.
    Bytes,
}

/// The order of rows with certain columns.
#[derive(Clone, Debug)]
pub(super) struct Order {
    keys: Vec<Key>,
}

#[derive(Clone, Copy, Debug)]
struct Key {
    index: usize,
    kind: Kind,
    descending: bool,
    nulls_first: bool,
}

impl Order {
    pub(super) fn new(by: &[OrderBy], columns: &[Column]) -> Result<Self, Error> {
        let keys = by.iter().map(|by| {
            let refused = |reason: String| Error::Order { column: by.column.clone(), reason };
            let mut found =
                columns.iter().enumerate().filter(|(_, column)| column.name() == by.column);
            let (index, column) = match (found.next(), found.next()) {
                (Some(one), None) => one,
                (None, _) => {
                    return Err(refused("it is no column of the answer; select it".into()));
                }
                (Some(_), Some(_)) => {
                    return Err(refused("two columns have that name; give one another".into()));
                }
            };
            let kind = kind(column.type_(), by.collate_c).map_err(refused)?;
            let (descending, nulls_first) = (by.descending, by.nulls_first);
            Ok(Key { index, kind, descending, nulls_first })
        });
        Ok(Self { keys: keys.collect::<Result<_, _>>()? })
    }

    pub(super) fn compare(&self, a: &Row, b: &Row) -> Ordering {
        for key in &self.keys {
            let order = key.compare(raw(a, key.index), raw(b, key.index));
            if order != Ordering::Equal {
                return order;
            }
        }
        Ordering::Equal
    }
}

impl Key {
    fn compare(&self, a: Option<&[u8]>, b: Option<&[u8]>) -> Ordering {
        let (a, b) = match (a, b) {
            (Some(a), Some(b)) => (a, b),
            (None, None) => return Ordering::Equal,
            (a, _) => {
                let null_is_first = a.is_none() == self.nulls_first;
                return if null_is_first { Ordering::Less } else { Ordering::Greater };
            }
        };
        let order = match self.kind {
            Kind::Bytes => a.cmp(b),
            Kind::Signed => signed(a).cmp(&signed(b)),
            Kind::Float4 => floats(f64::from(float4(a)), f64::from(float4(b))),
            Kind::Float8 => floats(float8(a), float8(b)),
        };
        if self.descending { order.reverse() } else { order }
    }
}

fn kind(of: &Type, collate_c: bool) -> Result<Kind, String> {
    if let TypeKind::Domain(inner) = of.kind() {
        return kind(inner, collate_c);
    }
    match *of {
        Type::INT2 | Type::INT4 | Type::INT8 => Ok(Kind::Signed),
        Type::TIMESTAMP | Type::TIMESTAMPTZ | Type::DATE | Type::TIME => Ok(Kind::Signed),
        Type::FLOAT4 => Ok(Kind::Float4),
        Type::FLOAT8 => Ok(Kind::Float8),
        Type::BOOL | Type::UUID | Type::BYTEA | Type::OID => Ok(Kind::Bytes),
        Type::TEXT | Type::VARCHAR if collate_c || cfg!(broken = "any_collation") => {
            Ok(Kind::Bytes)
        }
        Type::TEXT | Type::VARCHAR => {
            Err("it is a text, whose order depends on the collation of each server; write \
             `.collate_c()` to order by bytes"
                .into())
        }
        Type::NUMERIC => {
            Err("numeric is not merged; cast it to bigint or double precision".into())
        }
        _ => Err(format!(
            "{of} is not merged; cast it to a number, a time, text with `.collate_c()`, uuid or \
             bytea"
        )),
    }
}

fn signed(bytes: &[u8]) -> i64 {
    match *bytes {
        [a, b] => i16::from_be_bytes([a, b]).into(),
        [a, b, c, d] => i32::from_be_bytes([a, b, c, d]).into(),
        _ => bytes.try_into().map_or(0, i64::from_be_bytes),
    }
}

fn float4(bytes: &[u8]) -> f32 {
    bytes.try_into().map_or(0.0, f32::from_be_bytes)
}

fn float8(bytes: &[u8]) -> f64 {
    bytes.try_into().map_or(0.0, f64::from_be_bytes)
}

/// As PostgreSQL has it: NaN is equal to itself, and above all others; both zeros are equal.
fn floats(a: f64, b: f64) -> Ordering {
    match (a.is_nan(), b.is_nan()) {
        (false, false) => a.partial_cmp(&b).unwrap_or(Ordering::Equal),
        (a, b) => a.cmp(&b),
    }
}

/// A value as it was sent.
struct Raw<'a>(&'a [u8]);

impl<'a> FromSql<'a> for Raw<'a> {
    fn from_sql(_: &Type, raw: &'a [u8]) -> Result<Self, Box<dyn StdError + Sync + Send>> {
        Ok(Self(raw))
    }

    fn accepts(_: &Type) -> bool {
        true
    }
}

fn raw(row: &Row, index: usize) -> Option<&[u8]> {
    row.try_get::<_, Option<Raw<'_>>>(index).ok().flatten().map(|Raw(bytes)| bytes)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn key(kind: Kind, descending: bool, nulls_first: bool) -> Key {
        Key { index: 0, kind, descending, nulls_first }
    }

    #[test]
    fn nulls_are_where_they_were_asked_for() {
        let five = 5_i64.to_be_bytes();
        for descending in [false, true] {
            let first = key(Kind::Signed, descending, true);
            assert_eq!(first.compare(None, Some(&five)), Ordering::Less);
            assert_eq!(first.compare(Some(&five), None), Ordering::Greater);
            let last = key(Kind::Signed, descending, false);
            assert_eq!(last.compare(None, Some(&five)), Ordering::Greater);
            assert_eq!(last.compare(Some(&five), None), Ordering::Less);
            assert_eq!(last.compare(None, None), Ordering::Equal);
        }
    }

    #[test]
    fn numbers_are_ordered_as_postgresql_does() {
        let up = |kind| key(kind, false, false);
        let compare = |a: i32, b: i32| {
            up(Kind::Signed).compare(Some(&a.to_be_bytes()), Some(&b.to_be_bytes()))
        };
        assert_eq!(compare(-1, 0), Ordering::Less);
        assert_eq!(compare(i32::MIN, i32::MAX), Ordering::Less);
        let rising = [f64::NEG_INFINITY, -1.0, 0.0, 1e-300, 7.5, f64::INFINITY, f64::NAN];
        for (at, a) in rising.iter().enumerate() {
            for (other, b) in rising.iter().enumerate() {
                let (a, b) = (a.to_be_bytes(), b.to_be_bytes());
                let found = up(Kind::Float8).compare(Some(&a), Some(&b));
                assert_eq!(found, at.cmp(&other));
            }
        }
        let zeros = (0.0_f32.to_be_bytes(), (-0.0_f32).to_be_bytes());
        assert_eq!(up(Kind::Float4).compare(Some(&zeros.0), Some(&zeros.1)), Ordering::Equal);
    }

    #[test]
    fn what_cannot_be_merged_is_refused_with_a_way_out() {
        for (of, hint) in [
            (Type::TEXT, "collate_c"),
            (Type::NUMERIC, "cast"),
            (Type::BPCHAR, "cast"),
            (Type::JSONB, "cast"),
            (Type::INTERVAL, "cast"),
        ] {
            assert!(kind(&of, false).unwrap_err().contains(hint), "{of}");
        }
        assert_eq!(kind(&Type::TEXT, true), Ok(Kind::Bytes));
    }

    #[test]
    fn the_order_is_spelled_out_in_sql() {
        assert_eq!(asc("a\"b").sql(), "q.\"a\"\"b\" ASC NULLS LAST");
        let name = desc("name").collate_c().nulls_last().sql();
        assert_eq!(name, "q.\"name\" COLLATE \"C\" DESC NULLS LAST");
    }
}
