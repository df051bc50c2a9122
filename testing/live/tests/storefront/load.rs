//! `storefront load` against a shop, by its contract.

use std::fs;

use serde_json::{Value, json};

use crate::shop::Storefront;

/// The fields that the README promises.
pub(crate) fn has_its_fields(report: &Value) {
    for field in [
        "version",
        "url",
        "urls",
        "seed",
        "connections",
        "exponent",
        "target_rps",
        "replay",
        "speed",
        "scale",
        "seconds",
        "requests",
        "requests_per_second",
        "failures",
        "latency_ms",
        "failures_by_class",
        "not_sent",
        "by_kind",
        "reads",
        "database",
        "cache",
        "redis",
    ] {
        assert!(report.get(field).is_some(), "no `{field}` in {report}");
    }
    assert_eq!(report["version"], 1);
    let kinds = ["product", "profile", "order", "update"].map(|kind| &report["by_kind"][kind]);
    for part in kinds.into_iter().chain([report]) {
        for quantile in ["mean", "p50", "p90", "p99", "p999", "max"] {
            assert!(part["latency_ms"][quantile].is_f64(), "no `{quantile}` in {part}");
        }
        assert!(part["requests"].is_u64() && part["failures"].is_u64(), "{part}");
    }
    for field in ["queries", "read_queries", "queries_per_read", "by_statement"] {
        assert!(report["database"].get(field).is_some(), "no `{field}` in {report}");
    }
}

#[tokio::test]
async fn a_load_is_answered_whole_and_reported_by_contract() {
    let storefront = Storefront::open(&[]).await;
    let steady = ["--rps", "300", "--seconds", "2", "--connections", "8"];
    let report = storefront.load(&steady).await;
    has_its_fields(&report);
    assert_eq!(report["url"], storefront.url());
    assert_eq!(report["urls"], json!([storefront.url()]));
    assert!(report["redis"].is_null(), "{report}");
    assert_eq!(report["failures"], 0, "{report}");
    assert_eq!(
        report["requests"].as_u64().unwrap() + report["not_sent"].as_u64().unwrap(),
        600
    );
    assert!(report["cache"]["hit_ratio"].as_f64().unwrap() > 0.0);
    let cost = report["database"]["queries_per_read"].as_f64().unwrap();
    assert!(cost > 0.0 && cost < 1.0, "{report}");

    let report = storefront.load(&["--seconds", "1", "--connections", "8"]).await;
    has_its_fields(&report);
    assert_eq!((&report["failures"], &report["not_sent"]), (&0.into(), &0.into()), "{report}");
    storefront.is_unharmed();
}

/// What reads ask for: a product is one thing, a profile two.
pub(crate) fn lookups(report: &Value) -> u64 {
    let requests = |kind: &str| report["by_kind"][kind]["requests"].as_u64().unwrap();
    requests("product") + 2 * requests("profile")
}

#[tokio::test]
async fn without_a_cache_each_read_of_a_load_is_asked_of_the_database() {
    let storefront = Storefront::open(&["--cache", "off"]).await;
    let report = storefront.load(&["--rps", "200", "--seconds", "1"]).await;
    has_its_fields(&report);
    assert_eq!(report["failures"], 0, "{report}");
    assert!(report["cache"].is_null(), "{report}");
    assert_eq!(report["database"]["read_queries"], lookups(&report), "{report}");
}

/// Its rate is the recording's: as many requests as are under the curve.
#[tokio::test]
async fn a_replay_sends_what_is_under_its_curve() {
    let storefront = Storefront::open(&[]).await;
    let file = storefront.folder.path().join("rate.csv");
    let path = file.to_str().unwrap();
    fs::write(&file, "t_s,value\n0,100\n2,400\n4,0\n6,50\n").unwrap();
    // 2 s each, four times as fast: 0.5 s of 50, 200, 0 and 25 a second.
    let replay = ["--replay", path, "--speed", "4", "--scale", "0.5", "--connections", "8"];
    let report = storefront.load(&replay).await;
    has_its_fields(&report);
    assert_eq!(report["failures"], 0, "{report}");
    let due = 0.5 * (50.0 + 200.0 + 0.0 + 25.0);
    let sent = report["requests"].as_f64().unwrap() + report["not_sent"].as_f64().unwrap();
    assert!((sent - due).abs() <= 1.0, "{sent} of {due}: {report}");
    assert!(report["not_sent"].as_f64().unwrap() <= due / 10.0, "{report}");
    let seconds = report["seconds"].as_f64().unwrap();
    assert!((1.5..4.0).contains(&seconds), "{report}");
    assert_eq!(report["replay"], path);

    fs::write(&file, "t_s,value\n0,100\n2,fast\n").unwrap();
    let (status, said) = storefront.refused_load(&["--replay", path]).await;
    assert_eq!(status.code(), Some(1));
    assert!(said.contains("line 3") && said.contains("fast"), "{said}");
}
