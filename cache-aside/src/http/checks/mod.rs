//! What holds of the parsers for any bytes, each against a second, simpler reading. For fuzz
//! targets, and for the tests here.

#[cfg(all(test, target_os = "linux"))]
mod linear;
#[cfg(test)]
mod tests;

use std::time::{Duration, SystemTime, UNIX_EPOCH};

use http::header::{CACHE_CONTROL, CONTENT_RANGE, DATE, ETAG, IF_RANGE, RANGE};
use http::{HeaderMap, HeaderName, HeaderValue};

use super::age::{date, parsed};
use super::conditional::{EntityTag, if_range_holds};
use super::directives::{RequestDirectives, ResponseDirectives, Span as Seconds};
use super::groups::{CACHE_GROUPS, MOST, names};
use super::range::{Part, Ranges, Span, ranges};

const TARGETED: HeaderName = HeaderName::from_static("cdn-cache-control");

/// The lines of a field; bytes that no field has are left out.
fn field(name: &HeaderName, data: &[u8]) -> HeaderMap {
    let mut headers = HeaderMap::new();
    for line in data.split(|byte| *byte == b'\n').take(1_000) {
        if let Ok(value) = HeaderValue::from_bytes(line) {
            headers.append(name, value);
        }
    }
    headers
}

fn joined(name: &HeaderName, headers: &HeaderMap) -> Vec<u8> {
    let lines: Vec<&[u8]> = headers.get_all(name).iter().map(HeaderValue::as_bytes).collect();
    lines.join(&b", "[..])
}

/// `Cache-Control`, of requests and of responses.
///
/// # Panics
///
/// If what is read is not what it is to be.
pub fn cache_control(data: &[u8]) {
    let headers = field(&CACHE_CONTROL, data);
    let read = |headers: &HeaderMap| {
        (ResponseDirectives::of(headers, &[]), RequestDirectives::of(headers))
    };
    let (said, asked) = read(&headers);
    let upper = field(&CACHE_CONTROL, &data.to_ascii_uppercase());
    assert_eq!(read(&upper), (said.clone(), asked), "the case counts");

    let mut more = headers.clone();
    more.append(CACHE_CONTROL, HeaderValue::from_static("no-store"));
    let no_store = ResponseDirectives { no_store: true, ..said.clone() };
    let (said_more, asked_more) = read(&more);
    assert_eq!(said_more, no_store, "a line more says more than it says");
    assert_eq!(asked_more, RequestDirectives { no_store: true, ..asked });

    let lines = headers.get_all(CACHE_CONTROL).iter();
    let Some(plain) = lines.map(|line| directives(line.as_bytes())).collect::<Option<Vec<_>>>()
    else {
        return;
    };
    let one = field(&CACHE_CONTROL, &joined(&CACHE_CONTROL, &headers));
    assert_eq!(read(&one), (said.clone(), asked), "lines are not one list");
    let plain: Vec<_> = plain.into_iter().flatten().collect();
    let has = |name: &str| plain.iter().any(|(other, _)| other == name);
    assert_eq!(said.no_store, has("no-store"));
    assert_eq!(said.public, has("public"));
    assert_eq!(said.must_revalidate, has("must-revalidate"));
    assert_eq!(said.proxy_revalidate, has("proxy-revalidate"));
    assert_eq!(said.must_understand, has("must-understand"));
    assert_eq!((asked.no_store, asked.no_cache), (has("no-store"), has("no-cache")));
    assert_eq!(asked.only_if_cached, has("only-if-cached"));
    for (name, read) in [("max-age", said.max_age), ("s-maxage", said.s_maxage)] {
        let all: Vec<_> = plain.iter().filter(|(other, _)| other == name).collect();
        let span = all.first().map(|(_, value)| value.as_deref().and_then(delta));
        let expected = match span {
            None => Seconds::None,
            Some(Some(span))
                if all
                    .iter()
                    .all(|(_, other)| other.as_deref().and_then(delta) == Some(span)) =>
            {
                Seconds::Of(span)
            }
            Some(_) => Seconds::Invalid,
        };
        assert_eq!(read, expected, "{name}");
    }
}

fn delta(text: &str) -> Option<Duration> {
    let digits = text.trim_start_matches('0');
    let number = match digits.len() {
        _ if text.is_empty() || !text.bytes().all(|byte| byte.is_ascii_digit()) => return None,
        0 => 0,
        1..=18 => digits.parse::<u64>().ok()?.min(1 << 31),
        _ => 1 << 31,
    };
    Some(Duration::from_secs(number))
}

type Directive = (String, Option<String>);

