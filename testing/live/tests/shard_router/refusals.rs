//! Servers that are not what they should be: a clear error, and never a wrong shard.

use std::time::Duration;

use shard_router::{Error, KeyType, Refusal, Router, SlotHash, SlotMap, Topology};
use testbed::postgres::Postgres;

use crate::bed::{Bed, count_of, user_on};

async fn refusal(router: &Router, shard: &str) -> Refusal {
    match count_of(router, user_on(router, shard)).await {
        Err(Error::Refused { shard: refused, reason }) => {
            assert_eq!(refused.as_str(), shard);
            reason
        }
        other => panic!("{other:?}"),
    }
}

#[tokio::test]
async fn a_server_that_is_no_shard_yet() {
    let bed = Bed::databases(2).await;
    let router = bed.builder().build().unwrap();
    assert_eq!(refusal(&router, "a").await, Refusal::NotInstalled);
    router.install().await.unwrap();
    router.install().await.unwrap();
    assert_eq!(count_of(&router, user_on(&router, "a")).await.unwrap(), 0);
    assert_eq!(router.stats().refusals, 1);
}

#[tokio::test]
async fn exchanged_connection_strings() {
    let mut bed = Bed::databases(2).await;
    bed.router().await;
    bed.urls.swap(0, 1);
    let router = bed.builder().build().unwrap();
    assert_eq!(refusal(&router, "a").await, Refusal::OtherShard { stored: "b".into() });
    assert!(router.install().await.is_err(), "nor can they be made the other");
}

/// An address that leads to another shard from one moment to the next, however short ago it was
/// looked at.
#[tokio::test]
async fn a_server_that_becomes_another_shard() {
    let bed = Bed::servers(2).await;
    bed.router().await;
    let router = bed.builder().recheck(Duration::from_secs(600)).build().unwrap();
    let user = user_on(&router, "a");
    count_of(&router, user).await.unwrap();
    let rename = "UPDATE shard_router.state SET shard = 'b'";
    bed.client(0).await.batch_execute(rename).await.unwrap();
    bed.servers[0].kill().await.unwrap();
    bed.servers[0].restart().await.unwrap();
    testbed::eventually(crate::bed::DEADLINE, async || {
        let outcome = count_of(&router, user).await;
        assert!(outcome.is_err(), "it was asked");
        matches!(outcome, Err(Error::Refused { reason: Refusal::OtherShard { .. }, .. }))
    })
    .await;
    let scatter = router.scatter(shard_router::Scatter::require_all());
    let error = scatter.query("SELECT 1", &[]).await.unwrap_err().to_string();
    assert!(error.contains("may have been exchanged"), "{error}");
}

/// An install that has nothing to do writes nothing.
#[tokio::test]
async fn a_second_install_changes_nothing() {
    let bed = Bed::databases(2).await;
    let router = bed.router().await;
    let client = bed.client(0).await;
    let versions = async || {
        let sql = "SELECT string_agg(x, ',' ORDER BY x) FROM (SELECT xmin::text AS x FROM \
            shard_router.state UNION ALL SELECT xmin::text FROM shard_router.owned) AS q";
        client.query_one(sql, &[]).await.unwrap().get::<_, String>(0)
    };
    let before = versions().await;
    router.install().await.unwrap();
    router.install_after_moving_rows().await.unwrap();
    assert_eq!(versions().await, before);
}

#[tokio::test]
async fn another_hash_and_another_key() {
    let bed = Bed::databases(2).await;
    bed.router().await;
    let other = bed.topology_of(bed.map().with_hash(SlotHash::Xxh3));
    let router = Router::builder(other).build().unwrap();
    let reason = refusal(&router, "b").await;
    assert_eq!(
        reason,
        Refusal::OtherHash { stored: "pg/16384".into(), map: "xxh3/16384".into() }
    );
    assert!(router.install().await.is_err());
    let scatter = router.scatter(shard_router::Scatter::require_all()).query("SELECT 1", &[]);
    let error = scatter.await.unwrap_err().to_string();
    assert!(error.contains("would put every row on a wrong shard"), "{error}");

    let text = Topology::new(bed.map(), [KeyType::Text]).unwrap();
    let text = text.shard("a", &bed.urls[0]).unwrap().shard("b", &bed.urls[1]).unwrap();
    let router = Router::builder(text).build().unwrap();
    let error = router.with("x", |_| async { Ok::<_, Error>(()) }).await.unwrap_err();
    assert!(error.to_string().contains("its keys are (bigint)"), "{error}");
}

