//! Sixteen times the input takes about sixteen times the work, whatever its shape: measured by
//! the processor's time of the thread, of which the least of some runs is taken.

use std::time::Duration;

use http::header::{
    ACCEPT, CACHE_CONTROL, CONNECTION, CONTENT_LENGTH, CONTENT_RANGE, DATE, ETAG, FORWARDED,
    HeaderName, HeaderValue, IF_MODIFIED_SINCE, IF_NONE_MATCH, IF_RANGE, RANGE, VARY,
};
use http::{HeaderMap, Uri};
use nix::time::{ClockId, clock_gettime};

use super::super::age::date;
use super::super::block::take_hop_by_hop;
use super::super::conditional::{if_range_holds, is_not_modified};
use super::super::directives::{RequestDirectives, ResponseDirectives};
use super::super::file::content_length;
use super::super::groups::{CACHE_GROUPS, names};
use super::super::range::{Part, ranges};
use super::super::target::Keys;
use super::super::vary::Selection;
use super::TARGETED;

const SMALL: usize = 2_000;
const TIMES: usize = 16;
/// Twice as much as a sort needs, and a quarter of what a square would.
const MOST: u32 = 64;

fn took(run: &dyn Fn()) -> Duration {
    let now = || {
        Duration::from(clock_gettime(ClockId::CLOCK_THREAD_CPUTIME_ID).expect("Linux has it"))
    };
    let once = |times: u32| {
        let began = now();
        (0..times).for_each(|_| run());
        (now() - began) / times
    };
    // So often that the clock is fine enough.
    let times =
        (Duration::from_micros(300).div_duration_f64(once(1))).clamp(1.0, 1_000.0) as u32;
    (0..5).map(|_| once(times)).min().expect("there are some")
}

/// `shape` gives an input of about so many bytes.
fn is_linear(name: &str, shape: &dyn Fn(usize) -> HeaderMap, read: &dyn Fn(&HeaderMap)) {
    let (small, large) = (shape(SMALL), shape(SMALL * TIMES));
    let (few, many) = (took(&|| read(&small)), took(&|| read(&large)));
    // What is done with a microsecond is nothing to be measured.
    let few = few.max(Duration::from_micros(1));
    assert!(many < few * MOST, "{name}: {few:?}, and {many:?} for {TIMES} times as much");
}

/// Pieces repeated up to a length: what is pathological for one reader or another.
const SHAPES: [&str; 22] = [
    ",",
    ", ",
    "\"",
    "\\",
    "\"\\",
    "\\\"",
    "a,",
    "a=\"",
    "a=\"\\\",\"",
    "max-age=1,",
    "max-age=",
    "=",
    ";",
    "\"a\",",
    "W/\"a\",",
    "W/",
    "0-0,",
    "-1,",
    "1-",
    "9",
    " ",
    "no-store;",
];

fn every(names: &[HeaderName], read: &dyn Fn(&HeaderMap)) {
    for name in names {
        for shape in SHAPES {
            for (begins, lines) in [("", false), ("bytes=", false), ("a=\"", false), ("", true)]
            {
                let input = |bytes: usize| {
                    let mut headers = HeaderMap::new();
                    if lines {
                        // As many lines as a map takes, at most.
                        for _ in 0..bytes / 8 {
                            headers.append(name, HeaderValue::from_static(shape));
                        }
                    } else {
                        let text = format!("{begins}{}", shape.repeat(bytes / shape.len()));
                        headers.append(name, HeaderValue::try_from(text).expect("it is plain"));
                    }
                    headers
                };
                let label = format!("{name}: {begins}{shape}, lines: {lines}");
                is_linear(&label, &input, read);
            }
        }
    }
}

#[test]
fn cache_control_is_read_in_linear_time() {
    every(&[CACHE_CONTROL], &|headers| {
        RequestDirectives::of(headers);
        ResponseDirectives::of(headers, &[]);
    });
}

#[test]
fn structured_fields_are_read_in_linear_time() {
    every(&[TARGETED], &|headers| drop(ResponseDirectives::of(headers, &[TARGETED])));
    every(&[CACHE_GROUPS], &|headers| drop(names(headers, &CACHE_GROUPS)));
}

#[test]
fn conditions_and_ranges_are_read_in_linear_time() {
    let mut stored = HeaderMap::new();
    stored.insert(ETAG, HeaderValue::from_static("\"b\""));
    every(&[IF_NONE_MATCH, IF_MODIFIED_SINCE, IF_RANGE], &|headers| {
        is_not_modified(headers, &stored, std::time::UNIX_EPOCH);
        if_range_holds(headers, &stored);
    });
    every(&[RANGE, CONTENT_RANGE], &|headers| {
        ranges(headers, 1_000);
        Part::of(headers);
    });
    every(&[DATE, CONTENT_LENGTH], &|headers| {
        date(headers, &DATE);
        content_length(headers);
    });
}

#[test]
fn keys_are_made_in_linear_time() {
    let response = |vary: &str| {
        let mut headers = HeaderMap::new();
        headers.append(VARY, HeaderValue::try_from(vary).unwrap());
        headers
    };
    for name in [ACCEPT, FORWARDED, HeaderName::from_static("x-any")] {
        let vary = response(name.as_str());
        every(&[name], &|headers| {
            let selection = Selection::of(&vary, headers, &[]).unwrap();
            assert!(selection.matches(headers, &[]));
        });
    }
    every(&[VARY], &|headers| drop(Selection::of(headers, headers, &[])));
    // Not of many lines: with assertions, `HeaderMap::remove` looks through all for each.
    every(&[CONNECTION], &|headers| {
        if headers.len() == 1 {
            take_hop_by_hop(&mut headers.clone());
        }
    });
    let keys = Keys { scheme: "http", sorted: true, ignored: ["b".into()].into() };
    let base = keys.of_uri(&Uri::from_static("http://h/a/b")).unwrap();
    for shape in ["/a", "/..", "a/../", "?a", "&a=1", "?b&", "#", "%2f", ":"] {
        let input = |bytes: usize| {
            let mut headers = HeaderMap::new();
            let text = format!("/{}", shape.repeat(bytes / shape.len()));
            headers.append("location", HeaderValue::try_from(text).unwrap());
            headers
        };
        is_linear(shape, &input, &|headers| {
            let target = keys.resolve(&base, headers["location"].as_bytes());
            assert!(target.is_none_or(|target| target.prefixes().count() <= 17));
        });
    }
}

#[test]
#[should_panic(expected = "for 16 times as much")]
fn what_is_not_linear_is_found() {
    let input = |bytes: usize| {
        let mut headers = HeaderMap::new();
        headers.append(DATE, HeaderValue::try_from("a".repeat(bytes / 16)).unwrap());
        headers
    };
    is_linear("pairs", &input, &|headers| {
        let text = headers[DATE].as_bytes();
        let pairs = text
            .iter()
            .filter(|one| text.iter().all(|other| std::hint::black_box(*one == other)));
        assert_eq!(pairs.count(), text.len());
    });
}
