//! What happened, and the rule that every read is held to. Pure: it is judged when
//! the run is over.

use std::fmt;
use std::time::Duration;

/// A moment, from the start of the run.
pub(crate) type Moment = Duration;

/// One key, read by one cache.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Read {
    pub(crate) cache: usize,
    pub(crate) key: u64,
    pub(crate) began: Moment,
    pub(crate) version: u64,
}

/// A version that was committed, and then invalidated or inserted by one cache.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Write {
    pub(crate) cache: usize,
    pub(crate) key: u64,
    pub(crate) version: u64,
    /// When the call returned.
    pub(crate) returned: Moment,
    pub(crate) acknowledged: bool,
}

/// What is promised to the reads of one cache.
#[derive(Clone, Debug, Default)]
pub(crate) struct Promise {
    /// For how long it shows copies without asking: its `l1_ttl`, or zero.
    pub(crate) copies: Duration,
    /// When it could not reach Redis. Loads were shared then without asking.
    pub(crate) cut_off: Vec<(Moment, Moment)>,
    /// How long a load takes at most.
    pub(crate) load: Duration,
    /// The longest that a value may be served.
    pub(crate) hard_ttl: Duration,
}

impl Promise {
    /// After how long another cache's acknowledged invalidation is seen by a read that
    /// begins at `began`.
    fn bound(&self, began: Moment) -> Duration {
        let alone = self.cut_off.iter().any(|(from, to)| (*from..*to).contains(&began));
        self.copies + if alone { self.load } else { Duration::ZERO }
    }
}

/// A read that broke a promise.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Stale {
    cache: usize,
    key: u64,
    began: Moment,
    shown: u64,
    least: u64,
    why: &'static str,
}

impl fmt::Display for Stale {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { cache, key, began, shown, least, why } = self;
        write!(f, "cache {cache} at {began:?}: row {key} at {shown}, not {least}: {why}")
    }
}

/// The reads that broke the promise to their cache:
/// - what this cache has invalidated, acknowledged or not, is never shown again;
/// - what another has invalidated is not shown past the bound once that was
///   acknowledged,
/// - and not past the hard TTL if it was not.
pub(crate) fn judge(reads: &[Read], writes: &[Write], promises: &[Promise]) -> Vec<Stale> {
    let highest = |choose: &dyn Fn(&Write) -> bool| {
        let keys = reads.iter().map(|read| read.key).max().map_or(0, |key| key + 1);
        let of = |key| Floor::of(writes.iter().filter(|w| w.key == key && choose(w)));
        (0..keys).map(of).collect::<Vec<_>>()
    };
    let own: Vec<_> = (0..promises.len()).map(|n| highest(&|w| w.cache == n)).collect();
    let acknowledged = highest(&|w| w.acknowledged);
    let all = highest(&|_| true);
    let mut stale = Vec::new();
    for &Read { cache, key, began, version } in reads {
        let (promise, row) = (&promises[cache], key as usize);
        let bound = promise.bound(began);
        let floors = [
            (&own[cache], Duration::ZERO, "it had invalidated that itself"),
            (&acknowledged, bound, "another's invalidation was acknowledged"),
            (&all, promise.hard_ttl + bound, "its time was over"),
        ];
        for (floors, bound, why) in floors {
            let least = began.checked_sub(bound).map_or(0, |moment| floors[row].at(moment));
            if version < least {
                stale.push(Stale { cache, key, began, shown: version, least, why });
                break;
            }
        }
    }
    stale
}

/// The highest version of some writes, by the time at which they returned.
struct Floor(Vec<(Moment, u64)>);

impl Floor {
    fn of<'a>(writes: impl Iterator<Item = &'a Write>) -> Self {
        let mut steps: Vec<_> = writes.map(|w| (w.returned, w.version)).collect();
        steps.sort_unstable();
        let mut highest = 0;
        for (_, version) in &mut steps {
            highest = highest.max(*version);
            *version = highest;
        }
        Self(steps)
    }

    /// Of those that had returned before `moment`.
    fn at(&self, moment: Moment) -> u64 {
        let past = self.0.partition_point(|(returned, _)| *returned < moment);
        past.checked_sub(1).map_or(0, |last| self.0[last].1)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const fn ms(ms: u64) -> Moment {
        Duration::from_millis(ms)
    }

    fn write(cache: usize, version: u64, at: u64, acknowledged: bool) -> Write {
        Write { cache, key: 0, version, returned: ms(at), acknowledged }
    }

    /// What two caches may show at `began` after `writes`; the first is cut off from
    /// 500 to 600, the second has copies for 50.
    fn stale(cache: usize, version: u64, began: u64, writes: &[Write]) -> Option<&'static str> {
        let promise = Promise { load: ms(20), hard_ttl: ms(1_000), ..Promise::default() };
        let promises = [
            Promise { cut_off: vec![(ms(500), ms(600))], ..promise.clone() },
            Promise { copies: ms(50), ..promise },
        ];
        let read = Read { cache, key: 0, began: ms(began), version };
        judge(&[read], writes, &promises).pop().map(|stale| stale.why)
    }

    #[test]
    fn an_acknowledged_invalidation_is_seen_at_once_but_by_copies() {
        let writes = [write(1, 2, 100, true)];
        assert_eq!(stale(0, 1, 99, &writes), None);
        assert!(stale(0, 1, 101, &writes).is_some());
        assert_eq!(stale(0, 2, 101, &writes), None);

        let writes = [write(0, 2, 100, true)];
        assert_eq!(stale(1, 1, 149, &writes), None);
        assert!(stale(1, 1, 151, &writes).is_some());
    }

    #[test]
    fn ones_own_is_seen_at_once_acknowledged_or_not() {
        for (cache, acknowledged) in [(0, true), (1, true), (0, false), (1, false)] {
            let writes = [write(cache, 2, 550, acknowledged)];
            assert!(stale(cache, 1, 551, &writes).is_some());
            assert_eq!(stale(cache, 1, 549, &writes), None);
        }
    }

    #[test]
    fn who_is_cut_off_shares_no_load_for_longer_than_it_takes() {
        let writes = [write(1, 2, 540, true)];
        assert_eq!(stale(0, 1, 559, &writes), None);
        assert!(stale(0, 1, 561, &writes).is_some());
        assert!(stale(0, 1, 601, &writes).is_some());
    }

    #[test]
    fn what_was_not_acknowledged_ends_with_its_time() {
        let writes = [write(1, 2, 100, false)];
        assert_eq!(stale(0, 1, 1_099, &writes), None);
        assert_eq!(stale(0, 1, 1_101, &writes), Some("its time was over"));
    }

    #[test]
    fn the_highest_of_several_counts() {
        let writes = [write(1, 3, 100, true), write(1, 2, 200, true)];
        assert!(stale(0, 2, 300, &writes).is_some());
        assert_eq!(stale(0, 3, 300, &writes), None);
    }
}
