//! Policies made of policies.

use super::{Limits, Proposal, ScalingPolicy, Taken, View};
use crate::decision::{Bound, Step};
use crate::error::Refusal;

/// The more of the two: scales in only where both would.
#[derive(Clone, Debug, PartialEq)]
pub struct MaxOf<A, B>(pub A, pub B);

/// The first policy, never below what the second asks for, within the limits of the first.
#[derive(Clone, Debug, PartialEq)]
pub struct FloorOf<P, F> {
    /// Decides.
    pub policy: P,
    /// Says how few are too few, such as a [`Schedule`](crate::Schedule).
    pub floor: F,
}

/// Scales out as the policy does, and never in.
#[derive(Clone, Debug, PartialEq)]
pub struct OnlyOut<P>(pub P);

pub(crate) fn widest(a: Limits, b: Limits) -> Limits {
    Limits { min: a.min.max(b.min), max: a.max.max(b.max), warm_up: a.warm_up.max(b.warm_up) }
}

pub(crate) fn more(a: Proposal, b: Proposal) -> Proposal {
    // What bound the one that decides.
    let first = (a.allowed, a.wanted) >= (b.allowed, b.wanted);
    Proposal {
        wanted: a.wanted.max(b.wanted),
        allowed: a.allowed.max(b.allowed),
        bound_by: if first { a.bound_by } else { b.bound_by },
        valid_until: a.valid_until.min(b.valid_until),
    }
}

pub(crate) fn floored(
    base: Proposal,
    floor: Proposal,
    max: u32,
    steps: &mut Vec<Step>,
) -> Proposal {
    let mut proposal = more(base, floor);
    if proposal.allowed > max {
        let (from, to) = (proposal.allowed, max);
        steps.push(Step::Bound { by: Bound::Max, from, to, left: None });
        proposal.allowed = max;
        proposal.bound_by = Some(Bound::Max);
    }
    proposal
}

/// A floor that is never below the most cannot be kept.
pub(crate) fn floor_fits(base: Limits, floor: Limits) -> Result<(), Refusal> {
    if floor.min <= base.max {
        return Ok(());
    }
    let reason = format!("is above floor-of.base.max, which is {}", base.max);
    Err(Refusal::new("floor-of.floor.min", floor.min, reason))
}

pub(crate) fn only_out(mut base: Proposal, current: u32, steps: &mut Vec<Step>) -> Proposal {
    if base.allowed < current {
        let from = base.allowed;
        steps.push(Step::Bound { by: Bound::OnlyOut, from, to: current, left: None });
        base.allowed = current;
        base.bound_by = Some(Bound::OnlyOut);
    }
    base
}

impl<A: ScalingPolicy, B: ScalingPolicy> ScalingPolicy for MaxOf<A, B> {
    type State = (A::State, B::State);

    fn limits(&self) -> Limits {
        widest(self.0.limits(), self.1.limits())
    }

    fn check(&self) -> Result<(), Refusal> {
        self.0.check().map_err(|refusal| refusal.within("max-of"))?;
        self.1.check().map_err(|refusal| refusal.within("max-of"))?;
        self.limits().check("max-of")
    }

    fn warnings(&self) -> Vec<Refusal> {
        [self.0.warnings(), self.1.warnings()].concat()
    }

    fn decide(
        &self,
        state: &mut Self::State,
        view: &View<'_>,
        steps: &mut Vec<Step>,
    ) -> Proposal {
        let first = self.0.decide(&mut state.0, view, steps);
        more(first, self.1.decide(&mut state.1, view, steps))
    }

    fn applied(&self, state: &mut Self::State, taken: Taken) {
        self.0.applied(&mut state.0, taken);
        self.1.applied(&mut state.1, taken);
    }
}

impl<P: ScalingPolicy, F: ScalingPolicy> ScalingPolicy for FloorOf<P, F> {
    type State = (P::State, F::State);

    fn limits(&self) -> Limits {
        self.policy.limits()
    }

    fn check(&self) -> Result<(), Refusal> {
        self.policy.check().map_err(|refusal| refusal.within("floor-of"))?;
        self.floor.check().map_err(|refusal| refusal.within("floor-of"))?;
        floor_fits(self.policy.limits(), self.floor.limits())
    }

    fn warnings(&self) -> Vec<Refusal> {
        [self.policy.warnings(), self.floor.warnings()].concat()
    }

    fn decide(
        &self,
        state: &mut Self::State,
        view: &View<'_>,
        steps: &mut Vec<Step>,
    ) -> Proposal {
        let base = self.policy.decide(&mut state.0, view, steps);
        let floor = self.floor.decide(&mut state.1, view, steps);
        floored(base, floor, self.limits().max, steps)
    }

    fn applied(&self, state: &mut Self::State, taken: Taken) {
        self.policy.applied(&mut state.0, taken);
        self.floor.applied(&mut state.1, taken);
    }
}

impl<P: ScalingPolicy> ScalingPolicy for OnlyOut<P> {
    type State = P::State;

    fn limits(&self) -> Limits {
        self.0.limits()
    }

    fn check(&self) -> Result<(), Refusal> {
        self.0.check().map_err(|refusal| refusal.within("only-out"))
    }

    fn warnings(&self) -> Vec<Refusal> {
        self.0.warnings()
    }

    fn decide(
        &self,
        state: &mut Self::State,
        view: &View<'_>,
        steps: &mut Vec<Step>,
    ) -> Proposal {
        only_out(self.0.decide(state, view, steps), view.current, steps)
    }

    fn applied(&self, state: &mut Self::State, taken: Taken) {
        self.0.applied(state, taken);
    }
}
