//! What every [`Strategy`] must hold to, for those who write their own.

use std::collections::HashSet;

use crate::key::ShardKey;
use crate::strategy::{Growth, Strategy};

/// How many keys of each kind are placed.
const KEYS: i64 = 20_000;

/// Checks strategies that `make` builds over these many shards, called `s0`, `s1`, and so on,
/// with equal weights. The keys are `(text, bigint)`.
///
/// - A second one, made alike, agrees with the first on every key.
/// - Every place is the number of a shard, and each shard has keys.
/// - The fullest shard is within the [`spread`](Strategy::spread) that it states.
/// - If its growth is [`Minimal`](Growth::Minimal), a shard more takes keys, and no others
///   move; if it is [`ByHand`](Growth::ByHand), none is checked to move.
///
/// # Panics
///
/// If one of these does not hold, saying which.
pub fn strategy<S: Strategy>(make: impl Fn(usize) -> S) {
    strategy_of_texts(&["a", "zürich", "", "0123456789abcdef"], make);
}

/// The same for one that knows certain texts only: keys begin with these in turn.
///
/// # Panics
///
/// As [`strategy`].
pub fn strategy_of_texts<S: Strategy>(texts: &[&str], make: impl Fn(usize) -> S) {
    let keys = || texts.iter().copied().cycle().zip((0..KEYS).map(|number| number * 7 - KEYS));
    for shards in [1, 2, 3, 8, 13] {
        let (one, other) = (make(shards), make(shards));
        let names = one.shards();
        let name = one.name();
        assert_eq!(names.len(), shards, "{name}: asked for {shards} shards");
        assert_eq!(
            names.iter().collect::<HashSet<_>>().len(),
            shards,
            "{name}: two shards have one name"
        );
        assert!(
            !name.is_empty() && name.bytes().all(|byte| byte.is_ascii_lowercase()),
            "{name}: a name is in lower case"
        );
        let mut counts = vec![0_u64; shards];
        for key in keys() {
            let place = |strategy: &S| {
                key.parts(|parts| strategy.place(parts))
                    .unwrap_or_else(|error| panic!("{name}: {key:?} has no place: {error}"))
            };
            let at = place(&one);
            assert_eq!(
                at,
                place(&other),
                "{name}: two that were made alike disagree on {key:?}"
            );
            assert_eq!(at, place(&one), "{name}: {key:?} is placed anew at each call");
            let count = counts.get_mut(at);
            *count.unwrap_or_else(|| panic!("{name}: {key:?} is on shard {at} of {shards}")) +=
                1;
        }
        if let Some(spread) = one.spread() {
            let mean = KEYS as f64 / shards as f64;
            for (shard, count) in counts.iter().enumerate() {
                assert!(*count > 0, "{name}: shard {shard} of {shards} has no key");
                // Sampling alone moves a share by some standard deviations.
                let most = mean * spread + 5.0 * mean.sqrt();
                assert!(
                    (*count as f64) <= most,
                    "{name}: shard {shard} of {shards} has {count} keys, of {mean:.0} on average"
                );
            }
        }
        if one.growth() == Growth::Minimal {
            grows(&one, &make(shards + 1), keys());
        }
    }
}

fn grows<'a>(
    before: &dyn Strategy,
    after: &dyn Strategy,
    keys: impl Iterator<Item = (&'a str, i64)>,
) {
    let (name, old, new) = (before.name(), before.shards(), after.shards());
    let mut moved = 0_u64;
    for key in keys {
        let place = |strategy: &dyn Strategy| key.parts(|parts| strategy.place(parts));
        let (Ok(from), Ok(to)) = (place(before), place(after)) else { continue };
        if old[from] != new[to] {
            moved += 1;
            assert!(
                !old.contains(&new[to]),
                "{name}: with a shard more, {key:?} moves from {} to {}, which was there",
                old[from],
                new[to]
            );
        }
    }
    let ideal = KEYS as f64 / new.len() as f64;
    let spread = after.spread().unwrap_or(f64::INFINITY);
    assert!(
        moved as f64 <= ideal * spread + 5.0 * ideal.sqrt(),
        "{name}: with a shard more, {moved} keys move, and {ideal:.0} would do"
    );
}
