//! Figures and limits as large as there are numbers.

use autoscale_policy::{
    Action, Metric, Observation, Policy, Predictive, QueueDepth, Sample, Scaler, ScalingPolicy,
    StepScaling, Target, TargetTracking, Threshold, Usage,
};

use crate::faults::policies;
use crate::scene::{decide, ready, s, t};

#[test]
fn figures_beyond_all_measure_are_within_the_limits() {
    let at = t(0);
    let mut all = policies();
    for target in [
        Target::Utilization(u32::MAX),
        Target::ResourceAverage(1e300),
        Target::PodsAverage(0.001),
        Target::Value(0.001),
        Target::AverageValue(0.001),
    ] {
        all.push(TargetTracking::new([Metric::new("cpu", target)]).into());
    }
    for policy in all {
        let limits = policy.limits();
        for huge in [1e15, 1e300, f64::MAX] {
            for requests in [f64::MIN_POSITIVE, 1.0, f64::MAX] {
                let fleet = ready(6);
                // One has none, and one is there twice.
                let mut usages: Vec<Usage> = fleet[..5]
                    .iter()
                    .map(|instance| Usage::new(instance.id, huge, at).of(requests))
                    .collect();
                usages.push(Usage::new(fleet[0].id, huge, at).of(requests));
                for sample in [Sample::cpu(huge, at), Sample::instances("cpu", &usages, at)] {
                    let mut scaler = Scaler::new(policy.clone()).unwrap();
                    for tick in 0..3 {
                        let sample = Sample { at: at + s(tick), ..sample };
                        let decision = decide(&mut scaler, at + s(tick), &fleet, &[sample]);
                        if let Action::ScaleTo(n) = decision.action {
                            assert!((limits.min..=limits.max).contains(&n), "{decision}");
                            scaler.submitted(n);
                            scaler.applied(at, n);
                        }
                    }
                }
            }
        }
    }
}

#[test]
fn limits_may_be_as_wide_or_as_narrow_as_there_are_numbers() {
    let most = u32::MAX;
    let shares = |min, max| -> Vec<Policy> {
        vec![
            Threshold { min, max, ..Threshold::default() }.into(),
            Policy::StepScaling(StepScaling { min, max, ..StepScaling::default() }),
            TargetTracking { min, max, ..TargetTracking::new([Metric::cpu(70)]) }.into(),
            Policy::QueueDepth(QueueDepth {
                metric: "cpu".into(),
                min,
                max,
                ..QueueDepth::default()
            }),
            Predictive { min, max, ..Predictive::default() }.into(),
        ]
    };
    for (min, max) in [(1, 1), (7, 7), (most, most), (1, most), (2, most)] {
        for policy in shares(min, max) {
            let mut scaler = Scaler::new(policy).unwrap();
            for (tick, target) in [0, 1, 6, most - 1, most, 6].into_iter().enumerate() {
                let at = t(tick as u64 * 1_000);
                let fleet = ready(6);
                let cpu = if tick % 2 == 0 { 1e9 } else { 0.0 };
                let metrics = [Sample::cpu(cpu, at)];
                let seen = Observation::at(at).instances(&fleet).metrics(&metrics);
                let decision = scaler.decide(&seen.target(target));
                if let Action::ScaleTo(n) = decision.action {
                    assert!((min..=max).contains(&n), "{min} {max}: {decision}");
                    scaler.submitted(n);
                }
            }
        }
    }
}
