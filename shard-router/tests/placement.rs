//! Maps, plans and strategies, without a server.
#![allow(clippy::unwrap_used, reason = "a panic is how a test fails")]

use proptest::prelude::*;
use shard_router::strategy::{
    Bound, Directory, Geo, Jump, Modulo, PlaceError, Range, Rendezvous, Ring, Strategy, moved,
};
use shard_router::{
    Epoch, KeyType, KeyValue, MapError, SLOTS, ShardKey, Slot, SlotMap, SlotRange, conformance,
};

fn names(count: usize) -> Vec<String> {
    (0..count).map(|number| format!("s{number}")).collect()
}

fn weighted(count: usize) -> impl Iterator<Item = (String, u32)> {
    names(count).into_iter().map(|name| (name, 1))
}

#[test]
fn every_strategy_conforms() {
    conformance::strategy(|shards| {
        // A map grows by plans.
        (1..shards).fold(SlotMap::even(["s0"]).unwrap(), |map, number| {
            map.plan().add_shard(format!("s{number}"), 1).build().unwrap().map().clone()
        })
    });
    conformance::strategy(|shards| Ring::new(weighted(shards), 128).unwrap());
    conformance::strategy(|shards| Rendezvous::new(weighted(shards)).unwrap());
    conformance::strategy(|shards| Jump::new(names(shards)).unwrap());
    conformance::strategy(|shards| Modulo::new(names(shards)).unwrap());
    conformance::strategy(|shards| Directory::with_default(Jump::new(names(shards)).unwrap()));
    conformance::strategy(|shards| {
        let starts = (0..shards).map(|n| {
            let bound = KeyValue::Text(format!("{n:02}"));
            (if n == 0 { Bound::Lowest } else { Bound::At(bound) }, format!("s{n}"))
        });
        Range::new(KeyType::Text, starts).unwrap()
    });
    conformance::strategy_of_texts(&["eu"], |shards| {
        Geo::new().region("eu", Rendezvous::new(weighted(shards)).unwrap())
    });
}

#[test]
#[should_panic(expected = "disagree")]
fn the_suite_notices_a_random_strategy() {
    #[derive(Debug)]
    struct Random(Modulo, u64);
    impl Strategy for Random {
        fn name(&self) -> &'static str {
            "random"
        }
        fn shards(&self) -> Vec<shard_router::ShardName> {
            self.0.shards()
        }
        fn place(&self, parts: &[shard_router::KeyPart<'_>]) -> Result<usize, PlaceError> {
            let place = self.0.place(parts)? as u64 + self.1;
            Ok((place % self.0.shards().len() as u64) as usize)
        }
        fn growth(&self) -> shard_router::strategy::Growth {
            self.0.growth()
        }
        fn spread(&self) -> Option<f64> {
            None
        }
    }
    let made = std::cell::Cell::new(0);
    conformance::strategy(|shards| {
        made.set(made.get() + 1);
        Random(Modulo::new(names(shards)).unwrap(), made.get())
    });
}

/// 3 to 4 shards, as documents on the subject have it.
#[test]
fn a_fourth_shard_moves_a_quarter_of_the_slots_and_three_quarters_of_a_modulo() {
    let map = SlotMap::even(names(3)).unwrap();
    let plan = map.plan().add_shard("s3", 1).build().unwrap();
    assert_eq!(plan.moved_slots(), 4096);
    assert_eq!(plan.moved_percent().to_bits(), 25.0_f64.to_bits());
    let keys = || 0..200_000_i64;
    let slots = moved(&map, plan.map(), keys());
    assert!((slots - 0.25).abs() < 0.005, "{slots}");
    let modulo = |shards| Modulo::new(names(shards)).unwrap();
    let modulo = moved(&modulo(3), &modulo(4), keys());
    assert!((modulo - 0.75).abs() < 0.005, "{modulo}");
    let ring = |shards| Ring::new(weighted(shards), 128).unwrap();
    let ring = moved(&ring(3), &ring(4), keys());
    assert!((ring - 0.25).abs() < 0.06, "{ring}");
}

