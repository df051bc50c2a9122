//! What each policy does when all is well.

use autoscale_policy::{
    Action, Bound, Change, Instance, Observation, Phase, Predictive, QueueDepth, Sample,
    Scaler, Stair, StepScaling, Threshold,
};

use crate::scene::{at_cpu, decide, mixed, one, ready, s, t};

#[test]
fn the_preset_has_the_usual_figures() {
    let preset = Threshold::default();
    assert_eq!((preset.min, preset.max), (2, 20));
    assert_eq!((preset.up, preset.down), (0.7, 0.3));
    assert_eq!((preset.up_cooldown, preset.down_cooldown), (s(180), s(600)));
    assert_eq!(preset.warm_up, s(120));
    assert!(Scaler::new(preset).unwrap().warnings().is_empty());
}

#[test]
fn threshold_goes_out_fast_and_in_with_care() {
    let mut scaler = Scaler::new(Threshold::default()).unwrap();
    assert_eq!(at_cpu(&mut scaler, t(0), &ready(4), 0.71).action, Action::ScaleTo(6));
    // At the thresholds themselves, and between them, it holds.
    let mut scaler = Scaler::new(Threshold::default()).unwrap();
    for cpu in [0.7, 0.5, 0.3] {
        assert_eq!(at_cpu(&mut scaler, t(0), &ready(4), cpu).action, Action::Hold);
    }
    assert_eq!(at_cpu(&mut scaler, t(0), &ready(4), 0.29).action, Action::ScaleTo(3));
}

#[test]
fn cooldowns_run_from_the_last_success() {
    let mut scaler = Scaler::new(Threshold::default()).unwrap();
    at_cpu(&mut scaler, t(0), &ready(4), 0.9);
    let held = at_cpu(&mut scaler, t(179), &ready(6), 0.9);
    assert_eq!((held.action, held.bound_by), (Action::Hold, Some(Bound::UpCooldown)));
    assert_eq!((held.wanted, held.valid_until), (8, t(180)));
    assert_eq!(at_cpu(&mut scaler, t(180), &ready(6), 0.9).action, Action::ScaleTo(8));
    // In: ten minutes after any change.
    let held = at_cpu(&mut scaler, t(779), &ready(8), 0.1);
    assert_eq!((held.action, held.bound_by), (Action::Hold, Some(Bound::DownCooldown)));
    assert_eq!(at_cpu(&mut scaler, t(780), &ready(8), 0.1).action, Action::ScaleTo(7));
    let held = at_cpu(&mut scaler, t(1379), &ready(7), 0.1);
    assert_eq!(held.action, Action::Hold);
    // Out is not held back by a change inwards.
    assert_eq!(at_cpu(&mut scaler, t(1379), &ready(7), 0.9).action, Action::ScaleTo(9));
}

#[test]
fn a_cooldown_is_the_same_at_every_count() {
    for count in [0, 1, 2, 7, 19] {
        let policy = Threshold { min: 0, ..Threshold::default() };
        let policy = Threshold { metric: "jobs".into(), per_instance: Some(10.0), ..policy };
        let mut scaler = Scaler::new(policy).unwrap();
        let busy = |at| [Sample::fleet("jobs", 500.0, at)];
        let first = decide(&mut scaler, t(0), &ready(count), &busy(t(0)));
        let Action::ScaleTo(n) = first.action else { panic!("{first}") };
        scaler.submitted(n);
        scaler.applied(t(0), n);
        let held = decide(&mut scaler, t(100), &ready(n.into()), &busy(t(100)));
        assert_eq!(held.action, Action::Hold, "{held}");
    }
}

#[test]
fn no_scaling_in_that_would_have_to_be_undone() {
    // 3 at 0.4 are 2 at 0.6, and 2 at 0.8: above 0.7.
    let policy = Threshold { down: 0.45, ..Threshold::default() };
    let mut scaler = Scaler::new(policy).unwrap();
    assert_eq!(at_cpu(&mut scaler, t(0), &ready(3), 0.4).action, Action::ScaleTo(2));
    let percent = Threshold { step_down: Change::Percent(50.0), ..Threshold::default() };
    let mut scaler = Scaler::new(Threshold { down: 0.45, ..percent }).unwrap();
    // Half of 8 would be at 0.88: 5 are at 0.7.
    let decision = at_cpu(&mut scaler, t(0), &ready(8), 0.4375);
    assert_eq!(decision.action, Action::ScaleTo(5), "{decision}");
    assert_eq!((decision.bound_by, decision.wanted), (Some(Bound::WouldBreach), 4));
}

