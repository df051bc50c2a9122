use std::time::Duration;

use crate::decision::{Action, Bound, Decision, Step};
use crate::error::ConfigError;
use crate::observation::{Instance, InstanceId, Observation, Phase};
use crate::policy::{Fleet, Proposal, ScalingPolicy, Taken, View};
use crate::time::EpochMillis;

/// Decides by a policy, and remembers what was decided and what came of it.
///
/// After a decision to scale: [`submitted`](Self::submitted), then tell the platform,
/// then [`applied`](Self::applied) or [`failed`](Self::failed). Until the instances are
/// seen, the change is under way: relative changes start from what was asked for, and
/// nothing is scaled in. One that is neither confirmed nor seen is forgotten after
/// [`patience`](Self::patience), 10 min.
///
/// A clock that goes back is time that stands still: for cooldowns, windows and rates no
/// time has passed, while samples and instances go on by the clock that observed them. If
/// it stays back for as long as `patience`, it was wrong before: all that is remembered by
/// it is forgotten.
///
/// Who leads among several controllers is the platform's business: run one, or elect one.
#[derive(Clone, Debug)]
pub struct Scaler<P: ScalingPolicy> {
    policy: P,
    state: ScalerState<P::State>,
    patience: Duration,
}

/// All that a [`Scaler`] remembers. Kept over a restart, it makes the restart unnoticed.
///
/// A state of an earlier version, with less in it, is one that remembers less. What it
/// says is not trusted further than the policy's limits and the clock.
#[derive(Clone, Debug, Default, PartialEq)]
#[cfg_attr(feature = "serde", derive(serde::Serialize, serde::Deserialize))]
#[cfg_attr(feature = "serde", serde(default, rename_all = "kebab-case"))]
pub struct ScalerState<S> {
    /// The latest time that was seen.
    clock: EpochMillis,
    /// The earliest since the clock has gone back.
    back: Option<EpochMillis>,
    asked: Option<Asked>,
    last: u32,
    policy: S,
}

/// A change that is under way.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[cfg_attr(feature = "serde", derive(serde::Serialize, serde::Deserialize))]
#[cfg_attr(feature = "serde", serde(rename_all = "kebab-case"))]
pub struct Asked {
    /// How many instances there were.
    pub from: u32,
    /// How many were asked for.
    pub to: u32,
    /// When.
    pub at: EpochMillis,
}

impl<P: ScalingPolicy> Scaler<P> {
    /// A scaler that remembers nothing yet.
    ///
    /// # Errors
    ///
    /// Settings that contradict each other: which value, and why.
    pub fn new(policy: P) -> Result<Self, ConfigError> {
        policy.check()?;
        let patience = Duration::from_secs(600);
        Ok(Self { policy, state: ScalerState::default(), patience })
    }

    /// Goes on from a state that was kept.
    #[must_use]
    pub fn resumed(mut self, state: ScalerState<P::State>) -> Self {
        self.state = state;
        self
    }

    /// For how long a change may be under way until it is forgotten; 10 min.
    #[must_use]
    pub fn patience(mut self, patience: Duration) -> Self {
        self.patience = patience;
        self
    }

    /// What it remembers, to be kept.
    pub fn state(&self) -> &ScalerState<P::State> {
        &self.state
    }

    /// The policy.
    pub fn policy(&self) -> &P {
        &self.policy
    }

    /// What is likely to be a mistake in the settings, and was not refused.
    pub fn warnings(&self) -> Vec<crate::Refusal> {
        self.policy.warnings()
    }

    /// Decides. Nothing is done: see [`submitted`](Self::submitted).
    pub fn decide(&mut self, observation: &Observation<'_>) -> Decision {
        let mut steps = Vec::with_capacity(8);
        let now = self.clock(observation.now, &mut steps);
        let limits = self.policy.limits();
        let fleet = count(observation.instances, observation.now, limits.warm_up);
        let seen = fleet.total(observation);
        self.look(seen, observation.target.is_some(), now, &mut steps);
        let asked = self.state.asked.filter(|asked| asked.to > asked.from);
        let current = match asked {
            // More than may be was never asked for here.
            Some(asked) if !cfg!(broken = "forget_pending") => {
                seen.max(asked.to.min(limits.max))
            }
            _ => seen,
        };
        self.state.last = current;
        // Failed ones are counted by the platform, and are no capacity.
        let dead = fleet.counted_dead(observation);
        let view = View {
            now,
            current: current.saturating_sub(dead),
            under_way: self.state.asked.is_some(),
            fleet: fleet.fleet,
            observation,
        };
        let proposal = self.policy.decide(&mut self.state.policy, &view, &mut steps);
        let Proposal { wanted, allowed, mut bound_by, valid_until } = proposal;
        let mut to = allowed.saturating_add(dead);
        // Nothing that a policy says leads out of its limits, failed instances included.
        if to > limits.max || (to != current && to < limits.min) {
            let within = to.clamp(limits.min, limits.max);
            let by = if within > to { Bound::Min } else { Bound::Max };
            steps.push(Step::Bound { by, from: to, to: within, left: None });
            (to, bound_by) = (within, Some(by));
        }
        let action = if to == current { Action::Hold } else { Action::ScaleTo(to) };
        let wanted = wanted.saturating_add(dead);
        Decision { current, wanted, action, steps, bound_by, valid_until }
    }

