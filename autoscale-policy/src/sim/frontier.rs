use super::engine::World;
use super::{Load, Score};
use crate::error::ConfigError;
use crate::policy::any::Policy;
use crate::policy::tracking::{Metric, Target, TargetTracking};

/// Below this share of slow requests, ratios say nothing: points are compared.
const FEW: f64 = 0.005;
/// Two shares that are this close are the same.
const SAME: f64 = 0.0005;

/// What a kind of policy can do for each cost: one tuned point proves little.
#[derive(Clone, Debug)]
pub struct Frontier {
    /// By rising cost.
    pub points: Vec<FrontierPoint>,
}

/// One setting of it.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct FrontierPoint {
    /// What was set: a target in percent, a number of standard deviations.
    pub setting: f64,
    /// What came of it.
    pub score: Score,
}

/// How a policy stands to a frontier at its own cost.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Standing {
    /// No point of the frontier is as cheap, or as dear.
    OutOfRange,
    /// So many times the frontier's share of slow requests.
    Ratio(f64),
    /// Both have few: the difference in percentage points, below zero being better.
    Points(f64),
}

impl Frontier {
    /// Runs the load under each setting.
    ///
    /// # Errors
    ///
    /// Settings that a policy refuses.
    pub fn of(
        world: &World,
        load: &Load,
        settings: &[f64],
        policy: impl Fn(f64) -> Policy,
    ) -> Result<Self, ConfigError> {
        let mut points = Vec::with_capacity(settings.len());
        for &setting in settings {
            let score = world.run(load, &policy(setting))?.score;
            points.push(FrontierPoint { setting, score });
        }
        points.sort_by(|a, b| a.score.cost.total_cmp(&b.score.cost));
        Ok(Self { points })
    }

    /// Of Kubernetes' HPA on CPU, over targets of 40 to 80 %.
    ///
    /// # Errors
    ///
    /// None that a world of at least one instance has.
    pub fn hpa_cpu(world: &World, load: &Load) -> Result<Self, ConfigError> {
        Self::of(world, load, &TARGETS, |target| world.hpa([Metric::cpu(target as u32)]))
    }

    /// Of Kubernetes' HPA on requests in flight, over targets of 40 to 80 %.
    ///
    /// # Errors
    ///
    /// As [`hpa_cpu`](Self::hpa_cpu).
    pub fn hpa_in_flight(world: &World, load: &Load) -> Result<Self, ConfigError> {
        Self::of(world, load, &TARGETS, |target| {
            let average = Target::PodsAverage(world.slots * target / 100.0);
            world.hpa([Metric::new(crate::IN_FLIGHT, average)])
        })
    }

    /// Its share of slow requests at this cost: between points, linear in the logarithm.
    #[must_use]
    pub fn violation_at(&self, cost: f64) -> Option<f64> {
        let pair = self
            .points
            .windows(2)
            .find(|pair| (pair[0].score.cost..=pair[1].score.cost).contains(&cost))?;
        let [a, b] = [pair[0].score, pair[1].score];
        let share = if b.cost > a.cost { (cost - a.cost) / (b.cost - a.cost) } else { 0.0 };
        // None at all has no logarithm; a request in a million has.
        let log = |violation: f64| violation.max(1e-6).ln();
        let (from, to) = (log(a.violation), log(b.violation));
        Some((from + (to - from) * share).exp())
    }

    /// How this score stands to it.
    #[must_use]
    pub fn standing(&self, score: &Score) -> Standing {
        let Some(theirs) = self.violation_at(score.cost) else { return Standing::OutOfRange };
        if theirs < FEW && score.violation < FEW {
            return Standing::Points((score.violation - theirs) * 100.0);
        }
        Standing::Ratio(score.violation / theirs)
    }
}

impl Standing {
    /// Whether it is no worse than the frontier.
    #[must_use]
    pub fn holds(&self) -> bool {
        match *self {
            Self::OutOfRange => false,
            Self::Ratio(ratio) => ratio <= 1.0,
            Self::Points(points) => points <= SAME * 100.0,
        }
    }
}

impl std::fmt::Display for Standing {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match *self {
            Self::OutOfRange => f.pad("out of range"),
            // Nothing has no sign.
            Self::Ratio(ratio) => {
                f.pad(&format!("{:+.0} %", ((ratio - 1.0) * 100.0).round() + 0.0))
            }
            Self::Points(points) => {
                f.pad(&format!("{:+.2} pt", (points * 100.0).round() / 100.0 + 0.0))
            }
        }
    }
}

const TARGETS: [f64; 17] = [
    40.0, 42.5, 45.0, 47.5, 50.0, 52.5, 55.0, 57.5, 60.0, 62.5, 65.0, 67.5, 70.0, 72.5, 75.0,
    77.5, 80.0,
];

impl World {
    /// An HPA on these metrics, within this world's limits.
    #[must_use]
    pub fn hpa(&self, metrics: impl IntoIterator<Item = Metric>) -> Policy {
        let Self { min, max, .. } = *self;
        TargetTracking { min, max, ..TargetTracking::new(metrics) }.into()
    }
}
