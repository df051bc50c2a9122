//! A browser's cookies.

use std::collections::BTreeMap;
use std::sync::Mutex;

use http::header::{COOKIE, SET_COOKIE};
use http::{HeaderMap, HeaderValue};

#[derive(Debug, Default)]
pub(super) struct Jar {
    cookies: Mutex<BTreeMap<String, String>>,
}

impl Jar {
    pub(super) fn send(&self, headers: &mut HeaderMap, more: &[String]) {
        let cookies = self.cookies.lock().unwrap();
        let own = cookies.iter().map(|(name, value)| format!("{name}={value}"));
        let all: Vec<_> = own.chain(more.iter().cloned()).collect();
        if !all.is_empty() {
            headers.insert(COOKIE, HeaderValue::from_str(&all.join("; ")).unwrap());
        }
    }

    /// Another answer's cookies arrive after those that are here.
    pub(super) fn absorb(&self, later: &Self) {
        let later = later.cookies.lock().unwrap().clone();
        self.cookies.lock().unwrap().extend(later);
    }

    /// How many cookies were set.
    pub(super) fn receive(&self, headers: &HeaderMap) -> usize {
        let mut cookies = self.cookies.lock().unwrap();
        let mut count = 0;
        for value in headers.get_all(SET_COOKIE) {
            let pair = value.to_str().unwrap().split(';').next().unwrap();
            let (name, value) = pair.split_once('=').unwrap();
            cookies.insert(name.to_owned(), value.to_owned());
            count += 1;
        }
        count
    }
}
