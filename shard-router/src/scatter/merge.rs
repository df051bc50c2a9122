//! The next of several sorted sources, which need not be at hand as a whole.

use std::cmp::Ordering;

/// The first item of each source, in order.
#[derive(Debug)]
pub(super) struct Merge<T> {
    heads: Vec<Option<T>>,
    /// The sources that have one, by it; of equals the lower source first.
    order: Vec<usize>,
}

/// A source's next item is before its last one.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct SteppedBack {
    pub(super) source: usize,
}

impl<T> Merge<T> {
    pub(super) fn new(sources: usize) -> Self {
        Self { heads: (0..sources).map(|_| None).collect(), order: Vec::with_capacity(sources) }
    }

    /// Puts in the next item of a source that has none. `last` is the one before it.
    pub(super) fn put(
        &mut self,
        source: usize,
        item: T,
        last: Option<&T>,
        compare: impl Fn(&T, &T) -> Ordering,
    ) -> Result<(), SteppedBack> {
        let back = last.is_some_and(|last| compare(&item, last) == Ordering::Less);
        if back && !cfg!(broken = "out_of_order") {
            return Err(SteppedBack { source });
        }
        let before = |other: &usize| {
            let head = self.heads[*other].as_ref();
            head.is_some_and(|head| compare(head, &item).then(other.cmp(&source)).is_lt())
        };
        let place = self.order.partition_point(before);
        self.order.insert(place, source);
        self.heads[source] = Some(item);
        Ok(())
    }

    /// The least item, and the source that has to be asked for its next.
    pub(super) fn take(&mut self) -> Option<(usize, T)> {
        if self.order.is_empty() {
            return None;
        }
        let source = self.order.remove(0);
        self.heads[source].take().map(|item| (source, item))
    }
}

/// Merges lists as a whole.
pub(super) fn lists<T>(
    lists: Vec<Vec<T>>,
    most: usize,
    compare: impl Fn(&T, &T) -> Ordering,
) -> Result<Vec<T>, SteppedBack> {
    let mut lists: Vec<_> = lists.into_iter().map(Vec::into_iter).collect();
    let mut merge = Merge::new(lists.len());
    for (source, list) in lists.iter_mut().enumerate() {
        if let Some(item) = list.next() {
            merge.put(source, item, None, &compare)?;
        }
    }
    let mut merged = Vec::new();
    while merged.len() < most
        && let Some((source, item)) = merge.take()
    {
        if let Some(next) = lists[source].next() {
            merge.put(source, next, Some(&item), &compare)?;
        }
        merged.push(item);
    }
    Ok(merged)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    proptest! {
        /// As sorting all of them, stably, by their sources.
        #[test]
        fn merging_is_sorting(
            sources in proptest::collection::vec(
                proptest::collection::vec(0_u8..20, 0..30), 0..8,
            ),
            most in 0_usize..100,
        ) {
            let sorted: Vec<Vec<(u8, usize)>> = sources
                .into_iter()
                .enumerate()
                .map(|(source, mut items)| {
                    items.sort_unstable();
                    items.into_iter().map(|item| (item, source)).collect()
                })
                .collect();
            let mut expected: Vec<_> = sorted.concat();
            expected.sort_by_key(|(item, _)| *item);
            expected.truncate(most);
            let merged = lists(sorted, most, |a, b| a.0.cmp(&b.0)).unwrap();
            prop_assert_eq!(merged, expected);
        }
    }

    #[test]
    fn a_source_that_steps_back_is_named() {
        let sources = vec![vec![1, 2, 3], vec![1, 4, 2], vec![]];
        let error = lists(sources, 10, i32::cmp).unwrap_err();
        assert_eq!(error, SteppedBack { source: 1 });
    }
}
