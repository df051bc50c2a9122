//! Fleets and samples, in few words.

use std::time::Duration;

use autoscale_policy::{
    Action, Decision, EpochMillis, Instance, InstanceId, Observation, Phase, Sample, Scaler,
    ScalingPolicy,
};

pub(crate) const fn s(seconds: u64) -> Duration {
    Duration::from_secs(seconds)
}

/// A moment of the scene, in seconds after its beginning.
pub(crate) fn t(seconds: u64) -> EpochMillis {
    EpochMillis::new(1_790_000_000_000) + s(seconds)
}

/// Instances that have been ready for a day.
pub(crate) fn ready(count: u64) -> Vec<Instance> {
    (0..count).map(|n| one(n, Phase::Ready, t(0) - s(86_400))).collect()
}

pub(crate) fn one(id: u64, phase: Phase, since: EpochMillis) -> Instance {
    Instance::new(InstanceId::new(id), phase, since)
}

/// `ready` ones, and `warming` ones that began at `since`.
pub(crate) fn mixed(ready_count: u64, warming: u64, since: EpochMillis) -> Vec<Instance> {
    let mut fleet = ready(ready_count);
    fleet.extend((0..warming).map(|n| one(1_000 + n, Phase::Warming, since)));
    fleet
}

pub(crate) fn decide<P: ScalingPolicy>(
    scaler: &mut Scaler<P>,
    at: EpochMillis,
    fleet: &[Instance],
    metrics: &[Sample<'_>],
) -> Decision {
    scaler.decide(&Observation::at(at).instances(fleet).metrics(metrics))
}

/// Decides at a CPU, and tells the scaler that the platform has done it.
pub(crate) fn at_cpu<P: ScalingPolicy>(
    scaler: &mut Scaler<P>,
    at: EpochMillis,
    fleet: &[Instance],
    cpu: f64,
) -> Decision {
    let decision = decide(scaler, at, fleet, &[Sample::cpu(cpu, at)]);
    if let Action::ScaleTo(n) = decision.action {
        scaler.submitted(n);
        scaler.applied(at, n);
    }
    decision
}
