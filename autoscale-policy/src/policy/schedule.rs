use std::fmt;
use std::str::FromStr;
use std::time::Duration;

use croner::Cron;
use jiff::tz::TimeZone;
use jiff::{Timestamp, Zoned};

use super::rails::{Rails, RailsState};
use super::{Limits, Proposal, ScalingPolicy, Taken, View};
use crate::decision::Step;
use crate::error::Refusal;
use crate::time::EpochMillis;

/// So many instances whenever a cron expression fires, for so long.
#[derive(Clone, Debug, PartialEq, Eq)]
#[cfg_attr(feature = "serde", derive(serde::Serialize, serde::Deserialize))]
#[cfg_attr(feature = "serde", serde(rename_all = "kebab-case", deny_unknown_fields))]
pub struct Window {
    /// When it begins: five fields, minute to day of week.
    pub cron: String,
    /// In which time zone, by its IANA name: `"Europe/Amsterdam"`. `"UTC"` by default.
    #[cfg_attr(feature = "serde", serde(default = "utc"))]
    pub time_zone: String,
    /// How long it lasts.
    #[cfg_attr(feature = "serde", serde(with = "crate::config::span"))]
    pub lasts: Duration,
    /// How many instances.
    pub instances: u32,
}

#[cfg(feature = "serde")]
fn utc() -> String {
    "UTC".to_owned()
}

impl Window {
    /// A window in UTC.
    #[must_use]
    pub fn new(cron: &str, lasts: Duration, instances: u32) -> Self {
        let (cron, time_zone) = (cron.to_owned(), "UTC".to_owned());
        Self { cron, time_zone, lasts, instances }
    }

    /// In another time zone, by its IANA name.
    #[must_use]
    pub fn in_time_zone(mut self, name: &str) -> Self {
        name.clone_into(&mut self.time_zone);
        self
    }

    fn parse(&self) -> Result<Parsed, Refusal> {
        let cron = Cron::from_str(&self.cron).map_err(|error| {
            Refusal::new("schedule.windows.cron", &self.cron, error.to_string())
        })?;
        let zone = TimeZone::get(&self.time_zone).map_err(|error| {
            Refusal::new("schedule.windows.time-zone", &self.time_zone, error.to_string())
        })?;
        if self.lasts.is_zero() {
            let reason = "would be over when it begins";
            return Err(Refusal::new("schedule.windows.lasts", self.lasts, reason));
        }
        Ok(Parsed { cron, zone })
    }
}

#[derive(Clone)]
struct Parsed {
    cron: Cron,
    zone: TimeZone,
}

/// As many instances as the windows say that are open; the most of them, else the least.
///
/// Usually the floor of another policy: see [`FloorOf`](crate::FloorOf). Where clocks go
/// forward, a window whose beginning is skipped begins when they have; where they go
/// back, a window begins once.
#[derive(Clone)]
#[cfg_attr(feature = "serde", derive(serde::Serialize, serde::Deserialize))]
#[cfg_attr(feature = "serde", serde(try_from = "Settings", into = "Settings"))]
pub struct Schedule {
    settings: Settings,
    parsed: Vec<Parsed>,
}

#[derive(Clone, Debug, PartialEq)]
#[cfg_attr(feature = "serde", derive(serde::Serialize, serde::Deserialize))]
#[cfg_attr(feature = "serde", serde(rename_all = "kebab-case", deny_unknown_fields))]
struct Settings {
    windows: Vec<Window>,
    min: u32,
    max: u32,
}

impl TryFrom<Settings> for Schedule {
    type Error = Refusal;

    fn try_from(settings: Settings) -> Result<Self, Refusal> {
        let parsed = settings.windows.iter().map(Window::parse).collect::<Result<_, _>>()?;
        Ok(Self { settings, parsed })
    }
}

impl From<Schedule> for Settings {
    fn from(schedule: Schedule) -> Self {
        schedule.settings
    }
}

impl fmt::Debug for Schedule {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.settings.fmt(f)
    }
}

impl PartialEq for Schedule {
    fn eq(&self, other: &Self) -> bool {
        self.settings == other.settings
    }
}

/// Whether a window is open, and from when until when that is known.
#[derive(Clone, Copy, Debug)]
struct Known {
    from: EpochMillis,
    until: EpochMillis,
    open: bool,
}

