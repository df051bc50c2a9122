//! What the second tier counts.

#[cfg(feature = "metrics")]
use metrics::{Counter, Gauge, Unit, counter, describe_counter, describe_gauge, gauge};

use crate::shared::SharedError;

#[cfg(feature = "metrics")]
const READS: &str = "cache_aside_shared_reads_total";
#[cfg(feature = "metrics")]
const FILLS: &str = "cache_aside_shared_fills_total";
#[cfg(feature = "metrics")]
const WAITS: &str = "cache_aside_shared_waits_total";
#[cfg(feature = "metrics")]
const ERRORS: &str = "cache_aside_shared_errors_total";
#[cfg(feature = "metrics")]
const UNACKNOWLEDGED: &str = "cache_aside_shared_unacknowledged_total";
#[cfg(feature = "metrics")]
const OWED: &str = "cache_aside_shared_owed_invalidations";
#[cfg(feature = "metrics")]
const OPEN: &str = "cache_aside_shared_open_breakers";

/// What a read of the tier found.
#[derive(Clone, Copy, Debug)]
pub(crate) enum SharedRead {
    Hit,
    Miss,
    Cleared,
    OtherServer,
    Undecodable,
    Error,
    Bypass,
}

/// What became of a record.
#[derive(Clone, Copy, Debug)]
pub(crate) enum SharedFill {
    Stored,
    NotKept,
    LeaseLost,
    BelowFloor,
    Unknown,
}

/// How the wait for another process's load ended.
#[derive(Clone, Copy, Debug)]
pub(crate) enum SharedWait {
    Served,
    Taken,
    TimedOut,
}

/// Handles, bound when the cache is built. Arrays are in the order of their
/// enum's variants.
#[derive(Debug)]
pub(crate) struct SharedMetrics {
    #[cfg(feature = "metrics")]
    reads: [Counter; 7],
    #[cfg(feature = "metrics")]
    fills: [Counter; 5],
    #[cfg(feature = "metrics")]
    waits: [Counter; 3],
    #[cfg(feature = "metrics")]
    errors: [Counter; 5],
    #[cfg(feature = "metrics")]
    unacknowledged: Counter,
    #[cfg(feature = "metrics")]
    owed: Gauge,
    #[cfg(feature = "metrics")]
    open: Gauge,
}

#[cfg(feature = "metrics")]
impl SharedMetrics {
    pub(crate) fn new(cache: &str) -> Self {
        let count = Unit::Count;
        describe_counter!(READS, count, "Reads of the shared tier, by what they found.");
        describe_counter!(FILLS, count, "Records for the shared tier, by what became of them.");
        describe_counter!(WAITS, count, "Waits for another process's load, by how they ended.");
        describe_counter!(ERRORS, count, "Failed operations of the shared tier, by kind.");
        describe_counter!(
            UNACKNOWLEDGED,
            count,
            "Invalidations that the shared tier did not acknowledge at once."
        );
        describe_gauge!(
            OWED,
            count,
            "Invalidations that the shared tier has yet to acknowledge."
        );
        describe_gauge!(OPEN, count, "Servers of the shared tier that are not asked.");

        let cache = cache.to_owned();
        macro_rules! counters {
            ($name:ident, $label:literal, $values:expr) => {
                $values.map(|value| counter!($name, "cache" => cache.clone(), $label => value))
            };
        }
        Self {
            reads: counters!(
                READS,
                "outcome",
                ["hit", "miss", "cleared", "other_server", "undecodable", "error", "bypass"]
            ),
            fills: counters!(
                FILLS,
                "outcome",
                ["stored", "not_kept", "lease_lost", "below_floor", "unknown"]
            ),
            waits: counters!(WAITS, "outcome", ["served", "taken", "timed_out"]),
            errors: counters!(
                ERRORS,
                "kind",
                ["timeout", "unreachable", "full", "refused", "not_asked"]
            ),
            unacknowledged: counter!(UNACKNOWLEDGED, "cache" => cache.clone()),
            owed: gauge!(OWED, "cache" => cache.clone()),
            open: gauge!(OPEN, "cache" => cache),
        }
    }