#[test]
fn the_limits_hold_whatever_the_cooldown() {
    let mut scaler = Scaler::new(Threshold::default()).unwrap();
    at_cpu(&mut scaler, t(0), &ready(4), 0.9);
    let below = at_cpu(&mut scaler, t(1), &ready(1), 0.5);
    // Six were asked for, and count until they are seen or given up.
    assert_eq!(below.action, Action::Hold);
    let mut scaler = Scaler::new(Threshold::default()).unwrap();
    let below = at_cpu(&mut scaler, t(1), &ready(1), 0.5);
    assert_eq!((below.action, below.bound_by), (Action::ScaleTo(2), Some(Bound::Min)));
    let mut scaler = Scaler::new(Threshold::default()).unwrap();
    let above = at_cpu(&mut scaler, t(1), &mixed(22, 1, t(0)), 0.9);
    assert_eq!((above.action, above.bound_by), (Action::ScaleTo(20), Some(Bound::Max)));
}

#[test]
fn warming_instances_are_capacity_and_not_measured() {
    let mut scaler = Scaler::new(Threshold::default()).unwrap();
    let fleet = mixed(6, 2, t(0));
    let out = decide(&mut scaler, t(10), &fleet, &[Sample::cpu(0.9, t(10))]);
    assert_eq!((out.current, out.action), (8, Action::ScaleTo(10)));
    let held = decide(&mut scaler, t(10), &fleet, &[Sample::cpu(0.1, t(10))]);
    assert_eq!((held.action, held.bound_by), (Action::Hold, Some(Bound::Warming)));
    // Their CPU, high while they boot, is left out where instances are measured.
    let usages: Vec<_> = fleet
        .iter()
        .map(|instance| {
            let use_of = if instance.phase == Phase::Ready { 0.5 } else { 8.0 };
            autoscale_policy::Usage::new(instance.id, use_of, t(10))
        })
        .collect();
    let calm = decide(&mut scaler, t(10), &fleet, &[Sample::instances("cpu", &usages, t(10))]);
    assert_eq!((calm.action, calm.bound_by), (Action::Hold, None), "{calm}");
}

#[test]
fn stairs_take_larger_steps_further_off() {
    let policy = StepScaling {
        out: vec![
            Stair { at: 0.7, by: Change::Instances(1) },
            Stair { at: 0.9, by: Change::Percent(50.0) },
        ],
        ..StepScaling::default()
    };
    let go = |cpu| {
        let mut scaler = Scaler::new(policy.clone()).unwrap();
        at_cpu(&mut scaler, t(0), &ready(5), cpu).action
    };
    assert_eq!(go(0.69), Action::Hold);
    assert_eq!(go(0.7), Action::ScaleTo(6));
    assert_eq!(go(0.9), Action::ScaleTo(8));
    assert_eq!(go(0.31), Action::Hold);
    assert_eq!(go(0.3), Action::ScaleTo(4));
}

