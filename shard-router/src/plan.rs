//! From a map to the next one, with as few moves as there can be.

use std::cmp::Reverse;
use std::fmt;

use crate::map::{MapError, Shard, ShardName, SlotMap, checked};
use crate::slot::{Epoch, SLOTS, Slot, SlotRange};

/// Says how the next map differs; made by [`SlotMap::plan`].
///
/// ```
/// use shard_router::SlotMap;
///
/// let map = SlotMap::even(["a", "b", "c"])?;
/// let plan = map.plan().add_shard("d", 1).build()?;
/// assert_eq!(plan.moved_slots(), 4_096); // 25 % of 16,384
/// println!("{plan}");
/// let next = plan.map();
/// assert_eq!(next.epoch().number(), 2);
/// # Ok::<_, shard_router::MapError>(())
/// ```
#[derive(Debug)]
#[must_use]
pub struct Planner<'a> {
    map: &'a SlotMap,
    changes: Vec<Change>,
}

#[derive(Debug)]
enum Change {
    Add(String, u32),
    Remove(String),
    Reweight(String, u32),
    Pin(Slot, String),
}

impl<'a> Planner<'a> {
    pub(crate) fn new(map: &'a SlotMap) -> Self {
        Self { map, changes: Vec::new() }
    }

    /// A shard that joins, with its weight beside the others' (1 in an even map).
    pub fn add_shard(mut self, name: impl Into<String>, weight: u32) -> Self {
        self.changes.push(Change::Add(name.into(), weight));
        self
    }

    /// A shard that leaves: all that it owns goes to the others. Any shard may leave.
    pub fn remove_shard(mut self, name: impl Into<String>) -> Self {
        self.changes.push(Change::Remove(name.into()));
        self
    }

    /// A shard with another weight.
    pub fn reweight(mut self, name: impl Into<String>, weight: u32) -> Self {
        self.changes.push(Change::Reweight(name.into(), weight));
        self
    }

    /// Gives one slot to a shard, as a hot one to a shard of its own. Shares are evened out
    /// by other slots in the same plan; a later plan may move it again.
    pub fn pin(mut self, slot: Slot, shard: impl Into<String>) -> Self {
        self.changes.push(Change::Pin(slot, shard.into()));
        self
    }

    /// The plan.
    ///
    /// # Errors
    ///
    /// A shard that does not exist, or exists already, a weight of 0, no shard left, or no epoch
    /// behind the map's.
    pub fn build(self) -> Result<Plan, MapError> {
        let mut shards: Vec<(String, u32)> = self
            .map
            .shards()
            .zip(self.map.weights())
            .map(|(name, weight)| (name.as_str().to_owned(), weight))
            .collect();
        let mut pins = Vec::new();
        for change in self.changes {
            let at = |shards: &[(String, u32)], name: &str| {
                let found = shards.iter().position(|(other, _)| other == name);
                found.ok_or_else(|| MapError::UnknownShard { name: name.into() })
            };
            match change {
                Change::Add(name, weight) => shards.push((name, weight)),
                Change::Remove(name) => {
                    let index = at(&shards, &name)?;
                    shards.remove(index);
                }
                Change::Reweight(name, weight) => {
                    let index = at(&shards, &name)?;
                    shards[index].1 = weight;
                }
                Change::Pin(slot, name) => pins.push((slot, name)),
            }
        }
        let shards = checked(shards)?;
        let place = |name: &str| shards.iter().position(|shard| shard.name.as_str() == name);
        let pins: Vec<(Slot, usize)> = pins
            .into_iter()
            .map(|(slot, name)| match place(&name) {
                Some(index) => Ok((slot, index)),
                None => Err(MapError::UnknownShard { name }),
            })
            .collect::<Result<_, _>>()?;
        let number = self.map.epoch().number() + 1;
        if Epoch::new(number).is_none() {
            return Err(MapError::Epoch { number });
        }
        let owners = assign(self.map, &shards, &pins);
        let next = self.map.next(shards, owners);
        Ok(Plan::between(self.map.clone(), next))
    }
}

