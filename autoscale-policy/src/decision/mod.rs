mod display;

use std::sync::Arc;
use std::time::Duration;

use crate::time::EpochMillis;

/// What to do, and all that led there. `Display` tells it in text.
#[derive(Clone, Debug, PartialEq)]
#[cfg_attr(feature = "serde", derive(serde::Serialize, serde::Deserialize))]
#[non_exhaustive]
pub struct Decision {
    /// How many instances there are, or were asked for.
    pub current: u32,
    /// How many the metrics ask for, before any rule that holds back.
    pub wanted: u32,
    /// What to do.
    pub action: Action,
    /// Every rule that had a part in it, in order.
    pub steps: Vec<Step>,
    /// The rule that kept the action from being what is wanted.
    pub bound_by: Option<Bound>,
    /// When to decide again at the latest: what bound this one ends, or its samples
    /// become too old.
    pub valid_until: EpochMillis,
}

/// What to do.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[cfg_attr(feature = "serde", derive(serde::Serialize, serde::Deserialize))]
#[cfg_attr(feature = "serde", serde(rename_all = "kebab-case"))]
pub enum Action {
    /// Leave it.
    Hold,
    /// Run this many instances.
    ScaleTo(u32),
}

/// A rule that holds back; a closed set, fit for a metric's label.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[cfg_attr(feature = "serde", derive(serde::Serialize, serde::Deserialize))]
#[cfg_attr(feature = "serde", serde(rename_all = "kebab-case"))]
#[non_exhaustive]
pub enum Bound {
    /// The least instances.
    Min,
    /// The most instances.
    Max,
    /// Failed instances count against the most.
    Failed,
    /// The last scaling out was too short ago.
    UpCooldown,
    /// The last change was too short ago.
    DownCooldown,
    /// More was wanted a short time ago.
    HoldDown,
    /// Instances are warming.
    Warming,
    /// A change is under way.
    UnderWay,
    /// No sample that can be used.
    Missing,
    /// Fewer instances would have to scale out again.
    WouldBreach,
    /// Too small a change.
    DeadBand,
    /// At most so many at a time.
    Rate,
    /// The policy only scales out.
    OnlyOut,
    /// Scaling is off: there are no instances, and the least is above zero.
    Disabled,
}

/// The name of a metric.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
#[cfg_attr(feature = "serde", derive(serde::Serialize, serde::Deserialize))]
#[cfg_attr(feature = "serde", serde(transparent))]
pub struct MetricName(Arc<str>);

impl MetricName {
    /// As samples are named.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl From<&str> for MetricName {
    fn from(name: &str) -> Self {
        Self(name.into())
    }
}

/// Why a sample does not count.
#[derive(Clone, Copy, Debug, PartialEq)]
#[cfg_attr(feature = "serde", derive(serde::Serialize, serde::Deserialize))]
#[cfg_attr(feature = "serde", serde(rename_all = "kebab-case"))]
#[non_exhaustive]
pub enum Ignored {
    /// There is none.
    Missing,
    /// Its source could not be asked.
    Unreachable,
    /// It is older than `max_age`.
    Stale {
        /// How old it is.
        age: Duration,
        /// How old it may be.
        max_age: Duration,
    },
    /// It is from after `now`, by more than clocks differ (5 s).
    Future {
        /// By how much.
        by: Duration,
    },
    /// It is not a number, or infinite.
    NotFinite,
    /// It is below zero.
    Negative,
    /// No ready instance has one.
    NoInstance,
}

/// One rule that had a part in a decision.
#[derive(Clone, Debug, PartialEq)]
#[cfg_attr(feature = "serde", derive(serde::Serialize, serde::Deserialize))]
#[cfg_attr(feature = "serde", serde(rename_all = "kebab-case"))]
#[non_exhaustive]
pub enum Step {
    /// A metric, beside what it should be, and how many instances that makes.
    Metric {
        /// Which one.
        metric: MetricName,
        /// What it is.
        value: f64,
        /// What it is compared with.
        target: f64,
        /// How many instances are ready, and measured.
        ready: u32,
        /// How many are warming, and left out of it.
        warming: u32,
        /// How many instances it asks for.
        wanted: u32,
    },
    /// Within the tolerance: no change.
    Tolerated {
        /// Which metric.
        metric: MetricName,
        /// How far off it is, 1.0 being exact.
        ratio: f64,
    },
    /// Some instances have no figure, which could turn the decision round: no change.
    Unsure {
        /// Which metric.
        metric: MetricName,
        /// Instances without a figure.
        missing: u32,
        /// Instances that are not ready.
        unready: u32,
    },
    /// A sample that does not count.
    Ignored {
        /// Which metric.
        metric: MetricName,
        /// Why.
        why: Ignored,
    },
    /// No sample counts: what was set for that case.
    Missing {
        /// For how many decisions in a row.
        failures: u32,
        /// How many instances that asks for.
        wanted: u32,
    },
    /// What is expected when a new instance could be ready.
    Forecast {
        /// The demand now, in instances at full use.
        demand: f64,
        /// How much more is expected, by the slope.
        growth: f64,
        /// What is added for how wrong such expectations were.
        margin: f64,
        /// How far ahead that is.
        ahead: Duration,
        /// Whether demand outgrows what is there.
        panic: bool,
        /// How many instances it asks for.
        wanted: u32,
    },
    /// A window of the schedule.
    Scheduled {
        /// Its place in the configuration, from zero.
        window: u32,
        /// How many instances it asks for.
        wanted: u32,
    },
    /// A rule that held back.
    Bound {
        /// Which.
        by: Bound,
        /// How many were asked for.
        from: u32,
        /// What is left of that.
        to: u32,
        /// For how long it binds still, where that is known.
        left: Option<Duration>,
    },
    /// The clock went back: no time has passed.
    ClockWentBack {
        /// By how much.
        by: Duration,
    },
    /// The clock has stayed back, so it was wrong before: what was remembered is forgotten.
    StartedAnew {
        /// By how much it went back.
        by: Duration,
    },
    /// A change that was submitted has not come about in time, and is forgotten.
    GaveUp {
        /// How many were asked for.
        asked: u32,
    },
}
