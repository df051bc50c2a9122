//! Who may do what, and who may listen.

use std::collections::BTreeMap;
use std::error::Error;
use std::io;
use std::time::Duration;

use cache_aside::{CacheAside, RedisStore};
use metrics_util::debugging::{DebugValue, DebuggingRecorder, Snapshotter};
use redis::{Client, TlsCertificates};
use testbed::redis::{Redis, RedisCluster};

use crate::basics::everything;

/// What the documents of `RedisStore` say that it needs.
const COMMANDS: [&str; 12] = [
    "info",
    "time",
    "script|load",
    "evalsha",
    "mget",
    "pttl",
    "unlink",
    "set",
    "hmget",
    "hset",
    "hdel",
    "hrandfield",
];

/// A user that may do that and no more, but for one thing.
async fn grant(redis: &Redis, but_for: Option<&str>) -> String {
    let allowed = COMMANDS.into_iter().filter(|command| Some(*command) != but_for);
    let allowed: Vec<_> = allowed.map(|command| format!("+{command}")).collect();
    let name = format!("app{}", but_for.unwrap_or_default().replace('|', "-"));
    let rules = ["ACL", "SETUSER", &name, "on", ">secret", "-@all", "~{cache-aside:*"];
    let rules: Vec<_> = rules.into_iter().chain(allowed.iter().map(String::as_str)).collect();
    redis.command(&rules).await.unwrap();
    format!("redis://{name}:secret@{}/", redis.addr())
}

#[tokio::test]
async fn the_commands_that_are_documented_are_enough() {
    let redis = Redis::start().await.unwrap();
    let url = grant(&redis, None).await;
    everything(|| RedisStore::open(&url[..]).unwrap()).await;
    // Also to find out that it works again.
    let cache: CacheAside<u64, u64> = CacheAside::builder("user")
        .l2(RedisStore::open(&url[..]).unwrap())
        .l2_timeout(Duration::from_millis(500))
        .build()
        .unwrap();
    redis.pause_process().unwrap();
    let mut failed = 0;
    while failed < 10 {
        failed += u32::from(cache.invalidate(&1).await.is_err());
    }
    redis.resume_process().unwrap();
    let deadline = Duration::from_secs(20);
    testbed::eventually(deadline, async || cache.invalidate(&1).await.is_ok()).await;
}

/// The counters of one cache, by name and last label.
pub(crate) fn counters(snapshotter: &Snapshotter) -> BTreeMap<String, u64> {
    let counted = snapshotter.snapshot().into_vec().into_iter();
    counted
        .filter_map(|(key, _, _, value)| match value {
            DebugValue::Counter(count) if count > 0 => {
                let label = key.key().labels().last().map(|label| label.value().to_owned());
                Some((format!("{} {}", key.key().name(), label.unwrap_or_default()), count))
            }
            _ => None,
        })
        .collect()
}

fn chain(error: &dyn Error) -> String {
    let mut text = error.to_string();
    let mut source = error.source();
    while let Some(error) = source {
        text = format!("{text}: {error}");
        source = error.source();
    }
    text
}

/// Reads go on, the error says what is missing, and a counter has it.
#[tokio::test]
async fn a_user_that_lacks_a_command_is_told() {
    let redis = Redis::start().await.unwrap();
    for lacks in COMMANDS {
        redis.command(&["FLUSHALL"]).await.unwrap();
        let url = grant(&redis, Some(lacks)).await;
        let recorder = DebuggingRecorder::new();
        let snapshotter = recorder.snapshotter();
        let store = RedisStore::open(&url[..]).unwrap();
        let cache = metrics::with_local_recorder(&recorder, || {
            CacheAside::<u64, u64>::builder("user")
                .l2(store)
                .l2_timeout(Duration::from_secs(5))
                .build()
                .unwrap()
        });
        let mut told = Vec::new();
        for version in 0..20 {
            let read =
                cache.get_or_load(&version, |_| async move { Ok::<_, io::Error>(version) });
            assert_eq!(read.await.unwrap().as_deref(), Some(&version), "{lacks}");
            if let Err(error) = cache.invalidate_at(&version, version).await {
                told.push(chain(&error));
            }
        }
        let counted = counters(&snapshotter);
        let refused = counted.get("cache_aside_shared_errors_total refused");
        match lacks {
            "info" | "time" | "script|load" | "evalsha" => {
                let what = format!("no permissions to run the '{lacks}' command");
                assert!(told[0].contains(&what), "{}", told[0]);
            }
            // In a script; the server says no more.
            "unlink" => {
                let what = "The user executing the script can't run this command";
                assert!(told[0].contains(what), "{}", told[0]);
            }
            // Only loads meet these.
            "mget" | "set" => {}
            // Where floors fail they are unknown, and what is over goes later.
            _ => continue,
        }
        assert!(refused.is_some(), "{lacks}: {counted:?}");
    }
}

/// What reaches the server with a wrong password says no secret.
#[tokio::test]
async fn a_wrong_password_is_an_error_without_the_password() {
    let redis = Redis::builder().setting("requirepass", "right").start().await.unwrap();
    let url = format!("redis://:wr0ng-s3cret@{}/", redis.addr());
    let cache: CacheAside<u64, u64> = CacheAside::builder("user")
        .l2(RedisStore::open(&url[..]).unwrap())
        .l2_timeout(Duration::from_secs(5))
        .build()
        .unwrap();
    let read = cache.get_or_load(&1, |_| async { Ok::<_, io::Error>(1) }).await.unwrap();
    assert_eq!(read.as_deref(), Some(&1));
    let told = cache.invalidate(&1).await.unwrap_err();
    assert!(chain(&told).contains("WRONGPASS"), "{}", chain(&told));
    assert!(!format!("{told:?} {}", chain(&told)).contains("wr0ng"), "{told:?}");
}

fn trusting(url: String, authority: Option<&str>) -> Client {
    // Feature unification may put another provider beside this one; who comes second is refused.
    let _ = rustls::crypto::ring::default_provider().install_default();
    let authority = authority.expect("a server with TLS has an authority");
    let trust = TlsCertificates { client_tls: None, root_cert: Some(authority.into()) };
    Client::build_with_tls(url, trust).unwrap()
}

#[tokio::test]
async fn one_server_by_tls() {
    let redis = Redis::builder().tls().start().await.unwrap();
    let client = trusting(redis.url(), redis.ca_certificate());
    everything(|| RedisStore::client(&client)).await;
}

#[tokio::test]
async fn a_cluster_by_tls() {
    let cluster = RedisCluster::builder().tls().start().await.unwrap();
    let seeds = cluster
        .urls()
        .into_iter()
        .map(|url| trusting(url, cluster.ca_certificate()).get_connection_info().clone());
    let seeds: Vec<_> = seeds.collect();
    everything(|| RedisStore::cluster(seeds.clone()).unwrap()).await;
}

#[tokio::test]
async fn another_database_and_the_third_protocol() {
    let redis = Redis::start().await.unwrap();
    let url = format!("{}3?protocol=resp3", redis.url());
    everything(|| RedisStore::open(&url[..]).unwrap()).await;
    let size = redis.command(&["DBSIZE"]).await.unwrap();
    assert_eq!(size.integer(), Some(0), "all of it is in the third");
}