/// Each slot's next owner: the old one, unless that owns too many or is gone.
fn assign(
    map: &SlotMap,
    shards: &[Shard],
    pins: &[(Slot, usize)],
) -> Box<[u16; SLOTS as usize]> {
    const NOBODY: u16 = u16::MAX;
    let kept: Vec<Option<u16>> = map
        .shards()
        .map(|old| shards.iter().position(|new| new.name == *old))
        .map(|index| index.and_then(|index| u16::try_from(index).ok()))
        .collect();
    let mut owners = Box::new([NOBODY; SLOTS as usize]);
    let mut counts = vec![0_u16; shards.len()];
    let all = || (0..SLOTS).filter_map(Slot::new);
    for slot in all() {
        let pinned = pins.iter().rev().find(|(other, _)| *other == slot);
        let owner = match pinned {
            Some((_, index)) => u16::try_from(*index).ok(),
            None => kept[map.owner_index(slot)],
        };
        if let Some(owner) = owner {
            owners[usize::from(slot.number())] = owner;
            counts[usize::from(owner)] += 1;
        }
    }
    let weights: Vec<u32> = shards.iter().map(|shard| shard.weight).collect();
    let targets = shares(&weights, &counts);
    // From behind, so that what stays is in few ranges.
    for slot in all().collect::<Vec<_>>().into_iter().rev() {
        let place = &mut owners[usize::from(slot.number())];
        if *place == NOBODY || pins.iter().any(|(pinned, _)| *pinned == slot) {
            continue;
        }
        let owner = usize::from(*place);
        if counts[owner] > targets[owner] {
            counts[owner] -= 1;
            *place = NOBODY;
        }
    }
    let mut takers = (0_u16..).zip(&targets).flat_map(|(shard, target)| {
        let missing = target.saturating_sub(counts[usize::from(shard)]);
        std::iter::repeat_n(shard, usize::from(missing))
    });
    for place in owners.iter_mut().filter(|owner| **owner == NOBODY) {
        *place = takers.next().unwrap_or(0);
    }
    owners
}

/// How many slots each has by its weight: the exact share rounded down or up. Of those who
/// may have one more, whoever has it already keeps it, then come the largest remainders.
pub(crate) fn shares(weights: &[u32], counts: &[u16]) -> Vec<u16> {
    let total: u128 = weights.iter().map(|weight| u128::from(*weight)).sum();
    let exact = |weight: u32| (u128::from(SLOTS) * u128::from(weight), total);
    let floor = |weight: u32| {
        let (numerator, total) = exact(weight);
        u16::try_from(numerator / total).expect("a share of the slots is at most all of them")
    };
    let mut shares: Vec<u16> = weights.iter().map(|weight| floor(*weight)).collect();
    let given: u32 = shares.iter().map(|share| u32::from(*share)).sum();
    let mut more: Vec<usize> = (0..weights.len())
        .filter(|index| {
            let (numerator, total) = exact(weights[*index]);
            numerator % total > 0
        })
        .collect();
    more.sort_by_key(|index| {
        let (numerator, total) = exact(weights[*index]);
        (counts[*index] <= shares[*index], Reverse(numerator % total), *index)
    });
    for index in more.into_iter().take((u32::from(SLOTS) - given) as usize) {
        shares[index] += 1;
    }
    shares
}

/// What a plan moves from one shard to another.
#[derive(Clone, Debug, PartialEq, Eq)]
#[cfg_attr(feature = "serde", derive(serde::Serialize))]
#[non_exhaustive]
pub struct Move {
    /// Who owned them.
    pub from: ShardName,
    /// Who will.
    pub to: ShardName,
    /// The slots.
    pub ranges: Vec<SlotRange>,
}

impl Move {
    /// How many slots.
    pub fn slots(&self) -> u16 {
        self.ranges.iter().map(|range| range.len()).sum()
    }
}

/// A map, the next one, and what has to move between them. Its `Display` is a table.
#[derive(Clone, Debug)]
#[must_use]
pub struct Plan {
    before: SlotMap,
    after: SlotMap,
    moves: Vec<Move>,
}

