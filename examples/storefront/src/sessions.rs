//! What a user has written, carried from request to request and from process to process.

use std::net::SocketAddr;

use clap::Args;
use rw_split::{ConsistencyLayer, DevelopmentOnly, TokenKeys};

use crate::hex_key::HexKey;

/// What the cookies are called.
const COOKIE: &str = "storefront";

/// Options of `storefront serve`, about cookies.
#[derive(Args, Debug)]
pub(crate) struct Cookies {
    /// 64 hex digits, as `openssl rand -hex 32` prints, the same for all processes of the
    /// shop: signs the cookies that say what their user has written. Needed with replicas.
    #[arg(long, env = "TOKEN_KEY", hide_env_values = true)]
    token_key: Option<HexKey>,
    /// Lets cookies travel over plain HTTP. For a machine of development: --listen must be a
    /// loopback address.
    #[arg(long, conflicts_with = "https")]
    development_cookies: bool,
}

impl Cookies {
    /// Whether cookies may travel in the open, on a shop that listens on `address`.
    ///
    /// # Errors
    ///
    /// When they would leave this machine.
    pub(crate) fn in_the_open(&self, address: SocketAddr) -> Result<bool, String> {
        if self.development_cookies && !address.ip().is_loopback() {
            return Err(format!(
                "--development-cookies would send cookies in the open, and {address} is no \
                 loopback address; take --https, or drop it and put HTTPS before the shop"
            ));
        }
        Ok(self.development_cookies)
    }

    /// The sessions of a shop that listens on `address`.
    ///
    /// # Errors
    ///
    /// A key that is missing, damaged or weak; cookies that would leave this machine in the
    /// open.
    pub(crate) fn layer(&self, address: SocketAddr) -> Result<ConsistencyLayer, String> {
        let key = self.token_key.as_ref().ok_or(
            "a shop with replicas needs --token-key or TOKEN_KEY, the same in all of its \
             processes; `openssl rand -hex 32` prints one",
        )?;
        let keys = TokenKeys::new(&key.bytes("the token key")?).map_err(|e| e.to_string())?;
        let layer = ConsistencyLayer::cookie(COOKIE, keys).map_err(|e| e.to_string())?;
        if !self.in_the_open(address)? {
            return Ok(layer);
        }
        Ok(layer.plain_http(DevelopmentOnly::cookies_travel_in_plain_http_on_loopback()))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn options(key: Option<&str>, development_cookies: bool) -> Cookies {
        Cookies { token_key: key.map(|key| key.parse().unwrap()), development_cookies }
    }

    fn refused(options: &Cookies, address: &str) -> String {
        options.layer(address.parse().unwrap()).unwrap_err()
    }

    #[test]
    fn a_key_is_needed_and_never_shown() {
        assert!(refused(&options(None, false), "127.0.0.1:1").contains("TOKEN_KEY"));
        for wrong in ["5e5a", &"0".repeat(64)] {
            let options = options(Some(wrong), false);
            let shown = format!("{options:?} {}", refused(&options, "127.0.0.1:1"));
            assert!(!shown.contains(wrong), "{shown}");
        }
        let good = options(Some(&"5e5A".repeat(16)), false);
        assert!(good.layer("0.0.0.0:80".parse().unwrap()).is_ok());
        assert!(!format!("{good:?}").contains("5e5A"));
    }

    #[test]
    fn cookies_in_the_open_stay_on_this_machine() {
        let key = "5e5a".repeat(16);
        let options = options(Some(&key), true);
        for address in ["0.0.0.0:3000", "[::]:3000", "192.168.1.2:3000"] {
            assert!(refused(&options, address).contains("loopback"), "{address}");
        }
        for address in ["127.0.0.1:3000", "[::1]:0"] {
            assert!(options.layer(address.parse().unwrap()).is_ok(), "{address}");
        }
    }
}
