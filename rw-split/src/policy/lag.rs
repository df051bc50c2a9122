//! How far behind a replica is, in time.

use std::collections::VecDeque;
use std::time::Duration;

use tokio::time::Instant;

use crate::lsn::Lsn;

/// When the primary was where. A replica that has come to a position is as far
/// behind as it is since the primary went beyond it. `now() -
/// pg_last_xact_replay_timestamp()` is something else: it grows while an idle
/// primary writes nothing.
#[derive(Debug, Default)]
pub(crate) struct LagClock {
    /// In order of time and of position; no position twice.
    seen: VecDeque<(Instant, Lsn)>,
}

/// At a poll every 50 ms these reach back for some minutes, if polls that find
/// nothing new are left out; older ones are thinned out.
const MOST: usize = 4096;

impl LagClock {
    pub(crate) fn saw(&mut self, at: Instant, insert: Lsn) {
        if self.seen.back().is_some_and(|(_, last)| *last >= insert) {
            return;
        }
        if self.seen.len() == MOST {
            let mut keep = false;
            self.seen.retain(|_| {
                keep = !keep;
                keep
            });
        }
        self.seen.push_back((at, insert));
    }

    pub(crate) fn forget(&mut self) {
        self.seen.clear();
    }

    pub(crate) fn lag(&self, now: Instant, replayed: Lsn) -> Duration {
        let beyond = self.seen.partition_point(|(_, insert)| *insert <= replayed);
        match self.seen.get(beyond) {
            Some((since, _)) => now.saturating_duration_since(*since),
            None => Duration::ZERO,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test(start_paused = true)]
    async fn lag_is_the_time_since_the_primary_went_beyond() {
        let start = Instant::now();
        let at = |ms| start + Duration::from_millis(ms);
        let mut clock = LagClock::default();
        clock.saw(at(0), Lsn(10));
        clock.saw(at(100), Lsn(20));
        clock.saw(at(150), Lsn(20));
        clock.saw(at(200), Lsn(30));
        assert_eq!(clock.lag(at(300), Lsn(30)), Duration::ZERO);
        assert_eq!(clock.lag(at(300), Lsn(20)), Duration::from_millis(100));
        assert_eq!(clock.lag(at(300), Lsn(15)), Duration::from_millis(200));
        assert_eq!(clock.lag(at(300), Lsn(0)), Duration::from_millis(300));
        // An idle primary: nobody lags, however long it is idle.
        assert_eq!(clock.lag(at(99_000), Lsn(30)), Duration::ZERO);
    }

    #[tokio::test(start_paused = true)]
    async fn a_long_history_is_thinned_and_stays_in_order() {
        let start = Instant::now();
        let mut clock = LagClock::default();
        for n in 0..20_000_u64 {
            clock.saw(start + Duration::from_millis(n), Lsn(n));
        }
        assert!(clock.seen.len() <= MOST);
        let now = start + Duration::from_millis(20_000);
        assert!(clock.lag(now, Lsn(100)) > Duration::from_millis(15_000));
        assert!(clock.lag(now, Lsn(19_990)) <= Duration::from_millis(10));
    }
}
