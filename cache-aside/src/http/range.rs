//! Range requests on what is stored (RFC 9110, section 14).

use http::HeaderMap;
use http::header::{CONTENT_RANGE, RANGE};

/// The most ranges of one request that are looked at; of more than that the field is ignored,
/// as RFC 9110, section 14.2, allows against abuse.
const MOST: usize = 16;

/// Bytes from the first up to and with the last.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Span {
    pub(super) first: u64,
    pub(super) last: u64,
}

impl Span {
    pub(super) fn len(self) -> u64 {
        self.last - self.first + 1
    }
}

/// Which bytes of how many a partial response has.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Part {
    pub(super) span: Span,
    pub(super) total: u64,
}

impl Part {
    /// That of `Content-Range`, if it is one range of bytes of a length that is known.
    pub(super) fn of(headers: &HeaderMap) -> Option<Self> {
        let mut lines = headers.get_all(CONTENT_RANGE).iter();
        let (Some(line), None) = (lines.next(), lines.next()) else { return None };
        let line = line.as_bytes();
        let (unit, range) = line.split_at_checked(6)?;
        if !unit.eq_ignore_ascii_case(b"bytes ") {
            return None;
        }
        let slash = range.iter().position(|byte| *byte == b'/')?;
        let dash = range.iter().position(|byte| *byte == b'-').filter(|dash| *dash < slash)?;
        let [first, last, total] =
            [&range[..dash], &range[dash + 1..slash], &range[slash + 1..]].map(exact);
        let (first, last, total) = (first?, last?, total?);
        (first <= last && last < total).then_some(Self { span: Span { first, last }, total })
    }

    pub(super) fn is_whole(self) -> bool {
        self.span.len() == self.total
    }

    /// Whether all that a request asks for is in it.
    pub(super) fn has(self, request: &HeaderMap) -> bool {
        matches!(ranges(request, self.total), Ranges::One(asked)
            if self.span.first <= asked.first && asked.last <= self.span.last)
    }

    /// Both together, if nothing is missing between them.
    pub(super) fn with(self, other: Self) -> Option<Self> {
        let (a, b) = (self.span, other.span);
        let meet = a.first <= b.last.saturating_add(1) && b.first <= a.last.saturating_add(1);
        (meet && self.total == other.total).then(|| Self {
            span: Span { first: a.first.min(b.first), last: a.last.max(b.last) },
            total: self.total,
        })
    }
}

/// A number that can be counted.
fn exact(digits: &[u8]) -> Option<u64> {
    number(digits).filter(|number| !digits.is_empty() && *number < u64::MAX)
}

/// What a request asks of a content.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Ranges {
    /// All of it: there is no range, or none that is understood.
    Whole,
    One(Span),
    /// At least two that do not overlap.
    Several(Vec<Span>),
    /// None of them is in it.
    Unsatisfiable,
}

#[derive(Clone, Copy)]
enum Spec {
    From(u64, Option<u64>),
    Last(u64),
}

/// Reads `Range` for a content of `length` bytes.
pub(super) fn ranges(headers: &HeaderMap, length: u64) -> Ranges {
    let mut lines = headers.get_all(RANGE).iter();
    let (Some(line), None) = (lines.next(), lines.next()) else { return Ranges::Whole };
    let Some(specs) = specs(line.as_bytes()) else { return Ranges::Whole };
    let mut spans: Vec<Span> =
        specs.into_iter().filter_map(|spec| satisfy(spec, length)).collect();
    match spans.as_slice() {
        [] => return Ranges::Unsatisfiable,
        [one] => return Ranges::One(*one),
        _ => {}
    }
    // In their own order they are answered only if none overlaps: who asks twice for the
    // same bytes gets them all once (section 14.2).
    let asked = spans.clone();
    spans.sort_unstable_by_key(|span| span.first);
    if spans.windows(2).any(|pair| pair[1].first <= pair[0].last) {
        return Ranges::Whole;
    }
    Ranges::Several(asked)
}

