//! Every metric this crate emits; a no-op without the `metrics` feature.

use std::time::Duration;

#[cfg(feature = "metrics")]
use metrics::{Unit, counter, describe_counter, describe_gauge, gauge};

use crate::access::Refusal;
use crate::audit::AuditEvent;

#[cfg(feature = "metrics")]
const VERIFICATIONS: &str = "jwt_refresh_verifications_total";
#[cfg(feature = "metrics")]
const EVENTS: &str = "jwt_refresh_events_total";
#[cfg(feature = "metrics")]
const STALENESS: &str = "jwt_refresh_feed_staleness_seconds";
#[cfg(feature = "metrics")]
const ENTRIES: &str = "jwt_refresh_revocations";
#[cfg(feature = "metrics")]
const FEED_ERRORS: &str = "jwt_refresh_feed_errors_total";

/// Of a verifier.
pub(crate) struct Metrics {
    #[cfg(feature = "metrics")]
    accepted: metrics::Counter,
}

impl Metrics {
    pub(crate) fn new() -> Self {
        #[cfg(feature = "metrics")]
        describe_counter!(VERIFICATIONS, Unit::Count, "Access tokens, by the verdict.");
        Self {
            #[cfg(feature = "metrics")]
            accepted: counter!(VERIFICATIONS, "verdict" => "accepted"),
        }
    }

    #[inline]
    #[cfg_attr(not(feature = "metrics"), allow(clippy::unused_self, unused_variables))]
    pub(crate) fn verification(&self, refusal: Option<Refusal>) {
        #[cfg(feature = "metrics")]
        match refusal {
            None => self.accepted.increment(1),
            Some(refusal) => counter!(VERIFICATIONS, "verdict" => refusal.name()).increment(1),
        }
    }
}

/// Of an issuer.
#[cfg_attr(not(feature = "metrics"), allow(unused_variables))]
pub(crate) fn event(event: &AuditEvent<'_>) {
    #[cfg(feature = "metrics")]
    {
        describe_counter!(EVENTS, Unit::Count, "What happened to sessions.");
        counter!(EVENTS, "event" => event.name()).increment(1);
    }
}

/// Of the task that reads the feed.
pub(crate) struct Feed {
    #[cfg(feature = "metrics")]
    staleness: metrics::Gauge,
    #[cfg(feature = "metrics")]
    entries: metrics::Gauge,
    #[cfg(feature = "metrics")]
    errors: metrics::Counter,
}

#[cfg_attr(not(feature = "metrics"), allow(clippy::unused_self, unused_variables))]
impl Feed {
    pub(crate) fn new() -> Self {
        #[cfg(feature = "metrics")]
        {
            describe_gauge!(STALENESS, Unit::Seconds, "The age of the last heartbeat.");
            describe_gauge!(ENTRIES, Unit::Count, "Revocations in memory.");
            describe_counter!(FEED_ERRORS, Unit::Count, "Reads of the feed that failed.");
        }
        Self {
            #[cfg(feature = "metrics")]
            staleness: gauge!(STALENESS),
            #[cfg(feature = "metrics")]
            entries: gauge!(ENTRIES),
            #[cfg(feature = "metrics")]
            errors: counter!(FEED_ERRORS),
        }
    }

    pub(crate) fn state(&self, staleness: Option<Duration>, entries: usize) {
        #[cfg(feature = "metrics")]
        {
            self.staleness.set(staleness.map_or(f64::INFINITY, |age| age.as_secs_f64()));
            self.entries.set(entries as f64);
        }
    }

    pub(crate) fn failed(&self) {
        #[cfg(feature = "metrics")]
        self.errors.increment(1);
    }
}
