//! Secrets of 32 bytes, as `openssl rand -hex 32` prints them.

use std::convert::Infallible;
use std::fmt;
use std::str::FromStr;

/// A secret. It is kept as it was given, since a refusal by the command line would print it.
#[derive(Clone)]
pub(crate) struct HexKey(String);

impl HexKey {
    /// Its bytes; `name` is what a refusal calls it.
    ///
    /// # Errors
    ///
    /// When it is not 64 hex digits. It is not in the message.
    pub(crate) fn bytes(&self, name: &str) -> Result<[u8; 32], String> {
        let wrong = || format!("{name} is not 64 hex digits, as `openssl rand -hex 32` prints");
        let digits: Option<Vec<u8>> =
            self.0.chars().map(|digit| digit.to_digit(16).map(|digit| digit as u8)).collect();
        let digits = digits.filter(|digits| digits.len() == 64).ok_or_else(wrong)?;
        Ok(std::array::from_fn(|at| digits[2 * at] << 4 | digits[2 * at + 1]))
    }
}

impl FromStr for HexKey {
    type Err = Infallible;

    fn from_str(text: &str) -> Result<Self, Infallible> {
        Ok(Self(text.to_owned()))
    }
}

impl fmt::Debug for HexKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("HexKey")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_wrong_key_is_refused_and_not_shown() {
        let (short, long, words) = ("5e5a".repeat(15), "5e5a".repeat(17), "5e5ame".repeat(11));
        for wrong in [&short, &long, &words[..64], "", "5e5ä"] {
            let key: HexKey = wrong.parse().unwrap();
            let shown = format!("{key:?} {}", key.bytes("the key").unwrap_err());
            assert!(!shown.contains("5e5"), "{shown}");
        }
        let key: HexKey = "5e5A".repeat(16).parse().unwrap();
        assert_eq!(key.bytes("the key").unwrap()[..3], [0x5e, 0x5a, 0x5e]);
    }
}
