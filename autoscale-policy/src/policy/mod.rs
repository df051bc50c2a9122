//! The port, and the policies that are here.

pub(crate) mod any;
pub(crate) mod combine;
mod gauge;
pub(crate) mod predictive;
pub(crate) mod queue_depth;
pub(crate) mod rails;
#[cfg(feature = "schedule")]
pub(crate) mod schedule;
pub(crate) mod step_scaling;
pub(crate) mod threshold;
pub(crate) mod tracking;

use std::fmt;
use std::time::Duration;

use crate::decision::{Bound, Step};
use crate::error::Refusal;
use crate::observation::Observation;
use crate::time::EpochMillis;

/// Decides how many instances should run, from a state and what is seen.
///
/// `decide` must be pure: it reads no clock and does no I/O, and the same state and
/// view lead to the same proposal.
pub trait ScalingPolicy {
    /// What it remembers from one decision to the next. Kept over a restart, it makes
    /// the restart unnoticed.
    type State: Clone + fmt::Debug + Default + PartialEq;

    /// Within which bounds it decides.
    fn limits(&self) -> Limits;

    /// Whether its settings can be meant. [`Scaler::new`](crate::Scaler::new) asks once.
    ///
    /// # Errors
    ///
    /// Which value is refused, and why.
    fn check(&self) -> Result<(), Refusal>;

    /// What is likely to be a mistake, and is not refused.
    fn warnings(&self) -> Vec<Refusal> {
        Vec::new()
    }

    /// Proposes a count, and adds every rule that has a part in it to `steps`.
    fn decide(
        &self,
        state: &mut Self::State,
        view: &View<'_>,
        steps: &mut Vec<Step>,
    ) -> Proposal;

    /// Is told of a change that the platform has taken.
    fn applied(&self, state: &mut Self::State, taken: Taken);
}

/// Within which bounds a policy decides.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Limits {
    /// The least instances.
    pub min: u32,
    /// The most instances.
    pub max: u32,
    /// How long an instance takes until it is ready. One that takes three times as long
    /// has failed. `None` where the platform judges that, as Kubernetes does.
    pub warm_up: Option<Duration>,
}

impl Limits {
    pub(crate) fn check(&self, name: &str) -> Result<(), Refusal> {
        if self.max == 0 {
            let path = format!("{name}.max");
            return Err(Refusal::new(&path, self.max, "nothing could ever run; at least 1"));
        }
        if self.min > self.max {
            let reason = format!("is above {name}.max, which is {}", self.max);
            return Err(Refusal::new(&format!("{name}.min"), self.min, reason));
        }
        let Some(warm_up) = self.warm_up else { return Ok(()) };
        let path = format!("{name}.warm-up");
        if warm_up < Duration::from_secs(1) {
            let reason = "every instance that starts would count as failed; at least 1s";
            return Err(Refusal::new(&path, warm_up, reason));
        }
        if warm_up > Duration::from_secs(86_400) {
            return Err(Refusal::new(
                &path,
                warm_up,
                "no instance takes so long; at most 1day",
            ));
        }
        Ok(())
    }
}

/// How many instances are where in their life.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Fleet {
    /// Those that take requests.
    pub ready: u32,
    /// Those that will: pending and warming.
    pub warming: u32,
    /// Those that end.
    pub draining: u32,
    /// Those that have failed, or were warming for more than three times the warm-up:
    /// no capacity, but they count against the most.
    pub failed: u32,
}

impl Fleet {
    /// Ready and warming.
    #[must_use]
    pub const fn capacity(&self) -> u32 {
        self.ready + self.warming
    }
}

/// What a policy sees.
#[derive(Clone, Copy, Debug)]
pub struct View<'a> {
    /// The time that passes for what is remembered; never earlier than in the decision
    /// before. Samples and instances go by `observation.now`.
    pub now: EpochMillis,
    /// Instances that are capacity, or were asked for: what a relative change starts from.
    pub current: u32,
    /// Whether a change is under way: submitted, or not seen yet.
    pub under_way: bool,
    /// Counts of instances.
    pub fleet: Fleet,
    /// All that was observed.
    pub observation: &'a Observation<'a>,
}

/// What a policy proposes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Proposal {
    /// How many instances the metrics ask for.
    pub wanted: u32,
    /// How many the policy's rules allow now.
    pub allowed: u32,
    /// The rule that made the difference.
    pub bound_by: Option<Bound>,
    /// When to decide again at the latest.
    pub valid_until: EpochMillis,
}

/// A change that the platform has taken.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Taken {
    /// When.
    pub at: EpochMillis,
    /// How many instances there were.
    pub from: u32,
    /// How many there will be.
    pub to: u32,
}
