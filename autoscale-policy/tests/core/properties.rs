//! What holds for every policy, every history and every fleet.

use autoscale_policy::{
    Action, Behavior, EpochMillis, Instance, InstanceId, Metric, Observation, Phase, Policy,
    Predictive, QueueDepth, Sample, Scaler, ScalingPolicy, Signal, StepScaling, Target,
    TargetTracking, Threshold,
};
use proptest::prelude::*;

use crate::scene::{ready, s, t};

/// One look at the world.
#[derive(Clone, Debug)]
struct Look {
    after: u64,
    ready: u64,
    warming: u64,
    failed: u64,
    value: f64,
    age: u64,
    /// What the platform makes of it: nothing, a failure, half, all.
    outcome: u8,
}

fn look() -> impl Strategy<Value = Look> {
    (0..400_u64, 0..22_u64, 0..4_u64, 0..3_u64, 0.0..3.0_f64, 0..90_u64, 0..4_u8).prop_map(
        |(after, ready, warming, failed, value, age, outcome)| Look {
            after,
            ready,
            warming,
            failed,
            value,
            age,
            outcome,
        },
    )
}

fn own() -> impl Strategy<Value = Policy> {
    prop_oneof![
        Just(Policy::from(Threshold::default())),
        Just(Policy::StepScaling(StepScaling::default())),
        (0..3_u32).prop_map(|min| Policy::QueueDepth(QueueDepth {
            metric: "cpu".into(),
            min,
            ..QueueDepth::per_instance(0.3)
        })),
        any::<bool>().prop_map(|trend| Policy::Predictive(Predictive {
            trend,
            signal: Signal { metric: "cpu".into(), per_instance: None },
            ..Predictive::default()
        })),
    ]
}

fn tracking() -> impl Strategy<Value = Policy> {
    prop_oneof![
        Just(Policy::from(TargetTracking {
            min: 2,
            max: 20,
            ..TargetTracking::new([Metric::cpu(70)])
        })),
        any::<bool>().prop_map(|behavior| Policy::from(TargetTracking {
            min: 2,
            max: 20,
            behavior: behavior.then(Behavior::default),
            ..TargetTracking::new([Metric::new("cpu", Target::AverageValue(0.1))])
        })),
    ]
}

fn any_policy() -> impl Strategy<Value = Policy> {
    prop_oneof![
        own(),
        tracking(),
        (own(), tracking()).prop_map(|(a, b)| Policy::MaxOf { of: vec![a, b] })
    ]
}

/// A slope is not of the demand of now.
fn without_trend(policy: Policy) -> Policy {
    match policy {
        Policy::Predictive(policy) => Predictive { trend: false, ..policy }.into(),
        Policy::MaxOf { of } => {
            Policy::MaxOf { of: of.into_iter().map(without_trend).collect() }
        }
        other => other,
    }
}

fn fleet(look: &Look, now: EpochMillis) -> Vec<Instance> {
    let mut fleet = ready(look.ready);
    let add = |fleet: &mut Vec<Instance>, from, count, phase| {
        fleet.extend((0..count).map(|n| Instance::new(InstanceId::new(from + n), phase, now)));
    };
    add(&mut fleet, 100, look.warming, Phase::Warming);
    add(&mut fleet, 200, look.failed, Phase::Failed);
    fleet
}

/// Replays a history; calls `each` with what was seen and decided.
fn replay(
    scaler: &mut Scaler<Policy>,
    looks: &[Look],
    mut each: impl FnMut(&Look, &autoscale_policy::Decision),
) {
    let mut now = t(0);
    for look in looks {
        now = now + s(look.after);
        let fleet = fleet(look, now);
        let metrics = [Sample::cpu(look.value, now - s(look.age))];
        let observation = Observation::at(now).instances(&fleet).metrics(&metrics);
        let decision = scaler.decide(&observation);
        each(look, &decision);
        if let Action::ScaleTo(n) = decision.action {
            match look.outcome {
                0 => {}
                1 => {
                    scaler.submitted(n);
                    scaler.failed();
                }
                2 => {
                    scaler.submitted(n);
                    scaler.applied(now, decision.current.midpoint(n));
                }
                _ => {
                    scaler.submitted(n);
                    scaler.applied(now, n);
                }
            }
        }
    }
}

/// What a caller could do that has lost its way.
#[derive(Clone, Debug)]
enum Deed {
    /// Looks, by a clock that is wherever it is.
    Look {
        clock: u64,
        look: Look,
        target: Option<u32>,
    },
    Submitted(u32),
    Applied(u64, u32),
    Failed,
    /// Ends, and begins with what was kept.
    Restart,
}

fn clock() -> impl Strategy<Value = u64> {
    prop_oneof![6 => 0..40_000_u64, 1 => Just(0), 1 => Just(u64::MAX), 1 => any::<u64>()]
}

fn count() -> impl Strategy<Value = u32> {
    prop_oneof![4 => 0..25_u32, 1 => Just(u32::MAX), 1 => any::<u32>()]
}

fn figure() -> impl Strategy<Value = f64> {
    prop_oneof![6 => 0.0..3.0_f64, 1 => Just(f64::NAN), 1 => Just(f64::INFINITY),
        1 => Just(-1.0), 1 => Just(f64::MAX)]
}

