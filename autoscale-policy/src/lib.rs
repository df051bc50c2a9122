//! How many instances should run: observations in, an explained decision out.
//!
//! ```
//! use autoscale_policy::{Action, EpochMillis, Instance, InstanceId, Observation, Phase, Sample};
//! use autoscale_policy::{Scaler, Threshold};
//!
//! # fn main() -> Result<(), Box<dyn std::error::Error>> {
//! let mut scaler = Scaler::new(Threshold::default())?; // 70 / 30 % CPU, 2 to 20 instances
//! let now = EpochMillis::new(1_790_000_000_000);
//! let fleet = [1, 2, 3].map(|n| Instance::new(InstanceId::new(n), Phase::Ready, EpochMillis::new(0)));
//! let metrics = [Sample::cpu(0.82, now)];
//!
//! let decision = scaler.decide(&Observation::at(now).instances(&fleet).metrics(&metrics));
//! println!("{decision}");
//! assert_eq!(decision.action, Action::ScaleTo(5));
//!
//! scaler.submitted(5); // then tell the platform, and then what came of it:
//! scaler.applied(now, 5);
//! # Ok(())
//! # }
//! ```
//!
//! The core is pure: no clock, no I/O, no runtime. The same state and the same
//! observation lead to the same decision, and every rule that had a part in it is a
//! [`Step`] of the [`Decision`].
//!
//! # Feature flags
//!
//! - `toml` (default): [`Policy::from_toml`]; brings `serde`.
//! - `schedule` (default): the [`Schedule`] policy, cron with time zones.
//! - `serde`: settings, state and decisions through serde.
//! - `layer`: `InFlightLayer`, which measures load where requests pass.
//! - `drain`: `DrainLayer`, `Lifecycle` and the readiness service.
//! - `cpu`: the CPU use of this process or its cgroup, on Linux.
//! - `metrics`: `DecisionMetrics`, decisions through the `metrics` facade.
//! - `controller`: `Controller`, the loop around a scaler.
//! - `processes`: `LocalProcesses`, a fleet on this machine.
//! - `exec`: `Exec`, a command that sets the count.
//! - `redis`: `RedisQueue`, the depth of a queue in Redis.
//! - `conformance`: tests for sources and actuators of one's own.
//! - `sim`: the simulator, and the command `autoscale-sim`.

#![forbid(unsafe_code)]

#[cfg(doctest)]
#[doc = include_str!("../README.md")]
struct Readme;

mod actuator;
mod config;
#[cfg(feature = "conformance")]
pub mod conformance;
#[cfg(feature = "controller")]
mod controller;
mod decision;
#[cfg(feature = "drain")]
mod drain;
mod error;
#[cfg(feature = "layer")]
mod in_flight;
#[cfg(feature = "metrics")]
mod metrics;
mod observation;
mod policy;
mod scaler;
#[cfg(feature = "sim")]
pub mod sim;
mod source;
mod time;

pub use crate::actuator::{Actuator, RecommendOnly, Resize, Roster, Seen};
#[cfg(feature = "exec")]
pub use crate::actuator::{Exec, ExecError};
#[cfg(feature = "processes")]
pub use crate::actuator::{LocalProcesses, ProcessChanges, ProcessError};
#[cfg(feature = "controller")]
pub use crate::controller::{Controller, Failure, Outcome, Report, SystemClock, WallClock};
pub use crate::decision::{Action, Bound, Decision, Ignored, MetricName, Step};
#[cfg(feature = "drain")]
pub use crate::drain::{
    DrainBody, DrainBodyError, DrainError, DrainFuture, DrainLayer, DrainService,
    DrainSettings, Drained, Held, Lifecycle, Readiness, ReadinessService,
};
pub use crate::error::{ConfigError, Refusal};
#[cfg(feature = "layer")]
pub use crate::in_flight::{
    InFlight, InFlightLayer, InFlightService, Measured, Meter, ResponseFuture, Ticket,
};
#[cfg(feature = "metrics")]
pub use crate::metrics::DecisionMetrics;
pub use crate::observation::{
    CPU, IN_FLIGHT, Instance, InstanceId, Observation, Phase, QUEUE_DEPTH, Sample, Usage, Value,
};
pub use crate::policy::any::{Policy, PolicyState};
pub use crate::policy::combine::{FloorOf, MaxOf, OnlyOut};
pub use crate::policy::predictive::{Predictive, PredictiveState, Signal};
pub use crate::policy::queue_depth::QueueDepth;
pub use crate::policy::rails::{Change, OnMissing, RailsState};
#[cfg(feature = "schedule")]
pub use crate::policy::schedule::{Schedule, ScheduleState, Window};
pub use crate::policy::step_scaling::{Stair, StepScaling};
pub use crate::policy::threshold::Threshold;
pub use crate::policy::tracking::{
    Behavior, Metric, Pace, Rules, Select, Target, TargetTracking, TrackingState,
};
pub use crate::policy::{Fleet, Limits, Proposal, ScalingPolicy, Taken, View};
pub use crate::scaler::{Asked, Scaler, ScalerState};
pub use crate::source::{BoxSource, Figure, Source};
#[cfg(feature = "cpu")]
pub use crate::source::{CgroupCpu, ProcessCpu, SourceError};
#[cfg(feature = "redis")]
pub use crate::source::{RedisQueue, RedisQueueError};
pub use crate::time::EpochMillis;
