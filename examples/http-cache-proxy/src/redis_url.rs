//! Where what several proxies share is kept.

use std::convert::Infallible;
use std::fmt;
use std::str::FromStr;

use cache_aside::{BuildError, RedisStore};

/// A Redis's URL, which may hold a password: it is never shown, not even when it is wrong.
#[derive(Clone)]
pub(crate) struct RedisUrl(String);

impl RedisUrl {
    /// Nothing is connected: it may be down.
    pub(crate) fn store(&self) -> Result<RedisStore, BuildError> {
        RedisStore::open(&*self.0)
    }
}

impl FromStr for RedisUrl {
    type Err = Infallible;

    fn from_str(text: &str) -> Result<Self, Infallible> {
        Ok(Self(text.to_owned()))
    }
}

impl fmt::Debug for RedisUrl {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("RedisUrl(..)")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_wrong_url_is_refused_without_its_password() {
        for url in ["redis://:sesame@host:port/", "http://:sesame@localhost/", "sesame"] {
            let url: RedisUrl = url.parse().unwrap();
            let error = url.store().unwrap_err();
            for shown in [format!("{error}"), format!("{error:?}"), format!("{url:?}")] {
                assert!(!shown.contains("sesame"), "{shown}");
            }
        }
    }
}
