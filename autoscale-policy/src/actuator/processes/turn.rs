//! What to do with which process: a function of what is there.

use std::time::Duration;

use tokio::time::Instant;

use crate::observation::InstanceId;

/// How processes are looked after.
#[derive(Clone, Copy, Debug)]
pub(super) struct Care {
    /// From SIGTERM to SIGKILL.
    pub(super) grace: Duration,
    /// For how long a process may be unready until it is replaced.
    pub(super) unready: Duration,
    /// The wait before the second of several starts that failed in a row; it doubles.
    pub(super) backoff: Duration,
    /// The longest wait.
    pub(super) backoff_max: Duration,
}

/// Where a process is in its life.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Stage {
    /// Runs, and has not been ready since.
    Unready(Instant),
    Ready,
    /// Was asked to end.
    Draining(Instant),
    /// Was killed, and is not gone yet.
    Killed,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Member {
    pub(super) id: InstanceId,
    pub(super) stage: Stage,
}

impl Member {
    /// Whether it counts for what was asked for.
    pub(super) fn counts(&self) -> bool {
        matches!(self.stage, Stage::Unready(_) | Stage::Ready)
    }
}

/// Starts that failed in a row.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Strikes {
    count: u32,
    last: Option<Instant>,
}

impl Strikes {
    /// A process has ended that nobody has asked to, or did not start.
    pub(super) fn struck(&mut self, now: Instant) {
        self.count = self.count.saturating_add(1);
        self.last = Some(now);
    }

    /// A process is ready.
    pub(super) fn forgiven(&mut self) {
        *self = Self::default();
    }

    /// Whether a process may be started: the first replacement at once, further ones
    /// later and later.
    fn may_start(self, now: Instant, care: &Care) -> bool {
        let Some(last) = self.last else { return true };
        let doubled = 1_u32.checked_shl(self.count.saturating_sub(2)).unwrap_or(u32::MAX);
        let wait = match self.count {
            0 | 1 => Duration::ZERO,
            _ => care.backoff.saturating_mul(doubled).min(care.backoff_max),
        };
        now.duration_since(last) >= wait || cfg!(broken = "no_backoff")
    }
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Do {
    Start,
    Terminate(InstanceId),
    Kill(InstanceId),
}

/// What to do now, so that `wanted` processes run.
pub(super) fn turn(
    members: &[Member],
    wanted: u32,
    strikes: Strikes,
    now: Instant,
    care: &Care,
) -> Vec<Do> {
    let mut todo = Vec::new();
    let mut counted = 0;
    for Member { id, stage } in members {
        match stage {
            Stage::Unready(since) if now.duration_since(*since) >= care.unready => {
                todo.push(Do::Terminate(*id));
            }
            Stage::Unready(_) | Stage::Ready => counted += 1,
            Stage::Draining(since)
                if now.duration_since(*since) >= care.grace && !cfg!(broken = "no_grace") =>
            {
                todo.push(Do::Kill(*id));
            }
            Stage::Draining(_) | Stage::Killed => {}
        }
    }
    let missing = wanted.saturating_sub(counted);
    if missing > 0 && strikes.may_start(now, care) {
        // After a failure one at a time, to see whether it holds.
        let starts = if strikes.last.is_some() { 1 } else { missing };
        todo.extend((0..starts).map(|_| Do::Start));
    }
    todo
}

#[cfg(test)]
mod tests {
    use super::*;

    const SECOND: Duration = Duration::from_secs(1);
    const CARE: Care = Care {
        grace: Duration::from_secs(30),
        unready: Duration::from_secs(60),
        backoff: Duration::from_secs(1),
        backoff_max: Duration::from_secs(30),
    };

    fn member(id: u64, stage: Stage) -> Member {
        Member { id: InstanceId::new(id), stage }
    }

    #[tokio::test(start_paused = true)]
    async fn what_is_missing_is_started_and_what_drains_does_not_count() {
        let now = Instant::now();
        let members = [member(1, Stage::Ready), member(2, Stage::Draining(now))];
        assert_eq!(turn(&members, 3, Strikes::default(), now, &CARE), [Do::Start, Do::Start]);
        assert_eq!(turn(&members, 1, Strikes::default(), now, &CARE), []);
    }

    #[tokio::test(start_paused = true)]
    async fn a_drain_ends_with_its_grace() {
        let now = Instant::now();
        let members = [member(1, Stage::Draining(now))];
        assert_eq!(turn(&members, 0, Strikes::default(), now + 29 * SECOND, &CARE), []);
        let kill = [Do::Kill(InstanceId::new(1))];
        assert_eq!(turn(&members, 0, Strikes::default(), now + 30 * SECOND, &CARE), kill);
    }

    #[tokio::test(start_paused = true)]
    async fn what_is_never_ready_is_replaced() {
        let now = Instant::now();
        let members = [member(1, Stage::Unready(now))];
        let late = now + 60 * SECOND;
        let replaced = [Do::Terminate(InstanceId::new(1)), Do::Start];
        assert_eq!(turn(&members, 1, Strikes::default(), late, &CARE), replaced);
    }

    #[tokio::test(start_paused = true)]
    async fn what_crashes_again_and_again_is_started_later_and_later() {
        let now = Instant::now();
        let mut strikes = Strikes::default();
        strikes.struck(now);
        assert_eq!(turn(&[], 3, strikes, now, &CARE), [Do::Start], "the first one at once");
        for (struck, wait) in [(2, 1), (3, 2), (4, 4), (5, 8), (6, 16), (7, 30), (8, 30)] {
            strikes.struck(now);
            let before = now + wait * SECOND - Duration::from_millis(1);
            assert_eq!(turn(&[], 3, strikes, before, &CARE), [], "{struck}");
            assert_eq!(
                turn(&[], 3, strikes, now + wait * SECOND, &CARE),
                [Do::Start],
                "{struck}"
            );
        }
        for _ in 0..100 {
            strikes.struck(now);
        }
        assert_eq!(turn(&[], 1, strikes, now + 30 * SECOND, &CARE), [Do::Start]);
        strikes.forgiven();
        assert_eq!(turn(&[], 2, strikes, now, &CARE), [Do::Start, Do::Start]);
    }
}
