//! What people write, classified, and judged by a real standby.

use std::time::Duration;

use rw_split::{RwSplit, Target};
use testbed::postgres::{Client, Postgres};
use tokio_postgres::error::SqlState;

use super::bed::DEADLINE;

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Kind {
    Read,
    Write,
    Local,
}

fn statements() -> Vec<(Kind, &'static str)> {
    let mut kind = Kind::Read;
    let mut found = Vec::new();
    for line in include_str!("statements.txt").lines() {
        match line {
            "[read]" => kind = Kind::Read,
            "[write]" => kind = Kind::Write,
            "[local]" => kind = Kind::Local,
            _ if line.is_empty() || line.starts_with('#') => {}
            _ => found.push((kind, line)),
        }
    }
    found
}

/// What the standby says, on a connection of the statement's own.
async fn on_standby(standby: &Postgres, sql: &str) -> Result<(), Option<SqlState>> {
    let client = Client::connect(&standby.url()).await.unwrap();
    let ran = tokio::time::timeout(Duration::from_secs(10), client.simple_query(sql)).await;
    match ran {
        Ok(Ok(_)) => Ok(()),
        Ok(Err(error)) => Err(error.code().cloned()),
        Err(_) => Err(None),
    }
}

#[tokio::test]
async fn nothing_that_a_standby_must_not_have_is_sent_to_one() {
    let primary = Postgres::start().await.unwrap();
    let client = primary.client().await.unwrap();
    client.batch_execute(include_str!("schema.sql")).await.unwrap();
    let replica = primary.replica().await.unwrap();
    replica.caught_up(DEADLINE).await.unwrap();
    // The view that goes without its catalogue, and one with it.
    let db =
        RwSplit::builder().server(primary.url()).server(replica.url()).build().await.unwrap();

    let all = statements();
    let (mut needless, mut blind, mut wrong, mut reads) = (Vec::new(), 0, Vec::new(), 0);
    let (mut refused, mut accepted) = (0, 0);
    for (kind, sql) in &all {
        let route = db.explain(sql);
        let to_replica = route.target() == Target::Replica;
        let said = on_standby(&replica, sql).await;
        match kind {
            Kind::Read => {
                reads += 1;
                assert!(said.is_ok(), "no plain read, says the standby: {sql} ({said:?})");
                if !to_replica {
                    needless.push(format!("{sql}\n    {route}"));
                }
                blind += usize::from(RwSplit::route(sql).target() != Target::Replica);
            }
            Kind::Write => {
                assert!(said.is_err(), "the standby does not refuse: {sql}");
                refused += 1;
            }
            Kind::Local => accepted += usize::from(said.is_ok()),
        }
        if to_replica && *kind != Kind::Read {
            wrong.push(*sql);
        }
        // `pg_wal_replay_pause()` and its like leave something behind.
        if said.is_ok() && *kind == Kind::Local {
            let undo = "SELECT pg_wal_replay_resume()";
            on_standby(&replica, undo).await.unwrap();
        }
    }
    let share = 100.0 * needless.len() as f64 / f64::from(reads);
    println!(
        "{} statements: {reads} plain reads, {refused} that the standby refuses, {accepted} that \
         it accepts and that are wrong there",
        all.len()
    );
    println!("on a replica that must not be: {}", wrong.len());
    println!(
        "plain reads needlessly on the primary: {} ({share:.1} %), without the catalogue {blind}",
        needless.len()
    );
    for one in &needless {
        println!("  {one}");
    }
    assert!(all.len() >= 400, "{}", all.len());
    assert!(wrong.is_empty(), "{wrong:#?}");
    assert!(share <= 3.0, "{share:.1} %");
}

