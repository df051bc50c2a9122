//! Which requests a stored response is for (RFC 9111, section 4.1).

use http::HeaderMap;
use http::header::{
    ACCEPT, ACCEPT_CHARSET, ACCEPT_ENCODING, ACCEPT_LANGUAGE, FORWARDED, HeaderName, VARY,
};

use super::field::{members, parameter, split};

/// A response that was chosen by more fields than this has as good as its own for each request.
const MOST: usize = 32;

/// The request's fields that a response was chosen by, with what they were.
#[derive(Clone, Debug, Default)]
pub(super) struct Selection {
    /// Those of `Vary`.
    varied: Box<[(HeaderName, Value)]>,
    /// Those that always count, as far as the request had them.
    always: Box<[(HeaderName, Value)]>,
    /// Those of `Vary` as they were, where that was one line, as far as that is known: who
    /// sends the same is seen without bringing it into its normal form.
    verbatim: Box<[Value]>,
}

impl PartialEq for Selection {
    fn eq(&self, other: &Self) -> bool {
        (&self.varied, &self.always) == (&other.varied, &other.always)
    }
}

impl Eq for Selection {}

/// A field in its normal form; none if it is not there.
pub(super) type Value = Option<Box<[u8]>>;

/// Those of one request, in the order of the fields' names.
pub(super) type Values = Box<[Value]>;

impl Selection {
    /// By `Vary`, and by the fields that always count where a request has them. None if it
    /// matches no request but its own: `*`, or what is no name.
    pub(super) fn of(
        response: &HeaderMap,
        request: &HeaderMap,
        always: &[HeaderName],
    ) -> Option<Self> {
        let mut names = Vec::new();
        for member in members(response, &VARY) {
            names
                .push(HeaderName::from_bytes(member).ok().filter(|name| name.as_str() != "*")?);
        }
        names.sort_unstable_by(|a, b| a.as_str().cmp(b.as_str()));
        names.dedup();
        if names.len() > MOST {
            return None;
        }
        let with_value = |name: HeaderName| {
            let value = normalised(request, &name);
            (name, value)
        };
        let verbatim = |name| only_line(request, name).map(Into::into);
        let verbatim = names.iter().map(verbatim).collect();
        let always = always.iter().cloned().map(with_value);
        Some(Self {
            verbatim,
            varied: names.into_iter().map(with_value).collect(),
            always: always.filter(|(_, value)| value.is_some()).collect(),
        })
    }

    /// Whether it is for a request, too. `always` are the fields that it was made with; those
    /// that the request has not may be left out.
    pub(super) fn matches(&self, request: &HeaderMap, always: &[HeaderName]) -> bool {
        let holds = |(name, stored): &(_, _)| normalised(request, name) == *stored;
        let is_verbatim = |n: usize, name| {
            let stored = self.verbatim.get(n).and_then(Option::as_deref);
            stored.is_some() && stored == only_line(request, name)
        };
        self.varied
            .iter()
            .enumerate()
            .all(|(n, field)| is_verbatim(n, &field.0) || holds(field))
            && self.always.iter().all(holds)
            && always.iter().all(|name| {
                self.always.iter().any(|(stored, _)| stored == name)
                    || normalised(request, name).is_none()
            })
    }

    /// Whether the origin said what it was chosen by.
    pub(super) fn varies(&self) -> bool {
        !self.varied.is_empty()
    }

    /// What a request says where this one is selected by: for telling apart who asks for the
    /// same before there is an answer.
    pub(super) fn values(&self, request: &HeaderMap, always: &[HeaderName]) -> Values {
        let names = self.varied.iter().map(|(name, _)| name).chain(always);
        names.map(|name| normalised(request, name)).collect()
    }

    /// The fields of `Vary`, and those that always count, with their values.
    pub(super) fn parts(&self) -> [&[(HeaderName, Value)]; 2] {
        [&self.varied, &self.always]
    }

    pub(super) fn count(&self) -> usize {
        self.varied.len() + self.always.len()
    }

    pub(super) fn from_parts(
        varied: Vec<(HeaderName, Value)>,
        always: Vec<(HeaderName, Value)>,
    ) -> Self {
        Self { varied: varied.into(), always: always.into(), verbatim: Box::default() }
    }

    pub(super) fn size(&self) -> usize {
        let fields = self.varied.iter().chain(&self.always);
        let own = |(name, value): &(HeaderName, Value)| {
            size_of::<(HeaderName, Value)>()
                + name.as_str().len()
                + value.as_ref().map_or(0, |value| value.len())
        };
        let verbatim = self
            .verbatim
            .iter()
            .map(|line| size_of::<Value>() + line.as_ref().map_or(0, |line| line.len()));
        fields.map(own).chain(verbatim).sum()
    }
}

/// The fields that always count.
#[derive(Clone, Debug)]
pub(super) struct Keyed {
    names: Box<[HeaderName]>,
    /// A bit for each length that a name of them has.
    lengths: u64,
}