#[test]
fn shares_are_equal_to_one_slot() {
    for shards in (1..=64).chain([127, 300]) {
        let map = SlotMap::even(names(shards)).unwrap();
        let counts: Vec<_> =
            map.shards().map(|s| map.slot_count(s.as_str()).unwrap()).collect();
        let (least, most) = (counts.iter().min().unwrap(), counts.iter().max().unwrap());
        assert!(most - least <= 1, "{shards}");
        assert_eq!(counts.iter().map(|count| u32::from(*count)).sum::<u32>(), u32::from(SLOTS));
        if (2..=64).contains(&shards) {
            let mean = f64::from(SLOTS) / shards as f64;
            assert!(f64::from(*most) / mean <= 1.01, "{shards}: {most}");
        }
    }
}

/// What moves when a shard joins n even ones, or leaves.
#[test]
fn joining_and_leaving_move_what_they_must() {
    for shards in (1..=40).chain([64, 127, 128, 255]) {
        let map = SlotMap::even(names(shards)).unwrap();
        let plan = map.plan().add_shard("new", 1).build().unwrap();
        let ideal = f64::from(SLOTS) / (shards + 1) as f64;
        let moved = f64::from(plan.moved_slots());
        assert!(moved == ideal.floor() || moved == ideal.ceil(), "{shards}: {moved} {ideal}");
        assert!(plan.moves().iter().all(|moved| moved.to.as_str() == "new"), "{shards}");
        if shards == 1 {
            continue;
        }
        for gone in [0, shards / 2, shards - 1] {
            let gone = format!("s{gone}");
            let plan = map.plan().remove_shard(&gone).build().unwrap();
            assert_eq!(plan.moved_slots(), map.slot_count(&gone).unwrap(), "{shards}");
            assert!(plan.moves().iter().all(|moved| moved.from.as_str() == gone), "{shards}");
        }
    }
}

#[test]
fn a_slot_can_be_given_to_a_shard_of_its_own() {
    let map = SlotMap::even(["a", "b"]).unwrap();
    let slot = Slot::new(3).unwrap();
    let plan = map.plan().pin(slot, "b").build().unwrap();
    assert_eq!(plan.map().owner(slot).as_str(), "b");
    assert_eq!(plan.moved_slots(), 2, "it, and one back to keep shares equal");
    let error = map.plan().pin(slot, "c").build().unwrap_err();
    assert_eq!(error, MapError::UnknownShard { name: "c".into() });
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 64, ..ProptestConfig::default() })]

    /// Weights are exact to one slot, whatever came before, and a plan leaves no shard that
    /// both gives and takes.
    #[test]
    fn plans_are_exact_and_minimal(
        weights in proptest::collection::vec(1_u32..1000, 1..20),
        steps in proptest::collection::vec((0_u8..3, 0_usize..20, 1_u32..1000), 1..8),
    ) {
        let shards = names(weights.len()).into_iter().zip(weights.iter().copied());
        let mut map = SlotMap::weighted(shards).unwrap();
        for (number, (kind, which, weight)) in steps.into_iter().enumerate() {
            let which = map.shards().nth(which % map.shards().len()).unwrap().to_string();
            let plan = match kind {
                0 => map.plan().add_shard(format!("n{number}"), weight),
                1 => map.plan().reweight(which, weight),
                _ if map.shards().len() > 1 => map.plan().remove_shard(which),
                _ => continue,
            };
            let plan = plan.build().unwrap();
            let next = plan.map().clone();
            let total: u64 = next.weights().map(u64::from).sum();
            for (shard, weight) in next.shards().zip(next.weights()) {
                let count = f64::from(next.slot_count(shard.as_str()).unwrap());
                let exact = f64::from(SLOTS) * f64::from(weight) / total as f64;
                prop_assert!((count - exact).abs() < 1.0, "{shard}: {count} {exact}");
            }
            for moved in plan.moves() {
                let back = plan.moves().iter().any(|other| other.from == moved.to);
                prop_assert!(!back, "{} gives and takes", moved.to);
            }
            prop_assert_eq!(next.epoch().number(), map.epoch().number() + 1);
            map = next;
        }
    }

    #[test]
    fn a_map_is_what_its_ranges_say(count in 1_usize..50, key in any::<i64>(), text in ".{0,40}") {
        let map = SlotMap::even(names(count)).unwrap();
        let written = map.shards().map(|shard| {
            (shard.as_str().to_owned(), 1, map.ranges(shard.as_str()).unwrap())
        });
        let read = SlotMap::from_ranges(Epoch::FIRST, written).unwrap();
        prop_assert_eq!(&read, &map);
        for part in [&key as &dyn Located, &text] {
            prop_assert_eq!(part.on(&map), part.on(&read));
        }
        let value = KeyValue::Text(text.clone());
        prop_assert_eq!(map.slot(text.as_str()), map.slot(&value));
        prop_assert_eq!(map.slot(&(key, text.as_str())), map.slot(&[KeyValue::Int(key), value][..]));
    }
}

