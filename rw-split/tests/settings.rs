//! Settings that make no sense are refused, with the reason; servers that are
//! away are not.
#![allow(clippy::unwrap_used, reason = "a panic is how a test fails")]

use std::time::Duration;

use rw_split::{BuildError, Error, Level, RwSplit, RwSplitBuilder, ServerConfig};

async fn refused(builder: RwSplitBuilder, setting: &str, reason: &str) {
    let error: BuildError = builder.build().await.unwrap_err();
    assert_eq!(error.setting(), setting);
    assert!(error.to_string().contains(reason), "{error}");
}

fn one() -> RwSplitBuilder {
    RwSplit::builder().server("host=127.0.0.1 port=1 user=x password=secret")
}

#[tokio::test]
async fn settings_that_make_no_sense_are_refused() {
    refused(RwSplit::builder(), "server", "no server").await;
    refused(RwSplit::builder().server("host=a,b user=x"), "server", "2 hosts").await;
    refused(RwSplit::builder().server("nonsense"), "server", "connection string").await;
    let twice = RwSplit::builder().server("host=a user=x").server("host=a user=x");
    refused(twice, "server", "give them names").await;
    refused(one().pool_size(0), "pool_size", "answers nobody").await;
    refused(one().statements_per_connection(0), "statements_per_connection", "").await;
    refused(one().poll_interval(Duration::ZERO), "poll_interval", "1 ms").await;
    refused(one().patience(Duration::from_millis(10)), "patience", "poll_interval").await;
    refused(one().pool_timeout(Duration::ZERO), "pool_timeout", "zero").await;
    refused(one().unknown_pin(Duration::ZERO), "unknown_pin", "zero").await;
    refused(one().level(Level::PinWindow(Duration::ZERO)), "level", "Eventual").await;
    refused(one().max_wait(Duration::from_secs(60)), "max_wait", "10 s").await;
    let timeout = one().statement_timeout(Duration::from_micros(10));
    refused(timeout, "statement_timeout", "1 ms").await;
}

#[tokio::test(start_paused = true)]
async fn without_servers_there_are_errors_and_no_secrets() {
    let builder = one().failover_wait(Duration::from_millis(100));
    let text = format!("{builder:?} {:?}", ServerConfig::new("host=a password=secret user=x"));
    assert!(!text.contains("secret"), "{text}");
    let db = builder.build().await.unwrap();
    assert!(!format!("{db:?}").contains("secret"));
    let error = db.query("SELECT 1", &[]).await.unwrap_err();
    assert!(matches!(error, Error::NoPrimary { .. }), "{error:?}");
    assert!(error.is_transient() && !error.may_have_happened());
    assert!(!format!("{error:?} {error}").contains("secret"));
}
