//! Every metric this crate emits; a no-op without the `metrics` feature.

#[cfg(feature = "metrics")]
mod hits;
#[cfg(feature = "http")]
mod http;
mod shared;

use std::time::Duration;

#[cfg(feature = "metrics")]
use metrics::{
    Counter, Histogram, Unit, counter, describe_counter, describe_histogram, histogram,
};

#[cfg(feature = "metrics")]
use self::hits::Hits;
#[cfg(feature = "http")]
pub(crate) use self::http::HttpMetrics;
#[cfg(feature = "http")]
pub(crate) use self::shared::{NewsMetrics, NewsOutcome};
pub(crate) use self::shared::{SharedFill, SharedMetrics, SharedRead, SharedWait};
use crate::clock::Tick;
use crate::error::Error;
use crate::loaded::LoadCause;

#[cfg(feature = "metrics")]
const REQUESTS: &str = "cache_aside_requests_total";
#[cfg(feature = "metrics")]
const STALE_ON_ERROR: &str = "cache_aside_stale_on_error_total";
#[cfg(feature = "metrics")]
const LOADS: &str = "cache_aside_loads_total";
#[cfg(feature = "metrics")]
const LOAD_SECONDS: &str = "cache_aside_load_duration_seconds";
#[cfg(feature = "metrics")]
const RENEWALS: &str = "cache_aside_renewals_total";
#[cfg(feature = "metrics")]
const FILLS: &str = "cache_aside_fills_total";
#[cfg(feature = "metrics")]
const INVALIDATIONS: &str = "cache_aside_invalidations_total";

/// How a request was answered.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Request {
    Negative,
    Stale,
    Miss,
    Joined,
    Bypass,
    Shared,
}

/// How a load ended.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Load {
    Ok,
    Error,
    Timeout,
    Panic,
}

impl Load {
    pub(crate) fn of(error: Option<&Error>) -> Self {
        match error {
            None => Self::Ok,
            Some(Error::Timeout(_)) => Self::Timeout,
            Some(Error::Panicked) => Self::Panic,
            Some(_) => Self::Error,
        }
    }
}

/// What became of a loaded value.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Fill {
    Stored,
    NotKept,
    Overtaken,
}

/// Handles, bound when the cache is built. Arrays are in the order of their
/// enum's variants.
#[derive(Debug)]
pub(crate) struct Metrics {
    #[cfg(feature = "metrics")]
    hits: Hits,
    #[cfg(feature = "metrics")]
    requests: [Counter; 6],
    #[cfg(feature = "metrics")]
    stale_on_error: Counter,
    #[cfg(feature = "metrics")]
    loads: [Counter; 4],
    #[cfg(feature = "metrics")]
    load_seconds: Histogram,
    #[cfg(feature = "metrics")]
    renewals: [Counter; 2],
    #[cfg(feature = "metrics")]
    fills: [Counter; 3],
    #[cfg(feature = "metrics")]
    invalidations: [Counter; 2],
}

#[cfg(feature = "metrics")]
impl Metrics {
    pub(crate) fn new(cache: &str) -> Self {
        let count = Unit::Count;
        describe_counter!(REQUESTS, count, "Requests, by how they were answered.");
        describe_counter!(STALE_ON_ERROR, count, "Aged values served because a load failed.");
        describe_counter!(LOADS, count, "Loads that ended, by outcome.");
        describe_histogram!(LOAD_SECONDS, Unit::Seconds, "How long loads took.");
        describe_counter!(RENEWALS, count, "Background loads started, by reason.");
        describe_counter!(FILLS, count, "Loaded or inserted values, by what became of them.");
        describe_counter!(INVALIDATIONS, count, "Invalidations, by what they reach.");

        let cache = cache.to_owned();
        macro_rules! counters {
            ($name:ident, $label:literal, $values:expr) => {
                $values.map(|value| counter!($name, "cache" => cache.clone(), $label => value))
            };
        }
        Self {
            hits: Hits::new(counter!(REQUESTS, "cache" => cache.clone(), "outcome" => "hit")),
            requests: counters!(
                REQUESTS,
                "outcome",
                ["negative", "stale", "miss", "joined", "bypass", "shared"]
            ),
            stale_on_error: counter!(STALE_ON_ERROR, "cache" => cache.clone()),
            loads: counters!(LOADS, "outcome", ["ok", "error", "timeout", "panic"]),
            load_seconds: histogram!(LOAD_SECONDS, "cache" => cache.clone()),
            renewals: counters!(RENEWALS, "reason", ["stale", "early"]),
            fills: counters!(FILLS, "outcome", ["stored", "not_kept", "overtaken"]),
            invalidations: counters!(INVALIDATIONS, "reach", ["key", "all"]),
        }
    }

    #[inline]
    pub(crate) fn hit(&self, now: Tick) {
        self.hits.count(now);
    }

    #[inline]
    pub(crate) fn request(&self, how: Request) {
        self.requests[how as usize].increment(1);
    }

    pub(crate) fn stale_on_error(&self) {
        self.stale_on_error.increment(1);
    }

    pub(crate) fn load(&self, how: Load, took: Duration) {
        self.hits.flush();
        self.loads[how as usize].increment(1);
        self.load_seconds.record(took);
    }

    pub(crate) fn renewal(&self, cause: LoadCause) {
        match cause {
            LoadCause::Miss => {}
            LoadCause::Revalidate => self.renewals[0].increment(1),
            LoadCause::Early => self.renewals[1].increment(1),
        }
    }

    pub(crate) fn fill(&self, what: Fill) {
        self.fills[what as usize].increment(1);
    }

    pub(crate) fn invalidated_key(&self) {
        self.hits.flush();
        self.invalidations[0].increment(1);
    }

    pub(crate) fn invalidated_all(&self) {
        self.hits.flush();
        self.invalidations[1].increment(1);
    }
}

#[cfg(not(feature = "metrics"))]
impl Metrics {
    pub(crate) fn new(_: &str) -> Self {
        Self {}
    }

    #[inline]
    pub(crate) fn hit(&self, _: Tick) {}

    #[inline]
    pub(crate) fn request(&self, _: Request) {}

    pub(crate) fn stale_on_error(&self) {}

    pub(crate) fn load(&self, _: Load, _: Duration) {}

    pub(crate) fn renewal(&self, _: LoadCause) {}

    pub(crate) fn fill(&self, _: Fill) {}

    pub(crate) fn invalidated_key(&self) {}

    pub(crate) fn invalidated_all(&self) {}
}
