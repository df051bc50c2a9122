//! Whether shards have one schema.

use std::collections::BTreeSet;

use tokio_postgres::Client;

/// One line for each thing that statements depend on. A constraint that is named
/// `shard_router_…` is a shard's own, such as a `CHECK` of the slots that it owns.
const CATALOGUE: &str = "\
    SELECT format('column %s.%s.%s %s%s%s', n.nspname, c.relname, a.attname, \
        format_type(a.atttypid, a.atttypmod), CASE WHEN a.attnotnull THEN ' not null' ELSE '' END, \
        coalesce(' default ' || pg_get_expr(d.adbin, d.adrelid), '')) \
    FROM pg_attribute a JOIN pg_class c ON c.oid = a.attrelid \
    JOIN pg_namespace n ON n.oid = c.relnamespace \
    LEFT JOIN pg_attrdef d ON d.adrelid = a.attrelid AND d.adnum = a.attnum \
    WHERE c.relkind IN ('r', 'p', 'v', 'm', 'f') AND a.attnum > 0 AND NOT a.attisdropped \
        AND n.nspname !~ '^pg_' AND n.nspname NOT IN ('information_schema', 'shard_router') \
    UNION ALL SELECT format('index %s', pg_get_indexdef(i.indexrelid)) || \
        CASE WHEN i.indisvalid THEN '' ELSE ' invalid' END \
    FROM pg_index i JOIN pg_class c ON c.oid = i.indrelid \
    JOIN pg_namespace n ON n.oid = c.relnamespace \
    WHERE n.nspname !~ '^pg_' AND n.nspname NOT IN ('information_schema', 'shard_router') \
    UNION ALL SELECT format('constraint %s.%s.%s %s', n.nspname, c.relname, o.conname, \
        pg_get_constraintdef(o.oid)) \
    FROM pg_constraint o JOIN pg_class c ON c.oid = o.conrelid \
    JOIN pg_namespace n ON n.oid = c.relnamespace \
    WHERE o.conname !~ '^shard_router_' \
        AND n.nspname !~ '^pg_' AND n.nspname NOT IN ('information_schema', 'shard_router')";

pub(super) async fn catalogue(
    client: &Client,
) -> Result<BTreeSet<String>, tokio_postgres::Error> {
    let rows = client.query_typed(CATALOGUE, &[]).await?;
    rows.iter().map(|row| row.try_get(0)).collect()
}

/// What only one of the two has; the first few.
pub(super) fn differences(a: &BTreeSet<String>, b: &BTreeSet<String>) -> Vec<String> {
    a.symmetric_difference(b).take(5).cloned().collect()
}
