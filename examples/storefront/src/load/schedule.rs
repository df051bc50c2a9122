//! When each request is due, in a run whose rate is given.

use std::time::Duration;

use super::replay::Row;

/// A rate that changes in steps, and the requests that it makes due.
#[derive(Clone, Debug)]
pub(crate) struct Schedule {
    steps: Vec<Step>,
    end: f64,
    total: f64,
}

#[derive(Clone, Copy, Debug)]
struct Step {
    start: f64,
    rate: f64,
    /// How many requests are due before this step.
    before: f64,
}

impl Schedule {
    /// `rate` requests a second for `seconds`.
    pub(crate) fn steady(rate: f64, seconds: f64) -> Self {
        Self::new([(0.0, rate)], seconds)
    }

    /// The recorded rates times `scale`, their steps `speed` times as short. The last step is
    /// as long as the one before it. There are two rows at least.
    pub(crate) fn replay(rows: &[Row], speed: f64, scale: f64, cap: Option<f64>) -> Self {
        let (first, last) = (rows[0].t_s, rows[rows.len() - 1].t_s);
        let end = (2.0 * last - rows[rows.len() - 2].t_s - first) / speed;
        let steps = rows.iter().map(|row| ((row.t_s - first) / speed, row.value * scale));
        Self::new(steps, cap.map_or(end, |cap| end.min(cap)))
    }

    fn new(rates: impl IntoIterator<Item = (f64, f64)>, end: f64) -> Self {
        let mut steps: Vec<Step> = Vec::new();
        let due = |step: Option<&Step>, until: f64| {
            step.map_or(0.0, |step| step.before + (until - step.start) * step.rate)
        };
        for (start, rate) in rates {
            if start < end {
                steps.push(Step { start, rate, before: due(steps.last(), start) });
            }
        }
        let total = due(steps.last(), end).ceil();
        Self { steps, end, total }
    }

    /// When request `n` is due, or `None` after the last one.
    pub(crate) fn due(&self, n: u64) -> Option<Duration> {
        let n = n as f64;
        if n >= self.total {
            return None;
        }
        // Of steps that begin with the same request, all but the last have a rate of 0.
        let step = self.steps[self.steps.partition_point(|step| step.before <= n) - 1];
        Some(Duration::from_secs_f64(step.start + (n - step.before) / step.rate))
    }

    pub(crate) fn end(&self) -> Duration {
        Duration::from_secs_f64(self.end)
    }

    /// How many requests are due in all.
    pub(crate) fn total(&self) -> u64 {
        self.total as u64
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;
    use proptest::test_runner::RngSeed;

    use super::*;

    fn dues(schedule: &Schedule) -> Vec<f64> {
        (0..).map_while(|n| schedule.due(n)).map(|due| due.as_secs_f64()).collect()
    }

    #[test]
    fn a_steady_rate_is_evenly_spaced() {
        assert_eq!(dues(&Schedule::steady(4.0, 1.0)), [0.0, 0.25, 0.5, 0.75]);
        assert_eq!(Schedule::steady(4.0, 1.0).total(), 4);
    }

    #[test]
    fn a_replay_follows_its_steps_and_rests_where_they_are_zero() {
        let rows =
            [(10.0, 2.0), (11.0, 0.0), (12.0, 1.0)].map(|(t_s, value)| Row { t_s, value });
        let replayed = |speed, scale, cap| dues(&Schedule::replay(&rows, speed, scale, cap));
        assert_eq!(replayed(1.0, 1.0, None), [0.0, 0.5, 2.0]);
        assert_eq!(replayed(1.0, 2.0, None), [0.0, 0.25, 0.5, 0.75, 2.0, 2.5]);
        assert_eq!(replayed(2.0, 2.0, None), [0.0, 0.25, 1.0]);
        assert_eq!(replayed(1.0, 1.0, Some(1.5)), [0.0, 0.5]);
    }

    #[test]
    fn a_rate_of_zero_makes_nothing_due() {
        assert!(dues(&Schedule::steady(0.0, 10.0)).is_empty());
    }

    proptest! {
        #![proptest_config(ProptestConfig { rng_seed: RngSeed::Fixed(7), ..ProptestConfig::default() })]

        #[test]
        fn requests_are_due_in_order_and_before_the_end(
            steps in prop::collection::vec((0.01f64..5.0, 0.0f64..50.0), 2..20),
        ) {
            let mut t_s = 0.0;
            let mut rows = Vec::new();
            for (length, value) in steps {
                rows.push(Row { t_s, value });
                t_s += length;
            }
            let schedule = Schedule::replay(&rows, 1.0, 1.0, None);
            let due = dues(&schedule);
            prop_assert_eq!(due.len() as u64, schedule.total());
            prop_assert!(due.windows(2).all(|pair| pair[0] <= pair[1]));
            prop_assert!(due.iter().all(|&due| due <= schedule.end().as_secs_f64() + 1e-6));
        }
    }
}
