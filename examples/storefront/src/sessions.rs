//! What a user has written, carried from request to request and from process to process.

use std::convert::Infallible;
use std::fmt;
use std::net::SocketAddr;
use std::str::FromStr;

use clap::Args;
use rw_split::{ConsistencyLayer, DevelopmentOnly, TokenKeys};

/// What the cookies are called.
const COOKIE: &str = "storefront";

/// Options of `storefront serve`, for a database with replicas.
#[derive(Args, Debug)]
pub(crate) struct Cookies {
    /// 64 hex digits, as `openssl rand -hex 32` prints, the same for all processes of the
    /// shop: signs the cookies that say what their user has written. Needed with replicas.
    #[arg(long, env = "TOKEN_KEY", hide_env_values = true)]
    token_key: Option<TokenKey>,
    /// Lets these cookies travel over plain HTTP. For a machine of development: --listen
    /// must be a loopback address.
    #[arg(long)]
    development_cookies: bool,
}

impl Cookies {
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
        let layer = ConsistencyLayer::cookie(COOKIE, key.keys()?).map_err(|e| e.to_string())?;
        if !self.development_cookies {
            return Ok(layer);
        }
        if !address.ip().is_loopback() {
            return Err(format!(
                "--development-cookies would send cookies in the open, and {address} is no \
                 loopback address; drop it, and put HTTPS before the shop"
            ));
        }
        Ok(layer.plain_http(DevelopmentOnly::cookies_travel_in_plain_http_on_loopback()))
    }
}

/// A secret. It is kept as it was given, since a refusal by the command line would print it.
#[derive(Clone)]
struct TokenKey(String);

impl TokenKey {
    fn keys(&self) -> Result<TokenKeys, String> {
        let wrong = || "the token key is not 64 hex digits, as `openssl rand -hex 32` prints";
        let digits: Option<Vec<u8>> =
            self.0.chars().map(|digit| digit.to_digit(16).map(|digit| digit as u8)).collect();
        let digits = digits.filter(|digits| digits.len() == 64).ok_or_else(wrong)?;
        let bytes: Vec<u8> = digits.chunks(2).map(|pair| pair[0] << 4 | pair[1]).collect();
        TokenKeys::new(&bytes).map_err(|e| e.to_string())
    }
}

impl FromStr for TokenKey {
    type Err = Infallible;

    fn from_str(text: &str) -> Result<Self, Infallible> {
        Ok(Self(text.to_owned()))
    }
}

impl fmt::Debug for TokenKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("TokenKey")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn options(key: Option<&str>, development_cookies: bool) -> Cookies {
        Cookies { token_key: key.map(|key| TokenKey(key.to_owned())), development_cookies }
    }

    fn refused(options: &Cookies, address: &str) -> String {
        options.layer(address.parse().unwrap()).unwrap_err()
    }

    #[test]
    fn a_key_is_needed_and_never_shown() {
        assert!(refused(&options(None, false), "127.0.0.1:1").contains("TOKEN_KEY"));
        let (short, zeros) = ("5e5a".repeat(15), "0".repeat(64));
        let long = "5e5a".repeat(17);
        let words = "5e5ame".repeat(11);
        for wrong in [&short, &long, &zeros, &words[..64], "", "5e5ä"] {
            let options = options(Some(wrong), false);
            let shown = format!("{options:?} {}", refused(&options, "127.0.0.1:1"));
            assert!(!shown.contains("5e5a"), "{shown}");
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
