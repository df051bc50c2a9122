//! What becomes of an order's confirmation after an attempt: a decision, which waits for nothing.

use std::time::Duration;

use clap::Args;

/// Options that say how often, and how soon, what has failed is tried again.
#[derive(Args, Clone, Copy, Debug)]
pub(super) struct Retries {
    /// After so many attempts that failed, a confirmation is set aside.
    #[arg(long, default_value_t = 10, value_parser = clap::value_parser!(u32).range(1..=1_000))]
    pub(super) attempts: u32,
    /// The milliseconds until the second attempt; the wait doubles from then on. Half of it is
    /// by chance, so that what has failed together does not come again together.
    #[arg(long, default_value_t = 500, value_parser = clap::value_parser!(u64).range(1..=3_600_000))]
    pub(super) backoff: u64,
    /// The most milliseconds until another attempt.
    #[arg(long, default_value_t = 60_000, value_parser = clap::value_parser!(u64).range(1..=86_400_000))]
    pub(super) backoff_max: u64,
}

/// What came of sending it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Answer {
    /// It is in the mail.
    Accepted,
    /// The mail service has answered with another status than 2xx, and maybe with a time before
    /// which it does not want to be asked again.
    Status(u16, Option<Duration>),
    /// Nobody knows whether the mail service has it.
    None(Silence),
}

/// Why there is no answer.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Silence {
    /// Nobody could be reached, or the connection broke.
    Broken,
    /// None came in time.
    Late,
}

/// What to do now.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Verdict {
    /// Take it down as confirmed.
    Confirmed,
    /// Try again, not before this time is over.
    Again { after: Duration, why: String },
    /// Leave it until somebody has looked.
    SetAside { why: String },
}

impl Retries {
    /// After attempt number `attempt`, counted from 1. `chance` is a number in `[0, 1)`.
    pub(super) fn verdict(&self, answer: Answer, attempt: u32, chance: f64) -> Verdict {
        let (why, wait) = match answer {
            Answer::Accepted => return Verdict::Confirmed,
            // The mail service will never take it as it is.
            Answer::Status(status @ 400..=499, _) if !passes(status) => {
                let why = format!("the mail service has refused it with {status}");
                return Verdict::SetAside { why };
            }
            Answer::Status(status, wait) => {
                (format!("the mail service has answered {status}"), wait)
            }
            Answer::None(Silence::Broken) => {
                ("the mail service could not be reached".to_owned(), None)
            }
            Answer::None(Silence::Late) => {
                ("the mail service has not answered in time".to_owned(), None)
            }
        };
        if attempt >= self.attempts {
            return Verdict::SetAside { why: format!("{why}, at attempt {attempt}") };
        }
        let most = Duration::from_millis(self.backoff_max);
        let wait = wait.unwrap_or_default().min(most);
        Verdict::Again { after: self.backoff(attempt, chance).max(wait), why }
    }

    /// What is to be done with a job before it is tried for the `attempt`th time: one that has
    /// taken its workers down again and again is not tried any more.
    pub(super) fn before(&self, attempt: u32) -> Option<Verdict> {
        (attempt > self.attempts).then(|| Verdict::SetAside {
            why: format!("{} attempts have ended without a word of how", self.attempts),
        })
    }

    /// Exponential, capped, with equal jitter: Brooker, "Exponential Backoff And Jitter", AWS
    /// Architecture Blog, 2015.
    fn backoff(&self, attempt: u32, chance: f64) -> Duration {
        let doubled = 1_u64.checked_shl(attempt.saturating_sub(1)).unwrap_or(u64::MAX);
        let longest = self.backoff.saturating_mul(doubled).min(self.backoff_max);
        Duration::from_millis(longest).mul_f64(0.5 + 0.5 * chance)
    }
}