fn specs(line: &[u8]) -> Option<Vec<Spec>> {
    let (unit, set) = line.split_at(line.iter().position(|byte| *byte == b'=')?);
    if !unit.eq_ignore_ascii_case(b"bytes") {
        return None;
    }
    let mut specs = Vec::new();
    for text in set[1..].split(|byte| *byte == b',') {
        let text = text.trim_ascii();
        // Empty members of a list are allowed to be there.
        if text.is_empty() {
            continue;
        }
        if specs.len() == MOST {
            return None;
        }
        specs.push(spec(text)?);
    }
    (!specs.is_empty()).then_some(specs)
}

fn spec(text: &[u8]) -> Option<Spec> {
    let (first, last) = text.split_at(text.iter().position(|byte| *byte == b'-')?);
    let last = &last[1..];
    match (first.is_empty(), last.is_empty()) {
        (true, true) => None,
        (true, false) => Some(Spec::Last(number(last)?)),
        (false, true) => Some(Spec::From(number(first)?, None)),
        (false, false) => {
            let (first, last) = (number(first)?, number(last)?);
            (first <= last).then_some(Spec::From(first, Some(last)))
        }
    }
}

/// Digits; what is too large to count is the largest.
fn number(digits: &[u8]) -> Option<u64> {
    if !digits.iter().all(u8::is_ascii_digit) {
        return None;
    }
    Some(digits.iter().fold(0_u64, |number, digit| {
        number.saturating_mul(10).saturating_add(u64::from(digit - b'0'))
    }))
}

fn satisfy(spec: Spec, length: u64) -> Option<Span> {
    let end = length.checked_sub(1)?;
    match spec {
        Spec::From(first, last) => {
            (first <= end).then(|| Span { first, last: last.map_or(end, |last| last.min(end)) })
        }
        Spec::Last(0) => None,
        Spec::Last(count) => Some(Span { first: length.saturating_sub(count), last: end }),
    }
}

#[cfg(test)]
mod tests {
    use http::HeaderValue;
    use proptest::prelude::*;

    use super::*;

    fn of(lines: &[&str], length: u64) -> Ranges {
        let mut headers = HeaderMap::new();
        for line in lines {
            headers.append(RANGE, HeaderValue::from_str(line).unwrap());
        }
        ranges(&headers, length)
    }

    fn one(first: u64, last: u64) -> Ranges {
        Ranges::One(Span { first, last })
    }

    #[test]
    fn each_form_of_a_range() {
        assert_eq!(of(&["bytes=0-3"], 10), one(0, 3));
        assert_eq!(of(&["bytes=3-"], 10), one(3, 9));
        assert_eq!(of(&["bytes=-3"], 10), one(7, 9));
        assert_eq!(of(&["BYTES= 0-3 ,"], 10), one(0, 3));
        assert_eq!(of(&["bytes=0-99"], 10), one(0, 9), "up to its end");
        assert_eq!(of(&["bytes=-99"], 10), one(0, 9));
        assert_eq!(of(&["bytes=9-9"], 10), one(9, 9));
        assert_eq!(of(&["bytes=0-99999999999999999999999"], 10), one(0, 9));
    }

    #[test]
    fn what_lies_outside_is_not_satisfiable() {
        for outside in
            ["bytes=10-", "bytes=10-20", "bytes=-0", "bytes=10-, 99999999999999999999999-"]
        {
            assert_eq!(of(&[outside], 10), Ranges::Unsatisfiable, "{outside}");
        }
        for any in ["bytes=0-", "bytes=0-0", "bytes=-1"] {
            assert_eq!(of(&[any], 0), Ranges::Unsatisfiable, "{any} of nothing");
        }
        assert_eq!(of(&["bytes=50-60, 0-1"], 10), one(0, 1), "one of two is there");
    }

    #[test]
    fn what_is_no_range_is_ignored() {
        for none in [
            "",
            "bytes",
            "bytes=",
            "bytes=,",
            "bytes=-",
            "bytes=3-1",
            "bytes=a-b",
            "bytes=1",
            "bytes=0-1,x",
            "bytes=0--1",
            "bytes=+1-2",
            "items=0-1",
            "bytes:0-1",
            "bytes=1-2-3",
        ] {
            assert_eq!(of(&[none], 10), Ranges::Whole, "{none:?}");
        }
        assert_eq!(of(&[], 10), Ranges::Whole);
        assert_eq!(of(&["bytes=0-1", "bytes=0-1"], 10), Ranges::Whole, "two lines");
    }