trait Located {
    fn on(&self, map: &SlotMap) -> String;
}

impl<K: ShardKey> Located for K {
    fn on(&self, map: &SlotMap) -> String {
        map.shard_of(self).to_string()
    }
}

#[test]
fn integers_of_all_widths_agree() {
    let map = SlotMap::even(names(7)).unwrap();
    for number in [-128_i8, -1, 0, 1, 127] {
        let slot = map.slot(&i64::from(number));
        assert_eq!(map.slot(&i32::from(number)), slot);
        assert_eq!(map.slot(&i16::from(number)), slot);
        assert_eq!(map.slot(&number), slot);
    }
    assert_eq!(map.slot(&7_u32), map.slot(&7_i64));
    let large = "x".repeat(1 << 20);
    assert_eq!(map.slot(&large), map.slot(large.as_str()));
}

#[test]
fn maps_that_lie_are_refused() {
    let range = |first, last| SlotRange::new(first, last).unwrap();
    let make = |shards: Vec<(&str, u32, Vec<SlotRange>)>| {
        SlotMap::from_ranges(Epoch::FIRST, shards).unwrap_err().to_string()
    };
    let cases = [
        (make(vec![]), "there is no shard"),
        (
            make(vec![("a", 1, vec![range(0, 99)]), ("b", 1, vec![range(200, 16383)])]),
            "nobody owns 100 of 16384 slots, the first of them 100-199",
        ),
        (
            make(vec![("a", 1, vec![range(0, 9000)]), ("b", 1, vec![range(8000, 16383)])]),
            "a and b both own 8000-9000",
        ),
        (make(vec![("a", 0, vec![range(0, 16383)])]), "a has a weight of 0"),
        (make(vec![("a b", 1, vec![range(0, 16383)])]), "\"a b\" is no name of a shard"),
        (make(vec![("a", 1, vec![]), ("a", 1, vec![])]), "two shards are called a"),
    ];
    for (error, expected) in cases {
        assert!(error.contains(expected), "{error}");
    }
    assert!(SlotRange::new(5, 4).is_none() && SlotRange::new(0, 16384).is_none());
    assert!(Epoch::new(0).is_none() && Epoch::new(u64::MAX).is_none());
}

#[test]
fn there_may_be_as_many_shards_as_slots_and_no_more() {
    assert_eq!(SlotMap::even(names(0)).unwrap_err(), MapError::NoShards);
    let one = SlotMap::even(names(1)).unwrap();
    assert_eq!(one.slot_count("s0"), Some(SLOTS));
    assert_eq!(one.plan().remove_shard("s0").build().unwrap_err(), MapError::NoShards);
    let all = SlotMap::even(names(usize::from(SLOTS))).unwrap();
    assert!(all.shards().all(|shard| all.slot_count(shard.as_str()) == Some(1)));
    let error = SlotMap::even(names(usize::from(SLOTS) + 1)).unwrap_err();
    assert_eq!(error, MapError::TooManyShards { shards: 16_385 });
}

