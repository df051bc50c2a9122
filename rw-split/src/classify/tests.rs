use proptest::prelude::*;

use super::*;

fn reason(text: &str) -> Reason {
    Route::of(text, &Catalogue::default()).reason()
}

#[track_caller]
fn all(expected: Reason, texts: &[&str]) {
    for text in texts {
        assert_eq!(reason(text), expected, "{text}");
    }
}

#[test]
fn plain_reads_go_to_a_replica() {
    all(
        Reason::ReadOnly,
        &[
            "SELECT 1",
            "select * from users where id = $1",
            "  -- a comment\n SELECT name FROM users",
            "/* a /* nested */ one */ SELECT 1;",
            "(SELECT 1) UNION ALL (SELECT 2)",
            "WITH a AS (SELECT 1), b (x, y) AS (SELECT 2, 3) SELECT * FROM a, b",
            "WITH RECURSIVE t(n) AS (VALUES (1) UNION ALL SELECT n+1 FROM t WHERE n < 9) \
             SELECT sum(n) FROM t",
            "VALUES (1), (2)",
            "TABLE users",
            "EXPLAIN ANALYZE SELECT count(*) FROM users",
            "EXPLAIN (ANALYZE, BUFFERS, FORMAT JSON) SELECT 1",
            "SELECT 'DELETE FROM users; DROP TABLE users'",
            "SELECT $$ insert into $$, $a$ for update $a$",
            "SELECT \"update\", t.delete, x AS into FROM t",
            "SELECT substring(name FROM 1 FOR 3) FROM users",
            "SELECT count(*) FILTER (WHERE x > 1) OVER (PARTITION BY y) FROM t",
            "SELECT x::numeric(10, 2), CAST(y AS varchar(10)) FROM t",
            "SELECT * FROM (VALUES (1, 2)) AS v(a, b)",
            "SELECT * FROM generate_series(1, 3) AS g(n) JOIN LATERAL (SELECT 1) l ON true",
            "SELECT pg_catalog.lower(name) FROM users",
            "SELECT relname FROM pg_class c JOIN pg_namespace n ON n.oid = c.relnamespace",
            "SELECT E'it\\'s' , U&'\\0061', B'101'",
            "SELECT 1; SELECT 2",
            "SELECT a FROM t WHERE b IN (1, 2) AND EXISTS (SELECT 1) ORDER BY c LIMIT (3)",
        ],
    );
}

#[test]
fn writes_go_to_the_primary_however_they_are_hidden() {
    all(
        Reason::Write,
        &[
            "INSERT INTO t VALUES (1)",
            "update t set a = 1",
            "/* SELECT */ DELETE FROM t",
            "WITH gone AS (DELETE FROM t RETURNING *) SELECT * FROM gone",
            "WITH a AS MATERIALIZED (UPDATE t SET x = 1 RETURNING x) SELECT * FROM a",
            "WITH a AS (SELECT 1) DELETE FROM t",
            "WITH a AS (WITH b AS (DELETE FROM t RETURNING 1) SELECT * FROM b) SELECT * FROM a",
            "WITH a AS (SELECT 1) UPDATE t SET x = 1",
            "SELECT * FROM (WITH RECURSIVE a AS (SELECT 1 AS n) SEARCH DEPTH FIRST BY n SET o \
             DELETE FROM t) x",
            "EXPLAIN ANALYZE DELETE FROM t",
            "EXPLAIN (ANALYZE) UPDATE t SET x = 1",
            "MERGE INTO t USING s ON true WHEN MATCHED THEN DELETE",
            "CALL p()",
            "DO $$ BEGIN END $$",
            "NOTIFY c",
            "VACUUM t",
            "REFRESH MATERIALIZED VIEW v",
            "SELECT 1; DROP TABLE t",
        ],
    );
    all(
        Reason::SelectInto,
        &["SELECT * INTO copy FROM t", "SELECT 1 INTO UNLOGGED x", "SELECT t.as INTO x FROM t"],
    );
    all(
        Reason::RowLock,
        &[
            "SELECT * FROM t FOR UPDATE",
            "SELECT * FROM t FOR NO KEY UPDATE SKIP LOCKED",
            "SELECT * FROM t FOR SHARE",
            "SELECT * FROM t FOR KEY SHARE NOWAIT",
            "SELECT * FROM (SELECT * FROM t FOR UPDATE) s",
            "select*from t for/**/update",
        ],
    );
    assert_ne!(reason("WITH a AS (SELECT 1) INSERT INTO t SELECT * FROM a"), Reason::ReadOnly);
}

