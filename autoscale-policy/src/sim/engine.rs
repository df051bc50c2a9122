use std::time::Duration;

use super::Load;
use super::score::{Score, Tally};
use crate::decision::Action;
use crate::error::{ConfigError, Refusal};
use crate::observation::{Instance, InstanceId, Observation, Phase, Sample};
use crate::policy::ScalingPolicy;
use crate::scaler::Scaler;
use crate::time::EpochMillis;

/// Requests are given up after waiting for so long.
const GIVE_UP: f64 = 30.0;

/// What a load meets.
#[derive(Clone, Debug, PartialEq)]
pub struct World {
    /// How often it is decided; 15 s.
    pub tick: Duration,
    /// How long an instance takes until it is ready; 2 min.
    pub warm_up: Duration,
    /// How many instances at full use the load's peak is; 14.
    pub peak_instances: f64,
    /// The peak, in requests a second; the load's own where it is not given.
    pub peak: Option<f64>,
    /// How many requests at a time are an instance's full use; 8.
    pub slots: f64,
    /// The fewest instances that could be run; 2. For the least cost.
    pub min: u32,
    /// The most; 20.
    pub max: u32,
}

impl Default for World {
    fn default() -> Self {
        Self {
            tick: Duration::from_secs(15),
            warm_up: Duration::from_secs(120),
            peak_instances: 14.0,
            peak: None,
            slots: 8.0,
            min: 2,
            max: 20,
        }
    }
}

/// What came of it.
#[derive(Clone, Debug)]
pub struct Run {
    /// How good it was.
    pub score: Score,
    /// What was, tick by tick.
    pub ticks: Vec<Tick>,
}

/// A moment of a run.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Tick {
    /// In instances at full use.
    pub demand: f64,
    /// Ready instances.
    pub ready: u32,
    /// Instances that are paid for.
    pub billed: u32,
    /// Whether requests were slow.
    pub violated: bool,
}

impl World {
    fn check(&self) -> Result<(), Refusal> {
        if self.tick < Duration::from_secs(1) {
            return Err(Refusal::new("world.tick", self.tick, "at least 1s"));
        }
        if self.min > self.max || self.max == 0 {
            let reason = format!("is above world.max ({}), or nothing could run", self.max);
            return Err(Refusal::new("world.min", self.min, reason));
        }
        let figures = [
            ("world.peak-instances", self.peak_instances),
            ("world.slots", self.slots),
            ("world.peak", self.peak.unwrap_or(1.0)),
        ];
        for (path, figure) in figures {
            if !(figure.is_finite() && figure > 0.0) {
                return Err(Refusal::new(path, figure, "must be a number above zero"));
            }
        }
        Ok(())
    }

    /// Replays the load under the policy.
    ///
    /// # Errors
    ///
    /// Settings that the policy refuses, or that make no world.
    pub fn run<P: ScalingPolicy + Clone>(
        &self,
        load: &Load,
        policy: &P,
    ) -> Result<Run, ConfigError> {
        self.check()?;
        load.check()?;
        let mut scaler = Scaler::new(policy.clone())?;
        let ticks = (load.length().as_millis() / self.tick.as_millis()) as usize;
        let dt = self.tick.as_secs_f64();
        let rate = (self.peak.unwrap_or_else(|| load.peak()) / self.peak_instances).max(1e-9);
        let (mut fleet, mut queue) = (Vec::new(), 0.0);
        let mut next_id = 0;
        let start = EpochMillis::new(1_790_000_000_000);
        let first = (load.at(Duration::ZERO) / rate / 0.7).ceil() as u32;
        for _ in 0..first.clamp(self.min, self.max) {
            next_id += 1;
            fleet.push(Instance::new(InstanceId::new(next_id), Phase::Ready, start));
        }
        let mut tally = Tally::new(ticks);
        for tick in 0..ticks {
            let span = self.tick.saturating_mul(tick as u32);
            let now = start + span + self.tick;
            let mut ready = 0_u32;
            for instance in &mut fleet {
                if instance.phase == Phase::Warming
                    && now.since(instance.changed) > self.warm_up
                {
                    instance.phase = Phase::Ready;
                    instance.changed = now;
                }
                ready += u32::from(instance.phase == Phase::Ready);
            }
            let arrivals = load.at(span) * dt;
            let capacity = f64::from(ready) * rate * dt;
            let served = (queue + arrivals).min(capacity);
            queue = queue + arrivals - served;
            let given_up = (queue - GIVE_UP * f64::from(ready) * rate).max(0.0);
            queue -= given_up;
            let use_of = if capacity > 0.0 { served / capacity } else { 1.0 };
            let delay = if ready > 0 { queue / (f64::from(ready) * rate) } else { GIVE_UP };
            let demand = arrivals / dt / rate;
            let least = (demand / 0.9).ceil().clamp(self.min.into(), self.max.into());
            let violated = arrivals > 0.0 && (use_of > 0.9 || delay > 0.5);
            let billed = fleet.len() as u32;
            tally.add(Tick { demand, ready, billed, violated }, arrivals, least);
            // Busy slots, and those that wait.
            let in_flight = served / dt / rate * self.slots + queue;
            let metrics = [Sample::cpu(use_of, now), Sample::in_flight(in_flight, now)];
            let observation = Observation::at(now).instances(&fleet).metrics(&metrics);
            let decision = scaler.decide(&observation);
            if let Action::ScaleTo(to) = decision.action {
                tally.actions += 1;
                scaler.submitted(to);
                scaler.applied(now, to);
                let surplus = fleet.len().saturating_sub(to as usize);
                if surplus > 0 {
                    let gone = scaler.removal(&Observation::at(now).instances(&fleet), surplus);
                    fleet.retain(|instance| !gone.contains(&instance.id));
                }
                while fleet.len() < to as usize {
                    next_id += 1;
                    fleet.push(Instance::new(InstanceId::new(next_id), Phase::Warming, now));
                }
            }
        }
        Ok(tally.finish())
    }
}
