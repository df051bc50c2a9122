//! What one server has asked for all have, and the origin is asked once.

use std::sync::atomic::Ordering;
use std::time::Duration;

use testbed::eventually;
use testbed::redis::{Redis, RedisCluster, Reply};
use tokio::time::Instant;

use crate::fleet::{BOUND, Fleet, ask, uri, version};
use cache_aside::RedisStore;

#[tokio::test]
async fn a_thousand_misses_on_four_servers_are_one_request() {
    let redis = Redis::start().await.unwrap();
    let fleet = Fleet::new(&vec![redis.url(); 4]).await;
    fleet.warm("/other").await;
    let gate = fleet.hold();
    let asks: Vec<_> = (0..1_000)
        .map(|n| tokio::spawn(ask(fleet.servers[n % 4].service.clone(), "GET", "/slow")))
        .collect();
    fleet.is_asked(1).await;
    // Long enough for the others to come to the lease.
    let waited = || async { commands(&redis, "evalsha").await > 20 };
    eventually(Duration::from_secs(20), waited).await;
    gate.add_permits(1_000);
    for ask in asks {
        assert_eq!(version(&ask.await.unwrap()), 1);
    }
    assert_eq!(fleet.asked(), 1);
}

#[tokio::test]
async fn what_is_not_to_be_shared_serialises_nobody() {
    let redis = Redis::start().await.unwrap();
    let fleet = Fleet::new(&vec![redis.url(); 4]).await;
    fleet.warm("/other").await;
    fleet.fields("cache-control: private");
    let gate = fleet.hold();
    let began = Instant::now();
    let asks: Vec<_> = (0..100)
        .map(|n| tokio::spawn(ask(fleet.servers[n % 4].service.clone(), "GET", "/mine")))
        .collect();
    fleet.is_asked(1).await;
    gate.add_permits(1);
    // All others at once.
    fleet.is_asked(100).await;
    gate.add_permits(100);
    for ask in asks {
        ask.await.unwrap();
    }
    // By the lease alone it would be a wait for each server.
    assert!(began.elapsed() < Duration::from_secs(5), "{:?}", began.elapsed());
}

#[tokio::test]
async fn a_hit_asks_nothing_of_redis_and_nothing_looks_at_all_keys() {
    let redis = Redis::start().await.unwrap();
    let fleet = Fleet::with(&vec![redis.url(); 3], |builder| {
        builder.staleness_bound(Duration::from_secs(60))
    })
    .await;
    for n in 0..50 {
        fleet.warm(&format!("/a/{n}")).await;
    }
    // The servers' questions for news are far apart.
    let before = total(&redis).await;
    for _ in 0..200 {
        for server in 0..3 {
            fleet.get(server, "/a/7").await;
        }
    }
    let after = total(&redis).await;
    // But for those, and that a connection asks who the server is.
    assert!(after - before < 40, "{}", after - before);

    let purge = fleet.servers[0].purge.at_once();
    purge.prefix(&uri("/a")).await.unwrap();
    purge.group(&uri("/"), "g").await.unwrap();
    purge.soft().prefix(&uri("/")).await.unwrap();
    purge.uri(&uri("/a/1")).await.unwrap();
    purge.all().await.unwrap();
    for command in ["scan", "keys", "sscan", "hscan"] {
        assert_eq!(commands(&redis, command).await, 0, "{command}");
    }
}

/// How often a command was run.
async fn commands(redis: &Redis, command: &str) -> u64 {
    let stats = redis.command(&["INFO", "commandstats"]).await.unwrap();
    let line = stats.text().unwrap().lines().find_map(|line| {
        line.strip_prefix("cmdstat_")?.strip_prefix(command)?.strip_prefix(":calls=")
    });
    line.map_or(0, |line| line.split(',').next().unwrap().parse().unwrap())
}

async fn total(redis: &Redis) -> u64 {
    redis.info("total_commands_processed").await.unwrap().unwrap().parse().unwrap()
}

