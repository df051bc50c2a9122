//! Several metrics: the most counts, and one that is invalid blocks scaling in.

use autoscale_policy::{InstanceId, Metric, Observation, Sample, Scaler, Target, Usage};

use crate::world::{Pod, each, hpa, now, pods, s};

/// Four pods; CPU at 50 %, and jobs at 10 for each pod.
fn of(cpu: Option<u32>, jobs: Option<f64>) -> u32 {
    let (instances, usages) = pods(&each(4, cpu.unwrap_or(0)));
    let mut metrics = Vec::new();
    if cpu.is_some() {
        metrics.push(Sample::instances("cpu", &usages, now()));
    }
    metrics.extend(jobs.map(|jobs| Sample::fleet("jobs", jobs, now())));
    let policy = hpa([Metric::cpu(50), Metric::new("jobs", Target::AverageValue(10.0))]);
    let observation = Observation::at(now()).target(4).instances(&instances).metrics(&metrics);
    Scaler::new(policy).unwrap().decide(&observation).wanted
}

#[test]
fn the_most_counts() {
    // CPU 75 / 50 = 1.5, 6; jobs 40 / 40 = 1, 4: 6.
    assert_eq!(of(Some(750), Some(40.0)), 6);
    // CPU 25 / 50 = 0.5, 2; jobs 90 / 10, 9: 9.
    assert_eq!(of(Some(250), Some(90.0)), 9);
    // CPU 2; jobs 30 / 40 = 0.75, 3: 3.
    assert_eq!(of(Some(250), Some(30.0)), 3);
    // CPU within, 4; jobs 20 / 40 = 0.5, 2: 4.
    assert_eq!(of(Some(500), Some(20.0)), 4);
    // CPU 12 / 50 = 0.24, ceil(0.96); jobs 5 / 40, ceil(0.5): 1.
    assert_eq!(of(Some(120), Some(5.0)), 1);
}

#[test]
fn an_invalid_one_blocks_scaling_in_only() {
    // Jobs 80 / 10 = 8, above the 4: 8.
    assert_eq!(of(None, Some(80.0)), 8);
    // Jobs 2, below the 4, and CPU is unknown: an error, 4.
    assert_eq!(of(None, Some(20.0)), 4);
    // Jobs within, 4, not below: 4.
    assert_eq!(of(None, Some(41.0)), 4);
    // CPU 6, above: 6.
    assert_eq!(of(Some(750), None), 6);
    // CPU 2, below, and jobs are unknown: 4.
    assert_eq!(of(Some(250), None), 4);
    // All invalid: an error, 4.
    assert_eq!(of(None, None), 4);
}

#[test]
fn the_order_of_usages_is_no_matter() {
    let some = [
        each(3, 1000),
        vec![Pod::Missing, Pod::MissingOf(500), Pod::Warming(700), Pod::Pending],
        vec![Pod::Of(300, 400), Pod::Failed, Pod::Deleting(100), Pod::Used(4_000_000)],
    ]
    .concat();
    for target in [
        Target::Utilization(50),
        Target::Utilization(200_000),
        Target::ResourceAverage(1.0),
        Target::PodsAverage(2_000.0),
    ] {
        let (instances, usages) = pods(&some);
        let mut reversed = usages.clone();
        reversed.reverse();
        // A figure of a pod that is gone, one that is older, and some that are neither.
        let mut more = usages.clone();
        more.push(Usage::new(InstanceId::new(999), 1e9, now()));
        more.push(Usage { usage: 1e9, at: now() - s(20), ..usages[0] });
        let asked = [&usages, &reversed, &more].map(|usages| {
            let metrics = [Sample::instances("cpu", usages, now())];
            let observation = Observation::at(now()).instances(&instances).metrics(&metrics);
            let policy = hpa([Metric::new("cpu", target)]);
            Scaler::new(policy).unwrap().decide(&observation).wanted
        });
        assert_eq!(asked, [asked[0]; 3], "{target:?}");
    }
}