/// In LATIN1 `Zürich` has other bytes, and so another slot.
#[tokio::test]
async fn a_database_that_is_not_utf8() {
    let server = Postgres::start().await.unwrap();
    let client = server.client().await.unwrap();
    let create = "CREATE DATABASE latin ENCODING 'LATIN1' TEMPLATE template0 LC_COLLATE 'C' \
        LC_CTYPE 'C'";
    client.batch_execute(create).await.unwrap();
    let map = SlotMap::even(["a"]).unwrap();
    let topology = Topology::new(map, [KeyType::Int]).unwrap();
    let topology = topology.shard("a", server.url_of("latin")).unwrap();
    let router = Router::builder(topology).build().unwrap();
    let error = router.install().await.unwrap_err();
    assert!(error.to_string().contains("its database is LATIN1"), "{error}");
}

#[tokio::test]
async fn columns_that_cannot_be_keys() {
    let bed = Bed::databases(1).await;
    bed.router().await;
    let client = bed.client(0).await;
    client
        .batch_execute(
            "CREATE TABLE nullable (k text); CREATE TABLE blank (k char(8) NOT NULL); \
             CREATE TABLE number (k bigint NOT NULL); \
             CREATE TABLE short (k varchar(20) NOT NULL); \
             CREATE TABLE fine (k varchar NOT NULL); \
             CREATE DOMAIN tenant AS text; CREATE TABLE domain (k tenant NOT NULL); \
             CREATE DOMAIN cut AS varchar(5); CREATE TABLE cuts (k cut NOT NULL); \
             CREATE DOMAIN padded AS char(5); CREATE TABLE pads (k padded NOT NULL); \
             CREATE TABLE decimal (k numeric NOT NULL); \
             CREATE EXTENSION citext; CREATE TABLE loose_case (k citext NOT NULL); \
             CREATE DOMAIN name AS citext; CREATE TABLE names (k public.name NOT NULL); \
             UPDATE shard_router.state SET key = 'text'",
        )
        .await
        .unwrap();
    // A server that is built without ICU has no such collation to refuse.
    let nondeterministic = client
        .batch_execute(
            "CREATE COLLATION ci (provider = icu, locale = 'und-u-ks-level2', \
             deterministic = false); CREATE TABLE loose (k text COLLATE ci NOT NULL)",
        )
        .await;
    nondeterministic.expect("PostgreSQL is built with ICU");
    for (table, expected) in [
        ("nullable", "make it NOT NULL"),
        ("blank", "char(n) hashes without the blanks"),
        ("number", "it is a int8 where the key is a text"),
        ("loose", "its collation is not deterministic"),
        ("missing", "there is no such table or column"),
        ("short", "cuts blanks off longer texts"),
        ("cuts", "cuts blanks off longer texts"),
        ("pads", "char(n) hashes without the blanks"),
        ("decimal", "it is a numeric where the key is a text"),
        ("loose_case", "citext takes texts for equal"),
        ("names", "citext takes texts for equal"),
        ("fine", ""),
        ("domain", ""),
    ] {
        let topology = Topology::new(SlotMap::even(["a"]).unwrap(), [KeyType::Text]).unwrap();
        let topology = topology.shard("a", &bed.urls[0]).unwrap().table(table, ["k"]).unwrap();
        let router = Router::builder(topology).build().unwrap();
        let outcome = router.with("x", |_| async { Ok::<_, Error>(()) }).await;
        if expected.is_empty() {
            outcome.unwrap();
            continue;
        }
        let error = outcome.unwrap_err().to_string();
        assert!(error.contains(expected) && error.contains(table), "{error}");
        let report = &router.check().await[0];
        assert!(report.state.as_ref().unwrap_err().to_string().contains(expected));
    }
}

/// Why varchar(n) is refused: it stores another text than the one that was routed.
#[tokio::test]
async fn a_varchar_of_a_length_changes_keys() {
    let bed = Bed::databases(1).await;
    let client = bed.client(0).await;
    client.batch_execute("CREATE TABLE short (k varchar(3) NOT NULL)").await.unwrap();
    client.execute("INSERT INTO short VALUES ($1)", &[&"abc  "]).await.unwrap();
    let stored: String = client.query_one("SELECT k FROM short", &[]).await.unwrap().get(0);
    assert_eq!(stored, "abc");
    assert_ne!(bed.map().slot("abc"), bed.map().slot("abc  "));
}

