//! Whether the columns of keys hash to what the router computes.

use tokio_postgres::Client;

use crate::error::Refusal;
use crate::key::KeyType;
use crate::source::SourceError;
use crate::topology::Table;

const COLUMN: &str = "SELECT b.typname::text, a.attnotnull, coalesce(c.collisdeterministic, true), \
    CASE WHEN a.atttypmod < 0 THEN t.typtypmod ELSE a.atttypmod END \
    FROM pg_attribute a JOIN pg_type t ON t.oid = a.atttypid \
    JOIN pg_type b ON b.oid = CASE t.typtype WHEN 'd' THEN t.typbasetype ELSE t.oid END \
    LEFT JOIN pg_collation c ON c.oid = a.attcollation \
    WHERE a.attrelid = to_regclass($1) AND a.attname = $2 AND a.attnum > 0 AND NOT a.attisdropped";

pub(crate) async fn check(
    client: &Client,
    tables: &[Table],
    key: &[KeyType],
) -> Result<(), SourceError> {
    for table in tables {
        for (column, key_type) in table.columns().iter().zip(key) {
            let rows = client
                .query_typed(
                    COLUMN,
                    &[
                        (&table.name(), tokio_postgres::types::Type::TEXT),
                        (column, tokio_postgres::types::Type::TEXT),
                    ],
                )
                .await?;
            let reason = match rows.first() {
                None => Some("there is no such table or column".to_owned()),
                Some(row) => {
                    let name: String = row.try_get(0)?;
                    let length = row.try_get::<_, i32>(3)? >= 0;
                    wrong(&name, *key_type, row.try_get(1)?, row.try_get(2)?, length)
                }
            };
            if let Some(reason) = reason {
                let (table, column) = (table.name().to_owned(), column.clone());
                return Err(SourceError::Refused(Refusal::Column { table, column, reason }));
            }
        }
    }
    Ok(())
}

fn wrong(
    found: &str,
    key: KeyType,
    not_null: bool,
    deterministic: bool,
    length: bool,
) -> Option<String> {
    let fits = match key {
        KeyType::Int => matches!(found, "int2" | "int4" | "int8"),
        KeyType::Text => matches!(found, "text" | "varchar"),
        KeyType::Uuid => found == "uuid",
        KeyType::Bytes => found == "bytea",
    };
    if !fits {
        let why = match found {
            "bpchar" => ": char(n) hashes without the blanks that it stores",
            "citext" => ": citext takes texts for equal that have different slots",
            _ => "",
        };
        return Some(format!("it is a {found} where the key is a {key}{why}; make it a {key}"));
    }
    if !deterministic {
        return Some(
            "its collation is not deterministic, so that texts are equal that have different \
             slots; use a deterministic one"
                .into(),
        );
    }
    if found == "varchar" && length && !cfg!(broken = "varchar_length") {
        return Some(
            "it is a varchar(n), which cuts blanks off longer texts, so that what it stores has \
             another slot; make it a text, which rewrites nothing"
                .into(),
        );
    }
    (!not_null).then(|| "it may be NULL, and NULL has no place; make it NOT NULL".into())
}
