mod estimate;

use std::time::Duration;

use self::estimate::Estimate;
pub use self::estimate::PredictiveState;
use super::rails::{self, OnMissing, Rails};
use super::threshold::Utilisation;
use super::{Limits, Proposal, ScalingPolicy, Taken, View};
use crate::decision::{Bound, MetricName, Step};
use crate::error::Refusal;
use crate::observation::IN_FLIGHT;

/// What the demand is measured by.
#[derive(Clone, Debug, PartialEq)]
#[cfg_attr(feature = "serde", derive(serde::Serialize, serde::Deserialize))]
#[cfg_attr(feature = "serde", serde(rename_all = "kebab-case", deny_unknown_fields))]
pub struct Signal {
    /// The metric.
    pub metric: MetricName,
    /// Where it is a total: how much of it is one instance's full use.
    #[cfg_attr(feature = "serde", serde(default, skip_serializing_if = "Option::is_none"))]
    pub per_instance: Option<f64>,
}

/// Enough instances for what is expected when one that is started now could be ready.
///
/// Expected is what is there, and its slope where that is significant; on top comes a
/// margin of `confidence` standard deviations of how wrong such expectations have been.
/// So a quiet load is served with little to spare, and a nervous one with more. Where the
/// mean of the last half an hour has been the better guess, as for load that jumps around
/// a level, that is what is expected. Give it requests in flight: CPU saturates, and then says nothing about how much is missing.
///
/// ```
/// use autoscale_policy::{Predictive, Scaler};
///
/// // An instance is full with 8 requests at a time.
/// assert!(Scaler::new(Predictive::in_flight(8.0)).is_ok());
/// ```
#[derive(Clone, Debug, PartialEq)]
#[cfg_attr(feature = "serde", derive(serde::Serialize, serde::Deserialize))]
#[cfg_attr(feature = "serde", serde(default, rename_all = "kebab-case", deny_unknown_fields))]
pub struct Predictive {
    /// What the demand is measured by.
    pub signal: Signal,
    /// At what utilisation instances are to work when all goes as expected; 0.8.
    pub target: f64,
    /// How many standard deviations of its own error to be ready for; 2.
    pub confidence: f64,
    /// Whether a significant slope is followed; yes.
    pub trend: bool,
    /// The least instances; 2.
    pub min: u32,
    /// The most instances; 20.
    pub max: u32,
    /// How long an instance takes until it is ready; 2 min.
    #[cfg_attr(feature = "serde", serde(with = "crate::config::span"))]
    pub warm_up: Duration,
    /// How often it decides; 15 s.
    #[cfg_attr(feature = "serde", serde(with = "crate::config::span"))]
    pub every: Duration,
    /// Scale in only to the most that was wanted for so long; 5 min.
    #[cfg_attr(feature = "serde", serde(with = "crate::config::span"))]
    pub hold_down: Duration,
    /// Do not scale in for less than this share of the instances; 0.2. Nor out for less than
    /// a third of it.
    pub dead_band: f64,
    /// How old a sample may be; 60 s.
    #[cfg_attr(feature = "serde", serde(with = "crate::config::span"))]
    pub max_age: Duration,
    /// What to do without a sample; hold.
    pub on_missing: OnMissing,
}

impl Default for Predictive {
    fn default() -> Self {
        Self::in_flight(1.0)
    }
}

impl Predictive {
    /// By requests in flight: `full` of them are one instance's full use.
    #[must_use]
    pub fn in_flight(full: f64) -> Self {
        let seconds = Duration::from_secs;
        Self {
            signal: Signal { metric: IN_FLIGHT.into(), per_instance: Some(full) },
            target: 0.8,
            confidence: 2.0,
            trend: true,
            min: 2,
            max: 20,
            warm_up: seconds(120),
            every: seconds(15),
            hold_down: seconds(300),
            dead_band: 0.2,
            max_age: seconds(60),
            on_missing: OnMissing::Hold,
        }
    }

