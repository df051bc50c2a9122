use super::combine::{floor_fits, floored, more, only_out, widest};
use super::predictive::{Predictive, PredictiveState};
use super::queue_depth::QueueDepth;
use super::rails::RailsState;
#[cfg(feature = "schedule")]
use super::schedule::{Schedule, ScheduleState};
use super::step_scaling::StepScaling;
use super::threshold::Threshold;
use super::tracking::{TargetTracking, TrackingState};
use super::{Limits, Proposal, ScalingPolicy, Taken, View};
use crate::decision::Step;
use crate::error::Refusal;

/// Any policy of this crate, as a configuration names it.
///
/// ```
/// # #[cfg(feature = "toml")] {
/// use autoscale_policy::{Policy, Scaler};
///
/// let policy = Policy::from_toml(r#"
///     policy = "threshold"
///     up = 0.75
///     up-cooldown = "2m"
/// "#).unwrap();
/// assert!(Scaler::new(policy).is_ok());
///
/// let error = Policy::from_toml("policy = \"threshold\"\nmin = 30").unwrap_err();
/// assert_eq!(error.to_string(), "threshold.min = 30: is above threshold.max, which is 20");
/// # }
/// ```
#[derive(Clone, Debug, PartialEq)]
#[cfg_attr(feature = "serde", derive(serde::Serialize, serde::Deserialize))]
#[cfg_attr(
    feature = "serde",
    serde(tag = "policy", rename_all = "kebab-case", deny_unknown_fields)
)]
#[non_exhaustive]
pub enum Policy {
    /// Out above one utilisation, in below another.
    Threshold(Threshold),
    /// The further off, the larger the change.
    StepScaling(StepScaling),
    /// As Kubernetes' HPA.
    TargetTracking(TargetTracking),
    /// By a backlog.
    QueueDepth(QueueDepth),
    /// By the clock.
    #[cfg(feature = "schedule")]
    Schedule(Schedule),
    /// By what is expected.
    Predictive(Predictive),
    /// The most of several.
    MaxOf {
        /// Which.
        of: Vec<Self>,
    },
    /// One, never below what another asks for.
    FloorOf {
        /// Decides.
        base: Box<Self>,
        /// Says how few are too few.
        floor: Box<Self>,
    },
    /// One that never scales in.
    OnlyOut {
        /// Decides.
        base: Box<Self>,
    },
}

/// What a [`Policy`] remembers. One of another kind than the policy counts as none.
#[derive(Clone, Debug, Default, PartialEq)]
#[cfg_attr(feature = "serde", derive(serde::Serialize, serde::Deserialize))]
#[cfg_attr(feature = "serde", serde(rename_all = "kebab-case"))]
#[non_exhaustive]
pub enum PolicyState {
    /// Nothing yet.
    #[default]
    Fresh,
    /// Of [`Threshold`], [`StepScaling`], [`QueueDepth`].
    Rails(RailsState),
    /// Of [`TargetTracking`].
    TargetTracking(TrackingState),
    /// Of [`Schedule`].
    #[cfg(feature = "schedule")]
    Schedule(ScheduleState),
    /// Of [`Predictive`].
    Predictive(PredictiveState),
    /// Of a combination, in its order.
    Several(Vec<Self>),
}

#[cfg(feature = "toml")]
impl Policy {
    /// Reads a policy, and checks it.
    ///
    /// # Errors
    ///
    /// A text that is no TOML, a field that there is not, or a value that is refused.
    pub fn from_toml(text: &str) -> Result<Self, crate::ConfigError> {
        let read = toml::from_str(text);
        let policy: Self = read.map_err(|error| crate::ConfigError::Syntax(Box::new(error)))?;
        policy.check()?;
        Ok(policy)
    }
}

impl From<Threshold> for Policy {
    fn from(policy: Threshold) -> Self {
        Self::Threshold(policy)
    }
}

impl From<TargetTracking> for Policy {
    fn from(policy: TargetTracking) -> Self {
        Self::TargetTracking(policy)
    }
}

impl From<Predictive> for Policy {
    fn from(policy: Predictive) -> Self {
        Self::Predictive(policy)
    }
}

/// The state of that kind, made new if it is of another.
macro_rules! state {
    ($state:expr, $kind:ident) => {{
        if !matches!($state, PolicyState::$kind(_)) {
            *$state = PolicyState::$kind(Default::default());
        }
        let PolicyState::$kind(state) = $state else { unreachable!("it was just made") };
        state
    }};
}

/// The states of `count` parts.
fn several(state: &mut PolicyState, count: usize) -> &mut [PolicyState] {
    let parts = state!(state, Several);
    parts.resize(count, PolicyState::Fresh);
    parts
}

impl ScalingPolicy for Policy {
    type State = PolicyState;

