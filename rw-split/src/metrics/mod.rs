//! Every count this crate keeps. They can be read as [`Stats`]; with the
//! `metrics` feature they are emitted as well.

#[cfg(feature = "metrics")]
mod facade;

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use crate::classify::Reason;

/// Where a request was answered.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Place {
    Replica,
    Primary,
}

/// Why it was answered there.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Cause {
    /// It was classified so.
    Class(Reason),
    /// The level, the query or the transaction says so.
    Asked,
    Behind,
    NoReplica,
    /// The session's last write has no known position.
    Pinned,
    /// Retried there.
    Retried,
    /// No fresh server was left, and stale answers are allowed.
    Stale,
}

const CAUSES: usize = Reason::ALL.len() + 6;

impl Cause {
    const fn index(self) -> usize {
        let classes = Reason::ALL.len();
        match self {
            Self::Class(reason) => reason as usize,
            Self::Asked => classes,
            Self::Behind => classes + 1,
            Self::NoReplica => classes + 2,
            Self::Pinned => classes + 3,
            Self::Retried => classes + 4,
            Self::Stale => classes + 5,
        }
    }

    #[cfg(feature = "metrics")]
    fn label(index: usize) -> &'static str {
        const MORE: [&str; 6] = ["asked", "behind", "no_replica", "pinned", "retried", "stale"];
        match Reason::ALL.get(index) {
            Some(reason) => reason.as_str(),
            None => MORE[index - Reason::ALL.len()],
        }
    }
}

macro_rules! counts {
    ($($field:ident, $name:literal, $help:literal;)*) => {
        /// Counts since the router was built.
        #[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
        #[non_exhaustive]
        pub struct Stats {
            /// Requests that replicas have answered.
            pub on_replicas: u64,
            /// Proven reads that the primary has answered.
            pub reads_on_primary: u64,
            /// Other requests that the primary has answered.
            pub writes: u64,
            $(#[doc = $help] pub $field: u64,)*
        }

        #[derive(Debug, Default)]
        pub(crate) struct Counts { $($field: AtomicU64,)* }

        /// Name, help, in the order of `Counts`.
        #[cfg(feature = "metrics")]
        const COUNTS: &[(&str, &str)] = &[$(($name, $help),)*];

        impl Metrics {
            /// The counts by now.
            pub(crate) fn stats(&self) -> Stats {
                let of = |place: Place, cause: usize| {
                    self.requests[place as usize][cause].load(Ordering::Relaxed)
                };
                let reads = [Reason::Empty, Reason::ReadOnly].map(|r| Cause::Class(r).index());
                let is_read = |cause: &usize| {
                    reads.contains(cause) || *cause > Cause::Asked.index()
                };
                let all = || 0..CAUSES;
                Stats {
                    on_replicas: all().map(|cause| of(Place::Replica, cause)).sum(),
                    reads_on_primary: all().filter(is_read)
                        .map(|cause| of(Place::Primary, cause)).sum(),
                    writes: all().filter(|cause| !is_read(cause))
                        .map(|cause| of(Place::Primary, cause)).sum(),
                    $($field: self.counts.$field.load(Ordering::Relaxed),)*
                }
            }
        }

        impl Metrics {
            $(pub(crate) fn $field(&self) { count(&self.counts.$field, || self.emit($name)); })*
        }
    };
}

counts! {
    waits, "rw_split_waits_total", "Reads that waited for a replica.";
    wait_timeouts, "rw_split_wait_timeouts_total", "Waits that ended at `max_wait`.";
    retries, "rw_split_retries_total", "Statements sent again, to another server or prepared anew.";
    clamps, "rw_split_clamps_total",
        "Positions in tokens that the primary has not reached, or of another cluster: discarded.";
    questions, "rw_split_questions_total", "Times that the primary was asked where it is.";
    tokens_refused, "rw_split_tokens_refused_total", "Tokens that were forged, damaged or expired.";
    lost_writes, "rw_split_lost_writes_total",
        "Sessions whose last write is on no server after a promotion.";
    unscoped_reads, "rw_split_unscoped_reads_total",
        "Reads outside of any session: they see this process's writes.";
    late_writes, "rw_split_late_writes_total",
        "Writes after the head of the answer, which no cookie can carry.";
    unknown_outcomes, "rw_split_unknown_outcomes_total", "Writes that may have happened or not.";
    fenced_writes, "rw_split_fenced_writes_total",
        "Writes refused, because their server is not the primary any more.";
    failovers, "rw_split_failovers_total", "Changes of the primary.";
    pool_timeouts, "rw_split_pool_timeouts_total", "Callers that no connection came free for.";
    moves, "rw_split_moves_total", "Sessions that left their replica for another server.";
}

fn count(counter: &AtomicU64, emit: impl FnOnce()) {
    counter.fetch_add(1, Ordering::Relaxed);
    emit();
}

#[derive(Debug)]
pub(crate) struct Metrics {
    requests: [[AtomicU64; CAUSES]; 2],
    counts: Counts,
    #[cfg(feature = "metrics")]
    facade: facade::Facade,
}

impl Metrics {
    pub(crate) fn new(servers: &[Arc<str>]) -> Arc<Self> {
        #[cfg(not(feature = "metrics"))]
        let _ = servers;
        Arc::new(Self {
            requests: std::array::from_fn(|_| std::array::from_fn(|_| AtomicU64::new(0))),
            counts: Counts::default(),
            #[cfg(feature = "metrics")]
            facade: facade::Facade::new(servers),
        })
    }

    #[inline]
    pub(crate) fn request(&self, place: Place, cause: Cause) {
        self.requests[place as usize][cause.index()].fetch_add(1, Ordering::Relaxed);
        #[cfg(feature = "metrics")]
        self.facade.request(place, cause.index());
    }

    #[cfg(feature = "metrics")]
    pub(crate) fn lag(&self, server: usize, bytes: u64, lag: Duration) {
        self.facade.lag(server, bytes, lag);
    }

    #[cfg(not(feature = "metrics"))]
    pub(crate) fn lag(&self, _: usize, _: u64, _: Duration) {}

    #[cfg(feature = "metrics")]
    fn emit(&self, name: &'static str) {
        self.facade.count(name);
    }

    #[cfg(not(feature = "metrics"))]
    #[allow(clippy::unused_self, reason = "as with the feature")]
    fn emit(&self, _: &'static str) {}
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn requests_are_told_apart_by_place_and_cause() {
        let metrics = Metrics::new(&[]);
        metrics.request(Place::Replica, Cause::Class(Reason::ReadOnly));
        metrics.request(Place::Primary, Cause::Behind);
        metrics.request(Place::Primary, Cause::Class(Reason::Write));
        metrics.request(Place::Primary, Cause::Asked);
        metrics.clamps();
        let stats = metrics.stats();
        assert_eq!((stats.on_replicas, stats.reads_on_primary, stats.writes), (1, 1, 2));
        assert_eq!(stats.clamps, 1);
    }

    #[test]
    fn every_cause_has_a_place_of_its_own() {
        for (index, reason) in Reason::ALL.into_iter().enumerate() {
            assert_eq!(Cause::Class(reason).index(), index);
        }
        assert_eq!(Cause::Stale.index(), CAUSES - 1);
    }
}
