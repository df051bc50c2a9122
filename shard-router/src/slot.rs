use std::fmt;

/// How many slots there are, as in Redis Cluster: enough to divide evenly among hundreds
/// of shards, few enough that the map fits a processor's first cache.
pub const SLOTS: u16 = 16_384;

/// What keys are hashed to, from 0 to 16,383, and shards own.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
#[cfg_attr(feature = "serde", derive(serde::Serialize), serde(transparent))]
pub struct Slot(u16);

impl Slot {
    /// Nothing from 16,384 on.
    pub const fn new(number: u16) -> Option<Self> {
        if number < SLOTS { Some(Self(number)) } else { None }
    }

    #[inline]
    pub(crate) const fn of_hash(hash: u64) -> Self {
        Self((hash % SLOTS as u64) as u16)
    }

    /// From 0 to 16,383.
    #[inline]
    pub const fn number(self) -> u16 {
        self.0
    }
}

impl fmt::Display for Slot {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(&self.0, f)
    }
}

/// Slots from a first to a last one, both included.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
#[cfg_attr(feature = "serde", derive(serde::Serialize))]
pub struct SlotRange {
    /// The first.
    pub first: Slot,
    /// The last.
    pub last: Slot,
}

impl SlotRange {
    /// Nothing if the first is behind the last, or a slot does not exist.
    pub const fn new(first: u16, last: u16) -> Option<Self> {
        match (Slot::new(first), Slot::new(last)) {
            (Some(first), Some(last)) if first.0 <= last.0 => Some(Self { first, last }),
            _ => None,
        }
    }

    /// How many slots, at least one.
    #[allow(clippy::len_without_is_empty, reason = "a range is never empty")]
    pub const fn len(self) -> u16 {
        self.last.0 - self.first.0 + 1
    }

    /// Whether the slot is one of them.
    pub const fn contains(self, slot: Slot) -> bool {
        self.first.0 <= slot.0 && slot.0 <= self.last.0
    }

    pub(crate) fn slots(self) -> impl Iterator<Item = Slot> {
        (self.first.0..=self.last.0).map(Slot)
    }

    /// Ranges of the slots for which `owned` holds.
    pub(crate) fn of(mut owned: impl FnMut(Slot) -> bool) -> Vec<Self> {
        let mut ranges: Vec<Self> = Vec::new();
        for slot in (0..SLOTS).map(Slot).filter(|slot| owned(*slot)) {
            match ranges.last_mut() {
                Some(range) if range.last.0 + 1 == slot.0 => range.last = slot,
                _ => ranges.push(Self { first: slot, last: slot }),
            }
        }
        ranges
    }

    /// Reads `0-99,200`.
    #[cfg(feature = "toml")]
    pub(crate) fn parse_list(text: &str) -> Result<Vec<Self>, String> {
        text.split(',')
            .map(str::trim)
            .filter(|piece| !piece.is_empty())
            .map(|piece| {
                let (first, last) = piece.split_once('-').unwrap_or((piece, piece));
                let number = |text: &str| text.trim().parse::<u16>().ok();
                let range = number(first).zip(number(last));
                range.and_then(|(first, last)| Self::new(first, last)).ok_or_else(|| {
                    // What was meant for another line may hold a password.
                    let number = |c: char| c.is_ascii_digit() || c == '-';
                    let shown = if piece.chars().all(number) { piece } else { "…" };
                    format!(
                        "`{shown}` is no range of slots; write `0-5460` or `7`, between 0 and \
                         16383, the smaller number first"
                    )
                })
            })
            .collect()
    }
}

impl fmt::Display for SlotRange {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.first == self.last {
            return write!(f, "{}", self.first);
        }
        write!(f, "{}-{}", self.first, self.last)
    }
}

/// The version of a map: it grows by one with every change of who owns what.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
#[cfg_attr(feature = "serde", derive(serde::Serialize), serde(transparent))]
pub struct Epoch(u64);

impl Epoch {
    /// Of a map that was never changed.
    pub const FIRST: Self = Self(1);

    /// From 1 to `i64::MAX`, which is what `bigint` can hold; nothing otherwise.
    pub const fn new(number: u64) -> Option<Self> {
        if number == 0 || number > i64::MAX as u64 { None } else { Some(Self(number)) }
    }

    /// The number.
    pub const fn number(self) -> u64 {
        self.0
    }

    pub(crate) const fn next(self) -> Self {
        Self(self.0 + 1)
    }
}

impl fmt::Display for Epoch {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(&self.0, f)
    }
}
