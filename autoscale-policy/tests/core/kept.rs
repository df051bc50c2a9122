//! States that were kept: older ones, and such as nobody wrote.

use autoscale_policy::{
    Action, EpochMillis, Policy, PolicyState, Predictive, QueueDepth, Sample, Scaler,
    ScalerState, ScalingPolicy, Schedule, StepScaling, TargetTracking, Threshold, Window,
};
use serde_json::{Value, json};

use crate::scene::{at_cpu, decide, ready, s, t};

type State = ScalerState<PolicyState>;

fn policies() -> Vec<Policy> {
    let signal = autoscale_policy::Signal { metric: "cpu".into(), per_instance: None };
    let metrics = [autoscale_policy::Metric::cpu(70)];
    let tracking = TargetTracking { min: 2, max: 20, ..TargetTracking::new(metrics) };
    vec![
        Threshold::default().into(),
        Policy::StepScaling(StepScaling::default()),
        Policy::QueueDepth(QueueDepth {
            metric: "cpu".into(),
            ..QueueDepth::per_instance(0.1)
        }),
        tracking.clone().into(),
        TargetTracking { behavior: Some(autoscale_policy::Behavior::default()), ..tracking }
            .into(),
        Predictive { signal, ..Predictive::default() }.into(),
    ]
}

/// A state that has something of everything in it.
fn kept(policy: &Policy) -> Value {
    let mut scaler = Scaler::new(policy.clone()).unwrap();
    at_cpu(&mut scaler, t(0), &ready(4), 0.95);
    at_cpu(&mut scaler, t(15), &ready(6), 0.6);
    at_cpu(&mut scaler, t(700), &ready(6), 0.01);
    decide(&mut scaler, t(715), &ready(5), &[Sample::cpu(0.95, t(715))]);
    scaler.submitted(8);
    serde_json::to_value(scaler.state()).unwrap()
}

/// Every value in it, by its path.
fn paths(value: &Value, path: &str, all: &mut Vec<String>) {
    match value {
        Value::Object(fields) => {
            for (name, field) in fields {
                let path = format!("{path}/{name}");
                all.push(path.clone());
                paths(field, &path, all);
            }
        }
        Value::Array(values) => {
            for (at, value) in values.iter().enumerate().take(3) {
                let path = format!("{path}/{at}");
                all.push(path.clone());
                paths(value, &path, all);
            }
        }
        _ => {}
    }
}

#[test]
fn an_older_state_remembers_less() {
    for text in ["{}", r#"{"clock":1790000000000}"#, r#"{"policy":"fresh"}"#] {
        let state: State = serde_json::from_str(text).unwrap();
        for policy in policies() {
            let mut scaler = Scaler::new(policy).unwrap().resumed(state.clone());
            let decision = decide(&mut scaler, t(0), &ready(6), &[Sample::cpu(0.65, t(0))]);
            assert!(!matches!(decision.action, Action::ScaleTo(..6)), "{decision}");
        }
    }
}

#[test]
fn one_of_another_kind_or_none_at_all_is_refused_or_counts_as_none() {
    for text in ["", "null", r#"{"clock":-1}"#, r#"{"clock":"now"}"#, "\u{0}{}"] {
        assert!(serde_json::from_str::<State>(text).is_err(), "{text}");
    }
    // Of another policy: its clock and what is under way are as good as before.
    let state = kept(&policies()[0]);
    for policy in policies() {
        let state: State = serde_json::from_value(state.clone()).unwrap();
        let mut scaler = Scaler::new(policy.clone()).unwrap().resumed(state);
        let held = decide(&mut scaler, t(720), &ready(6), &[Sample::cpu(0.01, t(720))]);
        let fewer = matches!(held.action, Action::ScaleTo(..6));
        assert!(!fewer || matches!(policy, Policy::TargetTracking(_)), "{policy:?} {held}");
    }
}

#[test]
fn whatever_a_state_says_it_stays_within_the_limits_and_comes_back() {
    let strange = [
        json!(0),
        json!(1),
        json!(u32::MAX),
        json!(u64::MAX),
        json!(1e300),
        json!(-1e300),
        json!(null),
        json!([]),
    ];
    for policy in policies() {
        let limits = policy.limits();
        let whole = kept(&policy);
        let mut all = Vec::new();
        paths(&whole, "", &mut all);
        assert!(all.len() > 6, "{whole}");
        for path in &all {
            for value in &strange {
                let mut state = whole.clone();
                *state.pointer_mut(path).unwrap() = value.clone();
                // What is no state at all is refused by serde.
                let Ok(state) = serde_json::from_value::<State>(state) else { continue };
                let mut scaler = Scaler::new(policy.clone()).unwrap().resumed(state);
                let (mut count, mut at) = (5, t(720));
                let mut after = |cpu, minutes: u64| {
                    for _ in 0..minutes * 4 {
                        at = at + s(15);
                        let decision = at_cpu(&mut scaler, at, &ready(count), cpu);
                        if let Action::ScaleTo(n) = decision.action {
                            let within = (limits.min..=limits.max).contains(&n);
                            assert!(within, "{path} = {value}: {decision}");
                            count = n.into();
                        }
                    }
                    count
                };
                // Long enough to get over it.
                let most = after(0.95, 25);
                assert!(most > 5, "{policy:?} {path} = {value}: {most}");
                let fewer = after(0.0, 30);
                assert!(fewer < most, "{policy:?} {path} = {value}: {fewer}");
            }
        }
    }
}

#[test]
fn another_schedule_does_not_go_by_what_is_known_of_the_one_before() {
    let at = |text: &str| -> EpochMillis {
        let stamp: jiff::Timestamp = text.parse().unwrap();
        EpochMillis::new(stamp.as_millisecond() as u64)
    };
    let schedule = |cron| {
        let window = Window::new(cron, s(3_600), 9);
        Policy::Schedule(Schedule::new([window], 2, 20).unwrap())
    };
    let mut before = Scaler::new(schedule("0 20 * * *")).unwrap();
    let closed = decide(&mut before, at("2026-07-06T09:00:00Z"), &ready(2), &[]);
    assert_eq!(closed.action, Action::Hold);
    let kept = serde_json::to_string(before.state()).unwrap();
    for state in [before.state().clone(), serde_json::from_str(&kept).unwrap()] {
        let mut after = Scaler::new(schedule("0 10 * * *")).unwrap().resumed(state);
        let open = decide(&mut after, at("2026-07-06T10:30:00Z"), &ready(2), &[]);
        assert_eq!(open.action, Action::ScaleTo(9), "{open}");
    }
}
