//! What is emitted.
#![allow(clippy::unwrap_used, reason = "a panic is how a test fails")]
#![cfg(feature = "metrics")]

use std::collections::BTreeSet;
use std::time::Duration;

use metrics_util::debugging::DebuggingRecorder;
use shard_router::{Error, KeyType, Router, SlotMap, Topology};

#[test]
fn every_name_is_described_and_in_the_readme() {
    let recorder = DebuggingRecorder::new();
    let snapshotter = recorder.snapshotter();
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    metrics::with_local_recorder(&recorder, || {
        runtime.block_on(async {
            let topology =
                Topology::new(SlotMap::even(["a"]).unwrap(), [KeyType::Int]).unwrap();
            let topology = topology.shard("a", "host=127.0.0.1 port=1 user=x").unwrap();
            let router = Router::builder(topology).connect_timeout(Duration::from_millis(200));
            let router = router.build().unwrap();
            let error = router.with(&1, |_| async { Ok::<_, Error>(()) }).await.unwrap_err();
            assert!(matches!(error, Error::Unreachable { .. }), "{error}");
            assert_eq!((router.stats().requests, router.stats().unreachable), (1, 1));
        });
    });
    let readme = include_str!("../README.md");
    let mut names = BTreeSet::new();
    for (key, _, description, _) in snapshotter.snapshot().into_vec() {
        let name = key.key().name().to_owned();
        assert!(description.is_some(), "{name} is not described");
        assert!(readme.contains(&format!("`{name}`")), "{name} is not in the README");
        names.insert(name);
    }
    assert!(names.len() >= 15, "{names:?}");
}
