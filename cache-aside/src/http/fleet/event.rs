//! What servers tell each other.

use super::super::marks::{Mark, stripe_of};
use crate::shared::Table;

/// Something that was taken away.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub(in crate::http) enum Event {
    /// All of one URI, by its key.
    Uri(Box<str>),
    /// All that has a mark.
    Purged(u64),
    /// All that has a mark is stale.
    Outdated(u64),
    All,
}

impl Event {
    pub(in crate::http) fn of(mark: &Mark<'_>, soft: bool) -> Self {
        match (mark, soft) {
            (Mark::Uri(key), false) => Self::Uri((*key).into()),
            (mark, false) => Self::Purged(mark.number()),
            (mark, true) => Self::Outdated(mark.number()),
        }
    }

    /// As a message from the server of that number.
    pub(super) fn message(&self, from: u64) -> Vec<u8> {
        let mut bytes = from.to_be_bytes().to_vec();
        match self {
            Self::Uri(key) => {
                bytes.push(b'u');
                bytes.extend(key.as_bytes());
            }
            Self::Purged(mark) => {
                bytes.push(b'p');
                bytes.extend(mark.to_be_bytes());
            }
            Self::Outdated(mark) => {
                bytes.push(b'o');
                bytes.extend(mark.to_be_bytes());
            }
            Self::All => bytes.push(b'a'),
        }
        bytes
    }

    /// Whom a message is from, and what it says. None if it is not understood.
    pub(super) fn read(message: &[u8]) -> Option<(u64, Self)> {
        let (from, rest) = message.split_first_chunk()?;
        let (kind, rest) = rest.split_first()?;
        let mark = || rest.try_into().ok().map(u64::from_be_bytes);
        let event = match kind {
            b'u' => Self::Uri(std::str::from_utf8(rest).ok()?.into()),
            b'p' => Self::Purged(mark()?),
            b'o' => Self::Outdated(mark()?),
            b'a' if rest.is_empty() => Self::All,
            _ => return None,
        };
        Some((u64::from_be_bytes(*from), event))
    }

    /// Where its moment is noted. A record of one URI is dropped instead, with its lease, and
    /// those of all by the generation.
    pub(super) fn noted(&self) -> Option<(Table, u16)> {
        let place = |mark: &u64| stripe_of(*mark) as u16;
        match self {
            Self::Purged(mark) => Some((Table::Purged, place(mark))),
            Self::Outdated(mark) => Some((Table::Outdated, place(mark))),
            Self::Uri(_) | Self::All => None,
        }
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    proptest! {
        #[test]
        fn a_message_says_what_was_said(
            from: u64, kind in 0..4, mark: u64, key in ".{0,20}",
            other in proptest::collection::vec(any::<u8>(), 0..24),
        ) {
            let event = match kind {
                0 => Event::Uri(key.into()),
                1 => Event::Purged(mark),
                2 => Event::Outdated(mark),
                _ => Event::All,
            };
            prop_assert_eq!(Event::read(&event.message(from)), Some((from, event)));
            if let Some((from, event)) = Event::read(&other) {
                prop_assert_eq!(event.message(from), other);
            }
        }
    }
}
