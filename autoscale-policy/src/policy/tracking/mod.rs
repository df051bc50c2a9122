mod behavior;
mod legacy;
mod metric;
mod milli;

use std::time::Duration;

pub use self::behavior::{Behavior, Pace, Rules, Select, TrackingState};
pub use self::metric::{Metric, Target};
use super::{Limits, Proposal, ScalingPolicy, Taken, View, rails};
use crate::decision::{Bound, Step};
use crate::error::Refusal;

/// Keeps metrics at their targets, as Kubernetes' Horizontal Pod Autoscaler does
/// (`autoscaling/v2`, as of Kubernetes 1.35).
///
/// The algorithm is that of "Horizontal Pod Autoscaling" in the documentation of
/// Kubernetes, with its defaults: a tolerance of 0.1 for each direction, its edges
/// included (which is so since 1.33), an initial readiness delay of 30 s, a CPU
/// initialisation period of 5 min, and the rules of an HPA without a `behavior`. Several
/// metrics: the most counts; one that is invalid blocks scaling in only. It decides well
/// every 15 s.
///
/// Where the metrics of Kubernetes' API have no like, this is added: a sample that is
/// older than `max_age` is invalid, and one figure for the fleet stands for as many
/// equal ones as instances are ready. And this differs: [`Phase::Draining`] counts as not
/// ready everywhere, figures of instances that are gone are ignored, and an instance of
/// which nobody knows what it was promised was promised what the others were on average,
/// where the HPA gives up the metric.
///
/// [`Phase::Draining`]: crate::Phase::Draining
///
/// ```
/// use autoscale_policy::{Metric, Scaler, TargetTracking};
///
/// let hpa = TargetTracking { min: 2, max: 20, ..TargetTracking::new([Metric::cpu(70)]) };
/// assert!(Scaler::new(hpa).is_ok());
/// ```
#[derive(Clone, Debug, PartialEq)]
#[cfg_attr(feature = "serde", derive(serde::Serialize, serde::Deserialize))]
#[cfg_attr(feature = "serde", serde(default, rename_all = "kebab-case", deny_unknown_fields))]
pub struct TargetTracking {
    /// The metrics and their targets.
    pub metrics: Vec<Metric>,
    /// The least instances; 1.
    pub min: u32,
    /// The most instances; 10.
    pub max: u32,
    /// How far below its target, as a share of it, a metric may be; 0.1.
    pub tolerance_down: f64,
    /// How far above; 0.1.
    pub tolerance_up: f64,
    /// For how long after its start an instance's CPU counts only once it was ready for a
    /// whole window; 5 min.
    #[cfg_attr(feature = "serde", serde(with = "crate::config::span"))]
    pub cpu_initialization: Duration,
    /// For how long after its start an instance that is not ready counts as not ready
    /// yet; 30 s.
    #[cfg_attr(feature = "serde", serde(with = "crate::config::span"))]
    pub initial_readiness: Duration,
    /// How old a sample may be; 60 s.
    #[cfg_attr(feature = "serde", serde(with = "crate::config::span"))]
    pub max_age: Duration,
    /// Windows and rates. `None`, the default, is an HPA without a `behavior`: in and out
    /// to the most of what was wanted in the last 5 min, and out to twice as many at a
    /// time, or to 4.
    #[cfg_attr(feature = "serde", serde(skip_serializing_if = "Option::is_none"))]
    pub behavior: Option<Behavior>,
}

impl Default for TargetTracking {
    fn default() -> Self {
        Self::new([Metric::cpu(80)])
    }
}

impl TargetTracking {
    /// Keeps these metrics, with Kubernetes' defaults.
    #[must_use]
    pub fn new(metrics: impl IntoIterator<Item = Metric>) -> Self {
        Self {
            metrics: metrics.into_iter().collect(),
            min: 1,
            max: 10,
            tolerance_down: 0.1,
            tolerance_up: 0.1,
            cpu_initialization: Duration::from_secs(300),
            initial_readiness: Duration::from_secs(30),
            max_age: Duration::from_secs(60),
            behavior: None,
        }
    }

