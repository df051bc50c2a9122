//! `Resource` with `averageUtilization`: the ratio, its tolerance, its integers.

use std::time::Duration;

use autoscale_policy::{Behavior, Metric, Observation, Sample, Scaler, TargetTracking};

use crate::world::{Pod, asked, asked_at, cpu, each, hpa, now, pods};

#[test]
fn the_ratio_and_its_tolerance() {
    // 70 / 70 = 1.0.
    assert_eq!(cpu(70, &each(4, 700)), 4);
    // 77 / 70 = 1.1: the edge is within.
    assert_eq!(cpu(70, &each(4, 770)), 4);
    // 78 / 70 = 1.114; ceil(4 x 1.114 = 4.46).
    assert_eq!(cpu(70, &each(4, 780)), 5);
    // 63 / 70 = 0.9: the edge is within.
    assert_eq!(cpu(70, &each(10, 630)), 10);
    // 62 / 70 = 0.886; ceil(10 x 0.886 = 8.86).
    assert_eq!(cpu(70, &each(10, 620)), 9);
    // 62 / 70 = 0.886; ceil(4 x 0.886 = 3.54): outside of the tolerance, and no change.
    assert_eq!(cpu(70, &each(4, 620)), 4);
    // 77 / 70 = 1.1.
    assert_eq!(cpu(70, &each(10, 770)), 10);
    // 78 / 70 = 1.114; ceil(11.14).
    assert_eq!(cpu(70, &each(10, 780)), 12);
    // 100 / 50 = 2; 1 x 2.
    assert_eq!(cpu(50, &each(1, 1000)), 2);
    // 90 / 50 = 1.8; ceil(3 x 1.8 = 5.4).
    assert_eq!(cpu(50, &each(3, 900)), 6);
    // 35 / 70 = 0.5; 20 x 0.5.
    assert_eq!(cpu(70, &each(20, 350)), 10);
    // 10 / 70 = 0.143; ceil(8 x 0.143 = 1.14).
    assert_eq!(cpu(70, &each(8, 100)), 2);
    // 0 / 70 = 0; ceil(0).
    assert_eq!(cpu(70, &each(5, 0)), 0);
    // 105 / 70 = 1.5; 2 x 1.5.
    assert_eq!(cpu(70, &each(2, 1050)), 3);
    // 80 / 70 = 1.143; ceil(9 x 1.143 = 10.29).
    assert_eq!(cpu(70, &each(9, 800)), 11);
    // 300 / 50 = 6; 4 x 6.
    assert_eq!(cpu(50, &each(4, 3000)), 24);
}

#[test]
fn utilisation_is_a_whole_number_of_percent() {
    // 2,337 of 3,000 are 77.9 %, which is 77: 77 / 70 = 1.1, within. 77.9 would not be.
    assert_eq!(cpu(70, &each(3, 779)), 3);
    // 6,299 of 10,000 are 62.99 %, which is 62: 0.886; ceil(8.86). 63 would be within.
    let mut some = each(9, 630);
    some.push(Pod::Used(629));
    assert_eq!(cpu(70, &some), 9);
    // 999 of 1,000 are 99 %: 99 / 50 = 1.98; ceil(1.98).
    assert_eq!(cpu(50, &each(1, 999)), 2);
    // 1,009 of 1,000 are 100 %: 100 / 50 = 2. 100.9 would make 3.
    assert_eq!(cpu(50, &each(1, 1009)), 2);
}

#[test]
fn utilisation_is_of_all_requests_together() {
    // 2,000 of 4,000 are 50 %, not the mean of 100 % and 33 %: 50 / 80 = 0.625; ceil(2.5).
    let some = [Pod::Of(500, 500), Pod::Of(500, 500), Pod::Of(500, 1500), Pod::Of(500, 1500)];
    assert_eq!(cpu(80, &some), 3);
    // 3,000 of 4,000 are 75 %: 75 / 50 = 1.5; 2 x 1.5.
    assert_eq!(cpu(50, &[Pod::Of(0, 1000), Pod::Of(3000, 3000)]), 3);
}

#[test]
fn a_tolerance_for_each_direction() {
    let up = |tolerance_up, some: &[Pod]| {
        asked(TargetTracking { tolerance_up, ..hpa([Metric::cpu(70)]) }, "cpu", some)
    };
    let down = |tolerance_down, some: &[Pod]| {
        asked(TargetTracking { tolerance_down, ..hpa([Metric::cpu(70)]) }, "cpu", some)
    };
    // 74 / 70 = 1.057, above 1.05; ceil(4.23).
    assert_eq!(up(0.05, &each(4, 740)), 5);
    // 73 / 70 = 1.043, within 1.05.
    assert_eq!(up(0.05, &each(4, 730)), 4);
    // 71 / 70 = 1.014, above 1; ceil(10.14).
    assert_eq!(up(0.0, &each(10, 710)), 11);
    // 105 / 70 = 1.5, within 1.5.
    assert_eq!(up(0.5, &each(4, 1050)), 4);
    // 106 / 70 = 1.514; ceil(6.06).
    assert_eq!(up(0.5, &each(4, 1060)), 7);
    // The other direction has its own: 65 / 70 = 0.929, within 0.9.
    assert_eq!(up(0.0, &each(20, 650)), 20);
    // 65 / 70 = 0.929, below 1; ceil(18.57).
    assert_eq!(down(0.0, &each(20, 650)), 19);
    // 50 / 70 = 0.714, within 0.7.
    assert_eq!(down(0.3, &each(10, 500)), 10);
    // 48 / 70 = 0.686; ceil(6.86).
    assert_eq!(down(0.3, &each(10, 480)), 7);
}

#[test]
fn limits_come_before_metrics() {
    let count = |min, max, current, some: &[Pod]| {
        let (instances, usages) = pods(some);
        let metrics = [Sample::instances("cpu", &usages, now())];
        // At once, so that what was there at the beginning does not hold it.
        let mut at_once = Behavior::default();
        at_once.r#in.window = Duration::ZERO;
        let behavior = Some(at_once);
        let policy = TargetTracking { min, max, behavior, ..hpa([Metric::cpu(70)]) };
        let observation =
            Observation::at(now()).target(current).instances(&instances).metrics(&metrics);
        let decision = Scaler::new(policy).unwrap().decide(&observation);
        match decision.action {
            autoscale_policy::Action::Hold => decision.current,
            autoscale_policy::Action::ScaleTo(n) => n,
        }
    };
    // 12 are above 10: 10, whatever the metric says.
    assert_eq!(count(1, 10, 12, &each(12, 2000)), 10);
    // 1 is below 3: 3.
    assert_eq!(count(3, 10, 1, &each(1, 10)), 3);
    // 0 replicas and a minimum above it: the HPA is off.
    assert_eq!(count(1, 10, 0, &[]), 0);
    // 9 x 140 / 70 = 18, and at most 10.
    assert_eq!(count(1, 10, 9, &each(9, 1400)), 10);
    // 6 x 7 / 70 = 0.6, and at least 2.
    assert_eq!(count(2, 10, 6, &each(6, 70)), 2);
}

#[test]
fn what_is_ready_is_multiplied_and_not_what_is_specified() {
    // 100 / 80 = 1.25 of 4 ready ones is 5, though 6 are specified.
    assert_eq!(asked_at(hpa([Metric::cpu(80)]), "cpu", 6, &each(4, 1000)), 5);
    // 40 / 80 = 0.5 of 8 that are still there is 4, though 3 are specified.
    assert_eq!(asked_at(hpa([Metric::cpu(80)]), "cpu", 3, &each(8, 400)), 4);
}
