//! Topologies that were written down, and what is refused of them.
#![allow(clippy::unwrap_used, reason = "a panic is how a test fails")]
#![cfg(feature = "toml")]

use shard_router::{KeyType, SlotMap, Topology};

const GOOD: &str = r#"
epoch = 3
key = ["bigint"]
[[shards]]
name = "a"
connection = "host=x"
slots = "0-99,200-16383"
[[shards]]
name = "b"
connection = "host=y"
slots = "100-199"
"#;

fn error(text: &str) -> String {
    Topology::from_toml(text).unwrap_err().to_string()
}

#[test]
fn what_is_wrong_is_said_with_where_and_how_to_mend_it() {
    drop(Topology::from_toml(GOOD).unwrap());
    for (from, to, expected) in [
        ("epoch = 3", "epoch = 0", "an epoch of 0"),
        ("epoch = 3", "epochs = 3", "unknown field `epochs`"),
        ("epoch = 3", "epoch = 'x'", "line 2"),
        ("epoch = 3", "epoch = 3\nhash = 'md5'", "there is no \"md5\""),
        ("epoch = 3", "epoch = 3\nhash_secret_env = 'X'", "only `siphash` has a secret"),
        ("[\"bigint\"]", "[\"char\"]", "`char` is no type of a shard key"),
        ("[\"bigint\"]", "[]", "at least one column"),
        ("[\"bigint\"]", "['text','text','text','text','text']", "four columns at most"),
        ("100-199", "100-150", "nobody owns 49 of 16384 slots, the first of them 151-199"),
        ("100-199", "90-199", "a and b both own 90-99"),
        ("100-199", "100-20000", "`100-20000` is no range of slots"),
        ("100-199", "199-100", "`199-100` is no range of slots"),
        ("name = \"b\"", "name = \"b\"\nweight = 0", "b has a weight of 0"),
        ("name = \"b\"", "name = \"a\"", "two shards are called a"),
        ("name = \"b\"", "name = \"\"", "\"\" is no name of a shard"),
        ("host=y\"", "host=y\"\nconnection_env = \"Y\"", "keep one of them"),
    ] {
        let found = error(&GOOD.replacen(from, to, 1));
        assert!(found.contains(expected), "{from} -> {to}: {found}");
    }
    assert!(error("key = ['bigint']").contains("there is no shard"));
    let tables = format!("{GOOD}[[tables]]\nname = \"t\"\nkey = [\"a\", \"b\"]");
    assert!(error(&tables).contains("names 2 columns, and `key` has 1 types"));
}

/// The line that is wrong may be the one with the password.
#[test]
fn a_mistake_beside_a_password_is_told_without_it() {
    let text = GOOD.replace("host=y\"", "postgres://u:sesame@y/x\" oops");
    let found = error(&text);
    assert!(found.starts_with("line 10, column "), "{found}");
    assert!(!found.contains("sesame"), "{found}");
}

/// Slots may be left out of a first map alone: later, leaving them out would move rows.
#[test]
fn a_later_map_says_who_owns_what() {
    let text = "epoch = 2\nkey = ['text']\n[[shards]]\nname = 'a'";
    assert!(error(text).contains("write down who owns which"));
    let first = Topology::from_toml(&text.replace("epoch = 2", "epoch = 1")).unwrap();
    assert_eq!(first.map(), &SlotMap::even(["a"]).unwrap());
    assert_eq!(first.key(), [KeyType::Text]);
}

#[test]
fn a_connection_of_a_shard_that_is_not_there_is_refused() {
    let topology = Topology::new(SlotMap::even(["a"]).unwrap(), [KeyType::Int]).unwrap();
    let error = topology.shard("b", "host=x").unwrap_err().to_string();
    assert_eq!(error, "there is no shard called \"b\"");
}