/// A map of the same epoch with other owners, as of a file that was edited: it would send keys to
/// wrong shards for good.
#[tokio::test]
async fn another_map_of_the_same_epoch_is_refused() {
    let bed = Bed::databases(2).await;
    bed.router().await;
    let map = SlotMap::weighted([("a", 2), ("b", 1)]).unwrap();
    let other = Router::builder(bed.topology_of(map)).build().unwrap();
    for shard in ["a", "b"] {
        let reason = refusal(&other, shard).await;
        assert!(reason.to_string().contains("at one epoch"), "{reason}");
    }
    assert!(other.install().await.is_err());
}

/// Two plans of one map have one epoch, and other owners: the second is refused, whatever is
/// said of rows.
#[tokio::test]
async fn two_plans_of_one_map_are_not_both_installed() {
    let bed = Bed::databases(2).await;
    let router = bed.router().await;
    let map = router.map();
    let plan = |weight| map.plan().reweight("a", weight).build().unwrap().map().clone();
    let one = Router::builder(bed.topology_of(plan(2))).build().unwrap();
    one.install_after_moving_rows().await.unwrap();
    one.install_after_moving_rows().await.unwrap();
    let other = Router::builder(bed.topology_of(plan(3))).build().unwrap();
    let error = other.install_after_moving_rows().await.unwrap_err();
    assert!(error.to_string().contains("two maps were planned from one"), "{error}");
    assert_eq!(count_of(&one, 1).await.unwrap(), 0);
    assert!(one.check().await.iter().all(|report| report.state.is_ok()));
}

/// Keys of every kind reach the row that they were written with.
#[tokio::test]
async fn keys_at_their_extremes() {
    let bed = Bed::databases(2).await;
    let router = bed.router().await;
    for key in [0, -1, 1, i64::MIN, i64::MAX, i64::from(i32::MIN)] {
        crate::bed::order(&router, key, key, 1).await.unwrap();
        assert_eq!(count_of(&router, key).await.unwrap(), 1, "{key}");
    }
    for shard in 0..2 {
        let client = bed.client(shard).await;
        client.batch_execute("UPDATE shard_router.state SET key = 'text'").await.unwrap();
        let table = "CREATE TABLE t (k text NOT NULL PRIMARY KEY DEFAULT '')";
        // An index of 1 MB is too long for its page, and this is not of an index.
        let table = table.replace(" PRIMARY KEY", "");
        client.batch_execute(&table).await.unwrap();
    }
    let topology = Topology::new(bed.map(), [KeyType::Text]).unwrap();
    let topology = topology.shard("a", &bed.urls[0]).unwrap().shard("b", &bed.urls[1]).unwrap();
    let router = Router::builder(topology).build().unwrap();
    let large = "ß".repeat(1 << 19);
    for key in ["", " ", "Zürich", "𝄞", large.as_str()] {
        let found = router
            .with(key, |shard| {
                let key = key.to_owned();
                async move {
                    shard.execute("INSERT INTO t VALUES ($1)", &[&key]).await?;
                    let sql = "SELECT count(*) FROM t WHERE k = $1";
                    Ok::<_, Error>(shard.query_one(sql, &[&key]).await?.get::<_, i64>(0))
                }
            })
            .await;
        assert_eq!(found.unwrap(), 1);
    }
    // PostgreSQL has no text with NUL: it says so, and nothing is anywhere.
    let error = router
        .with("a\0b", |shard| async move {
            shard.execute("INSERT INTO t VALUES ($1)", &[&"a\0b"]).await
        })
        .await
        .unwrap_err();
    assert_eq!(error.code().unwrap().code(), "22021", "{error:?}");
}

/// Another epoch than the map's, on either side.
#[tokio::test]
async fn a_shard_of_another_epoch_is_refused_and_the_others_go_on() {
    let bed = Bed::databases(2).await;
    bed.router().await;
    let router = bed.builder().recheck(Duration::ZERO).build().unwrap();
    let (on_a, on_b) = (user_on(&router, "a"), user_on(&router, "b"));
    let b = bed.client(1).await;
    for (stored, hint) in [(2, "publish the new topology"), (1, "")] {
        let sql = format!("UPDATE shard_router.state SET epoch = {stored}");
        b.batch_execute(&sql).await.unwrap();
        let outcome = count_of(&router, on_b).await;
        if hint.is_empty() {
            outcome.unwrap();
        } else {
            let error = outcome.unwrap_err();
            assert!(matches!(error, Error::Epoch { .. }), "{error}");
            assert!(error.to_string().contains(hint) && error.is_transient(), "{error}");
        }
        count_of(&router, on_a).await.unwrap();
    }
    let newer = SlotMap::even(["a", "b"]).unwrap().plan().reweight("a", 2).build().unwrap();
    let newer = Router::builder(bed.topology_of(newer.map().clone())).build().unwrap();
    let error = count_of(&newer, on_b).await.unwrap_err().to_string();
    assert!(error.contains("the shard was not told"), "{error}");
}