    fn ahead(&self) -> Duration {
        self.warm_up.saturating_add(self.every)
    }
}

impl ScalingPolicy for Predictive {
    type State = PredictiveState;

    fn limits(&self) -> Limits {
        Limits { min: self.min, max: self.max, warm_up: Some(self.warm_up) }
    }

    fn check(&self) -> Result<(), Refusal> {
        let limits = self.limits();
        limits.check("predictive")?;
        if self.min == 0 {
            let reason = "must be above zero: nothing is in flight where nothing runs";
            return Err(Refusal::new("predictive.min", self.min, reason));
        }
        rails::positive("predictive.target", self.target, "a utilisation")?;
        if self.target > 1.0 {
            let reason = "is above full use (1.0)";
            return Err(Refusal::new("predictive.target", self.target, reason));
        }
        if let Some(full) = self.signal.per_instance {
            rails::positive("predictive.signal.per-instance", full, "an instance's full use")?;
        }
        if !(0.0..=10.0).contains(&self.confidence) {
            let reason = "must be a number of standard deviations from 0 to 10";
            return Err(Refusal::new("predictive.confidence", self.confidence, reason));
        }
        if !(0.0..1.0).contains(&self.dead_band) {
            let reason = "must be a share from 0 to below 1, or nothing is ever scaled in";
            return Err(Refusal::new("predictive.dead-band", self.dead_band, reason));
        }
        if self.every.is_zero() || self.every > self.max_age {
            let reason = format!(
                "must be above zero, and at most max-age ({:?}), or its samples are too old",
                self.max_age
            );
            return Err(Refusal::new("predictive.every", self.every, reason));
        }
        rails::max_age_check("predictive", self.max_age)?;
        self.on_missing.check("predictive", limits)
    }

    fn decide(
        &self,
        state: &mut PredictiveState,
        view: &View<'_>,
        steps: &mut Vec<Step>,
    ) -> Proposal {
        let Self { max_age, hold_down, .. } = *self;
        let down_cooldown = self.warm_up;
        let rails = Rails { hold_down, down_cooldown, ..Rails::plain(self.limits(), max_age) };
        let Signal { metric, per_instance } = &self.signal;
        let use_of = match Utilisation::read(view, metric, *per_instance, max_age) {
            Ok(use_of) => use_of,
            Err(why) => {
                let rails_state = &mut state.rails;
                return rails.missing(rails_state, view, self.on_missing, metric, why, steps);
            }
        };
        state.rails.read();
        // What waits says that there is too little, and not how much is missing: nothing
        // can be learned from how long the queue is.
        let served = use_of.demand.min(f64::from(view.fleet.ready.max(1)));
        let panic = use_of.demand > served;
        let Estimate { level, growth, margin } = state.estimate(self, view.now, served);
        // What is there now is needed whatever is expected.
        let needed = (level + growth + margin).max(use_of.demand) / self.target;
        let mut wanted = needed.ceil() as u32;
        steps.push(use_of.step(metric, self.target, view, use_of.instances_at(self.target)));
        steps.push(Step::Forecast {
            demand: level,
            growth,
            margin,
            ahead: self.ahead(),
            panic,
            wanted,
        });
        let current = view.current;
        let band = self.dead_band * f64::from(current);
        let (too_many, too_few) = (f64::from(current) - needed, needed - f64::from(current));
        // Too few is worse than too many: a third of the band.
        if wanted != current && too_many < band && too_few < band / 3.0 && !panic {
            let by = Bound::DeadBand;
            steps.push(Step::Bound { by, from: wanted, to: current, left: None });
            wanted = current;
        }
        rails.settle(&mut state.rails, view, wanted, !use_of.partial, steps)
    }

    fn applied(&self, state: &mut PredictiveState, taken: Taken) {
        state.rails.applied(taken);
    }
}
