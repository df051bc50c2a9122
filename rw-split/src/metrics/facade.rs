//! The handles of the `metrics` facade, bound when the router is built.

use std::sync::Arc;
use std::time::Duration;

use metrics::{Counter, Gauge, Unit, counter, describe_counter, describe_gauge, gauge};

use super::{CAUSES, COUNTS, Cause, Place};

const REQUESTS: &str = "rw_split_requests_total";
const LAG_BYTES: &str = "rw_split_lag_bytes";
const LAG_SECONDS: &str = "rw_split_lag_seconds";

pub(super) struct Facade {
    requests: [[Counter; CAUSES]; 2],
    lag: Vec<(Gauge, Gauge)>,
    counts: Vec<Counter>,
}

impl Facade {
    pub(super) fn new(servers: &[Arc<str>]) -> Self {
        describe_counter!(REQUESTS, Unit::Count, "Requests, by where they went and why.");
        describe_gauge!(LAG_BYTES, Unit::Bytes, "How far a server is behind the primary.");
        describe_gauge!(LAG_SECONDS, Unit::Seconds, "The same in time.");
        for (name, help) in COUNTS {
            describe_counter!(*name, Unit::Count, *help);
        }
        Self {
            requests: [Place::Replica, Place::Primary].map(|place| {
                let target = match place {
                    Place::Replica => "replica",
                    Place::Primary => "primary",
                };
                std::array::from_fn(|cause| {
                    counter!(REQUESTS, "target" => target, "reason" => Cause::label(cause))
                })
            }),
            lag: servers
                .iter()
                .map(|server| {
                    let name = server.to_string();
                    let bytes = gauge!(LAG_BYTES, "server" => name.clone());
                    (bytes, gauge!(LAG_SECONDS, "server" => name))
                })
                .collect(),
            counts: COUNTS.iter().map(|(name, _)| counter!(*name)).collect(),
        }
    }

    pub(super) fn request(&self, place: Place, cause: usize) {
        self.requests[place as usize][cause].increment(1);
    }

    #[allow(clippy::cast_precision_loss, reason = "a gauge is a float")]
    pub(super) fn lag(&self, server: usize, bytes: u64, lag: Duration) {
        if let Some((in_bytes, in_seconds)) = self.lag.get(server) {
            in_bytes.set(bytes as f64);
            in_seconds.set(lag.as_secs_f64());
        }
    }

    pub(super) fn count(&self, name: &'static str) {
        if let Some(index) = COUNTS.iter().position(|(other, _)| *other == name) {
            self.counts[index].increment(1);
        }
    }
}

impl std::fmt::Debug for Facade {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Facade")
    }
}
