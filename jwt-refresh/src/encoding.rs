//! base64url as RFC 7515 has it: no padding, and one text for one value.

use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;

pub(crate) fn encode(bytes: &[u8]) -> String {
    URL_SAFE_NO_PAD.encode(bytes)
}

pub(crate) fn encode_to(bytes: &[u8], text: &mut String) {
    URL_SAFE_NO_PAD.encode_string(bytes, text);
}

/// Nothing unless `text` is the one encoding of what it decodes to: padding,
/// other alphabets, line breaks and trailing bits that are not zero are refused.
pub(crate) fn decode(text: &str) -> Option<Vec<u8>> {
    URL_SAFE_NO_PAD.decode(text).ok()
}

/// As [`decode`], into `buffer`; also nothing if it is too small.
pub(crate) fn decode_into<'b>(text: &str, buffer: &'b mut [u8]) -> Option<&'b [u8]> {
    let length = URL_SAFE_NO_PAD.decode_slice(text, buffer).ok()?;
    Some(&buffer[..length])
}

/// As [`decode`], of exactly `N` bytes.
pub(crate) fn decode_exactly<const N: usize>(text: &str) -> Option<[u8; N]> {
    // One text has one length, so the rest need not be looked at.
    if text.len() != (N * 4).div_ceil(3) {
        return None;
    }
    // `decode_slice` wants room for a whole last quantum.
    let mut bytes = [0; 96];
    let decoded = decode_into(text, &mut bytes[..N.next_multiple_of(3)])?;
    decoded.try_into().ok()
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn only_the_canonical_text_is_taken() {
        assert_eq!(decode("AQ"), Some(vec![1]));
        for text in ["AQ==", "AR", "A", "A Q", "AQ\n", "A+", "A/", "\u{ff}"] {
            assert_eq!(decode(text), None, "{text:?}");
        }
        assert_eq!(decode_exactly::<1>("AQ"), Some([1]));
        assert_eq!(decode_exactly::<2>("AQ"), None);
        assert_eq!(decode_exactly::<1>("AR"), None);
    }

    proptest! {
        #[test]
        fn a_text_that_decodes_is_what_its_value_encodes_to(text in "[A-Za-z0-9_=+/-]{0,40}") {
            if let Some(bytes) = decode(&text) {
                prop_assert_eq!(encode(&bytes), text);
            }
        }

        #[test]
        fn every_value_comes_back(bytes: [u8; 32]) {
            prop_assert_eq!(decode_exactly::<32>(&encode(&bytes)), Some(bytes));
        }
    }
}
