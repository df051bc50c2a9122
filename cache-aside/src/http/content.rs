//! The content of a stored response.

use std::sync::Arc;

use bytes::{Bytes, BytesMut};

use super::range::Span;

/// A content larger than this is kept in pieces of it.
const PIECE: usize = 256 << 10;

/// Bytes that hits share. They are in memory of their own: what a connection has read would
/// hold on to its whole buffer.
#[derive(Clone, Debug)]
pub(super) struct Content {
    pieces: Arc<[Bytes]>,
    length: u64,
}

impl Content {
    pub(super) fn new(chunks: &[Bytes]) -> Self {
        let length: usize = chunks.iter().map(Bytes::len).sum();
        let mut pieces = Vec::with_capacity(length.div_ceil(PIECE));
        let mut left = length;
        let mut piece = BytesMut::with_capacity(left.min(PIECE));
        for chunk in chunks {
            let mut chunk = &chunk[..];
            while !chunk.is_empty() {
                let (now, later) = chunk.split_at(chunk.len().min(PIECE - piece.len()));
                piece.extend_from_slice(now);
                chunk = later;
                if piece.len() == PIECE {
                    left -= PIECE;
                    pieces.push(piece.freeze());
                    piece = BytesMut::with_capacity(left.min(PIECE));
                }
            }
        }
        if !piece.is_empty() {
            pieces.push(piece.freeze());
        }
        Self { pieces: pieces.into(), length: length as u64 }
    }

    pub(super) fn len(&self) -> u64 {
        self.length
    }

    /// All of it, as frames to send.
    pub(super) fn pieces(&self) -> Pieces {
        match &*self.pieces {
            [] => Pieces::default(),
            [one] => Pieces { one: Some(one.clone()), ..Pieces::default() },
            _ => Pieces { all: Some((Arc::clone(&self.pieces), 0)), ..Pieces::default() },
        }
    }

    /// A part of it, as frames to send.
    pub(super) fn part(&self, span: Span, into: &mut Vec<Bytes>) {
        let (mut from, mut left) = (span.first as usize, span.len() as usize);
        for piece in &self.pieces[from / PIECE..] {
            from %= PIECE;
            let end = piece.len().min(from + left);
            into.push(piece.slice(from..end));
            left -= end - from;
            from = 0;
            if left == 0 {
                return;
            }
        }
    }

    /// This, of those bytes, over another that it meets: where both have a byte, this one's.
    pub(super) fn over(&self, span: Span, other: &Self, others: Span) -> Self {
        let mut frames = Vec::new();
        if others.first < span.first {
            let before = Span { first: 0, last: span.first - 1 - others.first };
            other.part(before, &mut frames);
        }
        frames.extend(self.pieces());
        if others.last > span.last {
            let first = span.last + 1 - others.first;
            other.part(Span { first, last: others.last - others.first }, &mut frames);
        }
        Self::new(&frames)
    }

    pub(super) fn size(&self) -> usize {
        self.length as usize + self.pieces.len() * size_of::<Bytes>()
    }
}

/// Frames that are there already.
#[derive(Debug, Default)]
pub(super) struct Pieces {
    one: Option<Bytes>,
    all: Option<(Arc<[Bytes]>, usize)>,
    rest: std::vec::IntoIter<Bytes>,
}

impl Pieces {
    pub(super) fn of(frames: Vec<Bytes>) -> Self {
        Self { rest: frames.into_iter(), ..Self::default() }
    }

    /// Bytes that are still to come.
    pub(super) fn left(&self) -> u64 {
        let all = self.all.iter().flat_map(|(pieces, next)| &pieces[*next..]);
        let sum = self.one.iter().chain(all).chain(self.rest.as_slice());
        sum.map(|piece| piece.len() as u64).sum()
    }
}

impl Iterator for Pieces {
    type Item = Bytes;

    fn next(&mut self) -> Option<Bytes> {
        if let Some(one) = self.one.take() {
            return Some(one);
        }
        if let Some((pieces, next)) = &mut self.all {
            let piece = pieces.get(*next).cloned();
            *next += usize::from(piece.is_some());
            return piece;
        }
        self.rest.next()
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn whole(pieces: Pieces) -> Vec<u8> {
        pieces.flatten().collect()
    }

    #[test]
    fn small_contents_are_one_piece() {
        let content =
            Content::new(&[Bytes::from_static(b"ab"), Bytes::new(), Bytes::from_static(b"c")]);
        assert_eq!((content.len(), content.pieces.len()), (3, 1));
        assert_eq!(content.pieces().left(), 3);
        assert_eq!(whole(content.pieces()), b"abc");
        let nothing = Content::new(&[]);
        assert_eq!((nothing.len(), nothing.pieces().left()), (0, 0));
    }

    #[test]
    fn parts_are_laid_over_each_other() {
        let of = |text: &'static str| Content::new(&[Bytes::from_static(text.as_bytes())]);
        let over = |new: &'static str, at, old: &'static str, from| {
            let span = |text: &str, first| Span { first, last: first + text.len() as u64 - 1 };
            whole(of(new).over(span(new, at), &of(old), span(old, from)).pieces())
        };
        assert_eq!(over("CD", 2, "ab", 0), b"abCD");
        assert_eq!(over("AB", 0, "bcd", 1), b"ABcd");
        assert_eq!(over("C", 2, "abcd", 0), b"abCd");
        assert_eq!(over("ABCD", 0, "bc", 1), b"ABCD");
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(32))]
        #[test]
        fn parts_are_what_they_are_of_the_whole(
            sizes in proptest::collection::vec(0_usize..400_000, 0..4), at: [prop::sample::Index; 2],
        ) {
            let mut all = Vec::new();
            let chunks: Vec<Bytes> = sizes.iter().map(|size| {
                let chunk: Vec<u8> = (0..*size).map(|n| ((n + all.len()) % 251) as u8).collect();
                all.extend_from_slice(&chunk);
                Bytes::from(chunk)
            }).collect();
            let content = Content::new(&chunks);
            prop_assert_eq!(content.len(), all.len() as u64);
            prop_assert_eq!(content.pieces().left(), all.len() as u64);
            prop_assert!(whole(content.pieces()) == all);
            if !all.is_empty() {
                let (a, b) = (at[0].index(all.len()), at[1].index(all.len()));
                let span = Span { first: a.min(b) as u64, last: a.max(b) as u64 };
                let mut frames = Vec::new();
                content.part(span, &mut frames);
                prop_assert!(whole(Pieces::of(frames)) == all[a.min(b)..=a.max(b)]);
            }
        }
    }
}