impl Plan {
    /// The moves between two maps that somebody has made.
    pub fn between(before: SlotMap, after: SlotMap) -> Self {
        let mut pairs: Vec<(usize, usize)> = (0..SLOTS)
            .filter_map(Slot::new)
            .map(|slot| (before.owner_index(slot), after.owner_index(slot)))
            .collect();
        let name_of = |map: &SlotMap, index: usize| map.shards().nth(index).cloned();
        let names_before: Vec<_> = before.shards().cloned().collect();
        let names_after: Vec<_> = after.shards().cloned().collect();
        let by_slot = pairs.clone();
        pairs.sort_unstable();
        pairs.dedup();
        let moves = pairs
            .into_iter()
            .filter(|(from, to)| names_before[*from] != names_after[*to])
            .filter_map(|(from, to)| {
                let ranges =
                    SlotRange::of(|slot| by_slot[usize::from(slot.number())] == (from, to));
                Some(Move { from: name_of(&before, from)?, to: name_of(&after, to)?, ranges })
            })
            .collect();
        Self { before, after, moves }
    }

    /// The next map.
    pub fn map(&self) -> &SlotMap {
        &self.after
    }

    /// The map as it is.
    pub fn before(&self) -> &SlotMap {
        &self.before
    }

    /// What moves, by the shards that it moves from.
    pub fn moves(&self) -> &[Move] {
        &self.moves
    }

    /// How many slots move.
    pub fn moved_slots(&self) -> u16 {
        self.moves.iter().map(Move::slots).sum()
    }

    /// Of all slots, which is about the share of the rows: from 0 to 100.
    pub fn moved_percent(&self) -> f64 {
        f64::from(self.moved_slots()) * 100.0 / f64::from(SLOTS)
    }

    /// Slots of each shard before and after, of all shards that either map has.
    pub fn shards(&self) -> Vec<(ShardName, u16, u16)> {
        let mut names: Vec<_> = self.before.shards().cloned().collect();
        names.extend(
            self.after
                .shards()
                .filter(|name| !names.contains(name))
                .cloned()
                .collect::<Vec<_>>(),
        );
        let count =
            |map: &SlotMap, name: &ShardName| map.slot_count(name.as_str()).unwrap_or(0);
        names
            .into_iter()
            .map(|name| {
                let (before, after) = (count(&self.before, &name), count(&self.after, &name));
                (name, before, after)
            })
            .collect()
    }
}

impl fmt::Display for Plan {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        writeln!(
            f,
            "epoch {} -> {}: {} of {SLOTS} slots move ({:.2} %)\n",
            self.before.epoch(),
            self.after.epoch(),
            self.moved_slots(),
            self.moved_percent()
        )?;
        writeln!(
            f,
            "{:20} {:>8} {:>8} {:>8} {:>8}",
            "shard", "before", "after", "leave", "come"
        )?;
        for (name, before, after) in self.shards() {
            let of = |pick: fn(&Move) -> &ShardName| -> u32 {
                self.moves
                    .iter()
                    .filter(|moved| *pick(moved) == name)
                    .map(|moved| u32::from(moved.slots()))
                    .sum()
            };
            writeln!(
                f,
                "{:20} {before:>8} {after:>8} {:>8} {:>8}",
                name.as_str(),
                of(|moved| &moved.from),
                of(|moved| &moved.to)
            )?;
        }
        Ok(())
    }
}

#[cfg(feature = "serde")]
impl serde::Serialize for Plan {
    fn serialize<S: serde::Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        use serde::ser::SerializeStruct;
        #[derive(serde::Serialize)]
        struct Row {
            name: ShardName,
            before: u16,
            after: u16,
        }
        let rows: Vec<_> = self
            .shards()
            .into_iter()
            .map(|(name, before, after)| Row { name, before, after })
            .collect();
        let mut plan = serializer.serialize_struct("Plan", 6)?;
        plan.serialize_field("epoch_before", &self.before.epoch())?;
        plan.serialize_field("epoch_after", &self.after.epoch())?;
        plan.serialize_field("moved_slots", &self.moved_slots())?;
        plan.serialize_field("moved_percent", &self.moved_percent())?;
        plan.serialize_field("shards", &rows)?;
        plan.serialize_field("moves", &self.moves)?;
        plan.end()
    }
}