#[tokio::test]
async fn what_is_kept_in_redis_ends_and_is_bounded() {
    let redis = Redis::start().await.unwrap();
    let fleet = Fleet::with(&vec![redis.url(); 3], |builder| {
        builder.staleness_bound(BOUND).l2_max_bytes(20_000)
    })
    .await;
    fleet.warm("/small").await;
    fleet.fields("cache-control: private");
    fleet.get(0, "/private").await;
    fleet.fields("cache-control: max-age=600");
    fleet.origin.length.store(30_000, Ordering::SeqCst);
    fleet.get(0, "/large").await;
    let purge = fleet.servers[0].purge.at_once();
    for n in 0..3_000 {
        purge.group(&uri("/"), &format!("{n}")).await.unwrap();
    }
    let keys = redis.command(&["KEYS", "*"]).await.unwrap();
    let mut kinds = String::new();
    for key in keys.items() {
        let key = key.text().unwrap();
        let kind = key.split_once('}').unwrap().1.chars().next().unwrap();
        kinds.push(kind);
        let integer = |words: Vec<&str>| {
            let words: Vec<String> = words.into_iter().map(str::to_owned).collect();
            let redis = &redis;
            async move { redis.command(&words).await.unwrap().integer().unwrap() }
        };
        match kind {
            'v' | 'l' => {
                let ttl = integer(vec!["PTTL", key]).await;
                // Its lifetime, and a day in which it may be validated or stand in.
                assert!((1..=(24 * 3_600 + 600) * 1_000).contains(&ttl), "{key}: {ttl}");
                let length = integer(vec!["STRLEN", key]).await;
                assert!(length < 20_200, "{key}: {length}");
            }
            'j' => assert_eq!(integer(vec!["LLEN", key]).await, 1_024),
            'p' | 'o' => assert!(integer(vec!["HLEN", key]).await <= 3_001),
            'c' | 'g' | 'f' => {}
            _ => panic!("{key}"),
        }
    }
    for kind in ['v', 'c', 'j', 'p', 'o'] {
        assert!(kinds.contains(kind), "no {kind} in {kinds}");
    }
}

#[tokio::test]
async fn garbage_in_redis_is_a_miss() {
    let redis = Redis::start().await.unwrap();
    let mut fleet = Fleet::new(&vec![redis.url(); 1]).await;
    fleet.warm("/a").await;
    let key = "{cache-aside:cache-aside:0}vhttp://h/a";
    let Reply::Bytes(record) = redis.command(&["GET", key]).await.unwrap() else {
        panic!("no record")
    };
    // What is before the body is whole: what follows is cut, of another version, and bent.
    let short = record[..record.len() - 1].to_vec();
    let mut other = record.to_vec();
    other[81 + 22] = 99;
    let mut bent = record.to_vec();
    let end = bent.len();
    bent[81 + 30..end].reverse();
    for garbage in [short, other, bent, vec![7; 3], Vec::new()] {
        redis.command(&[&b"SET"[..], key.as_bytes(), &garbage]).await.unwrap();
        fleet.add(&redis.url(), |builder| builder.staleness_bound(BOUND));
        let server = fleet.servers.len() - 1;
        fleet.asked();
        assert_eq!(fleet.version(server, "/a").await, 1);
        assert_eq!(fleet.asked(), 1);
        // It is written over.
        let mended = || async {
            let now = redis.command(&["GET", key]).await.unwrap();
            matches!(now, Reply::Bytes(now) if now.len() == record.len())
        };
        eventually(Duration::from_secs(10), mended).await;
    }
}

#[tokio::test]
async fn a_cluster_is_shared_too() {
    let cluster = RedisCluster::start().await.unwrap();
    let mut fleet = Fleet::new(&[]).await;
    for _ in 0..3 {
        let store = RedisStore::cluster(cluster.urls()).unwrap();
        fleet.add_on(store, |builder| builder.staleness_bound(BOUND));
    }
    for n in 0..20 {
        let path = format!("/a/{n}");
        fleet.warm(&path).await;
    }
    let new = fleet.change();
    fleet.servers[1].purge.prefix(&uri("/a")).await.unwrap();
    for n in 0..20 {
        for server in 0..3 {
            assert_eq!(fleet.version(server, &format!("/a/{n}")).await, new);
        }
    }
    let asked = fleet.asked();
    assert!(asked <= 22, "{asked} requests for 20 URIs");
    let new = fleet.change();
    fleet.servers[2].purge.all().await.unwrap();
    for server in 0..3 {
        assert_eq!(fleet.version(server, "/a/3").await, new);
    }
}
