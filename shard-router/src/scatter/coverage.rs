//! Whether answers are the whole, by what the shards that gave them store.

use crate::error::CoverageError;
use crate::map::{ShardName, SlotMap};
use crate::slot::{Epoch, SLOTS, SlotRange};

/// What a shard has said that it owns, in the snapshot of its answer.
pub(super) struct Claim<'a> {
    pub(super) shard: &'a ShardName,
    pub(super) epoch: Epoch,
    pub(super) owned: &'a [SlotRange],
}

/// The epoch of the answers: the newest. Those that are behind know less than others do.
pub(super) fn epoch(claims: &[Claim<'_>]) -> Option<Epoch> {
    claims.iter().map(|claim| claim.epoch).max()
}

/// Every slot is owned by exactly one of the shards that have answered, or, by the map, by one
/// of those that are `missing`. All claims are of one epoch.
pub(super) fn judge(
    map: &SlotMap,
    claims: &[Claim<'_>],
    missing: &[ShardName],
) -> Result<(), CoverageError> {
    if cfg!(broken = "coverage") {
        return Ok(());
    }
    const NOBODY: usize = usize::MAX;
    let mut owners = vec![NOBODY; usize::from(SLOTS)];
    for (index, claim) in claims.iter().enumerate() {
        for range in claim.owned {
            for slot in range.slots() {
                let place = &mut owners[usize::from(slot.number())];
                if *place == NOBODY || *place == index {
                    *place = index;
                    continue;
                }
                let other = &claims[*place];
                let both = SlotRange::of(|slot| {
                    [claim, other]
                        .iter()
                        .all(|claim| claim.owned.iter().any(|range| range.contains(slot)))
                });
                return Err(CoverageError::Overlap {
                    range: both.first().copied().unwrap_or(*range),
                    a: other.shard.clone(),
                    b: claim.shard.clone(),
                });
            }
        }
    }
    let holes = SlotRange::of(|slot| {
        owners[usize::from(slot.number())] == NOBODY && !missing.contains(map.owner(slot))
    });
    match holes.first() {
        Some(range) => {
            let slots = holes.iter().map(|hole| hole.len()).sum();
            Err(CoverageError::Hole { range: *range, slots })
        }
        None => Ok(()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn range(first: u16, last: u16) -> SlotRange {
        SlotRange::new(first, last).unwrap()
    }

    #[test]
    fn answers_are_whole_or_it_is_said_what_is_not() {
        let map = SlotMap::even(["a", "b"]).unwrap();
        let names: Vec<_> = map.shards().cloned().collect();
        let judge_of = |a: &[SlotRange], b: &[SlotRange], missing: &[ShardName]| {
            let claims = [(&names[0], a), (&names[1], b)].map(|(shard, owned)| Claim {
                shard,
                epoch: Epoch::FIRST,
                owned,
            });
            judge(&map, &claims, missing)
        };
        let (low, high) = (range(0, 8191), range(8192, 16383));
        assert_eq!(judge_of(&[low], &[high], &[]), Ok(()));
        // Not where the map says, but exactly once.
        assert_eq!(judge_of(&[high], &[low], &[]), Ok(()));
        assert_eq!(
            judge_of(&[low], &[range(9000, 16383)], &[]),
            Err(CoverageError::Hole { range: range(8192, 8999), slots: 808 })
        );
        assert_eq!(
            judge_of(&[low], &[range(8000, 16383)], &[]),
            Err(CoverageError::Overlap {
                range: range(8000, 8191),
                a: names[0].clone(),
                b: names[1].clone()
            })
        );
        // A hole is explained by the shard that is missing, and by no other.
        assert_eq!(judge_of(&[low], &[], &[names[1].clone()]), Ok(()));
        assert!(judge_of(&[], &[high], &[names[1].clone()]).is_err());
    }
}