    #[inline]
    pub(crate) fn read(&self, what: SharedRead) {
        self.reads[what as usize].increment(1);
    }

    pub(crate) fn fill(&self, what: SharedFill) {
        self.fills[what as usize].increment(1);
    }

    pub(crate) fn wait(&self, how: SharedWait) {
        self.waits[how as usize].increment(1);
    }

    pub(crate) fn error(&self, error: &SharedError) {
        let kind = match error {
            SharedError::Timeout(_) => 0,
            SharedError::Unreachable(_) => 1,
            SharedError::Full(_) => 2,
            SharedError::Refused(_) => 3,
            SharedError::NotAsked => 4,
        };
        self.errors[kind].increment(1);
    }

    pub(crate) fn unacknowledged(&self) {
        self.unacknowledged.increment(1);
    }

    pub(crate) fn owed(&self, now: usize) {
        self.owed.set(now as f64);
    }

    pub(crate) fn opened(&self) {
        self.open.increment(1);
    }

    pub(crate) fn closed(&self) {
        self.open.decrement(1);
    }
}

#[cfg(not(feature = "metrics"))]
impl SharedMetrics {
    pub(crate) fn new(_: &str) -> Self {
        Self {}
    }

    #[inline]
    pub(crate) fn read(&self, _: SharedRead) {}

    pub(crate) fn fill(&self, _: SharedFill) {}

    pub(crate) fn wait(&self, _: SharedWait) {}

    pub(crate) fn error(&self, _: &SharedError) {}

    pub(crate) fn unacknowledged(&self) {}

    pub(crate) fn owed(&self, _: usize) {}

    pub(crate) fn opened(&self) {}

    pub(crate) fn closed(&self) {}
}

#[cfg(all(feature = "metrics", feature = "http"))]
const NEWS: &str = "cache_aside_news_total";
#[cfg(all(feature = "metrics", feature = "http"))]
const UNSURE: &str = "cache_aside_unsure_total";
#[cfg(all(feature = "metrics", feature = "http"))]
const ANNOUNCEMENTS: &str = "cache_aside_owed_announcements";

/// What came of a question for news.
#[cfg(feature = "http")]
#[derive(Clone, Copy, Debug)]
pub(crate) enum NewsOutcome {
    Next,
    Anew,
    Failed,
}

/// What a server counts that follows the log of purges.
#[cfg(feature = "http")]
#[derive(Debug)]
pub(crate) struct NewsMetrics {
    #[cfg(feature = "metrics")]
    news: [Counter; 3],
    #[cfg(feature = "metrics")]
    unsure: Counter,
    #[cfg(feature = "metrics")]
    owed: Gauge,
}

#[cfg(all(feature = "metrics", feature = "http"))]
impl NewsMetrics {
    pub(crate) fn new(cache: &str) -> Self {
        describe_counter!(NEWS, Unit::Count, "Questions for news of purges, by outcome.");
        describe_counter!(
            UNSURE,
            Unit::Count,
            "Stored responses that were not served unasked, for lack of news."
        );
        describe_gauge!(
            ANNOUNCEMENTS,
            Unit::Count,
            "Purges that other servers have yet to be told of."
        );
        let cache = cache.to_owned();
        let news = |outcome| counter!(NEWS, "cache" => cache.clone(), "outcome" => outcome);
        Self {
            news: ["next", "anew", "failed"].map(news),
            unsure: counter!(UNSURE, "cache" => cache.clone()),
            owed: gauge!(ANNOUNCEMENTS, "cache" => cache),
        }
    }

    pub(crate) fn news(&self, outcome: NewsOutcome) {
        self.news[outcome as usize].increment(1);
    }

    pub(crate) fn unsure(&self) {
        self.unsure.increment(1);
    }

    pub(crate) fn owed(&self, now: usize) {
        self.owed.set(now as f64);
    }
}

#[cfg(all(not(feature = "metrics"), feature = "http"))]
impl NewsMetrics {
    pub(crate) fn new(_: &str) -> Self {
        Self {}
    }

    pub(crate) fn news(&self, _: NewsOutcome) {}

    pub(crate) fn unsure(&self) {}

    pub(crate) fn owed(&self, _: usize) {}
}
