//! Pods that are not ready: idle when scaling out, nothing when scaling in.

use autoscale_policy::{Metric, Phase};

use crate::world::{Pod, asked, asked_at, cpu, each, hpa};

fn and(count: usize, milli: u32, other: Pod) -> Vec<Pod> {
    [each(count, milli), vec![other]].concat()
}

#[test]
fn warming_pods() {
    // 100 / 50 = 2, so as 0: 3,000 of 4,000 = 75 %, 1.5; 4 x 1.5. Its own 500 % is dropped.
    assert_eq!(cpu(50, &and(3, 1000, Pod::Warming(5000))), 6);
    // 60 / 50 = 1.2, so as 0: 1,800 of 4,000 = 45 %, 0.9: within.
    assert_eq!(cpu(50, &and(3, 600, Pod::Warming(5000))), 4);
    // 57 / 50 = 1.14, so as 0: 1,710 of 4,000 = 42 %, 0.84: turned round.
    assert_eq!(cpu(50, &and(3, 570, Pod::Warming(5000))), 4);
    // 20 / 50 = 0.4, left out: ceil(3 x 0.4 = 1.2).
    assert_eq!(cpu(50, &and(3, 200, Pod::Warming(5000))), 2);
    // 50 / 50 = 1: the count stays, 4.
    assert_eq!(cpu(50, &and(3, 500, Pod::Warming(5000))), 4);
    // Nothing but warming ones: no metric is left, an error, and the count stays.
    assert_eq!(cpu(50, &[Pod::Warming(5000); 2]), 2);
}

#[test]
fn pending_pods_are_unready_pods() {
    // 2, so as 0: 75 %, 1.5; 6.
    assert_eq!(cpu(50, &and(3, 1000, Pod::Pending)), 6);
    // 0.4, left out: ceil(1.2).
    assert_eq!(cpu(50, &and(3, 200, Pod::Pending)), 2);
}

#[test]
fn pods_that_end_are_not_there() {
    // 2 x 3: a failed one is not counted.
    assert_eq!(cpu(50, &and(3, 1000, Pod::Failed)), 6);
    // 0.4 x 3 = 1.2: nor one that is being deleted.
    assert_eq!(cpu(50, &and(3, 200, Pod::Deleting(0))), 2);
    // Nor what it uses.
    assert_eq!(cpu(50, &and(3, 200, Pod::Deleting(9000))), 2);
}

#[test]
fn a_pod_counts_once_a_whole_window_was_measured_since_it_was_ready() {
    // Started 100 s ago, ready for 20 s, a window of 30 s: not yet. 2, so as 0: 1.5; 6.
    let fresh = Pod::Any(Phase::Ready, Some(100), 20, 1000);
    assert_eq!(cpu(50, &and(3, 1000, fresh)), 6);
    // Ready for 30 s: the window began when it was ready. 4,000 of 4,000, 2; 8.
    let settled = Pod::Any(Phase::Ready, Some(100), 30, 1000);
    assert_eq!(cpu(50, &and(3, 1000, settled)), 8);
    // Started 301 s ago, so past the initialisation, and ready: it counts. 8.
    let late = Pod::Any(Phase::Ready, Some(301), 1, 1000);
    assert_eq!(cpu(50, &and(3, 1000, late)), 8);
}

