use super::TargetTracking;
use crate::decision::{Ignored, MetricName, Step};
use crate::error::Refusal;
use crate::observation::{CPU, Instance, Phase, Usage, Value};
use crate::policy::{View, gauge};

/// What a metric is to be, by the type of metric of the HPA.
#[derive(Clone, Copy, Debug, PartialEq)]
#[cfg_attr(feature = "serde", derive(serde::Serialize, serde::Deserialize))]
#[cfg_attr(feature = "serde", serde(rename_all = "kebab-case"))]
pub enum Target {
    /// `Resource`, `averageUtilization`: percent of what instances were promised.
    Utilization(u32),
    /// `Resource`, `averageValue`: of this much an instance.
    ResourceAverage(f64),
    /// `Pods`, `averageValue`: of this much an instance.
    PodsAverage(f64),
    /// `Object` or `External`, `value`: this much in all, whatever the instances do.
    Value(f64),
    /// `Object` or `External`, `averageValue`: this much for each instance there is.
    AverageValue(f64),
}

/// A metric and its target.
#[derive(Clone, Debug, PartialEq)]
#[cfg_attr(feature = "serde", derive(serde::Serialize, serde::Deserialize))]
#[cfg_attr(feature = "serde", serde(rename_all = "kebab-case", deny_unknown_fields))]
pub struct Metric {
    /// As samples are named.
    pub name: MetricName,
    /// What it is to be.
    pub target: Target,
}

/// Sums over the instances of each kind, in thousandths, as quantities are counted.
#[derive(Clone, Copy, Default)]
struct Sums {
    count: i64,
    usage: i64,
    request: i64,
}

impl Sums {
    fn add(&mut self, usage: i64, request: i64) {
        self.count += 1;
        self.usage = self.usage.saturating_add(usage);
        self.request = self.request.saturating_add(request);
    }
}

#[derive(Clone, Copy, Default)]
struct Pods {
    measured: Sums,
    missing: Sums,
    unready: Sums,
}

/// In thousandths, rounded up.
fn milli(value: f64) -> i64 {
    // So that 0.57, which is no binary fraction, is 570 and not 571.
    (value * 1000.0 - 1e-6).ceil() as i64
}

fn ceil(value: f64) -> u32 {
    value.ceil() as u32
}

impl Metric {
    /// The mean CPU of instances, in percent of what they were promised.
    #[must_use]
    pub fn cpu(percent: u32) -> Self {
        Self { name: CPU.into(), target: Target::Utilization(percent) }
    }

    /// A metric and its target.
    #[must_use]
    pub fn new(name: &str, target: Target) -> Self {
        Self { name: name.into(), target }
    }

    pub(super) fn check(&self) -> Result<(), Refusal> {
        let path = "target-tracking.metrics.target";
        let (Target::ResourceAverage(target)
        | Target::PodsAverage(target)
        | Target::Value(target)
        | Target::AverageValue(target)) = self.target
        else {
            if self.target == Target::Utilization(0) {
                return Err(Refusal::new(path, self.target, "must be above zero"));
            }
            return Ok(());
        };
        if !(target.is_finite() && target >= 0.001) {
            let reason = "must be a number, and at least 0.001, the finest that is counted";
            return Err(Refusal::new(path, self.target, reason));
        }
        Ok(())
    }

    /// Whether it says something where there are no instances.
    pub(super) fn speaks_at_zero(&self) -> bool {
        matches!(self.target, Target::Value(_) | Target::AverageValue(_))
    }

