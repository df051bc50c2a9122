//! Every metric that decisions become.

use metrics::{Counter, Gauge, Unit, counter, describe_counter, describe_gauge, gauge};

use crate::decision::{Action, Bound, Decision, Step};

const DECISIONS: &str = "autoscale_policy_decisions_total";
const BOUNDS: &str = "autoscale_policy_bounds_total";
const IGNORED: &str = "autoscale_policy_ignored_samples_total";
const CURRENT: &str = "autoscale_policy_current_instances";
const WANTED: &str = "autoscale_policy_wanted_instances";

/// Counts the decisions of one scaler through the `metrics` facade.
///
/// Handles bind when it is made: install the recorder first.
///
/// ```
/// use autoscale_policy::{DecisionMetrics, EpochMillis, Observation, Scaler, Threshold};
///
/// let metrics = DecisionMetrics::new("web");
/// let mut scaler = Scaler::new(Threshold::default()).unwrap();
/// let decision = scaler.decide(&Observation::at(EpochMillis::new(1_790_000_000_000)));
/// metrics.record(&decision);
/// ```
pub struct DecisionMetrics {
    held: Counter,
    out: Counter,
    inwards: Counter,
    /// In the order of `BOUNDS_BY`.
    bounds: [Counter; BOUNDS_BY.len()],
    ignored: Counter,
    current: Gauge,
    wanted: Gauge,
}

/// Every bound and its label.
const BOUNDS_BY: [(Bound, &str); 14] = [
    (Bound::Min, "min"),
    (Bound::Max, "max"),
    (Bound::Failed, "failed"),
    (Bound::UpCooldown, "up-cooldown"),
    (Bound::DownCooldown, "down-cooldown"),
    (Bound::HoldDown, "hold-down"),
    (Bound::Warming, "warming"),
    (Bound::UnderWay, "under-way"),
    (Bound::Missing, "missing"),
    (Bound::WouldBreach, "would-breach"),
    (Bound::DeadBand, "dead-band"),
    (Bound::Rate, "rate"),
    (Bound::OnlyOut, "only-out"),
    (Bound::Disabled, "disabled"),
];

impl DecisionMetrics {
    /// Of the scaler with this name, one from the configuration.
    #[must_use]
    pub fn new(scaler: &str) -> Self {
        let count = Unit::Count;
        describe_counter!(DECISIONS, count, "Decisions, by what they do.");
        describe_counter!(BOUNDS, count, "Decisions that a rule held back, by the rule.");
        describe_counter!(IGNORED, count, "Samples that did not count.");
        describe_gauge!(CURRENT, count, "Instances that there are, or were asked for.");
        describe_gauge!(WANTED, count, "Instances that the metrics ask for.");
        let scaler = scaler.to_owned();
        let decisions = |action: &'static str| counter!(DECISIONS, "scaler" => scaler.clone(), "action" => action);
        Self {
            held: decisions("hold"),
            out: decisions("out"),
            inwards: decisions("in"),
            bounds: BOUNDS_BY
                .map(|(_, by)| counter!(BOUNDS, "scaler" => scaler.clone(), "by" => by)),
            ignored: counter!(IGNORED, "scaler" => scaler.clone()),
            current: gauge!(CURRENT, "scaler" => scaler.clone()),
            wanted: gauge!(WANTED, "scaler" => scaler.clone()),
        }
    }

    /// Counts a decision.
    pub fn record(&self, decision: &Decision) {
        match decision.action {
            Action::Hold => self.held.increment(1),
            Action::ScaleTo(n) if n > decision.current => self.out.increment(1),
            Action::ScaleTo(_) => self.inwards.increment(1),
        }
        if let Some(bound) = decision.bound_by {
            let at = BOUNDS_BY.iter().position(|(by, _)| *by == bound);
            self.bounds[at.expect("every bound has its label")].increment(1);
        }
        let ignored = decision.steps.iter().filter(|step| matches!(step, Step::Ignored { .. }));
        self.ignored.increment(ignored.count() as u64);
        self.current.set(decision.current);
        self.wanted.set(decision.wanted);
    }
}

impl std::fmt::Debug for DecisionMetrics {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("DecisionMetrics").finish_non_exhaustive()
    }
}