    fn limits(&self) -> Limits {
        match self {
            Self::Threshold(policy) => policy.limits(),
            Self::StepScaling(policy) => policy.limits(),
            Self::TargetTracking(policy) => policy.limits(),
            Self::QueueDepth(policy) => policy.limits(),
            #[cfg(feature = "schedule")]
            Self::Schedule(policy) => policy.limits(),
            Self::Predictive(policy) => policy.limits(),
            Self::MaxOf { of } => of
                .iter()
                .map(Self::limits)
                .reduce(widest)
                .unwrap_or(Limits { min: 0, max: 0, warm_up: None }),
            Self::FloorOf { base, .. } | Self::OnlyOut { base } => base.limits(),
        }
    }

    fn check(&self) -> Result<(), Refusal> {
        match self {
            Self::Threshold(policy) => policy.check(),
            Self::StepScaling(policy) => policy.check(),
            Self::TargetTracking(policy) => policy.check(),
            Self::QueueDepth(policy) => policy.check(),
            #[cfg(feature = "schedule")]
            Self::Schedule(policy) => policy.check(),
            Self::Predictive(policy) => policy.check(),
            Self::MaxOf { of } => {
                if of.is_empty() {
                    return Err(Refusal::new(
                        "max-of.of",
                        of,
                        "there is nothing to choose from",
                    ));
                }
                of.iter().try_for_each(Self::check).map_err(|error| error.within("max-of"))?;
                self.limits().check("max-of")
            }
            Self::FloorOf { base, floor } => {
                base.check().map_err(|error| error.within("floor-of"))?;
                floor.check().map_err(|error| error.within("floor-of"))?;
                floor_fits(base.limits(), floor.limits())
            }
            Self::OnlyOut { base } => base.check().map_err(|error| error.within("only-out")),
        }
    }

    fn warnings(&self) -> Vec<Refusal> {
        match self {
            Self::Threshold(policy) => policy.warnings(),
            Self::StepScaling(policy) => policy.warnings(),
            Self::MaxOf { of } => of.iter().flat_map(Self::warnings).collect(),
            Self::FloorOf { base, floor } => [base.warnings(), floor.warnings()].concat(),
            Self::OnlyOut { base } => base.warnings(),
            _ => Vec::new(),
        }
    }

    fn decide(
        &self,
        state: &mut PolicyState,
        view: &View<'_>,
        steps: &mut Vec<Step>,
    ) -> Proposal {
        match self {
            Self::Threshold(policy) => policy.decide(state!(state, Rails), view, steps),
            Self::StepScaling(policy) => policy.decide(state!(state, Rails), view, steps),
            Self::QueueDepth(policy) => policy.decide(state!(state, Rails), view, steps),
            Self::TargetTracking(policy) => {
                policy.decide(state!(state, TargetTracking), view, steps)
            }
            #[cfg(feature = "schedule")]
            Self::Schedule(policy) => policy.decide(state!(state, Schedule), view, steps),
            Self::Predictive(policy) => policy.decide(state!(state, Predictive), view, steps),
            Self::MaxOf { of } => {
                let parts = several(state, of.len());
                let proposals = of
                    .iter()
                    .zip(parts)
                    .map(|(policy, state)| policy.decide(state, view, steps));
                proposals.reduce(more).unwrap_or(Proposal {
                    wanted: view.current,
                    allowed: view.current,
                    bound_by: None,
                    valid_until: view.now,
                })
            }
            Self::FloorOf { base, floor } => {
                let [first, second] = several(state, 2) else { unreachable!("there are two") };
                let first = base.decide(first, view, steps);
                let second = floor.decide(second, view, steps);
                floored(first, second, base.limits().max, steps)
            }
            Self::OnlyOut { base } => {
                only_out(base.decide(state, view, steps), view.current, steps)
            }
        }
    }

    fn applied(&self, state: &mut PolicyState, taken: Taken) {
        match self {
            Self::Threshold(policy) => policy.applied(state!(state, Rails), taken),
            Self::StepScaling(policy) => policy.applied(state!(state, Rails), taken),
            Self::QueueDepth(policy) => policy.applied(state!(state, Rails), taken),
            Self::TargetTracking(policy) => {
                policy.applied(state!(state, TargetTracking), taken)
            }
            #[cfg(feature = "schedule")]
            Self::Schedule(policy) => policy.applied(state!(state, Schedule), taken),
            Self::Predictive(policy) => policy.applied(state!(state, Predictive), taken),
            Self::MaxOf { of } => {
                for (policy, state) in of.iter().zip(several(state, of.len())) {
                    policy.applied(state, taken);
                }
            }
            Self::FloorOf { base, floor } => {
                let [first, second] = several(state, 2) else { unreachable!("there are two") };
                base.applied(first, taken);
                floor.applied(second, taken);
            }
            Self::OnlyOut { base } => base.applied(state, taken),
        }
    }
}
