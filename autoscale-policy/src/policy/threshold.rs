use std::time::Duration;

use super::rails::{self, Change, OnMissing, Rails, RailsState};
use super::{Limits, Proposal, ScalingPolicy, Taken, View, gauge};
use crate::decision::{Bound, MetricName, Step};
use crate::error::Refusal;
use crate::observation::CPU;

/// Out above one utilisation, in below another.
///
/// The default is the usual preset: CPU, out above 70 %, in below 30 %, 2 to 20
/// instances, up fast (two at a time, every 3 min) and down with care (one at a time,
/// 10 min after any change), for instances that take 2 min to be ready.
///
/// ```
/// use autoscale_policy::{Scaler, Threshold};
///
/// let busier = Threshold { up: 0.8, ..Threshold::default() };
/// assert!(Scaler::new(busier).is_ok());
/// let nonsense = Threshold { down: 0.7, ..Threshold::default() };
/// assert_eq!(
///     Scaler::new(nonsense).unwrap_err().to_string(),
///     "threshold.down = 0.7: is not below threshold.up, which is 0.7"
/// );
/// ```
#[derive(Clone, Debug, PartialEq)]
#[cfg_attr(feature = "serde", derive(serde::Serialize, serde::Deserialize))]
#[cfg_attr(feature = "serde", serde(default, rename_all = "kebab-case", deny_unknown_fields))]
pub struct Threshold {
    /// The metric; [`CPU`] by default.
    pub metric: MetricName,
    /// Where the metric is a total, as in-flight requests are: how much of it is one
    /// instance's full use. `None`, the default: it is a utilisation, 1.0 being full.
    #[cfg_attr(feature = "serde", serde(skip_serializing_if = "Option::is_none"))]
    pub per_instance: Option<f64>,
    /// Scale out above this utilisation; 0.7.
    pub up: f64,
    /// Scale in below this utilisation; 0.3.
    pub down: f64,
    /// The least instances; 2.
    pub min: u32,
    /// The most instances; 20.
    pub max: u32,
    /// How many to add at a time; 2.
    pub step_up: Change,
    /// How many to remove at a time; 1.
    pub step_down: Change,
    /// How long after scaling out to scale out again; 3 min.
    #[cfg_attr(feature = "serde", serde(with = "crate::config::span"))]
    pub up_cooldown: Duration,
    /// How long after any change to scale in; 10 min.
    #[cfg_attr(feature = "serde", serde(with = "crate::config::span"))]
    pub down_cooldown: Duration,
    /// How long an instance takes until it is ready; 2 min.
    #[cfg_attr(feature = "serde", serde(with = "crate::config::span"))]
    pub warm_up: Duration,
    /// How old a sample may be; 60 s.
    #[cfg_attr(feature = "serde", serde(with = "crate::config::span"))]
    pub max_age: Duration,
    /// What to do without a sample; hold.
    pub on_missing: OnMissing,
}

impl Default for Threshold {
    fn default() -> Self {
        let minutes = |n: u64| Duration::from_secs(60 * n);
        Self {
            metric: CPU.into(),
            per_instance: None,
            up: 0.7,
            down: 0.3,
            min: 2,
            max: 20,
            step_up: Change::Instances(2),
            step_down: Change::Instances(1),
            up_cooldown: minutes(3),
            down_cooldown: minutes(10),
            warm_up: minutes(2),
            max_age: minutes(1),
            on_missing: OnMissing::Hold,
        }
    }
}

impl Threshold {
    fn rails(&self) -> Rails {
        let Self { up_cooldown, down_cooldown, max_age, .. } = *self;
        let limits = self.limits();
        Rails { limits, up_cooldown, down_cooldown, hold_down: Duration::ZERO, max_age }
    }
}

impl ScalingPolicy for Threshold {
    type State = RailsState;

    fn limits(&self) -> Limits {
        Limits { min: self.min, max: self.max, warm_up: Some(self.warm_up) }
    }