/// Two routers with different epochs: the one with the old map may send single statements to an
/// old owner until its next look, but begins no transaction there.
#[tokio::test]
async fn a_router_with_an_old_map_begins_nothing_on_an_old_owner() {
    let bed = Bed::databases(2).await;
    let old = bed.router().await;
    let user = user_on(&old, "a");
    count_of(&old, user).await.unwrap();
    // The user's slot moves from a to b, and with it its rows, of which there are none.
    let map = old.map();
    let plan = map.plan().pin(map.slot(&user), "b").build().unwrap();
    let new = Router::builder(bed.topology_of(plan.map().clone())).build().unwrap();
    assert!(new.install().await.is_err(), "it says that rows move with their slots");
    new.install_after_moving_rows().await.unwrap();
    let begin = async |router: &Router| {
        router
            .with(&user, |shard| async move {
                let tx = shard.begin().await?;
                tx.execute("INSERT INTO orders (id, user_id) VALUES (1, $1)", &[&user]).await?;
                tx.commit().await
            })
            .await
    };
    let error = begin(&old).await.unwrap_err();
    assert!(matches!(&error, Error::Epoch { shard, .. } if shard.as_str() == "a"), "{error}");
    begin(&new).await.unwrap();
    assert_eq!(count_of(&new, user).await.unwrap(), 1);
    let a = bed.client(0).await;
    let rows: i64 = a.query_one("SELECT count(*) FROM orders", &[]).await.unwrap().get(0);
    assert_eq!(rows, 0);
    // Nor does it believe what it has seen once it has met the new epoch.
    assert!(matches!(count_of(&old, user).await, Err(Error::Epoch { .. })));
}

/// A shard that says another slot is not its own, at the same epoch.
#[tokio::test]
async fn a_slot_that_the_shard_does_not_own() {
    let bed = Bed::databases(2).await;
    let router = bed.router().await;
    let user = user_on(&router, "a");
    count_of(&router, user).await.unwrap();
    let a = bed.client(0).await;
    a.batch_execute("DELETE FROM shard_router.owned").await.unwrap();
    let error = router
        .with(&user, |shard| async move { shard.begin().await.map(drop) })
        .await
        .unwrap_err();
    assert!(matches!(error, Error::NotOwned { .. }), "{error}");
    let report = router.check().await;
    let error = report[0].state.as_ref().unwrap_err().to_string();
    assert!(error.contains("it owns the slots , and by the map 0-8191"), "{error}");
    assert!(report[1].state.is_ok());
}

#[tokio::test]
async fn settings_that_cannot_be_are_refused_at_build() {
    let map = || SlotMap::even(["a", "b"]).unwrap();
    let topology = || {
        let topology = Topology::new(map(), [KeyType::Int]).unwrap();
        topology.shard("a", "host=127.0.0.1").unwrap().shard("b", "host=127.0.0.1").unwrap()
    };
    let cases = [
        (Router::builder(topology()).pool_size(0).build(), "pool_size"),
        (Router::builder(topology()).scatters(0).build(), "scatters"),
        (Router::builder(topology()).query_timeout(Duration::ZERO).build(), "query_timeout"),
        (
            Router::builder(topology()).connect_timeout(Duration::ZERO).build(),
            "connect_timeout",
        ),
        (Router::builder(topology()).pool_size_of("c", 1).build(), "no shard called \"c\""),
        (
            Router::builder(Topology::new(map(), [KeyType::Int]).unwrap()).build(),
            "shards.a.connection",
        ),
        (
            Router::builder(topology().shard("a", "host=x password=secret port=abc").unwrap())
                .build(),
            "it is no connection string",
        ),
        (
            Router::builder(topology().shard("a", "user=x password=secret").unwrap()).build(),
            "it names no host",
        ),
    ];
    for (outcome, expected) in cases {
        let error = outcome.unwrap_err().to_string();
        assert!(error.contains(expected) && !error.contains("secret"), "{error}");
    }
    let shown = format!("{:?}", topology().shard("a", "host=x password=secret").unwrap());
    assert!(!shown.contains("secret"), "{shown}");
}
