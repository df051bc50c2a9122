//! The database computes the slots that we compute.

use std::fmt::Write;

use shard_router::{Column, KeyType, ShardKey, SlotMap, UuidBytes, slot_sql};
use testbed::postgres::{Client, Postgres};

/// Values of each type; more by the environment.
fn values() -> usize {
    std::env::var("AGREEMENT_VALUES").ok().and_then(|text| text.parse().ok()).unwrap_or(100_000)
}

/// Rows of one statement.
const BATCH: usize = 20_000;

const TABLES: &str = "\
    CREATE TABLE p_int (k bigint) PARTITION BY HASH (k); \
    CREATE TABLE p_text (k text) PARTITION BY HASH (k); \
    CREATE TABLE p_uuid (k uuid) PARTITION BY HASH (k); \
    CREATE TABLE p_two (a bigint, b text) PARTITION BY HASH (a, b); \
    CREATE TABLE p_three (a uuid, b text, c bigint) PARTITION BY HASH (a, b, c)";

struct Check {
    client: Client,
    map: SlotMap,
    rng: fastrand::Rng,
}

impl Check {
    async fn new(server: &Postgres) -> Self {
        let client = server.client().await.unwrap();
        client.batch_execute(TABLES).await.unwrap();
        let seed = fastrand::u64(..);
        println!("seed {seed}");
        let rng = fastrand::Rng::with_seed(seed);
        Self { client, map: SlotMap::even(["a"]).unwrap(), rng }
    }

    fn int(&mut self) -> i64 {
        match self.rng.u8(..8) {
            0 => [0, 1, -1, i64::MIN, i64::MAX, i32::MIN.into(), i32::MAX.into()]
                [self.rng.usize(..7)],
            1 => self.rng.i16(..).into(),
            2 | 3 => self.rng.i32(..).into(),
            _ => self.rng.i64(..),
        }
    }

    /// Of every length up to some chunks of the hash, and now and then a long one.
    fn text(&mut self) -> String {
        let length = match self.rng.u16(..) {
            0..5 => self.rng.usize(..100_000),
            _ => self.rng.usize(..60),
        };
        let alphabet = ['a', 'Z', '0', ' ', 'ü', 'ß', '日', '𝄞', '\u{1}', '\''];
        (0..length).map(|_| alphabet[self.rng.usize(..alphabet.len())]).collect()
    }

    fn uuid(&mut self) -> UuidBytes {
        UuidBytes(self.rng.u128(..).to_be_bytes())
    }

    fn slot(&self, key: &(impl ShardKey + ?Sized)) -> i32 {
        self.map.slot(key).number().into()
    }

    /// How many of these rows (columns as literals, our slot) the server puts elsewhere, by its
    /// own partitioning, if it has one for the type, and by the slot expression.
    async fn differences(&self, parent: Option<&str>, columns: &[KeyType], rows: &str) -> i64 {
        let names = ["a", "b", "c"];
        let list = names[..columns.len()].join(", ");
        let columns: Vec<_> = names
            .iter()
            .zip(columns)
            .map(|(name, key_type)| Column { name, key_type: *key_type })
            .collect();
        let partitioned = parent.map_or_else(
            || "true".into(),
            |parent| {
                format!("satisfies_hash_partition('{parent}'::regclass, 16384, slot, {list})")
            },
        );
        let sql = format!(
            "SELECT count(*) FROM (VALUES {rows}) AS v({list}, slot) \
             WHERE NOT ({partitioned}) OR slot <> {}",
            slot_sql(&columns)
        );
        let answer = self.client.simple_query(&sql).await.unwrap();
        let row = answer.iter().find_map(|message| match message {
            tokio_postgres::SimpleQueryMessage::Row(row) => row.get(0),
            _ => None,
        });
        row.unwrap().parse().unwrap()
    }

    async fn all(
        &mut self,
        parent: Option<&str>,
        columns: &[KeyType],
        mut row: impl FnMut(&mut Self) -> String,
    ) {
        let (mut left, mut differences) = (values(), 0);
        while left > 0 {
            let batch = left.min(BATCH);
            let mut rows = String::new();
            for number in 0..batch {
                let comma = if number == 0 { "" } else { "," };
                write!(rows, "{comma}({})", row(self)).unwrap();
            }
            differences += self.differences(parent, columns, &rows).await;
            left -= batch;
        }
        assert_eq!(differences, 0, "of {} values of {columns:?}", values());
    }
}