    fn tolerates(&self, ratio: f64) -> bool {
        1.0 - self.tolerance_down <= ratio && ratio <= 1.0 + self.tolerance_up
    }

    /// The most of the metrics, or nothing where one that is invalid could have been it.
    fn of_metrics(&self, view: &View<'_>, steps: &mut Vec<Step>) -> Option<u32> {
        let (mut most, mut invalid) = (None, 0);
        for metric in &self.metrics {
            match metric.replicas(self, view, steps) {
                Ok(replicas) => most = most.max(Some(replicas)),
                Err(why) => {
                    invalid += 1;
                    steps.push(Step::Ignored { metric: metric.name.clone(), why });
                }
            }
        }
        let blocks = !cfg!(broken = "invalid_does_not_block");
        most.filter(|&most| invalid == 0 || most >= view.current || !blocks)
    }
}

impl ScalingPolicy for TargetTracking {
    type State = TrackingState;

    fn limits(&self) -> Limits {
        Limits { min: self.min, max: self.max, warm_up: None }
    }

    fn check(&self) -> Result<(), Refusal> {
        self.limits().check("target-tracking")?;
        if self.metrics.is_empty() {
            let reason = "there is nothing to keep at its target";
            return Err(Refusal::new("target-tracking.metrics", &self.metrics, reason));
        }
        for metric in &self.metrics {
            metric.check()?;
        }
        if self.min == 0 && !self.metrics.iter().any(Metric::speaks_at_zero) {
            let reason = "must be above zero where every metric is one of instances: at zero instances none would ever ask for one";
            return Err(Refusal::new("target-tracking.min", self.min, reason));
        }
        for (path, tolerance) in [
            ("target-tracking.tolerance-down", self.tolerance_down),
            ("target-tracking.tolerance-up", self.tolerance_up),
        ] {
            if !tolerance.is_finite() || tolerance < 0.0 {
                return Err(Refusal::new(path, tolerance, "must be a share, zero or more"));
            }
        }
        rails::max_age_check("target-tracking", self.max_age)?;
        self.behavior.as_ref().map_or(Ok(()), Behavior::check)
    }

    fn decide(
        &self,
        state: &mut TrackingState,
        view: &View<'_>,
        steps: &mut Vec<Step>,
    ) -> Proposal {
        let current = view.current;
        state.begin(current, view.now);
        let proposal = |wanted, allowed, bound_by| Proposal {
            wanted,
            allowed,
            bound_by,
            valid_until: view.now + self.max_age,
        };
        let bound = |steps: &mut Vec<Step>, by, to| {
            steps.push(Step::Bound { by, from: current, to, left: None });
            proposal(to, to, Some(by))
        };
        if current == 0 && self.min != 0 {
            return bound(steps, Bound::Disabled, 0);
        }
        if current > self.max {
            return bound(steps, Bound::Max, self.max);
        }
        if current < self.min {
            return bound(steps, Bound::Min, self.min);
        }
        let Some(wanted) = self.of_metrics(view, steps) else {
            steps.push(Step::Bound {
                by: Bound::Missing,
                from: current,
                to: current,
                left: None,
            });
            return proposal(current, current, Some(Bound::Missing));
        };
        let (allowed, bound_by) = match &self.behavior {
            Some(behavior) => behavior.normalise(state, self, view, wanted, steps),
            None => legacy::normalise(state, self, view, wanted, steps),
        };
        proposal(wanted, allowed, bound_by)
    }

    fn applied(&self, state: &mut TrackingState, taken: Taken) {
        // Without a behaviour there is no rate that looks back.
        if let Some(behavior) = &self.behavior {
            state.applied(taken, behavior);
        }
    }
}
