//! Pods and their metrics, in few words.

use std::time::Duration;

use autoscale_policy::{
    Action, Bound, Decision, EpochMillis, Instance, InstanceId, Metric, Observation, Phase,
    Sample, Scaler, Target, TargetTracking, Usage,
};

pub(crate) const fn s(seconds: u64) -> Duration {
    Duration::from_secs(seconds)
}

pub(crate) fn t(seconds: u64) -> EpochMillis {
    EpochMillis::new(1_790_000_000_000) + s(seconds)
}

/// When the pods are looked at.
pub(crate) fn now() -> EpochMillis {
    t(0)
}

/// A pod, and what it uses in thousandths of its request of 1.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Pod {
    /// Ready for a day.
    Used(u32),
    /// The same with another request, in thousandths.
    Of(u32, u32),
    /// Ready for a day, without a metric.
    Missing,
    /// The same, where what it was promised is known, in thousandths.
    MissingOf(u32),
    /// Not running yet, without a metric.
    Pending,
    /// Runs since a minute, not ready, and uses so much.
    Warming(u32),
    /// The same without a metric.
    WarmingMissing,
    /// Has ended by itself.
    Failed,
    /// Is being deleted, and uses so much.
    Deleting(u32),
    /// Any: phase, seconds since its start, seconds since its phase, use.
    Any(Phase, Option<u64>, u64, u32),
}

fn pod(at: u64, pod: Pod) -> (Instance, Option<Usage>) {
    let id = InstanceId::new(at);
    let old = now() - s(86_400);
    let young = now() - s(60);
    let usage = |milli: u32| Usage::new(id, f64::from(milli) / 1000.0, now());
    match pod {
        Pod::Used(milli) => (Instance::new(id, Phase::Ready, old), Some(usage(milli))),
        Pod::Of(milli, request) => (
            Instance::new(id, Phase::Ready, old),
            Some(usage(milli).of(f64::from(request) / 1000.0)),
        ),
        Pod::Missing => (Instance::new(id, Phase::Ready, old), None),
        Pod::MissingOf(request) => {
            let nothing = Usage::new(id, f64::NAN, now()).of(f64::from(request) / 1000.0);
            (Instance::new(id, Phase::Ready, old), Some(nothing))
        }
        Pod::Pending => (Instance::new(id, Phase::Pending, young), None),
        Pod::Warming(milli) => (Instance::new(id, Phase::Warming, young), Some(usage(milli))),
        Pod::WarmingMissing => (Instance::new(id, Phase::Warming, young), None),
        Pod::Failed => (Instance::new(id, Phase::Failed, old), None),
        Pod::Deleting(milli) => (Instance::new(id, Phase::Draining, old), Some(usage(milli))),
        Pod::Any(phase, started, changed, milli) => {
            let mut instance = Instance::new(id, phase, old).changed(now() - s(changed));
            instance.started = started.map(|ago| now() - s(ago));
            (instance, Some(usage(milli)))
        }
    }
}

pub(crate) fn pods(pods: &[Pod]) -> (Vec<Instance>, Vec<Usage>) {
    let all: Vec<_> = pods.iter().enumerate().map(|(at, p)| pod(at as u64, *p)).collect();
    (
        all.iter().map(|(instance, _)| *instance).collect(),
        all.iter().filter_map(|p| p.1).collect(),
    )
}

/// So many pods at the same use, in thousandths.
pub(crate) fn each(count: usize, milli: u32) -> Vec<Pod> {
    vec![Pod::Used(milli); count]
}

/// An HPA that nothing but its metrics binds.
pub(crate) fn hpa(metrics: impl IntoIterator<Item = Metric>) -> TargetTracking {
    TargetTracking { min: 1, max: 1_000, ..TargetTracking::new(metrics) }
}

/// What the metric asks for, with as many replicas as there are pods that have not ended.
pub(crate) fn asked(policy: TargetTracking, metric: &str, some: &[Pod]) -> u32 {
    let current =
        some.iter().filter(|pod| !matches!(pod, Pod::Failed | Pod::Deleting(_))).count();
    asked_at(policy, metric, current as u32, some)
}

