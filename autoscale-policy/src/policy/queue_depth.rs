use std::time::Duration;

use super::rails::{self, OnMissing, Rails, RailsState};
use super::{Limits, Proposal, ScalingPolicy, Taken, View, gauge};
use crate::decision::{MetricName, Step};
use crate::error::Refusal;
use crate::observation::QUEUE_DEPTH;

/// As many workers as the backlog needs, from zero on.
///
/// Either so many jobs an instance (`per_instance`), or by the time in which the backlog
/// is to be worked off: `rate` jobs a second an instance, `drain_within`.
///
/// ```
/// use std::time::Duration;
/// use autoscale_policy::{QueueDepth, Scaler};
///
/// let workers = QueueDepth::drained_within(4.0, Duration::from_secs(60));
/// assert!(Scaler::new(workers).is_ok());
/// ```
#[derive(Clone, Debug, PartialEq)]
#[cfg_attr(feature = "serde", derive(serde::Serialize, serde::Deserialize))]
#[cfg_attr(feature = "serde", serde(default, rename_all = "kebab-case", deny_unknown_fields))]
pub struct QueueDepth {
    /// The metric, a total; [`QUEUE_DEPTH`] by default.
    pub metric: MetricName,
    /// How many jobs an instance may have waiting; 100.
    pub per_instance: f64,
    /// How many jobs a second an instance does. With `drain_within`, in place of
    /// `per_instance`.
    #[cfg_attr(feature = "serde", serde(skip_serializing_if = "Option::is_none"))]
    pub rate: Option<f64>,
    /// In what time the backlog is to be worked off.
    #[cfg_attr(
        feature = "serde",
        serde(with = "crate::config::span::maybe", skip_serializing_if = "Option::is_none")
    )]
    pub drain_within: Option<Duration>,
    /// Up to this backlog, none is needed where `min` is zero; 0.
    pub activation: f64,
    /// The least instances; 0.
    pub min: u32,
    /// The most instances; 20.
    pub max: u32,
    /// Scale in only to the most that was wanted for so long; 5 min.
    #[cfg_attr(feature = "serde", serde(with = "crate::config::span"))]
    pub hold_down: Duration,
    /// How long an instance takes until it is ready; 2 min.
    #[cfg_attr(feature = "serde", serde(with = "crate::config::span"))]
    pub warm_up: Duration,
    /// How old a sample may be; 60 s.
    #[cfg_attr(feature = "serde", serde(with = "crate::config::span"))]
    pub max_age: Duration,
    /// What to do without a sample; hold.
    pub on_missing: OnMissing,
}

impl Default for QueueDepth {
    fn default() -> Self {
        Self {
            metric: QUEUE_DEPTH.into(),
            per_instance: 100.0,
            rate: None,
            drain_within: None,
            activation: 0.0,
            min: 0,
            max: 20,
            hold_down: Duration::from_secs(300),
            warm_up: Duration::from_secs(120),
            max_age: Duration::from_secs(60),
            on_missing: OnMissing::Hold,
        }
    }
}

impl QueueDepth {
    /// So many jobs an instance.
    #[must_use]
    pub fn per_instance(jobs: f64) -> Self {
        Self { per_instance: jobs, ..Self::default() }
    }

    /// Works the backlog off in `time`, at `rate` jobs a second an instance.
    #[must_use]
    pub fn drained_within(rate: f64, time: Duration) -> Self {
        Self { rate: Some(rate), drain_within: Some(time), ..Self::default() }
    }

    fn share(&self) -> f64 {
        match (self.rate, self.drain_within) {
            (Some(rate), Some(time)) => rate * time.as_secs_f64(),
            _ => self.per_instance,
        }
    }
}

impl ScalingPolicy for QueueDepth {
    type State = RailsState;

    fn limits(&self) -> Limits {
        Limits { min: self.min, max: self.max, warm_up: Some(self.warm_up) }
    }

    fn check(&self) -> Result<(), Refusal> {
        let limits = self.limits();
        limits.check("queue-depth")?;
        rails::positive("queue-depth.per-instance", self.per_instance, "jobs an instance")?;
        match (self.rate, self.drain_within) {
            (Some(rate), Some(time)) => {
                rails::positive("queue-depth.rate", rate, "jobs a second")?;
                if time.is_zero() {
                    let reason = "no number of instances is that fast";
                    return Err(Refusal::new("queue-depth.drain-within", time, reason));
                }
                if !self.share().is_finite() {
                    let reason = "with this rate, is no number of jobs";
                    return Err(Refusal::new("queue-depth.drain-within", time, reason));
                }
            }
            (None, None) => {}
            (rate, time) => {
                let reason = "rate and drain-within belong together: set both or neither";
                return Err(Refusal::new("queue-depth.rate", (rate, time), reason));
            }
        }
        if !self.activation.is_finite() || self.activation < 0.0 {
            let reason = "must be a number of jobs, zero or more";
            return Err(Refusal::new("queue-depth.activation", self.activation, reason));
        }
        if self.activation > 0.0 && self.min > 0 {
            let reason = "decides between none and one, but min is above zero";
            return Err(Refusal::new("queue-depth.activation", self.activation, reason));
        }
        rails::max_age_check("queue-depth", self.max_age)?;
        self.on_missing.check("queue-depth", limits)
    }

    fn decide(
        &self,
        state: &mut RailsState,
        view: &View<'_>,
        steps: &mut Vec<Step>,
    ) -> Proposal {
        let Self { max_age, hold_down, .. } = *self;
        let rails = Rails { hold_down, ..Rails::plain(self.limits(), max_age) };
        let backlog = match gauge::read(view, &self.metric, max_age, true) {
            Ok(backlog) => backlog,
            Err(why) => {
                return rails.missing(state, view, self.on_missing, &self.metric, why, steps);
            }
        };
        state.read();
        let wanted = if backlog.value > self.activation {
            ((backlog.value / self.share()).ceil() as u32).max(1)
        } else {
            0
        };
        let super::Fleet { ready, warming, .. } = view.fleet;
        steps.push(Step::Metric {
            metric: self.metric.clone(),
            value: backlog.value,
            target: self.share(),
            ready,
            warming,
            wanted,
        });
        rails.settle(state, view, wanted, !backlog.partial, steps)
    }

    fn applied(&self, state: &mut RailsState, taken: Taken) {
        state.applied(taken);
    }
}