impl Keyed {
    pub(super) fn new(names: impl IntoIterator<Item = HeaderName>) -> Self {
        let names: Box<[_]> = names.into_iter().collect();
        let lengths = names.iter().fold(0, |all, name| all | length_bit(name));
        Self { names, lengths }
    }

    pub(super) fn names(&self) -> &[HeaderName] {
        &self.names
    }

    /// They, if a request has one of them. Most have none, which is seen without looking for
    /// each.
    pub(super) fn of(&self, request: &HeaderMap) -> &[HeaderName] {
        let has = |name| self.lengths & length_bit(name) != 0 && self.names.contains(name);
        if request.keys().any(has) { &self.names } else { &[] }
    }
}

/// Lengths from 63 on share one.
fn length_bit(name: &HeaderName) -> u64 {
    1 << name.as_str().len().min(63)
}

/// A field that is one line.
fn only_line<'r>(request: &'r HeaderMap, name: &HeaderName) -> Option<&'r [u8]> {
    let mut lines = request.get_all(name).iter();
    let first = lines.next()?;
    lines.next().is_none().then(|| first.as_bytes())
}

/// A field in a form that is the same for what means the same: lines as one list, without
/// white space that means nothing; for those whose members are alternatives with weights,
/// in small letters and without an order. Languages keep theirs: of those that weigh the same
/// many servers take the first (RFC 9110, section 12.5.4).
fn normalised(request: &HeaderMap, name: &HeaderName) -> Option<Box<[u8]>> {
    let mut lines = request.get_all(name).iter();
    let first = lines.next()?;
    if *name == FORWARDED {
        return forwarded(request);
    }
    if [ACCEPT, ACCEPT_CHARSET, ACCEPT_ENCODING, ACCEPT_LANGUAGE].contains(name) {
        let mut alternatives: Vec<Vec<u8>> = members(request, name).map(alternative).collect();
        if *name != ACCEPT_LANGUAGE {
            alternatives.sort_unstable();
        }
        return Some(alternatives.join(&b","[..]).into());
    }
    let mut value = first.as_bytes().trim_ascii().to_vec();
    for line in lines {
        value.extend_from_slice(b", ");
        value.extend_from_slice(line.as_bytes().trim_ascii());
    }
    Some(value.into())
}

/// Of `Forwarded` what may choose a response: the host and the scheme, not for whom.
fn forwarded(request: &HeaderMap) -> Value {
    let pairs = members(request, &FORWARDED).flat_map(|element| split(element, b';'));
    let mut kept: Vec<Vec<u8>> = pairs
        .filter(|pair| {
            let (name, _) = parameter(pair);
            name.eq_ignore_ascii_case(b"host") || name.eq_ignore_ascii_case(b"proto")
        })
        .map(|pair| pair.to_ascii_lowercase())
        .collect();
    kept.dedup();
    (!kept.is_empty()).then(|| kept.join(&b","[..]).into())
}

/// `text/html ; Q=0.5` as `text/html;q=0.5`. Nothing in it is told apart by case, save the
/// values of a media type's parameters, which stay as they are.
fn alternative(member: &[u8]) -> Vec<u8> {
    let mut text = Vec::with_capacity(member.len());
    for (n, part) in split(member, b';').enumerate() {
        if n == 0 {
            text.extend(part.to_ascii_lowercase());
            continue;
        }
        text.push(b';');
        match part.iter().position(|byte| *byte == b'=') {
            Some(at) => {
                text.extend(part[..at].trim_ascii().to_ascii_lowercase());
                text.push(b'=');
                text.extend(part[at + 1..].trim_ascii());
            }
            None => text.extend(part.to_ascii_lowercase()),
        }
    }
    text
}

#[cfg(test)]
mod tests {
    use http::HeaderValue;
    use proptest::prelude::*;

    use super::*;

