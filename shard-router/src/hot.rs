//! Which keys and slots are asked for most, in a fixed amount of memory: SpaceSaving
//! (Metwally, Agrawal and El Abbadi, 2005). With `n` counters, whatever has more than
//! `1/n` of all counts is among them, and no count is too low.

use std::collections::HashMap;
use std::hash::Hash;

use crate::key::{KeyPart, KeyValue, ShardKey, ShardKeyColumn};
use crate::map::{ShardName, SlotMap};
use crate::slot::Slot;

/// A thing, and how often it was seen.
#[derive(Clone, Debug, PartialEq, Eq)]
#[cfg_attr(feature = "serde", derive(serde::Serialize))]
#[non_exhaustive]
pub struct Count<T> {
    /// The thing.
    pub item: T,
    /// How often, and no less.
    pub count: u64,
    /// By how much the count may be too high.
    pub error: u64,
}

#[derive(Clone, Debug)]
pub(crate) struct SpaceSaving<T> {
    counters: HashMap<T, (u64, u64)>,
    capacity: usize,
}

impl<T: Clone + Eq + Hash + Ord> SpaceSaving<T> {
    pub(crate) fn new(capacity: usize) -> Self {
        Self { counters: HashMap::with_capacity(capacity), capacity: capacity.max(1) }
    }

    pub(crate) fn record(&mut self, item: T) {
        if let Some((count, _)) = self.counters.get_mut(&item) {
            *count += 1;
            return;
        }
        if self.counters.len() < self.capacity {
            self.counters.insert(item, (1, 0));
            return;
        }
        let least = self.counters.iter().min_by_key(|(_, (count, _))| *count);
        let Some((gone, least)) = least.map(|(item, (count, _))| (item.clone(), *count)) else {
            return;
        };
        self.counters.remove(&gone);
        self.counters.insert(item, (least + 1, least));
    }

    /// The most frequent first.
    pub(crate) fn top(&self, most: usize) -> Vec<Count<T>> {
        let mut all: Vec<_> = self
            .counters
            .iter()
            .map(|(item, (count, error))| Count {
                item: item.clone(),
                count: *count,
                error: *error,
            })
            .collect();
        all.sort_by(|a, b| b.count.cmp(&a.count).then_with(|| a.item.cmp(&b.item)));
        all.truncate(most);
        all
    }
}

/// What one shard was asked for most. Keys are the users' data: show it to operators, and
/// never as labels of metrics.
#[derive(Clone, Debug)]
#[cfg_attr(feature = "serde", derive(serde::Serialize))]
#[non_exhaustive]
pub struct HotShard {
    /// The shard.
    pub shard: ShardName,
    /// How many keys were counted.
    pub seen: u64,
    /// Slots.
    pub slots: Vec<Count<Slot>>,
    /// Keys, as text; columns are separated by commas.
    pub keys: Vec<Count<String>>,
}

impl HotShard {
    /// What to do, if one slot has more than a fifth of the shard's requests: a plan that gives
    /// it to a shard with less to do ([`Planner::pin`](crate::Planner::pin)). Nothing moves
    /// by itself.
    pub fn advice(&self) -> Option<String> {
        let hot = self.slots.first()?;
        let certain = hot.count - hot.error;
        (certain * 5 > self.seen).then(|| {
            format!(
                "slot {} has {} % of the requests of {}: consider a plan that pins it to a shard \
                 with less to do",
                hot.item,
                certain * 100 / self.seen.max(1),
                self.shard
            )
        })
    }
}

/// Counts keys by shard, as a router does, for keys from elsewhere, such as a log.
#[derive(Clone, Debug)]
pub struct HotReport {
    map: SlotMap,
    shards: Vec<HotCounters>,
}

impl HotReport {
    /// With so many counters for each shard: what has more than `1/counters` of a shard's
    /// keys is found.
    pub fn new(map: &SlotMap, counters: usize) -> Self {
        let shards = map.shards().map(|_| HotCounters::new(counters)).collect();
        Self { map: map.clone(), shards }
    }

