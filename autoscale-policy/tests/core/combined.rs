//! Policies made of policies, and the schedule.

use autoscale_policy::{
    Action, Bound, EpochMillis, FloorOf, MaxOf, OnlyOut, Policy, QueueDepth, Sample, Scaler,
    Schedule, Threshold, Window,
};

use crate::scene::{decide, ready, s, t};

/// A moment of 2026, as a calendar has it.
fn utc(text: &str) -> EpochMillis {
    let stamp: jiff::Timestamp = text.parse().unwrap();
    EpochMillis::new(stamp.as_millisecond() as u64)
}

#[test]
fn the_more_of_two_scales_in_only_where_both_would() {
    let jobs = QueueDepth { min: 2, ..QueueDepth::per_instance(10.0) };
    let policy = MaxOf(Threshold::default(), QueueDepth { hold_down: s(0), ..jobs });
    let mut scaler = Scaler::new(policy).unwrap();
    let mut go = |cpu, jobs| {
        let metrics = [Sample::cpu(cpu, t(0)), Sample::queue_depth(jobs, t(0))];
        decide(&mut scaler, t(0), &ready(4), &metrics).action
    };
    assert_eq!(go(0.9, 0.0), Action::ScaleTo(6));
    assert_eq!(go(0.1, 75.0), Action::ScaleTo(8));
    assert_eq!(go(0.1, 40.0), Action::Hold);
    assert_eq!(go(0.5, 5.0), Action::Hold);
    assert_eq!(go(0.1, 5.0), Action::ScaleTo(3));
}

#[test]
fn a_floor_lifts_and_never_above_the_most() {
    let weekdays = Window::new("0 8 * * 1-5", s(10 * 3600), 12);
    let weekdays = weekdays.in_time_zone("Europe/Amsterdam");
    let floor = Schedule::new([weekdays], 0, 50).unwrap();
    let policy = FloorOf { policy: Threshold { max: 10, ..Threshold::default() }, floor };
    let mut scaler = Scaler::new(policy).unwrap();
    let mut go = |at| decide(&mut scaler, at, &ready(4), &[Sample::cpu(0.5, at)]);
    // A Monday, in summer: 08:00 in Amsterdam is 06:00 UTC.
    assert_eq!(go(utc("2026-07-06T05:59:59Z")).action, Action::Hold);
    let lifted = go(utc("2026-07-06T06:00:00Z"));
    assert_eq!((lifted.action, lifted.bound_by), (Action::ScaleTo(10), Some(Bound::Max)));
    assert_eq!(go(utc("2026-07-06T15:59:59Z")).action, Action::ScaleTo(10));
    assert_eq!(go(utc("2026-07-06T16:00:00Z")).action, Action::Hold);
    // A Saturday.
    assert_eq!(go(utc("2026-07-11T10:00:00Z")).action, Action::Hold);
    // In winter 08:00 is 07:00 UTC.
    assert_eq!(go(utc("2026-12-07T06:30:00Z")).action, Action::Hold);
    assert_eq!(go(utc("2026-12-07T07:00:00Z")).action, Action::ScaleTo(10));
}

#[test]
fn a_schedule_alone_follows_the_clock_and_takes_the_most_of_its_windows() {
    let windows =
        [Window::new("0 0 * * *", s(12 * 3600), 5), Window::new("0 6 * * *", s(3600), 9)];
    let mut scaler = Scaler::new(Schedule::new(windows, 2, 20).unwrap()).unwrap();
    let mut go = |at, count| decide(&mut scaler, utc(at), &ready(count), &[]).action;
    assert_eq!(go("2026-07-06T01:00:00Z", 2), Action::ScaleTo(5));
    assert_eq!(go("2026-07-06T06:30:00Z", 5), Action::ScaleTo(9));
    assert_eq!(go("2026-07-06T07:00:00Z", 9), Action::ScaleTo(5));
    assert_eq!(go("2026-07-06T12:00:00Z", 5), Action::ScaleTo(2));
}

#[test]
fn clocks_that_are_put_back_open_a_window_once() {
    // Clocks went back from 03:00 to 02:00 on 25 October 2026 in Amsterdam: 02:30 came
    // twice, at 00:30 and 01:30 UTC.
    let window = Window::new("30 2 * * *", s(1800), 9).in_time_zone("Europe/Amsterdam");
    let schedule = Schedule::new([window], 2, 20).unwrap();
    let open = |at| {
        let mut scaler = Scaler::new(schedule.clone()).unwrap();
        decide(&mut scaler, utc(at), &ready(2), &[]).action == Action::ScaleTo(9)
    };
    let opened = ["2026-10-25T00:35:00Z", "2026-10-25T01:35:00Z"].map(open);
    assert_eq!(opened.iter().filter(|open| **open).count(), 1, "{opened:?}");
    // And on 29 March 2026, 02:30 did not come at all; it begins at 03:00, 01:00 UTC.
    let opened = ["2026-03-29T00:45:00Z", "2026-03-29T01:10:00Z"].map(open);
    assert_eq!(opened, [false, true]);
}

#[test]
fn only_out_never_scales_in() {
    let mut scaler = Scaler::new(OnlyOut(Threshold::default())).unwrap();
    let held = decide(&mut scaler, t(0), &ready(9), &[Sample::cpu(0.01, t(0))]);
    assert_eq!((held.action, held.bound_by), (Action::Hold, Some(Bound::OnlyOut)));
    let out = decide(&mut scaler, t(0), &ready(9), &[Sample::cpu(0.9, t(0))]);
    assert_eq!(out.action, Action::ScaleTo(11));
}

#[test]
fn a_tree_from_a_text_is_the_tree_from_code() {
    let text = r#"
        policy = "floor-of"
        [base]
        policy = "max-of"
        [[base.of]]
        policy = "threshold"
        [[base.of]]
        policy = "queue-depth"
        min = 2
        [floor]
        policy = "schedule"
        min = 2
        max = 20
        [[floor.windows]]
        cron = "0 8 * * 1-5"
        time-zone = "Europe/Amsterdam"
        lasts = "10h"
        instances = 6
    "#;
    let window = Window::new("0 8 * * 1-5", s(36_000), 6).in_time_zone("Europe/Amsterdam");
    let tree = Policy::FloorOf {
        base: Box::new(Policy::MaxOf {
            of: vec![
                Threshold::default().into(),
                Policy::QueueDepth(QueueDepth { min: 2, ..QueueDepth::default() }),
            ],
        }),
        floor: Box::new(Policy::Schedule(Schedule::new([window], 2, 20).unwrap())),
    };
    assert_eq!(Policy::from_toml(text).unwrap(), tree);
    let mut scaler = Scaler::new(tree).unwrap();
    let at = utc("2026-07-06T09:00:00Z");
    let metrics = [Sample::cpu(0.5, at), Sample::queue_depth(10.0, at)];
    assert_eq!(decide(&mut scaler, at, &ready(4), &metrics).action, Action::ScaleTo(6));
}
