//! What a decision says of itself.

use autoscale_policy::{Action, Decision, Sample, Scaler, Threshold};

use crate::scene::{at_cpu, decide, mixed, ready, t};

#[test]
fn a_held_decision_tells_what_holds_it() {
    let mut scaler = Scaler::new(Threshold::default()).unwrap();
    at_cpu(&mut scaler, t(0), &ready(4), 0.9);
    let fleet = mixed(4, 2, t(10));
    let held = decide(&mut scaler, t(133), &fleet, &[Sample::cpu(0.82, t(133))]);
    assert_eq!(
        held.to_string(),
        "HOLD 6 (wanted 8)   bound by: up-cooldown\n  \
         cpu 0.82 of 0.70, 4 ready, 2 warming (left out) -> 8\n  \
         8 -> 6 by up-cooldown, 47s left"
    );
}

#[test]
fn a_stale_sample_is_told_with_its_age() {
    let mut scaler = Scaler::new(Threshold::default()).unwrap();
    let held = decide(&mut scaler, t(100), &ready(4), &[Sample::cpu(0.1, t(5))]);
    assert_eq!(
        held.to_string(),
        "HOLD 4\n  \
         cpu: last sample 1m 35s old, over max-age 1m -> ignored; scaling in is blocked\n  \
         no sample that counts, 1 times in a row -> 4"
    );
}

#[test]
fn a_decision_survives_being_written_down() {
    let mut scaler = Scaler::new(Threshold::default()).unwrap();
    let out = decide(&mut scaler, t(0), &ready(4), &[Sample::cpu(0.9, t(0))]);
    assert_eq!(out.action, Action::ScaleTo(6));
    let text = serde_json::to_string(&out).unwrap();
    assert_eq!(serde_json::from_str::<Decision>(&text).unwrap(), out);
    assert!(out.to_string().starts_with("OUT 4 -> 6\n"));
}
