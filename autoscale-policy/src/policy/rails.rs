//! What holds our own policies back, the same for all of them.

use std::collections::VecDeque;
use std::time::Duration;

use super::{Limits, Proposal, Taken, View};
use crate::decision::{Bound, Ignored, MetricName, Step};
use crate::error::Refusal;
use crate::time::EpochMillis;

/// By how much to change.
#[derive(Clone, Copy, Debug, PartialEq)]
#[cfg_attr(feature = "serde", derive(serde::Serialize, serde::Deserialize))]
#[cfg_attr(feature = "serde", serde(rename_all = "kebab-case"))]
pub enum Change {
    /// By this many instances.
    Instances(u32),
    /// By this share of the instances there are, in percent, rounded up, and of none, one.
    Percent(f64),
}

impl Change {
    pub(crate) fn of(self, current: u32) -> u32 {
        match self {
            Self::Instances(n) => n,
            Self::Percent(share) => ((f64::from(current) * share / 100.0).ceil() as u32).max(1),
        }
    }

    pub(crate) fn check(self, path: &str) -> Result<(), Refusal> {
        let sound = match self {
            Self::Instances(n) => n > 0,
            Self::Percent(share) => share.is_finite() && share > 0.0,
        };
        if sound {
            return Ok(());
        }
        Err(Refusal::new(path, self, "must be above zero, or it changes nothing"))
    }
}

/// What to do while no sample can be used.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[cfg_attr(feature = "serde", derive(serde::Serialize, serde::Deserialize))]
#[cfg_attr(feature = "serde", serde(rename_all = "kebab-case", deny_unknown_fields))]
pub enum OnMissing {
    /// Leave the fleet as it is.
    #[default]
    Hold,
    /// After so many decisions in a row, run at least so many; never fewer than now.
    CurrentIfHigher {
        /// The least instances.
        instances: u32,
        /// Decisions without a sample.
        after: u32,
    },
    /// After so many decisions in a row, run exactly so many. The only setting by which
    /// a fleet is scaled in without a sample.
    Fallback {
        /// How many instances.
        instances: u32,
        /// Decisions without a sample.
        after: u32,
    },
}

impl OnMissing {
    pub(crate) fn check(self, name: &str, limits: Limits) -> Result<(), Refusal> {
        let (Self::CurrentIfHigher { instances, after } | Self::Fallback { instances, after }) =
            self
        else {
            return Ok(());
        };
        if after == 0 {
            let reason = "would act while there are samples; at least 1";
            return Err(Refusal::new(&format!("{name}.on-missing.after"), after, reason));
        }
        if (limits.min..=limits.max).contains(&instances) {
            return Ok(());
        }
        let reason = format!("is outside of {} to {}, min and max", limits.min, limits.max);
        Err(Refusal::new(&format!("{name}.on-missing.instances"), instances, reason))
    }
}

/// A change may be confirmed by a clock that is a little ahead.
const AHEAD: Duration = Duration::from_secs(600);

/// What the rules remember.
#[derive(Clone, Debug, Default, PartialEq)]
#[cfg_attr(feature = "serde", derive(serde::Serialize, serde::Deserialize))]
#[cfg_attr(feature = "serde", serde(default, rename_all = "kebab-case"))]
pub struct RailsState {
    last_out: Option<EpochMillis>,
    last_in: Option<EpochMillis>,
    /// Falling counts: a later one that is higher has replaced those before it.
    wishes: VecDeque<(EpochMillis, u32)>,
    failures: u32,
}

impl RailsState {
    /// Is told of a change that the platform has taken: a cooldown begins with success.
    pub(crate) fn applied(&mut self, taken: Taken) {
        if taken.to > taken.from {
            self.last_out = Some(taken.at);
        } else if taken.to < taken.from {
            self.last_in = Some(taken.at);
        }
    }

    pub(crate) fn read(&mut self) {
        self.failures = 0;
    }

    /// What is from after now was kept by a clock that was wrong: it counts as of now.
    fn tame(&mut self, now: EpochMillis) {
        self.last_out = self.last_out.map(|at| at.min(now + AHEAD));
        self.last_in = self.last_in.map(|at| at.min(now + AHEAD));
        while self.wishes.back().is_some_and(|&(at, _)| at > now) {
            self.wishes.pop_back();
        }
    }
}

/// The rules and their figures.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Rails {
    pub(crate) limits: Limits,
    pub(crate) up_cooldown: Duration,
    pub(crate) down_cooldown: Duration,
    pub(crate) hold_down: Duration,
    pub(crate) max_age: Duration,
}

impl Rails {
    /// Without cooldowns.
    pub(crate) const fn plain(limits: Limits, max_age: Duration) -> Self {
        let none = Duration::ZERO;
        Self { limits, up_cooldown: none, down_cooldown: none, hold_down: none, max_age }
    }

    /// No sample can be used: what was set for that case.
    pub(crate) fn missing(
        &self,
        state: &mut RailsState,
        view: &View<'_>,
        on_missing: OnMissing,
        metric: &MetricName,
        why: Ignored,
        steps: &mut Vec<Step>,
    ) -> Proposal {
        steps.push(Step::Ignored { metric: metric.clone(), why });
        state.failures = state.failures.saturating_add(1);
        let (wanted, by_choice) = match on_missing {
            OnMissing::CurrentIfHigher { instances, after } if state.failures >= after => {
                (instances.max(view.current), false)
            }
            OnMissing::Fallback { instances, after } if state.failures >= after => {
                (instances, true)
            }
            _ => (view.current, false),
        };
        steps.push(Step::Missing { failures: state.failures, wanted });
        self.settle(state, view, wanted, by_choice, steps)
    }

