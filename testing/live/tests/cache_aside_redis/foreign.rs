//! What is under the crate's keys and was not put there by it, or not by this version
//! of the program: a miss, which the next load puts right.

use std::io;

use cache_aside::{CacheAside, Json, Lookup, RedisStore};
use std::sync::Arc;
use std::time::{Duration, Instant};
use testbed::eventually;
use testbed::redis::Redis;

use crate::scene::Cache;

const KEY: u64 = 1;
const DEADLINE: Duration = Duration::from_secs(30);

/// All in one partition, so that its keys have names that are known.
fn store(redis: &Redis) -> RedisStore {
    RedisStore::open(redis.url()).unwrap().partitions(1).unwrap()
}

fn cache(redis: &Redis) -> Cache {
    // A lease that must be waited for is a failure here.
    let patient = CacheAside::builder("row").lease_wait(DEADLINE);
    patient.l2(store(redis)).l2_timeout(DEADLINE).build().unwrap()
}

async fn load(cache: &Cache, version: u64) -> u64 {
    let read = cache.get_or_load(&KEY, |_| async move { Ok::<_, io::Error>(version) });
    let read = tokio::time::timeout(DEADLINE / 2, read).await;
    *read.expect("nobody holds a lease").unwrap().unwrap()
}

/// The names of the record, the lease, the generation and the floors.
async fn names(redis: &Redis) -> [Vec<u8>; 4] {
    let found = redis.command(&["KEYS", "{cache-aside:row:0}v*"]).await.unwrap();
    let [testbed::redis::Reply::Bytes(record)] = found.items() else { panic!("{found:?}") };
    let (tag, key) = record.split_at(b"{cache-aside:row:0}".len());
    let name = |kind: &[u8], key: &[u8]| [tag, kind, key].concat();
    [record.clone(), name(b"l", &key[1..]), name(b"g", b""), name(b"f", b"")]
}

/// What somebody may put under a name: commands whose second word it is.
fn plants() -> Vec<Vec<Vec<u8>>> {
    let words = |words: &[&[u8]]| words.iter().map(|word| word.to_vec()).collect();
    vec![
        words(&[b"RPUSH", b"", b"a", b"b"]),
        words(&[b"SADD", b"", b"a"]),
        words(&[b"HSET", b"", b"since", b"never", b"x", b"y", &[b'k'; 40], b""]),
        words(&[b"HSET", b"", b"since", b"99999999999999", &[b'k'; 9], &[0xff; 32]]),
        words(&[b"HSET", b"", b"k\0\0\0\0\0\0\0\x01", &[b'x'; 32]]),
        words(&[b"SET", b"", b""]),
        words(&[b"SET", b"", b"x"]),
        words(&[b"SET", b"", &[b'x'; 16]]),
        words(&[b"SET", b"", &[0; 20]]),
        words(&[b"SET", b"", b"eca1 and no more"]),
        words(&[b"SET", b"", &[0xff; 200]]),
        words(&[b"SET", b"", &[b"eca1".as_slice(), &[b'x'; 200]].concat()]),
    ]
}

#[tokio::test]
async fn what_others_put_under_the_crates_keys_is_put_right() {
    let redis = Redis::start().await.unwrap();
    let (one, two) = (cache(&redis), cache(&redis));
    let mut version = 0;
    load(&one, version).await;
    let names = names(&redis).await;
    for (n, name) in names.iter().enumerate() {
        for mut plant in plants() {
            let what = format!("name {n}: {plant:?}");
            plant[1].clone_from(name);
            redis.command(&[b"DEL", &name[..]]).await.unwrap();
            redis.command(&plant).await.unwrap();

            // What was there before may be shown, if that is not what is planted over.
            let shown = one.get(&KEY).await;
            assert!([Lookup::Miss, Lookup::Hit(Arc::new(version))].contains(&shown), "{what}");
            version += 1;
            if n % 2 == 0 {
                // The record is a miss, or all records are.
                assert_eq!(shown, Lookup::Miss, "{what}");
            } else {
                one.invalidate_at(&KEY, version).await.unwrap();
            }
            let value = cache_aside::Loaded::value(version).version(version);
            let read = one.get_or_load(&KEY, |_| async move { Ok::<_, io::Error>(value) });
            let read = tokio::time::timeout(DEADLINE / 2, read).await;
            let read = read.unwrap_or_else(|_| panic!("it waits for a lease: {what}"));
            assert_eq!(read.unwrap().as_deref(), Some(&version), "{what}");
            assert_eq!(two.get(&KEY).await, Lookup::Hit(Arc::new(version)), "{what}");
        }
    }
}

