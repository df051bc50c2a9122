//! The loop around a scaler.

mod clock;
mod report;

use std::convert::Infallible;
use std::num::NonZeroU64;
use std::sync::Arc;
use std::time::Duration;

use futures_util::future::join_all;
use tokio::time::{MissedTickBehavior, interval, timeout};

pub use self::clock::{SystemClock, WallClock};
pub use self::report::{Failure, Outcome, Report};
use crate::actuator::{Actuator, Resize, Roster, Seen};
use crate::decision::Action;
use crate::observation::{Observation, Sample, Value};
use crate::policy::ScalingPolicy;
use crate::scaler::Scaler;
use crate::source::{BoxSource, Figure, Source};
use crate::time::EpochMillis;

/// Looks at the fleet and its metrics, decides, and acts, again and again.
///
/// It spawns nothing: [`run`](Self::run) is the loop, which the caller owns and may drop;
/// [`tick`](Self::tick) is one turn of it. It only recommends until
/// [`act`](Self::act) is called. Run one, or elect one: who leads is the platform's
/// business.
///
/// Each source is asked on its own, so that one that is slow or gone hides no other;
/// it is unreachable in the observation, and the policy says what that means. If the
/// roster cannot be asked, nothing is decided.
#[derive(Debug)]
pub struct Controller<P: ScalingPolicy, R, A, C = SystemClock> {
    scaler: Scaler<P>,
    roster: R,
    actuator: A,
    clock: C,
    sources: Vec<BoxSource>,
    settings: Settings,
    /// A change was asked for, and its outcome was never heard.
    in_doubt: bool,
}

#[derive(Clone, Copy, Debug)]
struct Settings {
    every: Duration,
    read_timeout: Duration,
    set_timeout: Duration,
    acts: bool,
}

impl<P: ScalingPolicy, R: Roster, A: Actuator> Controller<P, R, A> {
    /// A controller without a source, which asks `roster` what there is, and would tell
    /// `actuator` what there should be.
    pub fn new(scaler: Scaler<P>, roster: R, actuator: A) -> Self {
        Self {
            scaler,
            roster,
            actuator,
            clock: SystemClock,
            sources: Vec::new(),
            settings: Settings {
                every: Duration::from_secs(15),
                read_timeout: Duration::from_secs(2),
                set_timeout: Duration::from_secs(30),
                acts: false,
            },
            in_doubt: false,
        }
    }
}

impl<P: ScalingPolicy, R: Roster, A: Actuator, C: WallClock> Controller<P, R, A, C> {
    /// Another clock.
    pub fn clock<D: WallClock>(self, clock: D) -> Controller<P, R, A, D> {
        let Self { scaler, roster, actuator, sources, settings, in_doubt, .. } = self;
        Controller { scaler, roster, actuator, clock, sources, settings, in_doubt }
    }

    /// One more metric.
    #[must_use]
    pub fn source(mut self, source: impl Source + Send + 'static) -> Self {
        self.sources.push(BoxSource::new(source));
        self
    }

    /// How often it looks, in milliseconds; 15 s, as Kubernetes does.
    #[must_use]
    pub fn every_millis(mut self, millis: NonZeroU64) -> Self {
        self.settings.every = Duration::from_millis(millis.get());
        self
    }

    /// How long a source, and the roster, may take; 2 s.
    #[must_use]
    pub fn read_timeout(mut self, timeout: Duration) -> Self {
        self.settings.read_timeout = timeout;
        self
    }

    /// How long the actuator may take; 30 s. After that the change has failed, as far as
    /// is known.
    #[must_use]
    pub fn set_timeout(mut self, timeout: Duration) -> Self {
        self.settings.set_timeout = timeout;
        self
    }

    /// Tells the actuator. Without this, decisions are only reported.
    #[must_use]
    pub fn act(mut self) -> Self {
        self.settings.acts = true;
        self
    }

    /// The scaler, for its state to be kept.
    pub fn scaler(&self) -> &Scaler<P> {
        &self.scaler
    }