fn deed() -> impl Strategy<Value = Deed> {
    let target = prop_oneof![3 => Just(None), 1 => count().prop_map(Some)];
    let look = (clock(), look(), figure(), target).prop_map(|(clock, look, value, target)| {
        Deed::Look { clock, look: Look { value, ..look }, target }
    });
    prop_oneof![
        6 => look,
        1 => count().prop_map(Deed::Submitted),
        1 => (clock(), count()).prop_map(|(at, to)| Deed::Applied(at, to)),
        1 => Just(Deed::Failed),
        1 => Just(Deed::Restart),
    ]
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(400))]

    #[test]
    fn stays_within_its_limits(policy in any_policy(), looks in prop::collection::vec(look(), 1..40)) {
        let limits = policy.limits();
        let mut scaler = Scaler::new(policy).unwrap();
        replay(&mut scaler, &looks, |look, decision| {
            if let Action::ScaleTo(n) = decision.action {
                assert!((limits.min..=limits.max).contains(&n), "{look:?}: {decision}");
                assert_ne!(n, decision.current);
            }
        });
    }

    #[test]
    fn a_replay_decides_the_same(policy in any_policy(), looks in prop::collection::vec(look(), 1..40)) {
        let run = || {
            let mut scaler = Scaler::new(policy.clone()).unwrap();
            let mut decisions = Vec::new();
            replay(&mut scaler, &looks, |_, decision| decisions.push(decision.clone()));
            decisions
        };
        prop_assert_eq!(run(), run());
    }

    #[test]
    fn a_state_that_was_written_down_decides_the_same(
        policy in any_policy(),
        looks in prop::collection::vec(look(), 2..30),
        at in 1..29_usize,
    ) {
        let (before, after) = looks.split_at(at.min(looks.len() - 1));
        let mut one = Scaler::new(policy.clone()).unwrap();
        replay(&mut one, before, |_, _| {});
        let kept = serde_json::to_string(one.state()).unwrap();
        let mut other = Scaler::new(policy).unwrap().resumed(serde_json::from_str(&kept).unwrap());
        let (mut of_one, mut of_other) = (Vec::new(), Vec::new());
        replay(&mut one, after, |_, decision| of_one.push(decision.clone()));
        replay(&mut other, after, |_, decision| of_other.push(decision.clone()));
        prop_assert_eq!(of_one, of_other);
    }

    #[test]
    fn never_in_on_stale_samples(policy in any_policy(), looks in prop::collection::vec(look(), 1..40)) {
        let limits = policy.limits();
        let mut scaler = Scaler::new(policy).unwrap();
        replay(&mut scaler, &looks, |look, decision| {
            // Above the most, it comes down to that whatever the samples say.
            let too_many = decision.current > limits.max;
            if let Action::ScaleTo(n) = decision.action && look.age > 60 && !too_many {
                assert!(n > decision.current, "{look:?}: {decision}");
            }
        });
    }

    #[test]
    fn never_in_while_warming(policy in own(), looks in prop::collection::vec(look(), 1..40)) {
        let limits = policy.limits();
        let mut scaler = Scaler::new(policy).unwrap();
        replay(&mut scaler, &looks, |look, decision| {
            let too_many = decision.current > limits.max;
            if let Action::ScaleTo(n) = decision.action && look.warming > 0 && !too_many {
                assert!(n > decision.current, "{look:?}: {decision}");
            }
        });
    }

    #[test]
    fn more_demand_never_asks_for_fewer(
        policy in any_policy(),
        looks in prop::collection::vec(look(), 0..20),
        last in look(),
        more in 0.0..2.0_f64,
    ) {
        let policy = without_trend(policy);
        let mut scaler = Scaler::new(policy.clone()).unwrap();
        replay(&mut scaler, &looks, |_, _| {});
        let decided = |value: f64| {
            let mut scaler = Scaler::new(policy.clone()).unwrap().resumed(scaler.state().clone());
            let mut to = 0;
            let look = Look { value, age: 0, after: 900_000, ..last.clone() };
            replay(&mut scaler, &[look], |_, decision| {
                to = match decision.action {
                    Action::Hold => decision.current,
                    Action::ScaleTo(n) => n,
                };
            });
            to
        };
        prop_assert!(decided(last.value) <= decided(last.value + more));
    }

    #[test]
    fn whatever_is_done_in_whatever_order_it_stays_within_its_limits(
        policy in any_policy(),
        deeds in prop::collection::vec(deed(), 1..60),
    ) {
        let limits = policy.limits();
        let at = |clock: u64| if clock > 40_000 { EpochMillis::new(clock) } else { t(clock) };
        let mut scaler = Scaler::new(policy.clone()).unwrap();
        for deed in deeds {
            match deed {
                Deed::Look { clock, look, target } => {
                    let now = at(clock);
                    let fleet = fleet(&look, now);
                    let metrics = [Sample::cpu(look.value, now - s(look.age))];
                    let mut seen = Observation::at(now).instances(&fleet).metrics(&metrics);
                    seen.target = target;
                    let decision = scaler.decide(&seen);
                    let Action::ScaleTo(n) = decision.action else { continue };
                    prop_assert!((limits.min..=limits.max).contains(&n), "{decision}");
                    let unknown = look.age > 60 && now - s(look.age) < now;
                    let unknown = unknown || !look.value.is_finite() || look.value < 0.0;
                    if unknown && decision.current <= limits.max {
                        prop_assert!(n > decision.current, "{look:?} {decision}");
                    }
                }
                Deed::Submitted(to) => scaler.submitted(to),
                Deed::Applied(when, to) => scaler.applied(at(when), to),
                Deed::Failed => scaler.failed(),
                Deed::Restart => {
                    let kept = serde_json::to_string(scaler.state()).unwrap();
                    let state = serde_json::from_str(&kept).unwrap();
                    scaler = Scaler::new(policy.clone()).unwrap().resumed(state);
                }
            }
        }
    }
}
