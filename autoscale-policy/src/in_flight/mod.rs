//! Load, measured where requests pass.

mod future;
mod layer;
mod service;

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use tokio::time::Instant;

pub use self::future::ResponseFuture;
pub use self::layer::InFlightLayer;
pub use self::service::InFlightService;
use crate::observation::Sample;
use crate::time::EpochMillis;

/// Counts requests under way, up to 1,048,575; clones share one count.
///
/// ```
/// use autoscale_policy::{EpochMillis, InFlight};
///
/// let load = InFlight::new();
/// let ticket = load.enter();
/// assert_eq!(load.now(), 1);
/// drop(ticket);
/// assert_eq!(load.now(), 0);
/// ```
#[derive(Clone, Debug)]
pub struct InFlight {
    counts: Arc<Counts>,
}

#[derive(Debug)]
struct Counts {
    base: Instant,
    arrived: AtomicU64,
    /// Two figures that must be read at once: below, requests under way; above, the ends
    /// of requests less their beginnings, in microseconds since `base`, modulo 2^44. With
    /// the time now for each that is under way, that is how long all of them took.
    state: AtomicU64,
}

/// For requests under way: up to 1,048,575.
const COUNT_BITS: u32 = 20;
const COUNT: u64 = (1 << COUNT_BITS) - 1;
/// 2^44 microseconds are 203 days.
const MICROS: u64 = u64::MAX >> COUNT_BITS;

impl Counts {
    fn now(&self) -> u64 {
        u64::try_from(self.base.elapsed().as_micros()).unwrap_or(u64::MAX)
    }
}

/// What was measured since the time before.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Measured {
    /// Requests under way, on average.
    pub in_flight: f64,
    /// Requests that arrived, a second.
    pub arrivals: f64,
    /// How long a request took on average: by Little's law, so requests that are still
    /// under way count with what they have taken. None where none arrived.
    pub latency: Option<Duration>,
    /// The time that this was measured over.
    pub over: Duration,
}

impl Measured {
    /// As a sample of this one instance's requests in flight.
    #[must_use]
    pub fn sample(&self, at: EpochMillis) -> Sample<'static> {
        Sample::in_flight(self.in_flight, at)
    }

    /// The share of `full`, the requests at a time that are this instance's full use.
    #[must_use]
    pub fn saturation(&self, full: f64) -> f64 {
        self.in_flight / full
    }
}

/// Measures from one call to the next. For one caller: each has its own times.
#[derive(Debug)]
pub struct Meter {
    load: InFlight,
    last: Totals,
}

#[derive(Clone, Copy, Debug)]
struct Totals {
    at: u64,
    busy: u64,
    arrived: u64,
}

impl Meter {
    /// What was measured since the last call.
    pub fn measure(&mut self) -> Measured {
        let totals = self.load.totals();
        let over = Duration::from_micros(totals.at.saturating_sub(self.last.at));
        let busy = totals.busy.wrapping_sub(self.last.busy) & MICROS;
        // Ends between two reads of a moment may make it a little less than nothing.
        let busy = if busy > MICROS / 2 { 0.0 } else { busy as f64 / 1e6 };
        let seconds = over.as_secs_f64().max(1e-6);
        let arrived = totals.arrived.wrapping_sub(self.last.arrived) as f64;
        self.last = totals;
        let latency = (arrived > 0.0).then(|| Duration::from_secs_f64(busy / arrived));
        Measured { in_flight: busy / seconds, arrivals: arrived / seconds, latency, over }
    }
}

impl Default for InFlight {
    fn default() -> Self {
        Self::new()
    }
}

impl InFlight {
    /// Counts from zero.
    #[must_use]
    pub fn new() -> Self {
        let (arrived, state) = (AtomicU64::new(0), AtomicU64::new(0));
        Self { counts: Arc::new(Counts { base: Instant::now(), arrived, state }) }
    }

    /// Requests under way at this moment.
    #[must_use]
    pub fn now(&self) -> u64 {
        self.counts.state.load(Ordering::Relaxed) & COUNT
    }

    /// Counts a request until the ticket is dropped. The layer does it for you; a stream
    /// that goes on after its head takes one along.
    #[must_use]
    pub fn enter(&self) -> Ticket {
        let counts = Arc::clone(&self.counts);
        counts.arrived.fetch_add(1, Ordering::Relaxed);
        let began = 1_u64.wrapping_sub(counts.now() << COUNT_BITS);
        counts.state.fetch_add(began, Ordering::Relaxed);
        Ticket { counts }
    }

    /// Measures from now on.
    #[must_use]
    pub fn meter(&self) -> Meter {
        Meter { load: self.clone(), last: self.totals() }
    }

    fn totals(&self) -> Totals {
        // The clock comes last: no request in the state has begun after it.
        let state = self.counts.state.load(Ordering::Relaxed);
        let arrived = self.counts.arrived.load(Ordering::Relaxed);
        let at = self.counts.now();
        let busy =
            (state >> COUNT_BITS).wrapping_add((state & COUNT).wrapping_mul(at)) & MICROS;
        Totals { at, busy, arrived }
    }
}

/// A request that is under way until this is dropped.
#[derive(Debug)]
pub struct Ticket {
    counts: Arc<Counts>,
}

impl Drop for Ticket {
    fn drop(&mut self) {
        if cfg!(broken = "in_flight_leaks") {
            return;
        }
        let ended = (self.counts.now() << COUNT_BITS).wrapping_sub(1);
        self.counts.state.fetch_add(ended, Ordering::Relaxed);
    }
}