    /// Says that the platform is about to be asked for `to` instances.
    pub fn submitted(&mut self, to: u32) {
        let (from, at) = (self.state.last, self.state.clock);
        self.state.asked = Some(Asked { from, to, at });
    }

    /// Says that the platform has taken the change, at `at`, with `to` instances: fewer
    /// than were asked for, if it did half. Cooldowns begin here.
    pub fn applied(&mut self, at: EpochMillis, to: u32) {
        let from = self.state.asked.map_or(self.state.last, |asked| asked.from);
        // As late as it may be, and not by a clock that is wrong.
        let at = at.clamp(self.state.clock, self.state.clock + self.patience);
        self.state.asked = (to != from).then_some(Asked { from, to, at });
        self.policy.applied(&mut self.state.policy, Taken { at, from, to });
    }

    /// Says that the platform has refused the change, or that nobody knows: no cooldown
    /// begins, and nothing is under way.
    pub fn failed(&mut self) {
        self.state.asked = None;
    }

    /// Which instances to remove, `count` of them: failed ones first, then those that
    /// are warming, the youngest first, then those with the least in flight.
    pub fn removal(&self, observation: &Observation<'_>, count: usize) -> Vec<InstanceId> {
        let warm_up = self.policy.limits().warm_up;
        let now = observation.now;
        let mut order: Vec<&Instance> = observation.instances.iter().collect();
        order.retain(|instance| instance.phase != Phase::Draining);
        order.sort_by_key(|instance| {
            let rank = match instance.phase {
                Phase::Failed => 0,
                _ if stuck(instance, now, warm_up) => 0,
                Phase::Pending | Phase::Warming => 1,
                Phase::Ready | Phase::Draining => 2,
            };
            let young = if rank == 1 { u64::MAX - instance.changed.as_millis() } else { 0 };
            (rank, young, instance.in_flight, instance.id)
        });
        order.into_iter().take(count).map(|instance| instance.id).collect()
    }

    fn clock(&mut self, now: EpochMillis, steps: &mut Vec<Step>) -> EpochMillis {
        let state = &mut self.state;
        if now >= state.clock || cfg!(broken = "clock_goes_back") {
            (state.clock, state.back) = (now, None);
            return now;
        }
        let by = state.clock.since(now);
        let back = state.back.map_or(now, |back| back.min(now));
        if now.since(back) < self.patience || cfg!(broken = "clock_stays_back") {
            state.back = Some(back);
            steps.push(Step::ClockWentBack { by });
            return state.clock;
        }
        self.state = ScalerState { clock: now, ..ScalerState::default() };
        steps.push(Step::StartedAnew { by });
        now
    }

    /// Whether the change that is under way has come about, or was in vain.
    fn look(&mut self, seen: u32, told: bool, now: EpochMillis, steps: &mut Vec<Step>) {
        let Some(asked) = self.state.asked else { return };
        let out = asked.to > asked.from;
        let there = if out { seen >= asked.to } else { seen <= asked.to };
        if there || (told && seen == asked.to) {
            self.state.asked = None;
        } else if now.since(asked.at) >= self.patience || asked.at > now + self.patience {
            steps.push(Step::GaveUp { asked: asked.to });
            self.state.asked = None;
        }
    }
}

#[derive(Clone, Copy)]
struct Counted {
    fleet: Fleet,
    /// Of the failed ones, those that the platform thinks are coming.
    stuck: u32,
}

impl Counted {
    fn counted_dead(self, observation: &Observation<'_>) -> u32 {
        // A platform with a target of its own replaces what has failed.
        if observation.target.is_some() { self.stuck } else { self.fleet.failed }
    }

    fn total(self, observation: &Observation<'_>) -> u32 {
        observation.target.unwrap_or_else(|| self.fleet.capacity() + self.fleet.failed)
    }
}

/// Warming for more than three times as long as it takes.
fn stuck(instance: &Instance, now: EpochMillis, warm_up: Option<Duration>) -> bool {
    let since = instance.started.map_or(instance.changed, |at| at.max(instance.changed));
    matches!(instance.phase, Phase::Pending | Phase::Warming)
        && warm_up.is_some_and(|warm_up| now.since(since) > warm_up.saturating_mul(3))
        && !cfg!(broken = "stuck_is_capacity")
}

fn count(instances: &[Instance], now: EpochMillis, warm_up: Option<Duration>) -> Counted {
    let mut counted = Counted { fleet: Fleet::default(), stuck: 0 };
    let fleet = &mut counted.fleet;
    for instance in instances {
        match instance.phase {
            Phase::Ready => fleet.ready += 1,
            Phase::Draining => fleet.draining += 1,
            Phase::Failed => fleet.failed += 1,
            Phase::Pending | Phase::Warming if stuck(instance, now, warm_up) => {
                fleet.failed += 1;
                counted.stuck += 1;
            }
            Phase::Pending | Phase::Warming => fleet.warming += 1,
        }
    }
    counted
}