#[test]
fn stairs_in_do_not_lead_to_where_they_lead_out_again() {
    let half = Stair { at: 0.45, by: Change::Percent(50.0) };
    let policy = StepScaling { r#in: vec![half], ..StepScaling::default() };
    let mut scaler = Scaler::new(policy).unwrap();
    // Half of 8 would be at 0.875. 3.5 instances' worth on 5 are at 0.7, which is where the
    // first stair out begins: 6.
    let decision = at_cpu(&mut scaler, t(0), &ready(8), 0.4375);
    assert_eq!(decision.action, Action::ScaleTo(6), "{decision}");
    assert_eq!((decision.bound_by, decision.wanted), (Some(Bound::WouldBreach), 4));
}

#[test]
fn a_backlog_asks_for_workers_from_zero_on() {
    let policy = QueueDepth { activation: 5.0, ..QueueDepth::per_instance(10.0) };
    let mut scaler = Scaler::new(policy).unwrap();
    let mut go = |at, count, jobs| {
        let at = t(at);
        decide(&mut scaler, at, &ready(count), &[Sample::queue_depth(jobs, at)]).action
    };
    assert_eq!(go(0, 0, 0.0), Action::Hold);
    assert_eq!(go(15, 0, 5.0), Action::Hold);
    assert_eq!(go(30, 0, 6.0), Action::ScaleTo(1));
    assert_eq!(go(45, 1, 101.0), Action::ScaleTo(11));
    assert_eq!(go(60, 11, 1e9), Action::ScaleTo(20));
    // In: to the most of the last five minutes.
    assert_eq!(go(75, 20, 0.0), Action::Hold);
    assert_eq!(go(359, 20, 0.0), Action::Hold);
    assert_eq!(go(360, 20, 0.0), Action::ScaleTo(0));
    // 4 jobs a second in 60 s.
    let mut scaler = Scaler::new(QueueDepth::drained_within(4.0, s(60))).unwrap();
    let decision = decide(&mut scaler, t(0), &ready(1), &[Sample::queue_depth(481.0, t(0))]);
    assert_eq!(decision.action, Action::ScaleTo(3));
}

#[test]
fn predictive_follows_demand_with_a_margin_that_it_has_learned() {
    let mut scaler = Scaler::new(Predictive::in_flight(10.0)).unwrap();
    let mut last = None;
    // A load that stands still: the margin shrinks to nothing.
    for tick in 0..4_000 {
        let at = t(tick * 15);
        let decision = decide(&mut scaler, at, &ready(6), &[Sample::in_flight(38.0, at)]);
        last = Some(decision);
    }
    let last = last.unwrap();
    // 3.8 instances' worth at 0.8 are 4.75, a fifth less than the 6 that are there, and 5
    // minutes are over.
    assert_eq!((last.wanted, last.action), (5, Action::ScaleTo(5)), "{last}");
    // A step is answered at once.
    let at = t(4_000 * 15);
    let out = decide(&mut scaler, at, &ready(6), &[Sample::in_flight(100.0, at)]);
    assert!(matches!(out.action, Action::ScaleTo(13..=20)), "{out}");
}

#[test]
fn predictive_is_ahead_of_a_ramp() {
    let go = |trend| {
        let mut scaler =
            Scaler::new(Predictive { trend, confidence: 0.0, ..Predictive::in_flight(10.0) })
                .unwrap();
        let mut wanted = 0;
        for tick in 0..40 {
            let at = t(tick * 15);
            let load = 40.0 + 2.0 * tick as f64;
            wanted = decide(&mut scaler, at, &ready(14), &[Sample::in_flight(load, at)]).wanted;
        }
        wanted
    };
    // It is at 118, and grows by 18 in the 135 s that lie ahead. At 0.8, 118 are 14.75
    // instances, which is within the dead band of the 14 that there are.
    assert_eq!((go(false), go(true)), (14, 17));
}

#[test]
fn removal_takes_the_failed_then_the_warming_then_the_idle() {
    let scaler = Scaler::new(Threshold::default()).unwrap();
    let fleet: Vec<Instance> = vec![
        one(1, Phase::Ready, t(0)).in_flight(5),
        one(2, Phase::Ready, t(0)).in_flight(1),
        one(3, Phase::Warming, t(900)),
        one(4, Phase::Warming, t(950)),
        one(5, Phase::Warming, t(100)),
        one(6, Phase::Failed, t(0)),
        one(7, Phase::Draining, t(0)),
    ];
    let order = scaler.removal(&Observation::at(t(1000)).instances(&fleet), 9);
    let order: Vec<u64> = order
        .iter()
        .map(|id| (1..9).find(|n| autoscale_policy::InstanceId::new(*n) == *id).unwrap())
        .collect();
    assert_eq!(order, [5, 6, 4, 3, 2, 1]);
}