#[test]
fn after_initialisation_only_pods_that_never_were_ready_are_left_out() {
    // Past 5 min, never ready: left out. 0.4; ceil(1.2).
    let never = Pod::Any(Phase::Warming, Some(301), 301, 1000);
    assert_eq!(cpu(50, &and(3, 200, never)), 2);
    // Became unready 200 s after its start: it counts. 1,600 of 4,000 = 40 %, 0.8; ceil(3.2).
    let was = Pod::Any(Phase::Warming, Some(400), 200, 1000);
    assert_eq!(cpu(50, &and(3, 200, was)), 4);
    // Unready since 30 s after its start, the initial delay: it counts. 4.
    let edge = Pod::Any(Phase::Warming, Some(400), 370, 1000);
    assert_eq!(cpu(50, &and(3, 200, edge)), 4);
    // Since 29 s after: within the delay, left out. 2.
    let within = Pod::Any(Phase::Warming, Some(400), 371, 1000);
    assert_eq!(cpu(50, &and(3, 200, within)), 2);
    // Started 300 s ago is past the initialisation: it counts. 4.
    let at = Pod::Any(Phase::Warming, Some(300), 200, 1000);
    assert_eq!(cpu(50, &and(3, 200, at)), 4);
    // 299 s ago is within: not ready, left out. 2.
    let before = Pod::Any(Phase::Warming, Some(299), 199, 1000);
    assert_eq!(cpu(50, &and(3, 200, before)), 2);
    // Without a start it is not ready. 2.
    let unknown = Pod::Any(Phase::Ready, None, 1000, 1000);
    assert_eq!(cpu(50, &and(3, 200, unknown)), 2);
}

#[test]
fn missing_and_unready_pods_together() {
    // 2, both as 0: 3,000 of 5,000 = 60 %, 1.2; 5 x 1.2.
    let out = [each(3, 1000), vec![Pod::Missing, Pod::Warming(0)]].concat();
    assert_eq!(cpu(50, &out), 6);
    // 0.4: the missing one as 100 %, the unready one left out: 1,600 of 4,000, 0.8; ceil(3.2).
    let fewer = [each(3, 200), vec![Pod::Missing, Pod::Warming(0)]].concat();
    assert_eq!(cpu(50, &fewer), 4);
    // 1.2, both as 0: 1,800 of 5,000 = 36 %, 0.72: turned round.
    let turned = [each(3, 600), vec![Pod::Missing, Pod::Pending]].concat();
    assert_eq!(cpu(50, &turned), 5);
}

#[test]
fn only_cpu_looks_at_readiness() {
    let memory = Metric::new("memory", autoscale_policy::Target::Utilization(50));
    // 4,000 of 4,000, 2; 4 x 2.
    let some = and(3, 1000, Pod::Warming(1000));
    assert_eq!(asked(hpa([memory.clone()]), "memory", &some), 8);
    // Pending ones are unready for every metric: 75 %, 1.5; 6.
    let some = and(3, 1000, Pod::Pending);
    assert_eq!(asked(hpa([memory]), "memory", &some), 6);
}

#[test]
fn unready_pods_do_not_turn_it_round_by_their_number() {
    // 2, so as 0: 75 %, 1.5; 6, below the 7 specified: 7.
    let some = and(3, 1000, Pod::Pending);
    assert_eq!(asked_at(hpa([Metric::cpu(50)]), "cpu", 7, &some), 7);
}

#[test]
fn cpu_of_a_container_looks_at_readiness_too() {
    let of = |name: &str| Metric::new(name, autoscale_policy::Target::Utilization(50));
    let some = and(3, 1000, Pod::Warming(1000));
    // 2, the warming one as 0: 75 %, 1.5; 6.
    assert_eq!(asked(hpa([of("cpu/app")]), "cpu/app", &some), 6);
    // Another metric whose name begins so: 4,000 of 4,000, 2; 8.
    assert_eq!(asked(hpa([of("cpu-share")]), "cpu-share", &some), 8);
}

#[test]
fn a_pod_that_was_ready_and_is_not_within_initialisation_is_left_out() {
    // Started 200 s ago, unready for 10 s, its metric as of now: left out. 0.4; ceil(1.2).
    let again = Pod::Any(Phase::Warming, Some(200), 10, 1000);
    assert_eq!(cpu(50, &and(3, 200, again)), 2);
    // On the way out as 0: 3,000 of 4,000 = 75 %, 1.5; 6.
    assert_eq!(cpu(50, &and(3, 1000, again)), 6);
    // The same past initialisation counts: 3,200 of 4,000 = 80 %, 1.6; ceil(6.4).
    let later = Pod::Any(Phase::Warming, Some(500), 10, 200);
    assert_eq!(cpu(50, &and(3, 1000, later)), 7);
}