    pub(super) fn replicas(
        &self,
        settings: &TargetTracking,
        view: &View<'_>,
        steps: &mut Vec<Step>,
    ) -> Result<u32, Ignored> {
        let sample = gauge::sample(view, &self.name, settings.max_age)?;
        match self.target {
            Target::Utilization(percent) => {
                let pods = self.pods(settings, view, sample.value, true)?;
                let target = i64::from(percent);
                // Integers: 76.9 % is 76 %.
                let ratio = |sums: Sums| {
                    let percent =
                        i128::from(sums.usage) * 100 / i128::from(sums.request.max(1));
                    percent as f64 / target as f64
                };
                let most = |missing: Sums| {
                    let missing_as = target.max(100);
                    Sums { usage: missing.request.saturating_mul(missing_as) / 100, ..missing }
                };
                Ok(self.of_pods(settings, view, pods, ratio, most, f64::from(percent), steps))
            }
            Target::ResourceAverage(target) | Target::PodsAverage(target) => {
                let resource = matches!(self.target, Target::ResourceAverage(_));
                let pods = self.pods(settings, view, sample.value, resource)?;
                let average = milli(target).max(1);
                let ratio =
                    |sums: Sums| (sums.usage / sums.count.max(1)) as f64 / average as f64;
                let most = |missing: Sums| Sums {
                    usage: missing.count.saturating_mul(average),
                    ..missing
                };
                Ok(self.of_pods(settings, view, pods, ratio, most, target, steps))
            }
            Target::Value(target) => {
                let usage = total(sample.value)?;
                let ratio = usage as f64 / milli(target).max(1) as f64;
                if view.current == 0 {
                    return Ok(self.say(view, usage as f64 / 1e3, target, ceil(ratio), steps));
                }
                if settings.tolerates(ratio) {
                    return Ok(self.tolerated(view, ratio, steps));
                }
                let ready = f64::from(view.fleet.ready);
                if view.observation.instances.is_empty() {
                    return Err(Ignored::NoInstance);
                }
                Ok(self.say(view, usage as f64 / 1e3, target, ceil(ratio * ready), steps))
            }
            Target::AverageValue(target) => {
                let usage = total(sample.value)? as f64;
                let average = milli(target).max(1) as f64;
                // Those that the platform counts: ready or not.
                let status = f64::from(view.fleet.capacity());
                let ratio = usage / (average * status);
                if settings.tolerates(ratio) {
                    let replicas = view.fleet.capacity();
                    steps.push(Step::Tolerated { metric: self.name.clone(), ratio });
                    return Ok(replicas);
                }
                Ok(self.say(view, usage / 1e3, target, ceil(usage / average), steps))
            }
        }
    }

    /// With missing and unready instances filled in against the direction.
    #[allow(clippy::too_many_arguments, reason = "they are two closures and what those see")]
    fn of_pods(
        &self,
        settings: &TargetTracking,
        view: &View<'_>,
        pods: Pods,
        ratio: impl Fn(Sums) -> f64,
        missing_at_most: impl Fn(Sums) -> Sums,
        target: f64,
        steps: &mut Vec<Step>,
    ) -> u32 {
        let Pods { measured, missing, unready } = pods;
        let current = view.current;
        let first = ratio(measured);
        let with_unready = unready.count > 0 && first > 1.0;
        if !with_unready && missing.count == 0 {
            if settings.tolerates(first) {
                return self.tolerated(view, first, steps);
            }
            let wanted = ceil(first * measured.count as f64);
            return self.say(view, first * target, target, wanted, steps);
        }
        let mut filled = measured;
        let mut fill = |sums: Sums| {
            filled.count += sums.count;
            filled.usage = filled.usage.saturating_add(sums.usage);
            filled.request = filled.request.saturating_add(sums.request);
        };
        if first < 1.0 {
            fill(missing_at_most(missing));
        } else if first > 1.0 {
            fill(Sums { usage: 0, ..missing });
        }
        if with_unready {
            fill(Sums { usage: 0, ..unready });
        }
        let second = ratio(filled);
        if settings.tolerates(second) {
            return self.tolerated(view, second, steps);
        }
        let turned = (first < 1.0 && second > 1.0) || (first > 1.0 && second < 1.0);
        let wanted = ceil(second * filled.count as f64);
        let turns = (second < 1.0 && wanted > current) || (second > 1.0 && wanted < current);
        if (turned || turns) && !cfg!(broken = "turned") {
            steps.push(Step::Unsure {
                metric: self.name.clone(),
                missing: missing.count as u32,
                unready: unready.count as u32,
            });
            return current;
        }
        self.say(view, second * target, target, wanted, steps)
    }

    fn say(
        &self,
        view: &View<'_>,
        value: f64,
        target: f64,
        wanted: u32,
        steps: &mut Vec<Step>,
    ) -> u32 {
        let crate::policy::Fleet { ready, warming, .. } = view.fleet;
        let metric = self.name.clone();
        steps.push(Step::Metric { metric, value, target, ready, warming, wanted });
        wanted
    }

