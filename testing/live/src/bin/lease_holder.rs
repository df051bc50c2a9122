//! A process that begins to load a key of a cache in Redis and does not end, to be
//! killed: `lease_holder URL KEY`. It prints a line when it loads.

#![allow(clippy::unwrap_used, reason = "it is a part of a test")]

use std::future::pending;
use std::time::Duration;

use cache_aside::{CacheAside, RedisStore};

#[tokio::main(flavor = "current_thread")]
async fn main() {
    let words: Vec<String> = std::env::args().skip(1).collect();
    let [url, key] = &words[..] else { panic!("the words are URL and KEY") };
    // As the caches of the test have it.
    let cache: CacheAside<u64, u64> = CacheAside::builder("row")
        .l2(RedisStore::open(&url[..]).unwrap())
        .load_timeout(Duration::from_secs(1))
        .l2_timeout(Duration::from_millis(100))
        .build()
        .unwrap();
    let key = key.parse().unwrap();
    let load = cache.get_or_load(&key, |_| async {
        println!("loading");
        pending::<Result<u64, std::io::Error>>().await
    });
    let _ = load.await;
}