/// Of the statuses that blame the request, those that do so for the moment only.
fn passes(status: u16) -> bool {
    matches!(status, 408 | 425 | 429)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    const RETRIES: Retries = Retries { attempts: 4, backoff: 100, backoff_max: 350 };
    const MILLI: Duration = Duration::from_millis(1);

    fn again(verdict: Verdict) -> Option<Duration> {
        match verdict {
            Verdict::Again { after, .. } => Some(after),
            _ => None,
        }
    }

    #[test]
    fn the_wait_doubles_up_to_its_most_and_half_of_it_is_by_chance() {
        let wait = |attempt, chance| {
            let retries = Retries { attempts: 1_000, ..RETRIES };
            again(retries.verdict(Answer::Status(503, None), attempt, chance)).unwrap()
        };
        let longest = [100, 200, 350, 350].map(|millis| millis * MILLI);
        for (attempt, longest) in (1..).zip(longest) {
            assert_eq!(wait(attempt, 0.0), longest / 2);
            assert_eq!(wait(attempt, 0.5), longest * 3 / 4);
        }
        assert_eq!(wait(999, 0.0), 175 * MILLI, "nothing overflows");
    }

    #[test]
    fn a_refusal_is_set_aside_at_once_and_all_else_after_the_last_attempt() {
        for refused in [400, 401, 404, 409, 410, 422, 499] {
            let verdict = RETRIES.verdict(Answer::Status(refused, None), 1, 0.0);
            assert!(matches!(verdict, Verdict::SetAside { .. }), "{refused}: {verdict:?}");
        }
        let passing = [100, 302, 408, 425, 429, 500, 502, 503, 599];
        let silent = [Silence::Broken, Silence::Late].map(Answer::None);
        for answer in
            passing.map(|status| Answer::Status(status, None)).into_iter().chain(silent)
        {
            for attempt in 1..RETRIES.attempts {
                let verdict = RETRIES.verdict(answer, attempt, 0.0);
                assert!(matches!(verdict, Verdict::Again { .. }), "{answer:?}: {verdict:?}");
            }
            let verdict = RETRIES.verdict(answer, RETRIES.attempts, 0.0);
            assert!(matches!(verdict, Verdict::SetAside { .. }), "{answer:?}: {verdict:?}");
        }
        for attempt in [1, RETRIES.attempts, u32::MAX] {
            let verdict = RETRIES.verdict(Answer::Accepted, attempt, 0.0);
            assert_eq!(verdict, Verdict::Confirmed);
        }
    }

    #[test]
    fn a_mail_service_says_when_to_come_again_within_reason() {
        let asked =
            |wait| again(RETRIES.verdict(Answer::Status(429, Some(wait)), 1, 0.0)).unwrap();
        assert_eq!(asked(10 * MILLI), 50 * MILLI);
        assert_eq!(asked(300 * MILLI), 300 * MILLI);
        assert_eq!(asked(Duration::from_secs(86_400)), 350 * MILLI);
    }

    #[test]
    fn a_job_that_takes_its_workers_down_is_not_tried_for_ever() {
        assert_eq!(RETRIES.before(RETRIES.attempts), None);
        let verdict = RETRIES.before(RETRIES.attempts + 1);
        assert!(matches!(verdict, Some(Verdict::SetAside { .. })), "{verdict:?}");
    }

    proptest! {
        #[test]
        fn a_wait_is_between_half_and_all_of_what_it_may_be(
            attempts in 2_u32..1_000, at in 0.0..1.0, backoff in 1_u64..3_600_000,
            backoff_max in 1_u64..86_400_000, chance in 0.0..1.0,
        ) {
            let retries = Retries { attempts, backoff, backoff_max };
            let attempt = 1 + (at * f64::from(attempts - 1)) as u32;
            let wait = again(retries.verdict(Answer::None(Silence::Late), attempt, chance));
            let wait = wait.unwrap();
            prop_assert!(wait <= Duration::from_millis(backoff_max));
            prop_assert!(2 * wait >= Duration::from_millis(backoff.min(backoff_max)));
        }
    }
}
