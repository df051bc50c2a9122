use std::time::Duration;

use super::TargetTracking;
use crate::decision::{Bound, Step};
use crate::error::Refusal;
use crate::policy::rails::Change;
use crate::policy::{Taken, View};
use crate::time::EpochMillis;

/// At most so much within a period.
#[derive(Clone, Copy, Debug, PartialEq)]
#[cfg_attr(feature = "serde", derive(serde::Serialize, serde::Deserialize))]
#[cfg_attr(feature = "serde", serde(rename_all = "kebab-case", deny_unknown_fields))]
pub struct Pace {
    /// How much.
    pub by: Change,
    /// Of what time; at most 30 min.
    #[cfg_attr(feature = "serde", serde(with = "crate::config::span"))]
    pub period: Duration,
}

/// Which of several paces counts.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[cfg_attr(feature = "serde", derive(serde::Serialize, serde::Deserialize))]
#[cfg_attr(feature = "serde", serde(rename_all = "kebab-case"))]
pub enum Select {
    /// The one that allows the larger change.
    #[default]
    Max,
    /// The one that allows the smaller change.
    Min,
    /// None: there is no scaling this way.
    Disabled,
}

/// What is allowed in one direction.
#[derive(Clone, Debug, PartialEq)]
#[cfg_attr(feature = "serde", derive(serde::Serialize, serde::Deserialize))]
#[cfg_attr(feature = "serde", serde(rename_all = "kebab-case", deny_unknown_fields))]
pub struct Rules {
    /// Of what was wanted for so long, the mildest counts; at most 1 h.
    #[cfg_attr(feature = "serde", serde(with = "crate::config::span"))]
    pub window: Duration,
    /// How much at a time.
    pub paces: Vec<Pace>,
    /// Which of the paces.
    #[cfg_attr(feature = "serde", serde(default))]
    pub select: Select,
}

/// `behavior` of an HPA. The default is what Kubernetes fills in where one that is given
/// leaves something out: out by 4 instances or 100 % in 15 s, whichever is more, at once;
/// in by whatever, to the most of the last 300 s. An HPA without a `behavior` goes by
/// [other rules](super::TargetTracking::behavior).
#[derive(Clone, Debug, PartialEq)]
#[cfg_attr(feature = "serde", derive(serde::Serialize, serde::Deserialize))]
#[cfg_attr(feature = "serde", serde(default, rename_all = "kebab-case", deny_unknown_fields))]
pub struct Behavior {
    /// On the way out.
    pub out: Rules,
    /// On the way in.
    pub r#in: Rules,
}

impl Default for Behavior {
    fn default() -> Self {
        let period = Duration::from_secs(15);
        let all = Pace { by: Change::Percent(100.0), period };
        let four = Pace { by: Change::Instances(4), period };
        Self {
            out: Rules { window: Duration::ZERO, paces: vec![four, all], select: Select::Max },
            r#in: Rules {
                window: Duration::from_secs(300),
                paces: vec![all],
                select: Select::Max,
            },
        }
    }
}

/// What it remembers: what was wanted, and what was done.
#[derive(Clone, Debug, Default, PartialEq)]
#[cfg_attr(feature = "serde", derive(serde::Serialize, serde::Deserialize))]
#[cfg_attr(feature = "serde", serde(default, rename_all = "kebab-case"))]
pub struct TrackingState {
    pub(super) wanted: Vec<(EpochMillis, u32)>,
    added: Vec<(EpochMillis, u32)>,
    removed: Vec<(EpochMillis, u32)>,
}

impl TrackingState {
    /// What there is when the HPA first looks is its first recommendation.
    pub(super) fn begin(&mut self, current: u32, now: EpochMillis) {
        // One that is from after now is of a clock that was wrong.
        self.wanted.retain(|&(at, _)| at <= now);
        if self.wanted.is_empty() && !cfg!(broken = "no_first_recommendation") {
            self.wanted.push((now, current));
        }
    }

