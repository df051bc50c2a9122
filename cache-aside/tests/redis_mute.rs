//! A Redis that accepts connections and says nothing more.
#![cfg(feature = "redis")]
#![allow(clippy::unwrap_used, reason = "a panic is how a test fails")]

mod support;

use std::io::{Read, Write};
use std::net::{SocketAddr, TcpListener};
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use cache_aside::{CacheAside, RedisStore};
use support::Source;
use tokio::time::Instant;

/// Answers what sets a connection up, and nothing after.
fn mute_server() -> (SocketAddr, Arc<AtomicUsize>) {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let at = listener.local_addr().unwrap();
    let accepted = Arc::new(AtomicUsize::new(0));
    let count = Arc::clone(&accepted);
    std::thread::spawn(move || {
        while let Ok((mut socket, _)) = listener.accept() {
            count.fetch_add(1, Ordering::SeqCst);
            std::thread::spawn(move || {
                let mut bytes = [0; 4096];
                while let Ok(n @ 1..) = socket.read(&mut bytes) {
                    let sets_up =
                        String::from_utf8_lossy(&bytes[..n]).matches("SETINFO").count();
                    for _ in 0..sets_up {
                        let _ = socket.write_all(b"+OK\r\n");
                    }
                }
            });
        }
    });
    (at, accepted)
}

#[tokio::test]
async fn a_server_that_hangs_while_it_is_greeted_is_left() {
    let (at, accepted) = mute_server();
    let store = RedisStore::open(format!("redis://{at}/")).unwrap();
    let cache: CacheAside<u64, u64> = CacheAside::builder("test").l2(store).build().unwrap();
    let source = Source::new(1);
    let began = Instant::now();
    let connections = || accepted.load(Ordering::SeqCst);
    while began.elapsed() < Duration::from_secs(15) && connections() < 2 {
        cache.get_or_load(&7, |_| source.read()).await.unwrap();
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
    assert!(connections() >= 2, "it goes on waiting for the first");
}
