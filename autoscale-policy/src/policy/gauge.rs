//! Reads one metric from an observation, or says why not.

use std::time::Duration;

use super::View;
use crate::decision::{Ignored, MetricName};
use crate::observation::{Instance, Phase, Sample, Usage, Value};
use crate::time::EpochMillis;

/// Clocks of different machines differ by so much.
const SKEW: Duration = Duration::from_secs(5);

/// What is known of a metric.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Reading {
    /// As one figure for the fleet: a mean utilisation, or a total.
    pub(crate) value: f64,
    /// Some ready instance has no figure.
    pub(crate) partial: bool,
}

/// The latest sample of `metric`, if it is fit to be used. One from the future does not
/// hide one that is not.
pub(crate) fn sample<'a>(
    view: &View<'a>,
    metric: &MetricName,
    max_age: Duration,
) -> Result<&'a Sample<'a>, Ignored> {
    // Samples are by the clock that observed them, even if it has gone back.
    let now = view.observation.now;
    let samples = view.observation.metrics.iter();
    let sample = samples
        .filter(|sample| sample.metric == metric.as_str())
        .max_by_key(|sample| (sample.at <= now + SKEW, sample.at))
        .ok_or(Ignored::Missing)?;
    if matches!(sample.value, Value::Unreachable) {
        return Err(Ignored::Unreachable);
    }
    fresh(sample.at, now, max_age)?;
    if let Value::Fleet(value) = sample.value {
        usable(value)?;
    }
    Ok(sample)
}

/// From when until when samples may be.
pub(crate) fn freshness(now: EpochMillis, max_age: Duration) -> (EpochMillis, EpochMillis) {
    if cfg!(broken = "use_stale") {
        return (EpochMillis::new(0), EpochMillis::new(u64::MAX));
    }
    (now - max_age, now + SKEW)
}

fn fresh(at: EpochMillis, now: EpochMillis, max_age: Duration) -> Result<(), Ignored> {
    let (oldest, newest) = freshness(now, max_age);
    if oldest <= at && at <= newest {
        return Ok(());
    }
    let (age, ahead) = (now.since(at), at.since(now));
    if age > max_age {
        return Err(Ignored::Stale { age, max_age });
    }
    if ahead > SKEW {
        return Err(Ignored::Future { by: ahead });
    }
    Ok(())
}

pub(crate) fn usable(value: f64) -> Result<(), Ignored> {
    if !value.is_finite() {
        return Err(Ignored::NotFinite);
    }
    if value < 0.0 {
        return Err(Ignored::Negative);
    }
    Ok(())
}

/// As one figure: the mean over instances that are ready, or their total.
pub(crate) fn read(
    view: &View<'_>,
    metric: &MetricName,
    max_age: Duration,
    total: bool,
) -> Result<Reading, Ignored> {
    let sample = sample(view, metric, max_age)?;
    let usages = match sample.value {
        Value::Fleet(value) => return Ok(Reading { value, partial: false }),
        Value::Instances(usages) => usages,
        Value::Unreachable => return Err(Ignored::Unreachable),
    };
    let fresh = freshness(view.observation.now, max_age);
    let instances = view.observation.instances;
    let mut sums = Means::default();
    if !merge(instances, usages, |one, found| sums.add(one, found, total, fresh)) {
        sums = Means::default();
        join(instances, usages, |one, found| sums.add(one, found, total, fresh));
    }
    let Means { usage, request, measured, ready } = sums;
    if measured == 0 {
        return Err(Ignored::NoInstance);
    }
    let value =
        if total { usage * f64::from(ready) / f64::from(measured) } else { usage / request };
    usable(value)?;
    Ok(Reading { value, partial: measured < ready })
}

/// Over the instances that are ready.
#[derive(Default)]
struct Means {
    usage: f64,
    request: f64,
    measured: u32,
    ready: u32,
}

impl Means {
    fn add(
        &mut self,
        instance: &Instance,
        found: Option<&Usage>,
        total: bool,
        (oldest, newest): (EpochMillis, EpochMillis),
    ) {
        if instance.phase != Phase::Ready {
            return;
        }
        self.ready += 1;
        if let Some(found) = found
            && usable(found.usage).is_ok()
            && (total || (found.request.is_finite() && found.request > 0.0))
            && oldest <= found.at
            && found.at <= newest
        {
            self.usage += found.usage;
            self.request += found.request;
            self.measured += 1;
        }
    }
}

/// Calls `each` with every instance and its usage, where usages come in the order of the
/// instances, gaps allowed. Otherwise it returns false, and what it has said is wrong.
#[inline(always)]
pub(crate) fn merge<'a>(
    instances: &'a [Instance],
    usages: &'a [Usage],
    mut each: impl FnMut(&'a Instance, Option<&'a Usage>),
) -> bool {
    let mut rest = usages.iter();
    let mut next = rest.next();
    for instance in instances {
        match next {
            Some(usage) if usage.instance == instance.id => {
                each(instance, Some(usage));
                next = rest.next();
            }
            _ => each(instance, None),
        }
    }
    next.is_none()
}

/// The same in whatever order they come.
pub(crate) fn join<'a>(
    instances: &'a [Instance],
    usages: &'a [Usage],
    mut each: impl FnMut(&'a Instance, Option<&'a Usage>),
) {
    let mut sorted: Vec<&Usage> = usages.iter().collect();
    // The latest of an instance's comes last, and is the one that is found.
    sorted.sort_by_key(|usage| (usage.instance, usage.at));
    for instance in instances {
        let end = sorted.partition_point(|usage| usage.instance <= instance.id);
        let found = sorted[..end].last().filter(|usage| usage.instance == instance.id);
        each(instance, found.copied());
    }
}
