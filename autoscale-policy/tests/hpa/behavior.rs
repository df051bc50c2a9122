//! Stabilisation windows and scaling policies over time.

use std::time::Duration;

use autoscale_policy::{Behavior, Change, Pace, Rules, Select};

use crate::world::{Deployment, s};

fn pace(by: Change, seconds: u64) -> Pace {
    Pace { by, period: s(seconds) }
}

fn rules(window: u64, select: Select, paces: &[Pace]) -> Rules {
    Rules { window: s(window), paces: paces.to_vec(), select }
}

/// Only the way out is bound, and nothing is held back.
fn out(select: Select, paces: &[Pace]) -> Behavior {
    let all = [pace(Percent(100.0), 15)];
    Behavior { out: rules(0, select, paces), r#in: rules(0, Select::Max, &all) }
}

/// Only the way in is bound, and nothing is held back.
fn inwards(select: Select, paces: &[Pace]) -> Behavior {
    let all = [pace(Instances(1000), 15)];
    Behavior { out: rules(0, Select::Max, &all), r#in: rules(0, select, paces) }
}

use Change::{Instances, Percent};

#[test]
fn by_default_out_by_4_or_to_the_double_in_15_s() {
    let first = |count| Deployment::new(count, Behavior::default()).wants(0, 90);
    // max(1 + 4, 1 x 2).
    assert_eq!(first(1), 5);
    // max(2 + 4, 2 x 2).
    assert_eq!(first(2), 6);
    // max(3 + 4, 3 x 2).
    assert_eq!(first(3), 7);
    // max(4 + 4, 4 x 2): the same.
    assert_eq!(first(4), 8);
    // max(6 + 4, 6 x 2).
    assert_eq!(first(6), 12);
    // max(10 + 4, 10 x 2).
    assert_eq!(first(10), 20);
    // 60 x 2 = 120, and 90 are wanted.
    assert_eq!(first(60), 90);
}

#[test]
fn by_default_a_period_ends_after_15_s() {
    let mut deployment = Deployment::new(4, Behavior::default());
    assert_eq!(deployment.wants(0, 90), 8);
    // The period began with 8 - 4 = 4: max(8, 8).
    assert_eq!(deployment.wants(14, 90), 8);
    // 15 s later that change is outside: max(12, 16).
    assert_eq!(deployment.wants(15, 90), 16);
    // Began with 16 - 8 = 8: max(12, 16).
    assert_eq!(deployment.wants(29, 90), 16);
    // max(20, 32).
    assert_eq!(deployment.wants(30, 90), 32);
}

#[test]
fn by_default_in_to_the_most_of_300_s() {
    let mut deployment = Deployment::new(10, Behavior::default());
    assert_eq!(deployment.wants(0, 10), 10);
    // max(10, 4).
    assert_eq!(deployment.wants(60, 4), 10);
    // max(10, 4, 6).
    assert_eq!(deployment.wants(299, 6), 10);
    // What was said 300 s ago is outside: max(4, 6, 3) = 6, and all may go at once.
    assert_eq!(deployment.wants(300, 3), 6);
    // max(6, 3, 2): what was said at 299 is inside.
    assert_eq!(deployment.wants(598, 2), 6);
    // max(3, 2, 2): at 299 is outside; at 300 is inside.
    assert_eq!(deployment.wants(599, 2), 3);
    // At 300 is outside, too.
    assert_eq!(deployment.wants(600, 2), 2);
}

#[test]
fn the_count_at_the_beginning_is_the_first_recommendation() {
    // 20 were there when it began: max(20, 1).
    let mut deployment = Deployment::new(20, Behavior::default());
    assert_eq!(deployment.wants(0, 1), 20);
    assert_eq!(deployment.wants(299, 1), 20);
    // That is outside, and all may go at once: 20 to 1, of 100 % in 15 s.
    assert_eq!(deployment.wants(300, 1), 1);
    // On the way out with a window: min(5, 30), until it is outside.
    let behavior = Behavior {
        out: rules(60, Select::Max, &[pace(Percent(900.0), 15)]),
        ..Behavior::default()
    };
    let mut deployment = Deployment::new(5, behavior);
    assert_eq!(deployment.wants(0, 30), 5);
    assert_eq!(deployment.wants(59, 30), 5);
    assert_eq!(deployment.wants(60, 30), 30);
}

#[test]
fn between_the_least_and_the_most_it_stays() {
    let behavior = Behavior {
        out: rules(60, Select::Max, &[pace(Percent(900.0), 15)]),
        ..Behavior::default()
    };
    let mut deployment = Deployment::new(10, behavior);
    assert_eq!(deployment.wants(0, 10), 10);
    // Between min(10, 4) and max(10, 4).
    assert_eq!(deployment.wants(20, 4), 10);
    // Between min(10, 4, 12) and max(10, 4, 12).
    assert_eq!(deployment.wants(40, 12), 10);
    // min(4, 12, 14): 10 at the beginning is outside, and 4 is inside of 60 s.
    assert_eq!(deployment.wants(79, 14), 10);
    // min(12, 14, 13): 4 is outside.
    assert_eq!(deployment.wants(80, 13), 12);
}

#[test]
fn out_by_instances() {
    let mut deployment = Deployment::new(4, out(Select::Max, &[pace(Instances(2), 60)]));
    assert_eq!(deployment.wants(0, 50), 6);
    // Began with 6 - 2 = 4: 6.
    assert_eq!(deployment.wants(30, 50), 6);
    assert_eq!(deployment.wants(59, 50), 6);
    // Outside: 8.
    assert_eq!(deployment.wants(60, 50), 8);
}

#[test]
fn out_by_percent_rounds_up() {
    let first = |count, share| {
        Deployment::new(count, out(Select::Max, &[pace(Percent(share), 60)])).wants(0, 99)
    };
    // ceil(5 x 1.5 = 7.5).
    assert_eq!(first(5, 50.0), 8);
    // ceil(1 x 1.5).
    assert_eq!(first(1, 50.0), 2);
    // ceil(10 x 1.01 = 10.1).
    assert_eq!(first(10, 1.0), 11);
    // 8 x 10.
    assert_eq!(first(8, 900.0), 80);
}

#[test]
fn out_by_the_smaller_or_not_at_all() {
    let paces = [pace(Instances(4), 60), pace(Percent(100.0), 60)];
    let first = |count, select| Deployment::new(count, out(select, &paces)).wants(0, 99);
    // min(2 + 4, 4).
    assert_eq!(first(2, Select::Min), 4);
    // min(10 + 4, 20).
    assert_eq!(first(10, Select::Min), 14);
    // Disabled.
    assert_eq!(first(10, Select::Disabled), 10);
}

#[test]
fn each_pace_has_its_own_period() {
    // 10 in a minute and 4 in 15 s, the smaller.
    let paces = [pace(Instances(10), 60), pace(Instances(4), 15)];
    let mut deployment = Deployment::new(1, out(Select::Min, &paces));
    // min(11, 5).
    assert_eq!(deployment.wants(0, 99), 5);
    // min(5 - 4 + 10, 5 + 4).
    assert_eq!(deployment.wants(15, 99), 9);
    // min(9 - 8 + 10 = 11, 13).
    assert_eq!(deployment.wants(30, 99), 11);
    // min(11 - 10 + 10 = 11, 15): no more in this minute.
    assert_eq!(deployment.wants(45, 99), 11);
    // The first 4 are outside: min(11 - 6 + 10 = 15, 15).
    assert_eq!(deployment.wants(60, 99), 15);
}

#[test]
fn in_by_instances() {
    let mut deployment = Deployment::new(5, inwards(Select::Max, &[pace(Instances(1), 60)]));
    assert_eq!(deployment.wants(0, 1), 4);
    // Began with 4 + 1 = 5: 4.
    assert_eq!(deployment.wants(59, 1), 4);
    assert_eq!(deployment.wants(60, 1), 3);
}

#[test]
fn in_by_percent_rounds_down_what_is_left() {
    let first = |count, share| {
        Deployment::new(count, inwards(Select::Max, &[pace(Percent(share), 60)])).wants(0, 1)
    };
    // 20 x 0.9 = 18.
    assert_eq!(first(20, 10.0), 18);
    // 15 x 0.9 = 13.5: 13.
    assert_eq!(first(15, 10.0), 13);
    // 5 x 0.9 = 4.5: 4.
    assert_eq!(first(5, 10.0), 4);
    // 9 x 0.5 = 4.5: 4.
    assert_eq!(first(9, 50.0), 4);
}

#[test]
fn in_by_the_larger_the_smaller_or_not_at_all() {
    let paces = [pace(Instances(1), 60), pace(Percent(50.0), 60)];
    let first = |select| Deployment::new(10, inwards(select, &paces)).wants(0, 1);
    // min(9, 5): the larger change.
    assert_eq!(first(Select::Max), 5);
    // max(9, 5): the smaller change.
    assert_eq!(first(Select::Min), 9);
    // Disabled.
    assert_eq!(first(Select::Disabled), 10);
}

#[test]
fn a_period_begins_before_what_was_removed_and_added_in_it() {
    let mut deployment = Deployment::new(4, out(Select::Max, &[pace(Instances(4), 60)]));
    assert_eq!(deployment.wants(0, 99), 8);
    assert_eq!(deployment.wants(10, 6), 6);
    // Began with 6 - 4 + 2 = 4: 8.
    assert_eq!(deployment.wants(20, 99), 8);
    // Began with 8 - 4 - 2 + 2 = 4: 8.
    assert_eq!(deployment.wants(30, 99), 8);
    // The first 4 are outside: 8 - 2 + 2 = 8, + 4.
    assert_eq!(deployment.wants(60, 99), 12);
}

#[test]
fn a_direction_forgets_what_only_the_other_one_looks_back_to() {
    let behavior = Behavior {
        out: rules(0, Select::Max, &[pace(Instances(4), 15)]),
        r#in: rules(0, Select::Max, &[pace(Instances(10), 600)]),
    };
    // +4, and then: began with 14 - 4 = 10, less 10 is 0, and at least 1.
    let mut deployment = Deployment::new(10, behavior.clone());
    assert_eq!(deployment.wants(0, 14), 14);
    assert_eq!(deployment.wants(200, 0), 1);
    // The +4 of 0 is outside of all paces out when that of 100 comes, and gives its place
    // to it: began with 18 - 4 = 14, less 10.
    let mut deployment = Deployment::new(10, behavior);
    assert_eq!(deployment.wants(0, 14), 14);
    assert_eq!(deployment.wants(100, 18), 18);
    assert_eq!(deployment.wants(200, 0), 4);
}

#[test]
fn limits_hold_whatever_is_disabled() {
    let off = |count, min| {
        let none = rules(0, Select::Disabled, &[]);
        let behavior = Behavior { out: none.clone(), r#in: none };
        Deployment::of(count, min, Some(behavior)).wants(0, 50)
    };
    // 120 are above 100, 1 is below 3: neither is the metrics' business.
    assert_eq!(off(120, 1), 100);
    assert_eq!(off(1, 3), 3);
    // Out is disabled.
    assert_eq!(off(20, 1), 20);
    // In is not.
    let out = rules(0, Select::Disabled, &[]);
    let behavior = Behavior { out, ..inwards(Select::Max, &[pace(Percent(50.0), 60)]) };
    assert_eq!(Deployment::new(20, behavior).wants(0, 5), 10);
}

#[test]
fn from_zero_and_to_zero() {
    // max(0 + 4, 0 x 2).
    assert_eq!(Deployment::of(0, 0, Some(Behavior::default())).wants(0, 90), 4);
    // ceil(0 x 1.5) = 0: a share of nothing is nothing, and it stays at zero.
    let half = out(Select::Max, &[pace(Percent(50.0), 60)]);
    assert_eq!(Deployment::of(0, 0, Some(half)).wants(0, 90), 0);
    // At zero with a minimum above, it is off.
    assert_eq!(Deployment::of(0, 1, Some(Behavior::default())).wants(0, 90), 0);
    // To zero, after the window.
    let mut deployment = Deployment::of(3, 0, Some(Behavior::default()));
    assert_eq!(deployment.wants(0, 0), 3);
    assert_eq!(deployment.wants(300, 0), 0);
}

#[test]
fn out_to_the_least_of_a_window() {
    let behavior = Behavior {
        out: rules(60, Select::Max, &[pace(Percent(900.0), 15)]),
        ..Behavior::default()
    };
    let mut deployment = Deployment::new(5, behavior);
    assert_eq!(deployment.wants(0, 5), 5);
    // min(5, 10).
    assert_eq!(deployment.wants(15, 10), 5);
    assert_eq!(deployment.wants(59, 12), 5);
    // What was said 60 s ago is outside: min(10, 12, 20).
    assert_eq!(deployment.wants(60, 20), 10);
    // min(12, 20, 15), of 75 - 60 = 15 on: that of 15 is outside.
    assert_eq!(deployment.wants(75, 15), 12);
    // A dip in the window holds it back: min(20, 15, 3) is 3, and max of 300 s is 20: 12.
    assert_eq!(deployment.wants(119, 3), 12);
}

#[test]
fn without_a_window_in_at_once() {
    let mut deployment = Deployment::new(10, inwards(Select::Max, &[pace(Percent(100.0), 15)]));
    assert_eq!(deployment.wants(0, 10), 10);
    assert_eq!(deployment.wants(1, 4), 4);
    let none = Duration::ZERO;
    assert_eq!(Behavior::default().out.window, none);
}
