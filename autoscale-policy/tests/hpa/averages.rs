//! `Pods` and `Resource` with `averageValue`.

use autoscale_policy::{Metric, Target, TargetTracking};

use crate::world::{Pod, asked, each, hpa};

/// A metric of pods, 10 an instance.
fn jobs(some: &[Pod]) -> u32 {
    asked(hpa([Metric::new("jobs", Target::PodsAverage(10.0))]), "jobs", some)
}

fn with(count: usize, value: u32, other: Pod) -> Vec<Pod> {
    [each(count, value * 1000), vec![other]].concat()
}

#[test]
fn of_pods() {
    // 20 / 10 = 2; 4 x 2.
    assert_eq!(jobs(&each(4, 20_000)), 8);
    // 11 / 10 = 1.1: within.
    assert_eq!(jobs(&each(4, 11_000)), 4);
    // 11.001 / 10 = 1.1001; ceil(4.4).
    assert_eq!(jobs(&each(4, 11_001)), 5);
    // 9 / 10 = 0.9: within.
    assert_eq!(jobs(&each(10, 9_000)), 10);
    // 5 / 10 = 0.5; 10 x 0.5.
    assert_eq!(jobs(&each(10, 5_000)), 5);
}

#[test]
fn averages_are_whole_thousandths() {
    // 30,002 / 3 is 10,000 thousandths: 1, within a tolerance of none. 10,000.67 is not.
    let policy = TargetTracking {
        tolerance_up: 0.0,
        ..hpa([Metric::new("jobs", Target::PodsAverage(10.0))])
    };
    let some = [Pod::Used(10_000), Pod::Used(10_000), Pod::Used(10_002)];
    assert_eq!(asked(policy.clone(), "jobs", &some), 3);
    // 30,003 / 3 = 10,001: 1.0001; ceil(3.0003).
    let some = [Pod::Used(10_000), Pod::Used(10_000), Pod::Used(10_003)];
    assert_eq!(asked(policy, "jobs", &some), 4);
}

#[test]
fn missing_pods() {
    // 0.5, so at the target: 30 / 5 = 6, 0.6; 5 x 0.6.
    assert_eq!(jobs(&with(4, 5, Pod::Missing)), 3);
    // 2, so as 0: 80 / 5 = 16, 1.6; 5 x 1.6.
    assert_eq!(jobs(&with(4, 20, Pod::Missing)), 8);
    // 1.5, so as 0: 15 / 2 = 7.5, 0.75: turned round.
    assert_eq!(jobs(&with(1, 15, Pod::Missing)), 2);
    // 1: neither way, within.
    assert_eq!(jobs(&with(4, 10, Pod::Missing)), 5);
    // 0.8, so at the target: 42 / 5 = 8.4, 0.84; ceil(4.2).
    assert_eq!(jobs(&with(4, 8, Pod::Missing)), 5);
}

#[test]
fn unready_pods() {
    // Pending: 2, so as 0: 80 / 5 = 16, 1.6; 8.
    assert_eq!(jobs(&with(4, 20, Pod::Pending)), 8);
    // Pending, inwards: left out. 0.5; 4 x 0.5.
    assert_eq!(jobs(&with(4, 5, Pod::Pending)), 2);
    // Not CPU, so one that runs and has a metric counts, ready or not: 5 x 2.
    assert_eq!(jobs(&with(4, 20, Pod::Warming(20_000))), 10);
    // One that runs and has none is missing: 80 / 5, 1.6; 8.
    assert_eq!(jobs(&with(4, 20, Pod::WarmingMissing)), 8);
    // And inwards at the target: 30 / 5, 0.6; 3.
    assert_eq!(jobs(&with(4, 5, Pod::WarmingMissing)), 3);
}

#[test]
fn of_a_resource() {
    let cpu = || hpa([Metric::new("cpu", Target::ResourceAverage(0.5))]);
    // 0.25 / 0.5 = 0.5; 4 x 0.5. Requests do not count.
    assert_eq!(asked(cpu(), "cpu", &[Pod::Of(250, 9000); 4]), 2);
    // CPU looks at readiness here, too: 2, the warming one as 0: 4 / 5 = 0.8, 1.6; 8.
    let some = [each(4, 1000), vec![Pod::Warming(5000)]].concat();
    assert_eq!(asked(cpu(), "cpu", &some), 8);
    // 550 / 500 = 1.1: within.
    assert_eq!(asked(cpu(), "cpu", &each(4, 550)), 4);
    // Memory, of 500 thousand: 1 million / 500 thousand = 2; 4 x 2.
    let memory = hpa([Metric::new("memory", Target::ResourceAverage(500_000.0))]);
    assert_eq!(asked(memory, "memory", &each(4, 1_000_000_000)), 8);
}