    /// Applies the rules to what is wanted. `sure`: nothing is missing that could speak
    /// against fewer instances.
    pub(crate) fn settle(
        &self,
        state: &mut RailsState,
        view: &View<'_>,
        wanted: u32,
        sure: bool,
        steps: &mut Vec<Step>,
    ) -> Proposal {
        let Limits { min, max, .. } = self.limits;
        state.tame(view.now);
        let mut settling = Settling {
            allowed: wanted,
            bound_by: None,
            valid_until: view.now + self.max_age,
            now: view.now,
            steps,
        };
        let most = self.most_wanted_lately(state, view.now, wanted);
        if settling.allowed < view.current {
            if most > settling.allowed {
                settling.bind(Bound::HoldDown, most.min(view.current), Some(self.hold_down));
            }
            if !sure {
                settling.bind(Bound::Missing, view.current, None);
            }
            if view.fleet.warming > 0 && !cfg!(broken = "in_while_warming") {
                settling.bind(Bound::Warming, view.current, None);
            }
            if view.under_way {
                settling.bind(Bound::UnderWay, view.current, None);
            }
            let last = state.last_out.max(state.last_in);
            if let Some(left) = left(last, self.down_cooldown, view.now) {
                settling.bind(Bound::DownCooldown, view.current, Some(left));
            }
        } else if settling.allowed > view.current
            && let Some(left) = left(state.last_out, self.up_cooldown, view.now)
        {
            settling.bind(Bound::UpCooldown, view.current, Some(left));
        }
        if settling.allowed < min {
            settling.bind(Bound::Min, min, None);
        }
        if settling.allowed > max {
            settling.bind(Bound::Max, max, None);
        }
        // They make no room by taking healthy ones away.
        let room = max.saturating_sub(view.fleet.failed).max(view.current.min(max));
        if settling.allowed > room {
            settling.bind(Bound::Failed, room, None);
        }
        let Settling { allowed, bound_by, valid_until, .. } = settling;
        Proposal { wanted, allowed, bound_by, valid_until }
    }

    /// A monotonic queue: its front is the most of the window.
    fn most_wanted_lately(&self, state: &mut RailsState, now: EpochMillis, wanted: u32) -> u32 {
        if self.hold_down.is_zero() || cfg!(broken = "no_hold_down") {
            return wanted;
        }
        let wishes = &mut state.wishes;
        while wishes.back().is_some_and(|&(_, n)| n <= wanted) {
            wishes.pop_back();
        }
        wishes.push_back((now, wanted));
        while wishes.front().is_some_and(|&(at, _)| now.since(at) >= self.hold_down) {
            wishes.pop_front();
        }
        wishes.front().map_or(wanted, |&(_, n)| n)
    }
}

/// What is left of a cooldown.
fn left(since: Option<EpochMillis>, cooldown: Duration, now: EpochMillis) -> Option<Duration> {
    let left = cooldown.saturating_sub(now.since(since?));
    (!left.is_zero() && !cfg!(broken = "no_cooldown")).then_some(left)
}

struct Settling<'a> {
    allowed: u32,
    bound_by: Option<Bound>,
    valid_until: EpochMillis,
    now: EpochMillis,
    steps: &'a mut Vec<Step>,
}

impl Settling<'_> {
    fn bind(&mut self, by: Bound, to: u32, left: Option<Duration>) {
        if self.allowed == to {
            return;
        }
        self.steps.push(Step::Bound { by, from: self.allowed, to, left });
        self.allowed = to;
        self.bound_by = Some(by);
        if let Some(left) = left {
            self.valid_until = self.valid_until.min(self.now + left);
        }
    }
}

pub(crate) fn positive(path: &str, value: f64, what: &str) -> Result<(), Refusal> {
    if value.is_finite() && value > 0.0 {
        return Ok(());
    }
    Err(Refusal::new(path, value, format!("{what} must be a number above zero")))
}

/// A utilisation is a share: 70 % is 0.7.
pub(crate) fn share(path: &str, value: f64, metric_is_total: bool) -> Result<(), Refusal> {
    positive(path, value, "a utilisation")?;
    if value > 10.0 && !metric_is_total {
        let reason = format!("is {:.0} % of full use; 70 % is written 0.7", value * 100.0);
        return Err(Refusal::new(path, value, reason));
    }
    Ok(())
}

/// Where no instance runs, none has a utilisation, so none would ever be asked for.
pub(crate) fn comes_back(name: &str, min: u32, metric_is_total: bool) -> Result<(), Refusal> {
    if min > 0 || metric_is_total {
        return Ok(());
    }
    let reason =
        "must be above zero where the metric is a utilisation: at zero instances there is none";
    Err(Refusal::new(&format!("{name}.min"), min, reason))
}

pub(crate) fn max_age_check(name: &str, max_age: Duration) -> Result<(), Refusal> {
    if max_age.is_zero() {
        let path = format!("{name}.max-age");
        return Err(Refusal::new(&path, max_age, "every sample would be too old"));
    }
    Ok(())
}

/// A cooldown that is shorter than an instance's boot decides again before it can know
/// what the last decision did.
pub(crate) fn short_cooldown(
    name: &str,
    cooldown: Duration,
    warm_up: Duration,
) -> Vec<Refusal> {
    if cooldown >= warm_up {
        return Vec::new();
    }
    let reason =
        format!("is shorter than warm-up ({warm_up:?}): it may launch twice for the same load");
    vec![Refusal::new(&format!("{name}.up-cooldown"), cooldown, reason)]
}
