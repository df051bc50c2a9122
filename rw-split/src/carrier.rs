//! Tokens in headers and cookies.

use http::header::{COOKIE, SET_COOKIE};
use http::{HeaderMap, HeaderName, HeaderValue};
use std::time::Duration;

use crate::clock::Millis;
use crate::token::{ConsistencyToken, Floors, TokenKeys};

/// More tokens than this in one request are not looked at.
const MOST: usize = 16;
/// How many cookies hold writes.
pub(crate) const SLOTS: u8 = 4;

#[derive(Clone, Debug)]
pub(crate) enum Carrier {
    /// Browsers keep the last of several answers' cookies of one name, so writes
    /// and reads have cookies of their own, and processes write to different slots.
    Cookie {
        name: String,
    },
    Header {
        name: HeaderName,
    },
}

/// What came along.
#[derive(Debug, Default)]
pub(crate) struct Brought {
    pub(crate) floors: Floors,
    pub(crate) refused: u32,
    /// When the token that holds what was seen expires.
    pub(crate) seen_expires: Option<Millis>,
}

impl Carrier {
    pub(crate) fn read(&self, headers: &HeaderMap, keys: &TokenKeys) -> Brought {
        let mut brought = Brought::default();
        let mut found = Vec::new();
        let mut read = |text: &str, refused: &mut u32| {
            if found.len() == MOST {
                *refused += 1;
                return;
            }
            match keys.read(text) {
                Ok(token) => found.push(token),
                Err(_) => *refused += 1,
            }
        };
        match self {
            Self::Cookie { name } => {
                let headers = headers.get_all(COOKIE).into_iter();
                let pairs = headers.filter_map(|value| value.to_str().ok());
                for pair in pairs.flat_map(|value| value.split(';')) {
                    let Some((key, value)) = pair.trim().split_once('=') else { continue };
                    if key.strip_prefix(name.as_str()).is_some_and(is_slot) {
                        read(value.trim_matches('"'), &mut brought.refused);
                    }
                }
            }
            Self::Header { name } => {
                let values = headers.get_all(name).into_iter();
                for value in values.filter_map(|value| value.to_str().ok()) {
                    for text in value.split(',') {
                        read(text.trim(), &mut brought.refused);
                    }
                }
            }
        }
        // The newest first: of two clusters, its one counts.
        found.sort_by_key(|(_, expires)| std::cmp::Reverse(*expires));
        for (floors, expires) in found {
            if floors.sticky.is_some() && brought.seen_expires.is_none() {
                brought.seen_expires = Some(expires);
            }
            brought.floors.merge(&floors);
        }
        brought
    }

    /// What the answer carries: `wrote` and `seen` say what has changed.
    pub(crate) fn write(&self, headers: &mut HeaderMap, parting: &Parting<'_>) {
        let Parting { floors, wrote, seen, .. } = *parting;
        match self {
            Self::Cookie { name } => {
                if wrote {
                    let slot = if cfg!(broken = "one_cookie") { 0 } else { parting.slot };
                    parting.cookie(headers, &format!("{name}-{slot}"), floors.written());
                }
                if seen {
                    parting.cookie(headers, &format!("{name}-r"), floors.seen());
                }
            }
            Self::Header { name } if wrote || seen => {
                headers.insert(name.clone(), value(&parting.sign(floors.clone())));
            }
            Self::Header { .. } => {}
        }
    }
}

fn is_slot(rest: &str) -> bool {
    matches!(rest.as_bytes(), [b'-', b'r' | b'0'..=b'3'])
}

/// What a request leaves behind for the next one.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Parting<'a> {
    pub(crate) floors: &'a Floors,
    pub(crate) wrote: bool,
    pub(crate) seen: bool,
    pub(crate) keys: &'a TokenKeys,
    pub(crate) lifetime: Duration,
    pub(crate) slot: u8,
    pub(crate) secure: bool,
}

impl Parting<'_> {
    fn sign(&self, floors: Floors) -> String {
        self.keys.sign(&ConsistencyToken { floors }, self.lifetime)
    }

    fn cookie(&self, headers: &mut HeaderMap, name: &str, floors: Floors) {
        let (token, age) = (self.sign(floors), self.lifetime.as_secs());
        let secure = if self.secure { "; Secure" } else { "" };
        let cookie =
            format!("{name}={token}; Path=/; Max-Age={age}; HttpOnly; SameSite=Lax{secure}");
        headers.append(SET_COOKIE, value(&cookie));
    }
}

fn value(text: &str) -> HeaderValue {
    HeaderValue::from_str(text).expect("names are checked, and tokens are base64url")
}
