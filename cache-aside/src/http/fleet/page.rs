//! What is stored under one URI, as servers share it.
//!
//! A page is a version, the life of the log that its moments are of, whether it is of use to
//! wait for what is not in it, and its responses. All numbers are big-endian; a string is its
//! length and its bytes. What is not exactly that is not understood, and a miss.

use std::sync::Arc;
use std::sync::atomic::AtomicU64;
use std::time::{Duration, SystemTime};

use bytes::Bytes;
use http::{HeaderMap, HeaderName, HeaderValue, StatusCode};

use super::super::block::Block;
use super::super::content::Content;
use super::super::entry::{Head, Shared, Stored};
use super::super::marks::Moment;
use super::super::reuse::Terms;
use super::super::vary::{Selection, Value};
use crate::clock::Tick;
use crate::codec::Codec;
use crate::error::BoxError;
use crate::shared::Life;

const MILLI: i128 = 1_000_000;

/// Raised whenever the layout changes.
const VERSION: u8 = 1;

/// All that servers share of one URI.
#[derive(Debug)]
pub(in crate::http) struct Page {
    pub(super) life: Life,
    /// For how long from its lease on nobody waits for others, and why.
    pub(super) alone: Option<(Alone, Duration)>,
    pub(super) sheets: Vec<Sheet>,
}

/// Why nobody waits for what another server asks for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(in crate::http) enum Alone {
    /// It was for one only.
    Unshared,
    /// It is too large for what servers share.
    Large,
}

/// One response. Its moments are counts of the page's life.
#[derive(Debug)]
pub(super) struct Sheet {
    status: StatusCode,
    fields: HeaderMap,
    terms: Terms,
    selection: Selection,
    /// How old it was when it came, ...
    initial_age: Duration,
    /// ... and how long after its page was leased that was, in milliseconds.
    came: i64,
    received_at: SystemTime,
    pub(super) marks: Box<[u64]>,
    pub(super) since: u64,
    pub(super) fresh_since: u64,
    content: Content,
}

impl Sheet {
    /// A response that is whole, for a page whose lease was given at `leased`.
    pub(super) fn of(stored: &Stored, since: u64, fresh_since: u64, leased: Tick) -> Self {
        let head = &stored.head;
        let came = (i128::from(head.received) - i128::from(leased)).div_euclid(MILLI);
        Self {
            status: head.status,
            fields: head.fields.to_map(),
            terms: head.terms,
            selection: head.selection.clone(),
            initial_age: head.initial_age,
            came: i64::try_from(came).unwrap_or(i64::MIN),
            received_at: head.received_at,
            marks: head.marks.clone(),
            since,
            fresh_since,
            content: stored.content.clone(),
        }
    }

    /// How much room it takes in a page, at most.
    pub(super) fn size(&self) -> u64 {
        let fields = self.fields.iter();
        let fields: usize =
            fields.map(|(name, value)| name.as_str().len() + value.len() + 9).sum();
        let beside = fields + self.selection.size() + 16 * self.selection.count();
        self.content.len() + (beside + 8 * self.marks.len() + 256) as u64
    }

    /// The same in this process, where it is `now`, and the lease was given `ago`.
    pub(super) fn stored(
        &self,
        now: Tick,
        ago: Duration,
        since: Moment,
        fresh_since: Moment,
        shared: Shared,
    ) -> Stored {
        let ago = i128::try_from(ago.as_millis()).unwrap_or(i128::MAX >> 32);
        let here = (ago - i128::from(self.came)).max(0).saturating_mul(MILLI);
        // This process's clock may be younger than it is.
        let received = i128::from(now) - here;
        let before = u64::try_from(-received.min(0)).unwrap_or(u64::MAX);
        let head = Head {
            status: self.status,
            fields: Block::new(&self.fields),
            terms: self.terms,
            selection: self.selection.clone(),
            part: None,
            initial_age: self.initial_age.saturating_add(Duration::from_nanos(before)),
            received: u64::try_from(received.max(0)).unwrap_or(now),
            received_at: self.received_at,
            marks: self.marks.clone(),
            since,
            fresh_since,
            shared,
            used: AtomicU64::new(now),
        };
        Stored { head: Arc::new(head), content: self.content.clone() }
    }
}

/// Writes and reads pages.
pub(super) struct Pages;

impl Codec<Page> for Pages {
    fn id(&self) -> u8 {
        8
    }

    fn encode(&self, page: &Page, bytes: &mut Vec<u8>) -> Result<(), BoxError> {
        let content: u64 = page.sheets.iter().map(|sheet| sheet.content.len()).sum();
        bytes.reserve(content as usize + 512 * page.sheets.len() + 64);
        bytes.push(VERSION);
        bytes.extend(page.life.0);
        let (why, span) = match page.alone {
            None => (0, Duration::ZERO),
            Some((Alone::Unshared, span)) => (1, span),
            Some((Alone::Large, span)) => (2, span),
        };
        bytes.push(why);
        millis(bytes, span);
        count(bytes, page.sheets.len())?;
        page.sheets.iter().try_for_each(|sheet| encode(sheet, bytes))
    }

