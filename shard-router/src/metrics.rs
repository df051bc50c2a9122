//! Every count this crate keeps. They can be read as [`Stats`]; with the `metrics` feature
//! they are emitted as well.

use std::sync::atomic::{AtomicU64, Ordering};

use crate::map::ShardName;

macro_rules! counts {
    ($($field:ident, $name:literal, $help:literal;)*) => {
        /// Counts since the router was built.
        #[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
        #[non_exhaustive]
        pub struct Stats {
            $(#[doc = $help] pub $field: u64,)*
        }

        #[derive(Debug, Default)]
        pub(crate) struct Metrics {
            $($field: AtomicU64,)*
            #[cfg(feature = "metrics")]
            facade: facade::Facade,
        }

        /// Name, help, in the order of the fields.
        #[cfg(feature = "metrics")]
        const COUNTS: &[(&str, &str)] = &[$(($name, $help),)*];

        impl Metrics {
            pub(crate) fn stats(&self) -> Stats {
                Stats { $($field: self.$field.load(Ordering::Relaxed),)* }
            }

            // What only a feature counts is there without it, too.
            $(#[allow(dead_code)]
            pub(crate) fn $field(&self) {
                self.$field.fetch_add(1, Ordering::Relaxed);
                #[cfg(feature = "metrics")]
                self.facade.count($name);
            })*
        }
    };
}

counts! {
    requests, "shard_router_requests_total", "Keys that were routed to a shard.";
    batches, "shard_router_batches_total", "Batches of keys.";
    scatters, "shard_router_scatters_total", "Scatters that were begun.";
    partial_scatters, "shard_router_partial_scatters_total",
        "Scatters that were answered without some shards, by their policy.";
    failed_scatters, "shard_router_failed_scatters_total",
        "Scatters that were not answered.";
    coverage_errors, "shard_router_coverage_errors_total",
        "Scatters whose answers did not cover every slot exactly once.";
    unreachable, "shard_router_unreachable_total", "Times that a shard could not be reached.";
    breaker_opens, "shard_router_breaker_opens_total",
        "Times that a shard was left alone after failures.";
    pool_timeouts, "shard_router_pool_timeouts_total",
        "Callers that no connection came free for.";
    refusals, "shard_router_refusals_total",
        "Servers that were refused, because they are not the shard that they should be.";
    epoch_mismatches, "shard_router_epoch_mismatches_total",
        "Times that a shard stored another epoch than the router's map.";
    cross_shard, "shard_router_cross_shard_total", "Keys of another shard, caught by `check`.";
    reloads, "shard_router_reloads_total", "Maps that were taken over.";
    reload_failures, "shard_router_reload_failures_total",
        "Maps that were refused, or could not be read.";
}

impl Metrics {
    pub(crate) fn new() -> Self {
        #[cfg(feature = "metrics")]
        {
            Self { facade: facade::Facade::new(), ..Self::default() }
        }
        #[cfg(not(feature = "metrics"))]
        Self::default()
    }
}

/// What is counted for each shard.
pub(crate) struct ShardMetrics {
    requests: AtomicU64,
    #[cfg(feature = "metrics")]
    counter: metrics::Counter,
}

impl ShardMetrics {
    pub(crate) fn new(shard: &ShardName) -> Self {
        #[cfg(not(feature = "metrics"))]
        let _ = shard;
        Self {
            requests: AtomicU64::new(0),
            #[cfg(feature = "metrics")]
            counter: facade::of_shard(shard),
        }
    }

    pub(crate) fn request(&self) {
        self.requests.fetch_add(1, Ordering::Relaxed);
        #[cfg(feature = "metrics")]
        self.counter.increment(1);
    }

    pub(crate) fn requests(&self) -> u64 {
        self.requests.load(Ordering::Relaxed)
    }
}

impl std::fmt::Debug for ShardMetrics {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_tuple("ShardMetrics").field(&self.requests()).finish()
    }
}

#[cfg(feature = "metrics")]
mod facade {
    use metrics::{Counter, Unit, counter, describe_counter};

    use super::COUNTS;
    use crate::map::ShardName;

    const OF_SHARDS: &str = "shard_router_shard_requests_total";

    #[derive(Default)]
    pub(super) struct Facade(Vec<Counter>);

    impl Facade {
        pub(super) fn new() -> Self {
            describe_counter!(OF_SHARDS, Unit::Count, "Keys that were routed to a shard.");
            let bound = COUNTS.iter().map(|(name, help)| {
                describe_counter!(*name, Unit::Count, *help);
                counter!(*name)
            });
            Self(bound.collect())
        }

        pub(super) fn count(&self, name: &'static str) {
            let place = COUNTS.iter().position(|(other, _)| *other == name);
            if let Some(counter) = place.and_then(|place| self.0.get(place)) {
                counter.increment(1);
            }
        }
    }

    pub(super) fn of_shard(shard: &ShardName) -> Counter {
        counter!(OF_SHARDS, "shard" => shard.to_string())
    }

    impl std::fmt::Debug for Facade {
        fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
            f.write_str("Facade")
        }
    }
}
