//! The ordered merge gives what one database would.

use shard_router::{Error, Router, Scatter, asc, desc};
use testbed::postgres::Client;
use tokio_postgres::Row;

use crate::bed::{Bed, fill};

const ROWS: &str = "CREATE TABLE r (id bigint PRIMARY KEY, i int, f double precision, g real, \
    b boolean, t text, u uuid, d date, s timestamp, z timestamptz, x bytea)";

/// The same random rows: some on each of three shards, and all of them in one database.
async fn rows(bed: &Bed, seed: u64) {
    let mut clients: Vec<Client> = Vec::new();
    for shard in 0..4 {
        let client = bed.client(shard).await;
        client.batch_execute(ROWS).await.unwrap();
        clients.push(client);
    }
    let generate = format!(
        "SELECT setseed({}); INSERT INTO r SELECT id, \
         CASE WHEN random() < 0.2 THEN NULL ELSE (random() * 20 - 10)::int END, \
         (ARRAY['NaN', '-Infinity', 'Infinity', '-0', '0', '1.5', NULL])[1 + floor(random() * 7)]::float8, \
         (ARRAY['NaN', '-1', '0', '2.25', NULL])[1 + floor(random() * 5)]::float4, \
         (ARRAY[true, false, NULL])[1 + floor(random() * 3)], \
         (ARRAY['a', 'B', 'ä', '', 'Z', 'aa', '日', NULL])[1 + floor(random() * 8)], \
         md5((random() * 5)::int::text)::uuid, \
         date '2000-01-01' + (random() * 9 - 4)::int, \
         timestamp 'epoch' + make_interval(secs => (random() * 5)::int), \
         CASE WHEN random() < 0.1 THEN 'infinity' ELSE to_timestamp((random() * 5)::int) END, \
         decode(md5((random() * 5)::int::text), 'hex') \
         FROM generate_series(1, 600) AS id",
        seed as f64 / 10.0
    );
    // The last database has all; the third shard has none.
    clients[3].batch_execute(&generate).await.unwrap();
    for (shard, odd) in [(0, 0), (1, 1)] {
        let sql = format!("SELECT r.*::text AS row FROM r WHERE id % 2 = {odd}");
        let sql = sql.replace("r.*::text", "r::text");
        for row in clients[3].query(&sql, &[]).await.unwrap() {
            let row: String = row.get(0);
            let insert = format!("INSERT INTO r SELECT (({})::r).*", quote(&row));
            clients[shard].batch_execute(&insert).await.unwrap();
        }
    }
}

fn quote(text: &str) -> String {
    format!("'{}'", text.replace('\'', "''"))
}

async fn three(bed: &Bed) -> Router {
    let map = shard_router::SlotMap::even(["a", "b", "c"]).unwrap();
    let topology = shard_router::Topology::new(map, [shard_router::KeyType::Int]).unwrap();
    let topology = ["a", "b", "c"]
        .into_iter()
        .zip(&bed.urls)
        .fold(topology, |t, (name, url)| t.shard(name, url).unwrap());
    let router = Router::builder(topology).build().unwrap();
    router.install().await.unwrap();
    router
}

fn ids(rows: &[Row]) -> Vec<i64> {
    rows.iter().map(|row| row.get("id")).collect()
}

#[tokio::test]
async fn every_type_is_ordered_as_one_server_orders_it() {
    let bed = Bed::databases(4).await;
    rows(&bed, 3).await;
    let router = three(&bed).await;
    let one = bed.client(3).await;
    for column in ["id", "i", "f", "g", "b", "t", "u", "d", "s", "z", "x"] {
        for descending in [false, true] {
            for nulls in [None, Some(true), Some(false)] {
                let mut by = if descending { desc(column) } else { asc(column) };
                let mut sql = format!("SELECT * FROM r ORDER BY {column}");
                if column == "t" {
                    by = by.collate_c();
                    sql += " COLLATE \"C\"";
                }
                sql += if descending { " DESC" } else { " ASC" };
                match nulls {
                    Some(true) => {
                        by = by.nulls_first();
                        sql += " NULLS FIRST";
                    }
                    Some(false) => {
                        by = by.nulls_last();
                        sql += " NULLS LAST";
                    }
                    None => {}
                }
                sql += ", id OFFSET 7 LIMIT 500";
                let expected = ids(&one.query(&sql, &[]).await.unwrap());
                let ask = || {
                    let scatter = router.scatter(Scatter::require_all());
                    let query = scatter.query("SELECT * FROM r -- all;", &[]);
                    query.order_by([by.clone(), asc("id")]).offset(7).limit(500)
                };
                assert_eq!(ids(&ask().await.unwrap()), expected, "{sql}");
                let mut stream = ask().stream().await.unwrap();
                let mut streamed = Vec::new();
                while let Some(row) = stream.next().await {
                    streamed.push(row.unwrap());
                }
                assert_eq!(ids(&streamed), expected, "{sql}, as a stream");
            }
        }
    }
}