/// Those of a line that is as it should be, read letter by letter.
fn directives(line: &[u8]) -> Option<Vec<Directive>> {
    let token = |byte: u8| byte.is_ascii_alphanumeric() || b"!#$%&'*+-.^_`|~".contains(&byte);
    let mut rest = line.iter().copied().peekable();
    let mut all = Vec::new();
    loop {
        while rest.next_if(|byte| matches!(byte, b' ' | b'\t' | b',')).is_some() {}
        if rest.peek().is_none() {
            return Some(all);
        }
        let mut name = String::new();
        while let Some(byte) = rest.next_if(|byte| token(*byte)) {
            name.push(byte.to_ascii_lowercase() as char);
        }
        let mut value = None;
        if rest.next_if_eq(&b'=').is_some() {
            let mut text = String::new();
            if rest.next_if_eq(&b'"').is_some() {
                loop {
                    match rest.next()? {
                        b'"' => break,
                        b'\\' => text.push(rest.next()? as char),
                        byte => text.push(byte as char),
                    }
                }
            } else {
                while let Some(byte) = rest.next_if(|byte| token(*byte)) {
                    text.push(byte as char);
                }
                if text.is_empty() {
                    return None;
                }
            }
            value = Some(text);
        }
        while rest.next_if(|byte| matches!(byte, b' ' | b'\t')).is_some() {}
        if name.is_empty() || rest.peek().is_some_and(|byte| *byte != b',') {
            return None;
        }
        all.push((name, value));
    }
}

/// Dates in their three forms.
///
/// # Panics
///
/// If what is read is not what it is to be.
pub fn dates(data: &[u8]) {
    let headers = field(&DATE, data);
    for line in headers.get_all(DATE) {
        let read = parsed(line);
        assert_eq!(read, plain_date(line.as_bytes()), "{line:?}");
        if let Some(time) = read {
            let written = httpdate::fmt_http_date(time);
            let again = parsed(&HeaderValue::try_from(written).expect("it is plain"));
            assert_eq!(again, Some(time), "{line:?}");
        }
    }
    if let Some(time) = date(&headers, &DATE) {
        assert!(headers.get_all(DATE).iter().all(|line| parsed(line) == Some(time)));
    }
}

const DAYS: [&str; 7] =
    ["monday", "tuesday", "wednesday", "thursday", "friday", "saturday", "sunday"];

/// RFC 9110, section 5.6.7, in any case. A day that was another of the week is none, and neither
/// is a leap second.
fn plain_date(text: &[u8]) -> Option<SystemTime> {
    const MONTHS: &str = "janfebmaraprmayjunjulaugsepoctnovdec";
    let text = std::str::from_utf8(text).ok().filter(|text| text.is_ascii())?;
    let text = text.trim().to_ascii_lowercase();
    let (day_name, rest) = text.split_at(text.find([',', ' '])?);
    let weekday = DAYS.iter().position(|day| *day == day_name || &day[..3] == day_name)?;
    let known = |short: bool| short == (day_name.len() == 3);
    // The same places of the three forms: day, month, year, hour, minute, second.
    let mut shape: String = rest
        .chars()
        .map(|c| match c {
            '0'..='9' => '0',
            'a'..='z' => 'a',
            other => other,
        })
        .collect();
    if shape.starts_with(", 00-aaa-00") && shape.len() > 11 {
        // What is between the year and the time is not looked at.
        shape.replace_range(11..12, " ");
    }
    let (day, month, year, time) = match shape.as_str() {
        ", 00 aaa 0000 00:00:00 aaa" if known(true) => {
            (&rest[2..4], &rest[5..8], rest[9..13].parse().ok()?, &rest[14..])
        }
        ", 00-aaa-00 00:00:00 aaa" if known(false) => {
            let year: i64 = rest[9..11].parse().ok()?;
            (
                &rest[2..4],
                &rest[5..8],
                if year < 70 { 2000 + year } else { 1900 + year },
                &rest[12..],
            )
        }
        " aaa 00 00:00:00 0000" | " aaa  0 00:00:00 0000" if known(true) => {
            (rest[5..7].trim(), &rest[1..4], rest[17..21].parse().ok()?, &rest[8..16])
        }
        _ => return None,
    };
    let zone = time.get(8..).unwrap_or_default();
    if !(zone.is_empty() || zone == " gmt") {
        return None;
    }
    let month = MONTHS.find(month).filter(|at| at % 3 == 0)? as i64 / 3 + 1;
    let number = |text: &str| text.parse::<i64>().ok();
    let (day, hour, minute, second) =
        (number(day)?, number(&time[..2])?, number(&time[3..5])?, number(&time[6..8])?);
    let leap = year % 4 == 0 && (year % 100 != 0 || year % 400 == 0);
    let length = match month {
        2 => 28 + i64::from(leap),
        4 | 6 | 9 | 11 => 30,
        _ => 31,
    };
    let valid = (1970..=9999).contains(&year)
        && (1..=length).contains(&day)
        && hour < 24
        && minute < 60
        && second < 60;
    if !valid {
        return None;
    }
    // Days of the years before, by counting.
    let before = year - 1;
    let days = before * 365 + before / 4 - before / 100 + before / 400 - 719_162;
    let months = [31, 28 + i64::from(leap), 31, 30, 31, 30, 31, 31, 30, 31, 30, 31];
    let days = days + months[..month as usize - 1].iter().sum::<i64>() + day - 1;
    // The first day was a Thursday.
    if (days + 3) % 7 != weekday as i64 {
        return None;
    }
    let seconds = ((days * 24 + hour) * 60 + minute) * 60 + second;
    Some(UNIX_EPOCH + Duration::from_secs(seconds as u64))
}

