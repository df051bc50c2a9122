use std::time::Duration;

use super::TargetTracking;
use super::milli::{EXACT, LARGE, milli, whole_milli};
use crate::decision::{Ignored, MetricName, Step};
use crate::error::Refusal;
use crate::observation::{CPU, Instance, Phase, Usage, Value};
use crate::policy::{View, gauge};
use crate::time::EpochMillis;

/// What a metric is to be, by the type of metric of the HPA.
#[derive(Clone, Copy, Debug, PartialEq)]
#[cfg_attr(feature = "serde", derive(serde::Serialize, serde::Deserialize))]
#[cfg_attr(feature = "serde", serde(rename_all = "kebab-case"))]
pub enum Target {
    /// `Resource` or `ContainerResource`, `averageUtilization`: percent of what instances
    /// were promised.
    Utilization(u32),
    /// `Resource` or `ContainerResource`, `averageValue`: of this much an instance.
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
    /// As samples are named. A resource that is named `cpu`, or `cpu/` and a container, is
    /// CPU, of which instances that are not ready are left out.
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
    fn join(&mut self, other: Self) {
        self.count += other.count;
        self.usage = self.usage.saturating_add(other.usage);
        self.request = self.request.saturating_add(other.request);
    }

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
                // All of what each was promised, or the target where that is more.
                let most = |missing: Sums| missing;
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
        if first < 1.0 {
            filled.join(missing_at_most(missing));
        } else if first > 1.0 {
            filled.join(Sums { usage: 0, ..missing });
        }
        if with_unready {
            filled.join(Sums { usage: 0, ..unready });
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
        let instances = view.observation.instances;
        let percent = match self.target {
            Target::Utilization(percent) => Some(i64::from(percent)),
            _ => None,
        };
        let pods = match value {
            Value::Unreachable => return Err(Ignored::Unreachable),
            Value::Fleet(value) => self.of_one_figure(instances, value),
            Value::Instances(usages) => {
                let cpu = resource && is_cpu(self.name.as_str());
                let looks = Looks::new(settings, view, cpu, percent);
                let mut sorter = Sorter::new(looks);
                if let Some(plain) = sorter.in_order(instances, usages) {
                    sorter.pods.measured.join(plain);
                } else {
                    sorter = Sorter::new(looks);
                    gauge::join(instances, usages, |one, usage| sorter.add(one, usage));
                }
                sorter.sums()
            }
        };
        if pods.measured.count == 0 || (percent.is_some() && pods.measured.request <= 0) {
            return Err(Ignored::NoInstance);
        }
        Ok(pods)
    }

    /// One figure stands for as many equal ones as instances are ready.
    fn of_one_figure(&self, instances: &[Instance], value: f64) -> Pods {
        let mut pods = Pods::default();
        for instance in instances {
            match instance.phase {
                Phase::Failed | Phase::Draining => {}
                Phase::Ready => pods.measured.count += 1,
                Phase::Pending | Phase::Warming => pods.unready.add(0, UNIT),
            }
        }
        let ready = pods.measured.count;
        let mean = matches!(self.target, Target::Utilization(_));
        pods.measured.usage = milli(value).saturating_mul(if mean { ready } else { 1 });
        pods.measured.request = UNIT * ready;
        pods
    }
}

/// One, in thousandths.
const UNIT: i64 = 1000;

