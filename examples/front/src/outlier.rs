//! Passive health: a worker that fails again and again is left out for a while.

use std::time::Duration;

use tokio::time::Instant;

/// When a worker is left out, and for how long.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Settings {
    /// Failures in a row that are too many.
    pub(crate) failures: u32,
    /// How long it is left out the first time; each further time in a row doubles it.
    pub(crate) first: Duration,
    /// The longest.
    pub(crate) longest: Duration,
    /// At most this share of the workers is left out, in percent.
    pub(crate) most: u32,
}

impl Default for Settings {
    fn default() -> Self {
        Self {
            failures: 5,
            first: Duration::from_secs(1),
            longest: Duration::from_secs(30),
            most: 50,
        }
    }
}

/// What a worker's answers were like.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Record {
    in_a_row: u32,
    ejections: u32,
    until: Option<Instant>,
}

/// How a request to a worker ended, as far as its health is concerned.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Verdict {
    /// It has answered.
    Fine,
    /// It has answered 502, 503 or 504, not at all, or too late.
    Failed,
    /// It does not accept connections.
    Unreachable,
}

impl Record {
    /// Whether it is left out.
    pub(crate) fn ejected(&self, now: Instant) -> bool {
        self.until.is_some_and(|until| now < until)
    }

    /// Takes an answer into account. `others_out`: how many of the `all` workers are left
    /// out already. Returns whether it is left out from now on.
    pub(crate) fn ended(
        &mut self,
        verdict: Verdict,
        now: Instant,
        others_out: usize,
        all: usize,
        settings: &Settings,
    ) -> bool {
        if verdict == Verdict::Fine {
            // Back after it was left out, and well: what was, is forgotten.
            let serves = !self.ejected(now);
            self.in_a_row = 0;
            if serves {
                self.ejections = 0;
            }
            return false;
        }
        self.in_a_row = self.in_a_row.saturating_add(1);
        let too_many = verdict == Verdict::Unreachable || self.in_a_row >= settings.failures;
        let room = (others_out + 1) * 100 <= all * settings.most as usize
            || cfg!(broken = "leave_all_out");
        if !too_many || !room || self.ejected(now) {
            return false;
        }
        let doubled = 1_u32.checked_shl(self.ejections).unwrap_or(u32::MAX);
        let span = settings.first.saturating_mul(doubled).min(settings.longest);
        *self = Self { in_a_row: 0, ejections: self.ejections + 1, until: Some(now + span) };
        true
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const SECOND: Duration = Duration::from_secs(1);

    #[tokio::test(start_paused = true)]
    async fn five_failures_in_a_row_leave_a_worker_out() {
        let (mut record, now, settings) =
            (Record::default(), Instant::now(), Settings::default());
        for _ in 0..3 {
            for _ in 0..4 {
                assert!(!record.ended(Verdict::Failed, now, 0, 4, &settings));
            }
            assert!(!record.ended(Verdict::Fine, now, 0, 4, &settings));
        }
        for failure in 1..=5 {
            let out = record.ended(Verdict::Failed, now, 0, 4, &settings);
            assert_eq!(out, failure == 5);
        }
        assert!(record.ejected(now) && !record.ejected(now + SECOND));
    }

    #[tokio::test(start_paused = true)]
    async fn it_is_left_out_for_longer_each_time_until_it_is_well() {
        let (mut record, mut now, settings) =
            (Record::default(), Instant::now(), Settings::default());
        for span in [1, 2, 4, 8, 16, 30, 30] {
            assert!(record.ended(Verdict::Unreachable, now, 0, 4, &settings));
            assert!(record.ejected(now + span * SECOND - Duration::from_millis(1)));
            now += span * SECOND;
            assert!(!record.ejected(now));
        }
        record.ended(Verdict::Fine, now, 0, 4, &settings);
        assert!(record.ended(Verdict::Unreachable, now, 0, 4, &settings));
        assert!(!record.ejected(now + SECOND));
    }

    #[tokio::test(start_paused = true)]
    async fn not_more_than_half_of_them_are_left_out() {
        let (now, settings) = (Instant::now(), Settings::default());
        let out = |others_out, all| {
            Record::default().ended(Verdict::Unreachable, now, others_out, all, &settings)
        };
        assert!(out(0, 2) && out(1, 4) && out(0, 3));
        assert!(!out(0, 1) && !out(1, 2) && !out(1, 3) && !out(2, 4));
    }

    #[tokio::test(start_paused = true)]
    async fn an_answer_to_an_older_request_does_not_let_it_back_in() {
        let (mut record, now, settings) =
            (Record::default(), Instant::now(), Settings::default());
        record.ended(Verdict::Unreachable, now, 0, 4, &settings);
        record.ended(Verdict::Fine, now, 0, 4, &settings);
        assert!(record.ejected(now));
    }
}