/// `Range`, `Content-Range` and `If-Range`. The first eight bytes are the length of the content.
///
/// # Panics
///
/// If what is read is not what it is to be.
pub fn ranges_of(data: &[u8]) {
    let Some((length, rest)) = data.split_first_chunk::<8>() else { return };
    // Small ones are more telling.
    let length = u64::from_le_bytes(*length) >> (length[7] % 64);
    let read = ranges(&field(&RANGE, rest), length);
    let within = |span: &Span| span.first <= span.last && span.last < length;
    match &read {
        Ranges::Whole | Ranges::Unsatisfiable => {}
        Ranges::One(span) => assert!(within(span), "{span:?} of {length}"),
        Ranges::Several(spans) => {
            assert!((2..=16).contains(&spans.len()) && spans.iter().all(within));
            for (n, one) in spans.iter().enumerate() {
                let apart = |other: &Span| one.last < other.first || other.last < one.first;
                assert!(spans[n + 1..].iter().all(apart), "{spans:?}");
            }
            assert!(spans.iter().map(|span| span.len()).sum::<u64>() <= length);
        }
    }
    if let Some(expected) = plain_range(rest, length) {
        assert_eq!(read, expected);
    }

    let parts: Vec<Part> = rest
        .split(|byte| *byte == b'\n')
        .filter_map(|line| Part::of(&field(&CONTENT_RANGE, line)))
        .collect();
    for part in &parts {
        assert!(part.span.first <= part.span.last && part.span.last < part.total);
        let text = format!("bytes {}-{}/{}", part.span.first, part.span.last, part.total);
        assert_eq!(Part::of(&field(&CONTENT_RANGE, text.as_bytes())), Some(*part));
        for other in &parts {
            let both = part.with(*other);
            assert_eq!(both, other.with(*part));
            assert!(
                both.is_none_or(|both| both.span.len() <= part.span.len() + other.span.len())
            );
        }
        if part.has(&field(&RANGE, rest)) {
            let asked = ranges(&field(&RANGE, rest), part.total);
            assert!(matches!(asked, Ranges::One(asked)
                if part.span.first <= asked.first && asked.last <= part.span.last));
        }
    }

    let mut lines = rest.splitn(2, |byte| *byte == b'\n');
    let (asked, stored) = (lines.next().unwrap_or_default(), lines.next().unwrap_or_default());
    let asked = field(&IF_RANGE, asked);
    let mut tagged = field(&ETAG, stored);
    tagged.extend(field(&DATE, stored));
    if asked.contains_key(IF_RANGE) && if_range_holds(&asked, &tagged) {
        let asked = asked[IF_RANGE].as_bytes().trim_ascii();
        assert!(asked.starts_with(b"\"") && asked == tagged[ETAG].as_bytes().trim_ascii());
        assert!(EntityTag::parse(asked).is_some_and(EntityTag::is_strong));
    }
}

/// One range of digits that are not too many.
fn plain_range(line: &[u8], length: u64) -> Option<Ranges> {
    let text = std::str::from_utf8(line).ok()?.strip_prefix("bytes=")?;
    let (first, last) = text.split_once('-')?;
    let number = |text: &str| {
        let plain =
            (1..=18).contains(&text.len()) && text.bytes().all(|byte| byte.is_ascii_digit());
        plain.then(|| text.parse::<u64>().ok()).flatten()
    };
    let (first, last) = match (first, last) {
        ("", last) => (length.saturating_sub(number(last)?), u64::MAX),
        (first, "") => (number(first)?, u64::MAX),
        (first, last) => (number(first)?, number(last)?),
    };
    if last < first {
        return Some(Ranges::Whole);
    }
    let last = last.min(length.wrapping_sub(1));
    Some(if first < length { Ranges::One(Span { first, last }) } else { Ranges::Unsatisfiable })
}

