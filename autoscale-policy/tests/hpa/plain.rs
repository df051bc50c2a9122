//! An HPA without a `behavior`: another window, and another limit on how fast it grows.

use crate::world::Deployment;

#[test]
fn out_to_the_double_or_to_4() {
    let first = |count| Deployment::plain(count).wants(0, 90);
    // max(2 x 1, 4).
    assert_eq!(first(1), 4);
    // max(2 x 2, 4).
    assert_eq!(first(2), 4);
    // max(2 x 3, 4).
    assert_eq!(first(3), 6);
    // max(2 x 10, 4).
    assert_eq!(first(10), 20);
    // 2 x 44 = 88.
    assert_eq!(first(44), 88);
    // 2 x 45 = 90, which is what is wanted.
    assert_eq!(first(45), 90);
    // max(2 x 0, 4), where zero is allowed.
    assert_eq!(Deployment::of(0, 0, None).wants(0, 90), 4);
    // And where it is not, it is off.
    assert_eq!(Deployment::of(0, 1, None).wants(0, 90), 0);
}

#[test]
fn there_is_no_period() {
    let mut deployment = Deployment::plain(4);
    assert_eq!(deployment.wants(0, 90), 8);
    // Whenever it looks: 2 x 8.
    assert_eq!(deployment.wants(1, 90), 16);
    // 2 x 16.
    assert_eq!(deployment.wants(2, 90), 32);
}

#[test]
fn at_most_the_maximum() {
    // 2 x 60 = 120, above the 100 that may be.
    assert_eq!(Deployment::plain(60).wants(0, 110), 100);
}

#[test]
fn in_to_the_most_of_300_s() {
    let mut deployment = Deployment::plain(20);
    // 20 were there when it began: max(20, 1).
    assert_eq!(deployment.wants(0, 1), 20);
    // What is as old as the window counts.
    assert_eq!(deployment.wants(300, 2), 20);
    // What is older does not: max(2, 1), all at once.
    assert_eq!(deployment.wants(301, 1), 2);
    // max(2, 1, 0).
    assert_eq!(deployment.wants(600, 0), 2);
    // max(1, 0, 0).
    assert_eq!(deployment.wants(601, 0), 1);
    // max(0, 0, 0), and at least 1.
    assert_eq!(deployment.wants(902, 0), 1);
}

#[test]
fn out_to_the_most_of_300_s_too() {
    let mut deployment = Deployment::plain(4);
    // 20, of which 2 x 4.
    assert_eq!(deployment.wants(0, 20), 8);
    // max(4, 20, 9) = 20, of which 2 x 8: though no more than 9 are wanted by now.
    assert_eq!(deployment.wants(15, 9), 16);
    // max(4, 20, 9, 9) = 20, of 2 x 16.
    assert_eq!(deployment.wants(30, 9), 20);
    // 20 of 0 s is outside: max(9, 9, 9).
    assert_eq!(deployment.wants(301, 9), 9);
}

#[test]
fn a_decision_without_a_metric_is_no_recommendation() {
    let mut deployment = Deployment::plain(10);
    assert_eq!(deployment.wants(0, 10), 10);
    // Nothing is known: an error, and nothing is recorded.
    assert_eq!(deployment.knows_nothing(200), 10);
    // What was said at 0 is outside, and at 200 nothing was: 3.
    assert_eq!(deployment.wants(301, 3), 3);
}
