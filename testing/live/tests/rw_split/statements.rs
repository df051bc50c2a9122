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