    fn tolerated(&self, view: &View<'_>, ratio: f64, steps: &mut Vec<Step>) -> u32 {
        steps.push(Step::Tolerated { metric: self.name.clone(), ratio });
        view.current
    }

    /// Sorts the instances into measured, missing and unready ones.
    fn pods(
        &self,
        settings: &TargetTracking,
        view: &View<'_>,
        value: Value<'_>,
        resource: bool,
    ) -> Result<Pods, Ignored> {
        let mut pods = Pods::default();
        let instances = view.observation.instances;
        match value {
            Value::Unreachable => return Err(Ignored::Unreachable),
            Value::Fleet(value) => {
                let unit = 1000;
                let mut ready = 0;
                for instance in instances {
                    match instance.phase {
                        Phase::Failed | Phase::Draining => {}
                        Phase::Ready => ready += 1,
                        Phase::Pending | Phase::Warming => pods.unready.add(0, unit),
                    }
                }
                let mean = matches!(self.target, Target::Utilization(_));
                pods.measured = Sums {
                    count: ready,
                    usage: milli(value).saturating_mul(if mean { ready } else { 1 }),
                    request: unit * ready,
                };
            }
            Value::Instances(usages) => {
                let cpu = resource && self.name.as_str() == CPU;
                let mut of_unknown = [0; 2];
                gauge::join(instances, usages, |instance, usage| {
                    sort(instance, usage, settings, view, cpu, &mut pods, &mut of_unknown);
                });
                // Instances of one fleet were promised the same.
                let known = pods.measured.count + pods.missing.count + pods.unready.count
                    - of_unknown[0]
                    - of_unknown[1];
                let promised =
                    pods.measured.request + pods.missing.request + pods.unready.request;
                let each = promised / known.max(1);
                pods.missing.request += of_unknown[0] * each;
                pods.unready.request += of_unknown[1] * each;
            }
        }
        let needs_request = matches!(self.target, Target::Utilization(_));
        if pods.measured.count == 0 || (needs_request && pods.measured.request <= 0) {
            return Err(Ignored::NoInstance);
        }
        Ok(pods)
    }
}

/// One figure for the fleet, or the sum of several, in thousandths.
fn total(value: Value<'_>) -> Result<i64, Ignored> {
    let sum = match value {
        Value::Fleet(value) => value,
        Value::Instances(usages) => usages.iter().map(|usage| usage.usage).sum(),
        Value::Unreachable => return Err(Ignored::Unreachable),
    };
    gauge::usable(sum)?;
    Ok(milli(sum))
}

fn sort(
    instance: &Instance,
    usage: Option<&Usage>,
    settings: &TargetTracking,
    view: &View<'_>,
    cpu: bool,
    pods: &mut Pods,
    of_unknown: &mut [i64; 2],
) {
    let request = usage
        .map(|usage| usage.request)
        .filter(|request| request.is_finite() && *request > 0.0)
        .map(milli);
    if matches!(instance.phase, Phase::Failed | Phase::Draining) {
        return;
    }
    if instance.phase == Phase::Pending {
        of_unknown[1] += i64::from(request.is_none());
        return pods.unready.add(0, request.unwrap_or(0));
    }
    let found = usage.filter(|usage| {
        gauge::usable(usage.usage).is_ok()
            && gauge::fresh(usage.at, view.now, settings.max_age).is_ok()
    });
    let Some(found) = found else {
        of_unknown[0] += i64::from(request.is_none());
        return pods.missing.add(0, request.unwrap_or(0));
    };
    let ready = instance.phase == Phase::Ready;
    let unready = cpu
        && instance.started.is_none_or(|started| {
            if started + settings.cpu_initialization > view.now {
                !ready || found.at < instance.changed + found.window
            } else {
                !ready && started + settings.initial_readiness > instance.changed
            }
        });
    if unready {
        of_unknown[1] += i64::from(request.is_none());
        return pods.unready.add(0, request.unwrap_or(0));
    }
    pods.measured.add(milli(found.usage), request.unwrap_or(0));
}