#[tokio::test]
async fn what_cannot_be_ordered_is_refused_with_its_reason() {
    let bed = Bed::databases(2).await;
    let router = bed.router().await;
    fill(&router, 4).await;
    let ask = |by| {
        let sql = "SELECT id, note, total::numeric AS n, user_id AS twice, id AS twice, \
            note::char(3) AS c FROM orders";
        router.scatter(Scatter::require_all()).query(sql, &[]).order_by([by])
    };
    let error = ask(asc("note")).await.unwrap_err().to_string();
    assert!(error.contains("\"note\"") && error.contains(".collate_c()"), "{error}");
    assert!(ask(asc("n")).await.unwrap_err().to_string().contains("cast it to bigint"));
    assert!(ask(asc("c")).await.unwrap_err().to_string().contains("bpchar is not merged"));
    let twice = ask(asc("twice")).await.unwrap_err();
    assert_eq!(twice.code().unwrap().code(), "42702", "ambiguous");
    let unknown = ask(asc("nowhere")).await.unwrap_err();
    assert_eq!(unknown.code().unwrap().code(), "42703", "undefined column");
    let error = ask(asc("note")).stream().await.unwrap_err();
    assert!(matches!(error, Error::Order { .. }), "{error}");
}

#[tokio::test]
async fn limits_and_offsets_at_their_ends() {
    let bed = Bed::databases(2).await;
    let router = bed.router().await;
    let ask = || {
        let scatter = router.scatter(Scatter::require_all());
        scatter.query("SELECT id FROM orders;", &[]).order_by([desc("id")])
    };
    assert!(ask().limit(5).await.unwrap().is_empty());
    fill(&router, 10).await;
    assert_eq!(ids(&ask().limit(3).await.unwrap()), [9, 8, 7]);
    assert_eq!(ids(&ask().offset(8).limit(3).await.unwrap()), [1, 0]);
    assert!(ask().offset(11).limit(3).await.unwrap().is_empty());
    assert!(ask().limit(0).await.unwrap().is_empty());
    assert_eq!(ask().await.unwrap().len(), 10);
    assert_eq!(ask().offset(4).await.unwrap().len(), 6);
    let error = ask().offset(1).limit(u64::MAX).await.unwrap_err();
    assert!(error.to_string().contains("more than bigint"), "{error}");
    let unordered = router.scatter(Scatter::require_all()).query("SELECT 1", &[]).offset(1);
    assert!(unordered.await.unwrap_err().to_string().contains("add `order_by`"));
    let mut stream = ask().offset(20).stream().await.unwrap();
    assert!(stream.next().await.is_none() && stream.next().await.is_none());
}

/// An index whose function has changed gives rows in the order of before.
#[tokio::test]
async fn a_shard_that_steps_back_is_named() {
    let bed = Bed::databases(2).await;
    let router = bed.router().await;
    fill(&router, 2000).await;
    for shard in 0..2 {
        let up = "CREATE FUNCTION rank(bigint) RETURNS bigint IMMUTABLE LANGUAGE plpgsql \
            AS 'BEGIN RETURN $1; END'; CREATE INDEX ON orders (rank(id)); ANALYZE orders";
        bed.client(shard).await.batch_execute(up).await.unwrap();
    }
    let down = "CREATE OR REPLACE FUNCTION rank(bigint) RETURNS bigint IMMUTABLE \
        LANGUAGE plpgsql AS 'BEGIN RETURN -$1; END'";
    bed.client(1).await.batch_execute(down).await.unwrap();
    let ask = || {
        let scatter = router.scatter(Scatter::require_all());
        let query = scatter.query("SELECT id, rank(id) AS rank FROM orders", &[]);
        query.order_by([asc("rank")]).limit(10)
    };
    let error = ask().await.unwrap_err();
    assert!(matches!(&error, Error::OutOfOrder { shard } if shard.as_str() == "b"), "{error}");
    let mut stream = ask().stream().await.unwrap();
    let mut last = Ok(());
    while let Some(row) = stream.next().await {
        last = row.map(drop);
    }
    assert!(matches!(last, Err(Error::OutOfOrder { .. })));
    assert!(stream.next().await.is_none());
}

#[tokio::test]
async fn shards_with_other_columns_are_an_error() {
    let bed = Bed::databases(2).await;
    let router = bed.router().await;
    bed.client(1).await.batch_execute("ALTER TABLE orders ALTER total TYPE int").await.unwrap();
    let ask = router.scatter(Scatter::require_all()).query("SELECT total FROM orders", &[]);
    let error = ask.order_by([asc("total")]).await.unwrap_err();
    assert!(error.to_string().contains("total int8) and (total int4"), "{error}");
}

/// Whoever stops early leaves no query running and no connection taken.
#[tokio::test]
async fn a_consumer_that_stops_early_is_no_burden() {
    let bed = Bed::databases(2).await;
    let router = bed.builder().scatters(1).build().unwrap();
    router.install().await.unwrap();
    let sql = "SELECT id FROM generate_series(1, 5000000) AS id";
    for _ in 0..5 {
        let ask = router.scatter(Scatter::require_all()).query(sql, &[]);
        let mut stream = ask.order_by([asc("id")]).stream().await.unwrap();
        for _ in 0..10 {
            stream.next().await.unwrap().unwrap();
        }
    }
    let client = bed.client(0).await;
    testbed::eventually(std::time::Duration::from_secs(10), async || {
        let sql = "SELECT count(*) FROM pg_stat_activity WHERE query LIKE '%5000000%' \
            AND state = 'active' AND pid <> pg_backend_pid()";
        client.query_one(sql, &[]).await.unwrap().get::<_, i64>(0) == 0
    })
    .await;
}