    fn map(pairs: &[(&'static str, &str)]) -> HeaderMap {
        let mut headers = HeaderMap::new();
        for (name, value) in pairs {
            headers.append(*name, HeaderValue::from_str(value).unwrap());
        }
        headers
    }

    /// Whether what was stored for one request is for another.
    fn same(vary: &str, one: &[(&'static str, &str)], other: &[(&'static str, &str)]) -> bool {
        Selection::of(&map(&[("vary", vary)]), &map(one), &[])
            .is_some_and(|selection| selection.matches(&map(other), &[]))
    }

    #[test]
    fn only_the_fields_that_are_named_count() {
        let (a, b) = ([("foo", "1"), ("bar", "1")], [("foo", "1"), ("bar", "2")]);
        assert!(same("foo", &a, &b));
        assert!(!same("Foo, BAR", &a, &b));
        assert!(same("", &a, &b));
        assert!(!same("foo", &a, &[]), "to be absent is not the same");
        assert!(!same("foo", &[], &a));
        assert!(same("foo", &[], &[]));
        assert!(!same("foo", &[("foo", "")], &[]));
    }

    #[test]
    fn a_star_and_nonsense_match_nothing() {
        for vary in ["*", "foo, *", "*, foo", "foo bar", "a, b c"] {
            assert!(!same(vary, &[], &[]), "{vary}");
        }
    }

    #[test]
    fn lines_and_white_space_around_mean_nothing() {
        assert!(same("foo", &[("foo", "1, 2")], &[("foo", "1"), ("foo", "2")]));
        assert!(same("foo", &[("foo", " 1 ")], &[("foo", "1")]));
        assert!(
            !same("foo", &[("foo", "1, 2")], &[("foo", "2, 1")]),
            "order may mean something"
        );
        assert!(!same("foo", &[("foo", "a")], &[("foo", "A")]));
    }

    #[test]
    fn alternatives_have_no_order_and_no_case() {
        for (name, one, other) in [
            ("accept-encoding", "gzip, br", "BR,gzip"),
            ("accept-charset", "utf-8, *;q=0.5", "* ; Q=0.5 , UTF-8"),
            ("accept", "text/html, */*;q=0.1", "*/*;q=0.1,TEXT/HTML"),
        ] {
            assert!(same(name, &[(name, one)], &[(name, other)]), "{name}");
        }
        let languages = |text| [("accept-language", text)];
        assert!(same("accept-language", &languages("de, EN"), &languages("de ,en")));
        assert!(!same("accept-language", &languages("de, en"), &languages("en, de")));
        assert!(!same(
            "accept-language",
            &[("accept-language", "de, en;q=0.5")],
            &[("accept-language", "de, en;q=0.4")]
        ));
        assert!(!same("accept", &[("accept", "a/b;v=X")], &[("accept", "a/b;v=x")]));
    }

    #[test]
    fn what_is_said_word_for_word_is_the_same_only_as_one_line() {
        let vary = map(&[("vary", "accept-encoding, foo")]);
        let one = map(&[("accept-encoding", "GZIP , br")]);
        let selection = Selection::of(&vary, &one, &[]).unwrap();
        assert_eq!(selection.verbatim[0].as_deref(), Some(&b"GZIP , br"[..]));
        for (lines, same) in [
            (&["GZIP , br"][..], true),
            (&["br", "gzip"], true),
            (&["GZIP , br", "zstd"], false),
            (&["GZIP , b"], false),
            (&[], false),
        ] {
            let mut other = HeaderMap::new();
            for line in lines {
                other.append(ACCEPT_ENCODING, HeaderValue::from_static(line));
            }
            assert_eq!(selection.matches(&other, &[]), same, "{lines:?}");
        }
        let lines = map(&[("accept-encoding", "gzip"), ("accept-encoding", "br")]);
        let selection = Selection::of(&vary, &lines, &[]).unwrap();
        assert_eq!(*selection.verbatim, [None, None], "of two lines none is the field");
        assert!(selection.matches(&one, &[]));
        assert_eq!(selection, Selection::of(&vary, &one, &[]).unwrap());
    }

    #[test]
    fn fields_that_always_count_count_where_a_request_has_them() {
        let always = [HeaderName::from_static("x-forwarded-host")];
        let with = map(&[("x-forwarded-host", "evil")]);
        let selection = Selection::of(&map(&[]), &with, &always).unwrap();
        let matches =
            |selection: &Selection, headers: &HeaderMap| selection.matches(headers, &always);
        assert!(matches(&selection, &with) && !matches(&selection, &map(&[])));
        let selection = Selection::of(&map(&[]), &map(&[]), &always).unwrap();
        assert!(!matches(&selection, &with) && matches(&selection, &map(&[])));
        assert_ne!(selection.values(&with, &always), selection.values(&map(&[]), &always));
        assert!(!selection.varies());
    }

    #[test]
    fn fields_that_a_request_has_not_may_be_left_out() {
        let long = "x-".to_owned() + &"a".repeat(70);
        let names = ["x-host", "forwarded", &long];
        let keyed = Keyed::new(names.map(|name| name.parse().unwrap()));
        let plain = map(&[("accept", "a"), ("x-port", "1")]);
        assert!(keyed.of(&plain).is_empty());
        let mut requests = vec![plain];
        for name in names {
            let mut headers = HeaderMap::new();
            headers.insert(
                name.parse::<HeaderName>().unwrap(),
                HeaderValue::from_static("host=a"),
            );
            assert_eq!(keyed.of(&headers), keyed.names());
            requests.push(headers);
        }
        for (a, one) in requests.iter().enumerate() {
            let selection = Selection::of(&map(&[]), one, keyed.names()).unwrap();
            for (b, other) in requests.iter().enumerate() {
                assert_eq!(selection.matches(other, keyed.of(other)), a == b, "{a} for {b}");
                assert_eq!(selection.matches(other, keyed.names()), a == b, "{a} for {b}");
            }
        }
    }

    proptest! {
        #[test]
        fn a_request_matches_itself(
            vary in "[a-c, ]{0,8}",
            values in proptest::collection::vec("[ -~]{0,8}", 3),
        ) {
            let request = map(&[("a", &values[0]), ("b", &values[1]), ("accept", &values[2])]);
            if let Some(selection) = Selection::of(&map(&[("vary", &vary), ("vary", "accept")]), &request, &[]) {
                prop_assert!(selection.matches(&request, &[]));
            }
        }
    }
}