    pub(super) fn applied(&mut self, taken: Taken, behavior: &Behavior) {
        let (events, rules) = if taken.to > taken.from {
            (&mut self.added, &behavior.out)
        } else {
            (&mut self.removed, &behavior.r#in)
        };
        let count = taken.to.abs_diff(taken.from);
        if count == 0 {
            return;
        }
        // As the HPA does it: the last of those that no pace of their own direction looks
        // back to gives up its place, and others stay, for the paces of the other one.
        let longest = rules.paces.iter().map(|pace| pace.period).max().unwrap_or_default();
        match events.iter_mut().rev().find(|(at, _)| *at + longest < taken.at) {
            Some(place) => *place = (taken.at, count),
            None => events.push((taken.at, count)),
        }
    }
}

/// How much was changed in the last `period`.
fn within(events: &[(EpochMillis, u32)], period: Duration, now: EpochMillis) -> i64 {
    let wrong = now + LONGEST;
    let recent = events.iter().filter(|&&(at, _)| at + period > now && at < wrong);
    recent.map(|&(_, n)| i64::from(n)).sum()
}

/// The longest period and window there are; what is from further ahead than that is of a
/// clock that was wrong.
const LONGEST: Duration = Duration::from_secs(3600);

impl Rules {
    fn check(&self, name: &str) -> Result<(), Refusal> {
        let path = |field: &str| format!("target-tracking.behavior.{name}.{field}");
        if self.window > LONGEST {
            return Err(Refusal::new(&path("window"), self.window, "at most one hour"));
        }
        if self.paces.is_empty() && self.select != Select::Disabled {
            let reason =
                "without a pace nothing is allowed; say select = \"disabled\" for that";
            return Err(Refusal::new(&path("paces"), &self.paces, reason));
        }
        for pace in &self.paces {
            pace.by.check(&path("paces.by"))?;
            if pace.period.is_zero() || pace.period > Duration::from_secs(1800) {
                let reason = "above zero, and at most 30 minutes";
                return Err(Refusal::new(&path("paces.period"), pace.period, reason));
            }
        }
        Ok(())
    }

    fn limit_out(&self, state: &TrackingState, current: u32, now: EpochMillis) -> i64 {
        let limits = self.paces.iter().map(|pace| {
            let start = start(state, current, pace.period, now);
            match pace.by {
                Change::Instances(n) => start + i64::from(n),
                Change::Percent(share) => (start as f64 * (1.0 + share / 100.0)).ceil() as i64,
            }
        });
        let limit = match self.select {
            Select::Disabled => None,
            Select::Max => limits.max(),
            Select::Min => limits.min(),
        };
        limit.unwrap_or_else(|| current.into()).max(current.into())
    }

    fn limit_in(&self, state: &TrackingState, current: u32, now: EpochMillis) -> i64 {
        let limits = self.paces.iter().map(|pace| {
            let start = start(state, current, pace.period, now);
            match pace.by {
                Change::Instances(n) => start - i64::from(n),
                Change::Percent(share) => (start as f64 * (1.0 - share / 100.0)) as i64,
            }
        });
        let limit = match self.select {
            Select::Disabled => None,
            Select::Max => limits.min(),
            Select::Min => limits.max(),
        };
        limit.unwrap_or_else(|| current.into()).min(current.into())
    }
}

/// How many instances there were when the period began.
fn start(state: &TrackingState, current: u32, period: Duration, now: EpochMillis) -> i64 {
    i64::from(current) - within(&state.added, period, now) + within(&state.removed, period, now)
}

impl Behavior {
    pub(super) fn check(&self) -> Result<(), Refusal> {
        self.out.check("out")?;
        self.r#in.check("in")
    }

    /// Windows first, then rates, then the limits.
    pub(super) fn normalise(
        &self,
        state: &mut TrackingState,
        settings: &TargetTracking,
        view: &View<'_>,
        wanted: u32,
        steps: &mut Vec<Step>,
    ) -> (u32, Option<Bound>) {
        let (current, now) = (view.current, view.now);
        let mut bound_by = None;
        let mut bind = |by, from: u32, to: u32| {
            if from != to {
                steps.push(Step::Bound { by, from, to, left: None });
                bound_by = Some(by);
            }
            to
        };
        let stable = self.stabilise(state, current, wanted, now);
        let stable = bind(Bound::HoldDown, wanted, stable);
        let allowed = if stable > current {
            let limit = self.out.limit_out(state, current, now);
            let paced = u32::try_from(i64::from(stable).min(limit)).unwrap_or(current);
            let paced = bind(Bound::Rate, stable, paced);
            bind(Bound::Max, paced, paced.min(settings.max))
        } else if stable < current {
            let limit = self.r#in.limit_in(state, current, now);
            let paced = u32::try_from(i64::from(stable).max(limit)).unwrap_or(0);
            let paced = bind(Bound::Rate, stable, paced);
            bind(Bound::Min, paced, paced.max(settings.min))
        } else {
            stable
        };
        (allowed, bound_by)
    }

    fn stabilise(
        &self,
        state: &mut TrackingState,
        current: u32,
        wanted: u32,
        now: EpochMillis,
    ) -> u32 {
        let (mut least, mut most) = (wanted, wanted);
        for &(at, n) in &state.wanted {
            if at + self.out.window > now {
                least = least.min(n);
            }
            if at + self.r#in.window > now && !cfg!(broken = "no_stabilisation") {
                most = most.max(n);
            }
        }
        let longest = self.out.window.max(self.r#in.window);
        state.wanted.retain(|&(at, _)| at + longest > now);
        state.wanted.push((now, wanted));
        current.max(least).min(most)
    }
}
