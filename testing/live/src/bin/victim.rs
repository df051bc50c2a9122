//! A process that has servers, for the tests of the clean-up: it prints the folder
//! that they live in, and ends as it is told, or is killed.
//!
//! `victim wait | crash | panic | exit | starting | cluster`

#![allow(clippy::unwrap_used, reason = "it is a part of a test")]

use std::future::pending;
use std::process::Command;
use std::time::Duration;

use testbed::guard::{ExitSignal, spawn_guarded};
use testbed::postgres::Postgres;
use testbed::redis::{Redis, RedisCluster};
use testbed::{Folder, eventually};

const DEADLINE: Duration = Duration::from_secs(20);

#[tokio::main(flavor = "current_thread")]
async fn main() {
    let mode = std::env::args().nth(1).expect("the way to end is the argument");
    let folder = Folder::new("mine").await.unwrap();
    let root = folder.path().parent().unwrap().display().to_string();
    if mode == "starting" {
        println!("{root}");
        loop {
            let primary = Postgres::start().await.unwrap();
            drop(primary.replica().await.unwrap());
        }
    }

    if mode == "cluster" {
        let cluster = RedisCluster::builder().replicas_per_master(1).start().await.unwrap();
        let primary = Redis::start().await.unwrap();
        let _replica = primary.replica().await.unwrap();
        primary.save().await.unwrap();
        cluster.nodes()[0].pause_process().unwrap();
        cluster.nodes()[1].kill().await.unwrap();
        println!("{root}");
        return pending().await;
    }

    let primary = Postgres::start().await.unwrap();
    let replica = primary.replica().await.unwrap();
    let redis = Redis::start().await.unwrap();
    let mut stubborn = Command::new("/bin/sh");
    stubborn.args(["-c", "trap '' TERM; while :; do sleep 1000; done"]);
    let stubborn = spawn_guarded(stubborn, ExitSignal::Terminate).await.unwrap();
    let busy = primary.client().await.unwrap();
    let query = busy.batch_execute("SELECT pg_sleep(1000)");
    let watcher = primary.client().await.unwrap();
    let asleep = async {
        eventually(DEADLINE, async || {
            let sleeping = "SELECT count(*) FROM pg_stat_activity WHERE wait_event = 'PgSleep'";
            watcher.query_one(sleeping, &[]).await.unwrap().get::<_, i64>(0) == 1
        })
        .await;
        // One that does not even see a signal.
        replica.pause_process().unwrap();
        if mode == "crash" {
            primary.kill().await.unwrap();
        }
        println!("{root}");
        match mode.as_str() {
            "wait" | "crash" => {}
            "panic" => panic!("as was asked"),
            "exit" => std::process::exit(7),
            mode => unreachable!("no mode {mode}"),
        }
    };
    let _ = tokio::join!(query, asleep);
    stubborn.wait().await;
    redis.stop().await.unwrap();
}