/// What it remembers.
#[derive(Clone, Debug, Default)]
#[cfg_attr(feature = "serde", derive(serde::Serialize, serde::Deserialize))]
#[cfg_attr(feature = "serde", serde(default, rename_all = "kebab-case"))]
pub struct ScheduleState {
    /// Which windows are open, worked out for these ones. Not kept over a restart: then
    /// there may be others.
    #[cfg_attr(feature = "serde", serde(skip))]
    known: Vec<Known>,
    #[cfg_attr(feature = "serde", serde(skip))]
    windows: Vec<Window>,
    rails: RailsState,
}

impl PartialEq for ScheduleState {
    fn eq(&self, other: &Self) -> bool {
        // The rest follows from the schedule and the time.
        self.rails == other.rails
    }
}

impl Schedule {
    /// These windows, between `min` and `max` instances.
    ///
    /// # Errors
    ///
    /// A window whose cron expression or time zone is none, or that lasts no time.
    pub fn new(
        windows: impl IntoIterator<Item = Window>,
        min: u32,
        max: u32,
    ) -> Result<Self, Refusal> {
        Settings { windows: windows.into_iter().collect(), min, max }.try_into()
    }

    fn known(&self, at: usize, now: EpochMillis) -> Known {
        let (window, parsed) = (&self.settings.windows[at], &self.parsed[at]);
        // The time beyond which a calendar ends is nobody's.
        let forever = Known { from: now, until: now + Duration::from_secs(60), open: false };
        let Ok(stamp) =
            Timestamp::from_millisecond(i64::try_from(now.as_millis()).unwrap_or(i64::MAX))
        else {
            return forever;
        };
        let zoned = stamp.to_zoned(parsed.zone.clone());
        let millis = |at: Zoned| {
            EpochMillis::new(u64::try_from(at.timestamp().as_millisecond()).unwrap_or(0))
        };
        let last = parsed.cron.find_previous_occurrence(&zoned, true).ok().map(millis);
        if let Some(from) = last
            && now < from + window.lasts
        {
            return Known { from, until: from + window.lasts, open: true };
        }
        match parsed.cron.find_next_occurrence(&zoned, false) {
            Ok(next) => Known { from: now, until: millis(next), open: false },
            Err(_) => forever,
        }
    }
}

impl ScalingPolicy for Schedule {
    type State = ScheduleState;

    fn limits(&self) -> Limits {
        Limits { min: self.settings.min, max: self.settings.max, warm_up: None }
    }

    fn check(&self) -> Result<(), Refusal> {
        let limits = self.limits();
        limits.check("schedule")?;
        if self.settings.windows.is_empty() {
            let reason = "a schedule without a window says nothing";
            return Err(Refusal::new("schedule.windows", &self.settings.windows, reason));
        }
        for window in &self.settings.windows {
            if !(limits.min..=limits.max).contains(&window.instances) {
                let reason =
                    format!("is outside of {} to {}, min and max", limits.min, limits.max);
                return Err(Refusal::new(
                    "schedule.windows.instances",
                    window.instances,
                    reason,
                ));
            }
        }
        Ok(())
    }

    fn decide(
        &self,
        state: &mut ScheduleState,
        view: &View<'_>,
        steps: &mut Vec<Step>,
    ) -> Proposal {
        if state.windows != self.settings.windows {
            state.windows.clone_from(&self.settings.windows);
            state.known = (0..self.parsed.len()).map(|at| self.known(at, view.now)).collect();
        }
        let mut wanted = self.settings.min;
        let mut until = view.now + Duration::from_secs(3600);
        for (at, known) in state.known.iter_mut().enumerate() {
            if !(known.from..known.until).contains(&view.now) {
                *known = self.known(at, view.now);
            }
            until = until.min(known.until);
            if known.open {
                let n = self.settings.windows[at].instances;
                let window = u32::try_from(at).unwrap_or(u32::MAX);
                steps.push(Step::Scheduled { window, wanted: n });
                wanted = wanted.max(n);
            }
        }
        let rails = Rails::plain(self.limits(), until.since(view.now));
        rails.settle(&mut state.rails, view, wanted, true, steps)
    }

    fn applied(&self, state: &mut ScheduleState, taken: Taken) {
        state.rails.applied(taken);
    }
}
