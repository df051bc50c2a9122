//! What decisions become through the `metrics` facade.
#![cfg(feature = "metrics")]
#![allow(clippy::unwrap_used, reason = "a panic is how a test fails")]

use autoscale_policy::{
    Action, Bound, Decision, DecisionMetrics, EpochMillis, Instance, InstanceId, Observation,
    Phase, Sample, Scaler, Threshold,
};
use metrics_util::debugging::{DebugValue, DebuggingRecorder};

/// Every figure that is not zero, by name and last label.
fn figures(record: impl FnOnce(&DecisionMetrics)) -> Vec<(String, f64)> {
    let recorder = DebuggingRecorder::new();
    let snapshotter = recorder.snapshotter();
    let metrics = metrics::with_local_recorder(&recorder, || DecisionMetrics::new("web"));
    record(&metrics);
    let mut all: Vec<_> = snapshotter
        .snapshot()
        .into_vec()
        .into_iter()
        .map(|(key, unit, about, value)| {
            assert!(unit.is_some() && about.is_some(), "{key:?}");
            let key = key.key();
            let labels: Vec<_> = key.labels().map(|label| label.value()).collect();
            let value = match value {
                DebugValue::Counter(n) => n as f64,
                DebugValue::Gauge(n) => *n,
                DebugValue::Histogram(_) => unreachable!("there is none"),
            };
            (format!("{} {}", key.name(), labels.join(" ")), value)
        })
        .filter(|(_, value)| *value != 0.0)
        .collect();
    all.sort_by(|a, b| a.0.cmp(&b.0));
    all
}

#[test]
fn decisions_are_counted() {
    let at = EpochMillis::new(1_790_000_000_000);
    let old = EpochMillis::new(0);
    let fleet = [1, 2, 3, 4].map(|n| Instance::new(InstanceId::new(n), Phase::Ready, old));
    let mut scaler = Scaler::new(Threshold::default()).unwrap();
    let mut decide =
        |sample| scaler.decide(&Observation::at(at).instances(&fleet).metrics(&[sample]));
    let all = figures(|metrics| {
        metrics.record(&decide(Sample::cpu(0.9, at)));
        metrics.record(&decide(Sample::cpu(0.1, at)));
        metrics.record(&decide(Sample::unreachable("cpu", at)));
        metrics.record(&decide(Sample::cpu(0.5, at)));
    });
    let expected = [
        ("autoscale_policy_current_instances web", 4.0),
        ("autoscale_policy_decisions_total web hold", 2.0),
        ("autoscale_policy_decisions_total web in", 1.0),
        ("autoscale_policy_decisions_total web out", 1.0),
        ("autoscale_policy_ignored_samples_total web", 1.0),
        ("autoscale_policy_wanted_instances web", 4.0),
    ];
    assert_eq!(all, expected.map(|(name, value)| (name.to_owned(), value)));
}

#[test]
fn every_bound_has_its_label() {
    let bounds = [
        Bound::Min,
        Bound::Max,
        Bound::Failed,
        Bound::UpCooldown,
        Bound::DownCooldown,
        Bound::HoldDown,
        Bound::Warming,
        Bound::UnderWay,
        Bound::Missing,
        Bound::WouldBreach,
        Bound::DeadBand,
        Bound::Rate,
        Bound::OnlyOut,
        Bound::Disabled,
    ];
    for bound in bounds {
        let label = serde_json::to_string(&bound).unwrap();
        let mut scaler = Scaler::new(Threshold::default()).unwrap();
        let mut decision: Decision =
            scaler.decide(&Observation::at(EpochMillis::new(1_790_000_000_000)));
        (decision.bound_by, decision.action) = (Some(bound), Action::Hold);
        let name = format!("autoscale_policy_bounds_total web {}", label.trim_matches('"'));
        let all = figures(|metrics| metrics.record(&decision));
        assert!(all.contains(&(name.clone(), 1.0)), "{name}: {all:?}");
    }
}