    fn check(&self) -> Result<(), Refusal> {
        let limits = self.limits();
        limits.check("threshold")?;
        let total = self.per_instance.is_some();
        rails::comes_back("threshold", self.min, total)?;
        rails::share("threshold.up", self.up, total)?;
        rails::share("threshold.down", self.down, total)?;
        if let Some(per_instance) = self.per_instance {
            rails::positive("threshold.per-instance", per_instance, "an instance's full use")?;
        }
        if self.down >= self.up {
            let reason = format!("is not below threshold.up, which is {}", self.up);
            return Err(Refusal::new("threshold.down", self.down, reason));
        }
        self.step_up.check("threshold.step-up")?;
        self.step_down.check("threshold.step-down")?;
        rails::max_age_check("threshold", self.max_age)?;
        self.on_missing.check("threshold", limits)?;
        // From the smallest count that it can be scaled in from.
        let to = f64::from(self.min.max(1));
        let from = to + 1.0;
        let after = self.down * from / to;
        if after > self.up && self.min < self.max {
            let reason = format!(
                "would flap: from {from} instances at this utilisation, {to} would be at {after:.2}, above threshold.up ({}); at most {:.2}",
                self.up,
                self.up * to / from
            );
            return Err(Refusal::new("threshold.down", self.down, reason));
        }
        Ok(())
    }

    fn warnings(&self) -> Vec<Refusal> {
        rails::short_cooldown("threshold", self.up_cooldown, self.warm_up)
    }

    fn decide(
        &self,
        state: &mut RailsState,
        view: &View<'_>,
        steps: &mut Vec<Step>,
    ) -> Proposal {
        let rails = self.rails();
        let use_of = Utilisation::read(view, &self.metric, self.per_instance, self.max_age);
        let use_of = match use_of {
            Ok(use_of) => use_of,
            Err(why) => {
                return rails.missing(state, view, self.on_missing, &self.metric, why, steps);
            }
        };
        state.read();
        let mut wanted = view.current;
        let mut breach = None;
        if use_of.value > self.up {
            wanted = view.current.saturating_add(self.step_up.of(view.current));
        } else if use_of.value < self.down {
            let fewer = view.current.saturating_sub(self.step_down.of(view.current));
            let enough = use_of.instances_at(self.up).min(view.current);
            breach = (enough > fewer && !cfg!(broken = "breach")).then_some((fewer, enough));
            wanted = breach.map_or(fewer, |(_, enough)| enough);
        }
        let target = if use_of.value < self.down { self.down } else { self.up };
        steps.push(use_of.step(&self.metric, target, view, breach.map_or(wanted, |(n, _)| n)));
        if let Some((from, to)) = breach {
            steps.push(Step::Bound { by: Bound::WouldBreach, from, to, left: None });
        }
        let mut proposal = rails.settle(state, view, wanted, !use_of.partial, steps);
        if let Some((fewer, _)) = breach {
            proposal.wanted = fewer;
            proposal.bound_by = proposal.bound_by.or(Some(Bound::WouldBreach));
        }
        proposal
    }

    fn applied(&self, state: &mut RailsState, taken: Taken) {
        state.applied(taken);
    }
}

/// How busy ready instances are, on average.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Utilisation {
    pub(crate) value: f64,
    /// In instances at full use.
    pub(crate) demand: f64,
    pub(crate) partial: bool,
}

impl Utilisation {
    pub(crate) fn read(
        view: &View<'_>,
        metric: &MetricName,
        per_instance: Option<f64>,
        max_age: Duration,
    ) -> Result<Self, crate::decision::Ignored> {
        let reading = gauge::read(view, metric, max_age, per_instance.is_some())?;
        let gauge::Reading { value, partial } = reading;
        // Where nothing is ready, whatever waits is one instance's work at least.
        let ready = f64::from(view.fleet.ready.max(1));
        Ok(match per_instance {
            Some(full) => Self { value: value / full / ready, demand: value / full, partial },
            None if view.fleet.ready == 0 => {
                return Err(crate::decision::Ignored::NoInstance);
            }
            None => Self { value, demand: value * ready, partial },
        })
    }

    /// How many instances would be at `utilisation` at most.
    pub(crate) fn instances_at(&self, utilisation: f64) -> u32 {
        (self.demand / utilisation).ceil() as u32
    }

    pub(crate) fn step(
        &self,
        metric: &MetricName,
        target: f64,
        view: &View<'_>,
        wanted: u32,
    ) -> Step {
        let super::Fleet { ready, warming, .. } = view.fleet;
        Step::Metric {
            metric: metric.clone(),
            value: self.value,
            target,
            ready,
            warming,
            wanted,
        }
    }
}