    fn decode(&self, bytes: &[u8]) -> Result<Page, BoxError> {
        let mut left = Left(bytes);
        if left.byte()? != VERSION {
            return Err("it is of another version".into());
        }
        let life = Life(left.take()?);
        let (why, span) = (left.byte()?, left.millis()?);
        let alone = match why {
            0 => None,
            1 => Some((Alone::Unshared, span)),
            2 => Some((Alone::Large, span)),
            _ => return Err("nobody knows that reason".into()),
        };
        let sheets = left.list(decode)?;
        if !left.0.is_empty() {
            return Err("there is more than it should be".into());
        }
        Ok(Page { life, alone, sheets })
    }
}

const SENSITIVE: u8 = 1;

const NO_CACHE: u8 = 1;
const STRICT: u8 = 2;
const IF_ERROR: u8 = 4;

fn encode(sheet: &Sheet, bytes: &mut Vec<u8>) -> Result<(), BoxError> {
    bytes.extend(sheet.status.as_u16().to_be_bytes());
    count(bytes, sheet.fields.len())?;
    for (name, value) in &sheet.fields {
        string(bytes, name.as_str().as_bytes())?;
        string(bytes, value.as_bytes())?;
        bytes.push(if value.is_sensitive() { SENSITIVE } else { 0 });
    }
    let Terms { lifetime, no_cache, strict, while_revalidate, if_error } = sheet.terms;
    let flags = [(no_cache, NO_CACHE), (strict, STRICT), (if_error.is_some(), IF_ERROR)];
    bytes.push(flags.iter().map(|(on, flag)| if *on { *flag } else { 0 }).sum());
    for span in [lifetime, while_revalidate, if_error.unwrap_or_default()] {
        millis(bytes, span);
    }
    for part in sheet.selection.parts() {
        count(bytes, part.len())?;
        for (name, value) in part {
            string(bytes, name.as_str().as_bytes())?;
            bytes.push(u8::from(value.is_some()));
            string(bytes, value.as_deref().unwrap_or_default())?;
        }
    }
    millis(bytes, sheet.initial_age);
    bytes.extend(sheet.came.to_be_bytes());
    let received = sheet.received_at.duration_since(SystemTime::UNIX_EPOCH);
    millis(bytes, received.unwrap_or_default());
    count(bytes, sheet.marks.len())?;
    for number in sheet.marks.iter().chain([&sheet.since, &sheet.fresh_since]) {
        bytes.extend(number.to_be_bytes());
    }
    count(bytes, usize::try_from(sheet.content.len())?)?;
    sheet.content.pieces().for_each(|piece| bytes.extend_from_slice(&piece));
    Ok(())
}

fn decode(left: &mut Left<'_>) -> Result<Sheet, BoxError> {
    let status = StatusCode::from_u16(u16::from_be_bytes(left.take()?))?;
    let mut fields = HeaderMap::new();
    for (name, value) in left.list(|left| {
        let name = HeaderName::from_bytes(left.string()?)?;
        let mut value = HeaderValue::from_bytes(left.string()?)?;
        value.set_sensitive(left.byte()? & SENSITIVE != 0);
        Ok((name, value))
    })? {
        fields.try_append(name, value)?;
    }
    let flags = left.byte()?;
    let (lifetime, while_revalidate, if_error) =
        (left.millis()?, left.millis()?, left.millis()?);
    let terms = Terms {
        lifetime,
        no_cache: flags & NO_CACHE != 0,
        strict: flags & STRICT != 0,
        while_revalidate,
        if_error: (flags & IF_ERROR != 0).then_some(if_error),
    };
    let chosen = |left: &mut Left<'_>| -> Result<(HeaderName, Value), BoxError> {
        let name = HeaderName::from_bytes(left.string()?)?;
        let there = left.byte()? != 0;
        let value = left.string()?;
        Ok((name, there.then(|| value.into())))
    };
    let selection = Selection::from_parts(left.list(chosen)?, left.list(chosen)?);
    let (initial_age, came) = (left.millis()?, i64::from_be_bytes(left.take()?));
    let received_at = SystemTime::UNIX_EPOCH
        .checked_add(left.millis()?)
        .ok_or("it came after the end of time")?;
    let marks = left.list(|left| Ok(left.number()?))?;
    let (since, fresh_since) = (left.number()?, left.number()?);
    // Memory of its own: the record that it is cut from goes.
    let content = Content::new(&[Bytes::copy_from_slice(left.string()?)]);
    Ok(Sheet {
        status,
        fields,
        terms,
        selection,
        initial_age,
        came,
        received_at,
        marks: marks.into(),
        since,
        fresh_since,
        content,
    })
}

