//! An HPA without a `behavior`.

use std::time::Duration;

use super::{TargetTracking, TrackingState};
use crate::decision::{Bound, Step};
use crate::policy::View;

/// `--horizontal-pod-autoscaler-downscale-stabilization`, by default.
const WINDOW: Duration = Duration::from_secs(300);

/// The most of the window, then the limits, of which one is on how fast it grows.
pub(super) fn normalise(
    state: &mut TrackingState,
    settings: &TargetTracking,
    view: &View<'_>,
    wanted: u32,
    steps: &mut Vec<Step>,
) -> (u32, Option<Bound>) {
    let now = view.now;
    state.wanted.retain(|&(at, _)| at + WINDOW >= now);
    let before = state.wanted.iter().map(|&(_, n)| n).max();
    state.wanted.push((now, wanted));
    let held = cfg!(not(broken = "no_stabilisation"));
    let stable = before.filter(|_| held).map_or(wanted, |before| before.max(wanted));
    let mut bound_by = None;
    let mut bind = |by, from: u32, to: u32| {
        if from != to {
            steps.push(Step::Bound { by, from, to, left: None });
            bound_by = Some(by);
        }
        to
    };
    let stable = bind(Bound::HoldDown, wanted, stable);
    let rate = view.current.saturating_mul(2).max(4);
    let allowed = if stable < settings.min {
        bind(Bound::Min, stable, settings.min)
    } else if rate < settings.max {
        bind(Bound::Rate, stable, stable.min(rate))
    } else {
        bind(Bound::Max, stable, stable.min(settings.max))
    };
    (allowed, bound_by)
}