    /// One turn after the other. A turn that takes longer than the time between them is
    /// followed by the next one a whole time later.
    ///
    /// # Cancel safety
    ///
    /// As [`tick`](Self::tick).
    pub async fn run(&mut self, mut report: impl FnMut(&Report)) -> Infallible {
        let mut turns = interval(self.settings.every);
        turns.set_missed_tick_behavior(MissedTickBehavior::Delay);
        loop {
            turns.tick().await;
            report(&self.tick().await);
        }
    }

    /// Looks, decides, and acts, once.
    ///
    /// # Cancel safety
    ///
    /// Dropped before it acts, nothing has happened. Dropped while it acts, nobody knows
    /// what the platform has taken; the next turn treats it as failed, and looks.
    pub async fn tick(&mut self) -> Report {
        if std::mem::take(&mut self.in_doubt) && !cfg!(broken = "never_in_doubt") {
            self.scaler.failed();
        }
        let limit = self.settings.read_timeout;
        let readings = join_all(self.sources.iter_mut().map(|source| read(source, limit)));
        let (seen, readings) = tokio::join!(roster(&self.roster, limit), readings);
        let now = self.clock.now();
        let failures = readings.iter().filter_map(Reading::failure).collect();
        let Seen { target, instances } = match seen {
            Ok(seen) => seen,
            Err(_) if cfg!(broken = "blind") => Seen::default(),
            Err(cause) => {
                let outcome = Outcome::Unobserved(cause);
                return Report { at: now, decision: None, outcome, failures };
            }
        };
        let samples: Vec<_> =
            readings.iter().filter_map(|reading| reading.sample(now)).collect();
        let mut observation = Observation::at(now).instances(&instances).metrics(&samples);
        observation.target = target;
        let decision = self.scaler.decide(&observation);
        let outcome = match decision.action {
            Action::Hold => Outcome::Held,
            Action::ScaleTo(to) if !self.settings.acts && !cfg!(broken = "dry_run_acts") => {
                Outcome::Recommended(to)
            }
            Action::ScaleTo(to) => {
                let from = decision.current;
                let fewer = from.saturating_sub(to) as usize;
                let removal = self.scaler.removal(&observation, fewer);
                self.set(Resize::new(from, to).removal(removal)).await
            }
        };
        Report { at: now, decision: Some(decision), outcome, failures }
    }

    async fn set(&mut self, resize: Resize) -> Outcome {
        self.in_doubt = true;
        self.scaler.submitted(resize.to);
        let taken = timeout(self.settings.set_timeout, self.actuator.set(&resize)).await;
        self.in_doubt = false;
        match taken {
            Ok(Ok(taken)) => {
                self.scaler.applied(self.clock.now(), taken);
                Outcome::Applied { asked: resize.to, taken }
            }
            Ok(Err(error)) => {
                self.scaler.failed();
                Outcome::Failed { asked: resize.to, cause: Failure::of(error) }
            }
            Err(_) => {
                self.scaler.failed();
                let cause = Failure::TimedOut(self.settings.set_timeout);
                Outcome::Failed { asked: resize.to, cause }
            }
        }
    }
}

async fn roster<R: Roster>(roster: &R, limit: Duration) -> Result<Seen, Failure> {
    match timeout(limit, roster.seen()).await {
        Ok(seen) => seen.map_err(Failure::of),
        Err(_) => Err(Failure::TimedOut(limit)),
    }
}

/// What became of asking one source.
struct Reading {
    metric: Arc<str>,
    figure: Result<Option<Figure>, Failure>,
}

async fn read(source: &mut BoxSource, limit: Duration) -> Reading {
    let metric = source.metric().into();
    let figure = match timeout(limit, source.read()).await {
        Ok(figure) => figure.map_err(Failure::Source),
        Err(_) => Err(Failure::TimedOut(limit)),
    };
    Reading { metric, figure }
}

impl Reading {
    fn failure(&self) -> Option<(Arc<str>, Failure)> {
        let failure = self.figure.as_ref().err()?;
        Some((Arc::clone(&self.metric), failure.clone()))
    }

    /// None where there is no figure yet.
    fn sample(&self, at: EpochMillis) -> Option<Sample<'_>> {
        let value = match &self.figure {
            Ok(figure) => figure.as_ref()?.value(),
            Err(_) if cfg!(broken = "silent_sources") => return None,
            Err(_) => Value::Unreachable,
        };
        Some(Sample { metric: &self.metric, value, at })
    }
}
