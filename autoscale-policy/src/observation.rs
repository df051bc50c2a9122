use std::fmt;
use std::time::Duration;

use crate::time::EpochMillis;

/// The name of an instance, as a number.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
#[cfg_attr(feature = "serde", derive(serde::Serialize, serde::Deserialize))]
#[cfg_attr(feature = "serde", serde(transparent))]
pub struct InstanceId(u64);

impl InstanceId {
    /// The instance with this number.
    #[must_use]
    pub const fn new(number: u64) -> Self {
        Self(number)
    }

    /// The instance with this name (64-bit FNV-1a of it).
    #[must_use]
    pub const fn named(name: &str) -> Self {
        let (bytes, mut hash, mut at) = (name.as_bytes(), 0xcbf2_9ce4_8422_2325_u64, 0);
        while at < bytes.len() {
            hash = (hash ^ bytes[at] as u64).wrapping_mul(0x0100_0000_01b3);
            at += 1;
        }
        Self(hash)
    }

    /// The number.
    #[must_use]
    pub const fn number(self) -> u64 {
        self.0
    }
}

impl fmt::Display for InstanceId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(&self.0, f)
    }
}

/// Where an instance is in its life.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[cfg_attr(feature = "serde", derive(serde::Serialize, serde::Deserialize))]
#[cfg_attr(feature = "serde", serde(rename_all = "kebab-case"))]
pub enum Phase {
    /// Asked for, and does not run yet.
    Pending,
    /// Runs, and is not ready: not yet, or not any more.
    Warming,
    /// Takes requests.
    Ready,
    /// Finishes its requests and ends.
    Draining,
    /// Has ended by itself, and is still there.
    Failed,
}

/// One instance, as its platform sees it.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Instance {
    /// Its name.
    pub id: InstanceId,
    /// Where it is in its life.
    pub phase: Phase,
    /// When it began to run, where that is known.
    pub started: Option<EpochMillis>,
    /// Since when it has been in this phase.
    pub changed: EpochMillis,
    /// Requests that it is busy with; decides which instance is removed first.
    pub in_flight: u32,
}

impl Instance {
    /// An instance that began to run at `started`, and has been in its phase since.
    #[must_use]
    pub const fn new(id: InstanceId, phase: Phase, started: EpochMillis) -> Self {
        Self { id, phase, started: Some(started), changed: started, in_flight: 0 }
    }

    /// Since when it has been in its phase.
    #[must_use]
    pub const fn changed(mut self, at: EpochMillis) -> Self {
        self.changed = at;
        self
    }

    /// How many requests it is busy with.
    #[must_use]
    pub const fn in_flight(mut self, requests: u32) -> Self {
        self.in_flight = requests;
        self
    }
}

/// What one instance used of a metric.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Usage {
    /// Whose use it is. Of an instance that is not among those observed, it is ignored.
    pub instance: InstanceId,
    /// What it used: cores, bytes, requests.
    pub usage: f64,
    /// What it was promised, in the same unit: a utilisation is `usage / request`.
    pub request: f64,
    /// The end of the time that it was measured over.
    pub at: EpochMillis,
    /// How long that was.
    pub window: Duration,
}

impl Usage {
    /// A use of `usage` out of 1, measured over the 30 s that ended at `at`.
    #[must_use]
    pub const fn new(instance: InstanceId, usage: f64, at: EpochMillis) -> Self {
        Self { instance, usage, request: 1.0, at, window: Duration::from_secs(30) }
    }

    /// What the instance was promised.
    #[must_use]
    pub const fn of(mut self, request: f64) -> Self {
        self.request = request;
        self
    }

    /// How long it was measured.
    #[must_use]
    pub const fn over(mut self, window: Duration) -> Self {
        self.window = window;
        self
    }
}

/// What a source has said.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Value<'a> {
    /// One figure for the fleet: a mean for a utilisation, a total for a count.
    Fleet(f64),
    /// A figure an instance, best in the order of the instances. An instance that is
    /// not there has no figure.
    Instances(&'a [Usage]),
    /// The source could not be asked.
    Unreachable,
}

/// What a source has said of one metric.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Sample<'a> {
    /// The metric's name, as policies name it.
    pub metric: &'a str,
    /// What was said.
    pub value: Value<'a>,
    /// The end of the time that it was measured over.
    pub at: EpochMillis,
}

/// The mean share of their CPU that ready instances use: 1.0 is all of it.
pub const CPU: &str = "cpu";
/// Requests under way in the whole fleet, those that wait included.
pub const IN_FLIGHT: &str = "in-flight";
/// Jobs that wait, in the whole fleet.
pub const QUEUE_DEPTH: &str = "queue-depth";

impl<'a> Sample<'a> {
    /// One figure for the fleet.
    #[must_use]
    pub const fn fleet(metric: &'a str, value: f64, at: EpochMillis) -> Self {
        Self { metric, value: Value::Fleet(value), at }
    }

    /// A figure an instance.
    #[must_use]
    pub const fn instances(metric: &'a str, usages: &'a [Usage], at: EpochMillis) -> Self {
        Self { metric, value: Value::Instances(usages), at }
    }

    /// A source that could not be asked at `at`.
    #[must_use]
    pub const fn unreachable(metric: &'a str, at: EpochMillis) -> Self {
        Self { metric, value: Value::Unreachable, at }
    }

    /// [`CPU`]: 0.7 is 70 %.
    #[must_use]
    pub const fn cpu(utilisation: f64, at: EpochMillis) -> Self {
        Self::fleet(CPU, utilisation, at)
    }

    /// [`IN_FLIGHT`].
    #[must_use]
    pub const fn in_flight(requests: f64, at: EpochMillis) -> Self {
        Self::fleet(IN_FLIGHT, requests, at)
    }

    /// [`QUEUE_DEPTH`].
    #[must_use]
    pub const fn queue_depth(jobs: f64, at: EpochMillis) -> Self {
        Self::fleet(QUEUE_DEPTH, jobs, at)
    }
}

/// All that a decision is made from, beside the state.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct Observation<'a> {
    /// The caller's clock. Where it goes back, no time has passed.
    pub now: EpochMillis,
    /// How many instances the platform was asked for, where it says so (`spec.replicas`).
    /// Otherwise they are counted.
    pub target: Option<u32>,
    /// The instances there are.
    pub instances: &'a [Instance],
    /// What the sources have said. Of two samples of one metric, the later counts.
    pub metrics: &'a [Sample<'a>],
}

impl<'a> Observation<'a> {
    /// Nothing but the time.
    #[must_use]
    pub const fn at(now: EpochMillis) -> Self {
        Self { now, target: None, instances: &[], metrics: &[] }
    }

    /// How many instances the platform was asked for.
    #[must_use]
    pub const fn target(mut self, instances: u32) -> Self {
        self.target = Some(instances);
        self
    }

    /// The instances there are.
    #[must_use]
    pub const fn instances(mut self, instances: &'a [Instance]) -> Self {
        self.instances = instances;
        self
    }

    /// What the sources have said.
    #[must_use]
    pub const fn metrics(mut self, metrics: &'a [Sample<'a>]) -> Self {
        self.metrics = metrics;
        self
    }
}
