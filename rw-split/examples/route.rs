//! Where statements go, and why. Needs no server.
//! `cargo run -p rw-split --example route ["SELECT …" …]`

use rw_split::{RwSplit, Target};

fn main() {
    let given: Vec<String> = std::env::args().skip(1).collect();
    if !given.is_empty() {
        for sql in given {
            println!("{sql}\n    -> {}", RwSplit::route(&sql));
        }
        return;
    }
    let expected = [
        ("SELECT name FROM users WHERE id = $1", Target::Replica),
        ("WITH t AS (SELECT 1 AS n) SELECT n FROM t", Target::Replica),
        ("EXPLAIN ANALYZE SELECT count(*) FROM orders", Target::Replica),
        ("SELECT 'FOR UPDATE', $$ DELETE FROM users $$", Target::Replica),
        ("UPDATE users SET name = $1", Target::Primary),
        ("WITH gone AS (DELETE FROM users RETURNING *) SELECT * FROM gone", Target::Primary),
        ("SELECT * FROM stock WHERE id = $1 FOR NO KEY UPDATE", Target::Primary),
        ("SELECT nextval('orders_id_seq')", Target::Primary),
        ("SELECT state FROM pg_stat_activity", Target::Primary),
        ("SELECT my_function(1)", Target::Primary),
        ("SELECT 'not closed", Target::Primary),
        ("SELECT pg_advisory_lock(1)", Target::Connection),
        ("SET search_path = app", Target::Connection),
    ];
    for (sql, target) in expected {
        let route = RwSplit::route(sql);
        println!("{sql}\n    -> {route}");
        assert_eq!(route.target(), target);
    }
}
