//! How long a test waits for its servers; alone in a binary, so that no other
//! test of it takes the time.

#![allow(clippy::disallowed_methods, reason = "wall time is what is measured here")]

use std::time::{Duration, Instant};

use testbed::postgres::Postgres;
use testbed::redis::Redis;

#[tokio::test]
async fn servers_start_soon() {
    // The first start of all makes the template.
    drop(Postgres::start().await.unwrap());

    let mut figures = Vec::new();
    for _ in 0..5 {
        let start = Instant::now();
        let primary = Postgres::start().await.unwrap();
        let alone = start.elapsed();
        let replica = primary.replica().await.unwrap();
        let both = start.elapsed();

        let start = Instant::now();
        replica.promote().await.unwrap();
        let promotion = start.elapsed();

        let start = Instant::now();
        primary.kill().await.unwrap();
        primary.restart().await.unwrap();
        let recovery = start.elapsed();

        let start = Instant::now();
        let _redis = Redis::start().await.unwrap();
        figures.push([both, alone, promotion, recovery, start.elapsed()]);
    }
    figures.sort();
    let [both, alone, promotion, recovery, redis] = figures[figures.len() / 2];
    println!(
        "the run of median length of {}: primary {alone:?}, with one replica {both:?}, \
         promotion {promotion:?}, kill and restart {recovery:?}, Redis {redis:?}",
        figures.len()
    );
    // The aim is 3 s on an idle machine.
    assert!(both < Duration::from_secs(6), "a primary with one replica took {both:?}");
}