/// The program before and after a release: each shows only what it has written, and
/// overwrites the other's.
#[tokio::test]
async fn another_schema_codec_or_type_is_a_miss() {
    let redis = Redis::start().await.unwrap();
    let one = cache(&redis);
    let builder = || CacheAside::<u64, u64>::builder("row").l2_timeout(DEADLINE);
    let others = [
        builder().l2(store(&redis)).schema_version(1).build().unwrap(),
        builder().l2_with_codec(store(&redis), Json).build().unwrap(),
    ];
    for other in others {
        assert_eq!(load(&one, 1).await, 1);
        assert_eq!(other.get(&KEY).await, Lookup::Miss);
        assert_eq!(load(&other, 2).await, 2);
        assert_eq!(one.get(&KEY).await, Lookup::Miss);
        assert_eq!(load(&one, 1).await, 1);
        one.invalidate(&KEY).await.unwrap();
        assert_eq!(other.get(&KEY).await, Lookup::Miss, "an invalidation reaches all");
    }

    let text: CacheAside<u64, String> =
        CacheAside::builder("row").l2(store(&redis)).l2_timeout(DEADLINE).build().unwrap();
    assert_eq!(load(&one, 1).await, 1);
    assert_eq!(text.get(&KEY).await, Lookup::Miss);
    let read = text.get_or_load(&KEY, |_| async { Ok::<_, io::Error>("text".to_owned()) });
    assert_eq!(*read.await.unwrap().unwrap(), "text");
    assert_eq!(one.get(&KEY).await, Lookup::Miss);
    assert_eq!(load(&one, 3).await, 3);
}

/// One that takes longer to come than the tier is waited for is an error of each read
/// that meets it, which the source answers, until an invalidation takes it away. One
/// that comes in time and is too large is a miss, and the next load overwrites it.
#[tokio::test]
async fn a_hundred_megabytes_under_a_record_are_no_value() {
    let redis = Redis::start().await.unwrap();
    let patient = cache(&redis);
    load(&patient, 1).await;
    let [record, ..] = names(&redis).await;
    let plant = async |bytes: usize| {
        redis.command(&[b"SET", &record[..], &vec![b'x'; bytes]]).await.unwrap();
    };

    plant(100 << 20).await;
    let hasty = CacheAside::builder("row").l2(store(&redis)).build().unwrap();
    let began = Instant::now();
    assert_eq!(load(&hasty, 2).await, 2);
    assert!(began.elapsed() < Duration::from_secs(2));
    // It may be behind what is still to come, and is acknowledged after all.
    let _ = hasty.invalidate(&KEY).await;
    eventually(DEADLINE, async || {
        load(&hasty, 2).await;
        patient.get(&KEY).await == Lookup::Hit(Arc::new(2))
    })
    .await;

    // The most that is read is 4 MiB.
    plant(5 << 20).await;
    assert_eq!(patient.get(&KEY).await, Lookup::Miss);
    assert_eq!(load(&patient, 3).await, 3);
    assert_eq!(patient.get(&KEY).await, Lookup::Hit(Arc::new(3)));
    eventually(DEADLINE, async || hasty.get(&KEY).await == Lookup::Hit(Arc::new(3))).await;
}
