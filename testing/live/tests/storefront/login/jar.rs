//! The cookies of a browser, by the rules of RFC 6265bis as far as they concern a shop:
//! `Secure`, `SameSite`, `Max-Age` and the prefix `__Host-`. Ports do not tell cookies apart.

use std::collections::BTreeMap;
use std::time::{Duration, Instant};

#[derive(Debug, Default)]
pub(crate) struct Jar(BTreeMap<String, Cookie>);

#[derive(Debug)]
struct Cookie {
    value: String,
    secure: bool,
    /// `SameSite=Strict`: not for a request that another site has begun.
    strict: bool,
    until: Option<Instant>,
}

/// Whose page begins a request.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Page {
    Own,
    OfAnotherSite,
}

impl Jar {
    /// Takes what an answer sets, over HTTPS or not.
    ///
    /// # Errors
    ///
    /// Why a browser would not keep it.
    pub(crate) fn keep(&mut self, set: &str, https: bool) -> Result<(), &'static str> {
        let (pair, attributes) = set.split_once(';').unwrap_or((set, ""));
        let (name, value) = pair.trim().split_once('=').ok_or("it has no name")?;
        let attribute = |wanted: &str| {
            attributes.split(';').find_map(|attribute| {
                let (name, value) =
                    attribute.trim().split_once('=').unwrap_or((attribute.trim(), ""));
                name.eq_ignore_ascii_case(wanted).then_some(value)
            })
        };
        let secure = attribute("secure").is_some();
        if secure && !https {
            return Err("`Secure`, over plain HTTP");
        }
        if !https && self.0.get(name).is_some_and(|old| old.secure) {
            return Err("plain HTTP would replace a `Secure` one");
        }
        let host_only =
            secure && attribute("path") == Some("/") && attribute("domain").is_none();
        if name.to_ascii_lowercase().starts_with("__host-") && !host_only {
            return Err("`__Host-`, without what that takes");
        }
        let strict = attribute("samesite").is_some_and(|v| v.eq_ignore_ascii_case("strict"));
        let age = attribute("max-age").map(|age| age.parse::<i64>().unwrap());
        if age.is_some_and(|age| age <= 0) {
            self.0.remove(name);
            return Ok(());
        }
        let until = age.map(|age| Instant::now() + Duration::from_secs(age as u64));
        let cookie = Cookie { value: value.to_owned(), secure, strict, until };
        self.0.insert(name.to_owned(), cookie);
        Ok(())
    }

    /// The header `cookie` of a request.
    pub(crate) fn header(&self, https: bool, page: Page) -> String {
        let sent = self.0.iter().filter(|(_, cookie)| {
            (https || !cookie.secure)
                && (page == Page::Own || !cookie.strict)
                && cookie.until.is_none_or(|until| Instant::now() < until)
        });
        let pairs: Vec<_> = sent.map(|(name, c)| format!("{name}={}", c.value)).collect();
        pairs.join("; ")
    }

    pub(crate) fn value(&self, name: &str) -> Option<&str> {
        self.0.get(name).map(|cookie| &*cookie.value)
    }
}

#[test]
fn a_jar_keeps_what_a_browser_keeps() {
    let mut jar = Jar::default();
    let good = "__Host-r=1; Path=/; Max-Age=60; Secure; HttpOnly; SameSite=Strict";
    for (set, https, kept) in [
        (good, true, true),
        (good, false, false),
        ("__Host-x=1; Path=/", true, false),
        ("__Host-x=1; Secure", true, false),
        ("__Host-x=1; Path=/a; Secure", true, false),
        ("__Host-x=1; Path=/; Secure; Domain=shop.example", true, false),
        ("__host-x=1; Path=/", true, false),
        ("__Host-r=2", false, false),
        ("lax=1; Secure; SameSite=Lax", true, true),
        ("plain=1", false, true),
        ("lax=2", false, false),
    ] {
        assert_eq!(jar.keep(set, https).is_ok(), kept, "{set}");
    }
    assert_eq!(jar.header(true, Page::Own), "__Host-r=1; lax=1; plain=1");
    assert_eq!(jar.header(true, Page::OfAnotherSite), "lax=1; plain=1");
    assert_eq!(jar.header(false, Page::Own), "plain=1");
    jar.keep("__Host-r=; Path=/; Max-Age=0; Secure", true).unwrap();
    assert_eq!((jar.value("__Host-r"), jar.value("lax")), (None, Some("1")));
}
