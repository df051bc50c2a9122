//! Metrics that lie, clocks that jump, actuators that fail, instances that never come.

use autoscale_policy::{
    Action, Bound, Metric, Observation, OnMissing, Phase, Policy, Predictive, QueueDepth,
    Sample, Scaler, ScalingPolicy, Step, StepScaling, Target, TargetTracking, Threshold, Usage,
};

use crate::scene::{at_cpu, decide, mixed, one, ready, s, t};

pub(crate) fn policies() -> Vec<Policy> {
    vec![
        Threshold::default().into(),
        Policy::StepScaling(StepScaling::default()),
        Policy::QueueDepth(QueueDepth { metric: "cpu".into(), ..QueueDepth::default() }),
        TargetTracking::new([Metric::cpu(70)]).into(),
        Predictive {
            signal: autoscale_policy::Signal { metric: "cpu".into(), per_instance: None },
            ..Predictive::default()
        }
        .into(),
    ]
}

#[test]
fn samples_that_are_no_samples_change_nothing() {
    let now = t(600);
    let gone = [Usage::new(autoscale_policy::InstanceId::new(99), 0.0, now)];
    let nan = [Usage::new(autoscale_policy::InstanceId::new(1), f64::NAN, now)];
    let cases: [(&str, Vec<Sample<'_>>); 10] = [
        ("missing", vec![]),
        ("of another metric", vec![Sample::fleet("memory", 0.01, now)]),
        ("unreachable", vec![Sample::unreachable("cpu", now)]),
        ("stale", vec![Sample::cpu(0.01, now - s(61))]),
        ("from the future", vec![Sample::cpu(0.01, now + s(6))]),
        ("not a number", vec![Sample::cpu(f64::NAN, now)]),
        ("infinite", vec![Sample::cpu(f64::INFINITY, now)]),
        ("negative", vec![Sample::cpu(-0.5, now)]),
        ("of instances that are gone", vec![Sample::instances("cpu", &gone, now)]),
        ("of an instance, not a number", vec![Sample::instances("cpu", &nan, now)]),
    ];
    for policy in policies() {
        for (name, metrics) in &cases {
            let mut scaler = Scaler::new(policy.clone()).unwrap();
            for tick in 0..100 {
                let decision = decide(&mut scaler, now, &ready(6), metrics);
                assert_eq!(decision.action, Action::Hold, "{name} {tick}: {decision}");
                assert!(
                    decision.steps.iter().any(|step| matches!(step, Step::Ignored { .. })),
                    "{name}: {decision}"
                );
            }
        }
    }
}

#[test]
fn a_sample_a_little_ahead_is_clocks_that_differ() {
    let mut scaler = Scaler::new(Threshold::default()).unwrap();
    let decision = decide(&mut scaler, t(0), &ready(4), &[Sample::cpu(0.9, t(5))]);
    assert_eq!(decision.action, Action::ScaleTo(6));
}

#[test]
fn one_instance_without_a_sample_blocks_scaling_in_only() {
    let fleet = ready(4);
    let usages = |cpu| -> Vec<Usage> {
        fleet[..3].iter().map(|instance| Usage::new(instance.id, cpu, t(0))).collect()
    };
    for policy in policies() {
        let mut scaler = Scaler::new(policy.clone()).unwrap();
        let low = usages(0.01);
        let metrics = [Sample::instances("cpu", &low, t(0))];
        // HPA's rule is another one: missing ones count as full, which is 26 % here.
        if matches!(policy, Policy::TargetTracking(_)) {
            continue;
        }
        let held = decide(&mut scaler, t(0), &fleet, &metrics);
        assert_eq!(held.action, Action::Hold, "{held}");
        let high = usages(200.0);
        let metrics = [Sample::instances("cpu", &high, t(0))];
        let out = decide(&mut scaler, t(0), &fleet, &metrics);
        assert!(matches!(out.action, Action::ScaleTo(5..)), "{out}");
    }
}

#[test]
fn one_dead_source_does_not_hide_the_others() {
    let policy = TargetTracking {
        max: 20,
        ..TargetTracking::new([
            Metric::cpu(70),
            Metric::new("in-flight", Target::PodsAverage(10.0)),
        ])
    };
    let dead = Sample::unreachable("cpu", t(0));
    let mut scaler = Scaler::new(policy.clone()).unwrap();
    let out = decide(&mut scaler, t(0), &ready(4), &[dead, Sample::in_flight(80.0, t(0))]);
    assert_eq!(out.action, Action::ScaleTo(8), "{out}");
    let mut scaler = Scaler::new(policy).unwrap();
    let held = decide(&mut scaler, t(0), &ready(4), &[dead, Sample::in_flight(4.0, t(0))]);
    assert_eq!((held.action, held.bound_by), (Action::Hold, Some(Bound::Missing)));
}

#[test]
fn what_is_set_for_a_dead_source_happens_after_so_many_failures() {
    let go = |on_missing, count| {
        let mut scaler = Scaler::new(Threshold { on_missing, ..Threshold::default() }).unwrap();
        let mut tick = 0;
        [(); 3].map(|()| {
            tick += 15;
            let dead = [Sample::unreachable("cpu", t(tick))];
            decide(&mut scaler, t(tick), &ready(count), &dead).action
        })
    };
    use Action::{Hold, ScaleTo};
    let higher = OnMissing::CurrentIfHigher { instances: 8, after: 3 };
    assert_eq!(go(higher, 4), [Hold, Hold, ScaleTo(8)]);
    assert_eq!(go(higher, 10), [Hold, Hold, Hold]);
    let exactly = OnMissing::Fallback { instances: 8, after: 3 };
    assert_eq!(go(exactly, 4), [Hold, Hold, ScaleTo(8)]);
    assert_eq!(go(exactly, 10), [Hold, Hold, ScaleTo(8)]);
    // A sample in between begins the count anew.
    let policy = Threshold { on_missing: higher, ..Threshold::default() };
    let mut scaler = Scaler::new(policy).unwrap();
    for tick in 0..10 {
        let at = t(tick * 15);
        let dead = Sample::unreachable("cpu", at);
        let sample = if tick % 3 == 2 { Sample::cpu(0.5, at) } else { dead };
        assert_eq!(decide(&mut scaler, at, &ready(4), &[sample]).action, Hold);
    }
}

#[test]
fn a_clock_that_goes_back_is_time_that_stands_still() {
    let mut scaler = Scaler::new(Threshold::default()).unwrap();
    at_cpu(&mut scaler, t(1_000), &ready(4), 0.9);
    // Back by a day. The samples have the same clock.
    let back = t(0) - s(80_000);
    for tick in 0..40 {
        let at = back + s(15 * tick);
        let held = decide(&mut scaler, at, &ready(6), &[Sample::cpu(0.9, at)]);
        assert_eq!((held.action, held.bound_by), (Action::Hold, Some(Bound::UpCooldown)));
        assert!(matches!(held.steps[0], Step::ClockWentBack { .. }));
    }
    // Forth by a day: cooldowns are over, samples of before are stale.
    let forth = t(90_000);
    let held = decide(&mut scaler, forth, &ready(6), &[Sample::cpu(0.1, t(1_000))]);
    assert_eq!((held.action, held.bound_by), (Action::Hold, None), "{held}");
    let out = decide(&mut scaler, forth, &ready(6), &[Sample::cpu(0.9, forth)]);
    assert_eq!(out.action, Action::ScaleTo(8));
}

#[test]
fn a_clock_that_stays_back_was_wrong_before() {
    for policy in policies() {
        let mut scaler = Scaler::new(policy.clone()).unwrap();
        at_cpu(&mut scaler, t(0), &ready(4), 0.95);
        // A glance at the year 2099, and back.
        let ahead = t(2_300_000_000);
        let glance = decide(&mut scaler, ahead, &ready(4), &[Sample::cpu(0.95, t(0))]);
        assert_eq!(glance.action, Action::Hold, "{policy:?} {glance}");
        let mut anew = None;
        for tick in 1..60 {
            let at = t(15 * tick);
            let decision = at_cpu(&mut scaler, at, &ready(4), 0.95);
            if decision.steps.iter().any(|step| matches!(step, Step::StartedAnew { .. })) {
                anew.get_or_insert(tick);
                // It can act again.
                let out = matches!(decision.action, Action::ScaleTo(5..));
                assert!(
                    out || matches!(policy, Policy::QueueDepth(_)),
                    "{policy:?} {decision}"
                );
                break;
            }
        }
        // Ten minutes after the first look at the earlier time.
        assert_eq!(anew, Some(41), "{policy:?}");
    }
}

#[test]
fn samples_and_instances_go_by_the_clock_that_observed_them() {
    let hour = s(3_600);
    for policy in policies() {
        let mut scaler = Scaler::new(policy.clone()).unwrap();
        at_cpu(&mut scaler, t(7_200), &ready(6), 0.5);
        for tick in 0..30 {
            let at = t(7_200) - hour + s(15 * tick);
            // What was said before the clock went back is not fresh for the time it needs to
            // come to where it was.
            let dead = decide(&mut scaler, at, &ready(6), &[Sample::cpu(0.01, t(7_200))]);
            assert_eq!(dead.action, Action::Hold, "{policy:?} {dead}");
        }
        // An instance that has begun to warm by the new time has not failed by the old one.
        let at = t(7_200) - hour + s(460);
        let fleet = mixed(4, 2, at - s(30));
        let warm = decide(&mut scaler, at, &fleet, &[Sample::cpu(0.5, at)]);
        assert_eq!(warm.current, 6, "{policy:?} {warm}");
        let fewer = Observation::at(at).instances(&fleet);
        let first = scaler.removal(&fewer, 1)[0];
        assert!([1_000, 1_001].map(autoscale_policy::InstanceId::new).contains(&first));
        assert!(matches!(warm.action, Action::Hold), "{policy:?} {warm}");
    }
}

#[test]
fn a_sample_from_the_future_hides_no_other() {
    let mut scaler = Scaler::new(Threshold::default()).unwrap();
    let metrics = [Sample::cpu(0.9, t(0)), Sample::cpu(0.1, t(3_600))];
    let out = decide(&mut scaler, t(0), &ready(4), &metrics);
    assert_eq!(out.action, Action::ScaleTo(6), "{out}");
    // Of two of now, the later.
    let mut scaler = Scaler::new(Threshold::default()).unwrap();
    let metrics = [Sample::cpu(0.5, t(10)), Sample::cpu(0.9, t(0))];
    assert_eq!(decide(&mut scaler, t(10), &ready(4), &metrics).action, Action::Hold);
}

#[test]
fn readiness_that_flaps_makes_nothing_flap() {
    for policy in policies() {
        let mut scaler = Scaler::new(policy.clone()).unwrap();
        let mut changes = 0;
        for tick in 0..400 {
            let at = t(15 * tick);
            let mut fleet = ready(6);
            for (n, one) in fleet.iter_mut().enumerate().take(2) {
                if (tick + n as u64).is_multiple_of(2) {
                    one.phase = Phase::Warming;
                    one.changed = at - s(5);
                }
            }
            let usages: Vec<Usage> =
                fleet.iter().map(|one| Usage::new(one.id, 0.5, at)).collect();
            let metrics = [Sample::instances("cpu", &usages, at)];
            let decision = decide(&mut scaler, at, &fleet, &metrics);
            if matches!(policy, Policy::QueueDepth(_) | Policy::TargetTracking(_)) {
                continue;
            }
            changes += u32::from(decision.action != Action::Hold);
        }
        assert_eq!(changes, 0, "{policy:?}");
    }
}

#[test]
fn a_slow_actuator_causes_no_runaway() {
    for policy in policies() {
        let mut scaler = Scaler::new(policy.clone()).unwrap();
        let mut asked = 0;
        for tick in 0..20 {
            let at = t(tick * 15);
            // Whatever was asked for, four are seen.
            let decision = decide(&mut scaler, at, &ready(4), &[Sample::cpu(0.95, at)]);
            if let Action::ScaleTo(n) = decision.action {
                assert!(n > asked, "{decision}");
                asked = n;
                scaler.submitted(n);
            }
        }
        // A relative step starts from what was asked for, and is not repeated from four.
        assert!(asked <= 20, "{asked}");
        // Fewer are not asked for while it is under way.
        let at = t(400);
        let held = decide(&mut scaler, at, &ready(4), &[Sample::cpu(0.01, at)]);
        if !matches!(policy, Policy::TargetTracking(_)) {
            assert_eq!(held.action, Action::Hold, "{held}");
        }
    }
}

#[test]
fn relative_steps_start_from_what_was_asked_for() {
    let policy = Threshold { up_cooldown: s(0), ..Threshold::default() };
    let mut scaler = Scaler::new(policy).unwrap();
    assert_eq!(scaler.warnings().len(), 1);
    let mut go = |tick: u64| {
        let at = t(tick * 15);
        let decision = decide(&mut scaler, at, &ready(4), &[Sample::cpu(0.95, at)]);
        let Action::ScaleTo(n) = decision.action else { panic!("{decision}") };
        scaler.submitted(n);
        n
    };
    assert_eq!([go(0), go(1), go(2)], [6, 8, 10]);
}

#[test]
fn an_actuator_that_fails_begins_no_cooldown() {
    let mut scaler = Scaler::new(Threshold::default()).unwrap();
    for tick in 0..3 {
        let at = t(tick * 15);
        let out = decide(&mut scaler, at, &ready(4), &[Sample::cpu(0.9, at)]);
        assert_eq!(out.action, Action::ScaleTo(6), "{out}");
        scaler.submitted(6);
        scaler.failed();
    }
}

#[test]
fn an_actuator_that_does_half_is_taken_at_its_word() {
    let mut scaler = Scaler::new(Threshold::default()).unwrap();
    decide(&mut scaler, t(0), &ready(4), &[Sample::cpu(0.9, t(0))]);
    scaler.submitted(6);
    scaler.applied(t(1), 5);
    let held = decide(&mut scaler, t(15), &ready(5), &[Sample::cpu(0.9, t(15))]);
    assert_eq!((held.current, held.bound_by), (5, Some(Bound::UpCooldown)));
    let out = decide(&mut scaler, t(181), &ready(5), &[Sample::cpu(0.9, t(181))]);
    assert_eq!(out.action, Action::ScaleTo(7));
}

#[test]
fn what_never_comes_is_forgotten_in_time() {
    let mut scaler = Scaler::new(Threshold::default()).unwrap().patience(s(300));
    at_cpu(&mut scaler, t(0), &ready(4), 0.9);
    let before = decide(&mut scaler, t(299), &ready(4), &[Sample::cpu(0.5, t(299))]);
    assert_eq!(before.current, 6);
    let after = decide(&mut scaler, t(300), &ready(4), &[Sample::cpu(0.5, t(300))]);
    assert_eq!(after.current, 4);
    assert!(matches!(after.steps[0], Step::GaveUp { asked: 6 }));
}

#[test]
fn instances_that_never_become_ready_are_no_capacity_and_no_runaway() {
    let mut scaler = Scaler::new(Threshold::default()).unwrap();
    // Two of them, for more than three times the warm-up.
    let fleet = mixed(4, 2, t(0));
    let at = t(361);
    let out = decide(&mut scaler, at, &fleet, &[Sample::cpu(0.9, at)]);
    // Four are capacity, and two more are wanted beside the two that have failed.
    assert_eq!((out.current, out.action), (6, Action::ScaleTo(8)), "{out}");
    // They do not keep the fleet from scaling in.
    let fewer = decide(&mut scaler, at, &fleet, &[Sample::cpu(0.2, at)]);
    assert_eq!(fewer.action, Action::ScaleTo(5), "{fewer}");
    // And they count against the most: of 20, 16 have failed.
    let fleet = mixed(4, 16, t(0));
    let bound = decide(&mut scaler, at, &fleet, &[Sample::cpu(0.9, at)]);
    assert_eq!((bound.action, bound.bound_by), (Action::Hold, Some(Bound::Failed)), "{bound}");
}

#[test]
fn instances_that_crash_in_warm_up_are_asked_for_no_faster_than_the_cooldown() {
    let mut scaler = Scaler::new(Threshold::default()).unwrap();
    let mut launches = 0;
    for tick in 0..120 {
        let at = t(tick * 15);
        let mut fleet = ready(4);
        if launches > 0 {
            fleet.push(one(500, Phase::Failed, at));
            fleet.push(one(501, Phase::Failed, at));
        }
        let decision = at_cpu(&mut scaler, at, &fleet, 0.95);
        if let Action::ScaleTo(n) = decision.action {
            assert!(n <= 20);
            launches += 1;
        }
    }
    // Half an hour, and a cooldown of three minutes.
    assert!((1..=10).contains(&launches), "{launches}");
}

#[test]
fn counts_that_are_wrong_lead_nowhere() {
    let mut scaler = Scaler::new(Threshold::default()).unwrap();
    // A platform that says that it was asked for none, of which six run.
    let observation = Observation::at(t(0)).target(0);
    let fleet = ready(6);
    let metrics = [Sample::cpu(0.5, t(0))];
    let decision = scaler.decide(&observation.instances(&fleet).metrics(&metrics));
    assert_eq!(decision.action, Action::ScaleTo(2), "{decision}");
    // No instance at all, and a CPU nevertheless.
    let mut scaler = Scaler::new(Threshold::default()).unwrap();
    let decision = decide(&mut scaler, t(0), &[], &[Sample::cpu(0.1, t(0))]);
    assert_eq!(decision.action, Action::ScaleTo(2), "{decision}");
}

#[test]
fn a_restart_inside_a_cooldown_forgets_nothing() {
    for policy in policies() {
        let mut one = Scaler::new(policy.clone()).unwrap();
        at_cpu(&mut one, t(0), &ready(4), 0.95);
        at_cpu(&mut one, t(15), &ready(6), 0.6);
        let kept = serde_json::to_string(one.state()).unwrap();
        let state = serde_json::from_str(&kept).unwrap();
        let mut other = Scaler::new(policy.clone()).unwrap().resumed(state);
        assert_eq!(one.state(), other.state());
        for (tick, cpu) in [0.95, 0.2, 0.9, 0.1].into_iter().enumerate() {
            let at = t(30 + 15 * tick as u64);
            assert_eq!(
                at_cpu(&mut one, at, &ready(6), cpu),
                at_cpu(&mut other, at, &ready(6), cpu)
            );
        }
    }
}

#[test]
fn noise_does_not_make_it_flap() {
    let hourly = |policy: Policy| {
        let (limits, mut random) = (policy.limits(), 7_u64);
        let mut scaler = Scaler::new(policy).unwrap();
        let (mut count, mut changes) = (5_u32, 0);
        for tick in 0..2_400 {
            let at = t(tick * 15);
            random = random.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1);
            let noise = 0.5 + (random >> 33) as f64 / f64::from(u32::MAX >> 1);
            let load = 2.4 * noise;
            let decision =
                at_cpu(&mut scaler, at, &ready(count.into()), load / f64::from(count));
            if let Action::ScaleTo(n) = decision.action {
                assert!((limits.min..=limits.max).contains(&n));
                changes += 1;
                count = n;
            }
        }
        changes as f64 / 10.0
    };
    // A load that jumps by half at every look, for ten hours: 240 looks an hour.
    let mut policies = policies();
    policies.remove(2);
    for policy in policies {
        let rate = hourly(policy.clone());
        assert!(rate <= 12.0, "{rate} an hour: {policy:?}");
    }
}