/// Whether it is CPU, of whole instances or of one of their containers.
fn is_cpu(name: &str) -> bool {
    name.strip_prefix(CPU).is_some_and(|rest| rest.is_empty() || rest.starts_with('/'))
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

/// What is the same for all instances.
#[derive(Clone, Copy)]
struct Looks {
    cpu: bool,
    /// Of what it was promised, where that counts, an instance without a figure may use so
    /// much.
    missing_percent: Option<i64>,
    oldest: EpochMillis,
    newest: EpochMillis,
    /// Those that began later than this are in their initialisation.
    initialised: EpochMillis,
    initial_readiness: Duration,
}

impl Looks {
    fn new(
        settings: &TargetTracking,
        view: &View<'_>,
        cpu: bool,
        percent: Option<i64>,
    ) -> Self {
        // The clock of those who made the samples.
        let now = view.observation.now;
        let (oldest, newest) = gauge::freshness(now, settings.max_age);
        Self {
            cpu,
            missing_percent: percent.map(|percent| percent.max(100)),
            oldest,
            newest,
            initialised: now - settings.cpu_initialization,
            initial_readiness: settings.initial_readiness,
        }
    }

    /// Use and request of an instance of which nothing is in doubt, in thousandths.
    #[inline]
    fn measured(&self, instance: &Instance, usage: &Usage) -> Option<(f64, f64)> {
        let settled = !self.cpu || instance.started.is_some_and(|at| at <= self.initialised);
        let asks = self.missing_percent.is_some();
        let plain = instance.phase == Phase::Ready
            && settled
            && self.is_fresh(usage)
            && (0.0..LARGE).contains(&usage.usage)
            && (!asks || (0.001..LARGE).contains(&usage.request));
        plain.then(|| {
            (whole_milli(usage.usage), if asks { whole_milli(usage.request) } else { 0.0 })
        })
    }

    fn is_usable(&self, usage: &Usage) -> bool {
        gauge::usable(usage.usage).is_ok() && self.is_fresh(usage)
    }

    fn is_fresh(&self, usage: &Usage) -> bool {
        self.oldest <= usage.at && usage.at <= self.newest
    }

    /// All that an instance could use: rounded for each of them.
    fn at_most(&self, request: i64) -> i64 {
        request.saturating_mul(self.missing_percent.unwrap_or(100)) / 100
    }

    fn is_unready(&self, instance: &Instance, found: &Usage) -> bool {
        let ready = instance.phase == Phase::Ready;
        instance.started.is_none_or(|started| {
            if started > self.initialised {
                !ready || found.at < instance.changed + found.window
            } else {
                !ready && started + self.initial_readiness > instance.changed
            }
        })
    }
}

/// Sorts instances one by one.
struct Sorter {
    looks: Looks,
    pods: Pods,
    /// How many are missing, and unready, of which nobody knows what they were promised.
    missing_unknown: i64,
    unready_unknown: i64,
}

impl Sorter {
    fn new(looks: Looks) -> Self {
        Self { looks, pods: Pods::default(), missing_unknown: 0, unready_unknown: 0 }
    }

    /// Sums over those of which nothing is in doubt, which are most, and sorts the others.
    /// None where usages come in another order than instances.
    fn in_order(&mut self, mut instances: &[Instance], mut usages: &[Usage]) -> Option<Sums> {
        let looks = self.looks;
        let (mut count, mut used, mut asked) = (0, 0.0, 0.0);
        while let [instance, others @ ..] = instances {
            // No call in this loop, so that the sums stay in registers.
            let (mut run, mut used_in_run, mut asked_in_run) = (0, 0.0, 0.0);
            for (instance, usage) in instances.iter().zip(usages) {
                if instance.id != usage.instance {
                    break;
                }
                let Some((usage, request)) = looks.measured(instance, usage) else { break };
                run += 1;
                used_in_run += usage;
                asked_in_run += request;
            }
            if run > 0 {
                (instances, usages) = (&instances[run..], &usages[run..]);
                count += run as i64;
                used += used_in_run;
                asked += asked_in_run;
                continue;
            }
            let found = usages.first().filter(|usage| usage.instance == instance.id);
            usages = &usages[usize::from(found.is_some())..];
            instances = others;
            self.add(instance, found);
        }
        let exact = usages.is_empty() && used < EXACT && asked < EXACT;
        exact.then_some(Sums { count, usage: used as i64, request: asked as i64 })
    }

    fn add(&mut self, instance: &Instance, usage: Option<&Usage>) {
        if matches!(instance.phase, Phase::Failed | Phase::Draining) {
            return;
        }
        let request = match (usage, self.looks.missing_percent) {
            (Some(usage), Some(_)) if usage.request.is_finite() && usage.request > 0.0 => {
                milli(usage.request)
            }
            _ => 0,
        };
        if instance.phase == Phase::Pending {
            return self.unready(request);
        }
        let Some(found) = usage.filter(|usage| self.looks.is_usable(usage)) else {
            self.missing_unknown += i64::from(request == 0);
            return self.pods.missing.add(self.looks.at_most(request), request);
        };
        if self.looks.cpu && self.looks.is_unready(instance, found) {
            return self.unready(request);
        }
        self.pods.measured.add(milli(found.usage), request);
    }

    fn unready(&mut self, request: i64) {
        self.unready_unknown += i64::from(request == 0);
        self.pods.unready.add(0, request);
    }

    /// Instances of one fleet were promised the same.
    fn sums(mut self) -> Pods {
        let (missing_unknown, unready_unknown) = (self.missing_unknown, self.unready_unknown);
        if self.looks.missing_percent.is_some() && missing_unknown + unready_unknown > 0 {
            let Pods { measured, missing, unready } = self.pods;
            let all = [measured, missing, unready];
            let known: i64 = all.iter().map(|sums| sums.count).sum();
            let known = known - missing_unknown - unready_unknown;
            let promised = all.iter().fold(0_i64, |sum, one| sum.saturating_add(one.request));
            let each = promised / known.max(1);
            let at_most = self.looks.at_most(each);
            let fill = |sums: &mut Sums, unknown: i64, usage: i64| {
                sums.request = sums.request.saturating_add(unknown.saturating_mul(each));
                sums.usage = sums.usage.saturating_add(unknown.saturating_mul(usage));
            };
            fill(&mut self.pods.missing, missing_unknown, at_most);
            fill(&mut self.pods.unready, unready_unknown, 0);
        }
        self.pods
    }
}
