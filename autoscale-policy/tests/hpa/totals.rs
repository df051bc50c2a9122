//! `Object` and `External`: `value` and `averageValue`, also from zero.

use autoscale_policy::{Metric, Observation, Sample, Scaler, Target, TargetTracking};

use crate::world::{Pod, hpa, now, pods, total};

#[test]
fn of_a_value() {
    let of = |value, ready| total(Target::Value(50.0), value, ready as u32, ready, 0);
    // 100 / 50 = 2; 3 x 2.
    assert_eq!(of(100.0, 3), 6);
    // 55 / 50 = 1.1: within.
    assert_eq!(of(55.0, 3), 3);
    // 56 / 50 = 1.12; ceil(3.36).
    assert_eq!(of(56.0, 3), 4);
    // 45 / 50 = 0.9: within.
    assert_eq!(of(45.0, 10), 10);
    // 25 / 50 = 0.5; ceil(1.5).
    assert_eq!(of(25.0, 3), 2);
    // 0 / 50 = 0.
    assert_eq!(of(0.0, 3), 0);
}

#[test]
fn of_a_value_ready_pods_are_multiplied() {
    // 2 x 3 ready ones, though 5 are there.
    assert_eq!(total(Target::Value(50.0), 100.0, 5, 3, 2), 6);
    // 0.5 x 3 = 1.5.
    assert_eq!(total(Target::Value(50.0), 25.0, 5, 3, 2), 2);
    // 1.1 is within: the 5 that are specified.
    assert_eq!(total(Target::Value(50.0), 55.0, 5, 3, 2), 5);
}

#[test]
fn of_a_value_from_zero() {
    let of = |value| total(Target::Value(50.0), value, 0, 0, 0);
    // ceil(100 / 50).
    assert_eq!(of(100.0), 2);
    // ceil(1 / 50).
    assert_eq!(of(1.0), 1);
    // ceil(0).
    assert_eq!(of(0.0), 0);
    // ceil(52 / 50 = 1.04): no tolerance at zero.
    assert_eq!(of(52.0), 2);
}

#[test]
fn of_a_value_without_a_pod_that_is_specified() {
    // 2 are specified and none is there: an error, and the count stays.
    assert_eq!(total(Target::Value(50.0), 100.0, 2, 0, 0), 2);
}

#[test]
fn of_an_average() {
    let of = |value, pods| total(Target::AverageValue(20.0), value, pods as u32, pods, 0);
    // 100 / (20 x 3) = 1.67; ceil(100 / 20).
    assert_eq!(of(100.0, 3), 5);
    // 66 / 60 = 1.1: within.
    assert_eq!(of(66.0, 3), 3);
    // 67 / 60 = 1.117; ceil(3.35).
    assert_eq!(of(67.0, 3), 4);
    // 54 / 60 = 0.9: within.
    assert_eq!(of(54.0, 3), 3);
    // 178 / 200 = 0.89; ceil(8.9).
    assert_eq!(of(178.0, 10), 9);
    // 0 / 60 = 0; 0.
    assert_eq!(of(0.0, 3), 0);
}

#[test]
fn of_an_average_every_pod_counts() {
    // 100 / (20 x 5) = 1: the 5 that are there, ready or not.
    assert_eq!(total(Target::AverageValue(20.0), 100.0, 5, 3, 2), 5);
    // 200 / 100 = 2; ceil(200 / 20), whoever is ready.
    assert_eq!(total(Target::AverageValue(20.0), 200.0, 5, 3, 2), 10);
}

#[test]
fn of_an_average_from_zero() {
    let of = |value| total(Target::AverageValue(20.0), value, 0, 0, 0);
    // 100 / 0 is infinite, so outside of the tolerance; ceil(100 / 20).
    assert_eq!(of(100.0), 5);
    // 0 / 0 is no number, so outside; ceil(0).
    assert_eq!(of(0.0), 0);
    // ceil(1 / 20).
    assert_eq!(of(1.0), 1);
}

#[test]
fn several_series_are_added_up() {
    // 30 + 70 = 100; 100 / 50 = 2; 3 x 2.
    let (instances, usages) = pods(&[Pod::Used(30_000), Pod::Used(70_000), Pod::Missing]);
    let policy = TargetTracking { min: 0, ..hpa([Metric::new("jobs", Target::Value(50.0))]) };
    let metrics = [Sample::instances("jobs", &usages, now())];
    let observation = Observation::at(now()).target(3).instances(&instances).metrics(&metrics);
    assert_eq!(Scaler::new(policy).unwrap().decide(&observation).wanted, 6);
}
