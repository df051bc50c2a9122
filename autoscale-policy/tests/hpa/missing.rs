//! Pods without a metric: full when scaling in, idle when scaling out.

use autoscale_policy::Metric;

use crate::world::{Pod, asked_at, cpu, each, hpa};

fn with(count: usize, milli: u32, missing: usize) -> Vec<Pod> {
    [each(count, milli), vec![Pod::Missing; missing]].concat()
}

#[test]
fn out_with_missing_pods() {
    // 70 / 50 = 1.4, so as 0: 2,100 of 4,000 = 52 %, 1.04: within.
    assert_eq!(cpu(50, &with(3, 700, 1)), 4);
    // 100 / 50 = 2, so as 0: 3,000 of 4,000 = 75 %, 1.5; 4 x 1.5.
    assert_eq!(cpu(50, &with(3, 1000, 1)), 6);
    // 60 / 50 = 1.2, so as 0: 2,400 of 5,000 = 48 %, 0.96: within.
    assert_eq!(cpu(50, &with(4, 600, 1)), 5);
    // 70 / 50 = 1.4, so as 0: 2,800 of 8,000 = 35 %, 0.7: turned round, no change.
    assert_eq!(cpu(50, &with(4, 700, 4)), 8);
    // 200 / 50 = 4, so as 0: 4,000 of 4,000 = 100 %, 2; 4 x 2.
    assert_eq!(cpu(50, &with(2, 2000, 2)), 8);
    // 90 / 50 = 1.8, so as 0: 900 of 2,000 = 45 %, 0.9: within.
    assert_eq!(cpu(50, &with(1, 900, 1)), 2);
    // 88 / 50 = 1.76, so as 0: 880 of 2,000 = 44 %, 0.88: turned round.
    assert_eq!(cpu(50, &with(1, 880, 1)), 2);
    // 120 / 50 = 2.4, so as 0: 1,200 of 2,000 = 60 %, 1.2; ceil(2.4).
    assert_eq!(cpu(50, &with(1, 1200, 1)), 3);
}

#[test]
fn in_with_missing_pods() {
    // 20 / 50 = 0.4, so as 100 %: 1,600 of 4,000 = 40 %, 0.8; ceil(3.2).
    assert_eq!(cpu(50, &with(3, 200, 1)), 4);
    // 10 / 50 = 0.2, so as 100 %: 1,900 of 10,000 = 19 %, 0.38; ceil(3.8).
    assert_eq!(cpu(50, &with(9, 100, 1)), 4);
    // 20 / 50 = 0.4, so as 100 %: 4,800 of 8,000 = 60 %, 1.2: turned round.
    assert_eq!(cpu(50, &with(4, 200, 4)), 8);
    // 45 / 50 = 0.9, so as 100 %: 2,800 of 5,000 = 56 %, 1.12: turned round.
    assert_eq!(cpu(50, &with(4, 450, 1)), 5);
    // 5 / 50 = 0.1, so as 100 %: 1,450 of 10,000 = 14 %, 0.28; ceil(2.8).
    assert_eq!(cpu(50, &with(9, 50, 1)), 3);
}

#[test]
fn at_the_target_missing_pods_are_nothing() {
    // 50 / 50 = 1, neither way: 1 is within.
    assert_eq!(cpu(50, &with(4, 500, 1)), 5);
}

#[test]
fn above_a_target_of_100_missing_pods_are_at_the_target() {
    // 60 / 150 = 0.4, so as 150 %: 3,900 of 5,000 = 78 %, 0.52; ceil(2.6).
    assert_eq!(cpu(150, &with(4, 600, 1)), 3);
    // 30 / 120 = 0.25, so as 120 %: 3,900 of 10,000 = 39 %, 0.325; ceil(3.25).
    assert_eq!(cpu(120, &with(9, 300, 1)), 4);
}

#[test]
fn without_any_metric_nothing_changes() {
    // No pod has one: an error, and the count stays.
    assert_eq!(cpu(50, &[Pod::Missing; 4]), 4);
}

#[test]
fn the_number_of_pods_turns_nothing_round() {
    // 2, so as 0: 4,000 of 5,000 = 80 %, 1.6; 5 x 1.6 = 8, below the 9 specified: 9.
    assert_eq!(asked_at(hpa([Metric::cpu(50)]), "cpu", 9, &with(4, 1000, 1)), 9);
    // The same with 8 specified: 8.
    assert_eq!(asked_at(hpa([Metric::cpu(50)]), "cpu", 8, &with(4, 1000, 1)), 8);
    // 0.4, so as 100 %: 2,000 of 6,000 = 33 %, 0.66; ceil(3.96) = 4, above the 3: 3.
    assert_eq!(asked_at(hpa([Metric::cpu(50)]), "cpu", 3, &with(5, 200, 1)), 3);
}

#[test]
fn what_missing_pods_could_use_is_rounded_for_each() {
    // 351 of 334 = 105 %, 0.7, so as 150 % of 333 each, which is 499 and not 499.5:
    // 351 + 2 x 499 = 1,349 of 1,000 = 134 %, 0.893; ceil(3 x 0.893). 135 % would be within.
    let some = [Pod::Of(351, 334), Pod::MissingOf(333), Pod::MissingOf(333)];
    assert_eq!(asked_at(hpa([Metric::cpu(150)]), "cpu", 5, &some), 3);
}

#[test]
fn missing_pods_count_with_what_they_were_promised() {
    // 0.4, so as all of 3,000: 3 x 200 + 3,000 = 3,600 of 6,000 = 60 %, 1.2: turned round.
    let large = [each(3, 200), vec![Pod::MissingOf(3000)]].concat();
    assert_eq!(cpu(50, &large), 4);
    // 0.4, so as all of 100: 3 x 200 + 100 = 700 of 3,100 = 22 %, 0.44; ceil(4 x 0.44).
    let small = [each(3, 200), vec![Pod::MissingOf(100)]].concat();
    assert_eq!(cpu(50, &small), 2);
    // 2, so as 0 of 3,000: 3,000 of 6,000 = 50 %, 1: within.
    let out = [each(3, 1000), vec![Pod::MissingOf(3000)]].concat();
    assert_eq!(cpu(50, &out), 4);
}