fn literal(text: &str) -> String {
    format!("'{}'::text", text.replace('\'', "''"))
}

#[tokio::test]
async fn integers_agree() {
    let server = Postgres::start().await.unwrap();
    let mut check = Check::new(&server).await;
    check
        .all(Some("p_int"), &[KeyType::Int], |check| {
            let key = check.int();
            format!("({key}::numeric)::bigint, {}", check.slot(&key))
        })
        .await;
}

#[tokio::test]
async fn texts_agree() {
    let server = Postgres::start().await.unwrap();
    let mut check = Check::new(&server).await;
    check
        .all(Some("p_text"), &[KeyType::Text], |check| {
            let key = check.text();
            format!("{}, {}", literal(&key), check.slot(&key))
        })
        .await;
    let large = "ü".repeat(1 << 19);
    let rows = format!("{}, {}", literal(&large), check.slot(&large));
    assert_eq!(
        check.differences(Some("p_text"), &[KeyType::Text], &format!("({rows})")).await,
        0
    );
}

#[tokio::test]
async fn uuids_agree() {
    let server = Postgres::start().await.unwrap();
    let mut check = Check::new(&server).await;
    check
        .all(Some("p_uuid"), &[KeyType::Uuid], |check| {
            let key = check.uuid();
            format!("'{key}'::uuid, {}", check.slot(&key))
        })
        .await;
}

#[tokio::test]
async fn bytes_agree() {
    let server = Postgres::start().await.unwrap();
    let mut check = Check::new(&server).await;
    check
        .all(None, &[KeyType::Bytes], |check| {
            let length = check.rng.usize(..50);
            let key: Vec<u8> = (0..length).map(|_| check.rng.u8(..)).collect();
            let digits: String = key.iter().map(|byte| format!("{byte:02x}")).collect();
            format!("'\\x{digits}'::bytea, {}", check.slot(&key))
        })
        .await;
}

#[tokio::test]
async fn keys_of_two_columns_agree() {
    let server = Postgres::start().await.unwrap();
    let mut check = Check::new(&server).await;
    check
        .all(Some("p_two"), &[KeyType::Int, KeyType::Text], |check| {
            let (a, b) = (check.int(), check.text());
            let slot = check.slot(&(a, b.as_str()));
            format!("({a}::numeric)::bigint, {}, {slot}", literal(&b))
        })
        .await;
}

#[tokio::test]
async fn keys_of_three_columns_agree() {
    let server = Postgres::start().await.unwrap();
    let mut check = Check::new(&server).await;
    check
        .all(Some("p_three"), &[KeyType::Uuid, KeyType::Text, KeyType::Int], |check| {
            let (a, b, c) = (check.uuid(), check.text(), check.int());
            let slot = check.slot(&(a, b.as_str(), c));
            format!("'{a}'::uuid, {}, ({c}::numeric)::bigint, {slot}", literal(&b))
        })
        .await;
}

/// The slot expression as a CHECK takes the rows that we route to a shard, and no others.
#[tokio::test]
async fn a_check_takes_what_is_routed_and_nothing_else() {
    let server = Postgres::start().await.unwrap();
    let client = server.client().await.unwrap();
    let map = SlotMap::even(["a", "b", "c"]).unwrap();
    let slot = slot_sql(&[Column { name: "user_id", key_type: KeyType::Int }]);
    let range = map.ranges("b").unwrap()[0];
    let (first, last) = (range.first, range.last);
    client
        .batch_execute(&format!(
            "CREATE TABLE t (user_id int NOT NULL CHECK ({slot} BETWEEN {first} AND {last}))"
        ))
        .await
        .unwrap();
    for user in -500..500_i32 {
        let taken = client.execute("INSERT INTO t VALUES ($1)", &[&user]).await;
        let ours = map.shard_of(&user).as_str() == "b";
        match taken {
            Ok(_) => assert!(ours, "{user} was taken"),
            Err(error) => {
                assert_eq!(error.code().unwrap().code(), "23514");
                assert!(!ours, "{user} was refused");
            }
        }
    }
}
