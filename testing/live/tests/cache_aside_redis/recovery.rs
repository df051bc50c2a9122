//! Ways to lose a Redis that look like something else.

use std::future::pending;
use std::io;
use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use cache_aside::{CacheAside, Lookup, RedisStore};
use testbed::eventually;
use testbed::redis::Redis;
use tokio::io::{AsyncReadExt, AsyncWriteExt, copy, copy_bidirectional};
use tokio::net::{TcpListener, TcpStream};

use crate::access::counters;
use crate::scene::Cache;

const DEADLINE: Duration = Duration::from_secs(20);

fn cache(url: &str) -> Cache {
    let patient = CacheAside::builder("row").l2_timeout(DEADLINE);
    patient.l2(RedisStore::open(url).unwrap()).build().unwrap()
}

async fn load(cache: &Cache, key: u64) -> u64 {
    let read = cache.get_or_load(&key, |_| async move { Ok::<_, io::Error>(key) });
    *read.await.unwrap().unwrap()
}

/// A way to a server that may go mute when it is asked who it is, for ever.
async fn door(to: SocketAddr) -> (SocketAddr, Arc<AtomicBool>) {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let (addr, mute) = (listener.local_addr().unwrap(), Arc::new(AtomicBool::new(true)));
    let is_mute = Arc::clone(&mute);
    tokio::spawn(async move {
        while let Ok((mut client, _)) = listener.accept().await {
            let is_mute = is_mute.load(Ordering::SeqCst);
            tokio::spawn(async move {
                let mut server = TcpStream::connect(to).await?;
                if !is_mute {
                    return copy_bidirectional(&mut client, &mut server).await.map(drop);
                }
                let (mut questions, mut answers) = client.into_split();
                let (mut from, mut into) = server.into_split();
                tokio::spawn(async move { copy(&mut from, &mut answers).await });
                let mut piece = vec![0; 4_096];
                loop {
                    let read = questions.read(&mut piece).await?;
                    if piece[..read].windows(11).any(|word| word == b"replication") {
                        return pending().await;
                    }
                    into.write_all(&piece[..read]).await?;
                }
            });
        }
    });
    (addr, mute)
}

/// A host that went without a word: its connections are neither answered nor closed.
#[tokio::test]
async fn a_server_that_has_let_us_in_and_says_nothing_is_given_up() {
    let redis = Redis::start().await.unwrap();
    let (addr, mute) = door(redis.addr()).await;
    let store = RedisStore::open(redis.url_at(addr)).unwrap();
    let one = CacheAside::builder("row").l2(store).build().unwrap();
    let two = cache(&redis.url());
    for key in 0..10 {
        assert_eq!(load(&one, key).await, key);
    }
    mute.store(false, Ordering::SeqCst);
    let mut key = 100;
    eventually(DEADLINE, async || {
        key += 1;
        load(&one, key).await;
        two.get(&key).await == Lookup::Hit(Arc::new(key))
    })
    .await;
}

#[tokio::test]
async fn scripts_that_were_flushed_are_loaded_again() {
    let redis = Redis::start().await.unwrap();
    let (one, two) = (cache(&redis.url()), cache(&redis.url()));
    for key in 0..5 {
        redis.command(&["SCRIPT", "FLUSH"]).await.unwrap();
        load(&one, key).await;
        redis.command(&["SCRIPT", "FLUSH"]).await.unwrap();
        assert_eq!(two.get(&key).await, Lookup::Hit(Arc::new(key)));
        two.invalidate(&key).await.unwrap();
        redis.command(&["SCRIPT", "FLUSH"]).await.unwrap();
        one.insert(&key, key + 1).await.unwrap();
        assert_eq!(two.get(&key).await, Lookup::Hit(Arc::new(key + 1)));
    }
}

/// A full server is known as one: it reads and invalidates, and no breaker opens.
#[tokio::test]
async fn a_full_server_still_reads_and_invalidates() {
    let redis = Redis::start().await.unwrap();
    let recorder = metrics_util::debugging::DebuggingRecorder::new();
    let snapshotter = recorder.snapshotter();
    let one = metrics::with_local_recorder(&recorder, || cache(&redis.url()));
    for key in 0..10 {
        load(&one, key).await;
    }
    redis.command(&["CONFIG", "SET", "maxmemory", "1"]).await.unwrap();
    for key in 0..10 {
        assert_eq!(one.get(&key).await, Lookup::Hit(Arc::new(key)), "it still reads");
        match key % 4 {
            0 => one.invalidate(&key).await.unwrap(),
            1 => one.invalidate_at(&key, key).await.unwrap(),
            2 => one.insert(&key, key).await.unwrap(),
            _ => assert!(one.insert_at(&key, key, key).await.unwrap()),
        }
        if key % 4 < 2 {
            assert_eq!(one.get(&key).await, Lookup::Miss);
        }
        assert_eq!(load(&one, key).await, key);
    }
    one.clear().await.unwrap();
    let counted = counters(&snapshotter);
    assert!(counted["cache_aside_shared_errors_total full"] >= 5, "{counted:?}");
    assert!(!counted.contains_key("cache_aside_shared_errors_total refused"), "{counted:?}");
    assert!(!counted.contains_key("cache_aside_shared_reads_total bypass"), "{counted:?}");

    redis.command(&["CONFIG", "SET", "maxmemory", "0"]).await.unwrap();
    load(&one, 0).await;
    assert_eq!(one.get(&0).await, Lookup::Hit(Arc::new(0)));
}
