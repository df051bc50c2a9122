use std::fmt;
use std::num::ParseIntError;
use std::str::FromStr;

/// A position in the write-ahead log, in bytes (`pg_lsn`).
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub(crate) struct Lsn(pub(crate) u64);

/// How a server's log is cut into blocks and segments, in bytes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct WalLayout {
    pub(crate) block: u64,
    pub(crate) segment: u64,
}

impl WalLayout {
    /// As `initdb` has it.
    #[cfg(test)]
    pub(crate) const DEFAULT: Self = Self { block: 8192, segment: 16 << 20 };
    const PAGE_HEADER: u64 = 24;
    const SEGMENT_HEADER: u64 = 40;

    /// `pg_current_wal_insert_lsn()` points behind a page's header when the last
    /// record ended with the page before. No standby gets there until the next
    /// record is written; the end of that record is where the header begins.
    pub(crate) fn end_of_record(self, insert: Lsn) -> Lsn {
        if cfg!(broken = "no_normalise") {
            return insert;
        }
        let Lsn(at) = insert;
        if at % self.segment == Self::SEGMENT_HEADER {
            Lsn(at - Self::SEGMENT_HEADER)
        } else if at % self.block == Self::PAGE_HEADER && at % self.segment != Self::PAGE_HEADER
        {
            Lsn(at - Self::PAGE_HEADER)
        } else {
            insert
        }
    }
}

impl fmt::Display for Lsn {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:X}/{:X}", self.0 >> 32, self.0 & 0xFFFF_FFFF)
    }
}

/// A text that is no position; they look like `16/B374D848`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct ParseLsnError(Option<ParseIntError>);

impl fmt::Display for ParseLsnError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("not a WAL position; one looks like `16/B374D848`")
    }
}

impl std::error::Error for ParseLsnError {
    fn source(&self) -> Option<&(dyn std::error::Error + 'static)> {
        self.0.as_ref().map(|cause| cause as _)
    }
}

impl FromStr for Lsn {
    type Err = ParseLsnError;

    fn from_str(text: &str) -> Result<Self, ParseLsnError> {
        let (high, low) = text.split_once('/').ok_or(ParseLsnError(None))?;
        let part = |text| u32::from_str_radix(text, 16).map_err(|e| ParseLsnError(Some(e)));
        Ok(Self(u64::from(part(high)?) << 32 | u64::from(part(low)?)))
    }
}

/// Where in whose history: a bare LSN says nothing after a promotion that lost a tail.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Position {
    /// The cluster's system identifier.
    pub(crate) system: u64,
    pub(crate) timeline: u32,
    pub(crate) lsn: Lsn,
}

impl Position {
    /// The later of two positions of one cluster; of two clusters, `self`.
    pub(crate) fn later(self, other: Self) -> Self {
        if self.system == other.system
            && (other.timeline, other.lsn) > (self.timeline, self.lsn)
        {
            other
        } else {
            self
        }
    }
}

/// The later of two positions that may be missing.
pub(crate) fn later(one: Option<Position>, other: Option<Position>) -> Option<Position> {
    match (one, other) {
        (Some(one), Some(other)) => Some(one.later(other)),
        (one, other) => one.or(other),
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn a_position_behind_a_page_header_is_put_back_to_the_records_end() {
        let end = |lsn| WalLayout::DEFAULT.end_of_record(Lsn(lsn)).0;
        assert_eq!(end((16 << 20) + 8192 + 24), (16 << 20) + 8192);
        assert_eq!(end((16 << 20) + 40), 16 << 20);
        // A page that starts no segment has the short header: 40 is a record's end there.
        assert_eq!(end((16 << 20) + 8192 + 40), (16 << 20) + 8192 + 40);
        assert_eq!(end((16 << 20) + 8192 + 4096), (16 << 20) + 8192 + 4096);
        assert_eq!(end(0), 0);
    }

    proptest! {
        #[test]
        fn text_goes_there_and_back(lsn: u64) {
            prop_assert_eq!(Lsn(lsn).to_string().parse::<Lsn>(), Ok(Lsn(lsn)));
        }

        #[test]
        fn putting_back_moves_by_less_than_a_record(lsn: u64) {
            let end = WalLayout::DEFAULT.end_of_record(Lsn(lsn));
            prop_assert!(end <= Lsn(lsn) && lsn - end.0 <= 40);
            prop_assert_eq!(WalLayout::DEFAULT.end_of_record(end), end);
        }

        #[test]
        fn the_later_of_two_is_the_same_either_way_round(
            a in (0_u32..4, 0_u64..9), b in (0_u32..4, 0_u64..9)
        ) {
            let position = |(timeline, lsn)| Position { system: 1, timeline, lsn: Lsn(lsn) };
            let (a, b) = (position(a), position(b));
            prop_assert_eq!(a.later(b), b.later(a));
            prop_assert_eq!(a.later(b).later(a), a.later(b));
        }
    }
}