/// The same where the specification says another count.
pub(crate) fn asked_at(
    policy: TargetTracking,
    metric: &str,
    current: u32,
    some: &[Pod],
) -> u32 {
    let (instances, usages) = pods(some);
    let metrics = [Sample::instances(metric, &usages, now())];
    let observation =
        Observation::at(now()).target(current).instances(&instances).metrics(&metrics);
    Scaler::new(policy).unwrap().decide(&observation).wanted
}

/// What CPU at this target asks for.
pub(crate) fn cpu(target: u32, some: &[Pod]) -> u32 {
    asked(hpa([Metric::cpu(target)]), "cpu", some)
}

/// What a total asks for: `current` in the specification, `ready` and `warming` pods.
pub(crate) fn total(
    target: Target,
    value: f64,
    current: u32,
    ready: usize,
    warming: usize,
) -> u32 {
    let some = [vec![Pod::Used(0); ready], vec![Pod::WarmingMissing; warming]].concat();
    let (instances, _) = pods(&some);
    let policy = TargetTracking { min: 0, ..hpa([Metric::new("jobs", target)]) };
    let metrics = [Sample::fleet("jobs", value, now())];
    let observation =
        Observation::at(now()).target(current).instances(&instances).metrics(&metrics);
    Scaler::new(policy).unwrap().decide(&observation).wanted
}

/// A deployment under an HPA, over time: CPU that asks for any count.
pub(crate) struct Deployment {
    scaler: Scaler<TargetTracking>,
    pub(crate) count: u32,
}

impl Deployment {
    /// Of so many pods, under this behaviour, from 1 to 100.
    pub(crate) fn new(count: u32, behavior: autoscale_policy::Behavior) -> Self {
        Self::of(count, 1, Some(behavior))
    }

    /// Of so many pods, under an HPA without a behaviour, from 1 to 100.
    pub(crate) fn plain(count: u32) -> Self {
        Self::of(count, 1, None)
    }

    /// Of so many pods, from `min` to 100.
    pub(crate) fn of(
        count: u32,
        min: u32,
        behavior: Option<autoscale_policy::Behavior>,
    ) -> Self {
        let jobs = Metric::new("jobs", Target::AverageValue(1.0));
        let policy = TargetTracking {
            min,
            max: 100,
            tolerance_up: 0.0,
            tolerance_down: 0.0,
            behavior,
            ..TargetTracking::new([jobs])
        };
        Self { scaler: Scaler::new(policy).unwrap(), count }
    }

    fn decide(&mut self, at: u64, jobs: u32) -> Decision {
        let (instances, _) = pods(&each(self.count as usize, 0));
        let metrics = [Sample::fleet("jobs", f64::from(jobs), t(at))];
        let observation =
            Observation::at(t(at)).target(self.count).instances(&instances).metrics(&metrics);
        self.scaler.decide(&observation)
    }

    /// At this second the metric asks for `jobs` pods. Scales, and says how many there are.
    pub(crate) fn wants(&mut self, at: u64, jobs: u32) -> u32 {
        let decision = self.decide(at, jobs);
        let limits = decision.bound_by;
        if !matches!(limits, Some(Bound::Disabled | Bound::Min | Bound::Max)) {
            assert_eq!(decision.wanted, jobs, "{decision}");
        }
        if let Action::ScaleTo(n) = decision.action {
            self.scaler.submitted(n);
            self.scaler.applied(t(at), n);
            self.count = n;
        }
        self.count
    }

    /// At this second there is no metric.
    pub(crate) fn knows_nothing(&mut self, at: u64) -> u32 {
        let (instances, _) = pods(&each(self.count as usize, 0));
        let observation = Observation::at(t(at)).target(self.count).instances(&instances);
        assert_eq!(self.scaler.decide(&observation).action, Action::Hold);
        self.count
    }
}
