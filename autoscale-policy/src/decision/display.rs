use std::fmt;
use std::time::Duration;

use super::{Action, Bound, Decision, Ignored, Step};

impl fmt::Display for Decision {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { current, wanted, .. } = self;
        let to = match self.action {
            Action::Hold => {
                write!(f, "HOLD {current}")?;
                *current
            }
            Action::ScaleTo(n) => {
                let way = if n > *current { "OUT" } else { "IN" };
                write!(f, "{way} {current} -> {n}")?;
                n
            }
        };
        if *wanted != to {
            write!(f, " (wanted {wanted})")?;
        }
        if let Some(bound) = self.bound_by {
            write!(f, "   bound by: {bound}")?;
        }
        for step in &self.steps {
            write!(f, "\n  {step}")?;
        }
        Ok(())
    }
}

impl fmt::Display for Bound {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Min => "min",
            Self::Max => "max",
            Self::Failed => "failed instances, which count against max",
            Self::UpCooldown => "up-cooldown",
            Self::DownCooldown => "down-cooldown",
            Self::HoldDown => "hold-down",
            Self::Warming => "warming instances",
            Self::UnderWay => "a change that is under way",
            Self::Missing => "samples that are missing",
            Self::WouldBreach => "the up threshold, which fewer instances would breach",
            Self::DeadBand => "the dead band",
            Self::Rate => "the rate",
            Self::OnlyOut => "only-out",
            Self::Disabled => "scaling that is off at zero instances",
        })
    }
}

impl fmt::Display for Ignored {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Missing => f.write_str("no sample"),
            Self::Unreachable => f.write_str("the source could not be asked"),
            Self::Stale { age, max_age } => {
                write!(f, "last sample {} old, over max-age {}", Span(*age), Span(*max_age))
            }
            Self::Future { by } => write!(f, "the sample is from {} ahead", Span(*by)),
            Self::NotFinite => f.write_str("the sample is not a number"),
            Self::Negative => f.write_str("the sample is below zero"),
            Self::NoInstance => f.write_str("no ready instance has a sample"),
        }
    }
}

impl fmt::Display for Step {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Metric { metric, value, target, ready, warming, wanted } => {
                write!(f, "{} {value:.2} of {target:.2}, {ready} ready", metric.as_str())?;
                if *warming > 0 {
                    write!(f, ", {warming} warming (left out)")?;
                }
                write!(f, " -> {wanted}")
            }
            Self::Tolerated { metric, ratio } => {
                write!(f, "{}: {ratio:.2} of its target, within the tolerance", metric.as_str())
            }
            Self::Unsure { metric, missing, unready } => write!(
                f,
                "{}: {missing} without a sample and {unready} not ready could turn it round -> no change",
                metric.as_str()
            ),
            Self::Ignored { metric, why } => {
                write!(f, "{}: {why} -> ignored; scaling in is blocked", metric.as_str())
            }
            Self::Missing { failures, wanted } => {
                write!(f, "no sample that counts, {failures} times in a row -> {wanted}")
            }
            Self::Forecast { demand, growth, margin, ahead, panic, wanted } => {
                write!(
                    f,
                    "demand {demand:.2} instances, +{growth:.2} in {}, margin {margin:.2}{} -> {wanted}",
                    Span(*ahead),
                    if *panic { ", panic" } else { "" }
                )
            }
            Self::Scheduled { window, wanted } => {
                write!(f, "window {window} of the schedule -> {wanted}")
            }
            Self::Bound { by, from, to, left } => {
                write!(f, "{from} -> {to} by {by}")?;
                left.map_or(Ok(()), |left| write!(f, ", {} left", Span(left)))
            }
            Self::ClockWentBack { by } => {
                write!(f, "the clock went back {}: no time has passed", Span(*by))
            }
            Self::StartedAnew { by } => {
                write!(
                    f,
                    "the clock stayed {} back: what was remembered is forgotten",
                    Span(*by)
                )
            }
            Self::GaveUp { asked } => {
                write!(f, "{asked} instances were asked for in vain: forgotten")
            }
        }
    }
}

/// As people write it: `47s`, `3m`, `2m 30s`.
struct Span(Duration);

impl fmt::Display for Span {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (seconds, millis) = (self.0.as_secs(), self.0.subsec_millis());
        match (seconds / 3600, seconds / 60 % 60, seconds % 60) {
            (0, 0, _) if millis > 0 && seconds < 10 => {
                write!(f, "{}.{}s", seconds, millis / 100)
            }
            (0, 0, s) => write!(f, "{s}s"),
            (0, m, 0) => write!(f, "{m}m"),
            (0, m, s) => write!(f, "{m}m {s}s"),
            (h, 0, 0) => write!(f, "{h}h"),
            (h, m, _) => write!(f, "{h}h {m}m"),
        }
    }
}
