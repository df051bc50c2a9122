//! Topologies that were written down, and what is refused of them.
#![allow(clippy::unwrap_used, reason = "a panic is how a test fails")]
#![cfg(all(feature = "postgres", feature = "toml"))]

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

/// Whatever is wrong with a text, its error does not show what may be a password.
#[test]
fn no_error_shows_a_secret() {
    let good = "epoch = 1\nkey = ['bigint']\n[[shards]]\nname = 'a'\n";
    for line in [
        // Not closed; of a wrong type; beside something that is wrong; in a wrong place.
        "connection = \"host=x password=hunter2",
        "connection = host=x password=hunter2",
        "connection = ['host=x password=hunter2']",
        "connection = { password = 'hunter2' }",
        "weight = 'host=x password=hunter2'",
        "connection = 'postgres://u:hunter2@x' \nconnection = 'postgres://u:hunter2@x'",
        "slots = 'postgres://u:hunter2@x'",
        "connection_env = 'host=x password=hunter2'",
        "connection_env = 'postgres://u:hunter2@x'",
    ] {
        let found = error(&format!("{good}{line}"));
        assert!(!found.contains("hunter2"), "{line}: {found}");
    }
    for text in [
        "key = ['bigint']\nshards = ['host=x password=hunter2']",
        "key = ['bigint']\nshards = [{ name = 'a', connection = 'password=hunter2', wieght = 2 }]",
        "epoch = 'hunter2'\nkey = ['bigint']",
        "key = ['text']\nhash = 'siphash'\nhash_secret_env = '0123456789abcdef hunter2'\n\
            [[shards]]\nname = 'a'",
    ] {
        let found = error(text);
        assert!(!found.contains("hunter2"), "{text}: {found}");
    }
    // Where it is, is said nevertheless.
    let found = error(&format!("{good}wieght = 2"));
    assert!(found.starts_with("line 5, column 1: ") && found.contains("wieght"), "{found}");
    let found = error(&format!("{good}connection_env = 'A B'"));
    assert!(found.contains("shards.a.connection_env"), "{found}");
}

/// Nor does that of a connection string.
#[tokio::test]
async fn no_connection_string_is_shown() {
    for text in [
        "host=x password=a hunter2=b",
        "host=x password=a hunter2",
        "postgres://u:p@x/db?hunter2=1",
        "host=x port=hunter2",
        "postgres://u:p@x:hunter2/db",
        "hunter2",
    ] {
        let topology = Topology::new(SlotMap::even(["a"]).unwrap(), [KeyType::Int]).unwrap();
        let topology = topology.shard("a", text).unwrap();
        let error = shard_router::Router::builder(topology).build().unwrap_err();
        assert!(!format!("{error} {error:?}").contains("hunter2"), "{text}: {error}");
        if let Err(error) = shard_router::ControlTable::new(text) {
            let mut shown = format!("{error} {error:?}");
            let mut cause = std::error::Error::source(&error);
            while let Some(error) = cause {
                shown += &format!(" {error} {error:?}");
                cause = error.source();
            }
            assert!(!shown.contains("hunter2"), "{text}: {shown}");
        }
    }
    let topology = Topology::new(SlotMap::even(["a"]).unwrap(), [KeyType::Int]).unwrap();
    let topology = topology.shard("a", "host=x sslrootcert=y").unwrap();
    let error = shard_router::Router::builder(topology).build().unwrap_err().to_string();
    assert!(error.contains("sslrootcert"), "an option that is none of ours is named: {error}");
}

#[test]
fn the_last_epoch_has_no_next() {
    let last = shard_router::Epoch::new(i64::MAX as u64).unwrap();
    let all = shard_router::SlotRange::new(0, 16_383).unwrap();
    let map = SlotMap::from_ranges(last, [("a", 1, vec![all])]).unwrap();
    let error = map.plan().add_shard("b", 1).build().unwrap_err().to_string();
    assert!(error.contains("at most 9223372036854775807"), "{error}");
}