    #[test]
    fn several_are_answered_as_asked_unless_they_overlap_or_are_too_many() {
        let spans = vec![Span { first: 5, last: 6 }, Span { first: 0, last: 1 }];
        assert_eq!(of(&["bytes=5-6,0-1"], 10), Ranges::Several(spans));
        assert_eq!(of(&["bytes=0-5,5-6"], 10), Ranges::Whole);
        assert_eq!(of(&["bytes=0-,-1"], 10), Ranges::Whole);
        let many: Vec<String> = (0..=MOST).map(|n| format!("{0}-{0}", n * 2)).collect();
        assert_eq!(of(&[&format!("bytes={}", many.join(","))], 1_000), Ranges::Whole);
        let few = format!("bytes={}", many[1..].join(","));
        assert!(matches!(of(&[&few], 1_000), Ranges::Several(spans) if spans.len() == MOST));
    }

    fn part(text: &str) -> Option<Part> {
        let mut headers = HeaderMap::new();
        headers.append(CONTENT_RANGE, HeaderValue::from_str(text).unwrap());
        Part::of(&headers)
    }

    #[test]
    fn a_part_says_what_it_is_of() {
        let read = part("bytes 2-5/10").unwrap();
        assert_eq!(read, Part { span: Span { first: 2, last: 5 }, total: 10 });
        assert!(!read.is_whole() && part("Bytes 0-9/10").unwrap().is_whole());
        for none in [
            "",
            "bytes",
            "bytes 2-5",
            "bytes 2-5/*",
            "bytes */10",
            "bytes 5-2/10",
            "bytes 2-10/10",
            "bytes -5/10",
            "bytes 2-/10",
            "lines 2-5/10",
            "bytes 2-5/10 ",
            "bytes 2/5-10",
        ] {
            assert_eq!(part(none), None, "{none}");
        }
    }

    #[test]
    fn parts_that_meet_are_one() {
        let of = |text| part(text).unwrap();
        let middle = of("bytes 4-5/10");
        assert_eq!(middle.with(of("bytes 6-9/10")), part("bytes 4-9/10"));
        assert_eq!(middle.with(of("bytes 0-3/10")), part("bytes 0-5/10"));
        assert_eq!(middle.with(of("bytes 0-9/10")), part("bytes 0-9/10"));
        assert_eq!(middle.with(of("bytes 0-2/10")), None, "one is missing");
        assert_eq!(middle.with(of("bytes 6-9/11")), None, "of another length");
    }

    #[test]
    fn a_part_has_what_is_within_it() {
        let has = |range: &str| {
            let mut headers = HeaderMap::new();
            headers.append(RANGE, HeaderValue::from_str(range).unwrap());
            part("bytes 4-9/10").unwrap().has(&headers)
        };
        assert!(has("bytes=4-9") && has("bytes=-6") && has("bytes=5-") && has("bytes=7-7"));
        assert!(!has("bytes=3-5") && !has("bytes=-7") && !has("bytes=0-") && !has("x=1"));
        assert!(!has("bytes=4-5,7-8") && !part("bytes 4-9/10").unwrap().has(&HeaderMap::new()));
    }

    proptest! {
        #[test]
        fn spans_are_within_and_apart(text in "bytes=[0-9,\\- ]{0,40}", length in 0_u64..2_000) {
            let spans = match of(&[&text], length) {
                Ranges::One(span) => vec![span],
                Ranges::Several(spans) => spans,
                Ranges::Whole | Ranges::Unsatisfiable => vec![],
            };
            for span in &spans {
                prop_assert!(span.first <= span.last && span.last < length);
            }
            prop_assert!(spans.iter().map(|span| span.len()).sum::<u64>() <= length);
        }
    }
}