    /// Counts a key.
    pub fn record<K: ShardKey + ?Sized>(&mut self, key: &K) {
        let slot = self.map.slot(key);
        let counters = &mut self.shards[self.map.owner_index(slot)];
        key.parts(|parts| counters.record(slot, parts));
    }

    /// The `most` most frequent slots and keys of each shard.
    pub fn top(&self, most: usize) -> Vec<HotShard> {
        let shards = self.map.shards().zip(&self.shards);
        shards.map(|(shard, counters)| counters.report(shard, most)).collect()
    }
}

/// The counters of one shard.
#[derive(Clone, Debug)]
pub(crate) struct HotCounters {
    seen: u64,
    slots: SpaceSaving<Slot>,
    keys: SpaceSaving<Vec<KeyValue>>,
}

/// A key that is longer is cut, so that memory is bounded.
const LONGEST: usize = 64;

impl HotCounters {
    pub(crate) fn new(capacity: usize) -> Self {
        Self { seen: 0, slots: SpaceSaving::new(capacity), keys: SpaceSaving::new(capacity) }
    }

    pub(crate) fn record(&mut self, slot: Slot, parts: &[KeyPart<'_>]) {
        self.seen += 1;
        self.slots.record(slot);
        self.keys.record(parts.iter().map(cut).collect());
    }

    pub(crate) fn report(&self, shard: &ShardName, most: usize) -> HotShard {
        let text = |key: Vec<KeyValue>| {
            let parts: Vec<_> = key.iter().map(|value| value.part().to_string()).collect();
            parts.join(",")
        };
        let keys = self.keys.top(most).into_iter().map(|Count { item, count, error }| Count {
            item: text(item),
            count,
            error,
        });
        HotShard {
            shard: shard.clone(),
            seen: self.seen,
            slots: self.slots.top(most),
            keys: keys.collect(),
        }
    }
}

fn cut(part: &KeyPart<'_>) -> KeyValue {
    match part {
        KeyPart::Text(text) if text.len() > LONGEST => {
            let short = text.char_indices().take_while(|(at, _)| *at < LONGEST);
            KeyValue::Text(short.map(|(_, c)| c).chain(['…']).collect())
        }
        KeyPart::Bytes(raw) if raw.len() > LONGEST => KeyValue::Bytes(raw[..LONGEST].into()),
        part => KeyValue::of(part),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_frequent_is_found_in_little_memory() {
        let mut rng = fastrand::Rng::with_seed(7);
        let mut top = SpaceSaving::new(50);
        let mut truth: HashMap<u32, u64> = HashMap::new();
        for _ in 0..100_000 {
            // One in ten is 1, one in twenty is 2, the rest are rare.
            let item = match rng.u32(..20) {
                0 | 1 => 1,
                2 => 2,
                _ => rng.u32(3..50_000),
            };
            *truth.entry(item).or_default() += 1;
            top.record(item);
        }
        let best = top.top(2);
        assert_eq!([best[0].item, best[1].item], [1, 2]);
        for Count { item, count, error } in top.top(50) {
            let real = truth[&item];
            assert!(count >= real && count - error <= real, "{item}: {count} {error} {real}");
        }
        assert_eq!(top.top(1000).len(), 50);
    }

    #[test]
    fn long_keys_are_cut_and_a_hot_slot_is_named() {
        let mut counters = HotCounters::new(8);
        let slot = Slot::new(9).unwrap();
        let long = "ü".repeat(1 << 19);
        (0..10).for_each(|_| counters.record(slot, &[KeyPart::Text(&long)]));
        let report = counters.report(&ShardName::new("a").unwrap(), 3);
        assert!(report.keys[0].item.len() < 80);
        assert!(report.advice().unwrap().contains("slot 9 has 100 %"));
    }
}
