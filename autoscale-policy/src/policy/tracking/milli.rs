//! Quantities are counted in thousandths, rounded up.

/// Below this, every whole number is one of floating point, 2^53.
pub(super) const EXACT: f64 = 9_007_199_254_740_992.0;
/// Beyond this, thousandths are no longer whole.
pub(super) const LARGE: f64 = 4e12;

/// In thousandths, rounded up.
pub(super) fn milli(value: f64) -> i64 {
    thousandths(value).ceil() as i64
}

/// The same for what is below [`LARGE`], without `ceil`, which is a call where the
/// processor is not known.
pub(super) fn whole_milli(value: f64) -> f64 {
    let exact = thousandths(value);
    // Adding half of that leaves no room for a fraction: to the nearest whole number.
    let nearest = exact + EXACT / 2.0 - EXACT / 2.0;
    if nearest < exact { nearest + 1.0 } else { nearest }
}

fn thousandths(value: f64) -> f64 {
    // So that 0.57, which is no binary fraction, is 570 and not 571.
    value * 1000.0 - 1e-6
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::{LARGE, milli, whole_milli};

    #[test]
    fn rounds_up_what_is_more_than_a_whole_one() {
        let of = [0.0, 0.57, 0.0011, 1.0, 1.0001, 1e12, 4e12 - 1.0];
        let expected = [0, 570, 2, 1_000, 1_001, 1_000_000_000_000_000, 3_999_999_999_999_000];
        assert_eq!(of.map(milli), expected);
    }

    proptest! {
        #[test]
        fn both_ways_are_one(
            value in prop_oneof![0.0..2.0_f64, 0.0..1e6_f64, 0.0..LARGE, Just(0.0)],
            thousandths in 0..1_000_000_u32,
        ) {
            for value in [value, f64::from(thousandths) / 1e3, value.trunc()] {
                prop_assert_eq!(milli(value), whole_milli(value) as i64);
            }
        }
    }
}
