use std::collections::VecDeque;
use std::time::Duration;

use super::Predictive;
use crate::policy::rails::RailsState;
use crate::time::EpochMillis;

/// How far back the slope looks.
const TREND: Duration = Duration::from_secs(300);
/// How far back the mean looks that a nervous load is around.
const STEADY: Duration = Duration::from_secs(1800);
/// How many standard errors a slope must be off zero to count.
const SIGNIFICANT: f64 = 3.0;
/// Errors of this age weigh 1/e of those of now.
const MEMORY: Duration = Duration::from_secs(3600);
/// Never more than this many points, however often it decides.
const MOST_POINTS: usize = 512;
/// Errors beyond so many standard deviations count as so many.
const OUTLIER: f64 = 2.5;
/// Off by so many times what was expected is no error that can be learned from.
const MOST_VARIANCE: f64 = 100.0;
/// Until it knows better: off by a fifth.
const FIRST_ERROR: f64 = 0.2;

#[derive(Clone, Copy, Debug, PartialEq)]
#[cfg_attr(feature = "serde", derive(serde::Serialize, serde::Deserialize))]
struct Point {
    at: EpochMillis,
    demand: f64,
    expected: f64,
    #[cfg_attr(feature = "serde", serde(default))]
    steady: f64,
}

/// What it remembers: the last minutes, and how wrong it was.
#[derive(Clone, Debug, Default, PartialEq)]
#[cfg_attr(feature = "serde", derive(serde::Serialize, serde::Deserialize))]
#[cfg_attr(feature = "serde", serde(default, rename_all = "kebab-case"))]
pub struct PredictiveState {
    pub(super) rails: RailsState,
    points: VecDeque<Point>,
    /// Of the error as a share of what was expected.
    variance: Option<f64>,
    /// The mean of the last half an hour, the past weighing less and less.
    steady: Option<f64>,
    /// Of its error, had it been what was expected.
    steady_variance: Option<f64>,
}

#[derive(Clone, Copy, Debug)]
pub(super) struct Estimate {
    pub(super) level: f64,
    pub(super) growth: f64,
    pub(super) margin: f64,
}

impl PredictiveState {
    pub(super) fn estimate(
        &mut self,
        settings: &Predictive,
        now: EpochMillis,
        demand: f64,
    ) -> Estimate {
        let ahead = settings.ahead();
        self.tame(now);
        let (level, growth) = self.trend(now, demand, ahead, settings.trend);
        let expected = level + growth;
        let since = self.points.back().map_or(Duration::ZERO, |last| now.since(last.at));
        // More than there may be was never served.
        let before = self.steady.unwrap_or(demand).min(settings.max.into());
        let steady = before + fading(since, STEADY) * (demand - before);
        // By what was known before, so that more demand never turns it to the lower of two.
        let nervous = self.steady_variance < self.variance;
        self.learn(now, demand, since, ahead);
        self.steady = Some(steady);
        self.points.push_back(Point { at: now, demand, expected, steady });
        while self.points.len() > MOST_POINTS
            || self
                .points
                .front()
                .is_some_and(|point| now.since(point.at) > TREND.max(ahead.saturating_mul(2)))
        {
            self.points.pop_front();
        }
        let margin = |variance: Option<f64>, expected: f64| {
            settings.confidence * variance.map_or(FIRST_ERROR, f64::sqrt) * expected.max(1.0)
        };
        if nervous && !cfg!(broken = "never_steady") {
            let margin = margin(self.steady_variance, steady);
            return Estimate { level: steady, growth: 0.0, margin };
        }
        Estimate { level, growth, margin: margin(self.variance, expected) }
    }

    /// What was kept by a clock that was wrong, or is no figure, is forgotten.
    fn tame(&mut self, now: EpochMillis) {
        while self.points.back().is_some_and(|point| point.at > now) {
            self.points.pop_back();
        }
        let sound = |variance: &f64| (0.0..=MOST_VARIANCE).contains(variance);
        self.variance = self.variance.filter(sound);
        self.steady_variance = self.steady_variance.filter(sound);
        self.steady = self.steady.filter(|steady| (0.0..=f64::MAX).contains(steady));
    }

    /// The errors of what was expected one horizon ago.
    fn learn(&mut self, now: EpochMillis, demand: f64, since: Duration, ahead: Duration) {
        let due = self.points.iter().rev().find(|point| now.since(point.at) >= ahead);
        let Some(due) = due else { return };
        let weight = fading(since, MEMORY);
        let learned = |variance: Option<f64>, expected: f64| {
            let error = (demand - expected) / expected.max(1.0);
            let variance = variance.unwrap_or(FIRST_ERROR * FIRST_ERROR);
            // One jump is no nervous load: it counts as an error that is usual (Huber).
            let most = OUTLIER * variance.sqrt().max(0.02);
            // Only what came on top hurts. Twice its square, so that it is the variance
            // where errors are as likely the one way as the other.
            let square = 2.0 * error.clamp(0.0, most).powi(2);
            Some(variance + weight * (square - variance))
        };
        let (variance, steady_variance) =
            (learned(self.variance, due.expected), learned(self.steady_variance, due.steady));
        (self.variance, self.steady_variance) = (variance, steady_variance);
    }

    /// Least squares over the last minutes; nothing where that is not significant, and
    /// nothing where it falls: prediction only ever scales out.
    fn trend(
        &self,
        now: EpochMillis,
        demand: f64,
        ahead: Duration,
        followed: bool,
    ) -> (f64, f64) {
        let (mut n, mut sum_t, mut sum_y, mut sum_tt, mut sum_ty, mut sum_yy) =
            (0.0, 0.0, 0.0, 0.0, 0.0, 0.0);
        let recent = self.points.iter().filter(|point| now.since(point.at) <= TREND);
        let points = recent.map(|point| (-now.since(point.at).as_secs_f64(), point.demand));
        for (t, y) in points.chain([(0.0, demand)]) {
            n += 1.0;
            sum_t += t;
            sum_y += y;
            sum_tt += t * t;
            sum_ty += t * y;
            sum_yy += y * y;
        }
        let (s_tt, s_ty) = (sum_tt - sum_t * sum_t / n, sum_ty - sum_t * sum_y / n);
        let mean = sum_y / n;
        if n < 5.0 || s_tt <= 0.0 || !followed {
            return (mean, 0.0);
        }
        let slope = s_ty / s_tt;
        let residual = (sum_yy - sum_y * sum_y / n - slope * s_ty).max(0.0);
        let error = (residual / (n - 2.0) / s_tt).sqrt();
        if slope <= SIGNIFICANT * error {
            return (mean, 0.0);
        }
        (mean - slope * sum_t / n, slope * ahead.as_secs_f64())
    }
}

/// What the past loses of its weight meanwhile, where it keeps 1/e after `memory`.
fn fading(since: Duration, memory: Duration) -> f64 {
    1.0 - (-since.as_secs_f64() / memory.as_secs_f64()).exp()
}
