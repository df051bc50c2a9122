use super::pg::{COMBINE, SEED};
use crate::key::KeyType;
use crate::slot::SLOTS;

/// A column of a table, for [`slot_sql`].
#[derive(Clone, Copy, Debug)]
pub struct Column<'a> {
    /// Its name, without quotes.
    pub name: &'a str,
    /// What it is.
    pub key_type: KeyType,
}

/// The slot of a row as an immutable SQL expression, for a `CHECK`, a generated column, an
/// index or the row filter of a publication. It is what [`SlotHash::Postgres`] computes,
/// and for columns other than `bytea` the remainder of a table partitioned by hash into
/// 16,384 parts.
///
/// The columns must be `NOT NULL`: a `CHECK` accepts a NULL.
///
/// ```
/// use shard_router::{Column, KeyType, slot_sql};
///
/// let column = Column { name: "user_id", key_type: KeyType::Int };
/// assert_eq!(
///     slot_sql(&[column]),
///     "(((hashint8extended((\"user_id\")::bigint, 8816678312871386365) & 16383) + 10467) & 16383)",
/// );
/// ```
///
/// [`SlotHash::Postgres`]: crate::SlotHash::Postgres
pub fn slot_sql(columns: &[Column<'_>]) -> String {
    let last = u64::from(SLOTS - 1);
    match columns {
        [] => "0".into(),
        [one] => {
            format!("((({} & {last}) + {}) & {last})", hash_sql(one), COMBINE & last)
        }
        [first, rest @ ..] => {
            // bigint overflows where hash_combine64 wraps. Of its sum the lowest bits
            // depend on bits that are at most 7 higher, so each step keeps 7 fewer.
            let mut bits = 14 + 7 * rest.len();
            let mask = |bits: usize| (1_u64 << bits) - 1;
            let m = mask(bits);
            let mut row = format!("((({} & {m}) + {}) & {m})", hash_sql(first), COMBINE & m);
            for column in rest {
                bits -= 7;
                let m = mask(bits);
                row = format!(
                    "((({row} & {m}) # (({} & {m}) + {} + (({row} >> 7) & {m}))) & {m})",
                    hash_sql(column),
                    COMBINE & m,
                );
            }
            row
        }
    }
}

fn hash_sql(column: &Column<'_>) -> String {
    let name = quoted(column.name);
    match column.key_type {
        KeyType::Int => format!("hashint8extended(({name})::bigint, {SEED})"),
        // The bytes, whatever the column's collation.
        KeyType::Text => {
            format!("hashtextextended((({name})::text) COLLATE \"C\", {SEED})")
        }
        KeyType::Uuid => format!("uuid_hash_extended({name}, {SEED})"),
        KeyType::Bytes => {
            format!("hashtextextended((encode({name}, 'hex')) COLLATE \"C\", {SEED})")
        }
    }
}

/// An identifier as SQL reads it.
pub(crate) fn quoted(name: &str) -> String {
    format!("\"{}\"", name.replace('"', "\"\""))
}
