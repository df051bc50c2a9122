//! What is emitted; the counts themselves are checked by `Stats` on real servers.
#![allow(clippy::unwrap_used, reason = "a panic is how a test fails")]
#![cfg(feature = "metrics")]

use std::collections::BTreeSet;
use std::time::Duration;

use metrics_util::debugging::DebuggingRecorder;
use rw_split::RwSplit;

#[test]
fn every_name_is_described_and_in_the_readme() {
    let recorder = DebuggingRecorder::new();
    let snapshotter = recorder.snapshotter();
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .start_paused(true)
        .build()
        .unwrap();
    metrics::with_local_recorder(&recorder, || {
        runtime.block_on(async {
            let db = RwSplit::builder()
                .server("host=127.0.0.1 port=1 user=x")
                .failover_wait(Duration::ZERO)
                .build()
                .await
                .unwrap();
            assert!(db.query("SELECT 1", &[]).await.is_err());
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
