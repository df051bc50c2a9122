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

/// The latest sample of `metric`, if it is fit to be used.
pub(crate) fn sample<'a>(
    view: &View<'a>,
    metric: &MetricName,
    max_age: Duration,
) -> Result<&'a Sample<'a>, Ignored> {
    let samples = view.observation.metrics.iter();
    let sample = samples
        .filter(|sample| sample.metric == metric.as_str())
        .max_by_key(|sample| sample.at)
        .ok_or(Ignored::Missing)?;
    if sample.value == Value::Unreachable {
        return Err(Ignored::Unreachable);
    }
    fresh(sample.at, view.now, max_age)?;
    if let Value::Fleet(value) = sample.value {
        usable(value)?;
    }
    Ok(sample)
}

pub(crate) fn fresh(
    at: EpochMillis,
    now: EpochMillis,
    max_age: Duration,
) -> Result<(), Ignored> {
    if cfg!(broken = "use_stale") || (now <= at + max_age && at <= now + SKEW) {
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
    let (mut usage, mut request, mut measured, mut ready) = (0.0, 0.0, 0_u32, 0_u32);
    join(view.observation.instances, usages, |instance, found| {
        if instance.phase != Phase::Ready {
            return;
        }
        ready += 1;
        if let Some(found) = found
            && usable(found.usage).is_ok()
            && (total || (found.request.is_finite() && found.request > 0.0))
            && fresh(found.at, view.now, max_age).is_ok()
        {
            usage += found.usage;
            request += found.request;
            measured += 1;
        }
    });
    if measured == 0 {
        return Err(Ignored::NoInstance);
    }
    let value =
        if total { usage * f64::from(ready) / f64::from(measured) } else { usage / request };
    usable(value)?;
    Ok(Reading { value, partial: measured < ready })
}

/// Calls `each` with every instance and its usage. Without an allocation where usages
/// come in the order of the instances, gaps allowed.
pub(crate) fn join<'a>(
    instances: &'a [Instance],
    usages: &'a [Usage],
    mut each: impl FnMut(&'a Instance, Option<&'a Usage>),
) {
    let mut at = 0;
    let ordered = usages.iter().all(|usage| {
        while at < instances.len() && instances[at].id != usage.instance {
            at += 1;
        }
        at += 1;
        at <= instances.len()
    });
    if ordered {
        let mut rest = usages.iter().peekable();
        for instance in instances {
            each(instance, rest.next_if(|usage| usage.instance == instance.id));
        }
        return;
    }
    let mut sorted: Vec<&Usage> = usages.iter().collect();
    // The latest of an instance's comes last, and is the one that is found.
    sorted.sort_by_key(|usage| (usage.instance, usage.at));
    for instance in instances {
        let end = sorted.partition_point(|usage| usage.instance <= instance.id);
        let found = sorted[..end].last().filter(|usage| usage.instance == instance.id);
        each(instance, found.copied());
    }
}