/// `CDN-Cache-Control`, a dictionary, and `Cache-Groups`, a list of strings.
///
/// # Panics
///
/// If what is read is not what it is to be.
pub fn structured_fields(data: &[u8]) {
    let headers = field(&TARGETED, data);
    let said = ResponseDirectives::of(&headers, &[TARGETED]);
    let text = joined(&TARGETED, &headers);
    let one = field(&TARGETED, &text);
    assert_eq!(ResponseDirectives::of(&one, &[TARGETED]), said, "lines are not one list");
    let has_no_other = |byte: &u8| matches!(byte, b' '..=b'~' | b'\t');
    if !text.iter().all(has_no_other) {
        assert!(!said.targeted, "they are of ASCII");
    }
    if let Some(plain) = plain_dictionary(&text) {
        assert!(said.targeted);
        let last = |name: &str| plain.iter().rev().find(|(other, _)| *other == name);
        assert_eq!(said.no_store, last("no-store").is_some());
        let expected = match last("max-age") {
            None => Seconds::None,
            Some((_, Some(number))) if *number >= 0 => {
                Seconds::Of(Duration::from_secs((*number as u64).min(1 << 31)))
            }
            Some(_) => Seconds::Invalid,
        };
        assert_eq!(said.max_age, expected);
    }

    let headers = field(&CACHE_GROUPS, data);
    let groups = names(&headers, &CACHE_GROUPS);
    assert!(groups.len() <= MOST);
    let quoted = |name: &Vec<u8>| {
        let mut text = vec![b'"'];
        for byte in name {
            assert!(matches!(byte, b' '..=b'~'), "a string is of ASCII");
            if matches!(byte, b'"' | b'\\') {
                text.push(b'\\');
            }
            text.push(*byte);
        }
        text.push(b'"');
        text
    };
    let written = groups.iter().map(quoted).collect::<Vec<_>>().join(&b", "[..]);
    assert_eq!(names(&field(&CACHE_GROUPS, &written), &CACHE_GROUPS), groups);
    if let Some(plain) = plain_strings(&joined(&CACHE_GROUPS, &headers)) {
        let expected = if plain.len() <= MOST { plain } else { Vec::new() };
        assert_eq!(groups, expected);
    }
}

/// `a, b=1`: keys, alone or with an integer.
fn plain_dictionary(text: &[u8]) -> Option<Vec<(&str, Option<i64>)>> {
    let text = std::str::from_utf8(text).ok()?;
    let member = |member: &'_ str| -> Option<(usize, Option<i64>)> {
        let (key, value) = match member.split_once('=') {
            Some((key, digits)) => {
                let plain = digits.strip_prefix('-').unwrap_or(digits);
                let fits = (1..=15).contains(&plain.len());
                let plain = fits && plain.bytes().all(|byte| byte.is_ascii_digit());
                (key, Some(digits.parse().ok().filter(|_| plain)?))
            }
            None => (member, None),
        };
        let begins = key.starts_with(|c: char| c.is_ascii_lowercase() || c == '*');
        let plain = |byte: u8| {
            byte.is_ascii_lowercase() || byte.is_ascii_digit() || b"_-.*".contains(&byte)
        };
        (begins && key.bytes().all(plain)).then_some((key.len(), value))
    };
    let mut all = Vec::new();
    // White space around the whole is of spaces only.
    let text = text.trim_matches(' ');
    for text in text.split(',') {
        let text = text.trim_matches([' ', '\t']);
        let (length, value) = member(text)?;
        all.push((&text[..length], value));
    }
    (!text.starts_with('\t') && !text.ends_with('\t')).then_some(all)
}

/// `"a", "b"`, without parameters.
fn plain_strings(text: &[u8]) -> Option<Vec<Vec<u8>>> {
    // White space around the whole is of spaces only.
    let text = std::str::from_utf8(text).ok()?.trim_matches(' ');
    let mut rest = text.bytes().peekable();
    let mut all = Vec::new();
    loop {
        if rest.next()? != b'"' {
            return None;
        }
        let mut name = Vec::new();
        loop {
            match rest.next()? {
                b'"' => break,
                b'\\' => name.push(rest.next().filter(|byte| matches!(byte, b'"' | b'\\'))?),
                byte @ b' '..=b'~' => name.push(byte),
                _ => return None,
            }
        }
        all.push(name);
        while rest.next_if(|byte| matches!(byte, b' ' | b'\t')).is_some() {}
        match rest.next() {
            None => {
                return (!text.ends_with('\t')).then_some(all);
            }
            Some(b',') => {}
            Some(_) => return None,
        }
        while rest.next_if(|byte| matches!(byte, b' ' | b'\t')).is_some() {}
    }
}