/// What passes the classifier is caught by the standby, answered by the primary,
/// and not sent to a standby again.
#[tokio::test]
async fn a_refused_read_is_answered_by_the_primary() {
    let primary = Postgres::start().await.unwrap();
    let client = primary.client().await.unwrap();
    // A false label: the function says that it is stable.
    let setup = "CREATE TABLE log (n int); CREATE FUNCTION lies() RETURNS int \
        LANGUAGE plpgsql STABLE AS $$ BEGIN PERFORM nextval('s'); RETURN 1; END $$; \
        CREATE SEQUENCE s";
    client.batch_execute(setup).await.unwrap();
    let replica = primary.replica().await.unwrap();
    replica.caught_up(DEADLINE).await.unwrap();
    let db =
        RwSplit::builder().server(primary.url()).server(replica.url()).build().await.unwrap();
    assert_eq!(db.explain("SELECT lies()").target(), Target::Replica);
    for _ in 0..3 {
        let row = db.query_one("SELECT lies()", &[]).await.unwrap();
        assert_eq!(row.get::<_, i32>(0), 1);
    }
    let stats = db.stats();
    assert_eq!((stats.retries, stats.writes), (1, 3), "{stats:?}");
    // A table that is not there yet, or not any more, on the replica.
    replica.pause_replay().await.unwrap();
    client
        .batch_execute("CREATE TABLE later (n int); INSERT INTO later VALUES (7)")
        .await
        .unwrap();
    let row =
        db.at_level(rw_split::Level::Eventual).query_one("SELECT n FROM later", &[]).await;
    assert_eq!(row.unwrap().get::<_, i32>(0), 7);
}

/// The list of safe functions against a real catalogue: none of them is volatile
/// there, but for some that change nothing; and what users made is judged by what it
/// is made of.
#[tokio::test]
async fn the_listed_functions_are_what_the_catalogue_says() {
    // Clocks and chance; sizes, which copies share but for what is temporary; and
    // methods of sampling.
    const VOLATILE_AND_HARMLESS: &[&str] = &[
        "bernoulli",
        "clock_timestamp",
        "gen_random_uuid",
        "pg_database_size",
        "pg_indexes_size",
        "pg_partition_ancestors",
        "pg_partition_tree",
        "pg_relation_size",
        "pg_sleep",
        "pg_sleep_for",
        "pg_table_size",
        "pg_tablespace_size",
        "pg_total_relation_size",
        "random",
        "system",
        "timeofday",
    ];
    let primary = Postgres::start().await.unwrap();
    let client = primary.client().await.unwrap();
    let list = include_str!("../../../../rw-split/src/classify/functions.txt");
    let names: Vec<&str> = list.lines().filter(|line| !line.starts_with('#')).collect();
    let sql = "SELECT DISTINCT proname::text FROM pg_proc WHERE provolatile = 'v' \
        AND proname = ANY($1) ORDER BY 1";
    let volatile = client.query(sql, &[&names]).await.unwrap();
    let volatile: Vec<&str> = volatile.iter().map(|row| row.get(0)).collect();
    assert_eq!(volatile, VOLATILE_AND_HARMLESS);

    let setup = "CREATE SEQUENCE s; \
        CREATE FUNCTION step(bigint, int) RETURNS bigint LANGUAGE sql VOLATILE \
            AS 'SELECT nextval(''s'')'; \
        CREATE AGGREGATE numbered(int) (SFUNC = step, STYPE = bigint); \
        CREATE AGGREGATE total(int) (SFUNC = int4pl, STYPE = int); \
        CREATE TABLE whole (n int) PARTITION BY RANGE (n); \
        CREATE UNLOGGED TABLE piece PARTITION OF whole FOR VALUES FROM (0) TO (9); \
        CREATE FUNCTION search(text) RETURNS bigint LANGUAGE sql AS 'SELECT nextval(''s'')'";
    client.batch_execute(setup).await.unwrap();
    let db = RwSplit::builder().server(primary.url()).build().await.unwrap();
    for (sql, target) in [
        ("SELECT numbered(1)", Target::Primary),
        ("SELECT total(1)", Target::Replica),
        ("SELECT * FROM whole", Target::Primary),
        ("SELECT * FROM search('x')", Target::Primary),
    ] {
        assert_eq!(db.explain(sql).target(), target, "{sql}");
    }
}