fn count(bytes: &mut Vec<u8>, count: usize) -> Result<(), BoxError> {
    bytes.extend(u32::try_from(count)?.to_be_bytes());
    Ok(())
}

fn string(bytes: &mut Vec<u8>, text: &[u8]) -> Result<(), BoxError> {
    count(bytes, text.len())?;
    bytes.extend_from_slice(text);
    Ok(())
}

fn millis(bytes: &mut Vec<u8>, span: Duration) {
    // A span without end stays one: that is more than half of what there is room for.
    let millis = u64::try_from(span.as_millis()).unwrap_or(u64::MAX);
    bytes.extend(millis.to_be_bytes());
}

/// What is left to be read.
struct Left<'b>(&'b [u8]);

impl<'b> Left<'b> {
    fn take<const N: usize>(&mut self) -> Result<[u8; N], &'static str> {
        let (taken, left) = self.0.split_first_chunk::<N>().ok_or("it is cut short")?;
        self.0 = left;
        Ok(*taken)
    }

    fn byte(&mut self) -> Result<u8, &'static str> {
        self.take::<1>().map(|[byte]| byte)
    }

    fn number(&mut self) -> Result<u64, &'static str> {
        self.take().map(u64::from_be_bytes)
    }

    fn millis(&mut self) -> Result<Duration, &'static str> {
        self.number().map(Duration::from_millis)
    }

    fn string(&mut self) -> Result<&'b [u8], &'static str> {
        let length = u32::from_be_bytes(self.take()?) as usize;
        let (taken, left) = self.0.split_at_checked(length).ok_or("it is cut short")?;
        self.0 = left;
        Ok(taken)
    }

    /// Each item takes a byte at least, so a length that lies ends soon.
    fn list<T>(
        &mut self,
        item: impl Fn(&mut Self) -> Result<T, BoxError>,
    ) -> Result<Vec<T>, BoxError> {
        let length = u32::from_be_bytes(self.take()?);
        let mut list = Vec::new();
        for _ in 0..length {
            list.push(item(self)?);
        }
        Ok(list)
    }
}

#[cfg(test)]
mod tests {
    use http_body_util::Empty;
    use proptest::collection::vec;
    use proptest::prelude::*;

    use super::super::super::directives::RequestDirectives;
    use super::super::super::reuse::{Standing, reuse};
    use super::super::super::serve::{self, Ask};
    use super::super::super::status::Status;
    use super::*;

    fn names() -> impl Strategy<Value = HeaderName> {
        "[a-z][a-z0-9-]{0,12}".prop_map(|name| HeaderName::try_from(name).unwrap())
    }

    fn chosen() -> impl Strategy<Value = Vec<(HeaderName, Value)>> {
        let value = proptest::option::of(vec(any::<u8>(), 0..9));
        vec((names(), value.prop_map(|value| value.map(Into::into))), 0..3)
    }

    fn spans() -> impl Strategy<Value = Duration> {
        any::<u64>().prop_map(Duration::from_millis)
    }

    prop_compose! {
        fn sheets()(
            status in 100_u16..1_000,
            fields in vec((names(), "[ -~]{0,20}", any::<bool>()), 0..6),
            spans in [spans(), spans(), spans()],
            flags: [bool; 3],
            selection in [chosen(), chosen()],
            initial_age in spans(),
            came: i64,
            received in 0_u64..1 << 45,
            marks in vec(any::<u64>(), 0..5),
            moments: [u64; 2],
            content in vec(any::<u8>(), 0..300),
        ) -> Sheet {
            let mut map = HeaderMap::new();
            for (name, value, sensitive) in fields {
                let mut value = HeaderValue::from_str(&value).unwrap();
                value.set_sensitive(sensitive);
                map.append(name, value);
            }
            let [varied, always] = selection;
            Sheet {
                status: StatusCode::from_u16(status).unwrap(),
                fields: map,
                terms: Terms {
                    lifetime: spans[0], no_cache: flags[0], strict: flags[1],
                    while_revalidate: spans[1], if_error: flags[2].then_some(spans[2]),
                },
                selection: Selection::from_parts(varied, always),
                initial_age,
                came,
                received_at: SystemTime::UNIX_EPOCH + Duration::from_millis(received),
                marks: marks.into(),
                since: moments[0],
                fresh_since: moments[1],
                content: Content::new(&[content.into()]),
            }
        }
    }

