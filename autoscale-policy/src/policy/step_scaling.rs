use std::time::Duration;

use super::rails::{self, Change, OnMissing, Rails, RailsState};
use super::threshold::Utilisation;
use super::{Limits, Proposal, ScalingPolicy, Taken, View};
use crate::decision::{Bound, MetricName, Step};
use crate::error::Refusal;
use crate::observation::CPU;

/// From which utilisation on to change by how much.
#[derive(Clone, Copy, Debug, PartialEq)]
#[cfg_attr(feature = "serde", derive(serde::Serialize, serde::Deserialize))]
#[cfg_attr(feature = "serde", serde(rename_all = "kebab-case", deny_unknown_fields))]
pub struct Stair {
    /// At or beyond this utilisation: above it on the way out, below it on the way in.
    pub at: f64,
    /// By how much.
    pub by: Change,
}

/// The further off, the larger the change, as EC2's step scaling has it.
///
/// The default: +1 from 70 %, +30 % from 85 %, −1 below 30 %, 2 to 20 instances, with
/// the cooldowns of [`Threshold`](crate::Threshold).
#[derive(Clone, Debug, PartialEq)]
#[cfg_attr(feature = "serde", derive(serde::Serialize, serde::Deserialize))]
#[cfg_attr(feature = "serde", serde(default, rename_all = "kebab-case", deny_unknown_fields))]
pub struct StepScaling {
    /// The metric; [`CPU`] by default.
    pub metric: MetricName,
    /// One instance's full use, where the metric is a total.
    #[cfg_attr(feature = "serde", serde(skip_serializing_if = "Option::is_none"))]
    pub per_instance: Option<f64>,
    /// On the way out, rising.
    pub out: Vec<Stair>,
    /// On the way in, falling.
    pub r#in: Vec<Stair>,
    /// The least instances; 2.
    pub min: u32,
    /// The most instances; 20.
    pub max: u32,
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

impl Default for StepScaling {
    fn default() -> Self {
        let minutes = |n: u64| Duration::from_secs(60 * n);
        Self {
            metric: CPU.into(),
            per_instance: None,
            out: vec![
                Stair { at: 0.7, by: Change::Instances(1) },
                Stair { at: 0.85, by: Change::Percent(30.0) },
            ],
            r#in: vec![Stair { at: 0.3, by: Change::Instances(1) }],
            min: 2,
            max: 20,
            up_cooldown: minutes(3),
            down_cooldown: minutes(10),
            warm_up: minutes(2),
            max_age: minutes(1),
            on_missing: OnMissing::Hold,
        }
    }
}

impl ScalingPolicy for StepScaling {
    type State = RailsState;

    fn limits(&self) -> Limits {
        Limits { min: self.min, max: self.max, warm_up: Some(self.warm_up) }
    }

    fn check(&self) -> Result<(), Refusal> {
        let limits = self.limits();
        limits.check("step-scaling")?;
        let total = self.per_instance.is_some();
        rails::comes_back("step-scaling", self.min, total)?;
        if let Some(per_instance) = self.per_instance {
            rails::positive(
                "step-scaling.per-instance",
                per_instance,
                "an instance's full use",
            )?;
        }
        for (name, stairs) in [("step-scaling.out", &self.out), ("step-scaling.in", &self.r#in)]
        {
            for stair in stairs {
                rails::share(&format!("{name}.at"), stair.at, total)?;
                stair.by.check(&format!("{name}.by"))?;
            }
        }
        let Some(first) = self.out.first() else {
            return Err(Refusal::new(
                "step-scaling.out",
                &self.out,
                "it could never scale out",
            ));
        };
        for pair in self.out.windows(2) {
            if pair[1].at <= pair[0].at || pair[1].by.of(self.max) < pair[0].by.of(self.max) {
                let reason =
                    "stairs on the way out must rise, and do no less than those before";
                return Err(Refusal::new("step-scaling.out", pair[1], reason));
            }
        }
        for pair in self.r#in.windows(2) {
            if pair[1].at >= pair[0].at || pair[1].by.of(self.max) < pair[0].by.of(self.max) {
                let reason = "stairs on the way in must fall, and do no less than those before";
                return Err(Refusal::new("step-scaling.in", pair[1], reason));
            }
        }
        if let Some(last) = self.r#in.first() {
            let to = f64::from(self.min.max(1));
            let from = to + 1.0;
            let after = last.at * from / to;
            if after > first.at && self.min < self.max {
                let reason = format!(
                    "would flap: from {from} instances at this utilisation, {to} would be at {after:.2}, above the first stair out ({})",
                    first.at
                );
                return Err(Refusal::new("step-scaling.in", last.at, reason));
            }
        }
        rails::max_age_check("step-scaling", self.max_age)?;
        self.on_missing.check("step-scaling", limits)
    }

    fn warnings(&self) -> Vec<Refusal> {
        rails::short_cooldown("step-scaling", self.up_cooldown, self.warm_up)
    }

    fn decide(
        &self,
        state: &mut RailsState,
        view: &View<'_>,
        steps: &mut Vec<Step>,
    ) -> Proposal {
        let Self { up_cooldown, down_cooldown, max_age, .. } = *self;
        let limits = self.limits();
        let hold_down = Duration::ZERO;
        let rails = Rails { limits, up_cooldown, down_cooldown, hold_down, max_age };
        let use_of = match Utilisation::read(view, &self.metric, self.per_instance, max_age) {
            Ok(use_of) => use_of,
            Err(why) => {
                return rails.missing(state, view, self.on_missing, &self.metric, why, steps);
            }
        };
        state.read();
        let out = self.out.iter().rev().find(|stair| use_of.value >= stair.at);
        let fewer = self.r#in.iter().rev().find(|stair| use_of.value <= stair.at);
        let up = self.out.first().map_or(1.0, |stair| stair.at);
        let (mut wanted, mut target, mut breach) = (view.current, up, None);
        if let Some(stair) = out {
            wanted = view.current.saturating_add(stair.by.of(view.current));
            target = stair.at;
        } else if let Some(stair) = fewer {
            let to = view.current.saturating_sub(stair.by.of(view.current));
            // At `up` itself it would scale out.
            let enough = ((use_of.demand / up).floor() as u32).saturating_add(1);
            let enough = enough.min(view.current);
            breach = (enough > to && !cfg!(broken = "breach")).then_some((to, enough));
            (wanted, target) = (breach.map_or(to, |(_, enough)| enough), stair.at);
        }
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