#[test]
fn functions_are_safe_only_if_they_are_known() {
    all(
        Reason::UnknownFunction,
        &[
            "SELECT nextval('s')",
            "SELECT pg_catalog.nextval('s')",
            "SELECT \"nextval\"('s')",
            "SELECT nextval /* */ ('s')",
            "SELECT nextval\n('s')",
            "SELECT NEXTVAL('s')",
            "SELECT my_function(1)",
            "SELECT app.lower('A')",
            "SELECT 1 WHERE pg_advisory_xact_lock(1) IS NULL",
            "SELECT pg_terminate_backend(1)",
            "SELECT pg_wal_replay_pause()",
            "SELECT \"IN\"(1)",
            "SELECT \"a\"\"b\"(1)",
            "SELECT DISTINCT ON (id) nextval('s') FROM t",
            "SELECT (1) OPERATOR(pg_catalog.+) nextval('s')",
        ],
    );
    all(
        Reason::SessionState,
        &[
            "SELECT pg_advisory_lock(1)",
            "SELECT pg_catalog.set_config('a.b', '1', false)",
            "SELECT currval('s')",
            "SET search_path = x",
            "LISTEN c",
            "PREPARE p AS INSERT INTO t VALUES (1)",
            "CREATE TEMP TABLE t (n int)",
            "CREATE LOCAL TEMPORARY TABLE t (n int)",
            "CREATE TABLE pg_temp.t (n int)",
            "DECLARE c CURSOR FOR SELECT 1",
            "LOCK TABLE t",
            "SELECT 1 INTO TEMP x",
            "SELECT 1 INTO LOCAL TEMPORARY TABLE x",
            "SELECT 1 INTO pg_temp.x",
            "SELECT * FROM pg_temp.x",
            "CREATE TABLE \"pg_temp\".t (n int)",
            "INSERT INTO t VALUES (currval('s'))",
            "INSERT INTO t (a) SELECT lastval ()",
            "UPDATE t SET a = 1 WHERE pg_catalog.pg_try_advisory_lock(1)",
            "CREATE TABLE t AS SELECT setseed(0)",
            "SELECT DISTINCT ON (id) pg_advisory_lock(id) FROM t",
            "DELETE FROM pg_temp.x",
        ],
    );
    all(
        Reason::ServerLocal,
        &[
            "SELECT * FROM pg_stat_activity",
            "SELECT * FROM pg_catalog.\"pg_locks\"",
            "SHOW work_mem",
            "SELECT * FROM pg_settings",
        ],
    );
}

#[test]
fn what_is_not_understood_is_not_safe() {
    all(
        Reason::Unclear,
        &[
            "SELECT 'open",
            "SELECT \"open",
            "SELECT /* open",
            "SELECT $x$ open",
            "\\d users",
            "?",
            "SELECT U&\"nextval\"('s')",
            "SELECT U&\"n!0065xtval\" UESCAPE '!' ('s')",
            "SELECT * FROM U&\"pg!005fstat!005factivity\" UESCAPE '!'",
        ],
    );
    all(Reason::Empty, &["", "  ", "-- nothing", "/* */;;"]);
    assert_eq!(reason("SELECT 'a\\' , nextval('s') --'"), Reason::Unclear);
    assert_eq!(reason("COPY t TO STDOUT"), Reason::Copy);
    assert_eq!(reason("SELECT 1; BEGIN; SELECT 2"), Reason::TransactionControl);
    let long = format!("SELECT '{}'", "x".repeat(1 << 20));
    assert_eq!(reason(&long), Reason::ReadOnly);
    let deep = format!("SELECT {}1{}", "(".repeat(100_000), ")".repeat(100_000));
    assert_eq!(reason(&deep), Reason::ReadOnly);
    let name = "a".repeat(64);
    assert_eq!(reason(&format!("SELECT {name}(1)")), Reason::UnknownFunction);
}

#[test]
fn the_catalogue_adds_and_takes_away() {
    let set = |names: &[&str]| names.iter().map(|name| name.as_bytes().into()).collect();
    let catalogue = Catalogue {
        functions: set(&["slug"]),
        shadowed: set(&["lower", "search"]),
        relations: set(&["users_id_seq", "Odd View"]),
    };
    let reason = |text| Route::of(text, &catalogue).reason();
    assert_eq!(reason("SELECT slug(name), app.Slug(name) FROM users"), Reason::ReadOnly);
    assert_eq!(reason("SELECT lower(name) FROM users"), Reason::UnknownFunction);
    // Not reserved: a function may have such a name.
    assert_eq!(reason("SELECT * FROM search('x')"), Reason::UnknownFunction);
    assert_eq!(reason("SELECT last_value FROM Users_Id_Seq"), Reason::UnsafeRelation);
    assert_eq!(reason("SELECT * FROM \"Odd View\""), Reason::UnsafeRelation);
    assert_eq!(reason("SELECT * FROM \"odd view\""), Reason::ReadOnly);
}

#[test]
fn the_explanation_names_the_word() {
    let route = Route::of("SELECT id, nextval('s') FROM t", &Catalogue::default());
    let shown = "the primary: it calls a function that is not known to be safe (`nextval`)";
    assert_eq!(route.to_string(), shown);
    assert_eq!(route.target(), Target::Primary);
}

proptest! {
    #[test]
    fn any_text_is_classified(text: String) {
        reason(&text);
    }

    #[test]
    fn the_strictest_statement_decides(
        before in prop::collection::vec(Just("SELECT 1;"), 0..4),
        after in prop::collection::vec(Just("SELECT count(*) FROM t;"), 0..4),
        hidden in prop::sample::select(vec![
            "DELETE FROM t;", "SELECT nextval('s');", "SELECT 1 FOR UPDATE;",
            "WITH x AS (INSERT INTO t VALUES (1) RETURNING 1) TABLE x;",
        ]),
    ) {
        let text = format!("{}{hidden}{}", before.concat(), after.concat());
        prop_assert_eq!(Route::of(&text, &Catalogue::default()).target(), Target::Primary);
    }

    #[test]
    fn trivia_between_tokens_changes_nothing(
        trivia in prop::sample::select(vec![" ", "\n", "/* x */", "/* /* ' */ \" */", "-- '\n"]),
        words in prop::sample::select(vec![
            vec!["SELECT", "nextval", "(", "'s'", ")"],
            vec!["SELECT", "*", "FROM", "t", "FOR", "NO", "KEY", "UPDATE"],
            vec!["WITH", "a", "AS", "(", "DELETE", "FROM", "t", ")", "SELECT", "1"],
        ]),
    ) {
        let text = words.join(trivia);
        prop_assert_eq!(Route::of(&text, &Catalogue::default()).target(), Target::Primary);
    }
}