    prop_compose! {
        fn pages()(
            life: [u8; 32],
            alone in proptest::option::of((any::<bool>(), spans())),
            sheets in vec(sheets(), 0..4),
        ) -> Page {
            let mut whole = [7; 36];
            whole[..32].copy_from_slice(&life);
            let why = |large| if large { Alone::Large } else { Alone::Unshared };
            let alone = alone.map(|(large, span)| (why(large), span));
            Page { life: Life(whole), alone, sheets }
        }
    }

    fn bytes_of(page: &Page) -> Vec<u8> {
        let mut bytes = Vec::new();
        Pages.encode(page, &mut bytes).unwrap();
        bytes
    }

    proptest! {
        #[test]
        fn a_page_comes_back(page in pages()) {
            let bytes = bytes_of(&page);
            let back = Pages.decode(&bytes).unwrap();
            prop_assert_eq!((back.life, back.alone), (page.life, page.alone));
            prop_assert_eq!(back.sheets.len(), page.sheets.len());
            for (back, sheet) in back.sheets.iter().zip(&page.sheets) {
                prop_assert_eq!(&back.fields, &sheet.fields);
                let secret = |sheet: &Sheet| {
                    sheet.fields.values().map(HeaderValue::is_sensitive).collect::<Vec<_>>()
                };
                prop_assert_eq!(secret(back), secret(sheet));
                prop_assert_eq!(&back.selection, &sheet.selection);
                prop_assert_eq!(back.terms, sheet.terms);
                prop_assert_eq!(
                    (back.status, back.came, back.received_at, back.since, back.fresh_since),
                    (sheet.status, sheet.came, sheet.received_at, sheet.since, sheet.fresh_since)
                );
                prop_assert_eq!(&back.marks, &sheet.marks);
                let content = |sheet: &Sheet| sheet.content.pieces().flatten().collect::<Vec<u8>>();
                prop_assert_eq!(content(back), content(sheet));
            }
            // It has one form.
            prop_assert_eq!(bytes_of(&back), bytes);
        }

        #[test]
        fn what_is_cut_short_or_too_long_is_not_understood(page in pages(), at: prop::sample::Index) {
            let mut bytes = bytes_of(&page);
            prop_assert!(Pages.decode(&bytes[..at.index(bytes.len())]).is_err());
            bytes.push(0);
            prop_assert!(Pages.decode(&bytes).is_err());
            bytes.pop();
            bytes[0] = VERSION + 1;
            prop_assert!(Pages.decode(&bytes).is_err());
        }

        #[test]
        fn no_bytes_make_it_panic(page in pages(), at: prop::sample::Index, with: [u8; 4]) {
            let mut bytes = bytes_of(&page);
            let at = at.index(bytes.len());
            let end = bytes.len().min(at + 4);
            bytes[at..end].copy_from_slice(&with[..end - at]);
            if let Ok(page) = Pages.decode(&bytes) {
                for sheet in &page.sheets {
                    sheet.stored(5, Duration::MAX, 0, 0, Shared::default());
                }
            }
            let _ = Pages.decode(&with);
        }

        /// Whatever it says, it is judged and served.
        #[test]
        fn no_response_in_it_makes_a_server_panic(
            sheet in sheets(), now in prop_oneof![Just(0), any::<u64>()], ago in spans(),
            range in "(bytes=)?[0-9]{0,2}-[0-9]{0,3}",
        ) {
            let stored = sheet.stored(now, ago, 0, 0, Shared::default());
            let range = (http::header::RANGE, HeaderValue::try_from(range).unwrap());
            let request = HeaderMap::from_iter([range]);
            let _ = stored.useful_for(now, Duration::MAX);
            let age = stored.head.age(now);
            let standing = Standing { age, outdated: false, unsure: false };
            let _ = reuse(&stored.head.terms, standing, &RequestDirectives::of(&request));
            let ask = Ask { method: &http::Method::GET, headers: &request };
            serve::stored::<Empty<Bytes>>(&stored, ask, now, Status::default(), "c");
        }

        /// Its age goes on from server to server, by the clock of the store, also where the
        /// clock is young.
        #[test]
        fn it_is_as_old_there_as_it_was_here(
            sheet in sheets(), initial in 0_u64..100, received in 0_u64..100,
            leased in 0_u64..100, there in 0_u64..1_000, ago in 100_u64..200,
        ) {
            let second = 1_000_000_000;
            let here = sheet.stored(0, Duration::ZERO, 0, 0, Shared::default());
            let mut head = Arc::try_unwrap(here.head).unwrap();
            head.initial_age = Duration::from_secs(initial);
            head.received = received * second;
            let here = Stored { head: Arc::new(head), content: here.content };
            let sent = Sheet::of(&here, 0, 0, leased * second);
            let ago = Duration::from_secs(ago);
            let sent = sent.stored(there * second, ago, 0, 0, Shared::default());
            let passed = leased * second + ago.as_nanos() as u64;
            prop_assert_eq!(sent.head.age(there * second), here.head.age(passed));
        }
    }
}
