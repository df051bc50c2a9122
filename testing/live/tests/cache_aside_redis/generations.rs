//! A generation that is known by the server's notices is never one too old.

use std::io;
use std::time::Duration;

use cache_aside::{CacheAside, Lookup, RedisStore};
use testbed::redis::Redis;

type Cache = CacheAside<u64, u64>;

fn cache(redis: &Redis) -> Cache {
    CacheAside::builder("noticed").l2(RedisStore::open(redis.url()).unwrap()).build().unwrap()
}

/// The value of `key` as the tier has it, loaded as `version` if it is a miss.
async fn read(cache: &Cache, key: u64, version: u64) -> u64 {
    let load = |_| async move { Ok::<_, io::Error>(version) };
    *cache.get_or_load(&key, load).await.unwrap().unwrap()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn no_read_sees_what_was_cleared_before_it_began() {
    let redis = Redis::start().await.unwrap();
    let (one, two) = (cache(&redis), cache(&redis));
    for version in 1..2_000_u64 {
        // Reads go on meanwhile, so that answers and notices come close.
        let (busy, other) = (one.clone(), version % 7);
        let reads = tokio::spawn(async move {
            for _ in 0..20 {
                busy.get(&other).await;
            }
        });
        assert_eq!(read(&one, 100, version).await, version);
        assert_eq!(one.get(&100).await, Lookup::Hit(version.into()));
        match version % 3 {
            0 => drop(redis.command(&["FLUSHALL"]).await.unwrap()),
            1 => two.clear().await.unwrap(),
            _ => one.clear().await.unwrap(),
        }
        assert_eq!(one.get(&100).await, Lookup::Miss, "{version}");
        assert_eq!(two.get(&100).await, Lookup::Miss, "{version}");
        reads.await.unwrap();
    }
}

/// Hits are GETs of the record alone, once the generation is known, and ask for both
/// where the server may not give notice.
#[tokio::test]
async fn a_hit_asks_for_as_little_as_it_may() {
    let redis = Redis::start().await.unwrap();
    let user = ["ACL", "SETUSER", "quiet", "on", ">secret", "~*", "+@all", "-client"];
    redis.command(&user).await.unwrap();
    let quiet = format!("redis://quiet:secret@{}/", redis.addr());
    let quiet: Cache = CacheAside::builder("noticed")
        .l2(RedisStore::open(quiet).unwrap())
        .l2_timeout(Duration::from_secs(5))
        .build()
        .unwrap();
    let told = cache(&redis);
    for (cache, name, [gets, mgets]) in [(&told, "told", [10, 0]), (&quiet, "quiet", [0, 10])] {
        for version in [1, 1, 1] {
            read(cache, 7, version).await;
        }
        redis.command(&["CONFIG", "RESETSTAT"]).await.unwrap();
        for _ in 0..10 {
            assert_eq!(read(cache, 7, 2).await, 1, "{name}");
        }
        let calls = redis.command(&["INFO", "commandstats"]).await.unwrap();
        let calls = calls.text().unwrap().to_owned();
        let count = |command: &str| {
            let line =
                calls.lines().find_map(|l| l.strip_prefix(&format!("cmdstat_{command}:")));
            line.map_or(0, |line| {
                let count = line.strip_prefix("calls=").unwrap().split(',').next();
                count.unwrap().parse::<u64>().unwrap()
            })
        };
        assert_eq!([count("get"), count("mget")], [gets, mgets], "{name}: {calls}");
        told.invalidate(&7).await.unwrap();
    }
}