#[test]
fn strategies_by_hand_refuse_what_they_do_not_know() {
    let starts = [
        (Bound::At(KeyValue::Int(100)), "b"),
        (Bound::At(KeyValue::Int(0)), "a"),
        (Bound::At(KeyValue::Int(200)), "a"),
    ];
    let range = Range::new(KeyType::Int, starts).unwrap();
    let at = |key: i64| {
        key.parts(|parts| range.place(parts)).map(|at| range.shards()[at].to_string())
    };
    assert_eq!(at(0).unwrap(), "a");
    assert_eq!(at(99).unwrap(), "a");
    assert_eq!(at(100).unwrap(), "b");
    assert_eq!(at(i64::MAX).unwrap(), "a");
    assert_eq!(at(-1), Err(PlaceError::OutOfRange));
    let text = "x".parts(|parts| range.place(parts)).unwrap_err().to_string();
    assert!(text.contains("is a text where a bigint"), "{text}");
    let twice = [(Bound::Lowest, "a"), (Bound::Lowest, "b")];
    assert!(Range::new(KeyType::Int, twice).is_err());
    let wrong = [(Bound::At(KeyValue::Text("x".into())), "a")];
    let error = Range::new(KeyType::Int, wrong).unwrap_err().to_string();
    assert!(error.contains("the bound x is a text and not a bigint"), "{error}");

    let listed = Directory::new().list("vip", "own").unwrap();
    assert_eq!("vip".parts(|parts| listed.place(parts)), Ok(0));
    assert_eq!("other".parts(|parts| listed.place(parts)), Err(PlaceError::NotListed));
    let rest = Directory::with_default(Modulo::new(["a", "b"]).unwrap());
    let rest = rest.list("vip", "own").unwrap();
    assert_eq!("vip".parts(|parts| rest.place(parts)), Ok(2));
    assert!("other".parts(|parts| rest.place(parts)).unwrap() < 2);

    let geo = Geo::new()
        .region("eu", Modulo::new(["eu1", "eu2"]).unwrap())
        .region("us", Modulo::new(["us1"]).unwrap());
    assert_eq!(("us", 7_i64).parts(|parts| geo.place(parts)), Ok(2));
    let error = ("cn", 7_i64).parts(|parts| geo.place(parts)).unwrap_err().to_string();
    assert!(error.contains("no region \"cn\""), "{error}");
    assert!(7_i64.parts(|parts| geo.place(parts)).is_err());

    let jump = Jump::new(["a", "b", "c"]).unwrap();
    let error = jump.clone().remove("b").unwrap_err().to_string();
    assert!(error.contains("not the last shard"), "{error}");
    assert_eq!(jump.remove("c").unwrap().shards().len(), 2);
}

/// Shares of a rendezvous and a ring follow weights.
#[test]
fn weights_are_followed() {
    let shards = || [("a", 1), ("b", 3)];
    let share = |strategy: &dyn Strategy| {
        let on_b = (0..100_000_i64)
            .filter(|key| key.parts(|parts| strategy.place(parts)) == Ok(1))
            .count();
        on_b as f64 / 100_000.0
    };
    let rendezvous = share(&Rendezvous::new(shards()).unwrap());
    assert!((rendezvous - 0.75).abs() < 0.01, "{rendezvous}");
    let ring = share(&Ring::new(shards(), 128).unwrap());
    assert!((ring - 0.75).abs() < 0.08, "{ring}");
    let slots = share(&SlotMap::weighted(shards()).unwrap());
    assert!((slots - 0.75).abs() < 0.01, "{slots}");
}
